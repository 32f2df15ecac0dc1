"""A teacher is known again while nothing that decides it changed, and never when something did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alumnus.teachers.origin import absolute, is_same, origin_of
from alumnus.teachers.spec import TeacherSpec


def _spec(**values: object) -> TeacherSpec:
    return TeacherSpec.model_validate(values)


def test_name_domains_weight_and_licence_do_not_matter() -> None:
    """They change no output."""
    plain = origin_of(_spec(model="timm/resnet18", weights="random"))
    other = _spec(model="timm/resnet18", weights="random", name="x", domains=["a"], weight=3, licence="MIT")
    assert is_same(plain, origin_of(other))


@pytest.mark.parametrize(
    "change", [{"size": 64}, {"mean": [0.5] * 3}, {"dtype": "bfloat16"}, {"output": "logits"}]
)
def test_everything_else_matters(change: dict[str, object]) -> None:
    """Size, normalisation, precision, output."""
    first = origin_of(_spec(model="timm/resnet18", weights="random"))
    assert not is_same(first, origin_of(_spec(model="timm/resnet18", weights="random", **change)))


def test_a_file_of_another_size_or_time_is_another_teacher(tmp_path: Path) -> None:
    """And one that is gone is not known at all."""
    file = tmp_path / "net.pt2"
    file.write_bytes(b"abc")
    first = origin_of(_spec(model=f"export:{file}"))
    assert is_same(first, origin_of(_spec(model=f"export:{file}")))
    os.utime(file, ns=(1, 1))
    assert not is_same(first, origin_of(_spec(model=f"export:{file}")))
    file.unlink()
    assert origin_of(_spec(model=f"export:{file}")) is None


def test_folders_are_known_by_their_tensors_and_descriptions(tmp_path: Path) -> None:
    """A card may change."""
    for name in ("model.safetensors", "config.json", "README.md"):
        (tmp_path / name).write_bytes(b"x")
    first = origin_of(_spec(model=f"alumnus:{tmp_path}"))
    (tmp_path / "README.md").write_bytes(b"longer")
    assert is_same(first, origin_of(_spec(model=f"alumnus:{tmp_path}")))
    (tmp_path / "config.json").write_bytes(b"longer")
    assert not is_same(first, origin_of(_spec(model=f"alumnus:{tmp_path}")))


def test_a_run_folder_is_known_by_the_student_in_it(tmp_path: Path) -> None:
    """Its own files say nothing of the weights."""
    student = tmp_path / "student"
    student.mkdir()
    (student / "model.safetensors").write_bytes(b"x")
    first = origin_of(_spec(model=f"alumnus:{tmp_path}"))
    (student / "model.safetensors").write_bytes(b"longer")
    assert not is_same(first, origin_of(_spec(model=f"alumnus:{tmp_path}")))


def test_code_and_hubs_are_never_known_without_loading() -> None:
    """They may change without leaving a trace."""
    for model in (print, "python:package.module:function", "hf:owner/name", "hub:folder:entry"):
        assert origin_of(_spec(model=model)) is None
    assert not is_same(None, None)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a store can be verified from anywhere; names stay names."""
    (tmp_path / "w.pth").touch()
    (tmp_path / "n.onnx").touch()
    monkeypatch.chdir(tmp_path)
    found = absolute(_spec(model="timm/resnet18", weights="w.pth"))
    assert found is not None
    assert (found["model"], found["weights"]) == ("timm/resnet18", str(tmp_path / "w.pth"))
    graph = absolute(_spec(model="onnx:n.onnx"))
    assert graph is not None
    assert graph["model"] == f"onnx:{tmp_path / 'n.onnx'}"
    assert absolute(_spec(model=print)) is None
