"""Which pictures a task uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.bench.suite import Budget, Task
from alumnus.bench.tasks import TaskData, chosen
from alumnus.data.dataset import open_dataset, write_dataset
from tests.bench.made import make_colours


def _opened(folder: Path, kind: str = "classification", **options: object) -> TaskData:
    task = Task.model_validate({"name": "a", "data": str(folder), "task": kind, "options": options})
    return chosen(task, open_dataset(folder), Budget())


def _splits(found: TaskData) -> tuple[set[str], set[str]]:
    """Of the queries and of the index."""
    data = found.data
    return set(data.split[found.test].tolist()), set(data.split[found.index].tolist())


def test_domains_with_and_without_an_index_are_both_scored(tmp_path: Path) -> None:
    """As in UnED: `test+query` in `test+index`."""
    rows = list[dict[str, object]]()
    for domain, splits in (("cars", ("train", "test", "test")), ("shop", ("train", "query", "index"))):
        for number, split in enumerate(splits):
            name = f"{domain}-{number}.png"
            Image.fromarray(np.full((8, 8, 3), 9 * number, np.uint8)).save(tmp_path / name)
            rows.append({"file_name": name, "domain": domain, "label": "x", "split": split})
    write_dataset(rows, tmp_path)
    found = _opened(tmp_path, "retrieval")
    assert _splits(found) == ({"test", "query"}, {"test", "index"})
    assert len(found.test) == len(found.index) == 3
    assert _splits(_opened(tmp_path, "retrieval", domains="shop")) == ({"query"}, {"index"})
    assert _splits(_opened(tmp_path, "retrieval", domains="cars")) == ({"test"}, {"test"})
    assert _splits(_opened(tmp_path, "retrieval", test="query")) == ({"query"}, {"index"})
    assert _splits(_opened(tmp_path, "retrieval", index="index")) == ({"test", "query"}, {"index"})


def test_splits_that_are_named_search_themselves_where_there_is_no_index(tmp_path: Path) -> None:
    """`val` does not search `test`; queries without an index search one another."""
    folder = make_colours(tmp_path / "colours", {"val": 2, "test": 2})
    assert _splits(_opened(folder, "retrieval", test="val")) == ({"val"}, {"val"})
    asking = make_colours(tmp_path / "asking", {"query": 2})
    assert _splits(_opened(asking, "retrieval")) == ({"query"}, {"query"})
