"""Every known data set of a dense task, with its real packages and a few pictures: what it gives, and that it gives it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.dense import read_depth, read_mask
from alumnus.data.read import read_image
from alumnus.datasets import get, info, names
from alumnus.datasets.known import DENSE

SETS = [name for name in names() if info(name).task in DENSE]
SIZE = 160


def _built(name: str, folder: Path) -> Path:
    for package in info(name).needs or {}:
        pytest.importorskip(package)
    return get(name, out=folder, size=SIZE, limit_per_class=3)


def test_there_are_such_sets() -> None:
    """The seven of the benchmark, and the real pairs."""
    assert {
        "freedoom_objects",
        "trees",
        "cutout_objects",
        "brain",
        "cutout_masks",
        "furniture_scenes",
        "freedoom_depth",
        "stereo_pairs",
    } <= set(SETS)


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_a_dense_set_is_what_it_says(name: str, tmp_path: Path) -> None:
    """Splits, sizes, classes and values are those of its description."""
    data = open_dataset(_built(name, tmp_path / name))
    assert set(data.split.tolist()) >= ({"test"} if name == "stereo_pairs" else {"train", "val", "test"})
    assert all(max(read_image(path).size) == SIZE for path in data.paths)
    checks = {"detection": _check_objects, "segmentation": _check_masks, "depth": _check_depths}
    checks[info(name).task](name, data)


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
def test_a_dense_set_is_the_same_again(name: str, tmp_path: Path) -> None:
    """Byte by byte, whatever was built before in this process."""
    first, again = (_digest(_built(name, tmp_path / place)) for place in ("a", "b"))
    assert first == again


def _check_objects(name: str, data: Dataset) -> None:
    assert data.objects is not None
    assert set(data.object_classes) == set(info(name).object_classes)
    found = [objects for objects in data.objects if objects is not None]
    assert len(found) == len(data)
    assert sum(len(objects.boxes) for objects in found) > len(data) / 2


def _check_masks(name: str, data: Dataset) -> None:
    assert data.masks is not None
    assert data.mask_classes == info(name).mask_classes
    shown = [read_mask(str(path)) for path in data.masks]
    assert all(mask.min() >= 0 and mask.max() < len(data.mask_classes) for mask in shown)
    assert len(np.unique(np.concatenate([mask.ravel() for mask in shown]))) > 3


def _check_depths(name: str, data: Dataset) -> None:
    assert data.depths is not None
    assert data.depth_unit == info(name).depth_unit
    for path in data.depths:
        depth = read_depth(str(path), unit=data.depth_unit)
        assert (depth > 0).mean() > 0.3
        assert depth.max() < (20 if data.depth_unit == "mm" else 1_900)
        assert depth.std() > 0


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())
