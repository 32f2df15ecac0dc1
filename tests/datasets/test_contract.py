"""Every known data set, by walking the folder: what its file says, and (marked `data`, with downloads) what it gives."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from alumnus.data.dataset import open_dataset
from alumnus.data.read import read_image
from alumnus.datasets import get, info, names
from alumnus.datasets.known import DENSE

FLOATING = re.compile(r"latest|\*|[<>^~]=?\d")


def test_the_folder_is_the_list() -> None:
    """Helpers in the same folder are not data sets."""
    assert {"emoji", "logos", "flags", "earth", "mnist", "fashion_mnist", "cards", "fonts"} <= set(names())
    assert not {"build", "iconify", "idx", "known"} & set(names())


@pytest.mark.parametrize("name", names())
def test_packages_are_pinned(name: str) -> None:
    """Version, checksum and licence."""
    for package in info(name).packages:
        assert re.fullmatch(r"[0-9a-f]{64}", package.sha256), package
        assert package.licence
        assert not FLOATING.match(package.version), package


@pytest.mark.parametrize("name", names())
def test_the_file_tells_what_one_must_know(name: str) -> None:
    """Source, labels and pitfalls are in its docstring, and its name is its own."""
    text = importlib.import_module(f"alumnus.datasets.{name}").__doc__ or ""
    assert all(word in text for word in ("Source:", "Labels:", "Pitfalls:", "the class is"))
    assert info(name).name == name


@pytest.mark.parametrize("name", names())
def test_information_is_a_table(name: str) -> None:
    """For `alumnus data info`: rows of field and value, a row a package."""
    rows = list(info(name))
    assert [value for field, value in rows if field == "name"] == [name]
    assert sum(field == "package" for field, _ in rows) == len(info(name).packages)


def test_listing_does_not_import_torch() -> None:
    """Nor does it need the extra packages of a data set."""
    code = "import sys; from alumnus import datasets; datasets.names(); print('torch' in sys.modules, 'resvg_py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in names() if info(name).task not in DENSE])
def test_a_data_set_is_what_it_says(name: str, tmp_path: Path) -> None:
    """About as many classes, all readable, styles known; held-out classes apart, or the same ones if the task is to classify."""
    folder = get(name, out=tmp_path / name, size=32, limit_per_class=20)
    dataset = open_dataset(folder)
    of = {split: set(dataset.select(split=split).label.tolist()) for split in ("train", "val", "test")}
    assert all(of.values())
    if info(name).task == "classification":
        assert len(of["test"] - of["train"]) <= 0.02 * len(of["test"])
    else:
        assert not of["train"] & (of["val"] | of["test"])
        assert not of["val"] & of["test"]
    assert 0.9 < len(dataset.classes[0]) / info(name).classes < 1.1
    assert {read_image(path).size for path in dataset.paths[::50]} == {(32, 32)}
    assert all(pq.read_table(folder / "metadata.parquet")["style"].to_pylist())
