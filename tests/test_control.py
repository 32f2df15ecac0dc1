"""The law of loss-driven control: by hand, and its limits."""

from __future__ import annotations

import pytest
import torch

from alumnus.control import by_loss, with_floor

LOSS = torch.tensor([4.0, 1.0, 9.0], dtype=torch.float64)
SHARE = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
SEEN = torch.tensor([True, True, False])


def test_by_hand() -> None:
    """Shares 1/2 and 1/4 of losses 4 and 1 are 2 and 1/4; roots are 1 and 1/4; what was not seen has none."""
    assert by_loss(LOSS, SEEN, SHARE).tolist() == pytest.approx([8 / 9, 1 / 9, 0])
    assert by_loss(LOSS, SEEN, SHARE, temperature=2).tolist() == pytest.approx([0.8, 0.2, 0])


def test_equal_losses_give_the_shares_and_so_does_a_floor_of_1() -> None:
    """Nothing is steered then."""
    everything = torch.ones(3, dtype=torch.bool)
    assert by_loss(torch.full_like(LOSS, 7), everything, SHARE).tolist() == pytest.approx(SHARE.tolist())
    assert with_floor(by_loss(LOSS, everything, SHARE), SHARE, 1.0).tolist() == pytest.approx(SHARE.tolist())


def test_a_floor_holds() -> None:
    """Of a loss of 0, too; the sum stays 1."""
    loss = torch.tensor([5.0, 0.0, 0.0], dtype=torch.float64)
    found = with_floor(by_loss(loss, torch.ones(3).bool(), SHARE), SHARE, 0.2)
    assert found.tolist() == pytest.approx([0.9, 0.05, 0.05])


def test_no_loss_at_all_is_said_by_zeros() -> None:
    """What follows from it the caller knows; NaN never comes out, neither for losses below 0."""
    for loss in (torch.zeros_like(LOSS), -LOSS):
        assert by_loss(loss, SEEN, SHARE).tolist() == [0, 0, 0]
    assert by_loss(LOSS, torch.zeros(3).bool(), SHARE).tolist() == [0, 0, 0]
