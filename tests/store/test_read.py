"""Moments that are kept beside a store's outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from alumnus.store.read import Stored
from alumnus.store.verify import Again, verify
from tests.store.made import Counting, speakers_of, spec_of, store_of


@pytest.mark.parametrize("damage", ["flipped", "torn"])
def test_damaged_moments_are_found_and_made_again(
    tmp_path: Path, tiny_images: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify` tells and removes them; a run that meets them computes them again."""
    (stored,) = speakers_of(store_of(tmp_path, tiny_images), [spec_of(Counting())])
    assert isinstance(stored, Stored)
    true = stored.moments()
    (kept,) = tmp_path.glob("*/moments-*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-3] ^= 0x40
    kept.write_bytes(content if damage == "flipped" else content[:50])
    assert verify(tmp_path, Again(sample=0))[0].damaged == (kept.name,)
    found = stored.moments()
    assert torch.equal(found.covariance, true.covariance)
    assert "make them again, which is done now" in capsys.readouterr().err
    assert verify(tmp_path, Again(sample=0))[0].is_right
    kept.write_bytes(content[:50])
    assert verify(tmp_path, Again(sample=0), repair=True)[0].is_right
    assert not kept.exists()
