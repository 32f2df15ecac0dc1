"""Two real scenes with measured depth: a motorcycle in a workshop, and an aloe in a pot. Real photographs; there is no class.

Source: the Middlebury stereo benchmarks of 2014 (Scharstein et al., GCPR 2014) and 2006 (Hirschmüller and Scharstein, CVPR 2007), as
Debian's `python3-skimage` (BSD-3-Clause) and `opencv-doc` (Apache-2.0) carry them for their examples; the benchmarks are free for research.
Labels: depth of the left picture along the view's axis in millimetres, from the disparity that was measured with structured light: focal
length x baseline / (disparity + offset); the class is none. The motorcycle's focal length, baseline and offset stand in scikit-image's
documentation; the aloe's (3,740 px, 160 mm, 270 px) are the benchmark's, which no package carries and which were not checked here.
Unknown, 0: where nothing was measured, mostly beside borders. Both are test: there is nothing to train on.

Pitfalls: two pictures. They tell whether a depth head that was trained on rendered rooms does anything sensible on a photograph, no more;
scale and focal length differ from any training set, so compare after fitting a scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.data.read import read_image
from alumnus.datasets.known import DatasetInfo, Folders, Scene
from alumnus.packages import Package

SKIMAGE = "usr/lib/python3/dist-packages/skimage/data"
OPENCV = "usr/share/doc/opencv-doc/examples/data"

INFO = DatasetInfo(
    name="stereo_pairs",
    title="Two real scenes with measured depth, to check heads trained on rendered ones",
    kind="photo",
    task="depth",
    packages=(
        Package(
            "debian",
            "python3-skimage",
            "0.19.3-8",
            "728d88c3e3440f1f3712de0805dc834d29248ff07e1eec8c0f3da07606f752f9",
            "BSD-3-Clause (package); Middlebury 2014 is free for research",
        ),
        Package(
            "debian",
            "opencv-doc",
            "4.6.0+dfsg-12",
            "4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
            "Apache-2.0 (package); Middlebury 2006 is free for research",
        ),
    ),
    classes=0,
    images=2,
    notes="Two photographs, both test: a check, not a training set. The aloe's calibration was not checked.",
    size=640,
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields the motorcycle and the aloe; nothing is random."""
    skimage, opencv = folders["python3-skimage"] / SKIMAGE, folders["opencv-doc"] / OPENCV
    motorcycle = depth_of(
        _disparity(skimage / "motorcycle_disp.npz"), focal=994.978, baseline=193.001, offset=31.086
    )
    aloe = np.asarray(Image.open(opencv / "aloeGT.png", formats=("PNG",)).convert("L"), np.float32)
    aloe = np.where(aloe > 0, aloe, np.nan)
    found = (
        ("motorcycle", skimage / "motorcycle_left.png", motorcycle),
        ("aloe", opencv / "aloeL.jpg", depth_of(aloe, focal=3740, baseline=160, offset=270)),
    )
    for name, path, depth in found[: limit or None]:
        image = read_image(path)
        scale = size / max(image.size)
        sides = round(image.width * scale), round(image.height * scale)
        resized = Image.fromarray(depth).resize(sides, Image.Resampling.NEAREST)
        yield Scene(
            name, name, "test", image.resize(sides, Image.Resampling.LANCZOS), depth=np.asarray(resized)
        )


def depth_of(
    disparity: NDArray[np.floating], *, focal: float, baseline: float, offset: float
) -> NDArray[np.uint16]:
    """Returns depth in mm of (H, W) disparities in px, 0 where they are not finite.

    Args:
        focal: focal length in px.
        baseline: distance of the two cameras in mm.
        offset: px by which the middle of the right picture is shifted.
    """
    known = np.isfinite(disparity)
    depth = focal * baseline / (np.where(known, disparity, 1.0) + offset)
    return np.where(known, np.round(depth), 0).astype(np.uint16)


def _disparity(path: Path) -> NDArray[np.float32]:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays["arr_0"], np.float32)
