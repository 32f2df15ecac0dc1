"""Live targets: every teacher speaks about the rows on which it is trusted, and about no other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alumnus.errors import TeacherError
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.targets import Live, TargetSource
from alumnus.teachers.teacher import Teacher
from alumnus.types import Batch

CPU = torch.device("cpu")
DOMAINS = ("cards", "faces", "flags")


class _Colour:
    """A teacher that says the mean colour times a factor, and counts the images that it saw."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.seen = factor, 0

    def __call__(self, image: Tensor) -> Tensor:
        """(n, 3)."""
        self.seen += int((image.amax((1, 2, 3)) > 0).sum())  # small batches are filled up with black ones
        return image.mean((2, 3)) * self.factor


def _teacher(name: str, function: object = None, **settings: object) -> Teacher:
    model = function or _Colour()
    spec = TeacherSpec.model_validate({"model": model, "name": name, "size": 8, **settings})
    return load_teacher(spec, device=CPU)


def _batch(domain: list[int], sizes: tuple[int, ...] = (8,)) -> Batch:
    count = len(domain)
    views = {side: torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8) for side in sizes}
    number = torch.arange(count)
    return Batch(
        torch.zeros(count, 3, 4, 4, dtype=torch.uint8),
        views,
        number,
        number,
        number,
        torch.tensor(domain),
        -number,
    )


def _live(*teachers: Teacher) -> TargetSource:
    speakers = [Live(teacher, about=describe(teacher)) for teacher in teachers]
    return TargetSource(speakers, domains=DOMAINS, device=CPU)


def test_a_teacher_speaks_about_its_own_rows_only() -> None:
    """The others are not even shown to it."""
    colour = _Colour()
    source = _live(_teacher("faces", colour, domains=("faces", "flags")))
    batch, shown = _batch([0, 1, 2, 1, 0]), colour.seen
    target = source(batch)["faces"]
    assert target.places.tolist() == [1, 2, 3]
    assert colour.seen - shown == 3
    expected = batch.teacher_images[8][[1, 2, 3]].float().mean((2, 3)) / 255
    torch.testing.assert_close(target.features.summary, expected)


def test_a_teacher_without_rows_does_no_work() -> None:
    """Its target is empty, of the right width."""
    colour = _Colour()
    source, shown = _live(_teacher("flags", colour, domains=["flags"])), colour.seen
    target = source(_batch([0, 1, 0]))["flags"]
    assert colour.seen == shown
    assert target.features.summary.shape == (0, 3)
    assert target.places.shape == (0,)
    assert target.places.dtype == torch.int64


def test_a_teacher_without_domains_is_trusted_everywhere() -> None:
    """All rows, in order."""
    assert _live(_teacher("all"))(_batch([2, 0, 1]))["all"].places.tolist() == [0, 1, 2]


def test_the_order_of_the_teachers_changes_no_target() -> None:
    """Only the order of the targets."""
    one, other = _teacher("a", _Colour(1.0), domains=["faces"]), _teacher("b", _Colour(3.0), size=16)
    batch = _batch([1, 0, 1], sizes=(8, 16))
    forward, backward = _live(one, other)(batch), _live(other, one)(batch)
    assert list(forward) == ["a", "b"]
    assert list(backward) == ["b", "a"]
    for name, target in forward.items():
        assert torch.equal(target.features.summary, backward[name].features.summary)
        assert torch.equal(target.places, backward[name].places)


def test_sizes_are_those_the_loader_must_deliver() -> None:
    """Each once."""
    assert _live(_teacher("a"), _teacher("b", size=16), _teacher("c")).sizes == (8, 16)


def test_every_teacher_sees_its_own_size() -> None:
    """A teacher of 16 px gets the view of 16 px."""
    batch = _batch([0, 1], sizes=(8, 16))
    target = _live(_teacher("a"), _teacher("b", size=16))(batch)["b"]
    expected = batch.teacher_images[16].float().mean((2, 3)) / 255
    torch.testing.assert_close(target.features.summary, expected)


def test_targets_can_be_differentiated_against() -> None:
    """They are ordinary tensors without history."""
    summary = _live(_teacher("a"))(_batch([0, 1]))["a"].features.summary
    student = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad((student - summary).square().sum(), [student])
    torch.testing.assert_close(gradient, -2 * summary)


def test_two_teachers_of_one_name_are_refused() -> None:
    """The name is their key everywhere."""
    with pytest.raises(TeacherError, match="two teachers are called 'a'"):
        _live(_teacher("a"), _teacher("a"))


def test_a_domain_that_the_data_has_not_is_refused() -> None:
    """With the nearest that it has."""
    with pytest.raises(TeacherError, match="did you mean 'faces'"):
        _live(_teacher("a", domains=["face"]))
