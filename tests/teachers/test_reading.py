"""Tensors are read by their shape, and refused where that leaves a doubt."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alumnus.errors import TeacherError
from alumnus.teachers.reading import choose, read, split_tokens
from alumnus.types import Features

GRID = torch.rand(2, 5, 4, 4)  # (n, D, H, W)


def _read(tensor: Tensor, channels_last: bool | None = None) -> Features:
    return read(tensor, source="it", channels_last=channels_last)


def test_a_matrix_is_the_summary() -> None:
    """And there are no patches."""
    rows = torch.rand(2, 7)
    summary, patches = _read(rows)
    assert torch.equal(summary, rows)
    assert patches is None


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_grid_is_read_with_its_channels_first_or_last(channels_last: bool) -> None:
    """The square tells them apart; patches come row by row."""
    summary, patches = _read(GRID.permute(0, 2, 3, 1) if channels_last else GRID)
    torch.testing.assert_close(summary, GRID.mean((2, 3)))
    assert patches is not None
    assert torch.equal(patches[:, 4 * 1 + 2], GRID[:, :, 1, 2])


def test_a_cube_is_a_doubt_unless_more_is_known() -> None:
    """Of the network that gave it."""
    cube = torch.rand(2, 4, 4, 4)
    with pytest.raises(
        TeacherError, match=r"\(2, 4, 4, 4\), in which the channels could be the first or the last"
    ):
        _read(cube)
    torch.testing.assert_close(_read(cube, False).summary, cube.mean((2, 3)))
    torch.testing.assert_close(_read(cube, True).summary, cube.mean((1, 2)))


@pytest.mark.parametrize(("length", "others"), [(16, 0), (17, 1), (18, 2), (21, 5), (201, 5), (198, 2)])
def test_tokens_are_a_square_behind_a_few_others(length: int, others: int) -> None:
    """The first of the others is the class token, which is the summary; without one it is the mean."""
    tokens = torch.rand(2, length, 3)
    summary, patches = _read(tokens)
    assert patches is not None
    assert torch.equal(patches, tokens[:, others:])
    torch.testing.assert_close(summary, tokens[:, 0] if others else tokens.mean(1))


@pytest.mark.parametrize("shape", [(2, 12, 3), (8,), (2, 3, 4, 4, 4), (2, 8, 4, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """With the shape."""
    with pytest.raises(TeacherError, match="it has the shape"):
        _read(torch.rand(shape))


def test_a_known_number_of_patches_needs_no_guess() -> None:
    """Three other tokens are fine then; too few tokens are not."""
    parts = split_tokens(torch.rand(1, 12, 2), num_patches=9)
    assert parts is not None
    assert [part.shape[1] for part in parts] == [3, 9]
    assert split_tokens(torch.rand(1, 8, 2), num_patches=9) is None


def test_an_output_is_chosen_by_name_or_number() -> None:
    """The first one by default; what is no tensor does not count."""
    one, two = torch.zeros(1), torch.ones(1)
    for output in ({"a": one, "n": 3, "b": two}, [one, two], (one, two)):
        assert choose(output, None, source="it") is one
        assert choose(output, "1", source="it") is two
    assert choose({"a": one, "b": two}, "b", source="it") is two
    assert choose(one, "0", source="it") is one


def test_an_output_that_is_not_there_names_those_that_are() -> None:
    """Also that there is none at all."""
    with pytest.raises(
        TeacherError, match=r"did you mean 'pooled'.*it has summary \(the first\), grid, pooled"
    ):
        choose({"grid": GRID, "pooled": GRID}, "poled", source="it")
    with pytest.raises(TeacherError, match="it gave str, which holds no tensor"):
        choose("text", None, source="it")
