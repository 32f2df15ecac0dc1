"""What may be compared, and what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from alumnus.bench.models import Given, Zoo, named_pair, read_models
from alumnus.errors import ConfigError
from alumnus.models.artifact import save_student
from alumnus.models.student import Architecture, Student

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that holds a student of 5 numbers at 32 px."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    folder.mkdir()
    save_student(Student(Architecture(model="test_efficientnet", size=32, embed_dim=5)), folder / "student")
    return folder


def colour(image: torch.Tensor) -> torch.Tensor:
    """(n, 3)."""
    return image.mean((2, 3))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("pixels", "pixels"),
        ("untrained:timm/test_vit", "untrained-test_vit"),
        ("timm/resnet18.a1_in1k", "resnet18"),
        ("torchvision/resnet18", "resnet18"),
        ("onnx:some/faces v2.onnx", "faces_v2"),
        ("{model: timm/resnet18, weights: random, size: 96, name: mine}", "mine"),
        ({"model": colour, "size": 8}, "colour"),
    ],
)
def test_names(given: Given, name: str) -> None:
    """Short, known before anything is loaded."""
    assert [entry.name for entry in read_models([given])] == [name]


def test_a_run_its_student_and_the_alumnus_source_are_the_same(student: Path) -> None:
    """Called by the run's folder."""
    entries = [read_models([given])[0] for given in (str(student), student / "student", f"alumnus:{student}")]
    assert {(entry.name, entry.folder) for entry in entries} == {("mine", student / "student")}


def test_a_pair_is_named_as_models_are_called_or_as_they_are_given(student: Path) -> None:
    """Folders of the run and of the student, sources and mappings are all one model's."""
    entries = read_models([str(student), "untrained:timm/test_vit", "pixels"])
    for one in ("mine", str(student), str(student / "student"), f"alumnus:{student}"):
        assert named_pair([one, "untrained:timm/test_vit"], entries) == ["mine", "untrained-test_vit"]
    assert named_pair([], entries) == []
    for wrong in ("untrained:test_vit", "untrained:"):
        with pytest.raises(ConfigError, match=f"compare: there is no model '{wrong}'"):
            named_pair([wrong, "pixels"], entries)


def test_the_name_of_a_student_is_checked_too(student: Path) -> None:
    """Its cells lie in a folder of that name."""
    assert read_models([{"model": student, "name": "best-one"}])[0].name == "best-one"
    for source in (str(student), f"alumnus:{student}"):
        with pytest.raises(ConfigError, match=r"name: .*pattern.*got '\.\./x'"):
            read_models([{"model": source, "name": "../x"}])


def test_a_file_lists_models(tmp_path: Path) -> None:
    """Sources and mappings."""
    path = tmp_path / "models.yaml"
    path.write_text("- pixels\n- {model: timm/resnet18, name: r, weights: random}\n")
    assert [entry.name for entry in read_models([str(path)])] == ["pixels", "r"]
    path.write_text("a: b")
    with pytest.raises(ConfigError, match="needed is a list"):
        read_models([str(path)])


def test_a_file_that_names_itself_is_refused(tmp_path: Path) -> None:
    """Straight away or through another one; one that two others name is no loop."""
    one, other, shared = (tmp_path / f"{name}.yaml" for name in ("one", "other", "shared"))
    one.write_text(f"- pixels\n- {other}\n")
    for inner in (one, other):
        other.write_text(f"- {inner}\n")
        with pytest.raises(
            ConfigError, match=rf"other\.yaml name .*{inner.name}, the list that they stand in"
        ):
            read_models([one])
    shared.write_text("- timm/test_vit\n")
    one.write_text(f"- {shared}\n- {other}\n")
    other.write_text(f"- {shared}\n")
    with pytest.raises(ConfigError, match="two models are named 'test_vit'"):
        read_models([one])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("faces.onnx", "did you mean 'onnx:faces.onnx'"),
        ("nowhere/student", "there is no model 'nowhere/student'"),
        ("{model: timm/resnet18, wieghts: a}", "did you mean 'weights'"),
        ("{size: 3}", "does not say model:"),
        ({"model": "pixels", "size": 3}, "takes no 'size'"),
        ("none.yaml", "cannot be read"),
        ("untrained:resnet18", "did you mean 'untrained:timm/resnet18'"),
        ("untrained:", "names no architecture; write untrained:timm/NAME"),
        ("{model: 'untrained:nothing', name: a}", "names no architecture"),
        ({"model": "pixels", "name": "../../x"}, r"name: .*pattern.*got '\.\./\.\./x'"),
        ({"model": "pixels", "name": 3}, "name: .*string; got 3"),
        ({"model": "pixels", "name": ""}, "name: .*pattern"),
        ({"model": "untrained:timm/test_vit", "name": "a/b"}, "name: .*pattern"),
        ({"model": "timm/test_vit", "name": "a/b"}, "name: .*pattern"),
    ],
)
def test_wrong_models(given: Given, message: str) -> None:
    """Each with what is allowed."""
    with pytest.raises(ConfigError, match=message):
        read_models([given])


def test_a_folder_that_is_no_student(tmp_path: Path) -> None:
    """It is there, so no name is misspelt."""
    with pytest.raises(ConfigError, match="is no student folder"):
        read_models([str(tmp_path)])


def test_a_student_gives_its_embedding_for_retrieval_and_its_features_for_the_rest(student: Path) -> None:
    """With fingerprints of their own, so that neither is taken for the other."""
    model = Zoo(read_models([student]), device=CPU).get("mine", 64)
    assert model.size == 32  # its own, not the suite's
    embedding, features = model.encode("retrieval")(IMAGES), model.encode("classification")(IMAGES)
    assert embedding.shape == (2, 5)
    assert features.shape[1] > 5
    assert model.mark("retrieval") != model.mark("classification") == model.mark("depth")
    assert model.dense().dense(IMAGES).shape[0] == 2


def test_the_suite_says_the_side_where_a_model_does_not() -> None:
    """Another side is another model; one with its own side is loaded once."""
    specs: list[Any] = ["untrained:timm/test_efficientnet", {"model": colour, "size": 8}]
    zoo = Zoo(read_models(specs), device=CPU)
    small, large = (zoo.get("untrained-test_efficientnet", side) for side in (32, 64))
    assert (small.size, large.size) == (32, 64)
    assert small.fingerprint != large.fingerprint
    assert zoo.get("colour", 32) is zoo.get("colour", 64)
    assert zoo.get("colour", 32).size == 8


def test_pixels_have_grids_too() -> None:
    """Of the side that is asked for, cut to whole cells."""
    model = Zoo(read_models(["pixels"]), device=CPU).get("pixels", 36)
    assert model.dense().size == 32
    assert model.dense().dense(IMAGES).shape == (2, 192, 4, 4)
