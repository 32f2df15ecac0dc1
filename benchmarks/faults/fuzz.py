"""Broken files for every reader: python benchmarks/faults/fuzz.py [--minutes 10] [--only image manifest] [--seed 0]

Valid files are made, damaged in one to four places (bits, cut or doubled stretches, foreign stretches, words of manifests replaced by odd
ones) and read in a process of its own. Allowed are a result and an error of Alumnus. Anything else is a find: another exception, a dead
process, more than LIMIT_S or MEMORY, or the file `pwned`, which the planted pickles would make. Damage follows from the number of the case,
so a find is made again by `--case N --only NAME`. Ends with a table, and with 1 if there was a find.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alumnus.errors import AlumnusError

LIMIT_S, MEMORY = 30, 12 << 30
ODD_WORDS = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"9223372036854775808", b'""', b"[]", b"{}", b"[[[[[[[["),
    *(b"../../../../etc/passwd", b"/dev/zero", b"/proc/self/mem", b"\\u0000", b"\xff\xfe", b"a" * 5000),
    *(b"!!python/object/apply:os.system [touch pwned]", b"&a [*a, *a]", b"hf:../..", b"pypi:../.."),
)
PICKLE = b"cposix\nsystem\n(S'touch pwned'\ntR."  # what `pickle.loads` would run


@dataclass(frozen=True)
class Surface:
    """Something that reads files from outside."""

    make: Callable[[Path], None]  # valid files into a folder
    read: Callable[[Path], object]  # of that folder


def main() -> None:
    """Reads damaged files until the time is over, and prints what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", nargs="*", choices=SURFACES, default=list(SURFACES))
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="this case alone, in this process")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has not its parent's threads, and would wait for them
    with tempfile.TemporaryDirectory() as folder:
        valid = _valid(Path(folder), asked.only)
        if asked.case is not None:
            for name in asked.only:
                print(name, _outcome(name, valid[name], Path(folder) / "work", asked.case))
            return
        found, finds = _until(time.monotonic() + 60 * asked.minutes, valid, Path(folder), asked.seed)
    print("| files | cases | read | refused | finds |\n|---|---:|---:|---:|---:|")
    for name in asked.only:
        of = Counter({kind: count for (where, kind), count in found.items() if where == name})
        print(f"| {name} | {of.total()} | {of['read']} | {of['refused']} | {of['find']} |")
    for line in finds:
        print(line)
    sys.exit(bool(finds))


def _valid(folder: Path, names: list[str]) -> dict[str, Path]:
    """Makes the valid files of each surface, and checks that they can be read."""
    made = {}
    for name in names:
        made[name] = folder / "valid" / name.replace(" ", "-")
        made[name].mkdir(parents=True)
        SURFACES[name].make(made[name])
        SURFACES[name].read(made[name])
    return made


def _until(
    end: float, valid: dict[str, Path], folder: Path, first: int
) -> tuple[Counter[tuple[str, str]], list[str]]:
    found, finds = Counter[tuple[str, str]](), list[str]()
    reader = _Reader(valid, folder / "work")
    shown = time.monotonic()
    for case, name in ((case, name) for case in itertools.count(first) for name in valid):
        if time.monotonic() > end:
            break
        kind, words = reader.ask(name, case)
        found[name, kind] += 1
        if kind == "find":
            finds.append(f"{name}, case {case}: {words}")
            print(finds[-1], flush=True)
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{found.total()} cases, {len(finds)} finds, {end - shown:.0f} s left", file=sys.stderr)
    reader.close()
    return found, finds


class _Reader:
    """A process that reads; it is replaced when it dies or takes too long."""

    def __init__(self, valid: dict[str, Path], work: Path) -> None:
        self.valid, self.work = valid, work
        self._start()

    def ask(self, name: str, case: int) -> tuple[str, str]:
        """Returns "read", "refused" or "find", and words about it."""
        self.pipe.send((name, case))
        try:
            if self.pipe.poll(LIMIT_S):
                answer: tuple[str, str] = self.pipe.recv()
                return answer
            words = f"took more than {LIMIT_S} s"
        except EOFError:
            self.process.join()
            words = f"the process died with {self.process.exitcode}"
        self.close()
        self._start()
        return "find", words

    def close(self) -> None:
        self.process.kill()
        self.process.join()

    def _start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(theirs, self.valid, self.work), daemon=True
        )
        self.process.start()
        theirs.close()


def _serve(pipe: Connection, valid: dict[str, Path], work: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while True:
        name, case = pipe.recv()
        pipe.send(_outcome(name, valid[name], work, case))


def _outcome(name: str, valid: Path, work: Path, case: int) -> tuple[str, str]:
    """Damages a copy as the case's number says, and reads it."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(valid, work)
    os.chdir(work)
    _damage(work, np.random.default_rng([case, *name.encode()]))
    try:
        SURFACES[name].read(work)
        kind, words = "read", ""
    except AlumnusError as error:
        kind, words = "refused", str(error)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind, words = "find", f"{type(error).__name__}: {error} in {where.filename}:{where.lineno}"
    if (work / "pwned").exists():
        return "find", "something was executed"
    return kind, words


def _damage(folder: Path, draw: np.random.Generator) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[draw.integers(len(files))]
    content = bytearray(path.read_bytes())
    for _ in range(draw.integers(1, 5)):
        content = _damaged(content, draw, other=files[draw.integers(len(files))])
    path.write_bytes(content)


def _damaged(content: bytearray, draw: np.random.Generator, *, other: Path) -> bytearray:
    start = int(draw.integers(len(content) + 1))
    if draw.random() < 0.4:  # most that matters stands at the beginning
        start = min(start, int(draw.integers(200)))
    stop = min(len(content), start + int(draw.geometric(0.02)))
    match draw.integers(8):
        case 0:
            if start < len(content):
                content[start] ^= 1 << int(draw.integers(8))
            return content
        case 1:
            return content[:start]
        case 2:
            return content[:start] + content[stop:]
        case 3:
            return content[:stop] + content[start:stop] * int(draw.integers(1, 50)) + content[stop:]
        case 4:
            return content[:start] + draw.bytes(stop - start) + content[stop:]
        case 5:
            return content[:start] + other.read_bytes()[start:stop] + content[stop:]
        case 6:
            return (
                bytearray(PICKLE)
                if draw.random() < 0.2
                else content[:start] + bytes(stop - start) + content[stop:]
            )
        case _:
            return _with_odd_word(content, draw)


def _with_odd_word(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Replaces a word between two of the signs that part words in text."""
    signs = [at for at, byte in enumerate(content[:20_000]) if byte in b' \n,:"[]{}']
    if len(signs) < 2:
        return content
    at = int(draw.integers(len(signs) - 1))
    word = ODD_WORDS[draw.integers(len(ODD_WORDS))]
    return content[: signs[at] + 1] + word + content[signs[at + 1] :]


def _picture(size: tuple[int, int] = (37, 23)) -> Image.Image:
    pixels = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).resize((size[0], size[1]))


def _make_images(folder: Path) -> None:
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF"):
        _picture().save(folder / f"a.{kind.lower()}", kind)
    _picture().save(folder / "progressive.jpg", progressive=True, exif=_exif())
    _picture().quantize(16).save(folder / "palette.png", transparency=3)
    _picture().convert("I;16").save(folder / "deep.png")
    _picture().convert("CMYK").save(folder / "cmyk.jpg")
    _picture().save(folder / "deflated.tif", compression="tiff_adobe_deflate")


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    return exif


def _read_images(folder: Path) -> None:
    from alumnus.data.read import read_image, read_keyed

    for path in sorted(folder.iterdir()):
        with suppress(AlumnusError):  # one of them is damaged
            read_keyed(path)
            read_image(path.read_bytes(), min_side=8)


def _small(folder: Path, *names: str) -> list[str]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _picture((9 + number, 8)).save(folder / name)
    return list(names)


def _make_dataset(folder: Path) -> None:
    from alumnus.data.write import write_dataset

    rows = [
        {
            "file_name": name,
            "domain": "d",
            "label": f"l{number % 2}",
            "split": "train",
            "text": "two words",
            "objects": {"bbox": [[0, 0, 3, 3]], "categories": ["c"]},
        }
        for number, name in enumerate(_small(folder, "a.png", "b.png", "c.png", "d.png"))
    ]
    write_dataset(rows, folder)
    (folder / "dataset.json").write_text(json.dumps({"name": "d", "images": {"train": 4}}))


def _make_lists(folder: Path) -> None:
    names = _small(folder, "a.png", "b.png")
    lines = [f"{name},d,l{number},train" for number, name in enumerate(names)]
    (folder / "images.csv").write_text("\n".join(["file_name,domain,label,split", *lines]) + "\n")
    rows = [{"file_name": name, "label": "x", "text": ["a", "b"]} for name in names]
    (folder / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _make_coco(folder: Path) -> None:
    names = _small(folder / "images", "a.png", "b.png")
    found = {
        "images": [{"id": i, "file_name": name, "width": 9, "height": 8} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0}
            for i in range(2)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "annotations.json").write_text(json.dumps(found))


def _make_tar(folder: Path) -> None:
    with tarfile.open(folder / "shard-0000.tar", "w") as tar:
        for number in range(3):
            picture = io.BytesIO()
            _picture((8 + number, 8)).save(picture, "PNG")
            for name, content in (
                (f"{number}.png", picture.getvalue()),
                (f"{number}.json", json.dumps({"label": f"l{number}", "text": "word"}).encode()),
                (f"{number}.cls", b"1"),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _opened(*names: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from alumnus.data.bad import BadImage
        from alumnus.data.dataset import open_dataset
        from alumnus.data.read import read_image

        for name in names:
            try:
                data = open_dataset(folder / name if name else folder)
            except AlumnusError:
                if len(names) == 1:
                    raise
                continue  # another of them is damaged
            for place, path in enumerate(data.paths):
                data.label[place], data.file_names[place]
                _is_inside(path, folder)
                with suppress(BadImage):
                    read_image(path)

    return read


def _is_inside(path: str, folder: Path) -> None:
    file = path.partition("\0")[0]
    if not os.path.abspath(file).startswith(f"{folder}{os.sep}"):
        raise RuntimeError(f"a path leaves the data set: {path!r}")


def _make_recipe(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(
        "data: images/\nout: run\nsize: 64\nsteps: 20\nlr: 1.0e-3\nstudent: timm/mobilenetv3_small_050\n"
        "teachers:\n  - model: timm/resnet18\n    weights: random\n    weight: 2\n    domains: [a, b]\n"
        "views: {scale: [0.4, 1.0], flip: 0.5}\nmethod: {name: plain, projector: linear}\nstore: {path: store}\n"
    )


def _read_recipe(folder: Path) -> None:
    from alumnus.training.recipe import load_config

    load_config(folder / "recipe.yaml")


def _make_suite(folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "name: mine\ntasks:\n  - name: a\n    task: classification\n    data: images/\n"
    )


def _read_suite(folder: Path) -> None:
    from alumnus.bench.suite import load_suite

    load_suite(folder / "mine.yaml")


def _make_student(folder: Path) -> None:
    from alumnus.models.artifact import save_student
    from alumnus.models.student import Architecture, Student

    torch.manual_seed(0)
    network = Student(Architecture(model="test_resnet", size=32, embed_dim=8))
    save_student(network, folder / "student", provenance={}, card="")


def _read_student(folder: Path) -> None:
    from alumnus.models.artifact import load_student

    load_student(folder / "student")


def _make_checkpoint(folder: Path) -> None:
    from alumnus.training.checkpoint import save_checkpoint

    save_checkpoint(folder, _state(), step=3, fingerprint="f")


def _read_checkpoint(folder: Path) -> None:
    from alumnus.training.checkpoint import load_checkpoint

    load_checkpoint(folder, _state(), fingerprint="f")


def _state() -> object:
    from torch import nn

    from alumnus.training.checkpoint import TrainState
    from alumnus.training.optim import Ema

    torch.manual_seed(0)
    student, objective = nn.Linear(3, 2), nn.Linear(2, 2)
    optimizer = torch.optim.AdamW([*student.parameters(), *objective.parameters()])
    objective(student(torch.ones(1, 3))).sum().backward()
    optimizer.step()
    return TrainState(student, objective, optimizer, Ema(student, decay=0.9))


def _make_shard(folder: Path) -> None:
    from alumnus.store.shard import Rows, write_shard
    from alumnus.types import Features

    rows = Rows(np.arange(5), np.zeros(5, np.int64), Features(torch.ones(5, 4), None))
    write_shard(folder, rows, "float16")


def _read_shard(folder: Path) -> None:
    from alumnus.store.shard import Shard

    for path in folder.glob("*.safetensors"):
        Shard(path).read(np.arange(5))


def _make_onnx(folder: Path) -> None:
    from onnx import TensorProto, helper, save

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 192])
    graph = helper.make_graph([helper.make_node("Flatten", ["image"], ["vector"])], "g", [image], [vector])
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "a.onnx",
    )


def _read_onnx(folder: Path) -> None:
    from alumnus.teachers import load_teacher
    from alumnus.teachers.spec import TeacherSpec

    spec = TeacherSpec.model_validate({"model": f"onnx:{folder / 'a.onnx'}"})
    load_teacher(spec, device=torch.device("cpu"))(torch.zeros(2, 3, 8, 8))


SURFACES = {
    "image": Surface(_make_images, _read_images),
    "dataset folder": Surface(_make_dataset, _opened("")),
    "list": Surface(_make_lists, _opened("images.csv", "images.jsonl")),
    "coco": Surface(_make_coco, _opened("annotations.json")),
    "tar": Surface(_make_tar, _opened("shard-0000.tar")),
    "recipe": Surface(_make_recipe, _read_recipe),
    "suite": Surface(_make_suite, _read_suite),
    "student": Surface(_make_student, _read_student),
    "checkpoint": Surface(_make_checkpoint, _read_checkpoint),
    "shard": Surface(_make_shard, _read_shard),
    "onnx": Surface(_make_onnx, _read_onnx),
}


if __name__ == "__main__":
    main()
