"""A copy is known through what is done to copies; what merely looks alike is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from alumnus.curation.scan import THUMBNAIL_PX
from alumnus.curation.verify import copies, fitted
from tests.curation.planted import PAINTERS, brightened, cropped, jpeg, picture, resized

EACH = 6  # pictures of every kind


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """A few of every kind."""
    draw = np.random.default_rng(1)
    return [picture(kind, draw) for kind in range(len(PAINTERS)) for _ in range(EACH)]


def _thumbnails(pictures: list[Image.Image]) -> np.ndarray:
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.stack([np.asarray(each.resize(side, Image.Resampling.BICUBIC)) for each in pictures])


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: jpeg(image, 40),
        lambda image: resized(image, 0.6),
        lambda image: cropped(image, 0.02),
        lambda image: cropped(image, 0.03),
        lambda image: brightened(image, 0.7),
        lambda image: brightened(image, 1.25),
        lambda image: jpeg(brightened(cropped(resized(image, 0.9)), 0.9), 70),
    ],
    ids=["equal", "jpeg 40", "size", "crop 2 %", "crop 3 %", "darker", "brighter", "all together"],
)
def test_a_copy_is_a_copy(pictures: list[Image.Image], change: Callable[[Image.Image], Image.Image]) -> None:
    """Whichever of the two is the original."""
    one, other = _thumbnails(pictures), _thumbnails([change(each) for each in pictures])
    assert fitted(one, other).is_copy.all()
    assert fitted(other, one).is_copy.all()


def test_pictures_of_a_kind_are_no_copies(pictures: list[Image.Image]) -> None:
    """Same palette, same kind of drawing, another arrangement."""
    thumbnails = _thumbnails(pictures)
    first, second = np.triu_indices(len(pictures), 1)
    assert not fitted(thumbnails[first], thumbnails[second]).is_copy.any()


@pytest.mark.parametrize("change", ["colour", "detail", "mirrored", "rolled"])
def test_another_picture_is_no_copy(change: str) -> None:
    """What shares everything but one thing."""
    one, other = _face("gold", smiles=True), _face("gold", smiles=True)
    if change == "colour":
        other = _face("deepskyblue", smiles=True)
    elif change == "detail":
        other = _face("gold", smiles=False)
    elif change == "mirrored":
        other = other.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    else:
        other = Image.fromarray(np.roll(np.asarray(other), 12, axis=1))
    found = fitted(_thumbnails([one]), _thumbnails([other]))
    assert not found.is_copy[0]


def test_only_the_copies_among_the_pairs_are_given(pictures: list[Image.Image]) -> None:
    """In their order, with how alike they are."""
    both = _thumbnails(pictures + [jpeg(each, 60) for each in pictures])
    count = len(pictures)
    pairs = np.array([(row, row + shift) for row in range(count - 1) for shift in (1, count)])
    found, likeness = copies(both, pairs)
    assert found.tolist() == [[row, row + count] for row in range(count - 1)]
    assert ((likeness > 0.95) & (likeness <= 1)).all()


def test_a_plain_picture_breaks_nothing() -> None:
    """It has no structure to fit; the answer is a number, not an error."""
    plain = np.full((1, THUMBNAIL_PX, THUMBNAIL_PX, 3), 200, np.uint8)
    noisy = np.random.default_rng(0).integers(0, 256, plain.shape).astype(np.uint8)
    assert np.isfinite(fitted(plain, plain).local).all()
    assert not fitted(plain, noisy).is_copy[0]


def _face(colour: str, *, smiles: bool) -> Image.Image:
    image = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((8, 8, 120, 120), fill=colour, outline="black", width=3)
    pen.ellipse((38, 40, 52, 56), fill="black")
    pen.ellipse((78, 44, 86, 52), fill="black")
    pen.arc(
        (38, 50, 90, 98) if smiles else (38, 76, 90, 124), *((20, 160) if smiles else (200, 340)), "black", 5
    )
    return image
