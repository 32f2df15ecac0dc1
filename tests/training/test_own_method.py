"""A method of somebody's own in a run: what it may remember, and what it is told when something is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError, NonFiniteError
from alumnus.log import read_metrics
from alumnus.models.student import Student
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from alumnus.types import Batch, Targets, Terms
from tests.given import Colours, Stopped

Change = Callable[[Terms, "Own"], Terms]
NAME = "tests.training.test_own_method"


class Settings(MethodSettings):
    """None: this file is a method too."""


class Own(Objective):
    """Pulls embeddings to a centre of its own; it remembers some, and how many steps there were."""

    change: Change = staticmethod(lambda terms, own: terms)  # of what it returns
    steps_left: int | None = None  # until it stops
    is_spoiling = False  # what others are given too

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.center = nn.Parameter(torch.ones(embed_dim))
        self.queue: Tensor | None
        self.levels: Tensor
        self.steps: Tensor
        self.register_buffer("queue", None)
        self.register_buffer("levels", torch.zeros(1).expand(3))
        self.register_buffer("steps", torch.zeros(0))

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """The distance, of images and of the remembered ones."""
        if Own.steps_left is not None:
            Own.steps_left -= 1
            if Own.steps_left < 0:
                raise Stopped
        embedding = student(batch.image).embedding
        before = embedding[:0].detach() if self.queue is None else self.queue
        if Own.is_spoiling:
            targets["colours"].features.summary.mul_(2)
        self.queue = torch.cat([before, embedding[:2].detach()])[-6:]
        self.steps = torch.cat([self.steps, torch.tensor([progress])])
        self.levels = self.levels + torch.tensor([1.0, 2.0, 3.0])
        distance = (embedding - self.center).square().mean(1)
        loss = distance.mean() + 0.1 * (self.queue - self.center).square().mean() + 0 * self.levels.sum()
        return Own.change(Terms(loss, {"loss/own": loss.detach()}, distance.detach()), self)


def build(settings: Settings, setup: Setup) -> Objective:
    """As of any method."""
    return Own(setup.embed_dim)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "change", Own.change)
    monkeypatch.setattr(Own, "steps_left", None)
    monkeypatch.setattr(Own, "is_spoiling", False)


def _train(out: Path, data: Path, change: Change | None = None, **settings: Any) -> Run:
    if change is not None:
        Own.change = staticmethod(change)
    given = {
        "student": "timm/mobilenetv3_small_050",
        "teachers": [{"model": Colours(), "name": "colours", "size": 32}],
        "method": NAME,
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 8,
        "workers": 0,
        "log_every": 2,
        "checkpoint_every": 2,
        "precision": "float32",
    }
    return train(load_config(out=out, data=data, **given | settings))


def test_what_buffers_remember_goes_on_whatever_shape_they_had(tiny_images: Path, tmp_path: Path) -> None:
    """A queue that begins as None, one that grows and one that begins expanded: stopped, the run ends in the same bytes."""
    whole = _train(tmp_path / "whole", tiny_images)
    Own.steps_left = 5
    with pytest.raises(Stopped) as stopped:
        _train(tmp_path / "stopped", tiny_images)
    assert "in step 5, in the objective of method=tests.training.test_own_method" in stopped.value.__notes__
    Own.steps_left = 2  # steps 4 and 5
    again = _train(tmp_path / "stopped", tiny_images)
    for name in ("model.safetensors", "heads.safetensors"):
        assert (again.student / name).read_bytes() == (whole.student / name).read_bytes()


def test_a_run_keeps_the_method_and_tells_when_it_was_changed(
    tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on with the new file; the one that it began with stays beside it. Methods of ours are of a version, and are not kept."""
    file = tmp_path / "pulls.py"
    file.write_text(f"from {NAME} import Settings, build\n")
    monkeypatch.syspath_prepend(tmp_path)
    Own.steps_left = 4
    with pytest.raises(Stopped):
        _train(tmp_path / "run", tiny_images, method="pulls")
    before = file.read_text()
    file.write_text(before + "# another\n")
    Own.steps_left = None
    run = _train(tmp_path / "run", tiny_images, method="pulls")
    assert "the method's file has changed since the run began" in (run.folder / "log.txt").read_text()
    assert (run.folder / "method.py").read_text() == before
    again = _train(tmp_path / "run", tiny_images, method="pulls", resume="never")
    assert (again.folder / "method.py").read_text() == file.read_text()
    ours = _train(tmp_path / "ours", tiny_images, method="plain")
    assert not (ours.folder / "method.py").exists()


def test_losses_of_images_in_bfloat16_reach_the_sampler(tiny_images: Path, tmp_path: Path) -> None:
    """Numpy has no such type."""
    run = _train(
        tmp_path / "run",
        tiny_images,
        lambda terms, _: terms._replace(per_sample=terms.per_sample.bfloat16()),
        sampler={"name": "dynamic", "every": 3},
    )
    assert run.is_done


def test_an_image_whose_loss_is_not_finite_ends_the_run(tiny_images: Path, tmp_path: Path) -> None:
    """A sampler would go by it; where `has_loss` says that it has none it does not count."""

    def broken(terms: Terms, own: Own) -> Terms:
        losses = terms.per_sample.clone()
        losses[1] = torch.nan
        return terms._replace(per_sample=losses)

    with pytest.raises(
        NonFiniteError, match=r"step 0: the loss of 1 of 8 images \(per_sample\) is not finite"
    ):
        _train(tmp_path / "run", tiny_images, broken)
    assert json.loads((tmp_path / "run/replay.json").read_text())["step"] == 0
    without = _train(
        tmp_path / "masked",
        tiny_images,
        lambda terms, own: broken(terms, own)._replace(has_loss=torch.arange(8) != 1),
    )
    assert without.is_done


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        ("float32", "; a lower lr usually helps"),
        ("bfloat16", "; a lower lr or precision=float32 usually helps"),
    ],
)
def test_a_loss_that_is_not_finite_is_told_with_what_is_left_to_try(
    tiny_images: Path, tmp_path: Path, precision: str, words: str
) -> None:
    """A run in float32 is not told to take it."""
    with pytest.raises(NonFiniteError, match=words):
        _train(
            tmp_path / "run",
            tiny_images,
            lambda terms, own: terms._replace(loss=terms.loss * torch.nan),
            precision=precision,
        )


def test_a_report_that_is_not_finite_is_null_and_told_once(tiny_images: Path, tmp_path: Path) -> None:
    """The log stays JSON, and the run goes on."""

    def broken(terms: Terms, own: Own) -> Terms:
        return terms._replace(report={**terms.report, "kappa": torch.tensor(torch.nan)})

    run = _train(tmp_path / "run", tiny_images, broken)
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["kappa"] for line in lines] == [None] * 3
    assert all(line["kappa"] != line["kappa"] for line in read_metrics(run.folder / "metrics.jsonl"))
    assert (run.folder / "log.txt").read_text().count("warning: kappa is nan in the log up to step 1") == 1


def test_a_module_that_comes_with_the_first_step_ends_the_run(tiny_images: Path, tmp_path: Path) -> None:
    """No checkpoint of it could be put into what `build` makes."""

    def adds(terms: Terms, own: Own) -> Terms:
        own.teacher = nn.Linear(2, 2)
        return terms

    with pytest.raises(
        ConfigError, match=r"objective has \(teacher, teacher\.bias, teacher\.weight\), so that"
    ):
        _train(tmp_path / "run", tiny_images, adds)


def test_who_changes_what_a_teacher_said_ends_the_run(tiny_images: Path, tmp_path: Path) -> None:
    """The next of several students would learn from it."""
    Own.is_spoiling = True
    with pytest.raises(ConfigError, match=f"method={NAME}: changes what teacher colours said in place"):
        _train(tmp_path / "run", tiny_images)


def test_processes_that_have_another_loss_of_the_same_batch_end_the_run(
    tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first step: from then on each would learn something else."""
    monkeypatch.setattr("alumnus.training.loop.gathered", lambda mine: [*mine, *(2 * each for each in mine)])
    with pytest.raises(
        ConfigError, match=rf"method={NAME}: the loss of one step is .*\[batch\.own\].*batch\.image"
    ):
        _train(tmp_path / "run", tiny_images)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda terms, own: terms._replace(loss=own.center.sum()),
            "step 0 depends on no parameter of the student",
        ),
        (
            lambda terms, own: terms._replace(report={"lr": terms.loss.detach()}),
            "the report's lr would stand",
        ),
    ],
)
def test_what_would_be_learnt_or_logged_wrongly_ends_the_run(
    tiny_images: Path, tmp_path: Path, change: Change, words: str
) -> None:
    """In its first step."""
    with pytest.raises(ConfigError, match=words):
        _train(tmp_path / "run", tiny_images, change)
