"""Several students from one pass: each is the one that it would be alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from tests.given import Stopped
from tests.store.made import Counting

SMALL, SMALLER = "timm/mobilenetv3_small_050", {"model": "timm/resnet10t", "name": "tiny"}


class Stopping(Counting):
    """Ends a run after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, image):  # type: ignore[no-untyped-def]
        """As `Counting`."""
        self.calls -= 1
        if self.calls < 0:
            raise Stopped
        return super().forward(image)


def _config(out: Path, data: Path, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": data,
        "teachers": [{"model": Counting(), "name": "counting", "size": 16}],
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 8,
        "workers": 0,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return load_config(**{**values, **settings})


def _losses(run: Run) -> list[float]:
    return [line["loss"] for line in read_metrics(run.folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> dict[str, Run]:
    """Each student by itself."""
    folder = tmp_path_factory.mktemp("alone")
    students = {"mobilenetv3_small_050": SMALL, "tiny": SMALLER}
    return {
        name: train(_config(folder / name, tiny_images, student=student))
        for name, student in students.items()
    }


@pytest.mark.parametrize("together", [True, False])
def test_each_is_the_student_that_it_would_be_alone(
    together: bool, alone: dict[str, Run], tmp_path: Path, tiny_images: Path
) -> None:
    """Every loss and every weight, bit for bit; together, teachers are asked once."""
    teacher = Counting()
    spec = {"model": teacher, "name": "counting", "size": 16}
    run = train(
        _config(tmp_path / "run", tiny_images, students=[SMALL, SMALLER], together=together, teachers=[spec])
    )
    assert [each.folder.name for each in run.students] == list(alone)
    for each in run.students:
        assert _losses(each) == _losses(alone[each.folder.name])
        weights = "model.safetensors"
        assert (each.student / weights).read_bytes() == (
            alone[each.folder.name].student / weights
        ).read_bytes()
    assert teacher.seen == (1 if together else 2) * (
        2 + 6 * 8
    )  # two images to learn its width, then the batches


def test_what_is_said_of_several_students_has_their_names(
    tmp_path: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each look and each loss; the line itself has the name of the run. Of one student no name is said."""
    watch = {"data": str(tiny_images), "split": "train", "images": 6, "every": 1}
    train(_config(tmp_path / "both", tiny_images, students=[SMALL, SMALLER], watch=watch, steps=1))
    said = capsys.readouterr().err
    for name in ("mobilenetv3_small_050", "tiny"):
        assert re.search(rf"^{name} step 0: .*effective rank", said, re.MULTILINE)
    assert re.search(r"^both: 1/1, .*, mobilenetv3_small_050 loss .*, tiny loss ", said, re.MULTILINE)
    train(_config(tmp_path / "one", tiny_images, student=SMALLER, watch=watch, steps=1))
    said = capsys.readouterr().err
    assert re.search(r"^step 0: .*effective rank", said, re.MULTILINE)
    assert re.search(r"^one: 1/1, .* left, loss ", said, re.MULTILINE)


def test_a_sampler_that_follows_losses_has_one_student(tmp_path: Path, tiny_images: Path) -> None:
    """What one student finds hard would decide what the others see; one after the other each has a sampler of its own."""
    values: dict[str, object] = {"students": [SMALL, SMALLER], "sampler": "dynamic"}
    with pytest.raises(ConfigError, match=r"follows the losses of one student.*together: false"):
        _config(tmp_path / "run", tiny_images, **values)
    assert not _config(tmp_path / "run", tiny_images, **values, together=False).together


def test_stopped_students_continue_from_the_step_that_all_have(
    alone: dict[str, Run], tmp_path: Path, tiny_images: Path
) -> None:
    """Also when the run died between two checkpoints."""
    specs = [{"model": Stopping(6), "name": "counting", "size": 16}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, students=[SMALL, SMALLER], teachers=specs))
    first, second = Run(tmp_path / "run").students
    newest = sorted(path.name for path in second.checkpoints.iterdir())[-1]
    for path in (second.checkpoints / newest).iterdir():
        path.unlink()
    (second.checkpoints / newest).rmdir()
    specs = [{"model": Stopping(10**6), "name": "counting", "size": 16}]
    run = train(_config(tmp_path / "run", tiny_images, students=[SMALL, SMALLER], teachers=specs))
    for each in run.students:
        assert _losses(each) == _losses(alone[each.folder.name])
    assert first.is_done


def test_a_student_that_joins_later_costs_the_others_nothing(
    alone: dict[str, Run], tmp_path: Path, tiny_images: Path
) -> None:
    """The one that was begun goes on from its checkpoint, and the new one comes after it."""
    specs = [{"model": Stopping(6), "name": "counting", "size": 16}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, students=[SMALL], teachers=specs))
    (first,) = Run(tmp_path / "run").students
    assert first.is_begun
    specs = [{"model": Stopping(10**6), "name": "counting", "size": 16}]
    run = train(_config(tmp_path / "run", tiny_images, students=[SMALL, SMALLER], teachers=specs))
    assert "steps 0 to" not in (first.folder / "log.txt").read_text().splitlines()[-1]
    assert [each.is_done for each in run.students] == [True, True]
    for each in run.students:
        assert _losses(each) == _losses(alone[each.folder.name])


def test_names_have_to_differ_and_one_way_of_saying_it_is_enough(tmp_path: Path, tiny_images: Path) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigError, match="two students are called 'resnet10t'; give one of them a `name`"):
        train(_config(tmp_path / "run", tiny_images, students=["timm/resnet10t", "timm/resnet10t"]))
    with pytest.raises(ConfigError, match="give `student` or `students`, not both"):
        _config(tmp_path / "run", tiny_images, students=[SMALL], student=SMALL)
