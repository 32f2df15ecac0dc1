"""Checkpoints are whole or absent, and a run continues from the newest good one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from alumnus.errors import CheckpointError
from alumnus.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from alumnus.training.optim import Ema


def _state(seed: int) -> TrainState:
    torch.manual_seed(seed)
    student, objective = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    optimizer = torch.optim.AdamW([*student.parameters(), *objective.parameters()])
    return TrainState(student, objective, optimizer, Ema(student, decay=0.9))


def _step(state: TrainState, step: int) -> None:
    torch.manual_seed(step)
    state.optimizer.zero_grad()
    state.objective(state.student(torch.randn(5, 3))).square().mean().backward()
    state.optimizer.step()
    assert state.ema is not None
    state.ema.update(state.student, step=step)


def _same(a: TrainState, b: TrainState) -> bool:
    one, other = a.tensors(), b.tensors()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_restored_state_continues_bit_for_bit(tmp_path: Path) -> None:
    """Five steps in one go equal three steps, a restart from disk, and two more."""
    whole, first, second = _state(0), _state(0), _state(1)
    for step in range(5):
        _step(whole, step)
    for step in range(3):
        _step(first, step)
    save_checkpoint(tmp_path, first, step=3, fingerprint="f")
    for step in range(load_checkpoint(tmp_path, second, fingerprint="f"), 5):
        _step(second, step)
    assert _same(whole, second)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    """Older checkpoints are removed; no temporary folder stays."""
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, _state(0), step=step, fingerprint="f")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-2"]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_torn_checkpoint_is_skipped(tmp_path: Path, name: str) -> None:
    """With the newest one cut short, the one before is used."""
    for step in (1, 2):
        save_checkpoint(tmp_path, _state(0), step=step, fingerprint="f")
    path = tmp_path / "step-2" / name
    path.write_bytes(path.read_bytes()[:-9])
    assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == 1


def test_one_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """The checksum covers the tensors; without a good checkpoint the run starts at 0."""
    path = save_checkpoint(tmp_path, _state(0), step=4, fingerprint="f") / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == 0


@pytest.mark.parametrize(
    "about", ["[]", "{", "7", '{"step": 4, "sha256": "0"}', '{"step": "4", "config": "f", "sha256": 0}']
)
def test_a_description_that_is_none_is_skipped(tmp_path: Path, about: str) -> None:
    """state.json is JSON, but says something else."""
    path = save_checkpoint(tmp_path, _state(0), step=4, fingerprint="f")
    (path / "state.json").write_text(about)
    assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == 0


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    """The run would begin at the wrong step."""
    save_checkpoint(tmp_path, _state(0), step=4, fingerprint="f").rename(tmp_path / "step-9")
    assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == 0


def test_torn_ones_of_later_steps_do_not_take_the_place_of_good_ones(tmp_path: Path) -> None:
    """Both of the last two are torn: the run begins again, and what it saves stays."""
    for step in (8, 9):
        (save_checkpoint(tmp_path, _state(0), step=step, fingerprint="f") / "state.json").write_text("{")
    assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == 0
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, _state(0), step=step, fingerprint="f")
        assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3"]


def test_another_configurations_checkpoint_is_refused(tmp_path: Path) -> None:
    """A fingerprint that differs is an error, not a fresh start."""
    save_checkpoint(tmp_path, _state(0), step=4, fingerprint="f")
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(tmp_path, _state(0), fingerprint="g")


def test_what_a_kill_left_half_written_is_ignored(tmp_path: Path) -> None:
    """A temporary folder is no checkpoint, and the next one that is written removes it."""
    (tmp_path / ".step-9.new").mkdir()
    assert load_checkpoint(tmp_path, _state(0), fingerprint="f") == 0
    save_checkpoint(tmp_path, _state(0), step=3, fingerprint="f")
    assert [path.name for path in tmp_path.iterdir()] == ["step-3"]
