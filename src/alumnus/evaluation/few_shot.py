"""Few-shot classification: episodes of k classes with n labelled images each.

An episode draws `ways` classes, `shots` images of each to learn from and `queries` others of each to be told apart: the protocol of
matching networks (Vinyals et al. 2016, arXiv 1606.04080). `prototype` is the nearest class mean of unit-length features, L2N of
SimpleShot (Wang et al. 2019, arXiv 1911.04623), which is prototypical networks' rule (Snell et al. 2017, arXiv 1703.05175) without
their training; `logistic` is the linear probe with a fixed decay, since an episode has no image to choose it on.

Axes: N images, D width, E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import Interval, over_runs
from alumnus.evaluation.linear import FALLBACK, fit_linear
from alumnus.evaluation.search import unit_length
from alumnus.log import progress

Classifier = Literal["prototype", "logistic"]


class Episode(NamedTuple):
    """Places of images, class by class."""

    support: Ids  # (ways * shots,)
    query: Ids  # (ways * queries,)


@dataclass(frozen=True, eq=False)
class FewShot:
    """Mean accuracy, and of what."""

    accuracy: Interval  # over episodes: Student's t
    per_episode: (
        Doubles  # (E,); for one seed the episodes are the same for all encoders, so differences are paired
    )
    ways: int
    shots: int
    queries: int  # of each class


def few_shot(
    features: Floats,
    label: Ids,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 600,
    classifier: Classifier = "prototype",
    seed: int = 0,
) -> FewShot:
    """Returns the mean accuracy of episodes on features (N, D) with labels (N,), those below 0 left out.

    The encoder should not have been trained on these classes.

    Args:
        ways, shots, queries: classes of an episode, and of each class the images to learn from and to be classified.
        episodes: 600, as is usual; each depends on the seed and its own number alone.

    Raises:
        ConfigError: a number is too small.
        DataError: fewer than `ways` classes have `shots + queries` images.
    """
    if min(shots, queries, episodes) < 1 or ways < 2:
        raise ConfigError(
            f"ways={ways}, shots={shots}, queries={queries}, episodes={episodes}: ways must be 2 at least, the others 1"
        )
    pools = _pools(label, ways=ways, needed=shots + queries, shots=shots)
    unit = unit_length(features) if classifier == "prototype" else features
    right = np.empty(episodes)
    for number in progress(range(episodes), f"{ways}-way {shots}-shot {classifier}"):
        draw = _draw(pools, ways=ways, shots=shots, queries=queries, seed=seed, number=number)
        predict = _nearest_mean if classifier == "prototype" else _logistic
        right[number] = np.mean(predict(unit, label, draw) == label[draw.query])
    return FewShot(over_runs(right.tolist()), right, ways, shots, queries)


def _pools(label: Ids, *, ways: int, needed: int, shots: int) -> list[Ids]:
    """Returns the places of the images of each class that has enough."""
    order = np.argsort(label, kind="stable")
    order = order[label[order] >= 0]
    _, start = np.unique(label[order], return_index=True)
    pools = np.split(order, start[1:]) if len(order) else []
    enough = [pool for pool in pools if len(pool) >= needed]
    if len(enough) >= ways:
        return enough
    sizes = sorted((len(pool) for pool in pools), reverse=True)
    advice = (
        f"lower queries to {sizes[ways - 1] - shots} or ways to {len(enough)}"
        if len(sizes) >= ways and sizes[ways - 1] > shots
        else f"lower shots, or ways to at most {len(enough)}"
    )
    raise DataError(
        f"{len(enough)} of {len(pools)} classes have the {needed} images that an episode takes of each, "
        f"needed are {ways} classes; {advice}"
    )


def _draw(pools: list[Ids], *, ways: int, shots: int, queries: int, seed: int, number: int) -> Episode:
    random = np.random.default_rng([seed, number])
    chosen = random.choice(len(pools), ways, replace=False)
    images = np.stack([random.choice(pools[c], shots + queries, replace=False) for c in chosen])
    return Episode(images[:, :shots].ravel(), images[:, shots:].ravel())


def _nearest_mean(unit: Floats, label: Ids, episode: Episode) -> Ids:
    """Returns the label of the class mean that is nearest by Euclidean distance; of equal ones the smaller label."""
    classes, place = np.unique(label[episode.support], return_inverse=True)
    means = np.zeros((len(classes), unit.shape[1]))
    np.add.at(means, place, unit[episode.support])
    means /= np.bincount(place)[:, None]
    # |q - m|^2 = |q|^2 - 2 q m + |m|^2, of which |q|^2 is the same for all classes.
    closeness = 2 * unit[episode.query] @ means.T - (means**2).sum(1)
    nearest: Ids = classes[closeness.argmax(1)]
    return nearest


def _logistic(features: Floats, label: Ids, episode: Episode) -> Ids:
    classes = label[episode.support]
    fit = fit_linear(features[episode.support], classes, decays=(FALLBACK / len(np.unique(classes)),))
    return fit.classifier.predict(features[episode.query])
