"""Fine-tuning: a student and a linear head, trained together on few labels.

- The head starts at the linear probe (LP-FT, Kumar et al. 2022, arXiv 2202.10054): a random head would first spoil the features that it
  will need.
- AdamW with a rate that falls from layer to layer towards the input (BEiT, arXiv 2106.08254), linear warm-up, cosine.
- A stratified part of the training images is held out; its accuracy says when to stop and which weights to keep, the ones before
  the first step among them. The test part is not an argument. Where half of the classes or more have one image, nothing is held out
  and the last weights stay.

Axes: N training images, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from alumnus.adaptation.classifier import Classifier
from alumnus.data.dataset import Dataset
from alumnus.data.loader import Loaded, center_crop_batches, train_batches
from alumnus.data.read import Quarantine
from alumnus.data.sampler import Sampler
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError, DataError, NonFiniteError
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.holdout import hold_out
from alumnus.evaluation.linear import fit_linear
from alumnus.evaluation.logistic import standardiser
from alumnus.log import Bar, bar
from alumnus.memory import keep_freed_memory
from alumnus.models.layers import layer_groups
from alumnus.models.student import Student
from alumnus.training.optim import OptimSettings, set_lr
from alumnus.types import Batch

Start = Literal["probe", "zero"]

MOST_HELD_OUT = 1000  # images: enough for a standard error of 1.5 points, and they are kept in memory
VIEWS = ViewSettings(scale=(0.4, 1.0))
SCHEDULE = OptimSettings()  # warm-up, cosine and clipping as in training


class Check(NamedTuple):
    """A look at the held-out images."""

    step: int  # steps done
    accuracy: float
    loss: float  # mean cross-entropy


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A trained classifier and how it came about."""

    classifier: Classifier  # in eval mode, on the device
    best_step: int  # whose weights these are; 0 are those before training
    steps: int  # done
    checks: tuple[Check, ...]  # in order; empty where nothing was held out
    num_train: int
    num_held_out: int
    bad: tuple[Mapping[str, str], ...] = ()  # images that could not be read: file_name and reason


class _Split(NamedTuple):
    train: Dataset
    images: Tensor  # (M, 3, S, S) uint8, held out
    label: Tensor  # (M,)


def finetune(
    student: Student,
    train: Dataset,
    *,
    num_classes: int,
    lr: float = 1e-3,
    layer_decay: float = 0.75,
    weight_decay: float = 0.05,
    steps: int = 1000,
    batch_size: int = 64,
    patience: int = 5,
    check_every: int = 50,
    start: Start = "probe",
    views: ViewSettings = VIEWS,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 2,
    max_bad_fraction: float = 0.05,
    total: int | None = None,
) -> Finetuned:
    """Returns a copy of the student with a head, trained on labelled images; the student itself stays as it is.

    Two calls with one seed give the same weights on one machine.

    Args:
        train: N labelled images, cut to the label fraction already. All labels are of one list of classes, in [0, num_classes): for several
            domains, number their classes through (`dataclasses.replace(train, label=...)`).
        lr: of the head and the last layer, after the warm-up.
        layer_decay: each layer's rate as a share of the next one's, in (0, 1].
        steps: at most; the cosine ends there.
        patience: checks in a row without a better one, after which training stops.
        check_every: steps between looks at the held-out images.
        start: of the head: "probe", or "zero" to train an architecture from scratch (whose first features say nothing).
        views: crops and flips of the training images, functions of (seed, key of the image, view).
        seed: of what is held out, the batches, the views and dropout.
        max_bad_fraction: more unreadable images than this part of `total` stop it.
        total: images of the whole work, where there are others beside these; by default N.

    Raises:
        ConfigError: a number is out of its range.
        DataError: a label is outside [0, num_classes), there are no two classes, or no image can be read.
        TooManyBadImages: see `max_bad_fraction`.
        NonFiniteError: the loss is NaN or infinite.
    """
    _check_settings(
        lr=lr,
        layer_decay=layer_decay,
        steps=steps,
        patience=patience,
        check_every=check_every,
        batch_size=batch_size,
    )
    _check_labels(train, num_classes)
    if device == "cpu":
        keep_freed_memory()
    where = torch.device(device)
    with torch.random.fork_rng([where] if where.type == "cuda" else []):  # nobody else's random numbers move
        quarantine = Quarantine(None, total=total or len(train), max_bad_fraction=max_bad_fraction)
        split = _split(train, student.size, seed=seed, workers=workers, quarantine=quarantine)
        classifier = Classifier(student, num_classes).to(where).to(memory_format=torch.channels_last)
        if start == "probe":
            _start_at_probe(classifier, split.train, seed=seed, workers=workers, quarantine=quarantine)
        keeper = _Keeper(classifier, split)
        keeper.look(0)
        loader = train_batches(
            split.train,
            Sampler(split.train.domain, name="proportional", batch_size=batch_size, seed=seed),
            views,
            size=student.size,
            teacher_sizes=(),
            start=0,
            steps=steps,
            workers=workers,
        )
        optimizer = _optimizer(classifier, lr=lr, layer_decay=layer_decay, weight_decay=weight_decay)
        batches = _readable(loader, split.train, quarantine)
        done = _fit(keeper, batches, optimizer, steps, seed=seed, patience=patience, check_every=check_every)
        keeper.restore()
    best_step = keeper.best_step if keeper.checks else done
    return Finetuned(
        classifier.eval(),
        best_step,
        done,
        tuple(keeper.checks),
        len(split.train),
        len(split.label),
        tuple(quarantine.rows),
    )


def _fit(
    keeper: _Keeper,
    batches: Iterator[Batch],
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    seed: int,
    patience: int,
    check_every: int,
) -> int:
    """Trains until the steps or the patience end; returns the steps done."""
    done = 0
    with bar("fine-tune", total=steps) as line:
        for done, batch in enumerate(batches, start=1):
            set_lr(optimizer, SCHEDULE, progress=(done - 1) / steps)
            torch.manual_seed((seed * 1_000_003 + done) % 2**63)  # for dropout and drop path
            loss = _step(keeper.classifier, optimizer, batch.image, batch.label)
            if not np.isfinite(loss):
                raise NonFiniteError(f"fine-tuning, step {done}: the loss is {loss}; a lower lr helps")
            if done % check_every == 0 or done == steps:
                keeper.look(done)
            line.advance()
            _say(line, loss, keeper)
            if keeper.looks_since_best >= patience:
                break
    return done


def _readable(loader: Iterator[Loaded], data: Dataset, quarantine: Quarantine) -> Iterator[Batch]:
    """Yields the batches, and notes what could not be read for them."""
    for loaded in loader:
        for row, reason in loaded.bad:
            quarantine.add(data.file_names[row], reason)
        yield loaded.batch


class _Keeper:
    """Remembers the weights that did best on the held-out images: by accuracy, of equal ones by cross-entropy."""

    def __init__(self, classifier: Classifier, split: _Split) -> None:
        self.classifier, self.split = classifier, split
        self.checks: list[Check] = []
        self.best_step = 0
        self._best: tuple[float, float] | None = None
        self._weights: dict[str, Tensor] = {}
        self.looks_since_best = 0

    def look(self, step: int) -> None:
        """Scores the weights as they are after `step` steps; does nothing where nothing is held out."""
        if not len(self.split.label):
            return
        right, loss = _score(self.classifier, self.split.images, self.split.label)
        self.checks.append(Check(step, right, loss))
        self.looks_since_best += 1
        if self._best is None or (right, -loss) > self._best:
            self._best, self.best_step, self.looks_since_best = (right, -loss), step, 0
            self._weights = {
                name: value.detach().clone() for name, value in self.classifier.state_dict().items()
            }

    def restore(self) -> None:
        """Puts the best weights back."""
        if self._weights:
            self.classifier.load_state_dict(self._weights)


def _check_settings(*, lr: float, layer_decay: float, **counts: int) -> None:
    if not 0 < lr < math.inf or not 0 < layer_decay <= 1:
        raise ConfigError(f"lr={lr} must be above 0 and layer_decay={layer_decay} in (0, 1]")
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name}={count} must be 1 at least")


def _check_labels(train: Dataset, num_classes: int) -> None:
    low, high = int(train.label.min(initial=0)), int(train.label.max(initial=-1))
    if low < 0 or high >= num_classes:
        raise DataError(
            f"labels run from {low} to {high}, allowed is [0, {num_classes}); leave out images without one"
        )
    if len(np.unique(train.label)) < 2:
        raise DataError(
            f"{len(np.unique(train.label))} class in {len(train)} images; needed are two at least"
        )


def _split(train: Dataset, size: int, *, seed: int, workers: int, quarantine: Quarantine) -> _Split:
    held = hold_out(train.label, seed=seed)
    if len(held) > MOST_HELD_OUT:
        held = np.sort(np.random.default_rng(seed).choice(held, MOST_HELD_OUT, replace=False))
    images, places = _read(train, held, size, workers=workers, quarantine=quarantine)
    rest = np.setdiff1d(np.arange(len(train)), held)
    return _Split(train.rows(rest), images, torch.from_numpy(train.label[places]))


def _read(data: Dataset, rows: Ids, size: int, *, workers: int, quarantine: Quarantine) -> tuple[Tensor, Ids]:
    """Returns the centred squares (M, 3, S, S) uint8 of rows, and which rows could be read."""
    images, read = [torch.empty((0, 3, size, size), dtype=torch.uint8)], [np.empty(0, np.int64)]
    for places, crops, bad in center_crop_batches([data.paths[row] for row in rows], [size], workers=workers):
        images.append(crops[size])
        read.append(rows[places])
        for place, reason in bad:
            quarantine.add(data.file_names[rows[place]], reason)
    return torch.cat(images), np.concatenate(read)


def _start_at_probe(
    classifier: Classifier, train: Dataset, *, seed: int, workers: int, quarantine: Quarantine
) -> None:
    """Sets the head to the linear probe of the images to train on, as far as they can be read."""
    size, device = classifier.student.size, classifier.center.device
    classifier.eval()
    summaries, read = [], [np.empty(0, np.int64)]
    with bar("linear probe", total=len(train)) as line, torch.inference_mode():
        for places, crops, bad in center_crop_batches(train.paths, [size], workers=workers):
            if len(places):
                summaries.append(classifier.summary(crops[size].to(device)).cpu().numpy())
                read.append(places)
            for place, reason in bad:
                quarantine.add(train.file_names[place], reason)
            line.advance(len(places) + len(bad))
    if not summaries:
        raise DataError(f"not one of {len(train)} training images can be read")
    features, label = np.concatenate(summaries), train.label[np.concatenate(read)]
    fitted = fit_linear(features, label, seed=seed, device=str(device)).classifier
    weight = np.zeros((classifier.head.out_features, features.shape[1]))
    bias = np.full(len(weight), fitted.bias.min(), np.float64)  # classes without an image stay unlikely
    weight[fitted.classes], bias[fitted.classes] = fitted.weight, fitted.bias
    classifier.set_head(weight, bias, standardiser(features))


def _optimizer(
    classifier: Classifier, *, lr: float, layer_decay: float, weight_decay: float
) -> torch.optim.AdamW:
    head = classifier.head
    groups: list[dict[str, object]] = [
        {"params": [head.weight], "base_lr": lr, "weight_decay": weight_decay},
        {"params": [head.bias], "base_lr": lr, "weight_decay": 0.0},
    ]
    student = classifier.student
    for network in student.networks:
        for group in layer_groups(network, layer_decay=layer_decay, weight_decay=weight_decay):
            groups.append(
                {
                    "params": group.parameters,
                    "base_lr": lr * group.lr_share,
                    "weight_decay": group.weight_decay,
                }
            )
    if student.assistant is not None and student.join is not None:
        joins = [*student.join.parameters(), *student.assistant.join.parameters()]
        groups.append({"params": joins, "base_lr": lr, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def _step(classifier: Classifier, optimizer: torch.optim.Optimizer, image: Tensor, label: Tensor) -> float:
    """Moves the weights by one batch; returns the loss, before which nothing moved if it is not finite."""
    device = classifier.center.device
    classifier.train()
    logits = classifier(image.to(device, non_blocking=True))
    loss = functional.cross_entropy(logits, label.to(device, non_blocking=True))
    value = float(loss.detach())
    if np.isfinite(value):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], SCHEDULE.clip_norm)
        optimizer.step()
    return value


@torch.inference_mode()
def _score(classifier: Classifier, images: Tensor, label: Tensor) -> tuple[float, float]:
    """Returns accuracy and mean cross-entropy."""
    classifier.eval()
    device = classifier.center.device
    logits = torch.cat([classifier(part.to(device)).float().cpu() for part in torch.split(images, 64)])
    return (
        float((logits.argmax(1) == label).double().mean()),
        float(functional.cross_entropy(logits.double(), label)),
    )


def _say(line: Bar, loss: float, keeper: _Keeper) -> None:
    best = f", best held-out accuracy {max(c.accuracy for c in keeper.checks):.3f}" if keeper.checks else ""
    line.say(f"loss {loss:.3f}{best}")
