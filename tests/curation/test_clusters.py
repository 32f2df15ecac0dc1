"""Pictures of one look come into one group."""

from __future__ import annotations

import numpy as np
from scipy.fft import idctn

from alumnus.curation.clusters import CELLS, clusters_of, colour_layouts


def test_well_parted_groups_are_found_again() -> None:
    """Four clouds far apart; the same seed gives the same numbers."""
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 25)
    vectors = (np.eye(4, 8)[truth] + draw.normal(0, 0.02, (100, 8))).astype(np.float32)
    found = clusters_of(vectors, 4, seed=0, spherical=False)
    assert len({(t, f) for t, f in zip(truth.tolist(), found.tolist(), strict=True)}) == 4
    assert found.tolist() == clusters_of(vectors, 4, seed=0, spherical=False).tolist()


def test_more_clusters_than_pictures_are_no_error() -> None:
    """Each its own."""
    vectors = np.eye(3, dtype=np.float32)
    assert len(set(clusters_of(vectors, 10, seed=0, spherical=True).tolist())) == 3


def test_a_layout_is_the_low_frequencies_of_the_cells() -> None:
    """A grey picture made of one frequency has just that one in its layout."""
    wanted = np.zeros((CELLS, CELLS))
    wanted[0, 1] = 1.5
    cells = 0.5 + idctn(wanted, norm="ortho")
    pixels = np.rint(255 * np.kron(cells, np.ones((6, 6)))).astype(np.uint8)
    layout = colour_layouts(np.stack([pixels] * 3, axis=-1)[None], np.array([0]))[0]
    assert layout.shape == (27,)
    assert abs(layout[0] - 0.5 * CELLS) < 0.02  # the mean
    assert sorted(np.abs(layout[1:]))[-1] == max(np.abs(layout[1:3]))
    assert abs(np.abs(layout[1:3]).max() - 1.5) < 0.02
    assert np.abs(layout[3:]).max() < 0.02


def test_layouts_tell_colours_apart() -> None:
    """Equal brightness, another colour."""
    red, green = np.zeros((2, 1, 48, 48, 3), np.uint8)
    red[..., 0], green[..., 1] = 200, 102  # about equal luma
    both = colour_layouts(np.concatenate([red, green]), np.array([0, 1]))
    assert abs(both[0, 0] - both[1, 0]) < 0.05
    assert np.abs(both[0] - both[1]).max() > 0.5
