"""Students, teachers, functions and pixels behind one face."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from alumnus.errors import ConfigError, TeacherError
from alumnus.evaluation.dense.encode import CallableDense, PixelDense, StudentDense, TeacherDense, untrained
from alumnus.models.student import Architecture, Student
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.types import DenseEncode, Grid

CPU = torch.device("cpu")


def _image(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)


def _teacher(model: str, **settings: object) -> TeacherDense:
    spec = TeacherSpec.model_validate({"model": model, **settings})
    return TeacherDense(load_teacher(spec, device=CPU))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_student_and_teacher_agree_on_the_same_network(name: str, tmp_path: Path) -> None:
    """Same weights, same levels."""
    student = Student(Architecture(model=name, size=160, embed_dim=4))
    torch.save(student.backbone.state_dict(), tmp_path / "weights.pth")
    teacher = _teacher(
        f"timm/{name}",
        weights=str(tmp_path / "weights.pth"),
        size=160,
        mean=student.architecture.mean,
        std=student.architecture.std,
    )
    mine, image = StudentDense(student), _image(160)
    assert mine.grids == teacher.grids
    for level, other in zip(mine.levels(image), teacher.levels(image), strict=True):
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine.dense(image), mine.levels(image)[-1])
    assert mine.grids[-1] == Grid(*mine.dense(image).shape[1:])


def test_a_student_in_training_stays_in_training() -> None:
    """And its batch statistics stay as they are."""
    student = Student(Architecture(model="test_resnet", size=64, embed_dim=4)).train()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    StudentDense(student).levels(_image(64))
    assert student.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_a_teacher_without_grid_says_so() -> None:
    """A summary alone is no picture of a place."""
    with pytest.raises(TeacherError, match="no square grid of patches"):
        _teacher("torchvision/resnet18", weights="random", size=64)


def test_an_onnx_grid_is_a_level(tmp_path: Path) -> None:
    """An output of four axes."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = nn.Conv2d(3, 5, 8, stride=8).eval()
    path = tmp_path / "grid.onnx"
    torch.onnx.export(network, (torch.zeros(2, 3, 32, 32),), path, dynamo=True, verbose=False)
    teacher, image = _teacher(f"onnx:{path}"), _image(32)
    assert teacher.grids == (Grid(5, 4, 4),)
    torch.testing.assert_close(teacher.dense(image), network(image.float() / 255), rtol=1e-4, atol=1e-4)


def test_pixels_are_the_colours_of_their_cell() -> None:
    """192 numbers: channel by channel, row by row, less a half."""
    encoder, image = PixelDense(size=32), _image(32)
    cell = image[:, :, 8:16, 16:24].flatten(1).float() / 255 - 0.5
    torch.testing.assert_close(encoder.dense(image)[:, :, 1, 2], cell)
    assert encoder.grids == (Grid(192, 4, 4),)
    with pytest.raises(ConfigError, match="not a multiple of 8"):
        PixelDense(size=30)


def test_an_untrained_network_is_the_same_every_time() -> None:
    """And building it leaves the run's random numbers alone."""
    image, state = _image(64), torch.random.get_rng_state()
    first, second, other = (untrained("test_resnet", size=64, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first.dense(image), second.dense(image))
    assert not torch.equal(first.dense(image), other.dense(image))


def test_a_function_has_to_give_grids() -> None:
    """One, or several from fine to coarse."""
    encoder: DenseEncode = CallableDense(
        lambda image: (image[:, :, ::2, ::2].float(), image[:, :1, ::4, ::4].float()), name="two", size=8
    )
    assert encoder.grids == (Grid(3, 4, 4), Grid(1, 2, 2))
    with pytest.raises(ConfigError, match="needed are grids"):
        CallableDense(lambda image: image.float().mean((2, 3)), name="flat", size=8)
