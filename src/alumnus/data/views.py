"""Views: the crop, flip and photometric draw of an image, as a pure function of `(seed, key of the image, view index)`.

Every random number comes from a counter-based generator (Philox) keyed by those three numbers, so a view is the same on every
machine, in every worker process and after every restart, and a stored teacher output can be matched with it. The key is a hash of the
image's bytes (see `data.read`): views stay what they are when a dataset grows, is moved, sorted anew or joined with another. Geometry
(crop, flip) is shared by the student and all teachers; photometric change is for the student alone.

UnED's training views (arXiv 2309.01858) are `ratio: image` with `scale: [0.7656, 0.7656]`: the image squeezed into 256 x 256, of which
224 x 224 are cut out. Random-resized crop as in Szegedy et al., "Going deeper with convolutions" (arXiv 1409.4842), in the form that
torchvision made common.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alumnus.errors import ConfigError

VIEWS, PERMUTATIONS, REPLACEMENTS, SCHEDULES, SIZES = range(
    1, 6
)  # purposes of random numbers; no two share a stream
ATTEMPTS = 10  # torchvision's number, before it falls back to the largest crop that has an allowed aspect


class ViewSettings(BaseModel):
    """How far views may differ from the image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[float, float] = Field((0.4, 1.0), description="share of the image's area that a crop keeps")
    ratio: tuple[float, float] | Literal["image"] = Field(
        (0.75, 4 / 3),
        description="width / height of a crop, before resizing; image: that of the image itself, squeezed into the square",
    )
    flip: float = Field(
        0.5, ge=0, le=1, description="probability of a mirrored view; 0 where left and right matter"
    )
    brightness: float = Field(0.0, ge=0, lt=1, description="student only: factor drawn from 1 ± this")
    contrast: float = Field(0.0, ge=0, lt=1, description="student only: factor drawn from 1 ± this")
    saturation: float = Field(0.0, ge=0, lt=1, description="student only: factor drawn from 1 ± this")
    per_image: int = Field(
        0, ge=0, description="distinct views of an image before they repeat; 0 = never repeat"
    )

    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="sides in px of the student's view, one of which is drawn for each step; `size` alone by default",
    )

    @model_validator(mode="after")
    def _ranges(self) -> ViewSettings:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale {self.scale} must satisfy 0 < low <= high <= 1")
        if self.ratio != "image" and not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio {self.ratio} must satisfy 0 < low <= high")
        return self

    @property
    def is_photometric(self) -> bool:
        """Whether a view may differ from its crop in brightness, contrast or saturation."""
        return bool(self.brightness or self.contrast or self.saturation)


class View(NamedTuple):
    """One drawn view. The box is in shares of the image's sides, so that it fits any decoded size."""

    box: tuple[float, float, float, float]  # left, top, right, bottom in [0, 1]
    flip: bool
    brightness: float  # factors, 1 = unchanged
    contrast: float
    saturation: float


def draw_view(settings: ViewSettings, *, seed: int, key: int, view: int, aspect: float) -> View:
    """Returns the view of `(seed, key, view)`.

    Args:
        key: of the image, in [0, 2^63).
        aspect: width / height of the image.
    """
    if seed < 0 or key < 0 or view < 0:
        raise ConfigError(f"seed {seed}, key {key} and view {view} must not be negative")
    random = counter_random(seed, VIEWS, key, view)
    box = _crop_box(settings, random, aspect)
    draws = random.random(4)
    return View(
        box=box,
        flip=bool(draws[0] < settings.flip),
        brightness=1 + settings.brightness * float(2 * draws[1] - 1),
        contrast=1 + settings.contrast * float(2 * draws[2] - 1),
        saturation=1 + settings.saturation * float(2 * draws[3] - 1),
    )


def draw_size(settings: ViewSettings, *, seed: int, step: int, size: int) -> int:
    """Returns the side in px of the student's view at a step: one of `sizes`, each as likely; `size` if there are none."""
    if not settings.sizes:
        return size
    return int(counter_random(seed, SIZES, step, 0).choice(settings.sizes))


def counter_random(seed: int, purpose: int, first: int, second: int) -> np.random.Generator:
    """Returns a generator that depends on nothing but these four numbers (each below 2^64)."""
    counter = np.array([0, purpose, first, second], dtype=np.uint64)  # word 0 counts the numbers drawn
    return np.random.Generator(np.random.Philox(counter=counter, key=seed))


def _crop_box(
    settings: ViewSettings, random: np.random.Generator, aspect: float
) -> tuple[float, float, float, float]:
    # Shares of the sides are alike for the image's own aspect, which is that of a square image at ratio 1.
    ratios, aspect = ((1.0, 1.0), 1.0) if settings.ratio == "image" else (settings.ratio, aspect)
    low, high = (math.log(edge) for edge in ratios)
    for area, log_ratio, x, y in random.random((ATTEMPTS, 4)):
        share = settings.scale[0] + (settings.scale[1] - settings.scale[0]) * area
        ratio = math.exp(low + (high - low) * log_ratio) / aspect  # in shares of the sides
        width, height = math.sqrt(share * ratio), math.sqrt(share / ratio)
        if width <= 1 and height <= 1:
            left, top = x * (1 - width), y * (1 - height)
            return left, top, min(left + width, 1.0), min(top + height, 1.0)
    return _center_box(min(max(aspect, ratios[0]), ratios[1]) / aspect)


def _center_box(ratio: float) -> tuple[float, float, float, float]:
    """The largest centred box of width share / height share = ratio."""
    width, height = min(1.0, ratio), min(1.0, 1 / ratio)
    return (1 - width) / 2, (1 - height) / 2, (1 + width) / 2, (1 + height) / 2


def center_view(aspect: float) -> View:
    """Returns the evaluation view: the whole short side, centred and square, as in UnED's test preprocessing."""
    return View(box=_center_box(1 / aspect), flip=False, brightness=1.0, contrast=1.0, saturation=1.0)


def apply_geometry(image: Image.Image, view: View, *, size: int) -> np.ndarray:
    """Returns the crop at `size` x `size` px as uint8 (3, size, size), antialiased bilinear, before any photometric change."""
    width, height = image.size
    left, top, right, bottom = view.box
    # Less than a pixel cannot be resampled: a 1 x 5000 image keeps at least one pixel of each side.
    left, top = min(left * width, width - 1.0), min(top * height, height - 1.0)
    box = (left, top, max(right * width, left + 1), max(bottom * height, top + 1))
    crop = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(crop, dtype=np.uint8)
    if view.flip:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def apply_photometric(pixels: np.ndarray, view: View) -> np.ndarray:
    """Returns the student's pixels (3, S, S) uint8: brightness, then contrast about the mean grey, then saturation."""
    if view.brightness == view.contrast == view.saturation == 1.0:
        return pixels
    values = pixels.astype(np.float32) * np.float32(view.brightness)
    grey = np.tensordot(np.array([0.299, 0.587, 0.114], dtype=np.float32), values, axes=1)
    mean = grey.mean()
    values = (values - mean) * np.float32(view.contrast) + mean
    grey = (grey - mean) * np.float32(view.contrast) + mean
    values = grey + (values - grey) * np.float32(view.saturation)
    changed: np.ndarray = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return changed
