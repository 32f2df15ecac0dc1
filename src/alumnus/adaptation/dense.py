"""Segmentation, depth and detection on a student: the heads of `evaluation.dense`, learnt, scored, and built again from a file.

Axes: Q test pictures, C classes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from alumnus.adaptation.choose import Chosen, depths_of, masks_of, objects_of
from alumnus.data.loader import Bad
from alumnus.datasets.known import Task
from alumnus.errors import ArtifactError, MissingExtra
from alumnus.evaluation.compare import Interval
from alumnus.evaluation.dense.coco import RESAMPLES as AP_RESAMPLES
from alumnus.evaluation.dense.depth import fit_depth, predicted_depths, score_depth
from alumnus.evaluation.dense.detection import BUDGET, detections, fit_detection, score_detection
from alumnus.evaluation.dense.encode import StudentDense
from alumnus.evaluation.dense.pictures import Predicted
from alumnus.evaluation.dense.segmentation import fit_segmentation, predicted_masks, score_segmentation
from alumnus.evaluation.dense.training import Budget, Fitted, Setup
from alumnus.models.dense_heads import DenseHeadKind, LogDepth, dense_head
from alumnus.models.detector import Detector
from alumnus.models.student import Student


@dataclass(frozen=True, eq=False)
class LearnedDense:
    """A head on a student and how it came about."""

    fitted: Fitted
    student: Student  # with the trained backbone, if it was trained
    head: Mapping[str, str]  # for `build_dense`
    settings: Mapping[str, Any]


class Scored(NamedTuple):
    """On the test part."""

    scores: dict[str, Interval]
    bad: dict[int, str]  # place among the test pictures -> reason


def check_dense(chosen: Chosen) -> None:
    """Raises a MissingExtra now if the score at the end would."""
    if chosen.task == "detection" and len(chosen.test) and importlib.util.find_spec("pycocotools") is None:
        raise MissingExtra("pycocotools", extra="bench")


def learn_dense(
    student: Student,
    chosen: Chosen,
    *,
    is_finetuned: bool,
    kind: DenseHeadKind,
    given: Mapping[str, Any],
    seed: int,
    device: str,
    workers: int,
) -> LearnedDense:
    """Returns a head learnt from the training part, the backbone too if asked for.

    Args:
        kind: of the head in segmentation and depth.
        given: fields of `Budget` that are not the usual ones.

    Raises:
        DataError: no picture has a target that can be read.
    """
    usual = BUDGET if chosen.task == "detection" else Budget()
    budget = Budget(**{**vars(usual), **given})
    setup = Setup(budget=budget, finetune=is_finetuned, seed=seed, device=device, workers=workers)
    encoder, train = StudentDense(student), chosen.train
    head = {"kind": str(kind)}
    if chosen.task == "segmentation":
        fitted = fit_segmentation(
            encoder, train.paths, masks_of(train), num_classes=len(chosen.classes), kind=kind, setup=setup
        )
    elif chosen.task == "depth":
        head["unit"] = train.depth_unit
        fitted = fit_depth(
            encoder, train.paths, depths_of(train), unit=train.depth_unit, kind=kind, setup=setup
        )
    else:
        head = {"kind": "fcos"}
        fitted = fit_detection(
            encoder, train.paths, objects_of(train), num_classes=len(chosen.classes), setup=setup
        )
    assert isinstance(fitted.encoder, StudentDense)
    trained = fitted.encoder.student.eval()
    return LearnedDense(fitted, trained, head, {**vars(budget), "last_loss": fitted.losses[-1]})


def score_dense(learned: LearnedDense, chosen: Chosen, *, resamples: int) -> Scored:
    """Returns the scores on the test part, which is not empty.

    Raises:
        DataError: not one picture can be scored.
    """
    test, fitted, num_classes = chosen.test, learned.fitted, len(chosen.classes)
    if chosen.task == "segmentation":
        masks = score_segmentation(
            fitted, test.paths, masks_of(test), num_classes=num_classes, resamples=resamples
        )
        return Scored({"mIoU": masks.mean_iou, "pixel_accuracy": masks.pixel_accuracy}, masks.bad)
    if chosen.task == "depth":
        depth = score_depth(
            fitted, test.paths, depths_of(test), unit=chosen.train.depth_unit, resamples=resamples
        )
        return Scored({"RMSE": depth.rmse, "abs_rel": depth.abs_rel, "delta1": depth.delta1}, depth.bad)
    found = score_detection(
        fitted, test.paths, objects_of(test), num_classes=num_classes, resamples=min(resamples, AP_RESAMPLES)
    )
    return Scored({"AP": found.ap, "AP50": found.ap50, "AP75": found.ap75}, found.bad)


def build_dense(
    student: Student,
    task: Task,
    head: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    *,
    num_classes: int,
    workers: int = 2,
) -> Fitted:
    """Returns a head that `learn_dense` described, in eval mode on the student's device.

    Raises:
        ArtifactError: description and tensors do not fit the student.
    """
    encoder, device = StudentDense(student), next(student.parameters()).device
    try:
        module = _head(encoder, task, head["kind"], num_classes)
        module.load_state_dict(dict(tensors))
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"the head {dict(head)} does not fit the student: {error}") from error
    return Fitted(encoder, module.to(device).eval(), (), {}, Setup(device=str(device), workers=workers))


def predict_dense(
    fitted: Fitted, task: Task, paths: Sequence[str], *, batch_size: int
) -> Iterator[Predicted[Any] | Bad]:
    """Yields for each picture, at its own size, its mask, its depth or its objects, or why it cannot be read."""
    if task == "segmentation":
        yield from predicted_masks(fitted, paths, batch_size=batch_size)
    elif task == "depth":
        yield from predicted_depths(fitted, paths, batch_size=batch_size)
    else:
        yield from detections(fitted, paths, batch_size=batch_size)


def _head(encoder: StudentDense, task: Task, kind: str, num_classes: int) -> nn.Module:
    if task == "detection":
        return Detector(encoder.grids, size=encoder.size, num_classes=num_classes)
    if kind not in ("linear", "decoder"):
        raise ArtifactError(f"there is no head {kind!r} for {task}; known are linear, decoder")
    outputs = 1 if task == "depth" else num_classes
    head = dense_head(encoder.grids, outputs, kind=cast(DenseHeadKind, kind))
    # Centre, spread and limits are among the tensors.
    return LogDepth(head, center=0.0, spread=1.0, limits=(0.0, 1.0)) if task == "depth" else head
