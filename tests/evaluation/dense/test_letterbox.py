"""Pictures, masks and boxes go the same way into the model's image, and come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alumnus.evaluation.dense.letterbox import (
    FILL,
    boxes_in,
    boxes_out,
    letterbox,
    placed,
    sampled,
    spread,
)

SIDES = st.integers(1, 300)


@given(width=SIDES, height=SIDES, size=st.integers(8, 200))
def test_the_whole_picture_lies_inside(width: int, height: int, size: int) -> None:
    """One side is filled, the other centred to a px."""
    box = letterbox(width, height, size)
    assert max(box.inner_width, box.inner_height) == size
    assert min(box.inner_width, box.inner_height) >= 1
    assert 0 <= size - box.inner_width - 2 * box.left <= 1
    assert 0 <= size - box.inner_height - 2 * box.top <= 1


@given(width=SIDES, height=SIDES, shares=st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_come_back(width: int, height: int, shares: list[float]) -> None:
    """To a hundredth of a px, whatever the picture's shape."""
    (left, right), (top, bottom) = sorted(shares[:2]), sorted(shares[2:])
    given_box = np.array(
        [[left * width, top * height, (right - left) * width, (bottom - top) * height]], np.float32
    )
    box = letterbox(width, height, 96)
    inside = boxes_in(given_box, box)
    assert inside.min() >= -1e-3
    assert inside.max() <= 96 + 1e-3
    np.testing.assert_allclose(boxes_out(inside, box), given_box, atol=0.02)


def test_picture_mask_and_box_agree() -> None:
    """A white rectangle lies where its box and its mask say, the rest of the square is filling."""
    mask = np.zeros((30, 60), np.int64)
    mask[10:20, 20:50] = 1
    box = letterbox(60, 30, 40)
    pixels = placed(Image.fromarray((mask * 255).astype(np.uint8)).convert("RGB"), box)
    (corners,) = boxes_in(np.array([[20, 10, 30, 10]], np.float32), box)
    target = sampled(mask, box, 40, blank=-1, dtype=np.int16)
    left, top, right, bottom = corners.round(2)
    assert (left, top, right, bottom) == pytest.approx((13.33, 16.67, 33.33, 23.33))
    rows, columns = np.nonzero(target == 1)
    assert (columns.min(), columns.max() + 1) == (13, 33)
    assert (rows.min(), rows.max() + 1) == (17, 23)
    assert (target == -1).sum() == 40 * 20
    assert (pixels[:, 18:22, 15:32] == 255).all()
    assert (pixels[:, :9] == np.array(FILL)[:, None, None]).all()
    assert (pixels[:, 11:15] == 0).all()


def test_a_coarse_target_takes_the_middle_of_its_cells() -> None:
    """No cell mixes classes, because classes have no mean."""
    mask = np.arange(16).reshape(4, 4)
    assert sampled(mask, letterbox(4, 4, 8), 4, blank=-1, dtype=np.int64).tolist() == mask.tolist()
    assert sampled(mask, letterbox(4, 4, 8), 2, blank=-1, dtype=np.int64).tolist() == [[5, 7], [13, 15]]


def test_maps_come_back_to_the_pictures_pixels() -> None:
    """A map that is linear over the model's image is linear over the picture, away from the filling."""
    box = letterbox(80, 40, 40)
    across = torch.arange(40.0) + 0.5
    back = spread(across.expand(1, 40, 40), box)[0]
    assert back.shape == (40, 80)
    expected = (torch.arange(80.0) + 0.5) / 2
    torch.testing.assert_close(back[20, 2:-2], expected[2:-2], rtol=0, atol=1e-4)


def test_one_pixel_and_one_line_have_a_place() -> None:
    """Extreme shapes keep a px."""
    for width, height in ((1, 1), (1, 5000), (5000, 1)):
        box = letterbox(width, height, 32)
        assert placed(Image.new("RGB", (width, height)), box).shape == (3, 32, 32)
        assert spread(torch.zeros(2, 4, 4), box).shape == (2, height, width)
