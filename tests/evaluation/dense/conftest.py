"""Pictures that the tests of all three tasks learn from and are scored on. Shared: do not write to them."""

from __future__ import annotations

import pytest

from tests.evaluation.dense.shapes import Shapes, draw_shapes


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """24 pictures to learn from."""
    return draw_shapes(tmp_path_factory.mktemp("train") / "shapes", 24, seed=1)


@pytest.fixture(scope="session")
def test(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """9 others."""
    return draw_shapes(tmp_path_factory.mktemp("test") / "shapes", 9, seed=2)
