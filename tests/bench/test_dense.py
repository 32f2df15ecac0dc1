"""Detection and depth as cells, on pictures with one light square each."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from alumnus.bench.cells import Cell, Key, read_images, write_cell
from alumnus.bench.dense import Probe, Remembered, prepare
from alumnus.bench.models import Zoo, read_models
from alumnus.bench.outcome import Drawn, PerImage, difference_of
from alumnus.bench.suite import Budget, Task
from alumnus.bench.tasks import TaskData, chosen
from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.errors import DataError, TooManyBadImages
from alumnus.evaluation.dense.encode import CallableDense
from tests.bench.made import make_halves

SIDE_PX = 32
BUDGET = Budget(dense_steps=8)
KINDS = ("large", "small")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures to learn from and six to be scored, with the box of the square, and its depth of 1 m before 3 m."""
    folder, draw = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for number in range(18):
        side = (16, 8)[number % 2]
        x, y = (int(place) for place in draw.integers(0, SIDE_PX - side, 2))
        pixels, depth = (
            np.full((SIDE_PX, SIDE_PX, 3), 40, np.uint8),
            np.full((SIDE_PX, SIDE_PX), 3000, np.uint16),
        )
        pixels[y : y + side, x : x + side], depth[y : y + side, x : x + side] = 220, 1000
        Image.fromarray(pixels).save(folder / f"{number}.png")
        Image.fromarray(depth).save(folder / f"{number}-depth.png")
        rows.append(
            {
                "file_name": f"{number}.png",
                "domain": "squares",
                "label": None,
                "split": "train" if number < 12 else "test",
                "objects": {"bbox": [[x, y, side, side]], "categories": [KINDS[number % 2]]},
                "depth": f"{number}-depth.png",
            }
        )
    write_dataset(rows, folder)
    return folder


def _found(folder: Path, kind: str) -> TaskData:
    task = Task.model_validate({"name": "squares", "data": str(folder), "task": kind})
    return chosen(task, open_dataset(folder), BUDGET)


def _probe(folder: Path, kind: str, *, model: str = "pixels", limit: float = 0.05) -> Probe:
    (entry,) = read_models([model])
    loaded = Zoo([entry], device=torch.device("cpu")).get(entry.name, SIDE_PX)
    return prepare(_found(folder, kind), loaded, BUDGET, workers=0, max_bad_fraction=limit)


def test_depth_is_scored_in_pairs_on_the_same_pictures(squares: Path) -> None:
    """A head on pixels tells near from far; the same cell twice is the same number."""
    probe = _probe(squares, "depth")
    found = probe.score(fraction=1.0, seed=0, resamples=20)
    assert found.counts == {"num_train": 12, "num_test": 6, "num_bad": 0}
    assert set(found.scores) == {"delta1", "RMSE", "abs_rel"}
    assert found.per_image["delta1"].row.tolist() == list(range(12, 18))
    again = probe.score(fraction=1.0, seed=0, resamples=20)
    assert again.scores == found.scores
    assert difference_of([found.per_image["delta1"]], [again.per_image["delta1"]]) == (0, 0, 0)


def test_too_many_unreadable_pictures_are_refused(squares: Path, tmp_path: Path) -> None:
    """Of the training pictures before a head is trained, of the test pictures when they were seen; all are counted."""
    folder = shutil.copytree(squares, tmp_path / "squares")
    for number in (0, 17):
        (folder / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(TooManyBadImages, match=r"1 of 12 images .*'0\.png'"):
        _probe(folder, "depth")
    with pytest.raises(TooManyBadImages, match=r"1 of 6 images .*'17\.png'"):
        _probe(folder, "depth", limit=0.1).score(fraction=1.0, seed=0, resamples=5)
    found = _probe(folder, "depth", limit=0.2).score(fraction=1.0, seed=0, resamples=5)
    assert (found.counts["num_bad"], found.counts["num_test"]) == (2, 5)


def test_unreadable_maps_to_learn_from_count_as_pictures_do(squares: Path, tmp_path: Path) -> None:
    """They take no part; too many are refused, and fewer are counted."""
    folder = shutil.copytree(squares, tmp_path / "squares")
    (folder / "0-depth.png").write_bytes(b"no picture")
    with pytest.raises(TooManyBadImages, match=r"1 of 12 images .*'0\.png'"):
        _probe(folder, "depth").score(fraction=1.0, seed=0, resamples=5)
    found = _probe(folder, "depth", limit=0.1).score(fraction=1.0, seed=0, resamples=5)
    assert found.counts == {"num_train": 11, "num_test": 6, "num_bad": 1}


def test_detection_resamples_are_those_of_every_model_and_seed(squares: Path) -> None:
    """So differences of average precision are paired."""
    pytest.importorskip("pycocotools")
    runs = [_probe(squares, "detection").score(fraction=1.0, seed=seed, resamples=20) for seed in (0, 1)]
    drawn = [run.per_image["AP"] for run in runs]
    assert all(isinstance(each, Drawn) and len(each.drawn) == 20 for each in drawn)
    difference = difference_of([drawn[0]], [drawn[1]])
    assert difference.mean == pytest.approx(runs[0].scores["AP"].mean - runs[1].scores["AP"].mean)


def test_a_test_part_without_objects_is_refused(squares: Path, tmp_path: Path) -> None:
    """There is no score of it; nor is there one where the only test picture with an object cannot be read."""
    pytest.importorskip("pycocotools")
    folder = shutil.copytree(squares, tmp_path / "squares")
    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    for row in rows[12:17]:
        row["objects"] = {"bbox": [], "categories": []}
    write_dataset(rows, folder)
    probe = _probe(folder, "detection", limit=0.5)
    (folder / "17.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="task squares: no object in the test part"):
        probe.score(fraction=1.0, seed=0, resamples=5)
    rows[17]["objects"] = {"bbox": [], "categories": []}
    write_dataset(rows, folder)
    with pytest.raises(DataError, match="task squares: no object in the test part"):
        _probe(folder, "detection", limit=0.5)


def test_mean_iou_keeps_the_true_pixels_of_each_class(tmp_path: Path) -> None:
    """By which a class counts in a resample; they are kept with the cell."""
    found = _probe(make_halves(tmp_path / "squares", {"train": 4, "test": 3}), "segmentation").score(
        fraction=1.0, seed=0, resamples=5
    )
    run = found.per_image["mIoU"]
    assert isinstance(run, PerImage)
    assert run.true is not None
    assert run.true.sum(1).tolist() == [24 * 24] * 3
    cell = Cell(
        suite="made",
        **Key("pixels", "squares", 1.0, 0)._asdict(),
        kind="segmentation",
        category="segmentation",
        primary="mIoU",
        scores=found.scores,
        seconds=0.0,
        date="",
        versions={},
        fingerprints={},
    )
    kept = read_images(write_cell(cell, found.per_image, tmp_path), "mIoU")
    assert difference_of([kept], [run]) == (0, 0, 0)
    assert isinstance(kept, PerImage)
    np.testing.assert_array_equal(kept.true, run.true)


def test_a_share_of_the_pictures_keeps_every_class(squares: Path) -> None:
    """1 % of twelve pictures are two: one of each kind of object; without classes it is one."""
    probe = _probe(squares, "depth")
    assert probe.score(fraction=0.01, seed=0, resamples=5).counts["num_train"] == 1
    pytest.importorskip("pycocotools")
    assert _probe(squares, "detection").score(fraction=0.01, seed=3, resamples=5).counts["num_train"] == 2


def test_what_the_data_lacks_is_told(squares: Path) -> None:
    """There are no masks."""
    with pytest.raises(DataError, match="task squares: its data has no masks, which segmentation needs"):
        _found(squares, "segmentation")


def test_binary_masks_of_0_and_255_are_refused(tmp_path: Path) -> None:
    """255 is ignore, so one class is left, of which every answer is right."""
    folder = make_halves(tmp_path / "squares", {"train": 2, "test": 1})
    assert _probe(folder, "segmentation").num_classes == 2
    for path in folder.glob("*-mask.png"):
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    with pytest.raises(
        DataError, match=r"task squares: masks hold only 0 and 255 \(= ignore\); write foreground"
    ):
        _probe(folder, "segmentation")


def test_the_test_part_cannot_be_learnt_from(squares: Path) -> None:
    """A split that is named twice is refused."""
    task = Task.model_validate(
        {"name": "squares", "data": str(squares), "task": "depth", "options": {"train": ["train", "test"]}}
    )
    with pytest.raises(DataError, match="share a split"):
        chosen(task, open_dataset(squares), BUDGET)


def test_grids_are_remembered_up_to_a_limit() -> None:
    """The second call of the same pictures costs nothing; beyond the limit it does."""
    calls = list[int]()

    def grid(image: torch.Tensor) -> torch.Tensor:
        calls.append(len(image))
        return image.float()[:, :, ::4, ::4]

    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    for limit, expected in ((1 << 20, 1), (0, 2)):
        encoder = Remembered(CallableDense(grid, name="grid", size=8), limit_bytes=limit)
        calls.clear()
        assert torch.equal(encoder.dense(image), encoder.dense(image))
        assert len(calls) == expected
