"""The vectors of all models from one pass over the images: each is read once, however many models and sizes there are.

Axes: P images asked for, M models.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from alumnus.data.loader import center_crop_batches
from alumnus.distributed import gather_chunks, gathered, rank, world_size
from alumnus.errors import AlumnusError, ConfigError, NonFiniteError, RunError
from alumnus.evaluation.arrays import Floats
from alumnus.evaluation.search import unit_length
from alumnus.log import bar, progress
from alumnus.memory import keep_freed_memory
from alumnus.types import Encode

ROUNDS, WARM_UP, TIMED = 5, 2, 5  # calls; of batch size 1 about a second for a small model
TIME_LIMIT_S = 1.0  # of timing one model in a round


class Vectors(NamedTuple):
    """What the models say about the images that could be read."""

    of: Mapping[str, Floats]  # model -> (P, D); rows of unreadable images are zeros
    bad: Mapping[int, str]  # place among the P -> reason


def encode_paths(
    models: Sequence[Encode],
    paths: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int = 2,
    label: str = "encode",
    together: bool = False,
    enough: Callable[[Collection[int]], bool] | None = None,
) -> Vectors:
    """Returns every model's vectors of every image.

    Args:
        label: of the progress bar.
        together: of several processes, all call this alike and share the batches; each gets all vectors, the same bits as one computes.
        enough: whether so many unreadable places end the reading; what comes after them stays zeros, and the caller has to refuse it.

    Raises:
        ConfigError: two models of one name.
        NonFiniteError: a model gives NaN or infinity; names it and the image.
    """
    found = try_paths(
        models,
        paths,
        batch_size=batch_size,
        workers=workers,
        label=label,
        together=together,
        enough=enough,
    )
    if isinstance(found, Exception):
        raise found
    return found


def try_paths(
    models: Sequence[Encode],
    paths: Sequence[str],
    *,
    batch_size: int = 64,
    workers: int = 2,
    label: str = "encode",
    together: bool = False,
    enough: Callable[[Collection[int]], bool] | None = None,
) -> Vectors | Exception:
    """Returns what `encode_paths` does, or what a model raised, of several processes in all of them: they can go on in step.

    What is raised here came to this process alone, while they told one another what they have; it must not go on without the others.
    """
    check_names([model.name for model in models])
    sharing = (rank(), world_size()) if together else (0, 1)
    vectors, unreadable = dict[str, Floats](), dict[int, str]()
    failure: Exception | None = None
    try:
        vectors, unreadable = _share(models, paths, sharing, batch_size, workers, label, enough)
    except Exception as error:  # whatever it is, the other processes must hear of it, for they wait
        failure = error
    said = gathered([] if failure is None else [words_of(failure)]) if together else []
    if failure is not None:
        return failure
    if said:
        return RunError(said[0])  # in another process
    if together:
        vectors, unreadable = _of_all(models, vectors, unreadable, num_images=len(paths), chunk=batch_size)
    for model in models:
        vectors.setdefault(model.name, np.zeros((len(paths), 1), np.float32))  # not one image could be read
    return Vectors(vectors, unreadable)


def _share(
    models: Sequence[Encode],
    paths: Sequence[str],
    sharing: tuple[int, int],
    batch_size: int,
    workers: int,
    label: str,
    enough: Callable[[Collection[int]], bool] | None,
) -> tuple[dict[str, Floats], dict[int, str]]:
    """Returns the vectors of this process's batches, zeros elsewhere, and what could not be read. Args: sharing is rank and world size."""
    vectors, unreadable = dict[str, Floats](), dict[int, str]()
    keep_freed_memory()
    sizes, (number, of) = [model.size for model in models], sharing
    with bar(label, total=len(paths) // of) as line:
        for places, images, bad in center_crop_batches(
            paths, sizes, batch_size=batch_size, workers=workers, rank=number, world_size=of
        ):
            for model in models if len(places) else ():
                part = model(images[model.size]).float().cpu().numpy()
                _check_finite(part, model.name, [paths[place] for place in places])
                if model.name not in vectors:
                    vectors[model.name] = np.zeros((len(paths), part.shape[1]), np.float32)
                vectors[model.name][places] = part
            unreadable |= {int(place): reason for place, reason in bad}
            line.advance(len(places) + len(bad))
            if bad and enough is not None and enough(unreadable):
                break
    return vectors, unreadable


def _of_all(
    models: Sequence[Encode],
    vectors: Mapping[str, Floats],
    bad: Mapping[int, str],
    *,
    num_images: int,
    chunk: int,
) -> tuple[dict[str, Floats], dict[int, str]]:
    """Returns what all processes found, models in one order in all of them."""
    if world_size() == 1:
        return dict(vectors), dict(bad)
    widths = dict(gathered([(name, found.shape[1]) for name, found in vectors.items()]))
    shares = {
        model.name: vectors.get(model.name, np.zeros((num_images, widths[model.name]), np.float32))
        for model in models
        if model.name in widths
    }
    whole = {
        name: gather_chunks(torch.from_numpy(share), chunk=chunk).numpy() for name, share in shares.items()
    }
    return whole, dict(sorted((place, why) for place, why in gathered(list(bad.items()))))


def concatenated(parts: Sequence[Floats]) -> Floats:
    """Returns the parts (P, D_i) side by side, each at unit length, so that none outweighs another: (P, sum of D_i)."""
    return np.concatenate([unit_length(part) for part in parts], axis=1)


def ms_per_image(models: Sequence[Encode], *, batch_size: int = 1) -> dict[str, float]:
    """Returns every model's median time an image in ms, alone or in batches, the copy to the device included.

    The models take turns, so that a busy moment of the machine does not fall on one of them.
    """
    times: dict[str, list[float]] = {model.name: [] for model in models}
    for _ in progress(range(ROUNDS), "time"):
        for model in models:
            times[model.name] += _times(model, batch_size)
    return {name: 1000 * float(np.median(values)) / batch_size for name, values in times.items()}


def _times(model: Encode, batch_size: int) -> list[float]:
    """Seconds of a few calls after a warm-up."""
    image = torch.randint(0, 256, (batch_size, 3, model.size, model.size), dtype=torch.uint8)
    started, times = time.perf_counter(), list[float]()
    for call in range(WARM_UP + TIMED):
        before = time.perf_counter()
        model(image).cpu()  # waits for the device
        if call >= WARM_UP:
            times.append(time.perf_counter() - before)
        if times and time.perf_counter() - started > TIME_LIMIT_S:
            break
    return times


def check_names(names: Sequence[str]) -> None:
    """Raises a ConfigError if a name occurs twice: tables and files tell models apart by it."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two models are named {twice[0]!r}; give each a name of its own")


def words_of(error: Exception) -> str:
    """Returns an error's message, with its type unless it was said on purpose."""
    return str(error) if isinstance(error, AlumnusError) else f"{type(error).__name__}: {error}"


def _check_finite(part: Floats, name: str, paths: Sequence[str]) -> None:
    broken = np.flatnonzero(~np.isfinite(part).all(1))
    if len(broken):
        raise NonFiniteError(
            f"{name!r} gives NaN or infinity for {paths[broken[0]]!r} and {len(broken) - 1} more"
        )
