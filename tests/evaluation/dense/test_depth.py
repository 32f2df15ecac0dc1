"""Depth by a head: errors by hand, and what can be learned."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alumnus.data.loader import Bad
from alumnus.evaluation.dense.depth import (
    depth_errors,
    estimate_depth,
    fit_depth,
    predicted_depths,
    scale_loss,
    score_depth,
)
from alumnus.models.dense_heads import DenseHeadKind
from tests.evaluation.dense.shapes import (
    HEIGHT,
    WIDTH,
    Shapes,
    colour_encoder,
    constant_encoder,
    draw_shapes,
    setup,
)


def test_errors_by_hand() -> None:
    """Four known pixels and one unknown; 1.25 itself is not within 1.25."""
    errors = depth_errors(
        np.array([[1.0, 2.2, 5.0, 3.0, 70.0]]), np.array([[1.0, 2.0, 4.0, 6.0, 0.0]], np.float32)
    )
    assert errors.rmse == pytest.approx(math.sqrt((0 + 0.04 + 1 + 9) / 4))
    assert errors.abs_rel == pytest.approx((0 + 0.1 + 0.25 + 0.5) / 4)
    assert errors.delta1 == 0.5


def test_the_loss_forgives_most_of_a_scale() -> None:
    """Twice as far everywhere costs sqrt(0.15) of what the same spread of errors without a common part costs."""
    truth = torch.full((1, 2, 2), 3.0)
    scaled = scale_loss(truth[None].log() + math.log(2), truth)
    torch.testing.assert_close(scaled, torch.tensor(10 * math.log(2) * math.sqrt(0.15)), rtol=1e-4, atol=0)
    sign = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])
    spread = scale_loss(truth[None].log() + sign * math.log(2), truth)
    torch.testing.assert_close(spread, torch.tensor(10 * math.log(2)), rtol=1e-4, atol=0)


def test_the_loss_has_a_gradient_where_it_is_least() -> None:
    """Exact depth, and no known depth at all."""
    for truth in (torch.full((1, 2, 2), 3.0), torch.zeros(1, 2, 2)):
        logs = torch.full((1, 1, 2, 2), math.log(3.0), requires_grad=True)
        (gradient,) = torch.autograd.grad(scale_loss(logs, truth), [logs])
        assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", ["linear", "decoder"])
def test_colour_tells_depth_and_a_constant_does_not(kind: DenseHeadKind, train: Shapes, test: Shapes) -> None:
    """Each colour is at a depth of its own; of a constant, only the most frequent one can be right."""
    settings = setup(120 if kind == "linear" else 100)
    scores = {}
    cell = 2 if kind == "linear" else 4  # the decoder doubles its grid
    for encoder in (colour_encoder(cell=cell), constant_encoder(cell=cell)):
        scores[encoder.name], _ = estimate_depth(
            encoder, train.paths, train.depths, test.paths, test.depths, kind=kind, setup=settings
        )
    colour, constant = scores["colour"], scores["constant"]
    assert colour.delta1.mean > 0.9
    assert colour.delta1.low > constant.delta1.mean
    assert colour.rmse.mean < 0.6 * constant.rmse.mean
    assert colour.abs_rel.mean < 0.15


def test_depths_come_at_the_pictures_size_and_within_those_seen(train: Shapes, test: Shapes) -> None:
    """And the score is the mean over pictures of the errors of these."""
    score, fitted = estimate_depth(
        colour_encoder(), train.paths, train.depths, test.paths, test.depths, setup=setup(20), resamples=20
    )
    for found in predicted_depths(fitted, test.paths):
        assert not isinstance(found, Bad)
        assert found.output.shape == (HEIGHT, WIDTH)
        assert found.output.min() >= 1 - 1e-5
        assert found.output.max() <= 4 + 1e-5
    assert score.errors.shape == (9, 3)
    assert score.rmse.mean == pytest.approx(score.errors[:, 0].mean())
    assert score.rmse.low <= score.rmse.mean <= score.rmse.high


def test_another_unit_is_not_metres(train: Shapes, test: Shapes) -> None:
    """Steps of the file are then the unit of the errors too."""
    metres = estimate_depth(
        colour_encoder(), train.paths, train.depths, test.paths, test.depths, setup=setup(5), resamples=2
    )
    steps = estimate_depth(
        colour_encoder(),
        train.paths,
        train.depths,
        test.paths,
        test.depths,
        unit="px",
        setup=setup(5),
        resamples=2,
    )
    assert steps[0].rmse.mean == pytest.approx(1000 * metres[0].rmse.mean, rel=1e-3)
    assert steps[0].abs_rel.mean == pytest.approx(metres[0].abs_rel.mean, rel=1e-3)


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    """A depth map that knows nothing, and one that is none."""
    shapes = draw_shapes(tmp_path / "shapes", 5, seed=3)
    depths = [shapes.masks[0], *shapes.depths[1:]]
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(depths[1])
    fitted = fit_depth(colour_encoder(), shapes.paths, depths, setup=setup(2))
    score = score_depth(fitted, shapes.paths, depths, resamples=2)
    for bad in (fitted.bad, score.bad):
        assert sorted(bad) == [0, 1]
        assert "depth must be a 16-bit PNG" in bad[0]
        assert "no pixel has a known depth" in bad[1]
