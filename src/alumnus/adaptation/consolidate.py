"""`consolidate`: an old and a new detector make one of all their classes, on images without labels and without those of either.

Deep Model Consolidation for detection (Zhang et al. 2020, "Class-incremental learning via deep model consolidation", arXiv 1903.07864).
Two teachers, of s classes and of t - s others, see auxiliary images. For each image and each of its selected anchors:

    z_j    = y_j - mean of y over the classes of j's own teacher                 y: the teacher's class logits
    L_cls  = (1/t) sum_j (student's logit j - z_j)^2
    L_loc  = sum over the 4 numbers of a box of smooth_l1(student's - teacher's)
    loss   = mean over images and selected anchors of  L_cls + lambda L_loc

Only anchors that matter take part: those of the highest objectness, which is the highest probability of any class by either
teacher. The box to be learnt is that of the teacher whose class is the most probable there. The classification form is `methods.dmc`.

How far the paper is followed. L_cls with the mean of each group is known, and that the class subnet and the box subnet are both
distilled. The choice of anchors by objectness and of the box by the surer teacher is from memory of the paper and was not checked against
its text. Its numbers are not known here: 64 anchors an image, lambda = 1, and to begin with the old detector are ours.

Differences from the paper, which has RetinaNet: the detector here is FCOS (`models.detector`), so an anchor is a cell, a box is the
distances to its four sides, and there is a third output, centredness, learnt by cross-entropy from the same teacher as the box, with weight
lambda. Classes are sigmoids: were z regressed as it is, background would have logits of 0, a probability of 1/2. So the constant logit
`BACKGROUND` is added to every z; no order of class scores changes by it, and the scores can be read.

Gradients stop at the targets; the teachers are never trained.

Axes: B images, A cells, K selected ones, C classes.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alumnus.adaptation.artifact import ABOUT, QUARANTINE, About, check_out, save_adapted
from alumnus.adaptation.use import AdaptedDense, checked_device, load_adapted
from alumnus.data.dataset import open_dataset
from alumnus.data.read import Quarantine
from alumnus.errors import ConfigError
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.dense.detection import BUDGET
from alumnus.evaluation.dense.encode import StudentDense
from alumnus.evaluation.dense.features import live_levels
from alumnus.evaluation.dense.training import Budget, Setup, seeded, train, usable_rows
from alumnus.log import console
from alumnus.models.artifact import STALE, load_student, read_about, student_folder
from alumnus.models.detector import BACKGROUND, Detector, Raw

Centre = Literal["group", "none"]


class Wanted(NamedTuple):
    """What the student is to say of the selected cells."""

    cells: Tensor  # (B, K) int64, in [0, A)
    logits: Tensor  # (B, K, C), the old teacher's classes first
    sides: Tensor  # (B, K, 4)
    centredness: Tensor  # (B, K), in [0, 1]


def consolidate(
    old: str | Path,
    new: str | Path,
    *,
    data: str | Path | Sequence[str],
    out: str | Path,
    student: str | Path | None = None,
    method: Literal["finetune", "linear"] = "finetune",
    centre: Centre = "group",
    num_cells: int = 64,
    box_weight: float = 1.0,
    steps: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    workers: int = 2,
    max_bad_fraction: float = 0.05,
) -> AdaptedDense:
    """Returns one detector of the classes of two, written to a folder that `load_adapted`, `alumnus predict` and this function take.

    >>> consolidate("runs/cats", "runs/dogs", data="photos/", out="runs/both")  # doctest: +SKIP

    Args:
        old, new: adapted models of detection without a common class, over images of one size; their classes come in this order.
        data: auxiliary images, anything that `open_dataset` reads; labels are not looked at, and every split takes part.
        out: a new folder, or an adapted model to be replaced.
        student: a student folder whose backbone begins under a new head. By default the old detector begins, with room for new classes.
        method: "finetune" trains backbone and head, as in the paper; "linear" the head alone.
        centre: what is taken off each teacher's logits: its own mean at that cell, or nothing.
        num_cells: K, of each image, at least 1; all if there are not so many.
        box_weight: lambda, of boxes and centredness, not negative.
        steps, lr, batch_size: those of a detection head by default.
        seed: of the new weights and of the order of the images.
        device: by default the GPU if there is one.
        max_bad_fraction: more unreadable images than this part of the data stop it.

    Raises:
        ConfigError: a setting is out of range, a model is of another task, or two have a common class or cells that are not the same.
        DataError: no image, or too few of them, can be read.
        ArtifactError: a model is missing, or `out` is something else.
    """
    old, new, out = Path(old), Path(new), Path(out)
    _check_settings(method, centre, num_cells, box_weight)
    if out.resolve() in (old.resolve(), new.resolve()):
        raise ConfigError(f"out={out} is one of the two models; choose another folder")
    check_out(out)
    device = checked_device(device)
    teachers = [_teacher(folder, device, workers) for folder in (old, new)]
    _check_classes(teachers, centre)
    classes = tuple(name for teacher in teachers for name in teacher.about.classes)
    given = {"steps": steps, "lr": lr, "batch_size": batch_size}
    budget = Budget(**{**vars(BUDGET), **{name: value for name, value in given.items() if value is not None}})
    setup = Setup(budget, finetune=method == "finetune", seed=seed, device=device, workers=workers)
    encoder, head = _beginning(teachers[0], student, len(classes), setup)
    named = [(str(each.folder), *_parts(each)) for each in teachers]
    _check_cells([*named, (str(student or old), encoder, head)])
    found = open_dataset(data)
    quarantine = Quarantine(None, total=len(found), max_bad_fraction=max_bad_fraction)
    console.print(f"{len(classes)} classes of two detectors, {len(found):,} images to learn from")
    source = live_levels(encoder, list(found.paths), workers=workers)  # for its pixels
    for place, reason in source.bad.items():
        quarantine.add(found.file_names[place], reason)

    def loss_of(batch: Ids) -> Tensor:
        image = torch.from_numpy(source.pixels[batch])
        wanted = targets(
            *(said(*_parts(each), image) for each in teachers), centre=centre, num_cells=num_cells
        )
        with torch.set_grad_enabled(setup.finetune):
            levels = encoder.differentiable(image)
        return consolidation_loss(head.raw(levels), wanted, box_weight=box_weight)

    losses = train(head, encoder, loss_of, usable_rows(source, source.bad), setup, label="consolidation")
    own = {"centre": centre, "num_cells": num_cells, "box_weight": box_weight}
    about = About(
        task="detection",
        method=method,
        start="student",
        domain=None,
        classes=classes,
        head={"kind": "fcos"},
        fraction=0.0,
        seed=seed,
        settings={**vars(budget), **own, "last_loss": losses[-1]},
        num_train=len(found),
        num_test=0,
        num_bad=quarantine.count,
        held_out=None,
        scores={},
        note="consolidated from two detectors, without labels; not scored",
        provenance=_provenance(teachers, student, found.fingerprint),
    )
    listed = "".join(json.dumps(row) + "\n" for row in quarantine.rows)
    texts = {QUARANTINE: listed} if listed else {}
    began = old if student is None else student_folder(student)
    save_adapted(
        *(encoder.student.eval(), head.state_dict(), about, out),
        texts=texts,
        card=_card(about, out.name),
        was_stale=read_about(began)["provenance"].get(STALE),
    )
    return _teacher(out, device, workers)


def said(encoder: StudentDense, head: Detector, image: Tensor) -> Raw:
    """Returns what a teacher says of images (B, 3, S, S) uint8, without gradients."""
    with torch.no_grad():
        return head.raw(encoder.differentiable(image))


def targets(old: Raw, new: Raw, *, centre: Centre, num_cells: int) -> Wanted:
    """Returns what is to be learnt of two teachers over the same cells, of the `num_cells` of highest objectness in each image.

    Where both teachers are as sure, the old one gives the box.
    """
    sure_old, sure_new = (
        old.logits.amax(2),
        new.logits.amax(2),
    )  # (B, A); of logits, in the order of probabilities
    cells = torch.maximum(sure_old, sure_new).topk(min(num_cells, sure_old.shape[1]), dim=1).indices
    is_old = sure_old >= sure_new
    logits = torch.cat([_centred(old.logits, centre), _centred(new.logits, centre)], dim=2)
    sides = torch.where(is_old[..., None], old.sides, new.sides)
    centredness = torch.where(is_old, old.centredness, new.centredness).sigmoid()
    return Wanted(cells, _at(logits, cells), _at(sides, cells), centredness.gather(1, cells))


def consolidation_loss(student: Raw, wanted: Wanted, *, box_weight: float) -> Tensor:
    """Returns L_cls + lambda (L_loc + centredness), a scalar, of what the student says of all cells."""
    classes = (_at(student.logits, wanted.cells) - wanted.logits).square().mean()
    sides = _at(student.sides, wanted.cells)
    boxes = functional.smooth_l1_loss(sides, wanted.sides, reduction="none").sum(2).mean()
    centres = functional.binary_cross_entropy_with_logits(
        student.centredness.gather(1, wanted.cells), wanted.centredness
    )
    return classes + box_weight * (boxes + centres)


def _centred(logits: Tensor, centre: Centre) -> Tensor:
    """One teacher's logits (B, A, c) less their mean at each cell, on the level of background."""
    return logits if centre == "none" else logits - logits.mean(2, keepdim=True) + BACKGROUND


def _at(values: Tensor, cells: Tensor) -> Tensor:
    """Values (B, A, d) at cells (B, K): (B, K, d)."""
    return values.gather(1, cells[..., None].expand(-1, -1, values.shape[2]))


def _teacher(folder: Path, device: str, workers: int) -> AdaptedDense:
    adapted = load_adapted(folder, device=device, workers=workers)
    if adapted.about.task != "detection" or not isinstance(adapted, AdaptedDense):
        raise ConfigError(
            f"{folder} is a model of {adapted.about.task}; two detectors are consolidated here. For classifiers there is "
            "`alumnus train` with method=dmc"
        )
    return adapted


def _parts(adapted: AdaptedDense) -> tuple[StudentDense, Detector]:
    encoder, head = adapted.fitted.encoder, adapted.fitted.head
    assert isinstance(encoder, StudentDense)
    assert isinstance(head, Detector)
    return encoder, head


def _beginning(
    old: AdaptedDense, folder: str | Path | None, num_classes: int, setup: Setup
) -> tuple[StudentDense, Detector]:
    """The student before the first step, with a network of its own."""
    encoder, before = _parts(old)
    begun = encoder.copied() if folder is None else StudentDense(load_student(folder).to(setup.device))
    head = seeded(lambda: Detector(begun.grids, size=begun.size, num_classes=num_classes), setup)
    assert isinstance(head, Detector)
    if folder is None:
        head.begin_with(before)
    return begun, head


def _check_settings(method: str, centre: str, num_cells: int, box_weight: float) -> None:
    if method not in ("finetune", "linear") or centre not in ("group", "none"):
        raise ConfigError(
            f"method={method}, centre={centre}; allowed: method finetune or linear, centre group or none"
        )
    if num_cells < 1 or not 0 <= box_weight < float("inf"):
        raise ConfigError(
            f"num_cells={num_cells}, box_weight={box_weight}: the first must be at least 1, the second not negative and finite"
        )


def _check_classes(teachers: Sequence[AdaptedDense], centre: Centre) -> None:
    old, new = teachers
    common = [name for name in old.about.classes if name in new.about.classes]
    if common:
        raise ConfigError(
            f"{old.folder} and {new.folder} know {', '.join(map(repr, common))} both; consolidated are detectors without a common class"
        )
    for each in teachers:
        if centre == "group" and len(each.about.classes) < 2:
            raise ConfigError(
                f"{each.folder} knows {each.about.classes[0]!r} alone, and centre=group takes off the mean over a detector's classes: "
                "nothing would be left. Take centre=none"
            )


def _check_cells(models: Sequence[tuple[str, StudentDense, Detector]]) -> None:
    """Raises a ConfigError unless all models look at the same cells of images of the same size."""
    (first, encoder, head), *others = models
    for name, other, other_head in others:
        if other.size != encoder.size:
            raise ConfigError(
                f"{first} looks at images of {encoder.size} px and {name} at images of {other.size} px; they must be of one size"
            )
        ours, theirs = (_cells(*each) for each in ((encoder, head), (other, other_head)))
        if ours.shape != theirs.shape or not torch.equal(ours, theirs):
            raise ConfigError(
                f"{first} has {len(ours)} cells of {_finest(ours)} px and more, {name} has {len(theirs)} of {_finest(theirs)} px and more; "
                "they must be the same. Take networks with grids of the same strides"
            )


def _cells(encoder: StudentDense, head: Detector) -> Tensor:
    grey = torch.full((1, 3, encoder.size, encoder.size), 128, dtype=torch.uint8)
    is_training = head.training
    cells = said(encoder, head.eval(), grey).cells
    head.train(is_training)
    return cells


def _finest(cells: Tensor) -> str:
    return f"{float(cells[0, 2] - cells[0, 0]):g}"


def _provenance(
    teachers: Sequence[AdaptedDense], student: str | Path | None, fingerprint: str
) -> dict[str, Any]:
    old, new = (
        {"folder": str(each.folder), "classes": list(each.about.classes), "from": each.about.provenance}
        for each in teachers
    )
    return {
        "student": None if student is None else read_about(Path(student))["provenance"],
        "model": str(student or teachers[0].folder),
        "old": old,
        "new": new,
        "data": {"fingerprint": fingerprint},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in ("alumnus", "torch", "timm")},
    }


def _card(about: About, name: str) -> str:
    return (
        f"# {name}\n\nA detector of {len(about.classes)} classes, consolidated from two by Deep Model Consolidation (arXiv 1903.07864) on "
        f"{about.num_train:,} images without labels (seed {about.seed}). Not scored.\n\n"
        f"`alumnus predict {name} images/ out=objects.csv`; all settings are in {ABOUT}.\n"
    )
