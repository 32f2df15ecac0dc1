"""Any Pillow image → 8-bit RGB, upright, with no transparency left.

`Image.convert("RGB")` alone gives wrong pictures: it clips 16-bit grey to white, drops transparency onto whatever colour lies beneath, and
ignores the camera's orientation. The rules here:

- 16-bit grey is divided by 257, so that full scale stays full scale.
- 32-bit integers and floats have no agreed white. Values within [0, 1] are taken as such, values within [0, 255] as 8-bit ones, anything
  else is stretched from its own minimum to its own maximum. NaN is black.
- What is transparent lies over white.
- A broken EXIF block does not make an image bad: it is read as it lies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base
from PIL.Image import Transpose

_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # EXIF 2.32, tag 274; 1 is upright


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """Returns a loaded image in mode RGB, turned as its EXIF orientation says."""
    turn = _UPRIGHT.get(_orientation(image))
    rgb = to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns a loaded image in mode RGB, transparency over white; the image itself if it is so already.

    >>> to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        return _from_32_bit(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it: 32 us at 256 px


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # cameras and editors break EXIF in every way; the pixels are still good
        return 1


def _from_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)
    grey = (values + 128) // 257  # rounded; 65535 -> 255
    if "transparency" in image.info:  # PNG names one grey value that is transparent
        grey[values == image.info["transparency"]] = 255
    return _from_grey(grey)


def _from_32_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.format == "PPM" and image.mode == "I":  # Pillow gives PGM above 8 bits as 0..65535
        return _from_grey((values.astype(np.uint32) + 128) // 257)
    return _from_grey(np.rint(_to_255(values.astype(np.float64))))


def _to_255(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)


def _from_grey(grey: NDArray[np.uint32] | NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")
