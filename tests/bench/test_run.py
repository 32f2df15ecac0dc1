"""The whole benchmark on three tiny tasks: what it leaves, that it goes on where it stopped, and that one failure costs one cell."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import save_file
from torch import Tensor

from alumnus.bench.run import bench
from alumnus.bench.summary import Summary
from alumnus.cli import run
from alumnus.data.dataset import write_dataset
from alumnus.errors import ArtifactError, ConfigError, RunError
from tests.bench.made import MODELS, NAMES, make_colours, make_suite

FRACTIONS = (0.25, 1.0)
SMALL: dict[str, Any] = {"fractions": FRACTIONS, "seeds": 2, "workers": 0, "device": "cpu", "resamples": 50}


def measure(tmp_path: Path, suite: dict[str, object], out: str = "out", **more: Any) -> Summary:
    """A run with its own cache."""
    settings = {"models": MODELS, "cache": tmp_path / "cache", **SMALL, **more}
    return bench(suite=suite, out=tmp_path / out, **settings)


def written(out: Path) -> dict[str, int]:
    """Cell files and when they were written."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns for path in sorted(out.rglob("cells/**/*.json"))
    }


def changed(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """The files that were written again."""
    return [name for name in after if after[name] != before.get(name)]


@pytest.fixture
def suite(tmp_path: Path) -> dict[str, object]:
    """Three tasks, two models of which take a few seconds."""
    return make_suite(tmp_path)


def test_one_call_leaves_all_cells_a_summary_and_a_page(tmp_path: Path, suite: dict[str, object]) -> None:
    """Each cell says what made it; the table has a row a task and the page holds it."""
    summary = measure(tmp_path, suite, compare=NAMES)
    out = tmp_path / "out"
    cells = [json.loads((out / name).read_text()) for name in written(out)]
    # classification: two seeds at 25 %, one at 100 %; retrieval: one; segmentation: the quick budget has one seed
    assert {
        (c["task"], c["model"]): sum((d["task"], d["model"]) == (c["task"], c["model"]) for d in cells)
        for c in cells
    } == {
        (task, name): count for task, count in (("colours", 3), ("found", 1), ("halves", 2)) for name in NAMES
    }
    for cell in cells:
        assert cell["error"] is None
        assert set(cell["fingerprints"]) == {"model", "data", "protocol"}
        assert cell["scores"][cell["primary"]][0] is not None
        assert cell["versions"]["torch"]
    assert [board.fraction for board in summary.boards] == [1.0, 0.25]
    assert [row.task for row in summary.headline.rows] == ["colours", "found", "halves"]
    assert summary.headline.shared == 3
    pixels = {row.task: row.entries["pixels"] for row in summary.headline.rows}
    assert pixels["colours"] is not None
    assert pixels["halves"] is not None
    assert pixels["colours"].metrics["knn/top1"] > 0.6
    assert pixels["halves"].score.mean > 0.8
    markdown, page = (out / "summary.md").read_text(), (out / "report.html").read_text()
    assert markdown.count("| colours |") == 4  # two boards, two rounds of the comparison
    assert "halves" in page
    assert "<script" not in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert summary.comparison is not None
    assert len(summary.comparison.rounds[0].matches) == 3


def test_a_second_run_makes_only_what_is_missing(tmp_path: Path, suite: dict[str, object]) -> None:
    """As after a kill: a cell that is gone, one whose images are gone, and one whose images are cut off."""
    measure(tmp_path, suite)
    out = tmp_path / "out"
    before, table = written(out), (out / "summary.json").read_bytes()
    (out / "cells/colours/pixels/0.25-seed1.json").unlink()
    torn = out / "cells/found/pixels/all.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    (out / "cells/halves/pixels/1-seed0.safetensors").unlink()
    measure(tmp_path, suite)
    assert changed(before, written(out)) == [
        "cells/colours/pixels/0.25-seed1.json",
        "cells/found/pixels/all.json",
        "cells/halves/pixels/1-seed0.json",
    ]
    assert (out / "summary.json").read_bytes() == table


ARMED = threading.Event()  # what is in it is no setting of the model below


class Stopping:
    """Mean colours; while armed, Ctrl-C comes when it sees the twenty pictures of the second task."""

    def __call__(self, image: Tensor) -> Tensor:
        """(n, 3)."""
        if ARMED.is_set() and len(image) == 20:
            raise KeyboardInterrupt
        return image.mean((2, 3))


def test_a_kill_keeps_the_cells_that_are_done(tmp_path: Path, suite: dict[str, object]) -> None:
    """What stops the process stops the run, and the next one goes on."""
    ARMED.set()
    model = {"model": Stopping(), "size": 16, "name": "stopping"}
    tasks = _tasks(suite)[:2]
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, {**suite, "tasks": tasks}, models=["pixels", model])
    before = written(tmp_path / "out")
    assert {Path(name).parts[1] for name in before} == {"colours"}
    ARMED.clear()
    measure(tmp_path, {**suite, "tasks": tasks}, models=["pixels", model])
    assert {Path(name).parts[1] for name in changed(before, written(tmp_path / "out"))} == {"found"}


def test_changed_data_and_another_model_of_the_name_are_measured_again(
    tmp_path: Path, suite: dict[str, object]
) -> None:
    """A cell belongs to the fingerprints of its model and its data."""
    measure(tmp_path, suite)
    out = tmp_path / "out"
    before = written(out)
    Image.new("RGB", (50, 40), (1, 2, 3)).save(tmp_path / "found" / "test-red-0.png")
    measure(tmp_path, suite)
    after = written(out)
    assert {Path(name).parts[1] for name in changed(before, after)} == {"found"}
    other = {"model": "untrained:timm/test_resnet", "name": NAMES[1]}
    measure(tmp_path, suite, models=[MODELS[0], other])
    assert {Path(name).parts[2] for name in changed(after, written(out))} == {NAMES[1]}


def test_vectors_are_kept_for_the_next_run(tmp_path: Path, suite: dict[str, object]) -> None:
    """A new folder for results with the same cache gives the same summary, byte by byte."""
    measure(tmp_path, suite)
    kept = {path.name: path.stat().st_size for path in (tmp_path / "cache").iterdir()}
    assert len(kept) == 4  # two data sets, two models; dense grids are not kept
    measure(tmp_path, suite, "again")
    assert {path.name: path.stat().st_size for path in (tmp_path / "cache").iterdir()} == kept
    for name in ("summary.json", "summary.md", "report.html"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_failing_cell_is_recorded_and_does_not_end_the_run(
    tmp_path: Path, suite: dict[str, object]
) -> None:
    """One class cannot be classified, and a function without patches has no grid; all else is there, and the next run tries those alone."""
    make_colours(tmp_path / "one", {"train": 4, "test": 4}, classes=("red",))
    tasks = [{"name": "one", "data": str(tmp_path / "one"), "task": "classification"}, *_tasks(suite)]
    models = ["pixels", {"model": _mean_colour, "size": 16, "name": "mean"}]
    with pytest.raises(RunError, match=r"8 of 18 cells failed") as caught:
        measure(tmp_path, {**suite, "tasks": tasks}, models=models)
    assert "mean on halves at 25 % seed 0: teacher mean" in str(caught.value)
    out = tmp_path / "out"
    before = written(out)
    summary = json.loads((out / "summary.json").read_text())
    assert len(summary["failed"]) == 8
    assert "a classifier needs two classes" in summary["failed"]["pixels on one at 100 % seed 0"]
    assert summary["boards"][0]["shared_tasks"] == 2
    with pytest.raises(RunError, match="8 of 18"):
        measure(tmp_path, {**suite, "tasks": tasks}, models=models)
    assert len(changed(before, written(out))) == 8


def test_data_that_cannot_be_had_costs_its_task_only(tmp_path: Path, suite: dict[str, object]) -> None:
    """A folder without the splits that are needed."""
    broken = make_colours(tmp_path / "broken", {"test": 2})
    tasks = [{"name": "broken", "data": str(broken), "task": "classification"}, _tasks(suite)[1]]
    with pytest.raises(RunError, match=r"6 of 8 cells failed.*\n.*no split 'train'; it has test"):
        measure(tmp_path, {**suite, "tasks": tasks})


def test_a_changed_file_of_equal_size_is_measured_again(tmp_path: Path) -> None:
    """Neither the cells nor the cache of vectors answer for it."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    path, other = (tmp_path / "found" / f"test-{name}-0.png" for name in ("red", "blue"))
    one, two = path.read_bytes(), other.read_bytes()
    size = max(len(one), len(two))
    path.write_bytes(one.ljust(size, b"\0"))
    measure(tmp_path, suite, models=["pixels"])
    before = written(out)
    path.write_bytes(two.ljust(size, b"\0"))
    measure(tmp_path, suite, models=["pixels"])
    assert changed(before, written(out)) == list(before)
    measure(tmp_path, suite, "fresh", models=["pixels"], cache=tmp_path / "other")
    assert (out / "summary.json").read_bytes() == (tmp_path / "fresh/summary.json").read_bytes()


def test_unreadable_images_are_counted_and_too_many_fail_the_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of twenty is the limit; a score of the rest would be a score of other pictures."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    _break(tmp_path, "red-0")
    summary = measure(tmp_path, suite, models=["pixels"])
    cell = json.loads((out / "cells/found/pixels/all.json").read_text())
    assert (cell["counts"]["num_bad"], cell["counts"]["num_test"]) == (1, 19)
    assert summary.unreadable == {"found": 1}
    assert "could not be read, and are left out: 1 of found." in capsys.readouterr().err
    for place in ("summary.md", "report.html"):
        assert "are left out: 1 of found." in (out / place).read_text()
    _break(tmp_path, "red-1")
    with pytest.raises(RunError, match=r"2 of 20 images could not be read, more than max_bad_fraction=0.05"):
        measure(tmp_path, suite, models=["pixels"])
    measure(tmp_path, suite, models=["pixels"], max_bad_fraction=0.1)
    cell = json.loads((out / "cells/found/pixels/all.json").read_text())
    assert cell["counts"]["num_bad"] == 2


def test_test_images_of_classes_that_are_not_learnt_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the cell, on the console and on both pages, as `adapt` does in its note."""
    folder, out = make_colours(tmp_path / "colours", {"train": 4, "test": 3}), tmp_path / "out"
    rows = [
        {"file_name": path.name, "domain": "colours", "label": label, "split": split}
        for path in sorted(folder.glob("*.png"))
        for split, label, _ in [path.stem.split("-")]
        if (split, label) != ("train", "red")
    ]
    write_dataset(rows, folder)
    tasks = [{"name": "colours", "data": str(folder), "task": "classification"}]
    summary = measure(tmp_path, {"name": "tiny", "input_size": 32, "tasks": tasks}, models=["pixels"])
    cell = json.loads((out / "cells/colours/pixels/1-seed0.json").read_text())
    assert (cell["counts"]["num_not_learnt"], cell["counts"]["num_test"]) == (3, 9)
    assert summary.not_learnt == {"colours": 3}
    said = "Test images of classes that no training image is of, not scored: 3 of colours."
    assert said in " ".join(capsys.readouterr().err.split())
    for place in ("summary.md", "report.html"):
        assert said in (out / place).read_text()


def test_good_cells_outlive_data_that_is_away(tmp_path: Path) -> None:
    """A mount that is not there, or files behind it, cost nothing but the run."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    measure(tmp_path, suite, models=["pixels"])
    before, table = written(out), (out / "summary.json").read_bytes()
    (tmp_path / "found").rename(tmp_path / "away")
    (tmp_path / "found").mkdir()
    with pytest.raises(RunError, match="1 of 1 cells failed"):
        measure(tmp_path, suite, models=["pixels"])
    assert list(json.loads((out / "summary.json").read_text())["failed"]) == ["pixels on found"]
    (tmp_path / "found").rmdir()
    (tmp_path / "away").rename(tmp_path / "found")
    (tmp_path / "found/test-red-0.png").rename(tmp_path / "0.png")
    (tmp_path / "found/test-red-1.png").rename(tmp_path / "1.png")
    with pytest.raises(RunError, match="2 of 20 images could not be read"):
        measure(tmp_path, suite, models=["pixels"])
    for number in (0, 1):
        (tmp_path / f"{number}.png").rename(tmp_path / f"found/test-red-{number}.png")
    measure(tmp_path, suite, models=["pixels"])
    assert changed(before, written(out)) == []
    assert (out / "summary.json").read_bytes() == table


def test_another_models_cell_is_not_kept(tmp_path: Path) -> None:
    """It would be taken for one of the model that failed."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    measure(tmp_path, suite, models=[{"model": "pixels", "name": "mine"}])
    with pytest.raises(RunError, match=r"mine on found: KeyError: 'oops'"):
        measure(tmp_path, suite, models=[{"model": _raising, "size": 16, "name": "mine"}])
    assert json.loads((out / "cells/found/mine/all.json").read_text())["error"] == "KeyError: 'oops'"


def test_whatever_a_model_raises_costs_its_cells_only(tmp_path: Path) -> None:
    """The others are measured, and the summary is there."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    models = [{"model": _raising, "size": 16, "name": "raising"}, "pixels"]
    with pytest.raises(RunError, match=r"1 of 2 cells failed.*\n.*raising on found: KeyError: 'oops'"):
        measure(tmp_path, suite, models=models)
    (row,) = json.loads((out / "summary.json").read_text())["boards"][0]["tasks"]
    assert row["models"]["pixels"]["score"][0] > 0


def test_cells_of_different_images_leave_a_summary(tmp_path: Path) -> None:
    """A picture could not be read when one of the models was measured, as for a moment a disk may fail."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    path = tmp_path / "found/test-red-0.png"
    whole, times = path.read_bytes(), path.stat()
    models: list[Any] = ["pixels", {"model": _mean_colour, "size": 16, "name": "mean"}]
    for content, count in ((b"x" * len(whole), 1), (whole, 2)):
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        summary = measure(
            tmp_path, suite, models=models[:count], compare=["pixels", "mean"] if count > 1 else []
        )
    assert summary.comparison is not None
    assert summary.comparison.rounds[0].not_comparable == ("found",)
    found = json.loads((out / "summary.json").read_text())
    assert found["models"] == ["pixels", "mean"]
    assert found["comparison"]["rounds"][0]["not_comparable"] == ["found"]


def test_a_comparison_that_fails_leaves_a_summary(tmp_path: Path) -> None:
    """The images of a cell lack its metric; its scores are there."""
    suite, out = _retrieval(tmp_path), tmp_path / "out"
    models: list[Any] = ["pixels", {"model": _mean_colour, "size": 16, "name": "mean"}]
    measure(tmp_path, suite, models=models)
    save_file({"row": np.arange(20)}, out / "cells/found/mean/all.safetensors")
    (out / "summary.json").unlink()
    with pytest.raises(ArtifactError, match=r"all\.safetensors cannot be read"):
        measure(tmp_path, suite, models=models, compare=["pixels", "mean"])
    assert json.loads((out / "summary.json").read_text())["boards"][0]["shared_tasks"] == 1


def test_a_plan_measures_nothing(
    tmp_path: Path, suite: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how many cells and how long, and writes nothing."""
    measure(tmp_path, suite, plan=True)
    assert not (tmp_path / "out").exists()
    assert "3 tasks, 2 models, 12 cells; 0 are there, 12 to make, about" in capsys.readouterr().err


def test_a_plan_says_why_there_is_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the splits that there are."""
    data = make_colours(tmp_path / "colours", {"train": 2, "val": 2})
    task = {"name": "colours", "data": str(data), "task": "classification"}
    measure(tmp_path, {"name": "tiny", "input_size": 32, "budget": "quick", "tasks": [task]}, plan=True)
    said = capsys.readouterr().err
    assert "no data, so no scores: colours (its data has no split 'test'; it has train, val: options" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ["colour"]}, "did you mean 'colours'"),
        ({"fractions": [0.0]}, "above 0 and at most 1"),
        ({"seeds": 0}, "at least 1"),
        ({"resamples": 0}, "resamples=0 must be 1 at least"),
        ({"cache_gb": float("nan")}, "cache_gb=nan must be a number of gigabytes"),
        ({"cache_gb": float("inf")}, "cache_gb=inf must be a number of gigabytes"),
        ({"cache_gb": -1.0}, "0 keeps nothing"),
        ({"size": 0}, "size=0 must be at least 8 px"),
        ({"size": -4}, "size=-4 must be at least 8 px"),
        ({"max_bad_fraction": 5}, r"it must lie in \[0, 1\]"),
        ({"budget": "qick"}, "did you mean 'quick'"),
        ({"compare": ["pixels", "pixles"]}, "there is no model 'pixles'; did you mean 'pixels'"),
        ({"compare": ["pixels", "timm/resnet18"]}, "there is no model 'timm/resnet18'"),
        ({"compare": ["pixels"]}, "compare takes two of the models; got pixels"),
        ({"compare": ["pixels", "{model: pixels}"]}, "compare takes two of the models"),
        ({"models": []}, "no model was given"),
        ({"models": ["pixels", "pixels"]}, "two models are named 'pixels'"),
        ({"models": ["timn/resnet18"]}, "did you mean 'timm/'"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_measured(
    tmp_path: Path, suite: dict[str, object], settings: dict[str, Any], message: str
) -> None:
    """With the nearest name."""
    with pytest.raises(ConfigError, match=message):
        measure(tmp_path, suite, **settings)
    assert not (tmp_path / "out").exists()


def test_a_folder_belongs_to_one_suite(tmp_path: Path, suite: dict[str, object]) -> None:
    """Cells of two suites in one folder would be taken for one another."""
    measure(tmp_path, suite, tasks=["found"])
    with pytest.raises(ConfigError, match="holds results of the suite 'tiny', not of 'other'"):
        measure(tmp_path, {**suite, "name": "other"}, plan=True)


def test_some_of_the_tasks_leave_what_is_there_of_the_others(
    tmp_path: Path, suite: dict[str, object]
) -> None:
    """The tables show it, unless it is of another model; the folder knows the whole suite, and a plan changes nothing."""
    out = tmp_path / "out"
    first = measure(tmp_path, suite, models=["pixels"], tasks=["found"])
    assert [row.task for row in first.headline.rows] == ["found"]
    assert [task["name"] for task in json.loads((out / "suite.json").read_text())["tasks"]] == [
        "colours",
        "found",
        "halves",
    ]
    measure(tmp_path, suite, models=["pixels"], tasks=["colours"])
    before = {path: path.read_bytes() for path in out.glob("*.*")}
    measure(tmp_path, suite, models=["pixels"], tasks=["found"], fractions=FRACTIONS, plan=True)
    assert {path: path.read_bytes() for path in out.glob("*.*")} == before
    again = measure(tmp_path, suite, models=["pixels"], tasks=["found"])
    assert [row.task for row in again.headline.rows] == ["colours", "found"]
    assert all(row.entries["pixels"] is not None for row in again.headline.rows)
    other = {"model": _mean_colour, "size": 16, "name": "pixels"}
    assert [row.task for row in measure(tmp_path, suite, models=[other], tasks=["found"]).headline.rows] == [
        "found"
    ]


def test_the_command_reads_a_suite_file(
    tmp_path: Path, suite: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """Options with several values; a table on standard output; exit codes 0 and 2."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**suite, "tasks": _tasks(suite)[:2]}))
    words: Sequence[str] = [
        *("bench", "--suite", str(path), "--models", *MODELS, "--fractions", "0.5", "1", "--seeds", "1"),
        *(
            "--out",
            str(tmp_path / "cli"),
            "--cache",
            str(tmp_path / "cache"),
            "--workers",
            "0",
            "--compare",
            *NAMES,
        ),
    ]
    assert run([*words, "--plan"]) == 0
    assert capsys.readouterr().out == ""  # no table of dashes
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "colours" in shown
    assert "50 % of the labels" in shown
    assert "100 % of the labels" in shown
    assert "sign test" in shown
    assert run([*words, "--sedes", "3"]) == 2
    assert "did you mean '--seeds'" in capsys.readouterr().err
    assert run(["bench", "--help"]) == 0
    assert "--fractions" in capsys.readouterr().out
    assert run(["bench", "--suite", "gvb62", "--models", "pixels", "--out", str(tmp_path / "no")]) == 2
    assert "did you mean 'gvb26'" in capsys.readouterr().err


def _tasks(suite: dict[str, object]) -> list[Any]:
    tasks = suite["tasks"]
    assert isinstance(tasks, list)
    return tasks


def _retrieval(folder: Path) -> dict[str, object]:
    """The second task alone: twenty pictures, one cell a model."""
    data = make_colours(folder / "found", {"test": 5}, noise=90)
    return {"name": "tiny", "tasks": [{"name": "found", "data": str(data), "task": "retrieval"}]}


def _break(folder: Path, name: str) -> None:
    (folder / "found" / f"test-{name}.png").write_bytes(b"no picture")


def _raising(image: Any) -> Any:
    if len(image) == 20:  # not when it is loaded, nor when its speed is measured
        raise KeyError("oops")
    return image.mean((2, 3))


def _mean_colour(image: Any) -> Any:
    return image.mean((2, 3))
