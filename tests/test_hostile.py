"""Hostile files in every place that is read: refused with an error of ours, and nothing is executed.

Hand-made ones; `benchmarks/faults/fuzz.py` makes any number at random. Odd images have more tests of their own in tests/data.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from alumnus.data.bad import BadImage
from alumnus.data.dataset import open_dataset
from alumnus.data.read import read_image
from alumnus.errors import AlumnusError
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student
from alumnus.store.shard import Rows, Shard, write_shard
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from alumnus.training.recipe import load_config
from alumnus.types import Features

PICKLE = b"cposix\nsystem\n(S'touch pwned'\ntR."  # what `pickle.loads` would run


@pytest.fixture(autouse=True)
def _nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "pwned").exists(), "something was executed"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


IMAGES = {
    "a pickle": PICKLE,
    "empty": b"",
    "a page": b"<html><body>404 not found</body></html>",
    "a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned) (w) file closefile\n",
    "a drawing that asks for a file": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "no pixels": _png(_header(0, 0), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")),
    "more pixels than there is memory": _png(_header(2**31 - 1, 2**31 - 1), (b"IEND", b"")),
    "half of the pixels": _png(_header(64, 64), (b"IDAT", zlib.compress(bytes(64 * 3 * 20))), (b"IEND", b"")),
    "a text that inflates without end": _png(
        _header(4, 4), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), (b"IEND", b"")
    ),
    "a JPEG of its first bytes": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    "a GIF of 65535 x 65535": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b";",
    "a BMP with a header of 4 GiB": b"BM" + struct.pack("<IHHI", 2**32 - 1, 0, 0, 2**32 - 1) + bytes(40),
    "a TIFF whose directory is itself": b"II*\0"
    + struct.pack("<IH", 8, 1)
    + bytes(12)
    + struct.pack("<I", 8),
    "a PPM with less than it says": b"P6\n100 100\n255\n123",
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, tmp_path: Path) -> None:
    """Each is a `BadImage`, from a file and from bytes."""
    path = tmp_path / "a.png"
    path.write_bytes(IMAGES[name])
    for source in (path, IMAGES[name]):
        with pytest.raises(BadImage):
            read_image(source)


def _parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


MANIFESTS = {
    "metadata.parquet": {
        "a pickle": PICKLE,
        "its mark alone": b"PAR1PAR1",
        "a footer of 4 GiB": b"PAR1" + bytes(8) + b"\xff\xff\xff\xff" + b"PAR1",
        "cut": _parquet(file_name=["a.png"] * 9)[:-20],
        "a name above the folder": _parquet(file_name=["../../etc/passwd"]),
        "an absolute name": _parquet(file_name=["/etc/passwd"]),
        "a name with a zero byte": _parquet(file_name=["a\0.png"]),
        "numbers for names": _parquet(file_name=[1, 2]),
        "a mask above the folder": _parquet(file_name=["a.png"], mask=["../m.png"]),
    },
    "list.csv": {
        "a pickle": PICKLE,
        "a quote that never ends": b'file_name,label\n"a.png,x\n' + b"y" * 10_000,
        "no names": b"label\nx\n",
        "an absent picture": b"file_name\nnowhere.png\n",
    },
    "list.jsonl": {
        "a pickle": PICKLE,
        "brackets without end": b"[" * 100_000,
        "a number for an object": b"1\n",
    },
    "annotations.json": {
        "brackets without end": b'{"images": ' + b"[" * 100_000,
        "a name above the folder": json.dumps(
            {"images": [{"id": 1, "file_name": "../../a.png"}], "annotations": [], "categories": []}
        ).encode(),
        "an annotation of nothing": json.dumps(
            {"images": [], "annotations": [{"image_id": 7, "category_id": 1}], "categories": []}
        ).encode(),
    },
    "shard-0000.tar": {
        "a pickle": PICKLE,
        "text": b"no tar" * 500,
        "half a block": bytes(300),
    },
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in MANIFESTS.items() for kind in kinds]
)
def test_manifests(name: str, kind: str, tmp_path: Path) -> None:
    """None opens."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_bytes(MANIFESTS[name][kind])
    with pytest.raises(AlumnusError):
        open_dataset(folder if name == "metadata.parquet" else folder / name)


def test_a_tar_member_is_never_written_or_followed(tmp_path: Path) -> None:
    """Names that leave, links and devices: refused or left out, and no picture comes of them."""
    path = tmp_path / "data" / "shard-0000.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("../../evil.png", tarfile.REGTYPE),
            ("/etc/passwd.png", tarfile.SYMTYPE),
            ("zero.png", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    with suppress(AlumnusError):
        for image in open_dataset(path).paths:
            with pytest.raises(BadImage):
                read_image(image)
    assert sorted(tmp_path.rglob("*")) == [path.parent, path]


RECIPES = {
    "a pickle": PICKLE,
    "an object to be made": b"data: !!python/object/apply:os.system ['touch pwned']\n",
    "a module to be made": b"data: !!python/module:os\n",
    "a line that holds itself": b"data: &a [*a]\nstudent: *a\n",
    "a tab": b"data:\n\t- a\n",
    "no text": b"\xff\xfe\x00\x01",
    "a list": b"- data\n- student\n",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_recipes(kind: str, tmp_path: Path) -> None:
    """YAML is data."""
    path = tmp_path / "recipe.yaml"
    path.write_bytes(RECIPES[kind])
    with pytest.raises(AlumnusError):
        load_config(path, out=tmp_path / "run")


def _zip_of_pickle() -> bytes:
    """What `torch.save` writes, with something to run."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("archive/data.pkl", PICKLE)
        file.writestr("archive/version", "3\n")
    return sink.getvalue()


def _safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


TENSORS = {
    "a pickle": PICKLE,
    "a torch file": _zip_of_pickle(),
    "a header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "a header that is no JSON": _safetensors(b"{{{{"),
    "tensors beyond the end": _safetensors({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}),
    "a shape that overflows": _safetensors(
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}}, bytes(16)
    ),
}


def _student(folder: Path) -> Callable[[], object]:
    network = Student(Architecture(model="test_resnet", size=32, embed_dim=8))
    save_student(network, folder, provenance={}, card="")
    return lambda: load_student(folder)


def _shard(folder: Path) -> Callable[[], object]:
    folder.mkdir()
    rows = Rows(np.arange(3), np.zeros(3, np.int64), Features(torch.ones(3, 4), None))
    path = write_shard(folder, rows, "float32")
    return lambda: Shard(path).read(np.arange(3))


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("place", [_student, _shard])
def test_tensors(place: Callable[[Path], Callable[[], object]], kind: str, tmp_path: Path) -> None:
    """In a student's folder and in a store."""
    load = place(tmp_path / "folder")
    load()
    for path in (tmp_path / "folder").glob("*.safetensors"):
        path.write_bytes(TENSORS[kind])
    with pytest.raises(AlumnusError):
        load()


@pytest.mark.parametrize("kind", TENSORS)
def test_a_checkpoint_is_passed_over(kind: str, tmp_path: Path) -> None:
    """As a torn one is: the run begins with the one before, or anew."""
    network = nn.Linear(2, 2)
    state = TrainState(network, nn.Identity(), torch.optim.AdamW(network.parameters()), None)
    saved = save_checkpoint(tmp_path / "checkpoints", state, step=1, fingerprint="f")
    assert load_checkpoint(tmp_path / "checkpoints", state, fingerprint="f") == 1
    (saved / "state.safetensors").write_bytes(TENSORS[kind])
    assert load_checkpoint(tmp_path / "checkpoints", state, fingerprint="f") == 0


@pytest.mark.parametrize("content", [PICKLE, b"", b"\x08" * 500, _zip_of_pickle()])
def test_onnx(content: bytes, tmp_path: Path) -> None:
    """A file that is no model."""
    pytest.importorskip("onnxruntime")
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(AlumnusError):
        load_teacher(TeacherSpec.model_validate({"model": f"onnx:{path}"}), device=torch.device("cpu"))
