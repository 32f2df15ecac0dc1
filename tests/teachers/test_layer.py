"""`layer:NAME` gives what a layer gives, of any torch network."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def _load(model: object, layer: str, **settings: object) -> Teacher:
    given = {"model": model, "output": f"layer:{layer}", "size": 64, "mean": (0, 0, 0), "std": (1, 1, 1)}
    return load_teacher(TeacherSpec.model_validate({**given, **settings}), device=torch.device("cpu"))


def _saved(module: nn.Module, folder: Path) -> str:
    torch.save(module.state_dict(), folder / "weights.pth")
    return str(folder / "weights.pth")


def test_a_grid_of_timm(tmp_path: Path) -> None:
    """A stage of a ResNet, as timm's own intermediates give it: its mean, and its cells."""
    model = timm.create_model("test_resnet").eval()
    with torch.no_grad():
        stages = model.forward_intermediates(IMAGE, intermediates_only=True)  # type: ignore[operator]
    features = _load("timm/test_resnet", "layer2", weights=_saved(model, tmp_path))(IMAGE)
    expected = next(grid for grid in stages if grid.shape[-1] == 8)
    assert features.patches is not None
    torch.testing.assert_close(features.summary, expected.mean((2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.patches, expected.flatten(2).mT, rtol=1e-4, atol=1e-5)


def test_tokens_of_timm(tmp_path: Path) -> None:
    """A block of a vision transformer: its class token, and its patches."""
    model = timm.create_model("test_vit", img_size=64).eval()
    with torch.no_grad():
        (patches, others), *_ = model.forward_intermediates(  # type: ignore[operator]
            IMAGE, [1], return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
    weights = _saved(timm.create_model("test_vit").eval(), tmp_path)
    assert _load("timm/test_vit", "blocks.1", weights=weights).num_features == patches.shape[-1]
    same = timm.create_model("test_vit", img_size=64).eval()
    same.load_state_dict(model.state_dict())
    features = _load(same, "blocks.1")(IMAGE)
    assert features.patches is not None
    torch.testing.assert_close(features.summary, others[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.patches, patches, rtol=1e-4, atol=1e-5)


def test_a_channels_last_grid_of_torchvision() -> None:
    """A stage of Swin keeps (n, H, W, D)."""
    teacher = _load("torchvision/swin_t", "features.1", weights="random")
    features = teacher(IMAGE)
    assert features.patches is not None
    assert features.patches.shape == (2, 16 * 16, 96)


def test_what_later_layers_do_in_place_is_not_seen(tmp_path: Path) -> None:
    """A ReLU overwrites what the normalisation before it gave."""
    model = torchvision.models.resnet18(num_classes=3).eval()
    weights = _saved(model, tmp_path)
    summary = _load("torchvision/resnet18", "bn1", weights=weights)(IMAGE).summary
    with torch.no_grad():
        expected = model.bn1(model.conv1(IMAGE)).mean((2, 3))
    assert expected.min() < 0
    torch.testing.assert_close(summary, expected, rtol=1e-4, atol=1e-5)


def test_the_classifier_of_torchvision_is_a_layer_too(tmp_path: Path) -> None:
    """Although the summary is made without it; networks that have no summary have layers."""
    model = torchvision.models.resnet18(num_classes=3).eval()
    weights = _saved(model, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            _load("torchvision/resnet18", "fc", weights=weights)(IMAGE).summary, model(IMAGE)
        )
    assert _load("torchvision/squeezenet1_1", "features", weights="random").num_features == 512


class _Detector(nn.Module):
    """Its answer is no features, its trunk's is."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.again = nn.Conv2d(3, 4, 8, stride=8), nn.ReLU()

    def forward(self, image: Tensor) -> dict[str, str]:
        """Text."""
        self.again(self.again(self.trunk(image)))
        return {"answer": "cat"}


def test_layers_of_a_module_of_ones_own() -> None:
    """Whatever the module says in the end."""
    module = _Detector()
    summary = _load(module, "trunk")(IMAGE).summary
    torch.testing.assert_close(summary, module.trunk(IMAGE).mean((2, 3)).detach())


def test_a_layer_that_runs_twice_is_refused() -> None:
    """It would not be clear which time is meant."""
    with pytest.raises(TeacherError, match="layer:again runs 2 times an image"):
        _load(_Detector(), "again")


def test_an_unknown_layer_gets_the_nearest_names() -> None:
    """Several, or else the outermost ones."""
    with pytest.raises(TeacherError, match=r"no layer 'layer2\.1\.conv9'; nearest are .*layer2\.1\.conv"):
        _load("torchvision/resnet18", "layer2.1.conv9", weights="random")
    with pytest.raises(TeacherError, match="no layer 'zzz'; it has trunk, again"):
        _load(_Detector(), "zzz")


def test_what_is_no_torch_has_no_layers() -> None:
    """A plain function."""
    with pytest.raises(TeacherError, match="needs a torch network"):
        _load(lambda image: image, "x")


class _Cube(nn.Module):
    """Grids of 8x8 cells and 8 channels: the shape alone does not say which axis is which."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU())
        self.last, self.none = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Mean."""
        return self.none(self.last(self.first(image).permute(0, 2, 3, 1))).mean((1, 2))  # type: ignore[no-any-return]


def test_a_cube_is_read_as_the_parts_of_the_layer_say() -> None:
    """Convolutions have their channels first, affine layers last; others leave it open."""
    module = _Cube()
    with torch.no_grad():
        first = module.first(IMAGE)
        torch.testing.assert_close(_load(module, "first")(IMAGE).summary, first.mean((2, 3)))
        torch.testing.assert_close(_load(module, "last")(IMAGE).summary, module(IMAGE))
    with pytest.raises(TeacherError, match="could be the first or the last axis"):
        _load(module, "none")


def test_layers_differ_in_their_fingerprints() -> None:
    """As other outputs do."""
    prints = {
        _load("timm/test_resnet", layer, weights="random").fingerprint for layer in ("layer1", "layer2")
    }
    assert len(prints) == 2
