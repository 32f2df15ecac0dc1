"""A student of two networks: one summary, one folder, and either can be left out or stand still."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import alumnus
from alumnus.errors import ArtifactError
from alumnus.models.artifact import load_student, save_student
from alumnus.models.assistant import AssistantShape
from alumnus.models.backbone import extract
from alumnus.models.student import Architecture, Student

NARROW = {"channels": [8, 8, 16, 16]}
CNN = Architecture(
    "resnet10t", 32, 8, NARROW, assistant=AssistantShape("resnet10t", 32, {"channels": [4, 8, 8, 8]})
)
SAME_WIDTH = Architecture(
    "mobilenetv3_small_050", 32, 8, assistant=AssistantShape("mobilenetv3_small_050", 1024)
)
VIT_ARGS = {"depth": 2, "embed_dim": 48, "num_heads": 2, "patch_size": 8}
VIT = Architecture(
    "vit_tiny_patch16_224",
    32,
    8,
    VIT_ARGS,
    assistant=AssistantShape("vit_tiny_patch16_224", 64, {**VIT_ARGS, "embed_dim": 24}),
)
EACH = pytest.mark.parametrize("architecture", [CNN, SAME_WIDTH, VIT], ids=["cnn", "same-width", "vit"])


def _student(architecture: Architecture) -> Student:
    """With an assistant that says something."""
    torch.manual_seed(0)
    student = Student(architecture).eval()
    assert student.assistant is not None
    nn.init.normal_(student.assistant.join.weight)
    return student


def _image() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=generator)


@EACH
def test_the_summary_is_the_sum_of_both(architecture: Architecture) -> None:
    """Each brought to the joint width; the embedding is of the sum."""
    student = _student(architecture)
    output = student(_image())
    image = student._normalised(_image())
    assert student.assistant is not None
    assert student.join is not None
    first = student.join(extract(student.backbone, image).summary)
    second = student.assistant.join(extract(student.assistant.backbone, image).summary)
    torch.testing.assert_close(output.features.summary, first + second)
    torch.testing.assert_close(output.alone, first)
    wanted = nn.functional.normalize(student.embed(first + second), dim=-1)
    torch.testing.assert_close(output.embedding, wanted)
    assert output.features.summary.shape == (3, student.num_features)


@EACH
def test_a_new_assistant_says_nothing(architecture: Architecture) -> None:
    """To the bit, so that S + A begins at S."""
    torch.manual_seed(0)
    output = Student(architecture).eval()(_image())
    assert torch.equal(output.features.summary, output.alone)


@EACH
def test_the_folder_has_both(architecture: Architecture, tmp_path: Path) -> None:
    """What is loaded says the same to the bit, alumnus.load too; timm loads the first network alone."""
    student = _student(architecture)
    folder = save_student(student, tmp_path / "student")
    again = load_student(folder)
    assert again.architecture == architecture
    assert again.state_dict().keys() == student.state_dict().keys()
    wanted = student(_image())
    assert torch.equal(again(_image()).embedding, wanted.embedding)
    assert torch.equal(alumnus.load(folder).encode_tensor(_image()), wanted.embedding)
    assert not torch.equal(wanted.embedding, student(_image(), learning="first").embedding)
    alone = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    image = student._normalised(_image())
    assert torch.equal(extract(alone, image).summary, extract(student.backbone, image).summary)


def test_a_folder_without_its_assistant_is_refused(tmp_path: Path) -> None:
    """And one whose assistant is of another shape; a student without one says nothing of any."""
    folder = save_student(_student(CNN), tmp_path / "student")
    about = json.loads((folder / "alumnus.json").read_text())
    about["architecture"]["assistant"]["model_args"] = {}
    other = save_student(_student(CNN), tmp_path / "other")
    (other / "alumnus.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match=r"do not fit its alumnus\.json"):
        load_student(other)
    (folder / "assistant.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"assistant\.safetensors is not a readable"):
        load_student(folder)
    plain = save_student(Student(Architecture("resnet10t", 32, 8, NARROW)), tmp_path / "plain")
    assert "assistant" not in json.loads((plain / "alumnus.json").read_text())["architecture"]
    assert not (plain / "assistant.safetensors").exists()


@EACH
def test_who_learns(architecture: Architecture) -> None:
    """The other gets no gradient, and keeps the statistics of its batch norms; modes are put back."""
    student = _student(architecture).train()
    for learning, moving in (("first", ("backbone.", "join.")), ("assistant", ("assistant.",))):
        before = {name: buffer.clone() for name, buffer in student.named_buffers()}
        student.zero_grad(set_to_none=True)
        student(_image(), learning=learning).features.summary.square().sum().backward()
        with_gradient = {name for name, p in student.named_parameters() if p.grad is not None}
        assert with_gradient
        assert all(name.startswith(moving) for name in with_gradient)
        moved = {name for name, buffer in student.named_buffers() if not torch.equal(buffer, before[name])}
        assert all(name.startswith(moving) for name in moved)
        assert all(module.training for module in student.modules())


@EACH
def test_patches_and_stages_are_side_by_side(architecture: Architecture) -> None:
    """As the taps say; so are the levels."""
    student = _student(architecture)
    taps = student.taps()
    output = student(_image(), patches=True, stages=True)
    assert taps.grid is not None
    assert output.features.patches.shape == (3, taps.grid.height * taps.grid.width, taps.grid.dim)
    assert tuple(stage.shape[2] for stage in output.stages) == taps.stage_dims
    assert tuple(student.levels(_image())[-1].shape[1:]) == tuple(taps.grid)


def test_micro_batches_change_no_gradient() -> None:
    """Of a transformer, which has no statistics of a batch; also while the first network stands still."""
    student = _student(VIT).train()
    found = []
    for pieces in (1, 2):
        student.micro_batches = pieces
        student.zero_grad(set_to_none=True)
        student(_image(), learning="assistant").embedding[:, 0].sum().backward()
        found.append({name: p.grad for name, p in student.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert not any(name.startswith("backbone.") for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)
