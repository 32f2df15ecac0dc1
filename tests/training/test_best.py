"""The best student that a run saw is the one that it ends with, if the recipe asks for it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alumnus.errors import ConfigError
from alumnus.models.artifact import load_student
from alumnus.objective import Objective
from alumnus.training.best import keep_if_best, read_best
from alumnus.training.loop import train
from alumnus.training.pupil import Pupil
from alumnus.training.run import BEST
from alumnus.training.watch import RECALL, Watched
from tests.given import Colours, Stopped
from tests.training.test_loop import _bytes
from tests.training.test_loop import _config as small

GIVEN = (0.1, 0.3, 0.9, 0.9, float("nan"), 0.2)  # of six looks


def _watched(label: int = 0) -> Watched:
    image = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    return Watched(image, np.zeros(2, np.int64), np.array([label, label]), ("a",))


def _seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Objective]]:
    """Makes looks find what is given, and returns a list in which student and objective stand as each look saw them."""
    seen = list[tuple[Any, Objective]]()

    def note(pupil: Pupil, found: Mapping[str, float], watched: Watched, *, step: int) -> None:
        seen.append((copy.deepcopy(pupil.current()), copy.deepcopy(pupil.objective)))
        value = GIVEN[step]
        kept(pupil, {} if math.isnan(value) else {RECALL: value}, watched, step=step)

    kept = Pupil.keep_if_best
    monkeypatch.setattr(Pupil, "keep_if_best", note)
    return seen


@pytest.mark.parametrize("ema", [0.0, 0.5])
@pytest.mark.parametrize("method", ["plain", {"name": "agglomerate", "keep_adaptors": True}])
def test_the_run_ends_with_the_student_of_the_best_look(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch, method: object, ema: float
) -> None:
    """The first of two alike; with what its method hands over, finished as it was then."""
    seen = _seen(monkeypatch)
    watch = {"every": 1, "split": "train", "keep": "best"}
    run = train(_config(tmp_path / "run", tiny_images, method=method, watch=watch, optim={"ema": ema}))
    student, objective = seen[2]
    objective.finish(student)
    wanted, found = student.state_dict(), load_student(run.student).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    last = seen[-1][0].state_dict()
    assert not all(torch.equal(found[name], last[name]) for name in found)
    about = json.loads((run.student / "alumnus.json").read_text())["provenance"]
    assert about["best"] == {"step": 2, RECALL: 0.9}
    assert "the student of step 2, the best that was seen" in (run.student / "README.md").read_text()
    assert "that of step 2, R@1 0.900: it is the result" in (run.folder / "log.txt").read_text()
    assert not (run.folder / BEST).exists()


def _config(out: Path, data: Path, **settings: object) -> Any:
    return small(out, data, **{"log_every": 1, **settings})


def test_by_default_it_ends_with_the_last(tmp_path: Path, tiny_images: Path) -> None:
    """And nothing is kept on the way."""
    watched = train(_config(tmp_path / "a", tiny_images, watch={"every": 1, "split": "train"}))
    assert _bytes(watched) == _bytes(train(_config(tmp_path / "b", tiny_images)))
    assert "best" not in json.loads((watched.student / "alumnus.json").read_text())["provenance"]


@pytest.mark.parametrize("calls", [4, 5, 6])
def test_a_run_that_was_stopped_ends_with_the_same(tmp_path: Path, tiny_images: Path, calls: int) -> None:
    """Also if its best one lies behind the last checkpoint."""
    watch = {"every": 1, "split": "train", "keep": "best"}
    settings = {"watch": watch, "checkpoint_every": 3}
    whole = train(_config(tmp_path / "whole", tiny_images, **settings))
    stopping = [{"model": Colours(calls=calls), "name": "colours", "size": 32}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", tiny_images, teachers=stopping, **settings))
    run = train(_config(tmp_path / "run", tiny_images, **settings))
    assert _bytes(run) == _bytes(whole)


def test_the_best_of_no_classes_is_refused(tmp_path: Path, tiny_images: Path) -> None:
    """Before anything is written."""
    for number, path in enumerate(sorted(tiny_images.rglob("*.png"))[:20]):
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "flat" / f"{number}.png").write_bytes(path.read_bytes())
    watch = {"split": "train", "keep": "best"}
    with pytest.raises(
        ConfigError, match=r"watch.keep=best goes by R@1, .* 20 watched images no two .* keep=last"
    ):
        train(_config(tmp_path / "run", tmp_path / "flat", watch=watch))
    assert not (tmp_path / "run").exists()


def test_what_was_best_on_other_images_is_not_compared(tmp_path: Path) -> None:
    """Nor are two looks whose embeddings were not finite."""

    def kept(value: float) -> Mapping[str, Tensor]:
        return {"student/a": torch.tensor([value])}

    assert keep_if_best(tmp_path, kept(1), {RECALL: 0.5}, _watched(), step=1)
    assert not keep_if_best(tmp_path, kept(2), {RECALL: 0.5}, _watched(), step=2)
    assert not keep_if_best(tmp_path, kept(3), {}, _watched(), step=3)
    assert keep_if_best(tmp_path, kept(4), {RECALL: 0.4}, _watched(label=1), step=4)
    found = read_best(tmp_path)
    assert found is not None
    assert (found.step, found.recall, found.tensors()["student/a"].item()) == (4, 0.4, 4)


def test_a_damaged_file_is_said_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run does not end for it."""
    (tmp_path / BEST).write_bytes(b"torn")
    assert read_best(tmp_path) is None
    assert "is damaged" in " ".join(capsys.readouterr().err.split())
    assert keep_if_best(tmp_path, {"student/a": torch.zeros(1)}, {RECALL: 0.1}, _watched(), step=1)
    assert read_best(tmp_path) is not None
