"""Brain regions: slices of a human head in magnetic resonance, and which lobe or nucleus each pixel is. Real sensor data, one person.

Source: Debian `mricron-data` (BSD-3-Clause): `ch2`, the average of 27 T1 scans of one young man (Holmes et al. 1998, 1 mm), and AAL, 116
regions drawn by hand in it (Tzourio-Mazoyer et al. 2002). Labels: a mask; the class is one of 15: AAL's regions merged by its own code
numbers into lobes, nuclei, cerebellum and vermis, both sides alike; "other brain" is brain without a region (white matter, ventricles,
brain stem), the rest is background. A picture is half a slice, across, along or from above, on a black square.

Splits: by side. The left half of the head is train and, in blocks of slices with a gap around them, val; the right half, mirrored, is test,
so that no test voxel was trained on. Slices of val cross those of train in other directions: it is for early stopping only.

Pitfalls: one head, averaged; the two sides mirror each other nearly; neighbouring slices are near copies. So a score says how well a dense
head reads such features, and nothing about other people or scanners. AAL marks whole gyri including some white matter, with jagged edges
where slices cross its drawing direction. The macaque of the same package is left out: its 724 regions do not match.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.datasets.dense import resized_mask
from alumnus.datasets.known import DatasetInfo, Folders, Scene
from alumnus.datasets.nifti import read_volume
from alumnus.errors import DataError
from alumnus.packages import Package

TEMPLATES = "usr/share/mricron/templates"
# First and last of AAL's code numbers -> class.
CODES = {
    (2001, 2999): "frontal lobe",
    (3000, 3999): "insula",
    (4000, 4099): "cingulate",
    (4100, 4199): "hippocampus",
    (4200, 4299): "amygdala",
    (5000, 5999): "occipital lobe",
    (6000, 6999): "parietal lobe",
    (7000, 7009): "caudate",
    (7010, 7029): "putamen and pallidum",
    (7100, 7199): "thalamus",
    (8000, 8999): "temporal lobe",
    (9000, 9099): "cerebellum",
    (9100, 9199): "vermis",
}
CLASSES = ("background", "other brain", *CODES.values())
DIRECTIONS = {"sagittal": 0, "coronal": 1, "axial": 2}  # name -> axis that a slice is taken across
MIN_BRAIN = 0.04  # share of a slice
BLOCK, GAP, EVERY = 8, 2, 5  # slices; one block of so many is val, without those next to a border

INFO = DatasetInfo(
    name="brain",
    title="Brain regions: lobes and nuclei in slices of a human head",
    kind="photo",
    task="segmentation",
    packages=(
        Package(
            "debian",
            "mricron-data",
            "1.2.20211006+dfsg-4",
            "d40aa0ed66cf89bf6cafa049ad3884703c9d975c2ee2737525b7196528df9d6f",
            "BSD-3-Clause",
        ),
    ),
    classes=len(CLASSES),
    images=724,
    notes="Magnetic resonance of one person; test is the other half of the same head: no claim about other people.",
    size=224,
    mask_classes=CLASSES,
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields the slices of the left half, then of the right one, direction by direction; nothing is random."""
    head, regions = read_head(folders)
    middle = head.shape[0] // 2
    left = slice(0, middle)
    right = slice(head.shape[0] - 1, head.shape[0] - 1 - middle, -1)  # mirrored
    taken = dict.fromkeys(("train", "val", "test"), 0)
    for side, half in (("left", left), ("right", right)):
        for direction, axis in DIRECTIONS.items():
            for place in range(head[half].shape[axis]):
                split = _split(place) if side == "left" else "test"
                mask = _turned(regions[half], axis, place)
                if split == "spare" or (mask > 0).mean() < MIN_BRAIN or (limit and taken[split] >= limit):
                    continue
                taken[split] += 1
                image, square = _squared(_turned(head[half], axis, place), mask, size)
                yield Scene(
                    f"{side}-{direction}/{place:03d}", f"{side}-{direction}", split, image, mask=square
                )


def read_head(folders: Folders) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the scan and the class of each voxel, both (X, Y, Z) from left to right, back to front, bottom to top.

    Raises:
        DataError: the package is not what it was.
    """
    folder = folders["mricron-data"] / TEMPLATES
    head, bare, atlas = (read_volume(folder / f"{name}.nii.gz") for name in ("ch2", "ch2bet", "aal"))
    if not head.shape == bare.shape == atlas.shape or atlas.dtype != np.uint8:
        raise DataError(
            f"{folder}: head, brain and regions have shapes {head.shape}, {bare.shape}, {atlas.shape}"
        )
    of_region = class_of_region((folder / "aal.nii.txt").read_text(encoding="utf-8"))
    regions = of_region[atlas]
    regions[(regions == 0) & (bare != 0)] = CLASSES.index("other brain")
    return head.astype(np.uint8), regions


def class_of_region(listing: str) -> NDArray[np.uint8]:
    """Returns the class of each value of the atlas, (256,), from its list of lines "value name code"."""
    found = np.zeros(256, np.uint8)
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 3:
            value, code = int(words[0]), int(words[2])
            found[value] = next(
                CLASSES.index(name) for (first, last), name in CODES.items() if first <= code <= last
            )
    return found


def _split(place: int) -> str:
    block, within = divmod(place, BLOCK)
    if block % EVERY == EVERY // 2:
        return "val" if GAP <= within < BLOCK - GAP else "spare"
    return "train"


def _turned(volume: NDArray[np.uint8], axis: int, place: int) -> NDArray[np.uint8]:
    """A slice as one looks at it: up is up, or to the front in one from above."""
    return np.flipud(volume.take(place, axis=axis).T)


def _squared(
    plane: NDArray[np.uint8], mask: NDArray[np.uint8], size: int
) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Lays a slice and its mask into the middle of a black square of `size` px."""
    height, width = plane.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    pixels, labels = np.zeros((2, side, side), np.uint8)
    pixels[top : top + height, left : left + width] = plane
    labels[top : top + height, left : left + width] = mask
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    return image, resized_mask(labels, (size, size))
