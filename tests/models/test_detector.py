"""The detector: where its cells lie, what it learns from pictures without objects, what comes out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alumnus.models.detector import BACKGROUND, Boxes, Detector
from alumnus.types import Grid

PYRAMID = (Grid(4, 8, 8), Grid(6, 4, 4))
ONE = (Grid(4, 8, 8),)
NONE = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def _levels(grids: tuple[Grid, ...], count: int = 2) -> list[Tensor]:
    return [torch.randn(count, *grid) for grid in grids]


@pytest.mark.parametrize(("grids", "sides"), [(PYRAMID, [8, 4]), (ONE, [16, 8, 4])])
def test_cells_tile_the_image(grids: tuple[Grid, ...], sides: list[int]) -> None:
    """Every level's cells cover the 64 px once, row by row; one level becomes three."""
    detector = Detector(grids, size=64, num_classes=3)
    outputs, cells, counts = detector._run(_levels(grids))
    assert counts == [side**2 for side in sides]
    assert outputs["cls_logits"].shape == (2, sum(counts), 3)
    for part, side in zip(torch.split(cells, counts), sides, strict=True):
        pitch = 64 / side
        assert part[0].tolist() == [0, 0, pitch, pitch]
        assert part[1].tolist() == [pitch, 0, 2 * pitch, pitch]
        assert part[-1].tolist() == [64 - pitch, 64 - pitch, 64, 64]


def test_a_batch_without_objects_has_a_loss() -> None:
    """Finite, with a gradient: it says that there is nothing."""
    detector = Detector(PYRAMID, size=64, num_classes=3)
    loss = detector.loss(_levels(PYRAMID), [NONE, NONE])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in detector.parameters())


@pytest.mark.parametrize("grids", [PYRAMID, ONE])
def test_it_learns_two_pictures_by_heart(grids: tuple[Grid, ...]) -> None:
    """One object and none; the box comes out at its place, to a few px, within the image."""
    torch.manual_seed(0)
    detector, levels = Detector(grids, size=64, num_classes=3), _levels(grids)
    truth = [Boxes(torch.tensor([[10.0, 20.0, 30.0, 50.0]]), torch.tensor([2])), NONE]
    optimiser = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        detector.loss(levels, truth).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found, nothing = detector.eval()(levels)
    torch.testing.assert_close(found.corners[0], truth[0].corners[0], rtol=0, atol=4)
    assert found.labels[0] == 2
    assert found.scores[0] > 0.5
    assert not len(nothing.scores) or nothing.scores.max() < 0.3
    for each in (found, nothing):
        assert each.corners.shape == (len(each.scores), 4)
        assert bool(((each.corners >= 0) & (each.corners <= 64)).all())
        assert len(each.scores) <= 100


@pytest.mark.parametrize("grids", [PYRAMID, ONE])
def test_a_detector_begins_with_one_of_fewer_classes(grids: tuple[Grid, ...]) -> None:
    """It says the same of cells, boxes and the old classes."""
    old, both = (Detector(grids, size=64, num_classes=classes).eval() for classes in (2, 5))
    levels = _levels(grids)
    both.begin_with(old)
    ours, theirs = both.raw(levels), old.raw(levels)
    torch.testing.assert_close(ours.logits[..., :2], theirs.logits)
    assert ours.logits.shape[2] == 5
    for name in ("sides", "centredness", "cells"):
        torch.testing.assert_close(ours._asdict()[name], theirs._asdict()[name])
    assert (ours.sides >= 0).all()
    assert ours.centredness.shape == ours.logits.shape[:2]


def test_a_new_detector_takes_everything_for_background() -> None:
    """Its class logits are near `BACKGROUND` everywhere."""
    torch.manual_seed(0)
    logits = Detector(PYRAMID, size=64, num_classes=3).raw(_levels(PYRAMID)).logits
    torch.testing.assert_close(logits, torch.full_like(logits, BACKGROUND), rtol=0, atol=1)
