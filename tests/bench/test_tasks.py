"""Which pictures a task uses, when they count as changed, and how many may be unreadable."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.bench.suite import Budget, Task
from alumnus.bench.tasks import TaskData, check_readable, check_sources, chosen, state_of
from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.errors import ConfigError, TooManyBadImages
from tests.bench.made import make_colours, make_halves

MINUTE_NS = 60 * 10**9


def _later(path: Path) -> None:
    """Changes when a file was changed."""
    changed = path.stat().st_mtime_ns + MINUTE_NS
    os.utime(path, ns=(changed, changed))


def _opened(folder: Path, kind: str = "classification", **options: object) -> TaskData:
    task = Task.model_validate({"name": "a", "data": str(folder), "task": kind, "options": options})
    return chosen(task, open_dataset(folder), Budget())


def _splits(found: TaskData) -> tuple[set[str], set[str]]:
    """Of the queries and of the index."""
    data = found.data
    return set(data.split[found.test].tolist()), set(data.split[found.index].tolist())


def test_the_state_is_another_when_a_file_was_changed(tmp_path: Path) -> None:
    """Though its size, and so the fingerprint, is what it was."""
    folder = make_colours(tmp_path / "colours", {"train": 2})
    before = open_dataset(folder)
    assert state_of(before) == state_of(open_dataset(folder))
    state = state_of(before)
    _later(folder / "train-red-1.png")
    after = open_dataset(folder)
    assert after.fingerprint == before.fingerprint
    assert state_of(after) != state
    (folder / "train-red-1.png").unlink()
    assert state_of(open_dataset(folder)) not in {state, state_of(after)}


def test_masks_and_containers_count_too(tmp_path: Path) -> None:
    """A picture in a tar was changed when the tar was."""
    halves = make_halves(tmp_path / "halves", {"train": 1})
    state = state_of(open_dataset(halves))
    _later(halves / "train-0-mask.png")
    assert state_of(open_dataset(halves)) != state
    shard = tmp_path / "0.tar"
    with tarfile.open(shard, "w") as tar:
        tar.add(halves / "train-0.png", "a.png")
    state = state_of(open_dataset(shard))
    _later(shard)
    assert state_of(open_dataset(shard)) != state


def test_each_part_has_its_limit(tmp_path: Path) -> None:
    """Two of eight test pictures are 2 % of all and a quarter of what is scored."""
    found = _opened(make_colours(tmp_path / "colours", {"train": 25, "test": 2}))
    bad = {int(row): "torn" for row in found.test[:2]}
    check_readable(found, bad, 0.25)
    with pytest.raises(TooManyBadImages, match=r"1 of 8 images .* max_bad_fraction=0.05 .*'test-.*': torn"):
        check_readable(found, bad, 0.05)
    check_readable(found, {int(row): "torn" for row in found.train[:5]}, 0.05)
    with pytest.raises(TooManyBadImages, match="6 of 100 images"):
        check_readable(found, {int(row): "torn" for row in found.train[:6]}, 0.05)


def test_test_images_of_classes_without_a_training_image_are_counted(tmp_path: Path) -> None:
    """They are left out; before the test part is cut to its limit."""
    folder = make_colours(tmp_path / "colours", {"train": 2, "test": 3})
    assert _opened(folder).num_not_learnt == 0
    for path in folder.glob("train-red-*"):
        path.unlink()
    rows = [
        {"file_name": path.name, "domain": "colours", "label": label, "split": split}
        for path in sorted(folder.glob("*.png"))
        for split, label, _ in [path.stem.split("-")]
    ]
    write_dataset(rows, folder)
    found = _opened(folder, test_images=4)
    assert (found.num_not_learnt, len(found.test)) == (3, 4)
    assert "red" not in {found.data.classes[0][found.data.label[row]] for row in found.test}


def test_the_index_has_its_limit_too(tmp_path: Path) -> None:
    """What cannot be read cannot answer."""
    found = _opened(make_colours(tmp_path / "colours", {"query": 1, "index": 5}), "retrieval")
    with pytest.raises(TooManyBadImages, match="2 of 20 images"):
        check_readable(found, {int(row): "torn" for row in found.index[:2]}, 0.05)


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


def _task(data: str) -> Task:
    return Task.model_validate({"name": "t", "data": data, "task": "classification"})


def test_shards_by_a_pattern_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A glob or a range; what is not there is refused."""
    monkeypatch.chdir(tmp_path)
    check_sources([_task("set/shard-*.tar"), _task("set/shard-{00..03}.tar"), _task("hf:owner/name")])
    with pytest.raises(ConfigError, match="there is no data 'set'"):
        check_sources([_task("set")])


def test_a_folder_named_as_a_known_data_set_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The known one is meant, as before there was such a folder."""
    monkeypatch.chdir(tmp_path)
    check_sources([_task("trees")])
    assert capsys.readouterr().err == ""
    (tmp_path / "trees").mkdir()
    check_sources([_task("trees"), _task("./trees")])
    assert capsys.readouterr().err.count("is the known data set; a suite of yours means") == 1
