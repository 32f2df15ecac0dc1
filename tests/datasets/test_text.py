"""Rendered text: ink in the middle, words from the seed. The font is the one that matplotlib brings."""

from __future__ import annotations

import random
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from alumnus.datasets.fonts import made_up_word
from alumnus.datasets.truetype import Text

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


@pytest.mark.parametrize("text", ["a", "W", "jg\nÄy\nfj"])
def test_all_ink_is_inside_a_margin(text: str) -> None:
    """Nothing touches the edge, and the margin is small."""
    ink = 255 - np.asarray(Text(FONT, text)(64).convert("L"), np.int64)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    gaps = rows[0], len(ink) - 1 - rows[-1], columns[0], ink.shape[1] - 1 - columns[-1]
    assert min(gaps) > 0
    assert max(gaps) - min(gaps) <= 1


def test_words_follow_from_the_seed() -> None:
    """Four or five letters, none of them twice in the same way for another seed."""
    words = [made_up_word(random.Random(1)) for _ in range(2)]
    assert words[0] == words[1]
    many = {made_up_word(random.Random(seed)) for seed in range(100)}
    assert len(many) > 90
    assert {len(word) for word in many} == {4, 5}
