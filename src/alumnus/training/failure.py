"""The step that failed: what it saw and what came of it, in `replay.json` of the run, so that `alumnus replay RUN` can do it again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from alumnus.disk import replace_text
from alumnus.distributed import gathered, rank, world_size
from alumnus.errors import ArtifactError, NonFiniteError
from alumnus.training.checkpoint import TrainState
from alumnus.training.pupil import Pupil, step_seed
from alumnus.training.shards import local
from alumnus.types import Batch

FILE = "replay.json"
SHOWN = 3  # parameters named in a message


@dataclass(frozen=True)
class Failure:
    """A step that failed. Axes: B images of its batch."""

    step: int
    why: str
    seed: int  # of torch's generator in this step
    images: list[str]  # (B,) file names
    rows: list[int]  # (B,) of the dataset
    views: list[int]  # (B,)
    keys: list[str]  # (B,) of the images' bytes, 16 hex digits
    share: tuple[
        int, int
    ]  # the images are the first, second, … of so many shares of the step's: (0, 1) is all of them
    terms: dict[str, float]  # as far as they were known
    config: str  # fingerprint of all that decides what is learnt

    def save(self, folder: Path) -> None:
        """Writes replay.json. JSON has no NaN: such numbers are words."""
        terms = {name: value if math.isfinite(value) else str(value) for name, value in self.terms.items()}
        replace_text(folder / FILE, json.dumps({**asdict(self), "terms": terms}, indent=1) + "\n")


def read_failure(folder: Path) -> Failure:
    """Returns the step that a run failed at.

    Raises:
        ArtifactError: it did not fail at any, or the file is damaged.
    """
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["terms"] = {name: float(value) for name, value in values["terms"].items()}
        values["share"] = tuple(values.get("share", (0, 1)))
        return Failure(**values)
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} is not there: only a step that met NaN or Inf leaves one, and the end of the run removes it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} cannot be read: {error!r}; the run's own command makes it again"
        ) from error


@contextmanager
def failure_kept(
    pupils: Sequence[Pupil], batch: Batch, *, step: int, writes: bool | None = None
) -> Iterator[None]:
    """Writes replay.json into the runs of some students if a block meets NaN or Inf, and says so.

    Args:
        batch: the rows that the block worked on.
        writes: true in one of several processes that fail alike, over the whole batch, and false in the others; None if this one has a
            share of its own, and fails alone.
    """
    try:
        yield
    except NonFiniteError as error:
        share = (0, 1) if writes is not None else (rank(), world_size())
        for pupil in pupils if writes is not False else ():
            with suppress(
                OSError
            ):  # on another machine the folder may not be there, and the error matters more
                _failure(pupil, batch, error, step=step, share=share).save(pupil.run.folder)
        raise NonFiniteError(
            f"step {step}: {error}. The last checkpoint is kept; `alumnus replay {pupils[0].run.folder}` does the step again and shows "
            "every part of it",
            terms=error.terms,
        ) from error


def not_finite(state: TrainState) -> str:
    """Returns the names of the first parameters whose gradient is NaN or infinite."""
    found = bad_gradients({"student": state.student, "objective": state.objective})
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        ", ".join(found[:SHOWN]) or "no single one, their squares add up to more than float32 holds"
    ) + more


def bad_gradients(modules: Mapping[str, nn.Module]) -> list[str]:
    """Returns the names of all parameters whose gradient is NaN or infinite, in whichever process; all have to ask."""
    gradients = {
        f"{owner}.{name}": parameter.grad
        for owner, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    found = gathered([name for name, grad in gradients.items() if not bool(local(grad).isfinite().all())])
    return [name for name in gradients if name in found]


def _failure(
    pupil: Pupil, batch: Batch, error: NonFiniteError, *, step: int, share: tuple[int, int]
) -> Failure:
    rows = batch.row.tolist()
    return Failure(
        step=step,
        why=str(error),
        seed=step_seed(pupil.config.seed, step),
        images=[pupil.dataset.file_names[row] for row in rows],
        rows=rows,
        views=batch.view.tolist(),
        keys=[f"{key:016x}" for key in batch.key.tolist()],
        share=share,
        terms=error.terms,
        config=pupil.fingerprint,
    )
