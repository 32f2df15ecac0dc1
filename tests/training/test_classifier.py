"""The classifier that a method asks for: trained, resumed, averaged, saved and continued with the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.models.artifact import load_student, read_about, save_student
from alumnus.models.student import Architecture, Student
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from alumnus.training.stages import load_stages, train_stages


class _Stop(Exception):
    """Ends a run from inside."""


class Colours(nn.Module):
    """A teacher of features or logits: the mean colour of each part of a picture; it stops after some calls."""

    def __init__(self, side: int, calls: int = 10**6) -> None:
        super().__init__()
        self.side, self.calls_left = side, calls

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 3 side^2)."""
        self.calls_left -= 1
        if self.calls_left < 0:
            raise _Stop
        return 4 * nn.functional.adaptive_avg_pool2d(image, self.side).flatten(1)


def _teacher(name: str, side: int, calls: int = 10**6, **settings: object) -> dict[str, Any]:
    return {"model": Colours(side, calls), "name": name, "size": 16, **settings}


def _settings(out: Path, data: Path, **settings: object) -> dict[str, Any]:
    values: dict[str, Any] = {
        "out": out,
        "data": data,
        "student": "timm/test_resnet",
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 8,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    return {**values, **settings}


def _cfl(out: Path, data: Path, *, calls: int = 10**6) -> Config:
    teachers = [_teacher("whole", 1), _teacher("parts", 2), _teacher("classes", 1, calls)]
    return load_config(
        **_settings(out, data, teachers=teachers, method={"name": "cfl", "logits": ["classes"]})
    )


def _dmc(out: Path, data: Path, *, calls: int = 10**6) -> Config:
    teachers = [_teacher("old", 2), _teacher("new", 1, calls)]
    method = {"name": "dmc", "logits": ["old", "new"], "spread": True}
    return load_config(**_settings(out, data, teachers=teachers, method=method))


def _bytes(run: Run) -> bytes:
    return (run.student / "model.safetensors").read_bytes() + (run.student / "heads.safetensors").read_bytes()


@pytest.mark.parametrize("make", [_cfl, _dmc])
def test_a_stopped_run_continues_to_the_same_bits(make: Any, tiny_images: Path, tmp_path: Path) -> None:
    """Stopped at step 5 after a checkpoint at 4: the rest gives the same student, classifier included, and the same log."""
    whole = train(make(tmp_path / "whole", tiny_images))
    with pytest.raises(_Stop):
        train(make(tmp_path / "cut", tiny_images, calls=6))  # one call finds the width
    cut = train(make(tmp_path / "cut", tiny_images))
    assert _bytes(cut) == _bytes(whole)
    losses = [[line["loss"] for line in read_metrics(run.folder / "metrics.jsonl")] for run in (cut, whole)]
    assert losses[0] == losses[1]
    assert load_student(cut.student).classes == ({"classes": 3} if make is _cfl else {"old": 12, "new": 3})


def test_the_classifier_is_averaged_with_the_student(tiny_images: Path, tmp_path: Path) -> None:
    """With a moving average another one is saved than without."""
    kept = []
    for ema in (0.0, 0.9):
        run = train(_dmc(tmp_path / str(ema), tiny_images).model_copy(update={"optim": _optim(ema)}))
        classifier = load_student(run.student).classifier
        assert classifier is not None
        kept.append(classifier.weight.detach())
    assert not torch.equal(*kept)
    torch.testing.assert_close(*kept, rtol=0, atol=0.05)


def _optim(ema: float) -> Any:
    return load_config(**_settings(Path("unused"), Path("unused"), optim={"ema": ema})).optim


def test_increments_are_stages(tiny_images: Path, tmp_path: Path) -> None:
    """Each stage's student is the next one's old classifier; in the end it tells the classes of all apart."""
    method = {"name": "dmc", "logits": ["first", "second"]}
    stages = load_stages(
        **_settings(tmp_path / "run", tiny_images, method=method, steps=2),
        stages=[
            {"name": "two", "teachers": [_teacher("first", 1), _teacher("second", 2)]},
            {
                "name": "three",
                "student": "stage:two",
                "method": {"logits": ["third"]},
                "teachers": [
                    {"model": "stage:two", "name": "old", "output": "logits"},
                    _teacher("third", 1),
                ],
            },
        ],
    )
    run = train_stages(stages)
    assert load_student(tmp_path / "run/stages/two/student").classes == {"first": 3, "second": 12}
    assert load_student(run.student).classes == {"old": 15, "third": 3}
    spec = TeacherSpec(model=f"alumnus:{run.student}", output="logits")
    assert load_teacher(spec, device=torch.device("cpu")).num_features == 18


def test_a_student_goes_on_with_its_classifier(tiny_images: Path, tmp_path: Path) -> None:
    """The same groups at another size begin with the weights that there are; a method without classes takes them away."""
    first = train(_dmc(tmp_path / "first", tiny_images))
    changes: dict[str, Any] = {"student": f"alumnus:{first.student}", "lr": 1e-9, "steps": 1}
    method = {"name": "dmc", "logits": ["old", "new"]}
    teachers = [_teacher("old", 2), _teacher("new", 1)]
    larger = _settings(tmp_path / "on", tiny_images, teachers=teachers, method=method, size=48, **changes)
    before, after = load_student(first.student), load_student(train(load_config(**larger)).student)
    assert before.classifier is not None
    assert after.classifier is not None
    torch.testing.assert_close(after.classifier.weight, before.classifier.weight, rtol=0, atol=1e-5)
    for name, value in {"weights": "w.pth", "model_args": {"drop_path_rate": 0.1}, "mean": [0, 0, 0]}.items():
        wrong = {"model": f"alumnus:{first.student}", name: value}
        with pytest.raises(ConfigError, match=rf"student\.{name} is of a new network"):
            train(load_config(**{**larger, "student": wrong, "out": tmp_path / "wrong"}))
    plain = _settings(tmp_path / "plain", tiny_images, teachers=[_teacher("old", 2)], **changes)
    found = train(load_config(**plain))
    assert load_student(found.student).classes == {}
    assert "classes" not in read_about(found.student)


def test_stored_teachers_are_live_ones(tiny_images: Path, tmp_path: Path) -> None:
    """Features and logits of one network, listed twice, out of a store: the same student to the last bit."""
    torch.manual_seed(0)
    networks = {name: Student(Architecture("test_resnet", 32, 8)) for name in ("digits", "clothes")}
    teachers = []
    for name, network in networks.items():
        network.classify({name: 4})
        model = f"alumnus:{save_student(network, tmp_path / name)}"
        teachers += [
            {"model": model, "name": name},
            {"model": model, "name": f"{name}_logits", "output": "logits"},
        ]
    shared: dict[str, Any] = {
        "teachers": teachers,
        "method": "cfl",
        "views": {"per_image": 1},
        "steps": 3,
    }
    store = {"path": tmp_path / "store", "precision": "float32"}
    live = train(load_config(**_settings(tmp_path / "live", tiny_images, **shared)))
    stored = train(
        load_config(**_settings(tmp_path / "stored", tiny_images, store=store, targets="stored", **shared))
    )
    assert _bytes(live) == _bytes(stored)
    assert load_student(stored.student).classes == {"digits_logits": 4, "clothes_logits": 4}
