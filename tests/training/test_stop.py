"""Ctrl-C and SIGTERM: the step is finished and saved, the exit code is the signal's, and the same command ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from torch import Tensor, nn

from alumnus.errors import RunError
from alumnus.log import read_metrics
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from alumnus.training.stop import signals_noted
from tests.given import Colours
from tests.training.test_loop import _bytes, _config


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_acts_when_the_block_is_done() -> None:
    """Not in the middle of it; then the handlers are those of before."""
    seen, before = list[bool](), signal.getsignal(signal.SIGINT)

    def work() -> None:
        with signals_noted() as stop:
            seen.append(stop.is_asked)
            signal.raise_signal(signal.SIGINT)
            seen.append(stop.is_asked)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == [False, True]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_acts_at_once() -> None:
    """Whoever asks twice does not want to wait."""
    seen = list[str]()

    def work() -> None:
        with signals_noted():
            signal.raise_signal(signal.SIGINT)
            seen.append("still here")
            signal.raise_signal(signal.SIGINT)
            seen.append("never here")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == ["still here"]


def test_without_a_signal_nothing_happens() -> None:
    """And an error of the block is that error."""
    before = signal.getsignal(signal.SIGTERM)
    with signals_noted():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ZeroDivisionError), signals_noted():
        raise ZeroDivisionError


def test_an_ignored_signal_stays_ignored() -> None:
    """As in a job in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals_noted() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop.is_asked


def test_a_handler_that_only_takes_note_still_ends_the_block() -> None:
    """Otherwise a student of half the steps would be taken for a whole one."""
    noted = list[int]()
    signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    with pytest.raises(RunError, match="stopped by SIGTERM"), signals_noted():
        signal.raise_signal(signal.SIGTERM)
    assert noted == [signal.SIGTERM]


def test_another_thread_leaves_signals_alone() -> None:
    """Python lets only the main thread set handlers."""
    seen = list[bool]()

    def work() -> None:
        with signals_noted() as stop:
            seen.append(stop.is_asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


class Interrupting(Colours):
    """Colours whose user presses Ctrl-C at some call."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def forward(self, image: Tensor) -> Tensor:
        """As Colours."""
        self.at -= 1
        if self.at == 0:
            signal.raise_signal(signal.SIGINT)
        return super().forward(image)


@pytest.mark.parametrize("step", [3, 5])
def test_ctrl_c_in_python_saves_the_step_that_it_came_in(
    tiny_images: Path, tmp_path: Path, step: int
) -> None:
    """KeyboardInterrupt comes after the step, no other checkpoint was due; the rest gives the same student. Also in the last step."""

    def settings(teacher: nn.Module) -> dict[str, object]:
        teachers = [{"model": teacher, "name": "colours", "size": 32}]
        return {"teachers": teachers, "checkpoint_every": 100, "log_every": 1}

    whole = train(_config(tmp_path / "whole", tiny_images, **settings(Interrupting(0))))
    with pytest.raises(KeyboardInterrupt):
        train(
            _config(tmp_path / "cut", tiny_images, **settings(Interrupting(2 + step)))
        )  # one call finds the width
    cut = Run(tmp_path / "cut")
    assert [path.name for path in cut.checkpoints.iterdir()] == [f"step-{step + 1}"]
    assert not cut.is_done
    train(_config(tmp_path / "cut", tiny_images, **settings(Interrupting(0))))
    assert _bytes(cut) == _bytes(whole)
    losses = [[line["loss"] for line in read_metrics(run.folder / "metrics.jsonl")] for run in (cut, whole)]
    assert losses[0] == losses[1]


class Signalling(Colours):
    """Colours that sends its whole process group a signal at some call, as a terminal and many a batch system do."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def forward(self, image: Tensor) -> Tensor:
        """As Colours."""
        self.at -= 1
        if self.at == 0:
            os.killpg(0, int(os.environ["TEST_SIGNAL"].split(":")[0]))
        return super().forward(image)


def signalling() -> nn.Module:
    """A teacher that a recipe can name; the environment says what it does, for that is no part of a run."""
    return Signalling(int(os.environ.get("TEST_SIGNAL", "0:0").split(":")[1]))


def _recipe(path: Path, data: Path) -> Path:
    """A run with reading processes and no checkpoint of its own."""
    content = {
        "data": str(data),
        "student": "timm/mobilenetv3_small_050",
        "teachers": [{"model": "python:tests.training.test_stop:signalling", "size": 32}],
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 8,
        "workers": 2,
        "log_every": 1,
        "checkpoint_every": 1000,
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def undisturbed(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The student of that recipe."""
    folder = tmp_path_factory.mktemp("whole")
    return _bytes(train(load_config(_recipe(folder / "recipe.yaml", tiny_images), [f"out={folder / 'run'}"])))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_resumes_to_the_same_bytes(
    tiny_images: Path, tmp_path: Path, undisturbed: bytes, number: signal.Signals, code: int
) -> None:
    """The signal reaches the reading processes too, and nobody prints a traceback."""
    recipe, out = _recipe(tmp_path / "recipe.yaml", tiny_images), tmp_path / "cut"
    main = "import torch; torch.set_num_threads(1); from alumnus.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, "train", str(recipe), f"out={out}"],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "TEST_SIGNAL": f"{int(number)}:4",
        },  # one call finds the width, so this is in the third step
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "DataLoader" not in done.stderr
    assert "stopped; resume with the same command" in done.stderr
    assert os.listdir(out / "checkpoints") == ["step-3"]
    assert sorted(os.listdir(out)) == sorted(
        ["checkpoints", "config.yaml", "log.txt", "metrics.jsonl", "plan.json", "teachers.json"]
    )
    assert _bytes(train(load_config(recipe, [f"out={out}"]))) == undisturbed
