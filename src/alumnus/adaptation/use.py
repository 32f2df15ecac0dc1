"""The use of an adapted model: image files in; labels, masks, depth or objects out.

Axes: P paths, C classes, H and W of a picture.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from alumnus.adaptation.artifact import About, read_adapted
from alumnus.adaptation.classifier import Classifier
from alumnus.adaptation.classifier import predict as predict_logits
from alumnus.adaptation.classify import build_classifier
from alumnus.adaptation.dense import build_dense, predict_dense
from alumnus.adaptation.prototype import Prototypes
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.folder_facts import MILLIMETRES
from alumnus.data.loader import Bad
from alumnus.data.names import printable
from alumnus.data.outputs import check_file, check_folder
from alumnus.data.read import Quarantine
from alumnus.disk import new_name, replace_text
from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.dense.coco import Detections
from alumnus.evaluation.dense.pictures import BATCH, Predicted
from alumnus.evaluation.dense.training import Fitted
from alumnus.log import console, number_of

TABLES = (".csv", ".parquet")
PREDICTED = "predicted.json"  # in a folder of pictures: by it a later call knows its own


class Labels(NamedTuple):
    """What a classifier says of image files."""

    label: list[str | None]  # P names of classes; None where the image cannot be read
    probability: NDArray[np.float32]  # (P,) of that class; NaN where the image cannot be read
    probabilities: NDArray[np.float32]  # (P, C), each row of sum 1, in the order of the model's classes
    bad: Mapping[int, str]  # place among the P -> reason


@dataclass(frozen=True, eq=False)
class AdaptedClassifier:
    """A classifier ready for use."""

    folder: Path
    about: About
    model: Classifier | Prototypes

    def predict(self, paths: Sequence[str | Path], *, batch_size: int = 64, workers: int = 2) -> Labels:
        """Returns the label of each image file and how sure the model is; files that cannot be read are in `bad`."""
        return label_files(
            self.model, self.about.classes, _several(paths), batch_size=batch_size, workers=workers
        )


@dataclass(frozen=True, eq=False)
class AdaptedDense:
    """A model of masks, depth or objects, ready for use."""

    folder: Path
    about: About
    fitted: Fitted

    def predict(
        self, paths: Sequence[str | Path], *, batch_size: int = BATCH
    ) -> Iterator[Predicted[Any] | Bad]:
        """Yields for each image file at its own size, or why it cannot be read.

        Segmentation: the class index of each pixel (H, W) int64. Depth: (H, W) float32, in metres, or in the unit of the training data
        if that was no millimetres. Detection: `Detections`, the surest first.
        """
        yield from predict_dense(self.fitted, self.about.task, _several(paths), batch_size=batch_size)


Adapted = AdaptedClassifier | AdaptedDense


def load_adapted(folder: str | Path, *, device: str | None = None, workers: int = 2) -> Adapted:
    """Returns an adapted model.

    >>> load_adapted("runs/photos").predict(["cat.jpg"]).label  # doctest: +SKIP
    ['cat']

    Args:
        device: such as "cuda"; by default the GPU if there is one.
        workers: reading processes in a dense task.

    Raises:
        ArtifactError: the folder is missing, incomplete, damaged or of another version.
        ConfigError: there is no such device.
    """
    folder, where = Path(folder), checked_device(device)
    student, tensors, about = read_adapted(folder)
    student = student.to(where)
    if about.task == "classification":
        model = build_classifier(student, about.head, tensors, num_classes=len(about.classes))
        return AdaptedClassifier(folder, about, model)
    fitted = build_dense(
        student, about.task, about.head, tensors, num_classes=len(about.classes), workers=workers
    )
    return AdaptedDense(folder, about, fitted)


def predict(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    batch_size: int | None = None,
    workers: int = 2,
    device: str | None = None,
    max_bad_fraction: float = 1.0,
) -> Path:
    """Writes what an adapted model says of images, and returns where.

    Classification: a .csv or .parquet file with `file_name`, `label`, `probability`, in Parquet also `probabilities`. Detection: the
    same kinds of file, a row an object, with `file_name`, `label`, `score`, `x`, `y`, `width`, `height` in px. Segmentation and depth:
    a folder of PNG files as datasets have them, named as the image with .png behind it, and `predicted.json`, which says what they mean;
    the folder is new, empty, or of an earlier call.

    Images that cannot be read are left out, and listed in a file of the same name with .quarantine.jsonl behind it.

    Args:
        images: anything that `open_dataset` reads.
        batch_size: images at once; 64 by default, and 32 in a dense task.
        max_bad_fraction: more of them than this part stop the work.

    Raises:
        ConfigError: `out` is of no kind that is written, is or lies in what is read, or is a folder with something else; there is no such
            device.
        DataError: not one image can be read.
    """
    adapted, out = load_adapted(model, device=device, workers=workers), Path(out)
    out = out.resolve() if out.name in ("", "..") else out  # its list of images has the folder's name
    is_table = adapted.about.task in ("classification", "detection")
    _check_kind(out, is_table=is_table, task=adapted.about.task)
    (check_file if is_table else check_folder)(out, images)
    if not is_table:
        _check_own(out)
    data = open_dataset(images)
    listed = out.with_name(f"{out.name}.quarantine.jsonl")
    listed.unlink(missing_ok=True)
    quarantine = Quarantine(listed, total=len(data), max_bad_fraction=max_bad_fraction)
    (out.parent if is_table else out).mkdir(parents=True, exist_ok=True)
    if not is_table:  # first: a call that was stopped may come again
        replace_text(out / PREDICTED, json.dumps(_meaning(adapted.about), indent=2))
    if isinstance(adapted, AdaptedClassifier):
        labels = adapted.predict(
            data.paths, batch_size=64 if batch_size is None else batch_size, workers=workers
        )
        for place, reason in labels.bad.items():
            quarantine.add(data.file_names[place], reason)
        good = [place for place in range(len(data)) if place not in labels.bad]
        _check_any(good, data)
        _write_table(_label_columns(labels, data.file_names, good), out)
    else:
        good = _write_dense(
            adapted, data, out, quarantine, batch_size=BATCH if batch_size is None else batch_size
        )
    console.print(
        f"{number_of(len(good), 'image')} predicted in {out}; {quarantine.count} could not be read",
    )
    return out


def label_files(
    model: Classifier | Prototypes,
    classes: Sequence[str],
    paths: Sequence[str | Path],
    *,
    batch_size: int = 64,
    workers: int = 2,
) -> Labels:
    """Returns what a classifier of C classes says of image files."""
    found = predict_logits(model, [str(path) for path in paths], batch_size=batch_size, workers=workers)
    shares = _softmax(found.logits)
    return Labels(
        [None if label < 0 else classes[label] for label in found.label],
        shares[np.arange(len(shares)), np.maximum(found.label, 0)],
        shares,
        found.bad,
    )


def labels_csv(labels: Labels, file_names: Sequence[str], true: Sequence[str]) -> str:
    """Returns CSV text: `file_name`, `label`, `probability`, `true`; label and probability are empty where an image cannot be read."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("file_name", "label", "probability", "true"))
    for place, name in enumerate(file_names):
        is_bad = place in labels.bad
        shown = "" if is_bad else f"{labels.probability[place]:.6f}"
        writer.writerow(
            (printable(name), printable(labels.label[place] or ""), shown, printable(true[place]))
        )
    return file.getvalue()


def checked_device(device: str | None) -> str:
    """Returns the device that was named; if none was, "cuda" if there is a GPU, else "cpu".

    Raises:
        ConfigError: there is none of that name.
    """
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device={device!r} cannot be used ({str(error).splitlines()[0]}); leave it out for what there is, or give cpu, cuda or cuda:1"
        ) from error
    return device


def _several(paths: Sequence[str | Path]) -> list[str]:
    """Returns paths as words.

    Raises:
        DataError: one path alone, or what is none.
    """
    if isinstance(paths, str | Path):
        raise DataError(f"needed is a list of paths, got one, '{printable(paths)}'; give [path]")
    found = list(paths)
    for path in found:
        if not isinstance(path, str | Path):
            raise DataError(f"needed are paths of image files, got a {type(path).__name__}; save it first")
    return [str(path) for path in found]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares (P, C) of logits (P, C); a row of NaN stays one."""
    shares: NDArray[np.float32] = torch.from_numpy(logits).double().softmax(1).float().numpy()
    return shares


def _check_kind(out: Path, *, is_table: bool, task: str) -> None:
    if is_table and (out.suffix not in TABLES or out.is_dir()):
        raise ConfigError(
            f"out={out} must be a file that ends in {' or '.join(TABLES)}; {task} gives a table"
        )
    if not is_table and (out.suffix in TABLES or out.is_file()):
        raise ConfigError(f"out={out} must be a folder; {task} gives a picture for each image")


def _check_own(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / PREDICTED).is_file():
        raise ConfigError(
            f"out={out} is not empty, and no earlier `predict` wrote it (it has no {PREDICTED}); name another folder, or empty it"
        )


def _meaning(about: About) -> dict[str, object]:
    """Returns what the pictures need to be understood, as `dataset.json` says it."""
    if about.task == "segmentation":
        return {"task": about.task, "mask_classes": list(about.classes)}
    return {"task": about.task, "depth_unit": about.head["unit"]}


def _check_any(good: Sequence[int], data: Dataset) -> None:
    if not good:
        raise DataError(f"not one of {len(data)} images can be read")


def _label_columns(labels: Labels, names: Sequence[str], good: Sequence[int]) -> dict[str, pa.Array]:
    shares = labels.probabilities[good]
    return {
        "file_name": pa.array([printable(names[place]) for place in good], pa.string()),
        "label": pa.array([printable(labels.label[place] or "") for place in good], pa.string()),
        "probability": pa.array(labels.probability[good], pa.float32()),
        "probabilities": pa.FixedSizeListArray.from_arrays(pa.array(shares.ravel()), shares.shape[1]),
    }


def _write_dense(
    adapted: AdaptedDense, data: Dataset, out: Path, quarantine: Quarantine, *, batch_size: int
) -> list[int]:
    """Writes masks, depths or a table of objects; returns the places of the images that could be read.

    Raises:
        DataError: not one of them could be.
    """
    good, found = list[int](), list[tuple[str, Detections]]()
    for each in adapted.predict(data.paths, batch_size=batch_size):
        if isinstance(each, Bad):
            quarantine.add(data.file_names[each.row], each.reason)
            if adapted.about.task != "detection":  # what an earlier call said of it
                _inside(out, data.file_names[each.row]).unlink(missing_ok=True)
            continue
        good.append(each.place)
        name = data.file_names[each.place]
        if adapted.about.task == "detection":
            found.append((name, each.output))
        else:
            _save_png(_pixels(each.output, adapted.about), _inside(out, name))
    _check_any(good, data)
    if adapted.about.task == "detection":
        _write_table(_object_columns(found, adapted.about.classes), out)
    return good


def _pixels(output: NDArray[Any], about: About) -> NDArray[Any]:
    if about.task == "segmentation":
        return output.astype(np.uint8 if len(about.classes) <= 255 else np.uint16)
    steps = output * 1000 if about.head["unit"] == MILLIMETRES else output
    pixels: NDArray[Any] = np.rint(steps).clip(0, 65535).astype(np.uint16)
    return pixels


def _inside(folder: Path, name: str) -> Path:
    path = folder / f"{name}.png"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"the image '{printable(name)}' lies outside of its folder, so its result would lie outside of {folder}"
        )
    return path


def _save_png(pixels: NDArray[Any], path: Path) -> None:
    """Writes the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(new_name(path.name))
    Image.fromarray(pixels).save(temporary, format="PNG")
    os.replace(temporary, path)


def _object_columns(found: Sequence[tuple[str, Detections]], classes: Sequence[str]) -> dict[str, pa.Array]:
    boxes = np.concatenate([np.empty((0, 4), np.float32), *(each.boxes for _, each in found)])
    names = [printable(name) for name, each in found for _ in each.labels]
    columns = {
        "file_name": pa.array(names, pa.string()),
        "label": pa.array(
            [printable(classes[label]) for _, each in found for label in each.labels], pa.string()
        ),
        "score": pa.array([float(score) for _, each in found for score in each.scores], pa.float32()),
    }
    sides = zip(("x", "y", "width", "height"), boxes.T, strict=True)
    return columns | {side: pa.array(values, pa.float32()) for side, values in sides}


def _write_table(columns: Mapping[str, pa.Array], path: Path) -> None:
    """Writes the file in one step; CSV has no column of lists."""
    temporary = path.with_name(f".{path.name}.new")
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(columns)), temporary)
    else:
        flat = [name for name in columns if name != "probabilities"]
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(flat)
            writer.writerows(zip(*(columns[name].to_pylist() for name in flat), strict=True))
    os.replace(temporary, path)
