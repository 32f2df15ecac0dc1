"""Joining, selecting, fingerprinting and writing datasets."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alumnus.data.dataset import SPLITS, Dataset, open_dataset, write_dataset
from alumnus.data.listing import NOTHING
from alumnus.errors import DataError


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Two domains, three splits."""
    cards = _fill(tmp_path / "cards", "train/ace/1.png", "train/king/2.png", "test/queen/3.png")
    flags = _fill(tmp_path / "flags", "1.png", "2.png")
    return open_dataset([cards, flags])


def test_sources_are_joined_in_their_order(tmp_path: Path, data: Dataset) -> None:
    """Domains stand side by side, and names are relative to the common folder."""
    assert data.domains == ("cards", "flags")
    assert data.classes == (("ace", "king", "queen"), ())
    assert data.root == tmp_path
    assert data.file_names[0] == "cards/test/queen/3.png"
    assert data.domain.tolist() == [0, 0, 0, 1, 1]
    assert data.label.tolist() == [2, 0, 1, -1, -1]
    assert [data.domain.dtype, data.label.dtype] == [np.dtype(np.int64)] * 2
    assert all(os.path.samefile(tmp_path / n, p) for n, p in zip(data.file_names, data.paths, strict=True))


def test_sources_of_one_domain_unite(tmp_path: Path) -> None:
    """Equal domain and class names are one domain and one class."""
    sources = [
        _fill(tmp_path / place / "pets", f"cat/{place}.png", f"{kind}/1.png")
        for place, kind in (("a", "dog"), ("b", "eel"))
    ]
    joined = open_dataset(sources)
    assert joined.classes == (("cat", "dog", "eel"),)
    assert joined.label.tolist() == [0, 1, 0, 2]


def test_one_image_from_two_sources_is_refused(tmp_path: Path) -> None:
    """It would find itself in retrieval."""
    folder = _fill(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(DataError, match=r"a/1\.png' comes from two sources"):
        open_dataset([folder, folder / "a"])


@pytest.mark.parametrize("source", [[], "nowhere", ["nowhere"]])
def test_a_missing_source_says_what_to_give(source: str | list[str]) -> None:
    """Nothing and nonsense are refused with a hint."""
    with pytest.raises(DataError, match="give a folder"):
        open_dataset(source)


def test_select_keeps_the_meaning_of_indices(data: Dataset) -> None:
    """Rows go, domains and classes stay."""
    chosen = data.select(split="test")
    assert (chosen.domains, chosen.classes) == (data.domains, data.classes)
    assert (chosen.file_names, chosen.label.tolist()) == (("cards/test/queen/3.png",), [2])
    assert len(data.select(domains=["flags"])) == 2
    assert len(data.select(split=["train", "test"], domains=["cards"])) == 3
    assert len(data.select(split="spare")) == 0


def test_select_refuses_what_does_not_exist(data: Dataset) -> None:
    """A misspelt split or domain is not an empty selection."""
    with pytest.raises(
        DataError, match="no split 'tset', only train, val, test, spare, query, index; did you mean 'test'"
    ):
        data.select(split="tset")
    with pytest.raises(DataError, match="no domain 'flag', only cards, flags; did you mean 'flags'"):
        data.select(domains=["flag"])


def test_fingerprint_ignores_place_and_time(tmp_path: Path) -> None:
    """A copy with other times, elsewhere, is the same dataset."""
    folder = _fill(tmp_path / "x" / "pets", "cat/1.png", "dog/2.png")
    shutil.copytree(folder, tmp_path / "y" / "pets")
    os.utime(tmp_path / "y" / "pets" / "cat" / "1.png", (0, 0))
    assert open_dataset(folder).fingerprint == open_dataset(tmp_path / "y" / "pets").fingerprint


@pytest.mark.parametrize("change", ["size", "name", "label", "missing"])
def test_fingerprint_changes_with_the_content(tmp_path: Path, change: str) -> None:
    """Size, name, label and loss of a file are each seen."""
    folder = _fill(tmp_path / "pets", "a.png", "b.png")
    write_dataset({"file_name": ["a.png", "b.png"], "label": ["cat", "dog"]}, folder)
    before = open_dataset(folder).fingerprint
    if change == "size":
        (folder / "a.png").write_text("longer than before")
    elif change == "missing":
        (folder / "a.png").unlink()
    else:
        name = "c.png" if change == "name" else "a.png"
        (folder / "c.png").write_text("a.png")
        write_dataset({"file_name": [name, "b.png"], "label": ["cat", "cat"]}, folder)
    assert open_dataset(folder).fingerprint != before


def test_a_dataset_travels_to_worker_processes(data: Dataset) -> None:
    """Pickling keeps everything."""
    copy = pickle.loads(pickle.dumps(data))
    assert copy.paths == data.paths
    assert copy.fingerprint == data.fingerprint


WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=6)
PLAIN = WORDS.map(str.strip).filter(lambda word: word not in NOTHING and not word.endswith(".0"))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "file_name": WORDS.map(lambda word: word.replace("/", "_") + ".png"),
            "domain": PLAIN,
            "label": st.none() | PLAIN | st.integers(0, 99),
            "split": st.sampled_from(SPLITS),
        }
    ),
    min_size=1,
    unique_by=lambda row: row["file_name"],
)


@given(ROWS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_what_is_written_is_read(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    """Any text comes back, in order, as rows or as columns; but for blanks around words, and words for nothing."""
    (tmp_path / str(rows[0]["file_name"])).touch()
    write_dataset(rows, tmp_path)
    data = open_dataset(tmp_path)
    assert list(data.file_names) == [row["file_name"] for row in rows]
    assert [data.domains[d] for d in data.domain] == [row["domain"] for row in rows]
    labels = [None if i < 0 else data.classes[d][i] for d, i in zip(data.domain, data.label, strict=True)]
    assert labels == [None if row["label"] is None else str(row["label"]) for row in rows]
    assert data.split.tolist() == [row["split"] for row in rows]
    first = (tmp_path / "metadata.parquet").read_bytes()
    write_dataset({name: np.array([row[name] for row in rows], object) for name in rows[0]}, tmp_path)
    assert (tmp_path / "metadata.parquet").read_bytes() == first


def test_rows_with_other_names_of_columns_are_written_with_ours(tmp_path: Path) -> None:
    """And only once; what else there is stays."""
    path = write_dataset({"Path": ["a.png"], "Class": ["cat"], "subset": ["test"], "hue": ["red"]}, tmp_path)
    (row,) = pq.read_table(path).to_pylist()
    assert row == {
        **{"file_name": "a.png", "domain": tmp_path.name, "label": "cat", "split": "test"},
        "hue": "red",
    }
    with pytest.raises(DataError, match="column 'lable' and no label"):
        write_dataset({"file_name": ["a.png"], "lable": ["cat"]}, tmp_path)


def test_other_columns_and_defaults_are_written(tmp_path: Path) -> None:
    """Text beside the image is kept; what is not said is filled in."""
    path = write_dataset([{"file_name": "a.png", "style": "flat"}, {"file_name": "b.png"}], tmp_path / "set")
    assert path == tmp_path / "set" / "metadata.parquet"
    assert pq.read_table(path).to_pydict() == {
        "file_name": ["a.png", "b.png"],
        "domain": ["set", "set"],
        "label": [None, None],
        "split": ["train", "train"],
        "style": ["flat", None],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no column file_name"),
        ([{"file_name": "/etc/a.png"}], "row 1, column file_name: .* leaves the folder"),
        ([{"file_name": "a.png"}, {"file_name": "a.png"}], "rows 1 and 2 name the same image"),
        ([{"file_name": "a.png", "split": "x"}], "row 1, column split"),
        ({"file_name": ["a.png"], "label": []}, "differ in length"),
        ([{"file_name": "caf\udce9.png"}], "column file_name .*not UTF-8"),
        ([{"file_name": "a.png", "style": object()}], "column style"),
        ([{"file_name": "a.png", "style": 1}, {"file_name": "b.png", "style": "x"}], "column style"),
    ],
)
def test_wrong_rows_are_refused_and_nothing_is_written(tmp_path: Path, rows: object, message: str) -> None:
    """An old metadata file stays as it was."""
    before = write_dataset([{"file_name": "old.png"}], tmp_path).read_bytes()
    with pytest.raises(DataError, match=message):
        write_dataset(rows, tmp_path)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.parquet"]
    assert (tmp_path / "metadata.parquet").read_bytes() == before


def test_columns_of_an_existing_file_may_be_extended(tmp_path: Path) -> None:
    """Columns from pyarrow can be given back as they are."""
    path = write_dataset([{"file_name": "a.png"}], tmp_path)
    columns = pq.read_table(path).to_pydict()
    write_dataset({**columns, "text": ["an a"]}, tmp_path)
    assert pq.read_table(path).column("text").type == pa.string()


def test_sources_with_a_comma_between_them_are_answered_with_a_list() -> None:
    """A folder may have one in its name, so it is not taken apart."""
    with pytest.raises(DataError, match=r"does not exist; .*a list, data=\[photos,coco\]"):
        open_dataset("photos,coco")
    with pytest.raises(DataError, match=r"hf:owner/name$"):
        open_dataset("photos")
