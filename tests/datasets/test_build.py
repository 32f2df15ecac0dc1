"""Known data sets: the folder that is written, its cache, and what a bad picture does to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from alumnus.data.dataset import open_dataset
from alumnus.data.read import read_image
from alumnus.datasets.build import build, get, info, limited, provenance
from alumnus.datasets.known import DatasetInfo, Entry
from alumnus.errors import ConfigError, DataError

INFO = DatasetInfo(
    name="made_up", title="Made up", kind="drawn", packages=(), classes=20, images=60, notes="None."
)
MADE_OF = {"name": "made_up", "size": 16}


@dataclass(frozen=True)
class Bar:
    """A bar whose place is its class."""

    place: int

    def __call__(self, size: int, /) -> Image.Image:
        """Transparent but for the bar; it says so as a C library would."""
        os.write(1, b"drawn")
        if self.place < 0:
            raise ValueError("no such place")
        image = Image.new("RGBA", (40, 40))
        image.paste("black", (self.place % 40, 0, self.place % 40 + 1, 1 + self.place // 40))
        return image


def _entries(*, classes: int = 20, styles: int = 3) -> list[Entry]:
    return [
        Entry(f"class/{number}", f"style {style}", Bar(number + classes * style))
        for style in range(styles)
        for number in range(classes)
    ]


def test_the_folder_is_a_dataset(tmp_path: Path) -> None:
    """It opens as one; every picture is there, square, and knows its style."""
    folder = build(INFO, _entries(), tmp_path / "out", size=16, made_of=MADE_OF)
    dataset = open_dataset(folder)
    assert len(dataset) == 60
    assert dataset.domains == ("made_up",)
    assert {read_image(path).size for path in dataset.paths} == {(16, 16)}
    styles = pq.read_table(folder / "metadata.parquet")["style"].to_pylist()
    assert set(styles) == {"style 0", "style 1", "style 2"}


def test_held_out_classes_are_not_trained_on(tmp_path: Path) -> None:
    """No label is in train and in test."""
    folder = build(INFO, _entries(), tmp_path / "out", size=16, made_of=MADE_OF)
    dataset = open_dataset(folder)
    of = {split: set(dataset.select(split=split).label.tolist()) for split in ("train", "val", "test")}
    assert of["train"]
    assert of["test"]
    assert not of["train"] & (of["test"] | of["val"])


def test_splits_and_captions_of_pictures_are_kept(tmp_path: Path) -> None:
    """The split as it was said; no caption is an empty cell, and a set without any has no such column."""
    entries = [
        Entry("a", "s", Bar(0), split="train", text="a bar"),
        Entry("a", "s", Bar(1), split="test"),
        Entry("a", "s", Bar(0), split="test", text="the same bar"),
    ]
    told = pq.read_table(build(INFO, entries, tmp_path / "a", size=40, made_of=MADE_OF) / "metadata.parquet")
    assert told["split"].to_pylist() == ["train", "test", "spare"]
    assert told["text"].to_pylist() == ["a bar", None, "the same bar"]
    untold = pq.read_table(
        build(INFO, _entries(), tmp_path / "b", size=40, made_of=MADE_OF) / "metadata.parquet"
    )
    assert "text" not in untold.column_names


def test_processes_draw_the_same(tmp_path: Path) -> None:
    """As one does; more than a few pictures are needed for processes to be used at all."""
    entries = _entries(classes=100)
    alone = open_dataset(build(INFO, entries, tmp_path / "a", size=16, made_of=MADE_OF, workers=0))
    both = open_dataset(build(INFO, entries, tmp_path / "b", size=16, made_of=MADE_OF, workers=2))
    assert both.fingerprint == alone.fingerprint
    assert Path(both.paths[7]).read_bytes() == Path(alone.paths[7]).read_bytes()


def test_what_renderers_print_is_no_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It goes to stderr."""
    build(INFO, _entries(classes=90), tmp_path / "set", size=16, made_of=MADE_OF, workers=2)
    out, error = capfd.readouterr()
    assert "drawn" not in out
    assert "drawn" in error


def test_a_bad_picture_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And counted, with the first reason."""
    entries = [*_entries(), Entry("class/0", "broken", Bar(-1))]
    folder = build(INFO, entries, tmp_path / "out", size=16, made_of=MADE_OF)
    assert len(open_dataset(folder)) == 60
    assert "1 of 61 pictures could not be drawn" in capsys.readouterr().err


def test_nothing_but_bad_pictures_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Neither the folder nor a half-made one."""
    with pytest.raises(DataError, match=r"none of 1 pictures.*no such place"):
        build(INFO, [Entry("a", "b", Bar(-1))], tmp_path / "out", size=16, made_of=MADE_OF)
    assert list(tmp_path.iterdir()) == []


def test_a_made_folder_is_not_made_again(tmp_path: Path) -> None:
    """The packages are not even looked for."""
    mnist = info("mnist")
    made_of = provenance(mnist, size=28, seed=0, limit_per_class=mnist.limit_per_class)
    build(mnist, _digits(), tmp_path / "out", size=28, made_of=made_of)
    assert get("mnist", out=tmp_path / "out", size=28) == tmp_path / "out"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """It is not overwritten."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="name another folder"):
        get("mnist", out=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_an_unknown_name_gets_a_hint() -> None:
    """And the list."""
    with pytest.raises(ConfigError, match=r"did you mean 'emoji'\?; known are .*mnist"):
        get("emojis")


@pytest.mark.parametrize("setting", [{"size": 2}, {"seed": -1}, {"limit_per_class": -1}])
def test_settings_out_of_range_are_refused(setting: dict[str, int]) -> None:
    """Before anything is fetched."""
    with pytest.raises(ConfigError, match="must be at least 8"):
        get("mnist", **setting)  # type: ignore[arg-type]


def test_a_limit_keeps_some_of_each_class() -> None:
    """The same ones for the same seed, in their order."""
    entries = _entries(classes=4, styles=10)
    kept = limited(entries, 3, seed=1)
    assert [sum(entry.label == f"class/{n}" for entry in kept) for n in range(4)] == [3] * 4
    assert kept == limited(entries, 3, seed=1)
    assert kept != limited(entries, 3, seed=2)
    assert kept == [entry for entry in entries if entry in kept]
    assert limited(entries, 0, seed=1) == entries


def _digits() -> list[Entry]:
    return [Entry(str(n % 10), "mnist", Bar(n), official_split="train") for n in range(40)]
