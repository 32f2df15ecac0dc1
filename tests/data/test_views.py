"""Views depend on (seed, key, view) alone, and cut what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from alumnus.data.views import (
    View,
    ViewSettings,
    apply_geometry,
    apply_photometric,
    center_view,
    draw_size,
    draw_view,
)

WHOLE = View(box=(0.0, 0.0, 1.0, 1.0), flip=False, brightness=1.0, contrast=1.0, saturation=1.0)


def _draw(key: int, view: int, *, seed: int = 0, aspect: float = 1.0) -> View:
    return draw_view(
        ViewSettings(scale=(0.2, 0.8), brightness=0.3), seed=seed, key=key, view=view, aspect=aspect
    )


def test_a_view_depends_on_seed_key_and_view_index_only() -> None:
    """The same three numbers give the same view whatever was drawn before; any other gives another."""
    first = _draw(5, 2)
    _draw(9, 9)
    assert _draw(5, 2) == first
    assert len({first, _draw(5, 3), _draw(6, 2), _draw(5, 2, seed=1)}) == 4


@given(row=st.integers(0, 10**9), aspect=st.floats(0.001, 1000))
def test_a_crop_stays_inside_and_keeps_the_allowed_area(row: int, aspect: float) -> None:
    """Boxes lie in the image; in images of a usual aspect the area is within the range asked for."""
    left, top, right, bottom = _draw(row, 0, aspect=aspect).box
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1
    if 0.8 < aspect < 1.25:
        assert 0.2 - 1e-9 <= (right - left) * (bottom - top) <= 0.8 + 1e-9


@given(row=st.integers(0, 10**9), aspect=st.floats(0.001, 1000))
def test_a_crop_may_keep_the_images_own_aspect(row: int, aspect: float) -> None:
    """UnED's views: the same share of either side, 224 / 256, whatever the shape of the image."""
    uned = ViewSettings(scale=(0.875**2, 0.875**2), ratio="image")
    left, top, right, bottom = draw_view(uned, seed=0, key=row, view=0, aspect=aspect).box
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1
    assert right - left == pytest.approx(0.875)
    assert bottom - top == pytest.approx(0.875)


def test_a_step_has_one_of_the_sizes() -> None:
    """Which one depends on seed and step alone; each is as likely. Without any it is the run's own."""
    several = ViewSettings(sizes=(24, 32, 48))
    drawn = [draw_size(several, seed=0, step=step, size=32) for step in range(600)]
    assert [draw_size(several, seed=0, step=step, size=64) for step in reversed(range(600))] == drawn[::-1]
    assert [draw_size(several, seed=1, step=step, size=32) for step in range(600)] != drawn
    assert all(150 < drawn.count(size) < 250 for size in several.sizes)
    assert draw_size(ViewSettings(), seed=0, step=7, size=40) == 40
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        ViewSettings(sizes=(0, 32))


def test_flip_probability_is_kept() -> None:
    """Of 400 views at probability one quarter, about 100 are mirrored; at 0 none is."""
    settings = ViewSettings(flip=0.25)
    flips = [draw_view(settings, seed=0, key=key, view=0, aspect=1).flip for key in range(400)]
    assert 70 < sum(flips) < 130
    never = ViewSettings(flip=0.0)
    assert not any(draw_view(never, seed=0, key=key, view=0, aspect=1).flip for key in range(100))


def test_geometry_cuts_the_quadrant_it_names() -> None:
    """A box on the lower right quarter gives that quarter; the filter reaches beyond it by less than two output pixels."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[20:, 20:, 0] = 200
    crop = apply_geometry(Image.fromarray(pixels), WHOLE._replace(box=(0.5, 0.5, 1.0, 1.0)), size=8)
    assert crop.shape == (3, 8, 8)
    assert (crop[0, 2:, 2:] == 200).all()
    assert (crop[0, :, 0] > 100).all()
    assert (crop[1:] == 0).all()


def test_flip_mirrors_left_and_right() -> None:
    """The mirrored view is the plain one read from right to left."""
    image = Image.fromarray(np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))
    plain, mirrored = (apply_geometry(image, WHOLE._replace(flip=flip), size=12) for flip in (False, True))
    assert np.array_equal(mirrored, plain[:, :, ::-1])


def test_center_view_is_the_middle_square() -> None:
    """Of a 60 x 20 image whose middle third is green, the evaluation view is green."""
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40, 1] = 255
    crop = apply_geometry(Image.fromarray(pixels), center_view(3.0), size=10)
    assert (crop[1, :, 1:-1] == 255).all()


@pytest.mark.parametrize("sides", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_images_give_a_full_view(sides: tuple[int, int]) -> None:
    """A single pixel and a thread of pixels are enlarged, not refused."""
    image = Image.new("RGB", sides, (9, 8, 7))
    for view in (center_view(sides[0] / sides[1]), _draw(0, 0, aspect=sides[0] / sides[1])):
        assert (apply_geometry(image, view, size=6).reshape(3, -1) == [[9], [8], [7]]).all()


def test_photometric_changes_are_exact_on_a_grey_image() -> None:
    """Brightness multiplies; contrast and saturation leave a flat grey as it is."""
    grey = np.full((3, 4, 4), 100, np.uint8)
    assert (apply_photometric(grey, WHOLE._replace(brightness=1.5)) == 150).all()
    assert (apply_photometric(grey, WHOLE._replace(contrast=0.5, saturation=0.2)) == 100).all()


def test_saturation_zero_gives_grey() -> None:
    """With all colour taken out the three channels are equal."""
    red = np.zeros((3, 2, 2), np.uint8)
    red[0] = 200
    pixels = apply_photometric(red, WHOLE._replace(saturation=1e-9))
    assert (pixels == pixels[0]).all()


@pytest.mark.parametrize(
    "wrong", [{"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"ratio": (2.0, 1.0)}, {"flip": 1.5}]
)
def test_impossible_ranges_are_refused(wrong: dict[str, object]) -> None:
    """A range that is empty or outside its bounds is an error."""
    with pytest.raises(ValidationError):
        ViewSettings.model_validate(wrong)
