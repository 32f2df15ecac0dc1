"""All teachers at the student's width: PCA against scikit-learn, fitted on training images only, left out where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.evaluation.baselines import CONCATENATION
from alumnus.evaluation.encode import CallableEncode, Kind
from alumnus.evaluation.reduction import MOST_IMAGES, Reduced, fit_axes, project, reduced_teachers
from alumnus.evaluation.vectors import concatenated, encode_paths


def first(image: Tensor) -> Tensor:
    """(B, 6): corners of two channels, of which no linear function is constant."""
    return image.float()[:, :2, ::8, ::8].flatten(1)[:, :6] + 1


def second(image: Tensor) -> Tensor:
    """(B, 4)."""
    return image.float()[:, 2, 8, 4:12:2] + 1


def third(image: Tensor) -> Tensor:
    """(B, 3)."""
    return image.float().mean((2, 3)) + 1


def _model(name: str, function: Callable[[Tensor], Tensor], kind: Kind = "teacher") -> CallableEncode:
    return CallableEncode(function, name=name, size=16, kind=kind)


@pytest.fixture
def data(tiny_images: Path) -> Dataset:
    """Three images of each class for training, two for the test."""
    found = open_dataset([tiny_images / "discs", tiny_images / "squares"])
    number = np.array([int(Path(name).stem) for name in found.file_names])
    return replace(found, split=np.where(number < 3, "train", "test"))


def _reduced(data: Dataset, models: list[CallableEncode]) -> Reduced | None:
    """For the test images."""
    paths = [data.paths[row] for row in np.flatnonzero(data.split == "test").tolist()]
    table = dict(encode_paths(models, paths, workers=0).of)
    teachers = [table[model.name] for model in models if model.kind == "teacher"]
    if len(teachers) > 1:
        table[CONCATENATION] = concatenated(teachers)
    return reduced_teachers(models, table, data, batch_size=8, workers=0, seed=0)


def test_the_projection_is_that_of_pca() -> None:
    """scikit-learn's, up to the sign of a direction; also with fewer images than dimensions."""
    random = np.random.default_rng(0)
    for num_images in (200, 15):
        train = (random.normal(size=(num_images, 30)) * np.linspace(3, 0.1, 30) + 5).astype(np.float32)
        test = random.normal(size=(7, 30)).astype(np.float32)
        wanted = PCA(5, svd_solver="full").fit(train).transform(test)
        found = project(test, fit_axes(train, 5))
        assert np.allclose(np.abs(found), np.abs(wanted), atol=1e-3)


def test_it_is_fitted_on_training_images_alone(data: Dataset) -> None:
    """As done by hand on their vectors; the note names the teachers and counts the images."""
    models = [_model("student", third, "student"), _model("a", first), _model("b", second)]
    found = _reduced(data, models)
    assert found is not None
    by_split = {}
    for split in ("train", "test"):
        paths = [data.paths[row] for row in np.flatnonzero(data.split == split).tolist()]
        vectors = encode_paths(models[1:], paths, workers=0).of
        by_split[split] = np.concatenate(
            [v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors.values()], 1
        )
    wanted = PCA(3, svd_solver="full").fit(by_split["train"]).transform(by_split["test"])
    assert np.allclose(np.abs(found.vectors), np.abs(wanted), atol=1e-4)
    assert found.note == "a, b; PCA fitted on 36 training images"


def test_images_that_cannot_be_read_do_not_count(data: Dataset, tmp_path: Path) -> None:
    """One broken training image is left out of the fit, and is nobody else's matter."""
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    row = int(np.flatnonzero(data.split == "train")[0])
    spoilt = replace(data, paths=(*data.paths[:row], str(broken), *data.paths[row + 1 :]))
    found = _reduced(spoilt, [_model("student", third, "student"), _model("a", first), _model("b", second)])
    assert found is not None
    assert found.note.endswith("35 training images")
    assert np.isfinite(found.vectors).all()


def test_at_most_so_many_images_are_run_for_it(data: Dataset) -> None:
    """Of a large training split some are drawn."""
    rows = np.resize(np.arange(len(data)), 5 * MOST_IMAGES // 2)
    large = replace(
        data,
        file_names=tuple(data.file_names[row] for row in rows.tolist()),
        paths=tuple(data.paths[row] for row in rows.tolist()),
        split=data.split[rows],
        domain=data.domain[rows],
        label=data.label[rows],
    )
    seen = []

    def counting(image: Tensor) -> Tensor:
        seen.append(len(image))
        return second(image)

    models = [_model("student", third, "student"), _model("a", first), _model("b", counting)]
    table = {m.name: torch.rand(2, width).numpy() for m, width in zip(models, (3, 6, 4), strict=True)}
    table[CONCATENATION] = concatenated([table["a"], table["b"]])
    assert reduced_teachers(models, table, large, batch_size=256, workers=0, seed=0) is not None
    assert sum(seen) == MOST_IMAGES


def test_it_is_left_out_where_there_is_nothing_to_reduce(
    data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """One teacher, no student, no training image, a student as wide as all teachers; too few images are said."""
    student, a, b = _model("student", third, "student"), _model("a", first), _model("b", second)
    assert _reduced(data, [student, a]) is None
    assert _reduced(data, [a, b]) is None
    assert (
        _reduced(replace(data, split=np.where(data.split == "train", "val", "test")), [student, a, b]) is None
    )
    wide = _model("wide", lambda image: image.float().flatten(1)[:, :10], "student")
    assert _reduced(data, [wide, a, b]) is None
    assert capsys.readouterr().err == ""
    few = np.where((data.split == "train") & (np.cumsum(data.split == "train") > 3), "val", data.split)
    assert _reduced(replace(data, split=few), [student, a, b]) is None
    assert "3 training images are too few for 3 directions" in capsys.readouterr().err
