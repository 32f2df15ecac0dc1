"""Masks and depth maps: their values, and what is refused; and folders of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.data.dataset import open_dataset
from alumnus.data.dense import check_two_classes, highest_class, read_depth, read_mask
from alumnus.data.read import BadImage, read_image
from alumnus.errors import DataError
from tests.data.shards import picture, save_mask


def _png(image: Image.Image, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **settings)
    return buffer.getvalue()


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint8, 255), (np.uint16, 65535)])
def test_mask_values_are_class_indices(tmp_path: Path, dtype: type, ignore: int) -> None:
    """8 and 16 bits; only the largest value means ignore."""
    path = save_mask(tmp_path / "m.png", [[0, 7, ignore], [254, 1, 2]], dtype)
    mask = read_mask(path)
    assert mask.tolist() == [[0, 7, -1], [254, 1, 2]]
    assert mask.dtype == np.int64
    sixteen = save_mask(tmp_path / "n.png", [[255, 300]], np.uint16)
    assert read_mask(sixteen).tolist() == [[255, 300]]


def test_palettes_give_indices_not_colours() -> None:
    """As Pascal VOC keeps its masks, of few bits too."""
    for bits in (4, 8):
        image = Image.fromarray(np.array([[0, 3], [9, 15]], np.uint8)).convert("P")
        image.putpalette([200, 10, 30] * 16)
        assert read_mask(_png(image, bits=bits)).tolist() == [[0, 3], [9, 15]]
    two = Image.fromarray(np.array([[True, False]]))
    assert read_mask(_png(two)).tolist() == [[1, 0]]


def test_depth_is_in_metres_or_in_its_unit(tmp_path: Path) -> None:
    """A millimetre a step, unless the dataset says otherwise."""
    path = save_mask(tmp_path / "d.png", [[0, 1, 65535]], np.uint16)
    depth = read_depth(path)
    assert depth.dtype == np.float32
    assert np.allclose(depth, [[0, 0.001, 65.535]])
    assert read_depth(path, unit="cm").tolist() == [[0, 1, 65535]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (picture(1), "mode RGB"),
        (picture(1, "JPEG"), "not a PNG file|not in an image format"),
        (b"", "empty"),
        (b"<html>", "HTML page"),
        (_png(Image.new("L", (9, 9)))[:40], "broken"),
        (_png(Image.new("LA", (9, 9))), "mode LA"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """With the reason, from a file and from bytes."""
    (tmp_path / "m.png").write_bytes(content)
    for source in (tmp_path / "m.png", content):
        for read in (read_mask, read_depth):
            with pytest.raises(BadImage, match=reason):
                read(source)


def test_depth_of_8_bits_and_grey_of_4_bits_are_refused() -> None:
    """Both have lost what they should say."""
    with pytest.raises(BadImage, match="must be a 16-bit PNG"):
        read_depth(_png(Image.new("L", (2, 2))))
    import zlib

    from tests.data.png import SIGNATURE, chunk, header

    grey = (
        SIGNATURE
        + header(2, 1, depth=4, colour_type=0)
        + chunk(b"IDAT", zlib.compress(b"\0\x12"))
        + chunk(b"IEND", b"")
    )
    assert np.asarray(read_image(grey))[0, :, 0].tolist() == [17, 34]  # as pictures are shown
    with pytest.raises(BadImage, match="2 or 4 bits"):
        read_mask(grey)


def test_bytes_are_read_as_strictly_as_files() -> None:
    """The same picture, the same reasons."""
    assert np.asarray(read_image(picture(9)))[0, 0].tolist() == [9, 9, 9]
    for content, reason in (
        (picture(9, "JPEG")[:200], "(?i)truncated"),
        (b"", "empty"),
        (b"%!PS", "PostScript"),
    ):
        with pytest.raises(BadImage, match=reason):
            read_image(content)


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("png"):
            save_mask(folder / name, [[1]])
        else:
            (folder / name).write_bytes(picture(1, "JPEG"))
    return folder


LAYOUTS = {
    "images/a.jpg images/b.jpg masks/a.png": ["masks/a.png", None],
    "images/a.jpg images/b.jpg masks/b_mask.png": [None, "masks/b_mask.png"],
    "images/training/a.jpg images/validation/b.jpg annotations/training/a.png annotations/validation/b.png": [
        "annotations/training/a.png", "annotations/validation/b.png"
    ],
    "train/images/a.jpg train/masks/a.png val/images/a.jpg val/masks/a.png": ["train/masks/a.png", "val/masks/a.png"],
    "train/images/a.jpg train/masks/a.png val/images/a.jpg": ["train/masks/a.png", None],
    "img/x/a.jpg img/y/a.jpg labels/y/a.png": [None, "labels/y/a.png"],
}  # fmt: skip


@pytest.mark.parametrize(("names", "masks"), LAYOUTS.items())
def test_masks_are_found_by_stem(tmp_path: Path, names: str, masks: list[str | None]) -> None:
    """Beside, below and above split folders."""
    data = open_dataset(_fill(tmp_path / "set", *names.split()))
    assert data.masks is not None
    assert list(data.masks) == [mask and str(tmp_path / "set" / mask) for mask in masks]
    assert set(data.label) == {-1}
    if "val" in names:
        assert data.split.tolist() == ["train", "val"]


def test_test_images_outside_a_folder_of_images_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are left out, and masks are no pictures of a class."""
    names = "train/images/a.jpg train/masks/a.png test/b.jpg test/c.jpg"
    data = open_dataset(_fill(tmp_path / "set", *names.split()))
    assert data.file_names == ("train/images/a.jpg",)
    assert "set: 2 images, such as 'test/b.jpg', are in no folder named images" in capsys.readouterr().err


def test_depth_folders_and_palette_masks_of_voc(tmp_path: Path) -> None:
    """VOC's lists say which images count and in which split."""
    names = [
        f"{place}/{i}.{kind}"
        for i in (1, 2, 3)
        for place, kind in (("JPEGImages", "jpg"), ("SegmentationClass", "png"))
    ]
    folder = _fill(tmp_path / "voc", *names, "Annotations/x.png")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("3\n")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("1\n")
    data = open_dataset(folder)
    assert data.file_names == ("JPEGImages/1.jpg", "JPEGImages/3.jpg")
    assert data.split.tolist() == ["val", "train"]
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("9\n")
    with pytest.raises(DataError, match="names 1 images that are not there, such as '9'"):
        open_dataset(folder)
    rooms = open_dataset(_fill(tmp_path / "rooms", "images/a.jpg", "depth/a.png"))
    assert rooms.masks is None
    assert rooms.depths == (str(tmp_path / "rooms" / "depth" / "a.png"),)


def test_names_in_vocs_lists_may_hold_spaces(tmp_path: Path) -> None:
    """One a line; empty lines say nothing."""
    folder = _fill(tmp_path / "voc", "JPEGImages/a b.jpg", "JPEGImages/c.jpg", "SegmentationClass/a b.png")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a b\r\n\n c \n")
    assert open_dataset(folder).file_names == ("JPEGImages/a b.jpg", "JPEGImages/c.jpg")


def test_annotations_without_a_png_are_classes(tmp_path: Path) -> None:
    """So are labels: words that a class may be called by."""
    data = open_dataset(_fill(tmp_path, "images/1.jpg", "annotations/1.jpg", "labels/1.jpg"))
    assert data.masks is None
    assert data.classes == (("annotations", "images", "labels"),)


@pytest.mark.parametrize("place", ["", "train/"])
@pytest.mark.parametrize("kind", ["txt", "xml"])
def test_boxes_that_are_not_read_are_refused(tmp_path: Path, place: str, kind: str) -> None:
    """YOLO's and Pascal VOC's, with what to do instead; beside masks they are passed over."""
    folder = _fill(tmp_path / "set", f"{place}images/a.jpg")
    boxes = folder / f"{place}labels/deep/a.{kind}"
    boxes.parent.mkdir(parents=True)
    boxes.write_text("0 .5 .5 .1 .1")
    with pytest.raises(DataError, match=rf"labels' holds \.{kind} files, which are not read.*COCO"):
        open_dataset(folder)
    assert open_dataset(folder / f"{place}images").file_names == ("a.jpg",)
    assert open_dataset(_fill(folder, f"{place}masks/a.png")).masks is not None


def test_folders_without_one_pair_are_refused(tmp_path: Path) -> None:
    """Rather than read as two classes."""
    with pytest.raises(DataError, match="1 images and 1 PNG files of masks or depth, but no two of one name"):
        open_dataset(_fill(tmp_path / "set", "images/a.jpg", "masks/b.png"))


def test_the_highest_class_of_some_masks(tmp_path: Path) -> None:
    """What cannot be read and what says ignore do not count."""
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [save_mask(tmp_path / "a.png", [[0, 7, 255]], np.uint8), tmp_path / "broken.png"]
    assert highest_class(map(str, paths)) == 7
    assert highest_class([str(tmp_path / "broken.png")]) == -1


@pytest.mark.parametrize(
    ("masks", "dtype", "said"),
    [
        (
            [[[0, 255]], [[255, 255]]],
            np.uint8,
            r"^masks hold only 0 and 255 \(= ignore\); write foreground as 1$",
        ),
        ([[[0, 65535]]], np.uint16, r"only 0 and 65535 \(= ignore\); write foreground as 1"),
        ([[[3, 3]], [[3, 3]]], np.uint8, "only 3; needed are two classes at least"),
        ([[[1, 255]]], np.uint8, r"only 1 and 255 \(= ignore\); needed are two"),
        ([[[255, 255]]], np.uint8, r"only 255 \(= ignore\); needed are two"),
    ],
)
def test_masks_of_one_class_are_refused(tmp_path: Path, masks: list[object], dtype: type, said: str) -> None:
    """Every answer would be right; the message says what they hold."""
    paths = [save_mask(tmp_path / f"{place}.png", mask, dtype) for place, mask in enumerate(masks)]
    with pytest.raises(DataError, match=said):
        check_two_classes(map(str, paths))


def test_two_classes_are_enough_wherever_they_are(tmp_path: Path) -> None:
    """In different masks, beside one that cannot be read; masks after the second class are not read."""
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [tmp_path / "broken.png"]
    check_two_classes(map(str, paths))
    paths += [save_mask(tmp_path / f"{value}.png", [[value, 255]]) for value in (0, 4, 5)]
    left = iter(map(str, paths))
    check_two_classes(left)
    assert list(left) == [str(tmp_path / "5.png")]


@pytest.mark.parametrize(
    ("words", "splits"), [(["database"], ["train"]), (["gallery", "query"], ["index", "query"])]
)
def test_query_and_index_need_each_other(tmp_path: Path, words: list[str], splits: list[str]) -> None:
    """As in folders of images."""
    for word in words:
        _fill(tmp_path, f"images/{word}/a.png", f"masks/{word}/a.png")
    assert open_dataset(tmp_path).split.tolist() == splits


def test_a_second_mask_of_an_image_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which one is used, and which is not."""
    _fill(tmp_path, "images/a.png", "annotations/a.png", "masks/a.png")
    data = open_dataset(tmp_path)
    assert data.masks is not None
    assert list(data.masks) == [str(tmp_path / "annotations" / "a.png")]
    said = " ".join(capsys.readouterr().err.split())
    assert "1 PNG files, such as 'masks/a.png', are left out" in said
    assert "'annotations/a.png'" in said
