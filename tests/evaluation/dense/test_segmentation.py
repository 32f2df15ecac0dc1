"""Segmentation by a head: what can be learned is, what cannot is not, and the score is that of the pictures as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alumnus.data.dense import read_mask
from alumnus.data.loader import Bad
from alumnus.errors import DataError
from alumnus.evaluation.dense.segmentation import (
    cross_entropy,
    fit_segmentation,
    mirrored,
    predicted_masks,
    score_segmentation,
    segment,
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


@pytest.mark.parametrize("kind", ["linear", "decoder"])
def test_colour_tells_classes_apart_and_a_constant_does_not(
    kind: DenseHeadKind, train: Shapes, test: Shapes
) -> None:
    """A constant can only name the ground everywhere: IoU 0 for the other two of three classes."""
    settings = setup(120 if kind == "linear" else 100, flip=True)
    scores = {}
    cell = 2 if kind == "linear" else 4  # the decoder doubles its grid
    for encoder in (colour_encoder(cell=cell), constant_encoder(cell=cell)):
        scores[encoder.name], _ = segment(
            encoder,
            train.paths,
            train.masks,
            test.paths,
            test.masks,
            num_classes=3,
            kind=kind,
            setup=settings,
        )
    assert scores["colour"].mean_iou.mean > 0.8
    assert scores["colour"].mean_iou.low > scores["constant"].mean_iou.high
    assert scores["constant"].mean_iou.mean < 0.34
    assert scores["colour"].pixel_accuracy.mean > 0.95


def test_the_score_is_that_of_the_masks_given(train: Shapes, test: Shapes) -> None:
    """At the pictures' own size: recomputed here from the predicted masks."""
    score, fitted = segment(
        colour_encoder(),
        train.paths,
        train.masks,
        test.paths,
        test.masks,
        num_classes=3,
        setup=setup(30),
        resamples=20,
    )
    right = known = 0
    for found in predicted_masks(fitted, test.paths):
        assert not isinstance(found, Bad)
        assert found.output.shape == (HEIGHT, WIDTH)
        true = read_mask(test.masks[found.place])
        right += int(((found.output == true) & (true >= 0)).sum())
        known += int((true >= 0).sum())
    assert score.pixel_accuracy.mean == pytest.approx(right / known)
    assert known == len(test.paths) * HEIGHT * (WIDTH - 2)


def test_a_seed_decides_everything(train: Shapes) -> None:
    """Same seed, same bytes; another seed, another head."""
    states = [
        fit_segmentation(
            colour_encoder(), train.paths, train.masks, num_classes=3, setup=setup(5, seed=seed, flip=True)
        ).state()
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.maps.0.weight"], states[2]["head.maps.0.weight"])


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path, train: Shapes) -> None:
    """A broken picture, a broken mask, a mask of another size; the rest is learned from and scored."""
    shapes = draw_shapes(tmp_path / "shapes", 6, seed=3)
    Path(shapes.paths[0]).write_bytes(b"<html>")
    Path(shapes.masks[1]).write_bytes(b"")
    Image.new("L", (WIDTH, HEIGHT - 1)).save(shapes.masks[2])
    fitted = fit_segmentation(colour_encoder(), shapes.paths, shapes.masks, num_classes=3, setup=setup(2))
    score = score_segmentation(fitted, shapes.paths, shapes.masks, num_classes=3, resamples=5)
    for bad in (fitted.bad, score.bad):
        assert sorted(bad) == [0, 1, 2]
        assert "the mask is 64 x 47 px, its picture 64 x 48" in bad[2]
    assert score.places.tolist() == [3, 4, 5]


def test_a_mask_with_a_class_that_is_none_leaves_its_picture_out(train: Shapes, tmp_path: Path) -> None:
    """One stray pixel does not cost the run, and is told with what is allowed."""
    masks = [str(shutil.copy(mask, tmp_path / f"{number}.png")) for number, mask in enumerate(train.masks)]
    with Image.open(masks[0]) as image:
        stray = np.array(image)
    stray[0, 0] = 7
    Image.fromarray(stray).save(masks[0])
    fitted = fit_segmentation(colour_encoder(), train.paths, masks, num_classes=3, setup=setup(1))
    assert list(fitted.bad) == [0]
    assert "has the class 7; there are 3: 0 to 2" in fitted.bad[0]


def test_no_mask_at_all_is_an_error(tmp_path: Path) -> None:
    """Not a head that learned nothing."""
    shapes = draw_shapes(tmp_path / "shapes", 2, seed=0)
    with pytest.raises(DataError, match="of 2 training pictures none has a target"):
        fit_segmentation(colour_encoder(), shapes.paths, shapes.paths, num_classes=3, setup=setup(1))


def test_ignored_pixels_do_not_count_in_the_loss() -> None:
    """Nor do they divide it; nothing but ignored pixels gives 0, with a gradient of 0."""
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 3.0]]]], requires_grad=True)  # (1, 2, 1, 2)
    loss = cross_entropy(logits.repeat(1, 1, 2, 1), torch.tensor([[[0, -1], [0, -1]]]))
    torch.testing.assert_close(loss, torch.log1p(torch.exp(torch.tensor(-2.0))))
    nothing = cross_entropy(logits.repeat(1, 1, 2, 1), torch.full((1, 2, 2), -1))
    (gradient,) = torch.autograd.grad(nothing, [logits])
    assert nothing == 0
    assert not gradient.any()


def test_targets_of_mirror_images_are_mirrored() -> None:
    """And the targets themselves stay as they are."""
    targets = torch.arange(8, dtype=torch.int16).view(2, 2, 2)
    assert mirrored(targets, np.array([0, 3])).tolist() == [[[0, 1], [2, 3]], [[5, 4], [7, 6]]]
    assert targets.flatten().tolist() == list(range(8))
