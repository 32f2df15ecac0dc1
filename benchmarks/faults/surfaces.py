"""What reads files from outside, each with valid files to be damaged by `fuzz.py`."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alumnus.errors import AlumnusError


@dataclass(frozen=True)
class Surface:
    """Something that reads files from outside."""

    make: Callable[[Path], None]  # valid files into a folder
    read: Callable[[Path], object]  # of that folder


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


def _opened(*names: str, may_be_absolute: bool = False) -> Callable[[Path], None]:
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
                if not may_be_absolute:  # a list of its user's own may name any file
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
    "list": Surface(_make_lists, _opened("images.csv", "images.jsonl", may_be_absolute=True)),
    "coco": Surface(_make_coco, _opened("annotations.json")),
    "tar": Surface(_make_tar, _opened("shard-0000.tar")),
    "recipe": Surface(_make_recipe, _read_recipe),
    "suite": Surface(_make_suite, _read_suite),
    "student": Surface(_make_student, _read_student),
    "checkpoint": Surface(_make_checkpoint, _read_checkpoint),
    "shard": Surface(_make_shard, _read_shard),
    "onnx": Surface(_make_onnx, _read_onnx),
}
