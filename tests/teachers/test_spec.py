"""What a recipe may say of a teacher."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from alumnus.teachers.spec import TeacherSpec, short_name
from alumnus.training.config import StudentSpec


def test_a_string_is_short_for_a_model() -> None:
    """As in a list of teachers."""
    assert TeacherSpec.model_validate("timm/resnet18") == TeacherSpec(model="timm/resnet18")


def test_one_domain_needs_no_list() -> None:
    """`domains: faces`."""
    assert TeacherSpec.model_validate({"model": "x", "domains": "faces"}).domains == ("faces",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0},
        {"std": [1, 1, 0]},
        {"size": 0},
        {"dtype": "float8"},
        {"domains": []},
        {"name": "a.b"},
        {"wieght": 1},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    """Before anything is loaded."""
    with pytest.raises(ValidationError):
        TeacherSpec.model_validate({"model": "timm/resnet18", **wrong})


@pytest.mark.parametrize(
    ("field", "channels"),
    [
        ("mean", [123.675, 116.28, 103.53]),
        ("mean", [-1, 0.5, 0.5]),
        ("mean", [float("nan"), 0.5, 0.5]),
        ("std", [58.395, 57.12, 57.375]),
        ("std", [1, 1, 255]),
    ],
)
@pytest.mark.parametrize("model", [TeacherSpec, StudentSpec])
def test_statistics_of_0_to_255_are_refused(
    model: type[BaseModel], field: str, channels: list[float]
) -> None:
    """Of a teacher and of the student."""
    with pytest.raises(ValidationError, match=r"channels are in \[0, 1\]; divide by 255"):
        model.model_validate({"model": "timm/resnet18", field: channels})


@pytest.mark.parametrize("std", [1, 0.5, 1 / 255])
def test_statistics_of_0_to_1_are_taken(std: float) -> None:
    """Those that change nothing, and those of a network that takes 0 to 255, among them."""
    values = {"model": "timm/resnet18", "mean": [0, 0.5, 1], "std": [std] * 3}
    assert TeacherSpec.model_validate(values).std == StudentSpec.model_validate(values).std == (std,) * 3


def test_a_callable_is_written_by_its_name() -> None:
    """So that config.yaml and the JSON schema can be written."""
    spec = TeacherSpec.model_validate(len)
    assert spec.model_dump(mode="json")["model"] == "python object builtins.len"
    assert TeacherSpec.model_json_schema()["properties"]["model"]["type"] == "string"


def test_specifications_need_no_torch() -> None:
    """A recipe is checked at once."""
    code = "import sys, alumnus.teachers.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_short_names_have_no_dots() -> None:
    """They become keys of modules and of metrics."""
    assert short_name("faces.v2 (new)") == "faces_v2_new"
