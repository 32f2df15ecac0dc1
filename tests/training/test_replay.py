"""A step that met NaN or Inf names its part, leaves what it saw, and can be done again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from torch import Tensor, nn

from alumnus.cli import run as command
from alumnus.errors import ArtifactError, CheckpointError, NonFiniteError
from alumnus.training.loop import train
from alumnus.training.replay import replay
from alumnus.training.run import Run
from tests.training.test_loop import _config


class Failing(nn.Module):
    """The mean colour of each quarter; NaN at some call, if told so. Which call is no part of what it is known by."""

    def __init__(self, at: int = 0) -> None:
        super().__init__()
        self.at = at

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        self.at -= 1
        colour = nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)
        return colour * math.nan if self.at == 0 else colour


def healthy() -> nn.Module:
    """A teacher that a recipe can name."""
    return Failing()


def _teachers(at: int = 0) -> list[dict[str, object]]:
    return [{"model": Failing(at), "name": "quarters", "size": 32}]


def _steps(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_loss_that_is_not_finite_can_be_replayed(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record names the step's images and terms; the command shows the same numbers; the run is not changed."""
    folder = tmp_path / "run"
    teachers = [{"model": "python:tests.training.test_replay:healthy", "name": "quarters", "size": 32}]
    with pytest.raises(NonFiniteError, match=rf"step \d+: .*loss/quarters.*alumnus replay {folder}"):
        train(_config(folder, tiny_images, teachers=teachers, lr=1e30, steps=50, checkpoint_every=1))
    failure = json.loads((folder / "replay.json").read_text())
    assert (
        len(failure["images"]) == len(failure["keys"]) == len(failure["views"]) == len(failure["rows"]) == 8
    )
    assert failure["terms"]["loss"] in ("nan", "inf")
    checkpoints = _steps(folder)
    found = replay(folder)
    assert not found.is_finite
    (loss,) = [row for row in found.rows if row[0] == "loss/quarters"]
    assert loss[1] == loss[2]
    assert command(["replay", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "target/quarters" in said
    assert "not finite again" in said
    assert _steps(folder) == checkpoints


def test_a_teacher_that_fails_is_named_and_the_run_goes_on_when_it_is_well(
    tiny_images: Path, tmp_path: Path
) -> None:
    """Replayed with the fault gone, all is finite; the same command ends the run, and nothing of the failure is left."""
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError, match="step 3: teacher quarters"):
        train(_config(folder, tiny_images, teachers=_teachers(at=2 + 3)))  # one call finds the width
    assert _steps(folder) == ["step-2"]
    assert json.loads((folder / "replay.json").read_text())["terms"] == {}
    again = _config(folder, tiny_images, teachers=_teachers())
    found = replay(again)
    assert found.is_finite
    assert [row[0] for row in found.rows] == [
        "target/quarters",
        "loss",
        "loss/quarters",
        "norm of the gradient",
    ]
    failing = replay(_config(folder, tiny_images, teachers=_teachers(at=3)))  # the width, step 2, and then
    assert not failing.is_finite
    assert failing.rows[0] == (
        "target/quarters",
        "–",
        "nan",
    )
    train(again)
    assert Run(folder).is_done
    assert not (folder / "replay.json").exists()


def test_a_share_of_a_step_that_failed_in_one_of_several_processes_is_replayed(
    tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds that process's images alone: every second one of the step's. An older record has no share, and is of all."""
    folder, config = tmp_path / "run", _config(tmp_path / "run", tiny_images, teachers=_teachers())
    with pytest.raises(NonFiniteError):
        train(_config(folder, tiny_images, teachers=_teachers(at=2 + 3)))
    whole = json.loads((folder / "replay.json").read_text())
    assert whole["share"] == [0, 1]
    columns = ("images", "rows", "views", "keys")
    second = {**whole, **{name: whole[name][1::2] for name in columns}, "share": [1, 2]}
    (folder / "replay.json").write_text(json.dumps(second))
    assert replay(config).is_finite
    (folder / "replay.json").write_text(json.dumps({**second, "share": [0, 2]}))
    with pytest.raises(CheckpointError, match="sees other images"):
        replay(config)
    del whole["share"]
    (folder / "replay.json").write_text(json.dumps(whole))
    assert replay(config).is_finite


def test_a_failure_whose_record_cannot_be_written_is_told_all_the_same(
    tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process on a machine that has no folder of the run."""

    def refuse(self: object, folder: Path) -> None:
        raise FileNotFoundError(folder)

    monkeypatch.setattr("alumnus.training.failure.Failure.save", refuse)
    with pytest.raises(NonFiniteError, match="step 0: teacher quarters"):
        train(_config(tmp_path / "run", tiny_images, teachers=_teachers(at=2)))


def test_a_gradient_that_is_not_finite_names_its_parameters(tiny_images: Path, tmp_path: Path) -> None:
    """The loss alone would not show it; no half of an update is saved."""
    method = {"name": "tests.training.nan_gradient", "since": 0.5}
    config = _config(tmp_path / "run", tiny_images, teachers=[], method=method)
    with pytest.raises(NonFiniteError, match=r"step 3: the gradient's norm is nan .*student\.backbone"):
        train(config)
    found = {row[0]: row for row in replay(config).rows}
    assert found["loss"][1] == found["loss"][2]
    assert found["norm of the gradient"][2] == "nan"
    assert "student.backbone" in found["gradients not finite"][2]


def test_what_cannot_be_replayed_says_why(tiny_images: Path, tmp_path: Path) -> None:
    """No run, no failure, a damaged record, another configuration."""
    folder = tmp_path / "run"
    with pytest.raises(ArtifactError, match="holds no run"):
        replay(folder)
    assert not folder.exists()
    with pytest.raises(NonFiniteError):
        train(_config(folder, tiny_images, teachers=_teachers(at=2 + 1)))
    with pytest.raises(CheckpointError, match="another configuration"):
        replay(_config(folder, tiny_images, teachers=_teachers(), seed=1))
    for content in ("[]", "{", '{"terms": {}}'):
        (folder / "replay.json").write_text(content)
        with pytest.raises(ArtifactError, match="cannot be read"):
            replay(_config(folder, tiny_images, teachers=_teachers()))
    (folder / "replay.json").unlink()
    with pytest.raises(ArtifactError, match="only a step that met NaN"):
        replay(_config(folder, tiny_images, teachers=_teachers()))


def test_what_is_frozen_is_in_eval_mode_again(tiny_images: Path, tmp_path: Path) -> None:
    """Batch norms of a frozen backbone do not look at the batch: the terms are the run's, to the bit."""
    method = {"name": "tests.training.nan_gradient", "since": 0.5}
    config = _config(tmp_path / "run", tiny_images, method=method, freeze=["backbone"], teachers=_teachers())
    with pytest.raises(NonFiniteError, match="step 3"):
        train(config)
    found = replay(config)
    (row,) = (row for row in found.rows if row[0] == "loss/size")
    assert row[1] == row[2]
    assert found.failure.terms["loss/size"] == pytest.approx(float(row[2]), rel=1e-5)
