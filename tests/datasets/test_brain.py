"""Brain regions: volumes are read exactly, and no test voxel is in a training picture."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from alumnus.datasets.brain import CLASSES, TEMPLATES, class_of_region, read_head, scenes
from alumnus.datasets.nifti import read_volume
from alumnus.errors import DataError

SHAPE = (41, 60, 50)
LISTING = "1 Precentral_L 2001\n2 Precentral_R 2002\n77 Thalamus_L 7101\n109 Vermis_1_2 9100\n\n"


NOTHING: Mapping[str, int] = {}


def volume(
    path: Path, values: np.ndarray, *, kind: str = "<u1", code: int = 2, claims: Mapping[str, int] = NOTHING
) -> Path:
    """Writes a NIfTI-1 file; `claims` overrides what its header says."""
    header = bytearray(352)
    order = kind[0]
    struct.pack_into(order + "i", header, 0, 348)
    shape = [claims.get("x", values.shape[0]), *values.shape[1:]]
    struct.pack_into(order + "8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into(order + "h", header, 70, code)
    struct.pack_into(order + "3f", header, 108, claims.get("start", 352), claims.get("slope", 1), 0)
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header) + values.astype(kind).tobytes(order="F")))
    return path


@pytest.mark.parametrize(("kind", "code"), [("<u1", 2), (">i2", 4), ("<f4", 16)])
def test_a_volume_is_read_in_its_order(tmp_path: Path, kind: str, code: int) -> None:
    """x runs fastest, in either byte order."""
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    found = read_volume(volume(tmp_path / "a.nii.gz", values, kind=kind, code=code))
    assert np.array_equal(found, values)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"x": 3}, "torn"),
        ({"x": 30_000}, "cannot be"),
        ({"start": 9_000}, "cannot be"),
        ({"slope": 2}, "scales"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, claims: dict[str, int], message: str) -> None:
    """Before anything of that size is made."""
    with pytest.raises(DataError, match=message):
        read_volume(volume(tmp_path / "a.nii.gz", np.zeros((2, 3, 4)), claims=claims))


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"short"), gzip.compress(bytes(400))],
    ids=["empty", "no gzip", "short", "zeros"],  # a gzip file holds the time, and names of tests must not
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """With a DataError."""
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(DataError):
        read_volume(tmp_path / "a.nii.gz")


def test_regions_are_merged_by_their_code() -> None:
    """Both sides alike; what is not listed is background."""
    found = class_of_region(LISTING)
    names = [CLASSES[found[value]] for value in (0, 1, 2, 77, 109, 200)]
    assert names == ["background", "frontal lobe", "frontal lobe", "thalamus", "vermis", "background"]


@pytest.fixture
def head(tmp_path: Path) -> dict[str, Path]:
    """A made-up head: the scan is 100 left of the middle plane and 200 right of it, so that sides can be told."""
    folder = tmp_path / TEMPLATES
    folder.mkdir(parents=True)
    scan, atlas = np.zeros(SHAPE), np.zeros(SHAPE)
    scan[:20], scan[20:] = 100, 200
    atlas[5:-5, 5:-5, 5:-5] = 1
    atlas[10:20, 20:30, 20:30] = 77
    atlas[21:31, 20:30, 20:30] = 77
    volume(folder / "ch2.nii.gz", scan)
    volume(folder / "ch2bet.nii.gz", np.full(SHAPE, 9))
    volume(folder / "aal.nii.gz", atlas)
    (folder / "aal.nii.txt").write_text(LISTING)
    return {"mricron-data": tmp_path}


def test_training_sees_the_left_side_only(head: dict[str, Path]) -> None:
    """And test the right one only, mirrored so that a left mask fits it."""
    found = {scene.name: scene for scene in scenes(head, seed=0, size=60, limit=0)}
    for scene in found.values():
        brightest = np.asarray(scene.image).max()  # a little more than in the scan, from resizing
        assert 195 < brightest < 215 if scene.split == "test" else 95 < brightest < 115
    assert {scene.split for scene in found.values()} == {"train", "val", "test"}
    left, right = found["left-coronal/025"].mask, found["right-coronal/025"].mask
    assert left is not None
    assert np.array_equal(left, right)  # type: ignore[arg-type]  # the made-up head is symmetric


def test_val_keeps_its_distance_from_train(head: dict[str, Path]) -> None:
    """In its own direction no slice of it is next to one of train."""
    places: dict[str, list[int]] = {"train": [], "val": []}
    for scene in scenes(head, seed=0, size=60, limit=0):
        if scene.name.startswith("left-coronal"):
            places[scene.split].append(int(scene.name[-3:]))
    assert places["val"]
    assert min(abs(one - other) for one in places["val"] for other in places["train"]) > 2


def test_brain_without_a_region_is_other_brain(head: dict[str, Path]) -> None:
    """Where the bare brain shows something and the atlas nothing."""
    _, regions = read_head(head)
    assert CLASSES[regions[0, 0, 0]] == "other brain"
    assert CLASSES[regions[6, 6, 6]] == "frontal lobe"
