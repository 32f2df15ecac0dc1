"""Reading one image: every odd file, and nothing changed for others."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from alumnus.data.read import BadImage, key_of, read_image, read_keyed
from tests.data.odd_files import OddFile, make_odd_files
from tests.data.odd_good import CORNERS, corners, encoded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the odd files."""
    return tmp_path_factory.mktemp("odd")


@pytest.fixture(scope="module")
def odd_files(folder: Path) -> list[OddFile]:
    """The odd files, made once."""
    return make_odd_files(folder)


def _close(found: Image.Image, colour: tuple[int, int, int], at: tuple[int, int]) -> bool:
    return bool(np.abs(np.subtract(np.asarray(found)[at[1], at[0]], colour, dtype=int)).max() <= 8)


def test_there_are_at_least_thirty_kinds_of_each(odd_files: list[OddFile]) -> None:
    """The collection is as wide as promised."""
    assert sum(each.good for each in odd_files) >= 30
    assert sum(not each.good for each in odd_files) >= 30


def test_good_odd_files_give_the_right_picture(folder: Path, odd_files: list[OddFile]) -> None:
    """Mode, size and colours are right for every readable kind."""
    for each in (each for each in odd_files if each.good):
        image = read_image(folder / each.name)
        assert (image.mode, image.size) == ("RGB", each.size), each.name
        wrong = {at: np.asarray(image)[at[::-1]] for at, c in each.pixels.items() if not _close(image, c, at)}
        assert not wrong, (each.name, wrong)


def test_bad_files_give_bad_image_with_a_reason(folder: Path, odd_files: list[OddFile]) -> None:
    """Every unreadable kind is a BadImage, and the reason names the fault."""
    for each in (each for each in odd_files if not each.good):
        with pytest.raises(BadImage) as caught:
            read_image(folder / each.name)
        assert each.reason.lower() in caught.value.reason.lower(), (each.name, caught.value.reason)
        assert caught.value.reason, each.name
        assert "\n" not in str(caught.value), each.name


@given(kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "JPEG2000"]), data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_an_image_or_bad_image(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    """Whatever bytes are changed or cut, nothing but BadImage is ever raised."""
    whole = bytearray(encoded(corners(), kind))
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)))):
        whole[place] = value
    (tmp_path / "damaged").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(BadImage):
        assert read_image(tmp_path / "damaged").mode == "RGB"


@pytest.mark.parametrize("name", ["nothing.jpg", "a\0b.jpg", "x" * 300, "\ud800.jpg", ""])
def test_names_of_no_file_are_bad_images(folder: Path, name: str) -> None:
    """A missing file, and names that no file can have, are refused the same way."""
    with pytest.raises(BadImage):
        read_image(str(folder / name))


def test_no_warning_escapes(folder: Path, odd_files: list[OddFile]) -> None:
    """Pillow's warnings stay inside, also under a filter that shows all of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for each in odd_files:
            try:
                read_image(folder / each.name)
            except BadImage:
                continue
    assert caught == []


def test_pillow_switches_and_warning_filters_are_left_as_they_were(
    folder: Path, odd_files: list[OddFile]
) -> None:
    """Other users of Pillow in the process notice nothing."""
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, copy.copy(warnings.filters))
    read_image(folder / odd_files[0].name)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters)


def test_truncated_is_bad_although_pillow_was_told_to_allow_it(
    folder: Path, odd_files: list[OddFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that sets LOAD_TRUNCATED_IMAGES keeps its setting and does not weaken ours."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(BadImage, match="truncated"):
        read_image(folder / "torn.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_threads_read_at_once_and_leave_the_filters_alone(folder: Path, odd_files: list[OddFile]) -> None:
    """Overlapping reads do not leave a changed warning filter behind."""
    before = copy.copy(warnings.filters)
    readers = [
        threading.Thread(target=lambda: [read_image(folder / "plain.jpg") for _ in range(50)])
        for _ in range(4)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert before == warnings.filters


def test_bad_image_survives_the_way_from_a_worker() -> None:
    """Pickling keeps path and reason."""
    error = pickle.loads(pickle.dumps(BadImage("a\nb.jpg", "torn")))
    assert (error.path, error.reason, str(error)) == ("a\nb.jpg", "torn", r"'a\nb.jpg': torn")


def test_min_side_shrinks_a_jpeg_but_keeps_its_geometry(tmp_path: Path) -> None:
    """A reduced decode has sides of at least min_side, and the same picture at relative positions."""
    large = corners().resize((1000, 500), Image.Resampling.NEAREST)
    (tmp_path / "large.jpg").write_bytes(encoded(large, "JPEG", quality=95))
    image = read_image(tmp_path / "large.jpg", min_side=100)
    assert image.size == (250, 125)
    for (x, y), colour in CORNERS.items():
        assert _close(image, colour, (int((x + 0.5) / 32 * 250), int((y + 0.5) / 16 * 125)))


def test_min_side_larger_than_the_image_changes_nothing(tmp_path: Path) -> None:
    """An image is never enlarged, and a full decode is the same with and without the wish."""
    (tmp_path / "small.jpg").write_bytes(encoded(corners(), "JPEG"))
    wished = read_image(tmp_path / "small.jpg", min_side=500)
    assert np.array_equal(np.asarray(wished), np.asarray(read_image(tmp_path / "small.jpg")))


def test_a_key_is_of_the_bytes_alone(tmp_path: Path) -> None:
    """The same under another name, in memory, and of what cannot be decoded; another for another byte; never negative."""
    keys = set[int]()
    for number in range(20):
        content = encoded(Image.new("RGB", (9, 5), (number, 2, 3)), "PPM" if number % 2 else "PNG")
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(content)
        image, key = read_keyed(path)
        assert image.size == (9, 5)
        assert key == read_keyed(content).key == key_of(path) == key_of(content)
        assert 0 <= key < 2**63
        keys.add(key)
    assert len(keys) == 20
    (tmp_path / "text").write_bytes(b"no image")
    assert key_of(tmp_path / "text") == key_of(b"no image")
    with pytest.raises(BadImage, match="no such file"):
        key_of(tmp_path / "missing")
