"""A classifier on a student by one of three methods, from training images alone.

- linear: logistic regression on the frozen backbone's summary, its weight decay chosen on held-out training images.
- prototype: the nearest class mean, see `prototype`.
- finetune: backbone and head together, see `finetune`.

Axes: N training images of which M can be read, D and E widths of summary and embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alumnus.adaptation.artifact import Method, Start
from alumnus.adaptation.classifier import Classifier
from alumnus.adaptation.finetune import finetune
from alumnus.adaptation.prototype import SPACES, Prototypes, fit_prototypes
from alumnus.data.dataset import Dataset
from alumnus.data.loader import center_crop_batches
from alumnus.data.read import Quarantine
from alumnus.errors import ArtifactError, DataError
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.linear import fit_linear
from alumnus.log import bar
from alumnus.models.student import Student


@dataclass(frozen=True, eq=False)
class Learned:
    """A classifier and how it came about."""

    model: Classifier | Prototypes  # in eval mode, on the device
    classes: Ids  # of those asked for, the ones that it knows
    head: Mapping[str, str]  # for `build_classifier`
    tensors: Mapping[str, Tensor]  # of the head
    settings: Mapping[str, Any]
    held_out: float | None  # accuracy on training images that had a say


class Encoded(NamedTuple):
    """What a student says of the images that can be read."""

    summary: Floats  # (M, D)
    embedding: Floats  # (M, E)
    rows: Ids  # (M,)


def learn(
    student: Student,
    train: Dataset,
    *,
    method: Method,
    num_classes: int,
    start: Start = "student",
    given: Mapping[str, Any],
    seed: int,
    quarantine: Quarantine,
    device: str,
    workers: int,
) -> Learned:
    """Returns a classifier of images with labels in [0, num_classes).

    Args:
        start: "scratch" if the student's weights say nothing yet.
        given: arguments of `finetune`.

    Raises:
        DataError: no image can be read, or only one class.
        TooManyBadImages: more than the quarantine allows.
    """
    if method == "finetune":
        from_nothing: dict[str, Any] = {"start": "zero", "layer_decay": 1.0} if start == "scratch" else {}
        return _finetuned(
            student,
            train,
            {**from_nothing, **given},
            num_classes=num_classes,
            seed=seed,
            quarantine=quarantine,
            device=device,
            workers=workers,
        )
    encoded = _encode(student, train, quarantine=quarantine, workers=workers)
    classes, label = np.unique(train.label[encoded.rows], return_inverse=True)
    if len(classes) < 2:
        raise DataError(
            f"{len(classes)} class in {len(label)} images that can be read; needed are two at least"
        )
    make = _linear if method == "linear" else _prototype
    return make(student, encoded, label, classes, seed=seed, device=device)


def build_classifier(
    student: Student, head: Mapping[str, str], tensors: Mapping[str, Tensor], *, num_classes: int
) -> Classifier | Prototypes:
    """Returns the classifier that `learn` described, in eval mode on the student's device.

    Raises:
        ArtifactError: description and tensors are not those of a classifier of so many classes on this student.
    """
    device = next(student.parameters()).device
    kind = head.get("kind")
    if kind == "prototype":
        space = next((space for space in SPACES if space == head.get("space")), None)
        mean, temperature = tensors.get("mean"), tensors.get("temperature")
        if space is not None and mean is not None and temperature is not None:
            width = student.embed_dim if space == "embedding" else student.num_features
            if mean.shape == (num_classes, width):
                return Prototypes(student, mean, temperature=temperature, space=space).to(device).eval()
    elif kind == "linear":
        classifier = Classifier(student, num_classes)
        try:
            classifier.head.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise ArtifactError(f"the head does not fit the student: {error}") from error
        return classifier.to(device).eval()
    raise ArtifactError(
        f"the head {dict(head)} with the tensors {sorted(tensors)} is no classifier of {num_classes} classes"
    )


def _finetuned(
    student: Student,
    train: Dataset,
    given: Mapping[str, Any],
    *,
    num_classes: int,
    seed: int,
    quarantine: Quarantine,
    device: str,
    workers: int,
) -> Learned:
    found = finetune(
        student,
        train,
        num_classes=num_classes,
        seed=seed,
        device=device,
        workers=workers,
        max_bad_fraction=quarantine.max_bad_fraction,
        total=quarantine.total,
        **given,
    )
    for row in found.bad:
        quarantine.add(row["file_name"], row["reason"])
    best = max((check.accuracy for check in found.checks), default=None)
    return Learned(
        found.classifier,
        np.arange(num_classes),
        {"kind": "linear"},
        found.classifier.plain_head().state_dict(),
        {**given, "steps_done": found.steps, "best_step": found.best_step},
        best,
    )


def _linear(
    student: Student, encoded: Encoded, label: Ids, classes: Ids, *, seed: int, device: str
) -> Learned:
    with bar("linear", total=None) as line:
        fit = fit_linear(encoded.summary, label, seed=seed, device=device, advance=line.advance)
    tensors = {
        "weight": torch.from_numpy(fit.classifier.weight),
        "bias": torch.from_numpy(fit.classifier.bias),
    }
    head = {"kind": "linear"}
    return Learned(
        build_classifier(student, head, tensors, num_classes=len(classes)),
        classes,
        head,
        tensors,
        {"decay": fit.decay, "converged": fit.converged},
        next((trial.accuracy for trial in fit.trials if trial.decay == fit.decay), None),
    )


def _prototype(
    student: Student, encoded: Encoded, label: Ids, classes: Ids, *, seed: int, device: str
) -> Learned:
    del seed, device  # nothing is drawn, and nothing is heavy
    fit = fit_prototypes({"embedding": encoded.embedding, "summary": encoded.summary}, label)
    head = {"kind": "prototype", "space": str(fit.space)}
    tensors = {"mean": torch.from_numpy(fit.mean), "temperature": torch.tensor(fit.temperature)}
    return Learned(
        build_classifier(student, head, tensors, num_classes=len(classes)),
        classes,
        head,
        tensors,
        {"space": fit.space, "temperature": fit.temperature},
        fit.left_out,
    )


def _encode(student: Student, data: Dataset, *, quarantine: Quarantine, workers: int) -> Encoded:
    device = next(student.parameters()).device
    student.eval()
    summaries, embeddings, rows = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    with bar("encode", total=len(data)) as line, torch.inference_mode():
        for places, images, bad in center_crop_batches(data.paths, [student.size], workers=workers):
            if len(places):
                output = student(images[student.size].to(device))
                summaries.append(output.features.summary.cpu().numpy())
                embeddings.append(output.embedding.cpu().numpy())
                rows.append(places)
            for place, reason in bad:
                quarantine.add(data.file_names[place], reason)
            line.advance(len(places) + len(bad))
    if not rows:
        raise DataError(f"not one of {len(data)} images to learn from can be read")
    return Encoded(np.concatenate(summaries), np.concatenate(embeddings), np.concatenate(rows))
