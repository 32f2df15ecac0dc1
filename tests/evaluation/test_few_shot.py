"""Episodes: what is drawn, what is predicted, and the interval."""

from __future__ import annotations

import numpy as np
import pytest

from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.compare import over_runs
from alumnus.evaluation.few_shot import Episode, _draw, _nearest_mean, _pools, few_shot
from alumnus.evaluation.search import unit_length
from tests.evaluation.made import clouds


def _naive(unit: Floats, label: Ids, episode: Episode) -> list[int]:
    means = {c: unit[[i for i in episode.support if label[i] == c]].mean(0) for c in label[episode.support]}
    return [min(means, key=lambda c: np.linalg.norm(unit[q] - means[c])) for q in episode.query]


def test_the_nearest_mean_is_that_of_a_plain_loop() -> None:
    """Euclidean distance on unit-length features, 10 episodes."""
    made = clouds(8, 10, noise=2.0)
    unit = unit_length(made.train)
    pools = _pools(made.train_label, ways=4, needed=6, shots=3)
    for number in range(10):
        episode = _draw(pools, ways=4, shots=3, queries=3, seed=0, number=number)
        predicted = _nearest_mean(unit, made.train_label, episode).tolist()
        assert predicted == _naive(unit, made.train_label, episode)


def test_an_episode_has_the_images_asked_for_and_none_twice() -> None:
    """5 ways, 2 shots, 4 queries, of classes that have enough."""
    label = np.repeat(np.arange(9), [6, 6, 6, 6, 6, 6, 5, 1, 20])
    pools = _pools(label, ways=5, needed=6, shots=2)
    episode = _draw(pools, ways=5, shots=2, queries=4, seed=1, number=0)
    support, query = np.unique(label[episode.support], return_counts=True), label[episode.query]
    assert support[1].tolist() == [2] * 5
    assert np.unique(query, return_counts=True)[1].tolist() == [4] * 5
    assert set(query) == set(support[0])
    assert len({*episode.support.tolist(), *episode.query.tolist()}) == 30
    assert not {6, 7} & set(query)


@pytest.mark.parametrize("classifier", ["prototype", "logistic"])
def test_accuracy_is_1_for_clear_classes_and_chance_for_none(classifier: str) -> None:
    """Features that are the class, and features that know nothing of it: 1 and about 1/5."""
    label = np.repeat(np.arange(10), 60)
    clear = np.eye(10, dtype=np.float32)[label]
    blind = np.random.default_rng(0).normal(size=(600, 10)).astype(np.float32)
    chosen = {"shots": 2, "queries": 10, "episodes": 30, "classifier": classifier}
    assert few_shot(clear, label, **chosen).accuracy == (1, 1, 1)  # type: ignore[arg-type]
    blindly = few_shot(blind, label, **chosen).accuracy  # type: ignore[arg-type]
    assert blindly.mean == pytest.approx(0.2, abs=0.03)


def test_more_shots_help_and_the_interval_is_over_episodes() -> None:
    """1 to 5 shots; Student's t of the episodes' accuracies."""
    made = clouds(10, 25, noise=1.5)
    one, five = (few_shot(made.train, made.train_label, shots=n, episodes=100) for n in (1, 5))
    assert one.accuracy.high < five.accuracy.low
    assert five.accuracy == over_runs(five.per_episode.tolist())
    assert len(five.per_episode) == 100


def test_two_encoders_see_the_same_episodes() -> None:
    """For one seed: so an encoder and its double agree episode by episode, and another seed differs."""
    made = clouds(10, 25, noise=2.0)
    first, double, other = (
        few_shot(scale * made.train, made.train_label, episodes=20, seed=seed).per_episode
        for scale, seed in ((1, 0), (4, 0), (1, 1))
    )
    assert first.tolist() == double.tolist()
    assert first.tolist() != other.tolist()


def test_images_without_a_class_are_left_out() -> None:
    """Labels below 0 are neither learnt nor asked."""
    made = clouds(6, 20, noise=1.0)
    with_others = np.concatenate([made.train, made.test]), np.append(made.train_label, np.full(200, -1))
    both = few_shot(*with_others, episodes=10), few_shot(made.train, made.train_label, episodes=10)
    assert both[0].per_episode.tolist() == both[1].per_episode.tolist()


def test_too_few_images_are_refused_with_a_way_out() -> None:
    """The message says how many classes would do, or which number to lower."""
    label = np.repeat(np.arange(6), [20, 20, 20, 20, 9, 2])
    features = np.ones((len(label), 3), np.float32)
    with pytest.raises(
        DataError, match=r"4 of 6 classes have the 16 images.*lower queries to 8 or ways to 4"
    ):
        few_shot(features, label, ways=5, shots=1, queries=15)
    with pytest.raises(DataError, match="lower shots"):
        few_shot(features, label, ways=6, shots=5)
    with pytest.raises(ConfigError, match="ways must be 2"):
        few_shot(features, label, ways=1)
