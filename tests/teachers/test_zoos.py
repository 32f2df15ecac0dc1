"""Teachers from timm and torchvision against these libraries called by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from alumnus.errors import NonFiniteError, TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

CPU = torch.device("cpu")


def _load(model: str, **settings: object) -> Teacher:
    return load_teacher(TeacherSpec.model_validate({"model": model, **settings}), device=CPU)


def _saved(module: nn.Module, folder: Path) -> str:
    torch.save(module.state_dict(), folder / "weights.pth")
    return str(folder / "weights.pth")


def _normalised(image: Tensor, teacher: Teacher) -> Tensor:
    mean, std = torch.tensor(teacher.mean).view(3, 1, 1), torch.tensor(teacher.std).view(3, 1, 1)
    return (image - mean) / std


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_a_timm_teacher_is_timm(name: str, tmp_path: Path) -> None:
    """The pooled features before the classifier; the classifier's own output as logits."""
    model = timm.create_model(name, num_classes=7).eval()
    weights, image = _saved(model, tmp_path), torch.rand(2, 3, 160, 160)
    teacher = _load(f"timm/{name}", weights=weights)
    with torch.no_grad():
        logits = model(_normalised(image, teacher))
        model.reset_classifier(0)  # type: ignore[operator]
        expected = model(_normalised(image, teacher))
    assert teacher.size == 160
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)
    spoken = _load(f"timm/{name}", weights=weights, output="logits")
    torch.testing.assert_close(spoken(image).summary, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["timm/test_vit", "torchvision/mobilenet_v3_small", "torchvision/squeezenet1_1"]
)
def test_safetensors_and_the_name_of_the_architecture_are_enough(name: str, tmp_path: Path) -> None:
    """The numbers of the module that was saved; other weights, another fingerprint."""
    zoo, _, architecture = name.partition("/")
    prints = set()
    for _ in range(2):
        create = timm.create_model if zoo == "timm" else torchvision.models.get_model
        model = create(architecture).eval()
        safetensors.torch.save_model(model, str(tmp_path / "w.safetensors"))
        teacher = _load(name, weights=str(tmp_path / "w.safetensors"), output="logits")
        image = torch.rand(2, 3, teacher.size, teacher.size)
        with torch.no_grad():
            expected = model(_normalised(image, teacher))
        torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)
        prints.add(teacher.fingerprint)
    assert len(prints) == 2


def test_normalisation_is_timms_unless_the_recipe_says_otherwise() -> None:
    """EfficientNet-Lite's is .5; a recipe may know better."""
    assert _load("timm/tf_efficientnet_lite0", weights="random", size=64).mean == (0.5, 0.5, 0.5)
    teacher = _load("timm/test_resnet", weights="random", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
    assert (teacher.mean, teacher.std) == ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))


def test_a_vision_transformer_goes_to_another_size(tmp_path: Path) -> None:
    """With its weights, position embeddings resampled as timm does, from the same file."""
    model = timm.create_model("test_vit", num_classes=0).eval()
    weights, image = _saved(model, tmp_path), torch.rand(2, 3, 96, 96)
    teacher = _load("timm/test_vit", weights=weights, size=96)
    model.set_input_size(img_size=96)  # type: ignore[operator]  # the library's own way, on the model
    with torch.no_grad():
        expected = model(_normalised(image, teacher))
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "nearest"), [(100, 96), (8, 16), (89, 96)])
def test_a_side_of_no_whole_number_of_patches_names_the_nearest(size: int, nearest: int) -> None:
    """Timm itself would cut the rest off."""
    with pytest.raises(TeacherError, match=f"multiple of its patches of 16 px; nearest valid is {nearest}"):
        _load("timm/test_vit", weights="random", size=size)


def test_a_convolutional_network_takes_any_size() -> None:
    """Also an odd one."""
    assert _load("timm/test_resnet", weights="random", size=97).size == 97


@pytest.mark.parametrize(("name", "cells"), [("test_vit", 36), ("test_resnet", 9), ("test_convnext", 9)])
def test_patches_come_row_by_row(name: str, cells: int) -> None:
    """Without class tokens: the mean of a network pooled by the mean is its patches' mean."""
    image = torch.rand(2, 3, 96, 96)
    features = _load(f"timm/{name}", weights="random", size=96, output="patches")(image)
    assert features.patches is not None
    assert features.patches.shape[:2] == (2, cells)
    assert _load(f"timm/{name}", weights="random", size=96)(image).patches is None


def test_patches_of_a_channels_last_network() -> None:
    """Swin keeps its grid as (n, H, W, D); the mean of its patches is its summary."""
    teacher = _load("timm/swin_tiny_patch4_window7_224", weights="random", size=64, output="patches")
    features = teacher(torch.rand(1, 3, 64, 64))
    assert features.patches is not None
    torch.testing.assert_close(features.patches.mean(1), features.summary, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3"), ("shufflenet_v2_x0_5", "fc")],
)
def test_a_torchvision_teacher_is_torchvision(name: str, head: str, tmp_path: Path) -> None:
    """The summary is what enters the last linear layer, which gives the logits; ImageNet's normalisation."""
    model = torchvision.models.get_model(name, weights=None, num_classes=7).eval()
    weights, image = _saved(model, tmp_path), torch.rand(2, 3, 64, 64)
    teacher = _load(f"torchvision/{name}", weights=weights, size=64)
    assert teacher.mean == (0.485, 0.456, 0.406)
    summary = teacher(image).summary
    with torch.no_grad():
        logits = model(_normalised(image, teacher))
        torch.testing.assert_close(model.get_submodule(head)(summary), logits, rtol=1e-4, atol=1e-4)
    spoken = _load(f"torchvision/{name}", weights=weights, size=64, output="logits")
    torch.testing.assert_close(spoken(image).summary, logits, rtol=1e-4, atol=1e-4)


def test_torchvision_says_its_size() -> None:
    """Of the weights' own transform."""
    assert _load("torchvision/mobilenet_v2", weights="random").size == 224


def test_a_torchvision_network_without_linear_classifier_has_logits_only() -> None:
    """SqueezeNet ends in a convolution."""
    with pytest.raises(TeacherError, match="use output=logits"):
        _load("torchvision/squeezenet1_1", weights="random", size=64)


def test_torchvisions_transformer_keeps_its_size() -> None:
    """The way out is named."""
    with pytest.raises(TeacherError, match="made for size=224, got size=96"):
        _load("torchvision/vit_b_32", weights="random", size=96)


def test_half_precision_is_near() -> None:
    """The result is float32 again; also inside a caller's autocast, which does not reach a float32 teacher."""
    image = torch.rand(2, 3, 64, 64)
    full = _load("timm/test_resnet", weights="random", size=64)
    half = _load("timm/test_resnet", weights="random", size=64, dtype="bfloat16")(image).summary
    expected = full(image).summary
    assert half.dtype == torch.float32
    assert 0 < (half - expected).norm() / expected.norm() < 0.03
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(full(image).summary, expected, rtol=0, atol=0)


def test_no_gradient_reaches_a_teacher_and_its_targets_are_usable() -> None:
    """A loss on targets can be differentiated; not with respect to the teacher or its images."""
    teacher = _load("timm/test_resnet", weights="random", size=64)
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    summary = teacher(image).summary
    assert not summary.requires_grad
    projection = torch.ones(summary.shape[1], requires_grad=True)
    (gradient,) = torch.autograd.grad((summary * projection).sum(), [projection])
    torch.testing.assert_close(gradient, summary.sum(0))


def test_the_wrong_image_is_refused() -> None:
    """Bytes, or another side."""
    teacher = _load("timm/test_resnet", weights="random", size=64)
    for image in (torch.rand(1, 3, 32, 32), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(TeacherError, match="wants"):
            teacher(image)


def test_no_image_gives_features_of_the_right_width() -> None:
    """Without running anything."""
    teacher = _load("timm/test_resnet", weights="random", size=64, output="patches")
    features = teacher(torch.zeros(0, 3, 64, 64))
    assert features.summary.shape == (0, teacher.num_features)
    assert features.patches is not None
    assert features.patches.shape[0] == 0


def test_broken_weights_are_named(tmp_path: Path) -> None:
    """NaN is found when the teacher is loaded."""
    model = timm.create_model("test_resnet", num_classes=0)
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="teacher broken"):
        _load("timm/test_resnet", weights=_saved(model, tmp_path), name="broken")
