"""What can be said of teachers before anything is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm

from alumnus.cli import run
from alumnus.errors import ConfigError, TeacherError
from alumnus.models.artifact import save_student
from alumnus.models.cost import cost
from alumnus.models.student import Architecture, Student
from alumnus.teachers.catalogue import catalogue, info
from alumnus.teachers.spec import TeacherSpec


def test_a_part_of_a_name_finds_it() -> None:
    """With its tag, size and licence; `timm/` before it is no hindrance."""
    found = catalogue("resnet18.a1")
    assert found.rows == [("timm/resnet18.a1_in1k", "224", "apache-2.0", "permissive")]
    assert catalogue("timm/resnet18.a1") == found


def test_a_pattern_fits_the_whole_name() -> None:
    """`*` and `?` as in a shell; licences that forbid selling are marked."""
    found = catalogue("convnextv2_atto.*")
    assert len(found.rows) == found.total > 0
    assert {row.use for row in found.rows} == {"non-commercial"}


def test_the_list_is_cut_and_says_so() -> None:
    """The total is that of all."""
    found = catalogue(limit=3)
    assert len(found.rows) == 3
    assert found.total == len(timm.list_pretrained())
    assert found.torchvision > 50


@pytest.mark.parametrize("limit", [0, -1])
def test_a_list_of_nothing_is_refused(limit: int) -> None:
    """Nor are all but the last a list."""
    with pytest.raises(ConfigError, match=f"limit={limit} must be at least 1"):
        catalogue("resnet18", limit=limit)


def test_nothing_found_names_what_is_near() -> None:
    """An error, for scripts."""
    with pytest.raises(TeacherError, match="did you mean 'resnet"):
        catalogue("resnett18")


def test_info_counts_without_building() -> None:
    """Parameters and multiply-adds are those of the real network."""
    found = dict(info("timm/test_vit.r160_in1k"))
    real = cost(timm.create_model("test_vit", num_classes=0), size=160)
    assert found["parameters"].startswith(f"{real.num_parameters:,}")
    assert found["multiply-adds"].startswith(f"{real.multiply_adds:,}")
    assert (found["feature width"], found["size"]) == ("64", "160 px")
    assert "r160_in1k" in found["weights of timm"]


def test_info_warns_of_a_licence() -> None:
    """In words; a permissive one goes without."""
    assert "forbids commercial use" in dict(info("timm/convnextv2_atto.fcmae"))["warning"]
    assert "warning" not in dict(info("timm/test_vit.r160_in1k"))


def test_info_of_torchvision() -> None:
    """From its own table."""
    found = dict(info("torchvision/resnet18"))
    assert found["parameters"].startswith("11,689,512")
    assert found["size"] == "224 px"


def test_info_of_a_student_folder(tmp_path: Path) -> None:
    """Local sources are loaded."""
    student = Student(Architecture("test_efficientnet", size=32, embed_dim=8))
    save_student(student, tmp_path / "student")
    found = dict(info(f"alumnus:{tmp_path / 'student'}"))
    assert found["size"] == "32"
    assert "licence" in found


def test_info_of_what_needs_settings() -> None:
    """A recipe's entry says the size, or that weights shall be random; what is lacking is named."""
    found = dict(
        info(TeacherSpec(model="python:tests.store.made:Counting", size=16, arguments={"weight": 2.0}))
    )
    assert (found["size"], found["num_features"]) == ("16", "12")
    assert dict(info(TeacherSpec(model="timm/test_resnet", weights="random", size=64)))["size"] == "64"
    with pytest.raises(TeacherError, match="give size"):
        info("python:tests.store.made:Counting")


def test_the_verb_info_takes_the_words_of_an_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """Settings inside settings too; an unknown one is named."""
    source = "python:tests.store.made:Counting"
    assert run(["teachers", "info", source, "size=16", "arguments.weight=2.0"]) == 0
    assert "num_features" in capsys.readouterr().out
    assert run(["teachers", "info", source, "sise=16"]) == 2
    assert "did you mean 'size'" in capsys.readouterr().err


def test_info_of_an_architecture_without_a_tag() -> None:
    """timm's choice of weights is described."""
    assert dict(info("timm/resnet18"))["licence"] == "apache-2.0"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("timm/resnett18", "did you mean 'resnet"),
        ("timm/resnet18.a9_in1k", "did you mean 'a"),
        ("torchvision/resnett18", "did you mean 'resnet18'"),
        ("torchvision/resnet18.V9", "IMAGENET1K_V1"),
        ("resnet18", "did you mean 'timm/resnet18'"),
        ("nowhere", "allowed: timm/NAME"),
    ],
)
def test_wrong_sources_are_named(source: str, says: str) -> None:
    """With what is near, or allowed."""
    with pytest.raises(TeacherError, match=says):
        info(source)
