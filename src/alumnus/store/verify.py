"""Is a store still right? Every byte against its checksum, and the teachers themselves, asked again about a sample.

Axes: n outputs of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from alumnus.data.dataset import open_dataset
from alumnus.errors import AlumnusError, ConfigError, DataError, StoreError
from alumnus.log import bar
from alumnus.moments import Moments
from alumnus.store.build import outputs_of
from alumnus.store.claims import Entries
from alumnus.store.folder import About, Folder, folders, moments_paths, shard_paths
from alumnus.store.identity import Files, identify
from alumnus.store.measure import give_back
from alumnus.store.precision import Precision
from alumnus.store.read import Stored
from alumnus.store.shard import NAME, Rows, is_intact
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec

# How far a teacher asked again may be from what was kept, relative to the length of the feature: other kernels, threads and batches move
# the last digits of float32 by 1e-6 or so; float16 rounds to 5e-4; int8 by half a step of each channel, which is added for each row.
TOLERANCE: Mapping[Precision, float] = {"float32": 1e-4, "float16": 2e-3, "int8": 1e-3}
SMALLEST_HALF = 6e-8  # between neighbours of float16 near zero, for each number
SLACK = 1.01  # on int8's half steps, which are worked out in float32
# Sources that are read and never run. A store may come from a stranger, and what it notes is not the user's word: a teacher of any other
# source is loaded only if the user's own recipe names it.
DATA_ONLY = ("timm/", "torchvision/", "hf:", "open_clip:", "onnx:", "alumnus:")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Verdict:
    """On one teacher's outputs."""

    folder: str
    shards: int
    damaged: tuple[str, ...]  # names of shards and of moments
    asked_again: int  # outputs of the sample
    drifted: int  # of them, those that the teacher no longer says
    largest_error: float  # |kept - said| / |said|
    note: str = ""  # why the teacher was not asked
    could_ask: bool = True  # or was not to: sample=0, or there is nothing to ask about
    is_repaired: bool = False  # damaged files were removed

    @property
    def is_right(self) -> bool:
        """Whether nothing was found that is still there, and the teacher was asked if it was to be."""
        return (self.is_repaired or not self.damaged) and not self.drifted and self.could_ask


@dataclass(frozen=True)
class Again:
    """How teachers are asked again."""

    sample: int = 32  # outputs of each; 0 checks the files alone
    seed: int = 0  # of the sample
    data: tuple[str, ...] = ()  # where the images are; by default where they were when the store was built
    specs: Mapping[str, TeacherSpec] = field(
        default_factory=dict
    )  # fingerprint -> how to load a teacher; by default as then
    device: torch.device = CPU
    workers: int = 2


def verify(store: Path, how: Again, *, repair: bool = False) -> list[Verdict]:
    """Returns what was found, a verdict for each teacher's folder.

    Args:
        repair: remove damaged shards and moments, so that the next build or run computes them again.

    Raises:
        ConfigError: the sample is below 0.
        StoreError: there is no store.
    """
    if how.sample < 0:
        raise ConfigError(
            f"sample={how.sample}: 0 or more outputs of each teacher can be asked about again; 0 checks the files alone"
        )
    found = list(folders(store))
    if not found:
        raise StoreError(f"{store} holds no teacher outputs; `alumnus cache build` makes a store")
    return [_verdict(folder, how, repair=repair) for folder in found]


def _verdict(folder: Folder, how: Again, *, repair: bool) -> Verdict:
    paths = shard_paths(folder.path)
    damaged = _damaged(folder, [*paths, *moments_paths(folder.path)])
    if repair:
        for path in damaged:
            path.unlink()
    names = tuple(path.name for path in damaged)
    found = Verdict(folder.path.name, len(paths), names, 0, 0, 0.0, is_repaired=repair)
    if damaged and not repair:
        return replace(found, note="not asked again: files are damaged", could_ask=False)
    if not how.sample:
        return replace(found, note="not asked again: sample=0")
    try:
        now = folder.refreshed()
        if not any(map(len, now.shards)):
            return replace(found, note="not asked again: it holds no outputs")
        errors, drifted = _asked_again(now, how)
    except AlumnusError as error:
        return replace(found, note=f"not asked again: {error}", could_ask=False)
    finally:
        give_back(how.device)
    return replace(
        found,
        asked_again=len(errors),
        drifted=int(drifted.sum()),
        largest_error=float(errors.max(initial=0.0)),
    )


def _damaged(folder: Folder, paths: Sequence[Path]) -> list[Path]:
    found = list[Path]()
    with bar(f"check {folder.path.name}", total=len(paths)) as line:
        for path in paths:
            if not (is_intact(path) if NAME.fullmatch(path.name) else _are_moments(path)):
                found.append(path)
            line.advance()
    return found


def _are_moments(path: Path) -> bool:
    try:
        Moments.load(path)
    except DataError:
        return False
    return True


def _asked_again(folder: Folder, how: Again) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns the relative error of each output of a sample, and whether it is more than keeping it explains, (n,) each."""
    about = folder.about
    spec = how.specs.get(about.fingerprint) or _noted_spec(about)
    entries, files = _sample(folder, how)
    teacher = load_teacher(spec, device=how.device)
    stored = Stored(folder, domains=None, weight=1.0, name=teacher.name)
    found = [_compared(stored, said) for said in outputs_of(teacher, entries, files, about.geometry)]
    if not found:
        raise StoreError("none of the images of the sample can be read")
    errors, drifted = zip(*found, strict=True)
    return np.concatenate(errors), np.concatenate(drifted)


def _compared(stored: Stored, said: Rows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns what `_asked_again` does, of some of the outputs."""
    folder, kept = stored.folder, stored.read(said.key, said.view)
    shard, _ = folder.index.places(folder.index.find(said.key, said.view))
    parts = {"summary": (said.features.summary, kept.summary)}
    if said.features.patches is not None and kept.patches is not None:
        parts["patches"] = (said.features.patches, kept.patches)
    error, drifted = np.zeros(len(shard)), np.zeros(len(shard), bool)
    for name, (true, found) in parts.items():
        rounding = np.array([each.rounding[name] for each in folder.shards])[shard]
        moved, length = _length(found - true), _length(true)
        error = np.maximum(error, moved / length.clip(min=np.finfo(np.float64).tiny))
        drifted |= moved > _allowed(folder.about.precision, length, rounding, width=true[0].numel())
    return error, drifted


def _allowed(
    precision: Precision, length: NDArray[np.float64], rounding: NDArray[np.float64], *, width: int
) -> NDArray[np.float64]:
    """How far each row (n,) may be from what the teacher says now: as a length, as `length` and `rounding` are."""
    least = SMALLEST_HALF * math.sqrt(width) if precision == "float16" else 0.0
    return np.asarray(TOLERANCE[precision] * length + least + SLACK * rounding)


def _noted_spec(about: About) -> TeacherSpec:
    """Returns how a teacher was loaded, as the store says, if that runs no code.

    Raises:
        StoreError: it would run code, or is no specification.
    """
    if about.spec is None:
        raise StoreError(
            f"this teacher was a Python object; give the recipe that has it (fingerprint {about.fingerprint[:16]})"
        )
    try:
        spec = TeacherSpec.model_validate(about.spec)
    except ValidationError as error:
        raise StoreError(
            f"about.json does not say how its teacher is loaded ({error.errors()[0]['msg']})"
        ) from error
    if spec.trusted or not spec.source.startswith(DATA_ONLY):
        raise StoreError(
            f"loading {spec.source} may run code, which is not done on a store's word; give the recipe that has it (fingerprint "
            f"{about.fingerprint[:16]}): alumnus cache verify STORE RECIPE"
        )
    return spec


def _sample(folder: Folder, how: Again) -> tuple[Entries, Files]:
    """Returns outputs (n, 2), views of an image one after another, whose images are there, and the files of all images."""
    sources = how.data or folder.about.data
    if not sources:
        raise StoreError("where its images were is not known; give data=")
    images = open_dataset(list(sources))
    keys = identify(images, folder.path.parent, workers=how.workers, remembers=False)
    files = Files(keys, images.paths)
    key = np.concatenate([np.empty(0, np.int64), *(shard.key for shard in folder.shards)])
    view = np.concatenate([np.empty(0, np.int64), *(shard.view for shard in folder.shards)])
    here = np.flatnonzero([int(one) in files for one in key])
    if not len(here):
        raise StoreError(f"none of its images are in {', '.join(sources)}")
    chosen = np.random.default_rng(how.seed).choice(here, min(how.sample, len(here)), replace=False)
    entries = np.stack([key[chosen], view[chosen]], axis=1)
    return entries[np.lexsort((entries[:, 1], entries[:, 0]))], files


def _length(x: Tensor) -> NDArray[np.float64]:
    """Of each row (n,), over all that it holds."""
    return np.asarray(x.flatten(1).double().norm(dim=1).numpy())
