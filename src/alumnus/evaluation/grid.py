"""Accuracy against the share of labels: fractions × seeds × evaluators of frozen features, as tidy rows.

The pattern of INTERN's benchmark (arXiv 2111.08687: 10 % of the training data, frozen) and of the facial benchmark (Bulat et al. 2022,
arXiv 2103.16554: 1, 2, 10, 100 %). Fine-tuning trains the encoder too and is `alumnus.adaptation.finetune`.

Axes: N training images, Q test images, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alumnus.data.fractions import label_fraction
from alumnus.errors import ConfigError
from alumnus.evaluation.accuracy import Accuracy, accuracy
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.compare import RESAMPLES
from alumnus.evaluation.knn import knn_predict
from alumnus.evaluation.linear import check_task, fit_linear
from alumnus.log import progress

Evaluator = Literal["knn", "linear"]
EVALUATORS: tuple[Evaluator, ...] = ("knn", "linear")
FRACTIONS = (0.01, 0.02, 0.1, 1.0)


@dataclass(frozen=True, eq=False)
class GridRow:
    """One cell."""

    evaluator: Evaluator
    fraction: float  # of the labels, of each class
    seed: int  # of the subset and of what is held out within it
    num_train: int
    accuracy: Accuracy
    decay: float | None  # chosen by `linear`; kNN has nothing to choose


def label_grid(
    train: Floats,
    train_label: Ids,
    test: Floats,
    test_label: Ids,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = (0, 1, 2),
    evaluators: Sequence[Evaluator] = EVALUATORS,
    resamples: int = RESAMPLES,
    device: str = "cpu",
) -> list[GridRow]:
    """Returns a row for each fraction, seed and evaluator, in that order.

    All rows are scored on the same test images and the same resamples, so any two of them (or of two encoders) can be compared in pairs
    through `row.accuracy.right`. At fraction 1 all seeds have the same images: kNN is then the same, `linear` differs by its choice of
    decay only.

    Args:
        train, test: (N, D) and (Q, D), finite.
        train_label, test_label: (N,) and (Q,), from 0 on.

    Raises:
        ConfigError: an unknown evaluator.
        DataError: fewer than two classes, or lengths that do not agree.
    """
    unknown = [name for name in evaluators if name not in EVALUATORS]
    if unknown:
        raise ConfigError(f"there is no evaluator {unknown[0]!r}; allowed are {', '.join(EVALUATORS)}")
    check_task(train, train_label)
    cells = [(fraction, seed, name) for fraction in fractions for seed in seeds for name in evaluators]
    rows = []
    for fraction, seed, name in progress(cells, "label fractions"):
        chosen = label_fraction(train_label, fraction, seed)
        scored, decay = _score(
            name, train[chosen], train_label[chosen], test, test_label, seed, resamples, device
        )
        rows.append(GridRow(name, fraction, seed, len(chosen), scored, decay))
    return rows


def _score(
    name: Evaluator,
    train: Floats,
    train_label: Ids,
    test: Floats,
    test_label: Ids,
    seed: int,
    resamples: int,
    device: str,
) -> tuple[Accuracy, float | None]:
    if name == "knn":
        predicted = knn_predict(test, train, train_label, device=device)
        return accuracy(predicted, test_label, resamples=resamples), None
    fit = fit_linear(train, train_label, seed=seed, device=device)
    return accuracy(fit.classifier.predict(test), test_label, resamples=resamples), fit.decay
