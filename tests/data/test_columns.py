"""The optional columns text, objects, mask and depth, and the splits query and index."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alumnus.data.dataset import Dataset, open_dataset, write_dataset
from alumnus.data.dense import read_depth, read_mask
from alumnus.errors import DataError
from tests.data.shards import picture, save_mask

ROWS: list[dict[str, object]] = [
    {"file_name": "a.png", "text": ["one", "two"], "objects": {"bbox": [[0, 1, 2, 3]], "categories": ["cat"]}, "mask": "m/a.png"},
    {"file_name": "b.png", "text": "three", "objects": {"bbox": [], "categories": []}, "depth": "d/b.png"},
    {"file_name": "c.png", "objects": {"bbox": [[0, 0, 1, 1], [1, 1, 1.5, 1]], "categories": ["yak", "ant"]}},
    {"file_name": "d.png"},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset folder of four images with everything."""
    folder = tmp_path / "set"
    folder.mkdir()
    for row in ROWS:
        (folder / str(row["file_name"])).write_bytes(picture(1))
    save_mask(folder / "m" / "a.png", [[0, 255]])
    save_mask(folder / "d" / "b.png", [[0, 1500]], np.uint16)
    (folder / "dataset.json").write_text(
        json.dumps({"mask_classes": ["sky", "sea"], "object_classes": ["bee"]})
    )
    write_dataset(ROWS, folder)
    return folder


def _check(data: Dataset) -> None:
    assert data.text == ("one\ntwo", "three", None, None)
    assert data.object_classes == ("ant", "bee", "cat", "yak")
    assert data.objects is not None
    assert [None if each is None else each.labels.tolist() for each in data.objects] == [
        [2],
        [],
        [3, 0],
        None,
    ]
    assert data.objects[2] is not None
    assert data.objects[2].boxes.tolist() == [[0, 0, 1, 1], [1, 1, 1.5, 1]]
    assert data.masks is not None
    assert data.depths is not None
    assert read_mask(str(data.masks[0])).tolist() == [[0, -1]]
    assert read_depth(str(data.depths[1])).tolist() == [[0, 1.5]]
    assert (list(data.masks[1:]), data.depths[0]) == ([None] * 3, None)
    assert data.mask_classes == ("sky", "sea")


def test_what_is_written_is_read(folder: Path) -> None:
    """From Parquet, and from JSONL with the same rows."""
    _check(open_dataset(folder))
    _check(pickle.loads(pickle.dumps(open_dataset(folder))))
    (folder / "metadata.parquet").unlink()
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    _check(open_dataset(folder))


def test_columns_are_none_where_no_row_has_one(tmp_path: Path) -> None:
    """An empty column is none."""
    (tmp_path / "a.png").write_bytes(picture(1))
    write_dataset([{"file_name": "a.png", "text": "", "mask": None, "objects": None}], tmp_path)
    data = open_dataset(tmp_path)
    assert (data.text, data.objects, data.masks, data.depths) == (None, None, None, None)
    assert (data.object_classes, data.mask_classes) == ((), ())


def test_selected_rows_keep_their_columns(folder: Path) -> None:
    """In any order."""
    part = open_dataset(folder).rows(np.array([3, 2, 0]))
    assert part.file_names == ("d.png", "c.png", "a.png")
    assert part.text == (None, None, "one\ntwo")
    assert part.objects is not None
    assert [None if each is None else len(each.labels) for each in part.objects] == [None, 2, 1]
    assert part.objects[2] is not None
    assert part.objects[2].boxes.tolist() == [[0, 1, 2, 3]]
    assert part.masks is not None
    assert [mask is None for mask in part.masks] == [True, True, False]


def test_sources_with_and_without_a_column_are_joined(folder: Path, tmp_path: Path) -> None:
    """Object classes unite; what one source does not know is None."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "x.png").write_bytes(picture(1))
    data = open_dataset([tmp_path / "plain", folder])
    assert data.text == (None, "one\ntwo", "three", None, None)
    assert data.objects is not None
    assert data.objects[0] is None
    assert data.masks is not None
    assert data.masks[1] == str(folder / "m" / "a.png")
    _check(data.rows(np.arange(1, 5)))
    (tmp_path / "plain" / "dataset.json").write_text(json.dumps({"mask_classes": ["sea", "sky"]}))
    write_dataset([{"file_name": "x.png", "mask": "y.png"}], tmp_path / "plain")
    with pytest.raises(DataError, match="differ in mask_classes"):
        open_dataset([tmp_path / "plain", folder])


def test_objects_may_be_a_list_of_structs(tmp_path: Path) -> None:
    """One struct an object; an empty list says that there is none."""
    cells: list[object] = [
        [{"bbox": [0, 1, 2, 3], "category": "cat"}, {"bbox": [1, 1, 1, 1], "category": "ant"}],
        [],
        None,
    ]
    rows = "".join(
        json.dumps({"file_name": f"{i}.png", "objects": cell}) + "\n" for i, cell in enumerate(cells)
    )
    (tmp_path / "metadata.jsonl").write_text(rows)
    (tmp_path / "0.png").write_bytes(picture(1))
    data = open_dataset(tmp_path)
    assert data.objects is not None
    first, second, third = data.objects
    assert first is not None
    assert second is not None
    assert third is None
    assert first.boxes.tolist() == [[0, 1, 2, 3], [1, 1, 1, 1]]
    assert [data.object_classes[label] for label in first.labels] == ["cat", "ant"]
    assert len(second.labels) == 0


@pytest.mark.parametrize("change", ["text", "objects", "mask", "depth", "classes"])
def test_each_column_enters_the_fingerprint(folder: Path, change: str) -> None:
    """So a cache of another state is not used."""
    before = open_dataset(folder).fingerprint
    assert open_dataset(folder).fingerprint == before
    rows = [dict(row) for row in ROWS]
    if change == "text":
        rows[1]["text"] = "four"
    elif change == "objects":
        rows[2]["objects"] = {"bbox": [[0, 0, 1, 1], [1, 1, 1.5, 2]], "categories": ["yak", "ant"]}
    elif change == "classes":
        (folder / "dataset.json").write_text(
            json.dumps({"mask_classes": ["sea", "sky"], "object_classes": ["bee"]})
        )
    else:
        save_mask(
            folder / ("m/a.png" if change == "mask" else "d/b.png"), np.arange(40).reshape(8, 5), np.uint16
        )
    write_dataset(rows, folder)
    assert open_dataset(folder).fingerprint != before


def test_the_fingerprint_without_them_is_what_it_was(tmp_path: Path) -> None:
    """The bytes that are hashed, written out: caches made before stay valid."""
    import hashlib

    (tmp_path / "a.png").write_bytes(b"12345")
    write_dataset(
        [{"file_name": "a.png", "domain": "d\xe9", "label": "x"}, {"file_name": "b.png", "domain": "e"}],
        tmp_path,
    )
    lines = b'["a.png", "d\\u00e9", "x", "train", 5]\n["b.png", "e", null, "train", -1]\n'
    assert open_dataset(tmp_path).fingerprint == hashlib.sha256(lines).hexdigest()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"objects": {"bbox": [[0, 0, 1]], "categories": ["a"]}},
            r"row 1, column objects: \[0, 0, 1\] is no box",
        ),
        ({"objects": {"bbox": [[0, 0, 0, 1]], "categories": ["a"]}}, "has no area"),
        ({"objects": {"bbox": [[0, 0, float("nan"), 1]], "categories": ["a"]}}, "is no box"),
        ({"objects": {"bbox": [[0, 0, 1, 1]], "categories": []}}, "1 boxes but 0 categories"),
        ({"objects": {"bbox": [[0, 0, 1, 1]], "categories": [None]}}, "None is no category"),
        ({"objects": [1]}, "no struct of bbox and categories"),
        ({"objects": [{"bbox": [0, 0, 1, 1]}]}, "None is no category"),
        ({"objects": [{"category": "a"}]}, "no struct of bbox and categories"),
        ({"objects": "{"}, "is no JSON"),
        ({"mask": "../m.png"}, "row 1, column mask: .* leaves the folder"),
        ({"depth": "/etc/d.png"}, "row 1, column depth: .* leaves the folder"),
        ({"text": 3.5}, "row 1, column text: 3.5 is neither text"),
        ({"text": [["a"]]}, "column text"),
    ],
)
def test_wrong_cells_say_what_is_wrong(tmp_path: Path, row: dict[str, object], message: str) -> None:
    """The row, the column and the fault."""
    with pytest.raises(DataError, match=message):
        write_dataset([{"file_name": "a.png", **row}], tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[", "cannot be read as JSON"), ("[]", "must hold an object"), ('{"mask_classes": [1]}', "list of names"),
     ('{"mask_classes": ["a", "a"]}', "names a class twice"), ('{"depth_unit": 3}', "depth_unit must be a word")],
)  # fmt: skip
def test_a_wrong_dataset_file_is_refused(folder: Path, content: str, message: str) -> None:
    """With its name."""
    (folder / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("query", "index"), [("query", "gallery"), ("Queries", "index"), ("probe", "database")]
)
def test_words_for_query_and_index(tmp_path: Path, query: str, index: str) -> None:
    """In a column, as folders, and as names of two lists."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture(1))
    (tmp_path / "all.csv").write_text(f"file_name,split\na.png,{query}\nb.png,{index}\n")
    assert open_dataset(tmp_path / "all.csv").split.tolist() == ["query", "index"]
    lists = [tmp_path / "lists" / f"{word}.csv" for word in (query, index)]
    lists[0].parent.mkdir()
    for path, name in zip(lists, ("a.png", "b.png"), strict=True):
        (path.parent / name).write_bytes(picture(1))
        path.write_text(f"file_name,label\n{name},x\n")
    assert open_dataset(lists).split.tolist() == ["query", "index"]
    joined = open_dataset(lists[0].parent)
    assert dict(zip(joined.file_names, joined.split, strict=True)) == {"a.png": "query", "b.png": "index"}
    assert open_dataset(lists[1]).split.tolist() == ["train"]
    for word in (query, index):
        (tmp_path / "folders" / word / "x").mkdir(parents=True)
        (tmp_path / "folders" / word / "x" / "1.png").write_bytes(picture(1))
    assert sorted(open_dataset(tmp_path / "folders").split) == ["index", "query"]


def _lists(folder: Path, *names: str, columns: str = "file_name", cells: str = "") -> list[Path]:
    """Lists of one image each."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).with_suffix(".png").write_bytes(picture(1))
        (folder / name).write_text(f"{columns}\n{Path(name).stem}.png{cells}\n")
    return [folder / name for name in names]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "test.csv"], ["train", "test"]),
        (["Training.tsv", "dev.csv", "spare.csv"], ["train", "val", "spare"]),
        (["birds.csv", "test.csv"], ["train", "test"]),
        (["a/test.csv", "b/test.csv"], ["test", "test"]),
        (["train.csv", "index.csv"], ["train", "train"]),
    ],
)
def test_lists_given_together_are_of_the_splits_of_their_names(
    tmp_path: Path, names: list[str], splits: list[str]
) -> None:
    """Whatever else is given, but for words of queries and of an index, which need each other."""
    assert open_dataset(_lists(tmp_path, *names)).split.tolist() == splits


def test_a_list_named_like_a_split_beside_a_folder_is_of_it(tmp_path: Path) -> None:
    """A folder is a source like another."""
    lists = _lists(tmp_path / "lists", "test.csv")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(picture(1))
    assert open_dataset([tmp_path / "photos", *lists]).split.tolist() == ["train", "test"]


def test_a_lone_list_named_like_a_split_is_any_list(tmp_path: Path) -> None:
    """Somebody's whole data may be called so."""
    assert open_dataset(_lists(tmp_path, "test.csv")).split.tolist() == ["train"]


def test_a_split_column_counts_more_than_the_name_of_the_list(tmp_path: Path) -> None:
    """An empty cell leaves it to the name."""
    lists = _lists(tmp_path / "a", "train.csv", "test.csv", columns="file_name,split", cells=",val")
    assert open_dataset(lists).split.tolist() == ["val", "val"]
    lists = _lists(tmp_path / "b", "train.csv", "test.csv", columns="file_name,split", cells=",")
    assert open_dataset(lists).split.tolist() == ["train", "test"]


def test_a_lone_folder_of_such_a_name_is_any_folder(tmp_path: Path) -> None:
    """A class called index, or a wrapper called database."""
    for name in ("database/index/1.png", "database/cats/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(picture(1))
    data = open_dataset(tmp_path)
    assert (data.classes[0], set(data.split)) == (("cats", "index"), {"train"})


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [("train", "index", True), ("index", "val", True), ("query", "index", False), ("test", "index", False),
     ("train", "test", False), ("train", "query", False), ("index", "index", False)],
)  # fmt: skip
def test_an_image_is_there_once_but_for_training_and_index(
    tmp_path: Path, first: str, second: str, allowed: bool
) -> None:
    """A query would find itself; a training image may be searched."""
    (tmp_path / "a.png").write_bytes(picture(1))
    rows = [{"file_name": "a.png", "split": split} for split in (first, second)]
    if allowed:
        write_dataset(rows, tmp_path)
        assert open_dataset(tmp_path).file_names == ("a.png", "a.png")
        return
    with pytest.raises(DataError, match=r"rows 1 and 2 name the same image 'a\.png'"):
        write_dataset(rows, tmp_path)


def test_a_later_batch_may_bring_new_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is written as it comes, then united: new columns, late values, and lists after single texts."""
    monkeypatch.setattr("alumnus.data.write.BATCH_ROWS", 2)
    rows: list[dict[str, object]] = [{"file_name": f"{i}.png", "style": None, "text": "t"} for i in range(5)]
    rows[3] |= {"style": "flat", "text": ["a", "b"]}
    rows[4] |= {"count": 7, "mask": "m.png"}
    path = write_dataset(iter(rows), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.parquet"]
    table = pq.read_table(path).to_pydict()
    assert table["style"] == [None, None, None, "flat", None]
    assert table["text"] == [["t"], ["t"], ["t"], ["a", "b"], ["t"]]
    assert table["count"] == [None] * 4 + [7]
    assert table["mask"] == [None] * 4 + ["m.png"]
    rows[4]["style"] = 3
    with pytest.raises(DataError, match="two types"):
        write_dataset(iter(rows), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata.parquet"]
    assert pq.read_table(path).to_pydict() == table


def test_errors_in_later_batches_name_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the first row of all; nothing is left behind."""
    monkeypatch.setattr("alumnus.data.write.BATCH_ROWS", 2)
    rows = [{"file_name": f"{i % 6}.png"} for i in range(7)]
    with pytest.raises(DataError, match=r"rows 1 and 7 name the same image '0\.png'"):
        write_dataset(iter(rows), tmp_path)
    rows[4]["split"] = "x"
    with pytest.raises(DataError, match="row 5, column split"):
        write_dataset(iter(rows), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet"])
def test_lists_are_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The same rows, and the right row in an error, wherever the batches end."""
    monkeypatch.setattr("alumnus.data.readers.tables.BATCH_ROWS", 3)
    names, labels = [f"{i}.png" for i in range(8)], [f"c{i % 4}" for i in range(8)]
    (tmp_path / "0.png").write_bytes(picture(1))

    def save() -> Path:
        if name.endswith("csv"):
            (tmp_path / name).write_text(
                "file_name,label\n" + "".join(f"{n},{w}\n" for n, w in zip(names, labels, strict=True))
            )
        elif name.endswith("jsonl"):
            lines = [json.dumps({"file_name": n, "label": w}) for n, w in zip(names, labels, strict=True)]
            (tmp_path / name).write_text("\n".join(lines))
        else:
            pq.write_table(pa.table({"file_name": names, "label": labels}), tmp_path / name)
        return tmp_path / name

    data = open_dataset(save())
    assert data.file_names == tuple(names)
    assert [data.classes[0][label] for label in data.label] == labels
    names[7] = "../x"
    with pytest.raises(DataError, match="row 8, column file_name"):
        open_dataset(save())
