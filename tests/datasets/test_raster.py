"""Pictures become squares on white, and never vanish on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from alumnus.datasets.raster import ImageFile, Svg, SvgFile, SvgInk, ink_box, square

HEAD = '<svg xmlns="http://www.w3.org/2000/svg"'


@pytest.mark.parametrize(("width", "height"), [(8, 4), (4, 8), (6, 6)])
def test_svg_fills_its_longer_side(width: int, height: int) -> None:
    """Nothing is cut off, nothing is distorted."""
    image = Svg(f'{HEAD} viewBox="0 0 {width} {height}"><rect width="9" height="9"/></svg>')(48)
    assert max(image.size) == 48
    assert image.width * height == image.height * width


def test_svg_size_in_points_is_drawn() -> None:
    """Old themes write `72pt`."""
    assert Svg(f'{HEAD} width="72pt" height="72pt"><rect width="90" height="90"/></svg>')(32).size == (32, 32)


def test_a_cell_is_cut_from_a_sheet(tmp_path: Path) -> None:
    """Here the third of three columns, which alone is red."""
    sheet = tmp_path / "sheet.svg"
    sheet.write_text(f'{HEAD} viewBox="0 0 30 10"><rect x="20" width="10" height="10" fill="red"/></svg>')
    cell = SvgFile(sheet, columns=3, column=2)(16)
    assert cell.getcolors() == [(256, (255, 0, 0, 255))]


def test_a_box_is_cut_from_an_image(tmp_path: Path) -> None:
    """Left, top, right, bottom."""
    Image.new("RGB", (10, 10), "blue").save(tmp_path / "a.png")
    assert ImageFile(tmp_path / "a.png", (2, 3, 6, 9))(99).size == (4, 6)


def test_transparent_becomes_white_and_centred() -> None:
    """A black bar in the middle of a square."""
    laid = square(Image.new("RGBA", (20, 4), "black"), 20)
    assert laid.size == (20, 20)
    assert laid.getpixel((10, 10)) == (0, 0, 0)
    assert laid.getpixel((10, 2)) == (255, 255, 255)


def test_white_on_transparent_gets_a_dark_ground() -> None:
    """On white it would be gone."""
    image = Image.new("RGBA", (20, 20))
    image.paste((255, 255, 255, 255), (5, 5, 15, 15))
    laid = square(image, 20)
    assert laid.getpixel((10, 10)) == (255, 255, 255)
    assert laid.getpixel((0, 0)) == (64, 64, 64)


def test_an_empty_picture_is_refused() -> None:
    """So that it is skipped and counted."""
    with pytest.raises(ValueError, match="blank"):
        square(Image.new("RGBA", (20, 20)), 20)


def test_ink_is_cut_out_of_its_page(tmp_path: Path) -> None:
    """A small bar on a large page, drawn finely enough to fill the picture."""
    (tmp_path / "a.svg").write_text(
        f'{HEAD} viewBox="0 0 400 200"><rect x="300" y="20" width="20" height="10"/></svg>'
    )
    image = SvgInk(tmp_path / "a.svg")(64)
    assert 56 <= image.width <= 64
    assert abs(image.width - 2 * image.height) <= 2
    assert image.getpixel((30, 15)) == (0, 0, 0, 255)


def test_a_white_page_is_no_ink(tmp_path: Path) -> None:
    """But white on nothing is; nothing at all is refused."""
    page = Image.new("RGBA", (20, 20), "white")
    page.paste("red", (4, 5, 8, 9))
    assert ink_box(page) == (4, 5, 8, 9)
    page = Image.new("RGBA", (20, 20))
    page.paste("white", (4, 5, 8, 9))
    assert ink_box(page) == (4, 5, 8, 9)
    with pytest.raises(ValueError, match="empty"):
        ink_box(Image.new("RGBA", (20, 20)))
