"""Every picture is read once, by whatever number of processes, with the same result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from alumnus.curation.scan import FEW, THUMBNAIL_PX, scan
from tests.curation.planted import picture


def _write(folder: Path, count: int) -> list[str]:
    draw = np.random.default_rng(0)
    for number in range(count):
        picture(number, draw).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(count)]


def test_pixels_decide_not_bytes(tmp_path: Path) -> None:
    """PNG, BMP and a JPEG turned by EXIF: equal if the upright pixels are."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[274] = 3
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")
    image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "c.png", exif=exif)
    Image.fromarray(np.asarray(image).reshape(30, 20, 3)).save(tmp_path / "d.png")
    digests = scan([str(tmp_path / name) for name in ("a.png", "b.bmp", "c.png", "d.png")], workers=0).digests
    assert digests[0] == digests[1] == digests[2]
    assert digests[3] != digests[0], "the same values in another shape are another picture"


def test_processes_change_nothing(tmp_path: Path) -> None:
    """One process or two, and the same again."""
    paths = [*_write(tmp_path, FEW + 10), str(tmp_path / "missing.png")]
    alone, together = scan(paths, workers=0), scan(paths, workers=2)
    assert alone.reasons == together.reasons == {FEW + 10: "no such file"}
    for name in ("digests", "hashes", "sizes", "contrast", "thumbnails"):
        assert np.array_equal(vars(alone)[name], vars(together)[name]), name


def test_what_is_known_of_a_picture(tmp_path: Path) -> None:
    """Size upright, and a thumbnail of the whole."""
    image = Image.new("RGB", (80, 40), "white")
    image.paste("black", (40, 0, 80, 40))
    image.save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    found = scan([str(tmp_path / "a.png"), str(tmp_path / "b.png")], workers=0)
    assert found.sizes.tolist() == [[80, 40], [0, 0]]
    assert found.readable.tolist() == [True, False]
    assert found.thumbnails[0, :, : THUMBNAIL_PX // 2 - 2].min() > 250
    assert found.thumbnails[0, :, THUMBNAIL_PX // 2 + 2 :].max() < 5


def test_no_pictures_are_no_error() -> None:
    """An array of no rows."""
    assert len(scan([], workers=0).thumbnails) == 0
