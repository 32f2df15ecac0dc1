"""What `verify` finds, and what it does not do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alumnus.store.verify import Again, verify
from tests.store.made import Counting, speakers_of, spec_of, store_of


def _noted(store: Path, spec: object) -> None:
    """Writes into a store how its teacher was loaded."""
    about = next(store.glob("*/about.json"))
    about.write_text(json.dumps({**json.loads(about.read_text()), "spec": spec}))


@pytest.mark.parametrize(
    "source", ["python:os:mkdir", "hub:{}:mkdir", "torchscript:{}/a.pt", "export:{}/a.pt2", "elsewhere:a"]
)
def test_code_that_a_store_names_is_not_run(tmp_path: Path, tiny_images: Path, source: str) -> None:
    """A store may come from a stranger: whatever can run code is loaded only on the word of the user's recipe."""
    store = tmp_path / "store"
    speakers_of(store_of(store, tiny_images, sources=[str(tiny_images)]), [spec_of(Counting())])
    code = tmp_path / "code"
    code.mkdir()
    (code / "hubconf.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    spec = {"model": source.format(code), "size": 32}
    if source.startswith("python:"):
        spec["arguments"] = {"path": str(tmp_path / "run")}
    if source.endswith((".pt", ".pt2")):
        spec["trusted"] = True
    _noted(store, spec)
    (verdict,) = verify(store, Again(sample=4))
    assert not (tmp_path / "run").exists()
    assert "may run code" in verdict.note
    assert "give the recipe that has it" in verdict.note


@pytest.mark.parametrize("spec", [5, {"model": "timm/resnet10t", "colour": 3}])
def test_a_store_that_notes_no_teacher_says_so(tmp_path: Path, tiny_images: Path, spec: object) -> None:
    """In the verdict, and the other folders are verified."""
    speakers_of(store_of(tmp_path, tiny_images, sources=[str(tiny_images)]), [spec_of(Counting())])
    _noted(tmp_path, spec)
    (verdict,) = verify(tmp_path, Again(sample=4))
    assert "does not say how its teacher is loaded" in verdict.note
