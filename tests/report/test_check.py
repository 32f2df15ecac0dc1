"""The page of a check shows its pairs and loads nothing; the verbs print, write and exit as they should."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from alumnus.cli import run
from alumnus.curation.check import Check, check
from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.report.check import render, summary, write_page
from tests.curation.planted import Planted, picture, plant


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """120 images with every fault."""
    folder = tmp_path_factory.mktemp("planted") / "images"
    return plant(folder, images=120, copies=8, corrupt=5, mislabelled=2, seed=1)


@pytest.fixture(scope="module")
def found(planted: Planted) -> Check:
    """The check of it."""
    return check(planted.folder, workers=0)


def test_the_page_shows_every_pair(found: Check, planted: Planted, tmp_path: Path) -> None:
    """Both pictures of each, as data; and the broken files."""
    page = write_page(found, tmp_path).read_text()
    for name in {name for pair in [*planted.leaks, *planted.exact] for name in pair} | planted.corrupt:
        assert name in page
    assert page.count("data:image/jpeg;base64,") >= 2 * len(planted.leaks)


def test_the_page_loads_nothing_and_runs_nothing(found: Check) -> None:
    """It may be sent by mail."""
    page = render(found)
    assert not re.findall(r"<script|https?://|url\(|javascript:", page)
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)', page))


def test_names_are_text(tmp_path: Path) -> None:
    """A label that is markup is shown as it is, on the page and in the terminal."""
    folder = tmp_path / "set"
    folder.mkdir()
    image = picture(4, np.random.default_rng(0))
    for name in ("a.png", "b.png"):
        image.save(folder / name)
    evil = "<b onload=x>[red]"
    rows = [
        {"file_name": "a.png", "label": evil, "split": "train"},
        {"file_name": "b.png", "label": "y", "split": "test"},
    ]
    write_dataset(rows, folder)
    found = check(folder, workers=0)
    page = render(found)
    assert "<b onload" not in page
    assert "&lt;b onload=x&gt;[red]" in page


def test_an_empty_finding_is_said_to_be_none(tmp_path: Path) -> None:
    """One good picture, one class, one bar."""
    (tmp_path / "set").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(
        tmp_path / "set" / "a.png"
    )
    page = render(check(tmp_path / "set", workers=0))
    assert page.count("<p>None.</p>") == 5
    assert "Find out before you publish" in page


def test_all_broken_is_no_error(tmp_path: Path) -> None:
    """There are no sizes to draw."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"x")
    found = check(tmp_path / "set", out=tmp_path / "out", workers=0)
    assert "Unreadable" in render(found)


def test_the_summary_counts_and_names(found: Check) -> None:
    """Each finding with a number and an example."""
    file = io.StringIO()
    Console(file=file, width=200).print(summary(found))
    lines = {line.split("  ")[0]: line for line in file.getvalue().splitlines()}
    assert re.search(r"\b8\b.*train/.* = ", lines["leaks from train"])
    assert re.search(r"\b5\b.*broken-", lines["unreadable files"])


def test_the_verb_writes_and_exits(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 in spite of faults; 2 with --strict."""
    words = ["data", "check", str(planted.folder), f"out={tmp_path / 'out'}", "workers=0"]
    assert run(words) == 0
    assert "leaks from train" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["check.html", "check.json"]
    assert run([*words, "--strict"]) == 2
    assert "8 leaks from train" in capsys.readouterr().err


def test_curate_then_check_strict(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice of the message works."""
    assert run(["data", "curate", str(planted.folder), f"out={tmp_path / 'new'}", "workers=0"]) == 0
    (printed,) = capsys.readouterr().out.split()
    assert len(open_dataset(printed)) == 120 - 8 - 5 - 6
    assert run(["data", "check", printed, "workers=0", "--strict"]) == 0


def test_a_missing_word_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Images, and for curate the folder."""
    assert run(["data", "check"]) == 2
    assert run(["data", "curate", "x"]) == 2
    errors = capsys.readouterr().err
    assert "IMAGES is missing" in errors
    assert "out: needed" in errors
