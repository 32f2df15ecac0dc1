"""From image files to results: one pass, paired, with bad images left out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.errors import ArtifactError, ConfigError, DataError, NonFiniteError, TooManyBadImages
from alumnus.evaluation.baselines import CONCATENATION, ORACLE, REDUCED
from alumnus.evaluation.compare import over_runs
from alumnus.evaluation.encode import CallableEncode, Kind, PixelEncode
from alumnus.evaluation.results import KEYS, Results, read_results
from alumnus.evaluation.run import score
from alumnus.evaluation.seeds import combine


def colours(image: Tensor) -> Tensor:
    """Darkest value of each channel: tells the colours apart."""
    return image.float().flatten(2).amin(2) + 1


def noise(image: Tensor) -> Tensor:
    """Tells nothing."""
    return image.float()[:, :, 0, :4].flatten(1)


def model(
    name: str, function: Callable[[Tensor], Tensor], kind: Kind = "teacher", **more: object
) -> CallableEncode:
    """A model of images of 16 px."""
    return CallableEncode(function, name=name, size=16, kind=kind, **more)  # type: ignore[arg-type]


@pytest.fixture
def data(tiny_images: Path) -> Dataset:
    """The first three images of each class for training, the others for the test."""
    found = open_dataset([tiny_images / domain for domain in ("crosses", "discs", "squares")])
    number = np.array([int(Path(name).stem) for name in found.file_names])
    return replace(found, split=np.where(number < 3, "train", "test"))


def test_scores_of_all_models_with_oracle_and_concatenation(data: Dataset) -> None:
    """The colour model finds its class in its own index; the oracle asks each domain's specialist; the student is the reference."""
    results = score(
        [
            model("student", colours, "student", num_parameters=7),
            model("discs only", colours, domains=["discs"], num_parameters=1),
            model("generalist", noise, num_parameters=2),
            PixelEncode(),
        ],
        data,
        workers=0,
        resamples=100,
    )
    names = ["student", "discs only", "generalist", "8x8 pixels", CONCATENATION, REDUCED, ORACLE]
    assert [scored.name for scored in results.models] == names
    assert results.reference == "student"
    student, oracle = results.model(), results.model(ORACLE)
    assert student.scores["separate/R@1"].domains["discs"].mean > 0.9
    for key in ("separate/R@1", "separate/mMP@5"):
        discs = results.model("discs only").scores[key].domains["discs"]
        squares = results.model("generalist").scores[key].domains["squares"]
        assert oracle.scores[key].domains["discs"] == discs
        assert oracle.scores[key].domains["squares"] == squares
        assert oracle.scores[key] == oracle.scores[key.replace("separate", "merged")]
    assert oracle.num_parameters == 3
    assert results.model(CONCATENATION).dim == 3 + 12
    assert results.model(CONCATENATION).num_parameters == 3
    assert results.model(REDUCED).dim == 3
    assert results.model(REDUCED).num_parameters == 3
    assert results.model(REDUCED).note == "discs only, generalist; PCA fitted on 54 training images"
    assert student.ms_per_image is not None
    assert student.ms_per_image > 0
    flat = results.flat()
    assert {*KEYS} <= set(flat)
    assert flat["merged/R@1"] == pytest.approx(
        np.mean([flat[f"merged/R@1/{d}"] for d in ("crosses", "discs", "squares")])
    )
    difference = results.difference("generalist", "separate/R@1")
    assert difference is not None
    assert difference.macro.sign == 1
    for found in results.differences:  # every one is of the right two columns
        mine, other = student.scores[found.key], results.model(found.other).scores[found.key]
        assert found.scores.macro.mean == pytest.approx(mine.macro.mean - other.macro.mean)
        for domain, interval in found.scores.domains.items():
            expected = mine.domains[domain].mean - other.domains[domain].mean
            assert interval.mean == pytest.approx(expected)
    assert len(results.differences) == 6 * len(KEYS)
    assert all(accuracy.mean > 0.9 for accuracy in student.knn.values())
    assert results.knn_note == ""


def test_results_survive_their_file(data: Dataset, tmp_path: Path) -> None:
    """Written by score, read back equal; a damaged file is refused."""
    results = score([model("a", colours), model("b", noise)], data, out=tmp_path, workers=0, resamples=20)
    assert read_results(tmp_path / "results.json") == results
    with pytest.raises(ArtifactError, match="damaged"):
        Results.from_json(results.to_json()[:-30])
    with pytest.raises(ArtifactError, match="version 99"):
        Results.from_json('{"version": 99}')
    gallery = json.loads((tmp_path / "gallery.json").read_text())
    assert {entry["domain"] for entry in gallery["entries"]} == {"crosses", "discs", "squares"}
    for entry in gallery["entries"]:
        assert entry["correct"] == entry["neighbours"][0]["correct"]
        assert len(entry["neighbours"]) == 5
        assert entry["query"]["file_name"] not in [near["file_name"] for near in entry["neighbours"]]
        assert entry["query"]["image"].startswith("data:image/jpeg;base64,")


def test_scoring_alone_or_beside_others_gives_the_same(data: Dataset) -> None:
    """A model's numbers and intervals do not depend on its company."""
    alone = score([model("a", colours)], data, workers=0, resamples=50, knn=False)
    beside = score([model("b", noise), model("a", colours)], data, workers=0, resamples=50, knn=False)
    assert alone.model("a").scores == beside.model("a").scores


def test_bad_images_are_neither_queries_nor_index(data: Dataset, tmp_path: Path) -> None:
    """Three broken files: counted, quarantined with their reason, and gone from the counts; too many stop the evaluation."""
    shutil.copytree(data.root, tmp_path / "images")
    broken = [name for name, split in zip(data.file_names, data.split, strict=True) if split == "test"][:3]
    for name in broken:
        (tmp_path / "images" / name).write_text("this is text")
    paths = tuple(str(tmp_path / "images" / name) for name in data.file_names)
    spoilt = replace(data, root=tmp_path / "images", paths=paths)
    results = score(
        [model("a", colours)],
        spoilt,
        out=tmp_path / "out",
        workers=0,
        resamples=10,
        knn=False,
        max_bad_fraction=0.1,
    )
    assert (results.num_bad, results.num_images) == (3, 36 - 3)
    assert sum(domain.num_queries for domain in results.domains) == 33
    assert sum(domain.num_index for domain in results.domains) == 33
    listed = tmp_path / "out" / "evaluate.quarantine.jsonl"
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [line["file_name"] for line in lines] == broken
    (tmp_path / "out" / "quarantine.jsonl").write_text("the run's own\n")
    score([model("a", colours)], data, out=tmp_path / "out", workers=0, resamples=10, knn=False)
    assert not listed.exists()  # anew: nothing is broken now
    assert (tmp_path / "out" / "quarantine.jsonl").read_text() == "the run's own\n"
    with pytest.raises(TooManyBadImages):
        score([model("a", colours)], spoilt, workers=0, max_bad_fraction=0.01, knn=False)
    # Three of 90 images are few, and three of the 36 that ask are not.
    with pytest.raises(TooManyBadImages, match="2 of 36 images"):
        score([model("a", colours)], spoilt, workers=0, max_bad_fraction=0.05, knn=False)


def test_a_separate_index_and_held_out_classes(data: Dataset) -> None:
    """Test images ask, training images answer; where no tested class was trained, kNN says why it is missing."""
    results = score([model("a", colours)], data, index_split="train", workers=0, resamples=10)
    assert sum(domain.num_index for domain in results.domains) == 54
    assert results.model().scores["separate/R@1"].macro.mean > 0.9
    held_out = replace(data, split=np.where(data.label < 3, "train", "test"))
    results = score([model("a", colours)], held_out, workers=0, resamples=10)
    assert not results.model().knn
    assert "outside the training split and of one of its classes" in results.knn_note


def test_splits_joined_by_plus_ask_and_answer_together(data: Dataset) -> None:
    """UnED's merged index: the test images and another domain's index answer, test images and queries ask."""
    number = np.array([int(Path(name).stem) for name in data.file_names])
    discs = data.domain == data.domains.index("discs")
    split = np.where(number < 2, "train", np.where(discs, np.where(number == 4, "query", "index"), "test"))
    joined = replace(data, split=split)
    results = score(
        [model("a", colours)],
        joined,
        split="test+query",
        index_split="test+index",
        workers=0,
        resamples=10,
        knn=False,
    )
    counts = {domain.name: (domain.num_queries, domain.num_index) for domain in results.domains}
    assert counts == {"crosses": (18, 18), "discs": (6, 12), "squares": (18, 18)}
    with pytest.raises(DataError, match="in the split 'nothing'"):
        score([model("a", colours)], joined, split="test+nothing")


def test_a_given_specialist_is_asked_though_another_is_better(data: Dataset) -> None:
    """The recipe knows better than the score which model is whose."""
    models = [model("good", colours), model("poor", noise)]
    given = {"discs": "poor", "squares": "poor", "crosses": "good"}
    results = score(models, data, workers=0, resamples=10, knn=False, specialists=given)
    for domain, name in given.items():
        mine = results.model(name).scores["separate/R@1"].domains[domain]
        assert results.model(ORACLE).scores["merged/R@1"].domains[domain] == mine


def test_what_cannot_be_scored_is_said(data: Dataset) -> None:
    """No such split, no labels, two models of one name, an unknown specialist, NaN."""
    with pytest.raises(
        DataError, match=r"'val'; give split= one of: test \(36 images\), train \(54 images\)"
    ):
        score([model("a", colours)], data, split="val")
    with pytest.raises(DataError, match="no image of the split 'test' has a label"):
        score([model("a", colours)], replace(data, label=np.full(len(data), -1)))
    with pytest.raises(ConfigError, match="two models are named 'a'"):
        score([model("a", colours), model("a", noise)], data)
    with pytest.raises(ConfigError, match="'colour', which is not scored; did you mean 'colours'"):
        score([model("colours", colours)], data, specialists={"discs": "colour"})
    with pytest.raises(ConfigError, match="no domain 'disc' with queries; did you mean 'discs'"):
        score([model("colours", colours)], data, specialists={"disc": "colours"})
    with pytest.raises(NonFiniteError, match="'broken' gives NaN"):
        score([model("broken", lambda image: noise(image) * math.nan)], data, workers=0)


def test_combined_seeds_have_the_interval_of_the_runs(data: Dataset) -> None:
    """Scores and differences are averaged over runs; runs of different models are refused."""
    runs = []
    for seed in range(3):
        torch.manual_seed(seed)
        matrix = torch.randn(12, 4)
        student = model("student", lambda image, m=matrix: noise(image) @ m, "student")  # type: ignore[misc]
        runs.append(score([student, model("teacher", colours)], data, workers=0, resamples=10, knn=False))
    assert combine(runs[:1]) == runs[0]
    combined = combine(runs)
    assert combined.runs == 3
    macros = [run.model().scores["merged/R@1"].macro.mean for run in runs]
    assert combined.model().scores["merged/R@1"].macro == over_runs(macros)
    differences = [run.differences[0].scores.macro.mean for run in runs]
    assert combined.differences[0].scores.macro == over_runs(differences)
    assert Results.from_json(combined.to_json()) == combined
    with pytest.raises(DataError, match="different models"):
        combine([runs[0], score([model("other", colours)], data, workers=0, resamples=10, knn=False)])
