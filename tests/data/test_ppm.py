"""Plain pixels: what is written is read back, exactly, and everything unusual is left to Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.data.ppm import decoded_ppm, encoded_ppm
from alumnus.data.read import BadImage, read_image
from tests.data.shards import save_tar


def _image(width: int = 7, height: int = 5) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (1, 300), (128, 96)])
def test_pixels_come_back_as_they_were(size: tuple[int, int], tmp_path: Path) -> None:
    """By the short way, by Pillow, from bytes, from a tar and from a file."""
    image = _image(*size)
    content = encoded_ppm(image)
    short, slow = decoded_ppm(content), Image.open(io.BytesIO(content))
    assert short is not None
    assert short.mode == slow.mode == "RGB"
    (tmp_path / "a.ppm").write_bytes(content)
    save_tar(tmp_path / "a.tar", {"a.ppm": content})
    read = [read_image(each) for each in (content, tmp_path / "a.ppm", f"{tmp_path}/a.tar::a.ppm")]
    for other in (short, slow, *read):
        assert np.array_equal(np.asarray(other), np.asarray(image))


def test_the_image_does_not_change_with_the_bytes() -> None:
    """It owns its pixels."""
    content = bytearray(encoded_ppm(_image()))
    image = decoded_ppm(bytes(content))
    assert image is not None
    image.putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(np.asarray(decoded_ppm(bytes(content))), np.asarray(_image()))


def test_other_forms_of_ppm_are_left_to_pillow() -> None:
    """A comment, 16 bits, grey, bytes too few or too many, numbers that no picture has."""
    content = encoded_ppm(_image())
    pixels = content[len(b"P6\n7 5\n255\n") :]
    for other in (
        b"P6\n# comment\n7 5\n255\n" + pixels,
        b"P6 7 5 255 " + pixels,
        b"P6\n7 5\n65535\n" + pixels * 2,
        b"P5\n7 5\n255\n" + pixels,
        content[:-1],
        content + b"\0",
        b"P6\n0 5\n255\n",
        b"P6\n9999999 9999999\n255\n" + pixels,
        b"",
    ):
        assert decoded_ppm(other) is None
    commented = read_image(b"P6\n# comment\n7 5\n255\n" + pixels)
    assert np.array_equal(np.asarray(commented), np.asarray(_image()))
    with pytest.raises(BadImage, match="broken image data"):
        read_image(content[:-1])
