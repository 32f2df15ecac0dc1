"""Pictures → square RGB pixels: SVG rasterised without the machine's fonts, then laid on white."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from alumnus.errors import MissingExtra

WHITE, DARK = (255, 255, 255), (64, 64, 64)
MAX_PAGE_PX = 4096  # of a side of a page that is drawn for the sake of a small part
DPI = 96.0  # CSS's; without it, sizes in points come out as nothing
VISIBLE = 12  # levels of 255 by which some pixel must differ from the ground


@dataclass(frozen=True)
class Svg:
    """A vector drawing; fonts of the machine are not used, so every machine draws the same."""

    markup: str

    def __call__(self, size: int, /) -> Image.Image:
        """RGBA, longer side `size` px."""
        return svg_image(self.markup, size)


@dataclass(frozen=True)
class ImageFile:
    """A raster image, a box of it if wanted."""

    path: Path
    box: tuple[int, int, int, int] | None = None  # left, top, right, bottom in px

    def __call__(self, size: int, /) -> Image.Image:
        """RGBA, its own size."""
        image = _opened(self.path)
        return (image.crop(self.box) if self.box else image).convert("RGBA")


@dataclass(frozen=True)
class SvgFile:
    """A vector drawing in a file, .svg or .svgz; a cell of it if it is a sheet of equal cells."""

    path: Path
    columns: int = 1
    rows: int = 1
    column: int = 0
    row: int = 0

    def __call__(self, size: int, /) -> Image.Image:
        """RGBA, `size` px tall, a cell of a sheet too."""
        sheet = _sheet(self.path, size * self.rows)
        width, height = sheet.width / self.columns, sheet.height / self.rows
        left, top = round(self.column * width), round(self.row * height)
        return sheet.crop((left, top, round(left + width), round(top + height)))


@dataclass(frozen=True)
class SvgInk:
    """What is drawn on the page of a vector drawing in a file, without the empty page around it."""

    path: Path

    def __call__(self, size: int, /) -> Image.Image:
        """RGBA, longer side about `size` px; smaller if the page would become too large to draw."""
        page = _draw(svg_path=str(self.path), height=size)
        left, top, right, bottom = ink_box(page)
        larger = min(size / max(right - left, bottom - top), MAX_PAGE_PX / max(page.size))
        if larger > 1:
            page = _draw(svg_path=str(self.path), height=round(size * larger))
        return page.crop(ink_box(page))


def ink_box(page: Image.Image) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom of what shows on white; of what is not transparent if nothing does.

    Raises:
        ValueError: it is all transparent.
    """
    white = Image.new("RGB", page.size, WHITE)
    laid = white.copy()
    laid.paste(page, mask=page)
    ink = ImageChops.difference(laid, white).convert("L").point(lambda level: 255 * (level > VISIBLE))
    box = ink.getbbox() or page.getchannel("A").getbbox()
    if box is None:
        raise ValueError("the page is empty")
    return box


@functools.lru_cache(maxsize=2)
def _sheet(path: Path, height: int) -> Image.Image:
    """Kept, since many cells are cut from one sheet."""
    return _draw(svg_path=str(path), height=height)


@functools.lru_cache(maxsize=8)
def _opened(path: Path) -> Image.Image:
    """Kept, since many boxes are cut from one sheet."""
    with Image.open(path) as image:
        image.load()
        return image.copy()


def svg_image(markup: str, size: int) -> Image.Image:
    """Returns an SVG as RGBA with its longer side `size` px.

    Raises:
        ValueError: it cannot be drawn.
    """
    image = _draw(svg_string=markup, width=size)
    if image.height > size:  # taller than wide; draw again rather than resample
        return _draw(svg_string=markup, height=size)
    return image


def _draw(
    *,
    svg_string: str | None = None,
    svg_path: str | None = None,
    width: int | None = None,
    height: int | None = None,
) -> Image.Image:
    try:
        import resvg_py
    except ImportError as error:
        raise MissingExtra("resvg_py", extra="datasets") from error
    png = resvg_py.svg_to_bytes(
        svg_string, svg_path, skip_system_fonts=True, width=width, height=height, dpi=DPI
    )
    return Image.open(io.BytesIO(png)).convert("RGBA")


def square(image: Image.Image, size: int) -> Image.Image:
    """Returns a picture centred on a white square, RGB, `size` px; on dark grey if it would vanish on white.

    Raises:
        ValueError: nothing is to be seen on either.
    """
    scale = size / max(image.size)
    if scale != 1:
        wanted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(wanted, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    for ground in (WHITE, DARK):
        laid = _lay(image, ground, size)
        if _shows(laid):
            return laid
    raise ValueError("the picture is blank")


def _lay(image: Image.Image, ground: tuple[int, int, int], size: int) -> Image.Image:
    laid = Image.new("RGB", (size, size), ground)
    corner = ((size - image.width) // 2, (size - image.height) // 2)
    laid.paste(image, corner, image if image.mode == "RGBA" else None)
    return laid


def _shows(image: Image.Image) -> bool:
    return any(high - low > VISIBLE for low, high in image.getextrema())  # type: ignore[misc]  # RGB gives pairs
