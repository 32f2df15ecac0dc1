"""What TensorBoard and Weights & Biases are shown of a run, and that trouble with them costs nothing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alumnus.errors import ConfigError, MissingExtra
from alumnus.log import read_metrics
from alumnus.training import trackers
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.run import Run
from tests.given import Colours, Stopped
from tests.training.test_loop import _bytes
from tests.training.test_loop import _config as small

STEPS = 6


def _config(out: Path, data: Path, teacher: Colours | None = None, **settings: object) -> Config:
    teachers = [{"model": teacher or Colours(), "name": "colours", "size": 32}]
    return small(out, data, **{"teachers": teachers, "log_every": 1, **settings})


def _lines(run: Run) -> list[dict[str, float]]:
    return read_metrics(run.folder / "metrics.jsonl")


def _shown(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Name of each curve in TensorBoard -> its points."""
    found = EventAccumulator(str(run.folder / "tensorboard"))
    found.Reload()
    return {
        name: [(each.step, each.value) for each in found.Scalars(name)] for name in found.Tags()["scalars"]
    }


def test_tensorboard_shows_each_number_of_the_file_once_after_a_stop(
    tmp_path: Path, tiny_images: Path
) -> None:
    """A stopped run goes on from its checkpoint, and does some steps again."""
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, Colours(calls=6), track="tensorboard"))
    run = train(_config(tmp_path / "run", tiny_images, track="tensorboard"))
    lines, curves = _lines(run), _shown(run)
    assert [line["step"] for line in lines] == list(range(STEPS))
    assert curves.keys() == lines[0].keys() - {"step"}
    for name, points in curves.items():
        assert [step for step, _ in points] == list(range(STEPS)), name
        assert [value for _, value in points] == pytest.approx([line[name] for line in lines], rel=1e-6)


def test_a_run_whose_checkpoints_are_gone_shows_each_step_once(tmp_path: Path, tiny_images: Path) -> None:
    """It begins again at step 0, in the same folder."""
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, Colours(calls=6), track="tensorboard"))
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    run = train(_config(tmp_path / "run", tiny_images, track="tensorboard"))
    assert [step for step, _ in _shown(run)["loss"]] == list(range(STEPS))


def test_tracking_changes_nothing_that_is_learnt(tmp_path: Path, tiny_images: Path) -> None:
    """And whether a run is tracked may change in the middle of it."""
    plain = train(_config(tmp_path / "plain", tiny_images))
    with pytest.raises(Stopped):
        train(_config(tmp_path / "tracked", tiny_images, Colours(calls=5)))
    tracked = train(_config(tmp_path / "tracked", tiny_images, track=["tensorboard"]))
    assert _bytes(tracked) == _bytes(plain)
    assert not (plain.folder / "tensorboard").exists()


def test_a_run_that_begins_again_shows_nothing_of_the_last_one(tmp_path: Path, tiny_images: Path) -> None:
    """With resume=never."""
    train(_config(tmp_path / "run", tiny_images, track="tensorboard"))
    again = train(_config(tmp_path / "run", tiny_images, track="tensorboard", resume="never", steps=3))
    assert [step for step, _ in _shown(again)["loss"]] == [0, 1, 2]


def test_wandb_keeps_a_run_that_went_on_as_one(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline it is a folder in the run's; both parts have the id that the run keeps."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, Colours(calls=5), track="wandb"))
    run = train(_config(tmp_path / "run", tiny_images, track="wandb"))
    known_by = (run.folder / "wandb-id.txt").read_text()
    parts = sorted(path.name.rsplit("-", 1)[1] for path in (run.folder / "wandb").glob("offline-run-*"))
    assert set(parts) == {known_by}
    assert len(_lines(run)) == STEPS


def test_wandb_is_given_the_settings_and_every_line(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the step of the run, not by a counter of its own."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "birds")
    begun, sent = list[Any](), list[dict[str, float]]()
    init = wandb.init

    def noted(**settings: Any) -> Any:
        one = init(**settings)
        log = one.log

        def note(line: dict[str, float]) -> None:
            sent.append(line)
            log(line)

        monkeypatch.setattr(one, "log", note)
        begun.append(one)
        return one

    monkeypatch.setattr(wandb, "init", noted)
    run = train(_config(tmp_path / "run", tiny_images, track="wandb"))
    (one,) = begun
    assert one.project == "birds"
    assert one.config["steps"] == STEPS
    assert one.config["student"]["model"] == "timm/mobilenetv3_small_050"
    assert one.id == (run.folder / "wandb-id.txt").read_text()
    assert sent == _lines(run)


def test_students_that_train_together_are_a_run_each(tmp_path: Path, tiny_images: Path) -> None:
    """Each in its own folder."""
    students = [{"model": "timm/resnet10t", "name": "a"}, {"model": "timm/resnet10t", "name": "b"}]
    run = train(_config(tmp_path / "run", tiny_images, student=None, students=students, track="tensorboard"))
    assert [len(_shown(each)["loss"]) for each in run.students] == [STEPS, STEPS]


class _Failing:
    """Fails at the second line."""

    def __init__(self, config: Config, run: Run, *, start: int) -> None:
        self.lines = 0

    def write(self, line: Mapping[str, float]) -> None:
        """Takes one."""
        self.lines += 1
        if self.lines == 2:
            raise OSError("the server is gone\nfor good")

    def close(self, *, failed: bool) -> None:
        """Must not be called any more."""
        raise AssertionError


class _Absent(_Failing):
    def __init__(self, config: Config, run: Run, *, start: int) -> None:
        raise RuntimeError("no key")


def _with(tracker: Callable[..., Any], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trackers, "TRACKERS", {**trackers.TRACKERS, "wandb": tracker})


def test_a_tracker_that_fails_on_the_way_is_said_once_and_left(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the other tracker have all lines."""
    _with(_Failing, monkeypatch)
    run = train(_config(tmp_path / "run", tiny_images, track=["wandb", "tensorboard"]))
    said = (run.folder / "log.txt").read_text()
    assert said.count("wandb shows no more of this run (the server is gone)") == 1
    assert len(_lines(run)) == len(_shown(run)["loss"]) == STEPS


def test_a_tracker_that_cannot_begin_is_told_before_the_first_step(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command without it goes on."""
    _with(_Absent, monkeypatch)
    with pytest.raises(ConfigError, match=r"wandb cannot begin \(no key\); `wandb login` once.*track=none"):
        train(_config(tmp_path / "run", tiny_images, track="wandb"))
    assert train(_config(tmp_path / "run", tiny_images, track="none")).is_done


def test_a_tracker_that_cannot_begin_does_not_cost_the_run_before(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With resume=never the older run is thrown away when the new one has begun, and not before."""
    run = train(_config(tmp_path / "run", tiny_images, track="tensorboard", checkpoint_every=2))

    def content() -> dict[str, bytes]:
        files = (path for path in run.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}

    before = content()
    with monkeypatch.context() as patch:
        _with(_Absent, patch)
        with pytest.raises(ConfigError, match=r"wandb cannot begin"):
            train(
                _config(
                    tmp_path / "run", tiny_images, track=["tensorboard", "wandb"], resume="never", steps=3
                )
            )
    assert content() == before
    train(_config(tmp_path / "run", tiny_images, resume="never", steps=3))
    assert [line["step"] for line in _lines(run)] == [0, 1, 2]
    assert not (run.folder / ".old").exists()
    assert not (run.folder / "tensorboard").exists()


@pytest.mark.parametrize("folder", [False, True], ids=["absent", "a folder of that name"])
def test_a_missing_package_is_told_with_its_extra(
    folder: bool, tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wandb` leaves folders called wandb in the current one, which Python takes for packages."""

    class Spec:
        origin = None

    monkeypatch.setattr(trackers, "find_spec", lambda name: Spec() if folder else None)
    with pytest.raises(MissingExtra, match=r"'tensorboard'.*alumnus\[track\]"):
        train(_config(tmp_path / "run", tiny_images, track="tensorboard"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_names_of_trackers(tmp_path: Path) -> None:
    """One, several, none; another is refused with those that there are."""
    assert _config(tmp_path, tmp_path).track == _config(tmp_path, tmp_path, track="none").track == ()
    assert _config(tmp_path, tmp_path, track="wandb").track == ("wandb",)
    with pytest.raises(
        ConfigError, match=r"'tensorbord' is none; there are 'tensorboard', 'wandb', both as a list"
    ):
        _config(tmp_path, tmp_path, track="tensorbord")


def test_a_signal_leaves_trackers_closed(tmp_path: Path, tiny_images: Path) -> None:
    """What was shown up to a stop is on disk."""

    class Ctrl(Colours):
        calls = 0

        def forward(self, image):  # type: ignore[no-untyped-def]
            Ctrl.calls += 1
            if Ctrl.calls == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(image)

    with pytest.raises(KeyboardInterrupt):
        train(_config(tmp_path / "run", tiny_images, Ctrl(), track="tensorboard"))
    run = Run(tmp_path / "run")
    assert [step for step, _ in _shown(run)["loss"]] == [int(line["step"]) for line in _lines(run)]
