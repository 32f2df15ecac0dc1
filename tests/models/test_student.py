"""The student: any timm network, normalised input, unit-length embedding; its folder is a timm folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from alumnus.errors import ArtifactError, ConfigError
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student

CNN = Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8)
VIT = Architecture(
    model="vit_tiny_patch16_224",
    size=32,
    embed_dim=8,
    model_args={"depth": 1, "embed_dim": 48, "num_heads": 2, "patch_size": 8},
)


def _image(size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_embeddings_are_unit_vectors_of_the_width_asked_for(architecture: Architecture) -> None:
    """A convolutional and a transformer student both give (B, E) of length 1."""
    output = Student(architecture).eval()(_image())
    assert output.embedding.shape == (2, 8)
    assert torch.allclose(output.embedding.norm(dim=-1), torch.ones(2))
    assert output.features.summary.ndim == 2


def test_uint8_and_unit_range_input_are_the_same() -> None:
    """uint8 images and the same images in [0, 1] give the same embedding."""
    student = Student(CNN).eval()
    assert torch.equal(student(_image()).embedding, student(_image().float() / 255).embedding)


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_a_saved_student_comes_back_the_same(architecture: Architecture, tmp_path: Path) -> None:
    """Saving and loading changes no bit of the embedding, and leaves no temporary folder."""
    student = Student(architecture).eval()
    folder = save_student(student, tmp_path / "student", provenance={"seed": 1})
    assert torch.equal(load_student(folder)(_image()).embedding, student(_image()).embedding)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_timm_loads_the_backbone_from_the_folder(architecture: Architecture, tmp_path: Path) -> None:
    """`timm.create_model("local-dir:…")` gives the same summary."""
    student = Student(architecture).eval()
    folder = save_student(student, tmp_path / "student")
    backbone = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    normalised = (_image().float() / 255 - student.mean) / student.std
    wanted = student(_image()).features.summary
    assert torch.allclose(backbone(normalised), wanted, atol=1e-5)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A misspelt architecture names the one that was meant."""
    with pytest.raises(ConfigError, match=r"did you mean 'resnet18'"):
        Student(Architecture(model="resnett18", size=32, embed_dim=8))


@pytest.mark.parametrize("lost", ["model.safetensors", "heads.safetensors", "config.json", "alumnus.json"])
def test_an_incomplete_folder_is_refused_by_name(lost: str, tmp_path: Path) -> None:
    """The message says which file is missing."""
    folder = save_student(Student(CNN), tmp_path / "student")
    (folder / lost).unlink()
    with pytest.raises(ArtifactError, match=lost):
        load_student(folder)


def test_a_run_folder_points_to_its_student(tmp_path: Path) -> None:
    """Who gives the run's folder instead of the student's is told where it is."""
    save_student(Student(CNN), tmp_path / "student")
    with pytest.raises(ArtifactError, match="student/"):
        load_student(tmp_path)


def test_torn_and_foreign_content_is_refused(tmp_path: Path) -> None:
    """A cut tensor file, another version and broken JSON are ArtifactErrors."""
    folder = save_student(Student(CNN), tmp_path / "student")
    for name, content in [
        ("model.safetensors", b"torn"),
        ("alumnus.json", b"{"),
        ("alumnus.json", json.dumps({"version": 99}).encode()),
        ("alumnus.json", json.dumps({"version": 1, "architecture": {"model": "resnet18"}}).encode()),
    ]:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(content)
        with pytest.raises(ArtifactError):
            load_student(copy)
        shutil.rmtree(copy)


UDON = replace(CNN, normalise_summary=True)


def test_a_head_on_a_summary_of_unit_length_does_not_see_its_length() -> None:
    """Bias and all: a backbone whose summaries are three times as long gives the same embedding; without the switch another."""
    for architecture, is_same in ((UDON, True), (CNN, False)):
        student = Student(architecture).eval()
        assert isinstance(student.embed, nn.Linear)
        nn.init.normal_(student.embed.bias)
        before = student(_image())
        longer = 3 * before.features.summary
        assert torch.allclose(student._embedded(longer), before.embedding, atol=1e-6) is is_same


@pytest.mark.parametrize("architecture", [UDON, replace(CNN, embed_hidden=(12, 10))], ids=["unit", "mlp"])
def test_the_kind_of_head_is_part_of_the_saved_student(architecture: Architecture, tmp_path: Path) -> None:
    """What encodes is the same function after loading."""
    student = Student(architecture).eval()
    again = load_student(save_student(student, tmp_path / "student"))
    assert again.architecture == architecture
    assert torch.equal(again(_image()).embedding, student(_image()).embedding)


def test_a_folder_from_before_there_were_kinds_of_heads_loads_unchanged(tmp_path: Path) -> None:
    """Its description does not say, and means one affine layer on the summary as it is."""
    student = Student(CNN).eval()
    folder = save_student(student, tmp_path / "student")
    about = json.loads((folder / "alumnus.json").read_text())
    for name in ("normalise_summary", "embed_hidden"):
        del about["architecture"][name]
    (folder / "alumnus.json").write_text(json.dumps(about))
    assert torch.equal(load_student(folder)(_image()).embedding, student(_image()).embedding)


def test_the_head_can_be_had_without_the_backbone() -> None:
    """The same vectors; their gradient moves the head alone."""
    student = Student(UDON).eval()
    output = student(_image(), head_only=True)
    assert output.head_only is not None
    assert torch.equal(output.head_only, output.embedding)
    output.head_only[:, 0].sum().backward()
    assert student.embed.weight.grad is not None
    assert all(parameter.grad is None for parameter in student.backbone.parameters())
    assert student(_image()).head_only is None
