"""Conversion to RGB, where Pillow's own is wrong or undefined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alumnus.data.pixels import to_rgb


def _grey(image: Image.Image) -> list[int]:
    red = np.asarray(to_rgb(image))[0, :, 0]
    return [int(value) for value in red]


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_16_bit_is_divided_and_never_clipped(values: list[int]) -> None:
    """Every value is its share of full scale, within half a step."""
    found = _grey(Image.fromarray(np.array([values], np.uint16)))
    assert np.abs(np.array(found) - np.array(values) / 257).max() <= 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.25, 0.5], [0, 64, 128]),
        ([0.0, 7.0, 200.0], [0, 7, 200]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, 500.0, 1000.0], [0, 128, 255]),
        ([5000.0, 5000.0, 5000.0], [0, 0, 0]),
        ([float("nan"), 0.5, float("inf")], [0, 128, 255]),
        ([float("nan"), float("nan"), float("nan")], [0, 0, 0]),
    ],
)
def test_floats_follow_the_rule_for_their_range(values: list[float], expected: list[int]) -> None:
    """[0, 1] and [0, 255] are taken as such, other ranges are stretched, NaN is black."""
    assert _grey(Image.fromarray(np.array([values], np.float32))) == expected


@given(st.integers(0, 255), st.integers(0, 255))
def test_transparency_lies_over_white(value: int, alpha: int) -> None:
    """The result is the mixture of the colour and white, within a step."""
    found = _grey(Image.new("LA", (1, 1), (value, alpha)))
    assert abs(found[0] - (value * alpha + 255 * (255 - alpha)) / 255) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "LA", "PA", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """No mode that a file can have is left out."""
    assert to_rgb(Image.new("RGB", (2, 3)).convert(mode)).mode == "RGB"
