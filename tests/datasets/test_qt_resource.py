"""Qt resource bundles: what `rcc` writes is read, and nothing is believed that the file cannot hold."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from alumnus.datasets.qt_resource import ENTRY_BYTES, MAX_FILE_BYTES, ResourceImage, find, read_bundle
from alumnus.errors import DataError

Tree = dict[str, "Tree | bytes"]
PACK_FROM = 40  # bytes from which the bundles below are packed


def bundle(path: Path, tree: Tree, *, version: int = 2) -> Path:
    """Writes a bundle as Qt's rcc does: breadth first, names and data in blocks of their own."""
    entries, names, data = [b""], bytearray(), bytearray()
    waiting: list[tuple[int, str, Tree | bytes]] = [(0, "", tree)]
    for index, name, node in waiting:
        name_at = len(names)
        if index:
            names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(node, dict):
            body = struct.pack(">IHII", name_at, 2, len(node), len(entries))
            for child, below in sorted(node.items()):
                waiting.append((len(entries), child, below))
                entries.append(b"")
        else:
            packed = len(node) >= PACK_FROM
            stored = struct.pack(">I", len(node)) + zlib.compress(node) if packed else node
            body = struct.pack(">IHII", name_at, int(packed), 0, len(data))
            data += struct.pack(">I", len(stored)) + stored
        entries[index] = body.ljust(ENTRY_BYTES[version], b"\0")
    table = b"".join(entries)
    start = 20 if version < 3 else 24
    offsets = (start, start + len(table), start + len(table) + len(data))
    path.write_bytes(
        (b"qres" + struct.pack(">4I", version, *offsets)).ljust(start, b"\0") + table + data + names
    )
    return path


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_are_found_by_name(tmp_path: Path, version: int) -> None:
    """Plain and packed, in folders, with names that are no ASCII."""
    tree: Tree = {"gcompris": {"fish": {"cod.txt": b"small", "été.txt": b"large" * 50}}, "empty.txt": b""}
    files = read_bundle(bundle(tmp_path / "a.rcc", tree, version=version))
    assert {name: each.read() for name, each in files.items()} == {
        "gcompris/fish/cod.txt": b"small",
        "gcompris/fish/été.txt": b"large" * 50,
        "empty.txt": b"",
    }
    assert find(files, "fish/cod.txt").read() == b"small"


def test_a_file_is_found_by_the_end_of_its_path_only_at_a_slash(tmp_path: Path) -> None:
    """`b/a.txt` is not `ab/a.txt`, and two of a kind are refused."""
    files = read_bundle(bundle(tmp_path / "a.rcc", {"ab": {"a.txt": b"1"}, "b": {"a.txt": b"2"}}))
    assert find(files, "b/a.txt").read() == b"2"
    with pytest.raises(DataError, match="2 files"):
        find(files, "a.txt")
    with pytest.raises(DataError, match="0 files"):
        find(files, "c.txt")


def test_an_image_is_decoded(tmp_path: Path) -> None:
    """A palette with transparency keeps it."""
    files = {}
    for mode, kind in (("RGB", "JPEG"), ("RGBA", "PNG"), ("L", "PNG")):
        file = io.BytesIO()
        Image.new(mode, (9, 7)).save(file, kind)
        files[f"{mode}.{kind}"] = file.getvalue()
    found = read_bundle(bundle(tmp_path / "a.rcc", dict(files)))
    images = {name: ResourceImage(each)(64) for name, each in found.items()}
    assert {name: image.mode for name, image in images.items()} == {
        "L.PNG": "RGB",
        "RGB.JPEG": "RGB",
        "RGBA.PNG": "RGBA",
    }
    assert {image.size for image in images.values()} == {(9, 7)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with"),
        (b"PK\3\4" + bytes(40), "begins with"),
        (b"qres" + struct.pack(">4I", 9, 20, 20, 20), "version 9"),
        (b"qres\0\0", "torn"),
        (b"qres" + struct.pack(">4I", 2, 2**31, 20, 20), "torn"),
        (
            b"qres" + struct.pack(">4I", 2, 20, 42, 42) + struct.pack(">IHII", 0, 2, 2**32 - 1, 0) + bytes(8),
            "claims",
        ),
        (b"qres" + struct.pack(">4I", 2, 20, 42, 42) + struct.pack(">IHII", 0, 2, 1, 0) + bytes(8), "twice"),
    ],
    ids=["empty", "zip", "version", "short", "offset", "children", "circle"],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With a reason; a circle in the tree does not run forever."""
    (tmp_path / "a.rcc").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_bundle(tmp_path / "a.rcc")


def test_every_truncation_is_refused_or_read_right(tmp_path: Path) -> None:
    """Never with another exception, never with other content."""
    whole = bundle(tmp_path / "a.rcc", {"d": {"a.txt": b"1234", "b.txt": b"x" * 99}}).read_bytes()
    for length in range(len(whole)):
        path = tmp_path / f"{length}.rcc"
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_bundle(path)


def _with_size(path: Path, claimed: int) -> Path:
    """A bundle whose packed file of 99 bytes claims another size."""
    whole = bundle(path, {"a.txt": b"x" * 99}).read_bytes()
    place = whole.index(struct.pack(">I", 99) + b"\x78")
    path.write_bytes(whole[:place] + struct.pack(">I", claimed) + whole[place + 4 :])
    return path


@pytest.mark.parametrize(
    ("claimed", "message"), [(98, "has more"), (100, "has less"), (MAX_FILE_BYTES + 1, "allowed")]
)
def test_a_bomb_is_refused_unexpanded(tmp_path: Path, claimed: int, message: str) -> None:
    """No more is unpacked than was claimed, and no more claimed than allowed."""
    (resource,) = read_bundle(_with_size(tmp_path / "a.rcc", claimed)).values()
    with pytest.raises(DataError, match=message):
        resource.read()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """zlib notices; the others of the bundle can still be read."""
    path = bundle(tmp_path / "a.rcc", {"a.txt": b"x" * 99, "b.txt": b"fine"})
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"\x78\x9c") + 3] ^= 255
    path.write_bytes(whole)
    files = read_bundle(path)
    with pytest.raises(DataError, match=r"a\.txt.*cannot be unpacked"):
        files["a.txt"].read()
    assert files["b.txt"].read() == b"fine"
