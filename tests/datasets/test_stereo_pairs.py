"""Two real scenes: depth from disparity, by hand, and unknown where nothing was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from alumnus.datasets.stereo_pairs import OPENCV, SKIMAGE, depth_of, scenes


def test_depth_is_focal_length_times_baseline_by_disparity() -> None:
    """1,000 px x 200 mm / (90 + 10) px is 2 m; what is not finite is unknown."""
    found = depth_of(np.array([[90.0, np.inf, np.nan]]), focal=1000, baseline=200, offset=10)
    assert found.tolist() == [[2000, 0, 0]]
    assert found.dtype == np.uint16


def test_scenes_of_made_up_packages(tmp_path: Path) -> None:
    """Both are test, in their own aspect, and depth is as large as the picture."""
    skimage, opencv = tmp_path / "a" / SKIMAGE, tmp_path / "b" / OPENCV
    skimage.mkdir(parents=True)
    opencv.mkdir(parents=True)
    Image.new("RGB", (40, 20), (9, 9, 9)).save(skimage / "motorcycle_left.png")
    np.savez(skimage / "motorcycle_disp.npz", np.full((20, 40), 50, np.float32))
    Image.new("RGB", (30, 40), (9, 9, 9)).save(opencv / "aloeL.jpg")
    measured = np.full((40, 30), 104, np.uint8)
    measured[0] = 0
    Image.fromarray(measured).save(opencv / "aloeGT.png")
    packages = {"python3-skimage": tmp_path / "a", "opencv-doc": tmp_path / "b"}
    first, second = scenes(packages, seed=0, size=80, limit=0)
    assert (first.split, second.split) == ("test", "test")
    assert (first.image.size, second.image.size) == ((80, 40), (60, 80))
    assert first.depth is not None
    assert second.depth is not None
    assert (first.depth == round(994.978 * 193.001 / 81.086)).all()
    assert (second.depth[2:] == 1600).all()
    assert (second.depth[:2] == 0).all()
    assert len(list(scenes(packages, seed=0, size=80, limit=1))) == 1
