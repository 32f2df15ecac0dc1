"""Linear probe: how well classes are told apart by a linear classifier on frozen features.

Logistic regression by L-BFGS as CLIP does it (Radford et al. 2021, arXiv 2103.00020, appendix A.3; before it Kornblith et al. 2019,
arXiv 1805.08974), on standardised features (see `logistic`). The weight decay is chosen on a stratified part of the training images,
then all of them are fitted with it. The test part is not an argument of the fit, so it cannot take part in it.

Axes: N training images, Q test images, D width, C classes of the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alumnus.errors import DataError
from alumnus.evaluation.accuracy import Accuracy, accuracy
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import RESAMPLES
from alumnus.evaluation.holdout import hold_out
from alumnus.evaluation.logistic import ELEMENTS, Solution, Standardiser, solve, standardiser
from alumnus.log import bar

DECAYS = tuple(10.0**-power for power in range(8))  # 1 to 1e-7
# Decay times number of classes, where no class has an image to spare for choosing. The best decay falls as the classes grow: with one
# image a class, made-up clouds of 5 to 100 classes want 0.1 to 1e-3; this is within 4 points of the best of them.
FALLBACK = 0.1
PATIENCE = 2  # weaker decays in a row that are worse than the best, after which no weaker one is tried
ENOUGH, MOST_SPLITS = 200, 5  # small parts are held out several times, until so many images were predicted


class Trial(NamedTuple):
    """What a decay did on the images that were held out."""

    decay: float
    accuracy: float
    loss: float  # mean cross-entropy


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """A linear map on features as they come from the encoder: what was standardised is folded in."""

    classes: Ids  # (C,) ascending: the label of each row
    weight: Floats  # (C, D)
    bias: Floats  # (C,)

    def logits(self, features: Floats) -> Floats:
        """Returns (n, C) from features (n, D); softmax makes them shares."""
        return np.asarray(features, np.float32) @ self.weight.T + self.bias

    def predict(self, features: Floats) -> Ids:
        """Returns the labels (n,) of the largest logits; of equal ones the smaller label."""
        step = max(1, ELEMENTS // len(self.classes))
        parts = [np.empty(0, np.int64)]
        for start in range(0, len(features), step):
            parts.append(self.logits(features[start : start + step]).argmax(1))
        return self.classes[np.concatenate(parts)]


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A fitted classifier and how it came about."""

    classifier: LinearClassifier
    decay: float  # chosen
    trials: tuple[Trial, ...]  # strong to weak; empty if nothing could be held out
    converged: bool


class LinearScore(NamedTuple):
    """A linear probe."""

    accuracy: Accuracy
    fit: LinearFit


def linear_probe(
    train: Floats,
    train_label: Ids,
    test: Floats,
    test_label: Ids,
    *,
    decays: Sequence[float] = DECAYS,
    seed: int = 0,
    resamples: int = RESAMPLES,
    device: str = "cpu",
) -> LinearScore:
    """Returns the score on the test part of what was fitted on the training part.

    Args:
        train, test: (N, D) and (Q, D), finite, of any scale.
        train_label, test_label: (N,) and (Q,), from 0 on. A class that has no training image is never predicted.
        decays, seed, device: see `fit_linear`.
    """
    with bar(
        "linear probe", total=2 * len(decays)
    ) as line:  # at most: trials, then the way to the chosen one
        fit = fit_linear(train, train_label, decays=decays, seed=seed, device=device, advance=line.advance)
    return LinearScore(
        accuracy(fit.classifier.predict(test), test_label, resamples=resamples, seed=seed), fit
    )


def fit_linear(
    features: Floats,
    label: Ids,
    *,
    decays: Sequence[float] = DECAYS,
    seed: int = 0,
    device: str = "cpu",
    advance: Callable[[], None] | None = None,
) -> LinearFit:
    """Returns a linear classifier of features (N, D) with labels (N,), its decay chosen on a part that is held out.

    The decay of the highest held-out accuracy wins; of equal ones that of the lowest cross-entropy.

    Args:
        decays: to choose from; one alone is taken without a trial.
        seed: of what is held out.
        device: of the solver.
        advance: called after each decay, up to twice as often as there are decays.

    Raises:
        DataError: there are no two classes, or features and labels do not fit together.
    """
    check_task(features, label)
    classes, place = np.unique(label, return_inverse=True)
    decays, trials = sorted(decays, reverse=True), list[Trial]()
    for trial in _trials(features, place, len(classes), decays, seed=seed, device=device):
        trials.append(trial)
        if advance is not None:
            advance()
        if _is_past_best(trials):
            break
    if trials:
        decay = max(trials, key=lambda trial: (trial.accuracy, -trial.loss)).decay
    else:
        decay = min(decays, key=lambda candidate: abs(np.log(candidate * len(classes) / FALLBACK)))
    standardise = standardiser(features)
    path = [stronger for stronger in decays if stronger >= decay]  # strong ones are cheap and a good start
    for solution in solve(standardise(features), place, len(classes), decays=path, device=device):
        fitted = solution
        if advance is not None:
            advance()
    return LinearFit(_fold(fitted, standardise, classes), decay, tuple(trials), fitted.converged)


def check_task(features: Floats, label: Ids) -> None:
    """Checks features (N, D) and labels (N,) of a classification.

    Raises:
        DataError: they do not fit together, a label is negative, or there are no two classes.
    """
    if features.ndim != 2 or label.shape != features.shape[:1]:
        raise DataError(f"features {features.shape} and labels {label.shape} must be (N, D) and (N,)")
    if len(label) and label.min() < 0:
        raise DataError("a label is negative, which means no class; leave those images out first")
    if len(np.unique(label)) < 2:
        raise DataError(
            f"{len(np.unique(label))} class in {len(label)} training images; a classifier needs two classes at least"
        )
    if not np.isfinite(features).all():
        raise DataError("features hold NaN or infinity; leave out the images that could not be encoded")


def _trials(
    features: Floats, place: Ids, num_classes: int, decays: Sequence[float], *, seed: int, device: str
) -> Iterator[Trial]:
    """Yields a trial for each decay, over one split of the images or several; nothing if there is no choice or nothing to hold out."""
    paths = []
    for held in _splits(place, seed) if len(decays) > 1 else ():
        kept = np.setdiff1d(np.arange(len(place)), held)
        standardise = standardiser(features[kept])
        solutions = solve(standardise(features[kept]), place[kept], num_classes, decays=decays, device=device)
        paths.append((solutions, standardise(features[held]), place[held]))
    for decay in (
        decays if paths else ()
    ):  # the splits go down the decays side by side, so that one rule stops them all
        scores = [_held_out_score(next(solutions), x, y) for solutions, x, y in paths]
        right, loss = np.concatenate(scores, axis=1).mean(1)
        yield Trial(decay, float(right), float(loss))


def _is_past_best(trials: Sequence[Trial]) -> bool:
    """Whether the last ones were all worse than the best, in accuracy and in loss."""
    if len(trials) <= PATIENCE:
        return False
    earlier, last = trials[:-PATIENCE], trials[-PATIENCE:]
    accuracy_to_beat, loss_to_beat = max(t.accuracy for t in earlier), min(t.loss for t in earlier)
    return all(trial.accuracy < accuracy_to_beat and trial.loss > loss_to_beat for trial in last)


def _splits(place: Ids, seed: int) -> list[Ids]:
    """Returns the places to hold out: once, or as often as makes `ENOUGH` predictions; an empty list if too few classes have two images."""
    first = hold_out(place, seed=seed)
    if not len(first):
        return []
    count = min(MOST_SPLITS, -(-ENOUGH // len(first)))
    return [first, *(hold_out(place, seed=_split_seed(seed, number)) for number in range(1, count))]


def _split_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _held_out_score(solution: Solution, x: Doubles, y: Ids) -> Doubles:
    """Returns (2, n): whether each image is right, and its cross-entropy."""
    logits = x @ solution.weight.T + solution.bias
    highest = logits.max(1)
    normaliser = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return np.stack([logits.argmax(1) == y, normaliser - logits[np.arange(len(y)), y]]).astype(np.float64)


def _fold(solution: Solution, standardise: Standardiser, classes: Ids) -> LinearClassifier:
    weight = solution.weight * standardise.scale
    bias = solution.bias - weight @ standardise.center
    return LinearClassifier(classes, weight.astype(np.float32), bias.astype(np.float32))
