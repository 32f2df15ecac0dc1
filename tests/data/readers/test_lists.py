"""Lists in every format, and what they say when they are wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.errors import DataError

COLUMNS = {
    "file_name": ["b.png", "a.png", "sub/c.png"],
    "domain": ["pets", "", "pets"],
    "label": ["cat", "dog", ""],
    "split": ["train", "", "Validation"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder called shop with three images."""
    shop = tmp_path / "shop"
    (shop / "sub").mkdir(parents=True)
    for name in COLUMNS["file_name"]:
        Image.new("RGB", (1, 1)).save(shop / name)
    return shop


def _save(columns: Mapping[str, Sequence[object]], path: Path) -> Path:
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(columns)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        lines = [list(columns), *[[str(cell) for cell in row.values()] for row in rows]]
        path.write_text("".join(delimiter.join(line) + "\n" for line in lines))
    return path


def _labels(data: Dataset) -> list[str | None]:
    return [
        None if label < 0 else data.classes[domain][label]
        for domain, label in zip(data.domain, data.label, strict=True)
    ]


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl", "list.parquet", "metadata.csv"])
def test_every_format_gives_the_same_rows(folder: Path, name: str) -> None:
    """Order is kept, empty cells get the defaults, and split words are understood."""
    data = open_dataset(_save(COLUMNS, folder / name))
    assert data.file_names == ("b.png", "a.png", "sub/c.png")
    assert data.paths == tuple(str(folder / each) for each in data.file_names)
    assert [data.domains[d] for d in data.domain] == ["pets", "shop", "pets"]
    assert _labels(data) == ["cat", "dog", None]
    assert data.split.tolist() == ["train", "train", "val"]


def test_a_folder_is_what_its_metadata_says(folder: Path) -> None:
    """Images that the metadata does not name are left out."""
    _save({"file_name": ["a.png"]}, folder / "metadata.csv")
    assert open_dataset(folder).file_names == ("a.png",)


def test_two_metadata_files_are_refused(folder: Path) -> None:
    """Which of them counts is not guessed."""
    _save(COLUMNS, folder / "metadata.csv")
    _save(COLUMNS, folder / "metadata.parquet")
    with pytest.raises(DataError, match="keep one"):
        open_dataset(folder)


def test_metadata_in_each_split_folder_is_read(tmp_path: Path) -> None:
    """The Hugging Face convention with one list a split; the folder gives the split."""
    for split, label in (("train", "cat"), ("validation", "dog")):
        (tmp_path / split).mkdir()
        Image.new("RGB", (1, 1)).save(tmp_path / split / "1.png")
        _save({"file_name": ["1.png"], "label": [label]}, tmp_path / split / "metadata.csv")
    data = open_dataset(tmp_path)
    assert data.file_names == ("train/1.png", "validation/1.png")
    assert (data.split.tolist(), _labels(data)) == (["train", "val"], ["cat", "dog"])


def test_what_a_folder_says_holds_for_its_split_folders(tmp_path: Path) -> None:
    """Unless one says otherwise itself."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (1, 1)).save(tmp_path / split / "1.png")
        _save(
            {"file_name": ["1.png"], "depth": ["d.png"], "mask": ["m.png"]}, tmp_path / split / "metadata.csv"
        )
    (tmp_path / "dataset.json").write_text('{"depth_unit": "cm", "mask_classes": ["sky"]}')
    data = open_dataset(tmp_path)
    assert (data.depth_unit, data.mask_classes) == ("cm", ("sky",))
    (tmp_path / "train" / "dataset.json").write_text('{"depth_unit": "mm"}')
    with pytest.raises(DataError, match="differ in depth_unit"):
        open_dataset(tmp_path)


def test_semicolons_a_byte_order_mark_and_quotes_are_understood(folder: Path) -> None:
    """What a European spreadsheet writes."""
    (folder / "list.csv").write_text(
        '\ufefffile_name;label\n"a.png";"cat; ""big"""\n\nb.png;dog\n', encoding="utf-8"
    )
    assert _labels(open_dataset(folder / "list.csv")) == ['cat; "big"', "dog"]


@pytest.mark.parametrize("column", ["path", "image_path", "filename", "filepath", "file", "image"])
def test_common_names_for_the_path_column_are_understood(folder: Path, column: str) -> None:
    """One of them is enough."""
    assert len(open_dataset(_save({column: ["a.png"]}, folder / "list.csv"))) == 1


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet", "metadata.csv"])
@pytest.mark.parametrize("label", ["Label", "labels", "class", "Class_ID", "cls", " fine_label "])
@pytest.mark.parametrize("split", ["Split", "subset", "SUBSET"])
def test_other_names_for_label_and_split_are_understood(
    folder: Path, name: str, label: str, split: str
) -> None:
    """No test image is learnt from, and no label lost, for a name or its capitals."""
    columns = {"File_Name": ["b.png", "a.png"], label: ["cat", "dog"], split: ["train", "test"]}
    data = open_dataset(_save(columns, folder / name))
    assert (_labels(data), data.split.tolist()) == (["cat", "dog"], ["train", "test"])


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet"])
@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("lable", "label"),
        ("Lables", "label"),
        ("spilt", "split"),
        ("splits", "split"),
        ("domains", "domain"),
        ("file_nam", "file_name"),
    ],
)
def test_a_column_that_is_misspelt_is_refused(folder: Path, name: str, column: str, meant: str) -> None:
    """In a list that lacks it; the message has the right name."""
    columns = {column: ["a.png"]} if meant == "file_name" else {"path": ["a.png"], column: ["train"]}
    with pytest.raises(DataError, match=rf"has a column '{column}' and no {meant}; rename it to {meant}"):
        open_dataset(_save(columns, folder / name))
    if meant != "file_name":
        assert len(open_dataset(_save({**columns, meant: ["train"]}, folder / name))) == 1


@pytest.mark.parametrize(
    ("first", "second", "meant"),
    [
        ("Label", "label", "label"),
        ("class", "class_id", "label"),
        ("split", "SPLIT", "split"),
    ],
)
def test_two_columns_of_one_meaning_are_refused(folder: Path, first: str, second: str, meant: str) -> None:
    """Which one counts is not guessed."""
    columns = {"file_name": ["a.png"], first: ["train"], second: ["test"]}
    with pytest.raises(DataError, match=f"which mean the same; rename the one with the {meant}s to {meant}"):
        open_dataset(_save(columns, folder / "list.csv"))


def test_columns_that_are_not_read_are_named_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also other names of one that is there; not those that Alumnus writes for people."""
    columns = {"file_name": ["a.png"], "label": ["x"], "class": ["y"], "table": ["z"], "style": ["w"]}
    path = _save(columns, folder / "unread.csv")
    for _ in range(2):
        assert _labels(open_dataset(path)) == ["x"]
    assert capsys.readouterr().err == "unread.csv: columns not read: 'class', 'table'\n"


def test_numbers_are_labels_in_every_form(folder: Path) -> None:
    """3 and 3.0 are one class; -1, NaN and null are none."""
    names, labels = ["a.png", "b.png", "sub/c.png"], [3.0, None, float("nan")]
    assert _labels(open_dataset(_save({"file_name": names, "label": labels}, folder / "x.parquet"))) == [
        "3",
        None,
        None,
    ]
    assert _labels(open_dataset(_save({"file_name": names, "label": [3, -1, 10]}, folder / "y.jsonl"))) == [
        "3",
        None,
        "10",
    ]


def test_minus_one_is_no_label_in_a_csv_either(folder: Path) -> None:
    """A CSV has only text, and means the same."""
    assert _labels(
        open_dataset(_save({"file_name": ["a.png", "b.png"], "label": [-1, 7]}, folder / "x.csv"))
    ) == [None, "7"]


NAMED_ROWS = ["a.png", "b.png", "sub/c.png"]
FORMATS = ["list.csv", "list.tsv", "list.jsonl", "list.parquet"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("labels", "read"),
    [
        (["NaN", " nan ", "nan"], [None, None, None]),
        (["-1.0", "-1", " -1"], [None, None, None]),
        (["", "  ", "red"], [None, None, "red"]),
        ([" red", "red ", "red"], ["red", "red", "red"]),
        (["3.0", "3", "-1.0"], ["3", "3", None]),
        (["007", "7.0", "nan"], ["007", "7", None]),
        (["3.0", "3", "cat"], ["3.0", "3", "cat"]),
        (["1.0", "1.5", "2.0"], ["1.0", "1.5", "2.0"]),
    ],
)
def test_words_are_labels_by_one_rule_in_every_format(
    folder: Path, name: str, labels: list[str], read: list[str | None]
) -> None:
    """Blanks around them do not count, nothing has many spellings, and 3.0 is 3 among whole numbers, as pandas writes them with gaps."""
    assert _labels(open_dataset(_save({"file_name": NAMED_ROWS, "label": labels}, folder / name))) == read


@pytest.mark.parametrize("name", FORMATS)
def test_blanks_around_domains_and_splits_do_not_count(folder: Path, name: str) -> None:
    """What people type after a comma."""
    columns = {"file_name": NAMED_ROWS, "domain": [" pets", "pets ", " "], "split": [" test", "test", " "]}
    data = open_dataset(_save(columns, folder / name))
    assert ([data.domains[d] for d in data.domain], data.split.tolist()) == (
        ["pets", "pets", "shop"],
        ["test", "test", "train"],
    )


def test_whole_numbers_are_recognized_over_all_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One word far down keeps every label as it is."""
    monkeypatch.setattr("alumnus.data.readers.tables.BATCH_ROWS", 1)
    for last, first in (("4", "3"), ("cat", "3.0")):
        columns = {"file_name": NAMED_ROWS, "label": ["3.0", "3.0", last]}
        assert _labels(open_dataset(_save(columns, folder / "list.csv"))) == [first, first, last]


def test_absolute_paths_are_for_lists_that_a_person_names(folder: Path, tmp_path: Path) -> None:
    """Such a list may reach anywhere; a metadata file inside a dataset may not."""
    columns = {"path": [str(folder / "a.png"), str(folder / "sub" / "c.png")]}
    (tmp_path / "lists").mkdir()
    data = open_dataset(_save(columns, tmp_path / "lists" / "list.csv"))
    assert data.root == folder
    assert data.file_names == ("a.png", "sub/c.png")
    (tmp_path / "lists" / "list.csv").rename(tmp_path / "lists" / "metadata.csv")
    for source in (tmp_path / "lists", tmp_path / "lists" / "metadata.csv"):
        with pytest.raises(DataError, match=r"row 1, column path: .* leaves the folder"):
            open_dataset(source)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": ["a.png"], "label": ["cat"]}, "no column file_name; its columns are 'picture', 'label'"),
        ({"path": ["a.png"], "image": ["a.png"]}, "rename the one with the paths to file_name"),
        ({"file_name": ["a.png", "b.png", "./a.png"]}, "rows 1 and 3 name the same image 'a.png'"),
        ({"file_name": ["a.png", "../../x.png"]}, "row 2, column file_name: '../../x.png' leaves the folder"),
        ({"file_name": ["a.png", "http://x/a.png"]}, "row 2, column file_name: .* download"),
        (
            {"file_name": ["a.png", ""], "label": ["cat", "cat"]},
            "row 2, column file_name: '' is no file name",
        ),
        ({"file_name": ["a.png"], "split": ["trian"]}, "row 1, column split: .*did you mean 'train'"),
        ({"file_name": ["x.png", "y.png"]}, "of 2 files looked for, none exists"),
        (
            {"file_name": ["sub\\c.png"]},
            r"none exists; .* relative to the list's folder; write / for \\ in them",
        ),
        ({"file_name": []}, "no rows"),
    ],
)
@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_wrong_lists_say_what_is_wrong(
    folder: Path, name: str, columns: dict[str, list[object]], message: str
) -> None:
    """The message names the row, the column and the way out."""
    with pytest.raises(DataError, match=message):
        open_dataset(_save(columns, folder / name))


@pytest.mark.parametrize("label", [[1], {"a": 1}, 1.5, True])
def test_labels_of_other_types_are_refused(folder: Path, label: object) -> None:
    """A list, an object, a fraction and a truth value are no class."""
    with pytest.raises(DataError, match=r"row 2, column label: .* neither text nor a whole number"):
        open_dataset(_save({"file_name": ["a.png", "b.png"], "label": ["cat", label]}, folder / "list.jsonl"))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([{"bytes": b"", "path": "a.png"}]), "struct.*save embedded images as files first"),
        (pa.array([["a.png"]]), "list"),
        (pa.array([b"a.png"]), "binary"),
        (pa.array([True]), "bool"),
    ],
)
def test_parquet_columns_of_other_types_are_refused(folder: Path, array: pa.Array, words: str) -> None:
    """Nested and binary columns are named with their type."""
    pq.write_table(pa.table({"image": array}), folder / "list.parquet")
    with pytest.raises(DataError, match=f"column 'image' holds .*{words}"):
        open_dataset(folder / "list.parquet")


def test_objects_may_be_a_list_of_structs_in_parquet_too(folder: Path) -> None:
    """One struct an object, as in JSON; what is in it is checked all the same."""
    cells = [[{"bbox": [0.0, 0.0, 1.0, 1.0], "category": "cat"}], []]
    table = pa.table({"file_name": ["a.png", "b.png"], "objects": cells})
    pq.write_table(table, folder / "list.parquet")
    data = open_dataset(folder / "list.parquet")
    assert data.objects is not None
    assert [found and found.labels.tolist() for found in data.objects] == [[0], []]
    wrong = pa.array([[{"box": 1}], []])
    pq.write_table(table.set_column(1, "objects", wrong), folder / "list.parquet")
    with pytest.raises(DataError, match="row 1, column objects"):
        open_dataset(folder / "list.parquet")


def test_a_cell_of_a_csv_may_be_long(folder: Path) -> None:
    """Thousands of boxes are more than the 131,072 characters that Python's reader takes by default."""
    cell = json.dumps([{"bbox": [0, 0, 1, 1], "category": "cat"}] * 4000)
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "objects"), ("a.png", cell)])
    data = open_dataset(folder / "list.csv")
    assert data.objects is not None
    assert data.objects[0] is not None
    assert len(data.objects[0].boxes) == 4000


def test_a_dictionary_column_is_read(folder: Path) -> None:
    """Categories, as pandas writes them, are text."""
    labels = pa.array(["cat", "dog"]).dictionary_encode()
    pq.write_table(pa.table({"file_name": ["a.png", "b.png"], "label": labels}), folder / "list.parquet")
    assert _labels(open_dataset(folder / "list.parquet")) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"", "no column file_name"),
        ("list.csv", b"file_name,label\na.png,cat\nb.png\n", "line 3: 1 fields, but the header has 2"),
        ("list.csv", b"file_name,label,label\na.png,cat,dog\n", "more than one column label"),
        ("list.csv", b'file_name\n"a.png\n', "line 2: unexpected end of data"),
        (
            "list.csv",
            "file_name\ncaf\N{LATIN SMALL LETTER E WITH ACUTE}.png\n".encode("latin-1"),
            "not UTF-8",
        ),
        ("list.jsonl", b'{"file_name": "a.png"}\n{"file_na', "line 2: not JSON"),
        ("list.jsonl", b'["a.png"]\n', "line 1: a JSON list"),
        (
            "list.jsonl",
            b'{"file_name": "a.png"}\n{"label": "cat"}\n',
            "row 2, column file_name: None is no file",
        ),
        ("list.parquet", b"PAR1", "cannot be read"),
        ("list.parquet", b"", "cannot be read"),
        ("list.xlsx", b"PK", "neither a folder nor a list"),
    ],
)
def test_broken_lists_say_what_is_wrong(folder: Path, name: str, content: bytes, message: str) -> None:
    """Torn, foreign and malformed files are DataErrors with the place."""
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(folder / name)
