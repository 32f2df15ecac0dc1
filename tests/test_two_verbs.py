"""embed, evaluate, cache build and bench: two processes leave what one leaves, byte for byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alumnus.distributed import alone, gather_chunks, world_size
from alumnus.evaluation.vectors import encode_paths
from alumnus.models.artifact import save_student
from alumnus.models.student import Architecture, Student
from alumnus.store.folder import folders
from tests import two, two_verbs
from tests.bench.made import make_suite


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """A student, images of which two cannot be read, and a suite."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copytree(tiny_images, folder / "images")
    for path in sorted((folder / "images").rglob("*.png"))[3:5]:
        path.write_bytes(b"not an image")
    save_student(Student(Architecture("mobilenetv3_small_050", 32, 8)), folder / "student", provenance={})
    (folder / "suite.json").write_text(json.dumps(make_suite(folder)))
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """What two processes left, and what they said."""
    folder = tmp_path_factory.mktemp("two")
    process = two.torchrun("tests.two_verbs", folder, shared)
    said = two.finished(process)
    assert process.returncode == 0, said
    (folder / "printed.txt").write_text(said)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """What one process leaves."""
    folder = tmp_path_factory.mktemp("one")
    two_verbs.run_all(folder, shared)
    return folder


def _without(found: Any, names: set[str]) -> Any:
    """A JSON value without what is of the moment: times and dates."""
    if isinstance(found, dict):
        return {key: _without(value, names) for key, value in found.items() if key not in names}
    return [_without(each, names) for each in found] if isinstance(found, list) else found


def test_vectors_are_the_same_bytes(both: Path, one: Path) -> None:
    """90 images in batches of 8, two of them unreadable: the file and the quarantine."""
    for name in ("vectors.parquet", "vectors.parquet.quarantine.jsonl"):
        assert (both / name).read_bytes() == (one / name).read_bytes(), name


def test_scores_are_the_same(both: Path, one: Path) -> None:
    """To the last digit, gallery and quarantine too; times of the student are of one process."""
    assert (both / "said.txt").read_text() == (one / "said.txt").read_text()
    found, wanted = (
        _without(json.loads((folder / "scores" / "results.json").read_text()), {"date", "ms_per_image"})
        for folder in (both, one)
    )
    assert found == wanted
    for name in ("gallery.json", "evaluate.quarantine.jsonl"):
        assert (both / "scores" / name).read_bytes() == (one / "scores" / name).read_bytes(), name


def test_a_store_holds_the_same_bits(both: Path, one: Path) -> None:
    """Whoever computed which shard."""
    (found,), (wanted,) = (folders(folder / "store") for folder in (both, one))
    entries = np.array(
        [(key, view) for key in set(wanted.shards[0].key.tolist()) for view in range(2)], np.int64
    )
    assert len(found.index) == len(wanted.index) == 2 * 88
    rows = (folder.index.find(entries[:, 0], entries[:, 1]) for folder in (found, wanted))
    assert all((each >= 0).all() for each in rows)
    names = [sorted(path.name for path in folder.path.glob("*")) for folder in (found, wanted)]
    assert names[0] == names[1]
    for name in names[1]:
        if name.endswith(".safetensors"):
            assert (found.path / name).read_bytes() == (wanted.path / name).read_bytes(), name


def test_a_bench_has_the_same_cells(both: Path, one: Path) -> None:
    """Each cell once, with the same scores and the same images behind them, and the same table."""
    files = [
        sorted(path.relative_to(f) for path in (f / "bench" / "cells").rglob("*.*")) for f in (both, one)
    ]
    assert files[0] == files[1]
    assert len(files[1]) > 8
    for path in files[1]:
        if path.suffix == ".safetensors":
            assert (both / path).read_bytes() == (one / path).read_bytes(), path
        else:
            found, wanted = (
                _without(json.loads((f / path).read_text()), {"date", "seconds"}) for f in (both, one)
            )
            assert found == wanted, path
            assert wanted["error"] is None


def test_only_the_first_speaks(both: Path) -> None:
    """Each line is printed once."""
    printed = (both / "printed.txt").read_text()
    assert printed.count("vectors written to") == 1
    assert printed.count("tiny (quick budget)") == 1


def test_alone_nobody_is_waited_for() -> None:
    """What is divided by pieces has one process to each."""
    with alone():
        assert world_size() == 1
        rows = torch.randn(5, 2)
        assert gather_chunks(rows, chunk=2) is rows
        assert not encode_paths([], [], together=True).of
