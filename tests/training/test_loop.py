"""A run: the same bits from the same seed, also when it was killed; clear ends when something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import Tensor

from alumnus.errors import CheckpointError, ConfigError, NonFiniteError, TooManyBadImages, UserError
from alumnus.log import read_metrics
from alumnus.models.artifact import load_student, read_about
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from tests.given import Colours, Stopped


def _config(out: Path, data: Path, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": data,
        "student": "timm/mobilenetv3_small_050",
        "teachers": [{"model": Colours(), "name": "colours", "size": 32}],
        "method": "plain",
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 8,
        "workers": 0,
        "log_every": 2,
        "checkpoint_every": 2,
    }
    return load_config(**{**values, **settings})


def _bytes(run: Run) -> bytes:
    return (run.student / "model.safetensors").read_bytes() + (run.student / "heads.safetensors").read_bytes()


def test_a_run_leaves_what_it_promises(tiny_images: Path, tmp_path: Path) -> None:
    """Student, resolved configuration, teachers, metrics with the same keys at every line, and provenance."""
    run = train(_config(tmp_path / "run", tiny_images))
    lines = read_metrics(run.folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 3, 5]
    assert {frozenset(line) for line in lines} == {
        frozenset({"step", "loss", "loss/colours", "lr", "images/s"})
    }
    assert json.loads((run.folder / "teachers.json").read_text())[0]["name"] == "colours"
    assert read_about(run.student)["provenance"]["steps"] == 6
    assert load_student(run.student).embed_dim == 8


def test_one_seed_gives_one_student(tiny_images: Path, tmp_path: Path) -> None:
    """Two runs agree in every bit, also when one reads with worker processes; another seed gives another student."""
    first = _bytes(train(_config(tmp_path / "a", tiny_images)))
    assert first == _bytes(train(_config(tmp_path / "b", tiny_images, workers=2)))
    assert first != _bytes(train(_config(tmp_path / "c", tiny_images, seed=1)))


def test_a_stopped_run_continues_to_the_same_bits(tiny_images: Path, tmp_path: Path) -> None:
    """Stopped at step 5 after a checkpoint at 4: the rest gives the same student and the same log."""
    whole = train(_config(tmp_path / "whole", tiny_images))
    stopping = [{"model": Colours(calls=6), "name": "colours", "size": 32}]  # one call finds the width
    with pytest.raises(Stopped):
        train(_config(tmp_path / "cut", tiny_images, teachers=stopping))
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()]
    cut = train(_config(tmp_path / "cut", tiny_images))
    assert _bytes(cut) == _bytes(whole)
    losses = [[line["loss"] for line in read_metrics(run.folder / "metrics.jsonl")] for run in (cut, whole)]
    assert losses[0] == losses[1]


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.training.test_loop import _config
from alumnus.training.loop import train
train(_config(Path(sys.argv[1]), Path(sys.argv[2]), steps=40, checkpoint_every=3))
"""


def test_a_run_killed_with_sigkill_resumes_to_the_same_bits(tiny_images: Path, tmp_path: Path) -> None:
    """kill -9 after some checkpoint, then the same command again: the student of an undisturbed run."""
    whole = train(_config(tmp_path / "whole", tiny_images, steps=40, checkpoint_every=3))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cut"), str(tiny_images)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cut" / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    cut = train(_config(tmp_path / "cut", tiny_images, steps=40, checkpoint_every=3))
    assert _bytes(cut) == _bytes(whole)


def test_a_finished_run_is_not_trained_again(tiny_images: Path, tmp_path: Path) -> None:
    """The same command a second time changes nothing; another configuration is refused with the difference."""
    run = train(_config(tmp_path / "run", tiny_images))
    before = (run.student / "model.safetensors").stat().st_mtime_ns
    train(_config(tmp_path / "run", tiny_images))
    assert (run.student / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"lr: was 0.001, is 0.5(.|\n)*resume=never to start again$"):
        train(_config(tmp_path / "run", tiny_images, lr=0.5))
    with pytest.raises(ConfigError, match=r"another out with student=alumnus:\S+$") as caught:
        train(_config(tmp_path / "run", tiny_images, steps=8))
    further = str(caught.value).rpartition("student=")[2]
    train(_config(tmp_path / "further", tiny_images, student=further, steps=1))
    train(_config(tmp_path / "run", tiny_images, seed=3, resume="never"))
    assert (run.student / "model.safetensors").stat().st_mtime_ns > before


def test_a_run_whose_images_changed_is_refused_untouched(tiny_images: Path, tmp_path: Path) -> None:
    """Another picture among the data since the checkpoint: an error that leaves the older run as it was."""
    images = Path(shutil.copytree(tiny_images, tmp_path / "images"))
    stopping = [{"model": Colours(calls=6), "name": "colours", "size": 32}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", images, teachers=stopping))
    shutil.copy(min(images.rglob("*.png")), min(images.rglob("*.png")).with_name("zz.png"))
    before = (tmp_path / "run" / "config.yaml").stat().st_mtime_ns
    with pytest.raises(
        CheckpointError, match=r"another configuration: images or labels are not what they were"
    ):
        train(_config(tmp_path / "run", images))
    assert (tmp_path / "run" / "config.yaml").stat().st_mtime_ns == before


class _Scaled(Colours):
    def __init__(self, factor: float, calls: int | None = None) -> None:
        super().__init__(calls)
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        return self.factor * super().forward(image)


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ((1, 3), "the teacher second is not what it was"),
        ((2, 3), "the teachers first, second are not what they were"),
    ],
)
def test_a_run_whose_teachers_changed_names_them(
    factors: tuple[float, ...], said: str, tiny_images: Path, tmp_path: Path
) -> None:
    """Those that did, and no others."""

    def teachers(*factors: float, calls: int | None = None) -> list[dict[str, object]]:
        return [
            {"model": _Scaled(factor, calls), "name": name, "size": 32}
            for name, factor in zip(("first", "second"), factors, strict=True)
        ]

    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, teachers=teachers(1, 2, calls=6)))
    with pytest.raises(CheckpointError, match=f"another configuration: {said}; resume=never"):
        train(_config(tmp_path / "run", tiny_images, teachers=teachers(*factors)))


def test_a_foreign_folder_is_not_touched(tiny_images: Path, tmp_path: Path) -> None:
    """A folder with somebody's files is refused."""
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="holds no run"):
        train(_config(tmp_path, tiny_images))
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_a_wrong_teacher_leaves_no_folder(tiny_images: Path, tmp_path: Path) -> None:
    """What is found wrong before the first step leaves nothing behind."""
    with pytest.raises(UserError):
        train(_config(tmp_path / "run", tiny_images, teachers=["timm/resnett18"]))
    assert not (tmp_path / "run").exists()


class _Nan(Colours):
    def forward(self, image: Tensor) -> Tensor:
        """A gradient that explodes."""
        return super().forward(image) * float("nan")


def test_nan_stops_the_run_and_names_its_source(tiny_images: Path, tmp_path: Path) -> None:
    """A teacher that gives NaN is named."""
    with pytest.raises(NonFiniteError, match="broken"):
        train(
            _config(tmp_path / "run", tiny_images, teachers=[{"model": _Nan(), "name": "broken", "size": 32}])
        )


def test_an_exploding_loss_names_term_and_step(tiny_images: Path, tmp_path: Path) -> None:
    """An absurd learning rate ends with the step and the term, not with a student of NaN."""
    with pytest.raises(NonFiniteError, match=r"step \d+"):
        train(_config(tmp_path / "run", tiny_images, lr=1e30, steps=50))
    assert not (tmp_path / "run" / "student").exists()


def test_a_run_that_has_nothing_to_learn_says_so_once(tiny_images: Path, tmp_path: Path) -> None:
    """Relations are of three images, and here are two at a time."""
    run = train(_config(tmp_path / "run", tiny_images, method="relational", batch_size=2))
    assert (run.folder / "log.txt").read_text().count("nothing to learn up to step 1: each loss is 0") == 1


def test_training_on_one_domain_leaves_the_others_out(tiny_images: Path, tmp_path: Path) -> None:
    """`domains` picks; an unknown one is answered with the nearest."""
    with pytest.raises(ConfigError, match="domains"):
        train(_config(tmp_path / "run", tiny_images, domains=["nowhere"]))


def test_bad_images_are_replaced_up_to_the_limit(tiny_images: Path, tmp_path: Path) -> None:
    """One broken file is quarantined with its reason and the run ends; too many stop it."""
    images = Path(shutil.copytree(tiny_images, tmp_path / "images"))
    broken = min(images.rglob("*.png"))
    broken.write_bytes(b"not an image")
    run = train(_config(tmp_path / "run", images, steps=14))
    lines = [json.loads(line) for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [Path(line["file_name"]).name for line in lines] == [broken.name]
    log = (run.folder / "log.txt").read_text()
    assert f"warning: '{lines[0]['file_name']}': " in log
    assert "1 of 90 images could not be read and was left out" in log
    with pytest.raises(TooManyBadImages, match="Raise max_bad_fraction to go on"):
        train(_config(tmp_path / "strict", images, steps=14, max_bad_fraction=0.0))


def test_a_finished_student_that_is_damaged_is_made_again(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A power cut may leave an empty file: the same command ends with the same bytes, and says why it works."""
    config = _config(tmp_path / "run", tiny_images)
    whole = _bytes(train(config))
    (tmp_path / "run" / "student" / "model.safetensors").write_bytes(b"")
    assert _bytes(train(config)) == whole
    assert "is damaged: its last steps are learnt again" in capsys.readouterr().err


def test_a_student_with_tied_weights_is_saved_and_continues(tiny_images: Path, tmp_path: Path) -> None:
    """CoaT shares convolutions between blocks, and safetensors refuses two names for one memory."""
    student = {"model": "timm/coat_lite_tiny", "model_args": {"img_size": 32}}
    settings = {"student": student, "steps": 2, "checkpoint_every": 1}
    stopping = [{"model": Colours(calls=2), "name": "colours", "size": 32}]  # one call finds the width
    whole = train(_config(tmp_path / "whole", tiny_images, **settings))
    with pytest.raises(Stopped):
        train(_config(tmp_path / "cut", tiny_images, teachers=stopping, **settings))
    assert _bytes(train(_config(tmp_path / "cut", tiny_images, **settings))) == _bytes(whole)
    assert load_student(whole.student).embed_dim == 8
