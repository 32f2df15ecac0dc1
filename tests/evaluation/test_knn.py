"""Weighted nearest neighbours against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alumnus.data.dataset import Dataset
from alumnus.evaluation.knn import MOST_IMAGES, knn_predict, make_task
from alumnus.evaluation.search import unit_length


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (7, 1.0)])
def test_predictions_equal_scikit_learn(k: int, temperature: float) -> None:
    """Cosine distance is 1 - cosine, so exp(-distance / T) is the same weight up to a factor."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    random = np.random.default_rng(0)
    train, label = random.normal(size=(200, 6)).astype(np.float32), random.integers(0, 5, 200)
    queries = random.normal(size=(80, 6)).astype(np.float32)

    def weights(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.exp(-distance / temperature)

    reference = neighbors.KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights)
    reference.fit(unit_length(train), label)
    predicted = knn_predict(queries, train, label, k=k, temperature=temperature)
    assert predicted.tolist() == reference.predict(unit_length(queries)).tolist()


def test_fewer_training_images_than_k() -> None:
    """All of them vote, and no absent neighbour does."""
    train = np.array([[1, 0], [0, 1], [0.1, 1]], np.float32)
    assert knn_predict(np.array([[0, 2]], np.float32), train, np.array([1, 0, 0])).tolist() == [0]


def test_an_image_does_not_vote_for_itself() -> None:
    """Leave-one-out: with k = 1 the vote is that of the nearest other image, equal ones included."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0.1, 1]], np.float32)
    label = np.array([0, 1, 2, 3])
    assert knn_predict(vectors, vectors, label, k=1).tolist() == [0, 0, 2, 3]
    assert knn_predict(vectors, vectors, label, k=1, exclude=np.arange(4)).tolist() == [1, 0, 3, 2]


def test_one_near_neighbour_outvotes_many_far_ones() -> None:
    """The weight falls by e for each 0.07 of cosine."""
    train = np.array([[1, 0]] + [[0, 1]] * 10, np.float32)
    assert knn_predict(np.array([[1, 0.1]], np.float32), train, np.array([1] + [0] * 10)).tolist() == [1]


def test_many_queries_and_classes_vote_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of votes that is cut into single queries gives the same answers."""
    random = np.random.default_rng(0)
    train, label = random.normal(size=(300, 6)).astype(np.float32), random.integers(0, 50, 300)
    queries = random.normal(size=(40, 6)).astype(np.float32)
    whole = knn_predict(queries, train, label)
    monkeypatch.setattr("alumnus.evaluation.knn.ELEMENTS", 50)
    assert knn_predict(queries, train, label).tolist() == whole.tolist()


def _data(label: list[int], split: list[str], domain: list[int] | None = None) -> Dataset:
    """Rows without pictures, which a task does not look at."""
    names = tuple(f"{number}.png" for number in range(len(label)))
    domains = np.array(domain or [0] * len(label))
    return Dataset(
        root=Path("/nowhere"),
        paths=names,
        file_names=names,
        domains=tuple("ab"[: int(domains.max()) + 1]),
        domain=domains,
        classes=tuple(tuple(map(str, range(max(label) + 1))) for _ in range(int(domains.max()) + 1)),
        label=np.array(label),
        split=np.array(split),
    )


def test_only_what_is_asked_about_is_classified() -> None:
    """Test images are no part of a score by which something is chosen on validation images."""
    data = _data([0, 1, 0, 1, 0, 2, -1], ["train", "train", "val", "test", "val", "val", "val"])
    task = make_task(data, np.flatnonzero(data.split == "val"))
    assert (task.train.tolist(), task.queries.tolist(), task.note) == ([0, 1], [2, 4], "")
    assert make_task(data, np.flatnonzero(data.split == "train")).queries.tolist() == []
    nothing = make_task(data, np.array([5]))
    assert nothing.note == (
        "No kNN for a: no image that asks is outside the training split and of one of its classes"
    )


def test_a_small_domain_beside_a_large_one_keeps_its_training_images() -> None:
    """Each domain has its own limit, in which every class keeps its share, and at least one image; the note says so."""
    small, rare = [0] * 30, [1]  # of the small domain, and one class of the large one that has one image
    large = [0] * (3 * MOST_IMAGES)
    data = _data(
        [*small, *rare, *large, 0, 0, 1],
        ["train"] * (31 + len(large)) + ["test"] * 3,
        [0] * 30 + [1] * (1 + len(large)) + [0, 1, 1],
    )
    task = make_task(data, np.flatnonzero(data.split == "test"))
    assert task.train[:31].tolist() == list(range(31))
    assert abs(len(task.train) - 30 - MOST_IMAGES) <= 2
    assert len(task.queries) == 3
    assert task.note == f"kNN of b is by {len(task.train) - 30:,} of its {len(large) + 1:,} training images"
