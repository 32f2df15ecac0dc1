"""Classification and retrieval on vectors that are known: the protocol of their cells.

Classification: nearest neighbours and a linear probe, fitted on a share of each class's labels, scored on all test images.
Retrieval: as UnED scores it; labels are only used to score, so there is one cell. Nothing here has a setting that could be chosen
by the test part.

Axes: P rows of a task, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alumnus.bench.outcome import Outcome, PerImage, interval_of, mean_of
from alumnus.bench.tasks import TaskData
from alumnus.data.fractions import label_fraction
from alumnus.errors import DataError
from alumnus.evaluation.accuracy import accuracy
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.compare import RESAMPLES
from alumnus.evaluation.knn import knn_predict
from alumnus.evaluation.linear import linear_probe
from alumnus.evaluation.retrieval import Retrieval, retrieve


def classification(
    found: TaskData,
    rows: Ids,
    vectors: Floats,
    *,
    fraction: float,
    seed: int,
    resamples: int = RESAMPLES,
    device: str = "cpu",
) -> Outcome:
    """Returns kNN and linear accuracy.

    Args:
        rows: (P,) the data set's row of each vector, ascending; those of unreadable images are missing.
        vectors: (P, D).
        fraction: of each class's training images, at least one.
        seed: of which images, and of what the probe holds out within them.
    """
    train, test = _places(rows, found.train), _places(rows, found.test)
    train_label, test_label = found.label[rows[train]], found.label[rows[test]]
    if not len(test) or not len(train):
        raise DataError("not one image of the training or of the test part could be read")
    part = label_fraction(train_label, fraction, seed)
    train, train_label = train[part], train_label[part]
    near = accuracy(
        knn_predict(vectors[test], vectors[train], train_label, device=device),
        test_label,
        resamples=resamples,
    )
    probe = linear_probe(
        vectors[train], train_label, vectors[test], test_label, seed=seed, resamples=resamples, device=device
    )
    tested = rows[test]
    return Outcome(
        primary="linear/top1",
        scores={
            "linear/top1": probe.accuracy.top1,
            "linear/per_class": probe.accuracy.per_class,
            "knn/top1": near.top1,
            "knn/per_class": near.per_class,
        },
        per_image={
            "linear/top1": mean_of(probe.accuracy.right, tested),
            "knn/top1": mean_of(near.right, tested),
        },
        counts={
            "num_train": len(train),
            "num_test": len(test),
            "num_classes": len(np.unique(train_label)),
            "num_not_learnt": found.num_not_learnt,
            "num_bad": len(found.rows) - len(rows),
        },
        details={"decay": probe.fit.decay, "converged": probe.fit.converged},
    )


def retrieval(
    found: TaskData, rows: Ids, vectors: Floats, *, resamples: int = RESAMPLES, device: str = "cpu"
) -> Outcome:
    """Returns R@1 and mMP@5, macro over the domains and of each; with several domains, all of them lie in one index.

    Args:
        rows: (P,) the data set's row of each vector, ascending; those of unreadable images are missing.
        vectors: (P, D).
    """
    queries, index = _places(rows, found.test), _places(rows, found.index)
    if not len(queries):
        raise DataError("not one query could be read")
    data = found.data
    seen = retrieve(
        vectors, domain=data.domain[rows], label=data.label[rows], queries=queries, index=index, device=device
    )
    asked = rows[seen.queries]
    per_image = _per_image(seen, asked)
    scores = {name: interval_of([values], resamples=resamples) for name, values in per_image.items()}
    domains = np.unique(seen.domain)
    if len(domains) > 1:
        for d in domains:
            here = seen.domain == d
            for name in ("R@1", "mMP@5"):
                values = per_image[name].part[here, 0]
                scores[f"{name}/{data.domains[d]}"] = interval_of(
                    [mean_of(values, asked[here])], resamples=resamples
                )
    return Outcome(
        primary="R@1",
        scores=scores,
        per_image=per_image,
        counts={
            "num_test": len(queries),
            "num_index": len(index),
            "num_classes": len(np.unique(found.label[asked])),
            "num_without_relevant": int((seen.relevant == 0).sum()),
            "num_bad": len(found.rows) - len(rows),
        },
    )


def _per_image(seen: Retrieval, asked: Ids) -> dict[str, PerImage]:
    values: Sequence[tuple[str, Floats]] = [("R@1", seen.merged.recall), ("mMP@5", seen.merged.precision)]
    if len(np.unique(seen.domain)) > 1:
        values = [
            *values,
            ("separate/R@1", seen.separate.recall),
            ("separate/mMP@5", seen.separate.precision),
        ]
    return {name: mean_of(value, asked, seen.domain) for name, value in values}


def _places(rows: Ids, chosen: Ids) -> Ids:
    """Returns where those of the chosen rows that are there are in `rows`."""
    return np.flatnonzero(np.isin(rows, chosen))
