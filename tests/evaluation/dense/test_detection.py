"""Detection by a head over grids: what can be learned is, boxes come back in the pictures' own px."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from alumnus.data.loader import Bad
from alumnus.errors import DataError
from alumnus.evaluation.dense.detection import (
    detect,
    detections,
    fit_detection,
    mirrored_corners,
    score_detection,
)
from alumnus.evaluation.dense.training import Budget
from alumnus.models.detector import Detector
from tests.evaluation.dense.shapes import (
    HEIGHT,
    WIDTH,
    Shapes,
    colour_encoder,
    constant_encoder,
    draw_shapes,
    objects,
    setup,
)

pytest.importorskip("pycocotools")
FAST = Budget(steps=100, batch_size=4, lr=3e-3)


def test_boxes_of_colours_are_found_and_a_constant_finds_none(train: Shapes, test: Shapes) -> None:
    """In pictures of which some are empty, at the place and of the size of the rectangles."""
    score, fitted = detect(
        colour_encoder(cell=4),
        train.paths,
        train.objects,
        test.paths,
        test.objects,
        num_classes=2,
        setup=setup(budget=FAST, flip=True),
        resamples=10,
    )
    assert score.ap50.mean > 0.8
    assert score.ap.low <= score.ap.mean <= score.ap.high
    assert score.places.tolist() == list(range(9))
    for found in score.found:
        right_bottom = found.boxes[:, :2] + found.boxes[:, 2:]
        assert (found.boxes >= 0).all()
        assert (right_bottom <= [WIDTH + 1e-3, HEIGHT + 1e-3]).all()
        assert (np.diff(found.scores) <= 0).all()
    assert fitted.losses[-1] < fitted.losses[0] / 2
    blind, _ = detect(
        constant_encoder(cell=4),
        train.paths,
        train.objects,
        test.paths,
        test.objects,
        num_classes=2,
        setup=setup(budget=Budget(steps=10, batch_size=4)),
        resamples=0,
    )
    assert blind.ap50.mean < 0.2


def test_pictures_that_cannot_be_read_are_told(tmp_path: Path, train: Shapes) -> None:
    """In training and in the test."""
    shapes = draw_shapes(tmp_path / "shapes", 4, seed=0)
    Path(shapes.paths[1]).unlink()
    fitted = fit_detection(
        colour_encoder(cell=8), shapes.paths, shapes.objects, num_classes=2, setup=setup(2)
    )
    score = score_detection(fitted, shapes.paths, shapes.objects, num_classes=2, resamples=0)
    assert sorted(fitted.bad) == sorted(score.bad) == [1]
    assert score.places.tolist() == [0, 2, 3]
    assert [found.row for found in detections(fitted, shapes.paths) if isinstance(found, Bad)] == [1]


def test_nothing_to_learn_from_is_refused(train: Shapes) -> None:
    """No object at all, or a label that is no class."""
    with pytest.raises(DataError, match="have no object among them"):
        fit_detection(colour_encoder(), train.paths[:1], [objects([], [])], num_classes=2, setup=setup(1))
    with pytest.raises(DataError, match="picture 0 has labels from 3 to 3"):
        fit_detection(
            colour_encoder(), train.paths[:1], [objects([(0, 0, 5, 5)], [3])], num_classes=2, setup=setup(1)
        )


def test_boxes_of_a_mirror_image_are_mirrored() -> None:
    """Left becomes right, heights stay; twice is nothing."""
    corners = np.array([[1, 2, 4, 9]], np.float32)
    assert mirrored_corners(corners, 10).tolist() == [[6, 2, 9, 9]]
    assert mirrored_corners(mirrored_corners(corners, 10), 10).tolist() == corners.tolist()


def test_a_seed_decides_everything(train: Shapes) -> None:
    """Same seed, same bytes."""
    first, second = (
        fit_detection(
            colour_encoder(cell=8), train.paths, train.objects, num_classes=2, setup=setup(3, flip=True)
        ).state()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_detector_goes_on_from_one_of_fewer_classes(train: Shapes) -> None:
    """At a rate of next to nothing it is still that one, with a class more."""
    old = fit_detection(
        colour_encoder(cell=8), train.paths, train.objects, num_classes=2, setup=setup(1)
    ).head
    assert isinstance(old, Detector)
    slow = setup(budget=Budget(steps=1, batch_size=4, lr=1e-9))
    grown = fit_detection(
        colour_encoder(cell=8), train.paths, train.objects, num_classes=3, setup=slow, begin=old
    ).head
    before, after = (
        head.state_dict()["fcos.head.classification_head.cls_logits.weight"] for head in (old, grown)
    )
    assert after.shape[0] == 3
    torch.testing.assert_close(after[:2], before, rtol=0, atol=1e-6)
