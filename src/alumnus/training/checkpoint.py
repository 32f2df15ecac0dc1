"""Checkpoints: all that a run needs to continue as if it had not stopped.

A checkpoint is a folder `step-N` with `state.safetensors` (student, objective, moving average, optimiser moments, losses that the
sampler goes by) and
`state.json` (step, fingerprint of the configuration, SHA-256 of the tensors). It is written under another name, synced to disk
and renamed, so that it is whole or absent; the last good two are kept, and a torn one is skipped. Randomness needs no place in it:
it is a function of the step.

Of a sharded student (see `shards.py`) the same file is written by the first process from tensors gathered one by one, and read by it and
spread. Not by torch.distributed.checkpoint: its own format keeps its `.metadata` as a pickle, which runs what is planted in it when it is
read. Its other one, safetensors, has none, but has every process write and read files of its own, which needs a file system that all
machines share, and no checksums. Here a run goes on with any number of processes, sharded or not, and only the first one needs the folder;
the price is that it holds the whole state in main memory while it writes, and that the others wait.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from alumnus.data.sampler import Sampling
from alumnus.disk import sync, sync_folder
from alumnus.distributed import decided, from_main, is_main, world_size
from alumnus.errors import CheckpointError
from alumnus.log import console
from alumnus.models.tensors import savable
from alumnus.training.optim import Ema
from alumnus.training.scaling import LossScale
from alumnus.training.shards import gather_shards, is_sharded, spread

KEEP = 2
TEACHERS = "teachers.json"  # of the run


class TrainState:
    """What a run changes while it goes."""

    def __init__(
        self,
        student: nn.Module,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: Ema | None,
        sampler: Sampling | None = None,
        scaling: LossScale | None = None,
    ) -> None:
        self.student, self.objective, self.optimizer, self.ema = student, objective, optimizer, ema
        self.sampler = sampler  # the run's, which several students have in common
        self.scaling = scaling  # of the loss, in float16
        self.is_sharded = is_sharded(student)

    def tensors(self) -> dict[str, Tensor]:
        """Returns every tensor, whole, under a name that says where it belongs.

        If the student is sharded, all processes have to ask, and the first gets them.
        """
        tensors = {f"student/{name}": tensor for name, tensor in self.student.state_dict().items()}
        tensors |= {f"objective/{name}": tensor for name, tensor in self.objective.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema/{name}": tensor for name, tensor in self.ema.tensors.items()}
        if self.sampler is not None:
            tensors |= {f"sampler/{name}": tensor for name, tensor in self.sampler.tensors().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in values.items()}
        if self.scaling is not None:
            tensors |= {f"scaling/{name}": tensor for name, tensor in self.scaling.tensors().items()}
        if self.is_sharded:
            tensors = gather_shards(tensors)
        return savable(tensors)

    def result(self) -> dict[str, Tensor]:
        """Returns what the run would end with now: the student's weights, averaged if they are, and the objective's, which finishes it."""
        weights = self.student.state_dict() if self.ema is None else self.ema.tensors
        objective = self.objective.state_dict()
        return {
            **{f"student/{name}": tensor for name, tensor in weights.items()},
            **{f"objective/{name}": tensor for name, tensor in objective.items()},
        }

    def end_with(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts the tensors of `result()` into student and objective; the state is not one to go on from then."""
        self.student.load_state_dict(_under(tensors, "student/"))
        self._restore_objective(tensors)

    def _restore_objective(self, tensors: Mapping[str, Tensor]) -> None:
        found = _under(tensors, "objective/")
        _make_room(self.objective, found, device=next(iter(self.student.parameters())).device)
        self.objective.load_state_dict(found)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts the tensors of `tensors()` back; if the student is sharded, in all processes those that the first one gives."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.is_sharded:
            tensors = spread(tensors, self._places(parameters))
        self.student.load_state_dict(_under(tensors, "student/"))
        self._restore_objective(tensors)
        if self.ema is not None:
            for name, value in _under(tensors, "ema/").items():
                self.ema.tensors[name].copy_(value)
        if self.sampler is not None:
            self.sampler.restore(_under(tensors, "sampler/"))
        if self.scaling is not None:
            self.scaling.restore(_under(tensors, "scaling/"))
        moments: dict[int, dict[str, Tensor]] = {}
        for path, value in _under(tensors, "optimizer/").items():
            number, name = path.split("/")
            moments.setdefault(int(number), {})[name] = _laid_out_as(parameters[int(number)], value)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})

    def _places(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """What each tensor of a state may be sharded like, by its name."""
        average = {} if self.ema is None else self.ema.tensors
        return {
            **{f"student/{name}": tensor for name, tensor in self.student.state_dict().items()},
            **{f"ema/{name}": tensor for name, tensor in average.items()},
            **{
                f"optimizer/{number}/{name}": parameter
                for number, parameter in enumerate(parameters)
                for name in ("exp_avg", "exp_avg_sq")  # of AdamW
            },
        }


def share_state(state: TrainState) -> None:
    """Gives every process the state of the first. Of a sharded student they have it: from its start, or from a checkpoint."""
    if world_size() == 1 or state.is_sharded:
        return
    data = from_main(lambda: safetensors.torch.save(state.tensors()))
    if not is_main():
        state.restore(safetensors.torch.load(data))


def save_checkpoint(folder: Path, state: TrainState, *, step: int, fingerprint: str) -> Path:
    """Writes `folder/step-N` and removes all but the last two.

    If the student is sharded, all processes have to call it; the first one writes.

    Args:
        step: number of steps that are done.
        fingerprint: of the configuration; a checkpoint of another one is refused.
    """
    temporary, final = folder / f".step-{step}.new", folder / f"step-{step}"
    tensors = state.tensors()
    if not is_main():
        return final
    for left in folder.glob(".step-*.new"):  # by a kill
        shutil.rmtree(left, ignore_errors=True)
    data = safetensors.torch.save(tensors)
    about = {"step": step, "config": fingerprint, "sha256": hashlib.sha256(data).hexdigest()}
    try:
        temporary.mkdir(parents=True)
        (temporary / "state.safetensors").write_bytes(data)
        (temporary / "state.json").write_text(json.dumps(about), encoding="utf-8")
        sync_folder(temporary)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk has no room for half a checkpoint
        raise
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    sync(folder)
    found = list(_newest_first(folder))
    # One of a later step was torn when this run began, or it would have begun there; it must not take a good one's place.
    kept = [path for path in found if _steps(path.name) <= step][:KEEP]
    for old in set(found) - set(kept):
        shutil.rmtree(old, ignore_errors=True)
    return final


class Saved(NamedTuple):
    """Where the checkpoints of a state are."""

    folder: Path
    state: TrainState
    fingerprint: str  # of the configuration
    teachers: Sequence[Mapping[str, Any]] = ()  # as in teachers.json, for what is said if they have changed


def load_checkpoint(folder: Path, state: TrainState, *, fingerprint: str) -> int:
    """Restores the newest good checkpoint; returns how many steps were done, 0 if there is none.

    Raises:
        CheckpointError: it belongs to another configuration.
    """
    return load_together([Saved(folder, state, fingerprint)])


def load_together(several: Sequence[Saved]) -> int:
    """Restores the newest step of which each has a good checkpoint; returns how many steps were done, 0 if there is none.

    All processes have to call it. The first one reads; what is sharded is restored in all, what is not in the first: see `share_state`.

    Raises:
        CheckpointError: one belongs to another configuration.
    """
    read = list[dict[str, Tensor]]()

    def look() -> int:
        step, found = _newest(several)
        read.extend(found)
        return step

    step = decided(look)
    for number, saved in enumerate(several if step else ()):
        if is_main() or saved.state.is_sharded:
            _restore(saved, f"step-{step}", read[number] if is_main() else {})
    return step


def _newest(several: Sequence[Saved]) -> tuple[int, list[dict[str, Tensor]]]:
    """Returns the newest step of which each has a good checkpoint, and their tensors; 0 if there is none."""
    common = set.intersection(*({path.name for path in _newest_first(saved.folder)} for saved in several))
    for name in sorted(common, key=_steps, reverse=True):
        read = [_good(saved, name) for saved in several]
        found = [tensors for tensors in read if tensors is not None]
        if len(found) == len(several):
            return _steps(name), found
    return 0, []


def _good(saved: Saved, name: str) -> dict[str, Tensor] | None:
    """Returns a checkpoint's tensors, or None if it is torn."""
    path = saved.folder / name
    try:
        config, tensors = _read(path)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        console.print(f"checkpoint {path.name} is torn and is skipped: {error}")
        return None
    if config != saved.fingerprint:
        raise CheckpointError(
            f"{path} was written under another configuration: {_what_changed(saved)}; resume=never starts again, or choose another out="
        )
    return tensors


def _what_changed(saved: Saved) -> str:
    """Images and labels are known only with the teachers and settings, so they are what is left if the teachers are as they were."""
    images = "(an image that was added, removed or has another size in bytes counts)"
    try:
        recorded = json.loads((saved.folder.parent / TEACHERS).read_text(encoding="utf-8"))
        before = {each["name"]: (each["fingerprint"], each.get("stored", "float32")) for each in recorded}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"images, labels or teachers are not what they were {images}"
    now = {each["name"]: (each["fingerprint"], each.get("stored", "float32")) for each in saved.teachers}
    changed = [name for name in now if before.get(name) != now[name]]
    if not changed:
        return f"images or labels are not what they were {images}"
    if len(changed) == 1:
        return f"the teacher {changed[0]} is not what it was"
    return f"the teachers {', '.join(changed)} are not what they were"


def _restore(saved: Saved, name: str, tensors: Mapping[str, Tensor]) -> None:
    try:
        saved.state.restore(tensors)
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{saved.folder / name} does not fit this run: {error}") from error


def _steps(name: str) -> int:
    """Of a checkpoint's folder."""
    return int(name.removeprefix("step-"))


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Returns the fingerprint of a checkpoint's configuration, and its tensors."""
    about = json.loads((path / "state.json").read_text(encoding="utf-8"))
    step, config, wanted = about["step"], about["config"], about["sha256"]
    if step != _steps(path.name):
        raise ValueError(f"it is of step {step}")
    data = (path / "state.safetensors").read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise ValueError(f"SHA-256 is {found[:12]}…, expected {wanted[:12]}…")
    return config, safetensors.torch.load(data)


def _newest_first(folder: Path) -> Iterator[Path]:
    found = [path for path in folder.glob("step-*") if path.name[5:].isdigit()]
    yield from sorted(found, key=lambda path: _steps(path.name), reverse=True)


def _make_room(module: nn.Module, tensors: Mapping[str, Tensor], *, device: torch.device) -> None:
    """Gives buffers the shape that they had when the tensors were saved: a queue may have grown, or begin as None or expanded."""
    for path, value in tensors.items():
        parent, _, name = path.rpartition(".")
        try:
            buffers = module.get_submodule(parent)._buffers
        except AttributeError:
            continue  # `load_state_dict` says what does not fit
        if name in buffers:
            now = buffers[name]
            if now is None or now.shape != value.shape or not now.is_contiguous():
                buffers[name] = torch.empty_like(value, device=device)


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """Returns a moment in its parameter's memory format: fused AdamW walks both by position in memory, and a checkpoint is contiguous."""
    if value.ndim and value.shape != parameter.shape:
        raise ValueError(
            f"a moment of the optimiser is of {tuple(value.shape)}, its parameter of {tuple(parameter.shape)}"
        )
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
