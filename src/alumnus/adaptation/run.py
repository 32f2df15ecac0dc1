"""`adapt`: a student and a labelled dataset make an adapted model folder.

What is chosen is chosen on the training part. The test part is opened once, at the end, by the evaluators that everything is scored by.
A fault found after the training costs the scores, never the model: it is written unscored, and `note` says why.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from alumnus.adaptation.artifact import ABOUT, QUARANTINE, TEST, About, Method, Start, check_out, save_adapted
from alumnus.adaptation.choose import Chosen, choose
from alumnus.adaptation.classify import learn
from alumnus.adaptation.dense import check_dense, learn_dense, score_dense
from alumnus.adaptation.use import Adapted, checked_device, label_files, labels_csv, load_adapted
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.names import printable
from alumnus.data.read import Quarantine
from alumnus.datasets.known import Task
from alumnus.errors import ConfigError, DataError, TooManyBadImages, nearest
from alumnus.evaluation.accuracy import accuracy
from alumnus.evaluation.compare import RESAMPLES, Interval, check_resamples
from alumnus.log import console
from alumnus.models.artifact import STALE, load_student, read_about, student_folder
from alumnus.models.dense_heads import DenseHeadKind
from alumnus.models.student import Student

MOST_NAMED = 5  # classes in a message


@dataclass(frozen=True, eq=False)
class _Result:
    """All that the folder is made of."""

    student: Student
    head: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    held_out: float | None
    scores: Mapping[str, Interval]
    texts: Mapping[str, str]
    num_test: int  # images that were to be scored
    note: str  # what was not scored after the training, and why; "" if nothing


def adapt(
    model: str | Path,
    *,
    data: str | Path | Sequence[str],
    out: str | Path,
    method: Method = "linear",
    task: Task | None = None,
    domain: str | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    split: str = "train",
    test_split: str | None = None,
    start: Start = "student",
    head: DenseHeadKind | None = None,
    steps: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    layer_decay: float | None = None,
    resamples: int = RESAMPLES,
    device: str | None = None,
    workers: int = 2,
    max_bad_fraction: float = 0.05,
) -> Adapted:
    """Returns an adapted model, written to a folder that `load_adapted` and `alumnus predict` take.

    >>> adapt("runs/demo/student", data="photos/", out="runs/photos", method="finetune", fraction=0.1)  # doctest: +SKIP

    Args:
        model: a student folder, or a run folder that holds one.
        data: anything that `open_dataset` reads, with labels, masks, depth or objects.
        out: a new folder, or an adapted model to be replaced.
        method: "linear" and "finetune" for every task, "prototype" for classification.
        task: needed if the images have several kinds of labels.
        domain: needed in classification if several domains have labels.
        fraction: of the labels, of each class, at least one image each.
        seed: of these, of what is held out, and of the training.
        split: what is learnt from, such as train+val.
        test_split: what is scored; by default "test" if it is there.
        start: "scratch" forgets the student's weights and keeps its architecture, for comparison.
        head: of segmentation and depth; "linear" by default.
        steps, lr, batch_size: of fine-tuning and of dense heads; their own by default.
        patience, layer_decay: of fine-tuning a classifier, see `finetune`.
        resamples: of the test images, for intervals.
        device: by default the GPU if there is one.
        max_bad_fraction: more unreadable images than this part of the data stop it.

    Raises:
        ConfigError: a setting is out of range or has no effect.
        DataError: the data does not say what to learn, or too little of it can be read, before the training ends. Afterwards the
            model is written, without scores.
        ArtifactError: there is no student, or `out` is something else.
    """
    folder, out = student_folder(model), Path(out)
    if out.resolve() == folder.resolve():
        raise ConfigError(f"out={out} is the model itself; choose another folder")
    _check_words(method=(method, Method), start=(start, Start), head=(head or "linear", DenseHeadKind))
    check_resamples(resamples)
    check_out(out)
    found = open_dataset(data)
    chosen = choose(
        found, task=task, domain=domain, split=split, test_split=test_split, fraction=fraction, seed=seed
    )
    given = _given(steps=steps, lr=lr, batch_size=batch_size, patience=patience, layer_decay=layer_decay)
    _check_settings(chosen.task, method, head, given)
    _tell(chosen, method)
    student = _first_weights(load_student(folder), start, seed).to(checked_device(device))
    quarantine = Quarantine(
        None, total=len(chosen.train) + len(chosen.test), max_bad_fraction=max_bad_fraction
    )
    make = _classifier if chosen.task == "classification" else _dense
    result = make(
        student,
        chosen,
        method=method,
        start=start,
        kind=head or "linear",
        given=given,
        seed=seed,
        resamples=resamples,
        quarantine=quarantine,
        workers=workers,
    )
    about = About(
        task=chosen.task,
        method=method,
        start=start,
        domain=chosen.domain,
        classes=result.classes,
        head=result.head,
        fraction=fraction,
        seed=seed,
        settings=result.settings,
        num_train=len(chosen.train),
        num_test=result.num_test,
        num_bad=quarantine.count,
        held_out=result.held_out,
        scores=result.scores,
        note="; ".join(filter(None, (chosen.note, result.note))),
        provenance={
            "student": read_about(folder)["provenance"] if start == "student" else None,
            "model": str(model),
            "data": {"fingerprint": found.fingerprint},
            "splits": {"train": split, "test": test_split or "test"},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {name: importlib.metadata.version(name) for name in ("alumnus", "torch", "timm")},
        },
    )
    listed = "".join(json.dumps(row) + "\n" for row in quarantine.rows)
    texts = {**result.texts, **({QUARANTINE: listed} if listed else {})}
    save_adapted(
        *(result.student, result.tensors, about, out),
        texts=texts,
        card=_card(about, out.name),
        was_stale=read_about(folder)["provenance"].get(STALE) if start == "student" else None,
    )
    if result.note:
        console.print(result.note)
    return load_adapted(out, device=device, workers=workers)


def _classifier(
    student: Student,
    chosen: Chosen,
    *,
    method: Method,
    start: Start,
    kind: DenseHeadKind,
    given: Mapping[str, Any],
    seed: int,
    resamples: int,
    quarantine: Quarantine,
    workers: int,
) -> _Result:
    del kind  # of dense heads
    learned = learn(
        student,
        chosen.train,
        method=method,
        num_classes=len(chosen.classes),
        start=start,
        given=given,
        seed=seed,
        quarantine=quarantine,
        device=str(next(student.parameters()).device),
        workers=workers,
    )
    classes = tuple(chosen.classes[label] for label in learned.classes)
    test, note = _of_learnt_classes(chosen, quarantine)
    scores, texts = dict[str, Interval](), dict[str, str]()
    if len(test):
        labels = label_files(learned.model, classes, test.paths, workers=workers)
        too_many = _noted(labels.bad, test, quarantine)
        note = "; ".join(filter(None, (note, too_many)))
        true = [chosen.classes[label] for label in test.label]
        number = {name: label for label, name in enumerate(chosen.classes)}
        predicted = np.array([-1 if word is None else number[word] for word in labels.label], np.int64)
        if not too_many:
            score = accuracy(predicted, test.label, resamples=resamples, seed=seed)
            scores = {"top1": score.top1, "per_class": score.per_class}
        texts = {TEST: labels_csv(labels, test.file_names, true)}
    return _Result(
        learned.model.student,
        learned.head,
        learned.tensors,
        classes,
        learned.settings,
        learned.held_out,
        scores,
        texts,
        len(test),
        note,
    )


def _dense(
    student: Student,
    chosen: Chosen,
    *,
    method: Method,
    start: Start,
    kind: DenseHeadKind,
    given: Mapping[str, Any],
    seed: int,
    resamples: int,
    quarantine: Quarantine,
    workers: int,
) -> _Result:
    del start  # the student comes with the weights that it says
    check_dense(chosen)
    learned = learn_dense(
        student,
        chosen,
        is_finetuned=method == "finetune",
        kind=kind,
        given=given,
        seed=seed,
        device=str(next(student.parameters()).device),
        workers=workers,
    )
    note, scores = _noted(learned.fitted.bad, chosen.train, quarantine), dict[str, Interval]()
    if len(chosen.test) and not note:
        try:
            scored = score_dense(learned, chosen, resamples=resamples)
        except DataError as error:
            note = f"not scored: {error}"
        else:
            note = _noted(scored.bad, chosen.test, quarantine)
            scores = {} if note else scored.scores
    return _Result(
        learned.student,
        learned.head,
        learned.fitted.head.state_dict(),
        chosen.classes,
        learned.settings,
        None,
        scores,
        {},
        len(chosen.test),
        note,
    )


def _noted(bad: Mapping[int, str], data: Dataset, quarantine: Quarantine) -> str:
    """Puts unreadable images, place -> reason, into the quarantine; returns why nothing is scored if they are too many, else ""."""
    why = ""
    for place, reason in bad.items():
        try:
            quarantine.add(data.file_names[place], reason)
        except TooManyBadImages as error:  # too late to stop: the model is trained
            why = f"not scored: {error}"
    return why


def _of_learnt_classes(chosen: Chosen, quarantine: Quarantine) -> tuple[Dataset, str]:
    """Returns the test images of classes of which some training image could be read, and what was left out.

    Args:
        quarantine: knows all training images that could not be read.
    """
    bad, test = {row["file_name"] for row in quarantine.rows}, chosen.test
    names = chosen.train.file_names
    read = [label for place, label in enumerate(chosen.train.label.tolist()) if names[place] not in bad]
    lost = sorted(set(range(len(chosen.classes))) - set(read))
    if not lost:
        return test, ""
    kept = test.rows(np.flatnonzero(~np.isin(test.label, lost)))
    words = ", ".join(printable(chosen.classes[label]) for label in lost[:MOST_NAMED])
    more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
    return kept, (
        f"no image to learn from can be read of {len(lost)} classes ({words}{more}); "
        f"{len(test) - len(kept)} of {len(test)} test images are of them, and not scored"
    )


def _first_weights(student: Student, start: Start, seed: int) -> Student:
    if start == "student":
        return student
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Student(student.architecture).eval()


def _given(**settings: float | None) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _check_words(**given: tuple[str, Any]) -> None:
    """Raises a ConfigError for a word, setting -> (word, Literal of those that there are), that is none of them."""
    for name, (word, literal) in given.items():
        allowed = get_args(literal)
        if word not in allowed:
            raise ConfigError(f"{name}={word} is none{nearest(word, allowed)}; allowed: {', '.join(allowed)}")


def _check_settings(task: Task, method: Method, head: DenseHeadKind | None, given: Mapping[str, Any]) -> None:
    """Raises a ConfigError for what would have no effect."""
    is_dense = task != "classification"
    if is_dense and method == "prototype":
        raise ConfigError(f"method=prototype is for classification; for {task} there are linear and finetune")
    if head is not None and task not in ("segmentation", "depth"):
        raise ConfigError(f"head={head} is for segmentation and depth, and has no effect on {task}")
    allowed = {"steps", "lr", "batch_size"} if is_dense or method == "finetune" else set()
    allowed |= {"patience", "layer_decay"} if not is_dense and method == "finetune" else set()
    useless = sorted(set(given) - allowed)
    if useless:
        raise ConfigError(
            f"{useless[0]} has no effect on method={method} for {task}; "
            + (
                f"allowed: {', '.join(sorted(allowed))}"
                if allowed
                else "leave it out, or take method=finetune"
            )
        )


def _tell(chosen: Chosen, method: Method) -> None:
    what = f", {len(chosen.classes)} classes" if chosen.classes else ""
    console.print(
        f"{method}, {chosen.task}{what}: {len(chosen.train):,} images to learn from, {len(chosen.test):,} to score"
    )
    if chosen.note:
        console.print(chosen.note)


def _card(about: About, name: str) -> str:
    scores = "\n".join(
        f"| {key} | {value.mean:.4f} | {value.low:.4f} to {value.high:.4f} |"
        for key, value in about.scores.items()
    )
    table = f"| test score | mean | 95 % interval |\n|---|---|---|\n{scores}\n" if scores else "Not scored.\n"
    return (
        f"# {name}\n\nAn Alumnus student adapted to {about.task} by `{about.method}`, from {about.num_train:,} labelled images "
        f"({100 * about.fraction:g} % of the labels, seed {about.seed}).\n\n{table}\n{about.note}\n\n"
        f"`alumnus predict {name} images/ out=…`; all settings are in {ABOUT}.\n"
    )
