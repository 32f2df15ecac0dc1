"""All teachers side by side, reduced to the student's width by PCA: vectors as short as the student's that nobody had to train.

Each teacher's vector is brought to unit length, all are put side by side, the mean is taken away, and what is left is projected onto the
directions of largest variance (Pearson 1901; before retrieval by cosine as Jegou and Chum, ECCV 2012, without their whitening). Mean and
directions are fitted on training images alone, without labels. It still runs every teacher for every image, which the student does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from alumnus.data.dataset import Dataset
from alumnus.distributed import from_main
from alumnus.evaluation.arrays import Floats
from alumnus.evaluation.baselines import CONCATENATION
from alumnus.evaluation.encode import Scored
from alumnus.evaluation.vectors import concatenated, encode_paths
from alumnus.log import console

MOST_IMAGES = (
    1024  # that the teachers run on for this alone; of 64 directions more would change little, and cost more
)


class Axes(NamedTuple):
    """Mean and directions of largest variance."""

    mean: Floats  # (D,)
    directions: Floats  # (E, D), orthonormal, from the largest variance down


class Reduced(NamedTuple):
    """The row of the table."""

    vectors: Floats  # (P, E), any length
    note: str


def fit_axes(vectors: Floats, dim: int) -> Axes:
    """Returns the mean and the first `dim` principal directions of (M, D), M > dim and D >= dim; in float64 inside."""
    rows = torch.from_numpy(vectors).double()
    mean = rows.mean(0)
    directions = torch.linalg.svd(rows - mean, full_matrices=False).Vh[:dim]
    return Axes(mean.float().numpy(), directions.float().numpy())


def project(vectors: Floats, axes: Axes) -> Floats:
    """Returns the vectors (P, D) less the mean along the directions: (P, E)."""
    return np.asarray((vectors - axes.mean) @ axes.directions.T, np.float32)


def reduced_teachers(
    models: Sequence[Scored],
    table: Mapping[str, Floats],
    data: Dataset,
    *,
    batch_size: int,
    workers: int,
    seed: int,
) -> Reduced | None:
    """Returns the concatenation of all teachers at the width of the first student, or None.

    None where there is no concatenation or no student, where the concatenation is no wider, or where there are no training images; with
    too few of them a line says so.

    Args:
        table: model -> vectors (P, D), the concatenation among them.
        seed: of the draw of training images.

    Of several processes all call this alike, and each gets the same.
    """
    student = next((model.name for model in models if model.kind == "student"), None)
    train = np.flatnonzero(data.split == "train")
    if CONCATENATION not in table or student is None or not len(train):
        return None
    dim = table[student].shape[1]
    if table[CONCATENATION].shape[1] <= dim:
        return None
    drawn = np.sort(np.random.default_rng(seed).permutation(train)[:MOST_IMAGES])
    teachers = [model for model in models if model.kind == "teacher"]
    paths = [data.paths[row] for row in drawn]
    encoded = encode_paths(
        teachers, paths, batch_size=batch_size, workers=workers, label="encode for PCA", together=True
    )
    fitted = np.delete(
        concatenated([encoded.of[model.name] for model in teachers]), list(encoded.bad), axis=0
    )
    if len(fitted) <= dim:
        console.print(
            f"no PCA of the teachers: {len(fitted)} training images are too few for {dim} directions"
        )
        return None
    # A decomposition's last bits may differ from machine to machine, so all take that of the first.
    stacked = from_main(lambda: np.vstack(fit_axes(fitted, dim)).tobytes())
    mean, *directions = np.frombuffer(stacked, np.float32).reshape(1 + dim, -1)
    axes = Axes(mean, np.stack(directions))
    names = ", ".join(model.name for model in teachers)
    return Reduced(
        project(table[CONCATENATION], axes), f"{names}; PCA fitted on {len(fitted):,} training images"
    )
