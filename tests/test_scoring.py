"""`evaluate`: a student folder alone, and beside those that taught it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from alumnus.cli import run as command
from alumnus.errors import ConfigError, TeacherError
from alumnus.evaluation.baselines import CONCATENATION, ORACLE, REDUCED
from alumnus.evaluation.results import KEYS, Results, read_results
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student
from alumnus.report.html import write_report
from alumnus.scoring import beside_teachers, evaluate
from alumnus.training.build import build_student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from tests.given import Brightness, Colours

SMALL = Architecture("resnet10t", 32, 4)
FAST = {"split": "train", "workers": 0, "knn": False}


@pytest.fixture(scope="module")
def images(tiny_images: Path) -> list[str]:
    """Two domains."""
    return [str(tiny_images / domain) for domain in ("discs", "squares")]


def _train(out: Path, images: list[str], **settings: object) -> Run:
    values = {"size": 32, "embed_dim": 4, "steps": 1, "batch_size": 4, "workers": 0, "device": "cpu"}
    return train(
        load_config(
            out=out, data=images, **{"student": "timm/test_vit", "method": "plain", **values, **settings}
        )
    )


@pytest.fixture
def taught(images: list[str], tmp_path: Path) -> Run:
    """A run of an expert that is a folder and two generalists, of which the method names the second."""
    torch.manual_seed(7)
    save_student(Student(SMALL), tmp_path / "expert")
    wide = {"model": "timm/resnet10t", "weights": "random", "size": 32}
    return _train(
        tmp_path / "run",
        images,
        teachers=[
            {"model": f"alumnus:{tmp_path / 'expert'}", "name": "expert", "domains": ["discs"]},
            {**wide, "name": "first"},
            {**wide, "name": "second", "mean": [0.4, 0.4, 0.4]},
        ],
        method={"name": "repcon", "generalist": "second"},
        steps=3,
        lr=1e-2,
    )


@pytest.fixture
def alone(images: list[str], tmp_path: Path) -> Run:
    """A run whose teacher is a Python object."""
    return _train(tmp_path / "run", images, teachers=[_colours()])


def _colours() -> dict[str, object]:
    return {"model": Colours(), "name": "colours", "size": 32}


def _scored(run: Run, images: list[str], **settings: object) -> Results:
    evaluate(run.folder, data=images, out=run.folder / "scores", **FAST, **settings)  # type: ignore[arg-type]
    return read_results(run.folder / "scores" / "results.json")


def test_evaluate_scores_a_student_folder(tiny_images: Path, tmp_path: Path) -> None:
    """From a folder, or the run folder above it, to flat numbers."""
    save_student(Student(SMALL), tmp_path / "student")
    flat = evaluate(tmp_path, data=tiny_images / "discs", split="train", workers=0)
    assert flat == evaluate(tmp_path / "student", data=tiny_images / "discs", split="train", workers=0)
    assert {*KEYS, "merged/R@1/discs"} <= set(flat)
    assert all(0 <= value <= 1 for value in flat.values())


def test_a_runs_teachers_are_scored_beside_its_student(taught: Run, images: list[str]) -> None:
    """Student, first weights, each teacher and what is made of them, relative to the method's generalist, up to the report."""
    alone = evaluate(taught.student, data=images, **FAST)  # type: ignore[arg-type]
    both = evaluate(taught.student, data=images, teachers=True, out=taught.folder, **FAST)  # type: ignore[arg-type]
    assert both == alone
    results = read_results(taught.folder / "results.json")
    assert [model.name for model in results.models] == [
        *("student", "student's first weights", "expert", "first", "second"),
        *("8x8 pixels", CONCATENATION, REDUCED, ORACLE),
    ]
    found = results.interference
    assert found is not None
    assert (found.baseline, found.why) == ("second", "named as the generalist")
    assert set(found.rows) == {"student", "student's first weights", "expert", "first"}
    assert set(found.rows["student"].domains) == {"discs", "squares"}
    assert 'id="interference"' in write_report(taught.folder).read_text(encoding="utf-8")


def test_the_first_weights_are_those_before_the_first_step(taught: Run) -> None:
    """And the student's are not; all are in the order of the table."""
    config = load_config(taught.folder / "config.yaml")
    student, first, *teachers = beside_teachers(load_student(taught.student), config)
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = build_student(config).eval()(image).embedding
    assert torch.allclose(first(image), wanted, atol=1e-6)
    assert not torch.allclose(student(image), wanted, atol=1e-4)
    assert [each.kind for each in teachers] == ["teacher"] * 3 + ["pixels"]


def test_the_generalist_asked_for_comes_first(taught: Run, images: list[str]) -> None:
    """Before the method's; a misspelt one is refused."""
    asked = _scored(taught, images, teachers=True, generalist="expert").interference
    assert asked is not None
    assert asked.baseline == "expert"
    with pytest.raises(ConfigError, match="did you mean 'second'"):
        _scored(taught, images, teachers=True, generalist="secnd")


def test_a_teacher_that_is_gone_is_named_and_can_be_given_anew(taught: Run, images: list[str]) -> None:
    """The message says which and what to do, and doing that works; the method's generalist need not be among them."""
    old = taught.folder.parent / "expert"
    moved = old.rename(old.with_name("moved"))
    with pytest.raises(TeacherError, match=r"(?s)teacher expert cannot be loaded any more.*teachers=\[…\]"):
        _scored(taught, images, teachers=True)
    found = _scored(
        taught, images, teachers=[{"model": f"alumnus:{moved}", "name": "expert", "domains": "discs"}]
    )
    assert [model.name for model in found.models if model.kind == "teacher"] == ["expert"]
    assert found.interference is not None
    assert found.interference.baseline == "student's first weights"


def test_a_python_object_is_given_again(
    alone: Run, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the run's folder cannot hold; another object in its place is told of."""
    with pytest.raises(
        TeacherError, match=r"(?s)colours was a python object tests\.given\.Colours.*python:package"
    ):
        _scored(alone, images, teachers=True)
    assert _scored(alone, images, teachers=[_colours()]).interference is not None
    assert "warning" not in capsys.readouterr().err
    _scored(alone, images, teachers=[{**_colours(), "model": Brightness()}])
    assert "colours is not who taught this student: its fingerprint is another" in capsys.readouterr().err


def test_first_weights_that_are_others_now_are_left_out(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder that the run began with was written anew: what it holds says nothing of this student."""
    save_student(Student(SMALL), tmp_path / "before")
    run = _train(tmp_path / "run", images, student=f"alumnus:{tmp_path / 'before'}", teachers=[_colours()])
    assert "initial" in [model.kind for model in _scored(run, images, teachers=[_colours()]).models]
    shutil.rmtree(tmp_path / "before")
    save_student(Student(SMALL), tmp_path / "before")
    results = _scored(run, images, teachers=[_colours()])
    assert "initial" not in [model.kind for model in results.models]
    assert "holds other ones than when the run began" in capsys.readouterr().err


def test_first_weights_that_are_gone_are_left_out(
    images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is scored, and a line says what is missing."""
    save_student(Student(SMALL), tmp_path / "before")
    run = _train(tmp_path / "run", images, student=f"alumnus:{tmp_path / 'before'}", teachers=[_colours()])
    shutil.rmtree(tmp_path / "before")
    results = _scored(run, images, teachers=[_colours()])
    assert [model.kind for model in results.models] == ["student", "teacher", "pixels", "oracle"]
    assert "first weights are left out" in capsys.readouterr().err


def test_what_has_no_effect_is_refused(images: list[str], tmp_path: Path) -> None:
    """A student of no run, a run without teachers, nowhere to write, a generalist of nobody."""
    save_student(Student(SMALL), tmp_path / "student")
    with pytest.raises(ConfigError, match="not in the folder of a run"):
        evaluate(tmp_path / "student", data=images, teachers=True, out=tmp_path)
    run = _train(tmp_path / "run", images, method="supervised")
    with pytest.raises(ConfigError, match=r"had none \(method=supervised\)"):
        evaluate(run.folder, data=images, teachers=True, out=tmp_path)
    with pytest.raises(ConfigError, match="out="):
        evaluate(run.folder, data=images, teachers=["timm/resnet10t"])
    with pytest.raises(ConfigError, match="teachers=true too"):
        evaluate(run.folder, data=images, generalist="wide")


def test_the_command_scores_teachers_when_told_to_and_else_says_that_it_could(
    taught: Run, images: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The words are those of the function; a teacher may be given as in a recipe."""
    words = [
        "evaluate",
        str(taught.folder),
        f"data=[{', '.join(images)}]",
        "split=train",
        "workers=0",
        "knn=false",
    ]
    assert command(words) == 0
    said = capsys.readouterr().err
    assert f"teachers=true out={taught.folder}" in said
    assert "(3)" in said
    out = taught.folder / "scores"
    teacher = "{model: timm/resnet10t, weights: random, size: 32, name: first}"
    for given in ("true", f"[{teacher}]"):
        assert command([*words, f"teachers={given}", f"out={out}"]) == 0
        said = capsys.readouterr().err
        assert f"alumnus report {out}" in said
        assert "warning: first" not in said
        assert read_results(out / "results.json").interference is not None
