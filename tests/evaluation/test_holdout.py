"""What is held out to choose settings on."""

from __future__ import annotations

import numpy as np

from alumnus.evaluation.holdout import hold_out


def test_every_class_gives_its_share_and_keeps_the_rest() -> None:
    """Of 10, 5, 3, 2 and 1 images: 2, 1, 1, 1 and 0."""
    label = np.random.default_rng(0).permutation(np.repeat([0, 3, 4, 7, 9], [10, 5, 3, 2, 1]))
    held = hold_out(label, seed=1)
    assert (np.diff(held) > 0).all()
    assert np.bincount(label[held], minlength=10)[[0, 3, 4, 7, 9]].tolist() == [2, 1, 1, 1, 0]


def test_no_class_is_emptied_even_by_a_large_share() -> None:
    """Of two images one stays."""
    label = np.array([5, 5, 6, 6, 6])
    assert np.bincount(label[hold_out(label, share=0.99)])[[5, 6]].tolist() == [1, 2]


def test_one_image_a_class_holds_nothing_out() -> None:
    """An empty result, which callers answer with a fixed setting."""
    assert hold_out(np.arange(6)).tolist() == []
    assert hold_out(np.empty(0, np.int64)).tolist() == []


def test_the_seed_decides() -> None:
    """The same seed gives the same images, another seed others."""
    label = np.repeat(np.arange(5), 20)
    assert hold_out(label, seed=1).tolist() == hold_out(label, seed=1).tolist()
    assert hold_out(label, seed=1).tolist() != hold_out(label, seed=2).tolist()


def test_a_few_large_classes_are_not_chosen_on() -> None:
    """Half of the classes must not decide for the others; more than half may."""
    assert hold_out(np.array([0, 0, 0, 0, 1, 1, 2, 3])).tolist() == []
    assert len(hold_out(np.array([0, 0, 0, 0, 1, 1, 2, 2, 3]))) == 3
