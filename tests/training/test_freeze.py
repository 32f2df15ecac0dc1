"""Frozen parts of a student stay as they are, to the bit, through steps, checkpoints and resumption."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from alumnus.errors import ConfigError
from alumnus.models.artifact import load_student
from alumnus.models.student import Architecture, Student
from alumnus.training.build import build_student
from alumnus.training.freeze import freeze, set_training
from alumnus.training.loop import train
from alumnus.training.run import Run
from tests.given import Colours, Stopped
from tests.training.test_loop import _bytes, _config

NETWORK = Architecture("test_efficientnet", size=32, embed_dim=8)


@pytest.fixture
def student() -> Student:
    """A small network with batch norms."""
    return Student(NETWORK)


def _open(student: nn.Module) -> set[str]:
    return {name for name, parameter in student.named_parameters() if parameter.requires_grad}


def test_patterns_and_names_of_modules_choose_parameters(student: Student) -> None:
    """A module's name is all within it, and nothing beside it that only begins alike."""
    everything = _open(student)
    freeze(student, ["backbone"])
    assert _open(student) == {"embed.weight", "embed.bias"}
    other = Student(NETWORK)
    freeze(other, ["backbone.blocks.0", "*.bias"])
    assert _open(other) == {
        name
        for name in everything
        if not name.startswith("backbone.blocks.0.") and not name.endswith(".bias")
    }


def test_nothing_matched_names_near_parameters(student: Student) -> None:
    """And all frozen says what to leave."""
    with pytest.raises(
        ConfigError, match=r"'backbone\.blocs\.0\.\*' matches no parameter.*near are backbone\.blocks\.0"
    ):
        freeze(student, ["backbone.blocs.0.*"])
    with pytest.raises(ConfigError, match=r"freezes all .* such as embed"):
        freeze(student, ["backbone", "embed"])


def test_frozen_modules_are_in_eval_mode_and_others_train(student: Student) -> None:
    """Batch norms with an open parameter go on; those within a frozen part do not."""
    freeze(student, ["backbone.blocks.0.*", "backbone.bn1.weight"])
    set_training(student)
    modes = {name: module.training for name, module in student.named_modules()}
    assert not any(mode for name, mode in modes.items() if name.startswith("backbone.blocks.0."))
    assert modes["backbone.bn1"]
    assert modes["backbone.blocks.1"]
    assert modes[""]


@pytest.mark.parametrize("pattern", ["backbone", "backbone.blocks.0.*"])
def test_a_run_leaves_frozen_tensors_bit_for_bit(pattern: str, tiny_images: Path, tmp_path: Path) -> None:
    """Weights, batch-norm statistics and their moving averages; the rest moves, also under weight decay."""
    config = _config(tmp_path / "run", tiny_images, student="timm/test_efficientnet", freeze=[pattern])
    first = build_student(config).state_dict()
    last = load_student(train(config).student).state_dict()
    prefix = pattern.removesuffix("*")
    same = {name for name, value in first.items() if torch.equal(value, last[name])}
    frozen = {name for name in first if name.startswith(prefix)}
    assert any(name.endswith("running_mean") for name in frozen)
    assert frozen <= same
    assert {"embed.weight", "embed.bias"} & same == set()
    others = {name for name in first.keys() - frozen if name.endswith(("weight", "running_mean"))}
    assert others & same == set()


def test_frozen_batch_norms_keep_their_statistics_and_learn_their_weights(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after a frozen start, which sets the modes anew; of a network without any it is told."""
    optim = {"batch_norm": "frozen", "frozen": 0.4}
    config = _config(tmp_path / "run", tiny_images, student="timm/test_efficientnet", optim=optim)
    first = build_student(config).state_dict()
    last = load_student(train(config).student).state_dict()
    kept = {name for name in first if name.endswith(("running_mean", "running_var"))}
    same = {name for name, value in first.items() if torch.equal(value, last[name])}
    assert kept
    assert kept <= same
    assert {name for name in first if name.startswith("backbone.bn1.weight")}.isdisjoint(same)
    train(_config(tmp_path / "vit", tiny_images, student="timm/test_vit", optim=optim))
    assert "no effect on test_vit, which has no batch norm" in capsys.readouterr().err


def test_a_stopped_run_with_frozen_parts_goes_on_to_the_same_bits(tiny_images: Path, tmp_path: Path) -> None:
    """The optimiser's numbering of parameters is that of the whole student."""

    def run(out: Path, calls: int | None = None) -> Run:
        teachers = [{"model": Colours(calls), "name": "colours", "size": 32}]
        settings = {"student": "timm/test_efficientnet", "freeze": ["backbone.blocks.0", "backbone.bn1"]}
        return train(_config(out, tiny_images, teachers=teachers, **settings))

    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", calls=6)
    assert _bytes(run(tmp_path / "cut")) == _bytes(whole)


def test_freezing_otherwise_is_another_run(tiny_images: Path, tmp_path: Path) -> None:
    """`none` is what there was before; another pattern is a difference."""
    for nothing in ("none", None, ()):
        assert _config(tmp_path, tiny_images, freeze=nothing).freeze is None
    assert _config(tmp_path, tiny_images, freeze="backbone").freeze == ("backbone",)
    train(_config(tmp_path / "run", tiny_images, freeze="backbone"))
    with pytest.raises(ConfigError, match=r"freeze: was \['backbone'\], is None"):
        train(_config(tmp_path / "run", tiny_images))


def test_a_frozen_start_leaves_the_backbone_until_its_share_of_the_steps_is_over(
    tiny_images: Path, tmp_path: Path
) -> None:
    """To the bit, batch norms too, while the head moves; after it everything moves, but for what is frozen for good."""
    settings = {"student": "timm/test_efficientnet", "optim": {"frozen": 0.5}, "checkpoint_every": 1}
    settings["freeze"] = ["backbone.blocks.0.*"]
    network = build_student(_config(tmp_path / "run", tiny_images, **settings))
    first = {f"student/{name}": tensor for name, tensor in network.state_dict().items()}
    seen = {}
    for stop, calls in ((3, 4), (4, 2)):  # one call finds the teacher's width
        teachers = [{"model": Colours(calls), "name": "colours", "size": 32}]
        config = _config(tmp_path / "run", tiny_images, teachers=teachers, **settings)
        with pytest.raises(Stopped):
            train(config)
        path = tmp_path / "run" / "checkpoints" / f"step-{stop}" / "state.safetensors"
        tensors = safetensors.torch.load_file(path)
        seen[stop] = {name for name, tensor in first.items() if torch.equal(tensors[name], tensor)}
    backbone = {name for name in first if name.startswith("student/backbone.")}
    assert seen[3] == backbone
    assert seen[4] == {name for name in backbone if name.startswith("student/backbone.blocks.0.")}


def test_a_run_with_a_frozen_start_goes_on_to_the_same_bits(tiny_images: Path, tmp_path: Path) -> None:
    """Stopped while frozen, and after; the optimiser knows nothing of the backbone in the first checkpoint."""

    def run(out: Path, calls: int | None = None) -> Run:
        teachers = [{"model": Colours(calls), "name": "colours", "size": 32}]
        optim = {"frozen": 0.5, "backbone_lr": 0.1, "warmup": 0, "final_lr": 1, "clip_norm": float("inf")}
        settings = {"student": "timm/test_efficientnet", "optim": optim, "checkpoint_every": 1}
        return train(_config(out, tiny_images, teachers=teachers, **settings))

    whole = run(tmp_path / "whole")
    for calls in (3, 3):  # one of them finds the teacher's width
        with pytest.raises(Stopped):
            run(tmp_path / "cut", calls=calls)
    assert _bytes(run(tmp_path / "cut")) == _bytes(whole)
