"""The common space: one extractor for all networks, vectors or maps of any width and side."""

from __future__ import annotations

import pytest
import torch

from alumnus.models.common_space import CommonSpace, Kind

DIMS = {"narrow": 3, "keys": 9}  # `keys` is a name that ModuleDict has itself


@pytest.mark.parametrize(("kind", "sides"), [("vector", ()), ("map", (4, 4))])
def test_shapes(kind: Kind, sides: tuple[int, ...]) -> None:
    """Every network's features arrive in one width, and a teacher's come back in its own; a map keeps its sides."""
    space = CommonSpace(5, DIMS, hidden_dim=6, kind=kind)
    assert space.of_student(torch.randn(2, 5, *sides)).shape == (2, 6, *sides)
    for name, dim in DIMS.items():
        common = space.of_teacher(name, torch.randn(2, dim, *sides))
        assert common.shape == (2, 6, *sides)
        assert space.reconstruct(name, common).shape == (2, dim, *sides)


@pytest.mark.parametrize("kind", ["vector", "map"])
def test_the_extractor_is_one_for_all(kind: Kind) -> None:
    """A loss on the student's side alone moves what a teacher's features become."""
    sides = (2, 2) if kind == "map" else ()
    space = CommonSpace(5, DIMS, hidden_dim=6, kind=kind)
    space.of_student(torch.randn(4, 5, *sides)).square().sum().backward()  # type: ignore[no-untyped-call]
    moved = {name for name, p in space.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert any(name.startswith("extract") for name in moved)
    assert not any(name.startswith(("align.", "decode.")) for name in moved)


def test_a_vector_goes_the_way_of_the_formula() -> None:
    """Linear, ReLU; Linear, ReLU, Linear; and the same again to decode."""
    space, x = CommonSpace(5, {"t": 3}, hidden_dim=6, kind="vector"), torch.randn(2, 3)
    state = space.state_dict()

    def affine(name: str, row: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = row @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        return moved

    aligned = affine("align.teacher_t.0", x).clamp(min=0)
    common = affine("extract.2", affine("extract.0", aligned).clamp(min=0))
    back = affine("decode.teacher_t.2", affine("decode.teacher_t.0", common).clamp(min=0))
    torch.testing.assert_close(space.of_teacher("t", x), common)
    torch.testing.assert_close(space.reconstruct("t", common), back)
