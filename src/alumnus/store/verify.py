"""Is a store still right? Every byte against its checksum, teachers asked again about a sample, images read again for one of crops.

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
from alumnus.data.kept import KeptCrops, forget_crop, slots_of
from alumnus.errors import AlumnusError, ConfigError, DataError, StoreError
from alumnus.log import bar
from alumnus.moments import Moments
from alumnus.store.build import BATCH, outputs_of
from alumnus.store.claims import Entries
from alumnus.store.crops import Crops
from alumnus.store.folder import About, Folder, folders, moments_paths, shard_paths
from alumnus.store.identity import Files, identify
from alumnus.store.kept import CropsFolder, crops_folders, decoder
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
    """On one teacher's outputs, or on crops."""

    folder: str
    shards: int  # or files of crops
    damaged: tuple[str, ...]  # names of shards and of moments; of crops the file and how many
    asked_again: int  # outputs of the sample, or crops
    drifted: int  # of them, those that the teacher no longer says; crops that their image no longer gives
    largest_error: float  # |kept - said| / |said|; of crops 0 or 1
    note: str = ""  # why the teacher was not asked, or images not read
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
    """Returns what was found, a verdict for each teacher's folder, and for each one of crops.

    Args:
        repair: remove damaged shards, moments and crops, so that the next build or run makes them again.

    Raises:
        ConfigError: the sample is below 0.
        StoreError: there is no store.
    """
    if how.sample < 0:
        raise ConfigError(
            f"sample={how.sample}: 0 or more outputs of each teacher can be asked about again; 0 checks the files alone"
        )
    found, crops = list(folders(store)), list(crops_folders(store))
    if not found and not crops:
        raise StoreError(f"{store} holds no teacher outputs; `alumnus cache build` makes a store")
    return [
        *(_verdict(folder, how, repair=repair) for folder in found),
        *(_verdict_on_crops(folder, how, repair=repair) for folder in crops),
    ]


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
    files = _files(folder.path.parent, folder.about.data, how)
    key = np.concatenate([np.empty(0, np.int64), *(shard.key for shard in folder.shards)])
    view = np.concatenate([np.empty(0, np.int64), *(shard.view for shard in folder.shards)])
    return _drawn(np.stack([key, view], axis=1), files, folder.about.data, how), files


def _files(store: Path, noted: Sequence[str], how: Again) -> Files:
    sources = how.data or noted
    if not sources:
        raise StoreError("where its images were is not known; give data=")
    images = open_dataset(list(sources))
    return Files(identify(images, store, workers=how.workers, remembers=False), images.paths)


def _drawn(entries: Entries, files: Files, noted: Sequence[str], how: Again) -> Entries:
    """A sample of outputs or crops (m, 2) whose images are there, in order."""
    here = np.flatnonzero([key in files for key in entries[:, 0].tolist()])
    if not len(here):
        raise StoreError(f"none of its images are in {', '.join(how.data or noted)}")
    chosen = np.random.default_rng(how.seed).choice(here, min(how.sample, len(here)), replace=False)
    found: Entries = entries[chosen]
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _verdict_on_crops(folder: CropsFolder, how: Again, *, repair: bool) -> Verdict:
    keys, files = folder.keys, folder.files
    there, damaged = dict[int, list[Entries]](), list[str]()
    with bar(f"check {folder.path.name}", total=len(files)) as line:
        for side, view, path in files:
            good, bad = slots_of(path, side, keys)
            there.setdefault(side, []).append(np.stack([keys[good], np.full(len(good), view)], axis=1))
            damaged += [f"{path.name}: {len(bad)}"] if bad else []
            for slot in bad if repair else ():
                forget_crop(path, side, slot)
            line.advance()
    found = Verdict(folder.path.name, len(files), tuple(damaged), 0, 0, 0.0, is_repaired=repair)
    if damaged and not repair:
        return replace(found, note="not read again: crops are damaged", could_ask=False)
    if not how.sample:
        return replace(found, note="not read again: sample=0")
    entries = {side: np.concatenate(parts) for side, parts in there.items() if any(map(len, parts))}
    if not entries:
        return replace(found, note="not read again: it holds no crops")
    if folder.decoder != decoder():
        return replace(found, note=f"not read again: kept with {folder.decoder}, here is {decoder()}")
    try:
        read, drifted = _read_again(folder, entries, how)
    except AlumnusError as error:
        return replace(found, note=f"not read again: {error}", could_ask=False)
    return replace(found, asked_again=read, drifted=drifted, largest_error=float(drifted > 0))


def _read_again(folder: CropsFolder, there: Mapping[int, Entries], how: Again) -> tuple[int, int]:
    """Returns how many crops of a sample of each side were cut out of their images again, and how many of them are others now."""
    files = _files(folder.path.parent, folder.data, how)
    kept = KeptCrops(folder.path, folder.keys, np.arange(len(folder.keys)))
    row = {key: row for row, key in enumerate(kept.keys.tolist())}
    read = drifted = 0
    for side, entries in there.items():
        sample = _drawn(entries, files, folder.data, how)
        crops = Crops(sample, files, side, folder.geometry, BATCH)
        for part in map(crops.__getitem__, range(len(crops))):
            for key, view, crop in zip(
                part.key.tolist(), part.view.tolist(), part.image.numpy(), strict=True
            ):
                was = np.empty_like(crop)
                read += 1
                drifted += not (kept.read(row[key], view, {side: was}) and np.array_equal(was, crop))
    return read, drifted


def _length(x: Tensor) -> NDArray[np.float64]:
    """Of each row (n,), over all that it holds."""
    return np.asarray(x.flatten(1).double().norm(dim=1).numpy())
