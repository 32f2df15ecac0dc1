"""Cached levels are those that the model gives, whatever holds them; trained levels are those of a copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from alumnus.data.read import read_image
from alumnus.errors import ConfigError, DataError, NonFiniteError
from alumnus.evaluation.dense.encode import CallableDense, PixelDense, StudentDense, untrained
from alumnus.evaluation.dense.features import cached_levels, live_levels
from alumnus.evaluation.dense.letterbox import letterbox, placed
from alumnus.evaluation.dense.segmentation import fit_segmentation
from tests.evaluation.dense.shapes import SIDE, Shapes, colour_encoder, draw_shapes, setup


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """Six pictures."""
    return draw_shapes(tmp_path_factory.mktemp("shapes") / "shapes", 6, seed=1)


@pytest.fixture(scope="module")
def network() -> StudentDense:
    """Three levels with random weights."""
    return untrained("test_resnet", size=64)


def _images(paths: list[str], size: int) -> Tensor:
    images = [read_image(path) for path in paths]
    return torch.from_numpy(
        np.stack([placed(image, letterbox(image.width, image.height, size)) for image in images])
    )


def test_cached_levels_are_the_models(shapes: Shapes, network: StudentDense) -> None:
    """Row by row, to half precision, several levels; rows after the last are mirror images."""
    cache = cached_levels(network, shapes.paths, mirror=True, batch_size=4)
    images = _images(shapes.paths, network.size)
    for rows, expected in (([0, 5], images[[0, 5]]), ([6, 11], images[[0, 5]].flip(-1))):
        for level, exact in zip(cache(np.array(rows)), network.levels(expected), strict=True):
            torch.testing.assert_close(level, exact, rtol=2e-3, atol=2e-3)
    assert cache.values.dtype == np.float16


def test_a_file_holds_the_same(shapes: Shapes, network: StudentDense, tmp_path: Path) -> None:
    """And leaves nothing behind, not even while it is in use."""
    memory = cached_levels(network, shapes.paths)
    file = cached_levels(network, shapes.paths, folder=tmp_path, in_memory=0)
    assert isinstance(file.values, np.memmap)
    assert np.array_equal(memory.values, file.values)
    assert not list(tmp_path.iterdir())


def test_large_numbers_get_full_precision(shapes: Shapes) -> None:
    """From the first one on that half precision would make infinite; those before are kept."""
    small, paths = colour_encoder(), shapes.paths[2:]  # the first of these has no rectangle
    encoder = CallableDense(
        lambda image: small.dense(image) * (1e6 if image.max() > 150 else 1), name="large", size=SIDE
    )
    cache = cached_levels(encoder, paths, batch_size=1)
    expected = torch.cat([encoder.dense(image[None]) for image in _images(paths, SIDE)])
    assert expected[0].max() < 1
    assert cache.values.dtype == np.float32
    torch.testing.assert_close(cache(np.arange(4))[0], expected, rtol=1e-3, atol=1e-3)


def test_broken_features_stop_it(shapes: Shapes) -> None:
    """With the model and the picture."""
    broken = CallableDense(lambda image: image[:, :, ::8, ::8].float() * torch.nan, name="broken", size=32)
    with pytest.raises(NonFiniteError, match="'broken' gives NaN or infinity for"):
        cached_levels(broken, shapes.paths)


def test_no_picture_is_an_error(tmp_path: Path) -> None:
    """Whether none is given or none can be read."""
    (tmp_path / "a.png").write_bytes(b"")
    for paths in ([], [str(tmp_path / "a.png")]):
        with pytest.raises(DataError, match=f"of {len(paths)} training pictures none can be read"):
            cached_levels(PixelDense(size=32), paths)


def test_live_levels_are_the_models_with_gradients(shapes: Shapes, network: StudentDense) -> None:
    """Also of mirror images."""
    live = live_levels(network, shapes.paths, mirror=True)
    images = _images(shapes.paths, network.size)
    expected = network.levels(torch.cat([images[:1], images[1:2].flip(-1)]))
    levels = live(np.array([0, 7]))
    for level, exact in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, exact.clone(), rtol=1e-4, atol=1e-4)
    assert levels[-1].requires_grad


def test_finetuning_trains_a_copy(shapes: Shapes, network: StudentDense) -> None:
    """The model given stays as it is; the copy's weights move, its batch statistics do not."""
    before = {name: tensor.clone() for name, tensor in network.student.state_dict().items()}
    fitted = fit_segmentation(
        network, shapes.paths, shapes.masks, num_classes=3, setup=setup(2, finetune=True)
    )
    state = fitted.state()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.student.state_dict().items())
    kernels = [name for name, tensor in state.items() if name.startswith("backbone") and tensor.ndim == 4]
    assert kernels
    assert not any(torch.equal(state[name], before[name]) for name in kernels)
    statistics = [name for name in state if name.startswith("backbone") and "running" in name]
    assert statistics
    assert all(torch.equal(state[name], before[name]) for name in statistics)
    assert "head.maps.0.weight" in state


def test_features_serve_several_heads(shapes: Shapes) -> None:
    """The same head as without; those of other pictures, or without the mirror images asked for, are refused."""
    encoder = colour_encoder()
    features = cached_levels(encoder, shapes.paths)
    given, made = (
        fit_segmentation(
            encoder, shapes.paths, shapes.masks, num_classes=3, setup=setup(3), features=each
        ).state()
        for each in (features, None)
    )
    assert all(torch.equal(given[name], made[name]) for name in made)
    with pytest.raises(ConfigError, match="of 6 pictures"):
        fit_segmentation(
            encoder, shapes.paths[1:], shapes.masks[1:], num_classes=3, setup=setup(1), features=features
        )
    with pytest.raises(ConfigError, match="flip=True"):
        fit_segmentation(
            encoder, shapes.paths, shapes.masks, num_classes=3, setup=setup(1, flip=True), features=features
        )


def test_what_cannot_be_trained_is_refused(shapes: Shapes) -> None:
    """A function has no network that is known."""
    with pytest.raises(ConfigError, match="'colour' cannot be trained"):
        fit_segmentation(
            colour_encoder(), shapes.paths, shapes.masks, num_classes=3, setup=setup(1, finetune=True)
        )
