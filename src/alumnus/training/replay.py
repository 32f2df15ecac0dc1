"""`alumnus replay RUN`: the step at which a run met NaN or Inf, done again from the last checkpoint, with every part of it looked at.

The steps between the checkpoint and the failed one are learnt again, which is exact (see `checkpoint`); nothing in the run is changed.
A step that is finite now was hit by something that is no function of the run: other hardware, another library, a fault of the machine.

Axes: B images in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.utils import get_total_norm

from alumnus.data.names import printable
from alumnus.errors import ArtifactError, CheckpointError, NonFiniteError
from alumnus.faults import told
from alumnus.teachers.targets import TargetSource
from alumnus.training.config import Config
from alumnus.training.course import Course, prepare
from alumnus.training.failure import FILE, Failure, bad_gradients, read_failure
from alumnus.training.freeze import set_training
from alumnus.training.lock import held
from alumnus.training.loop import learn, observe, terms_of, to_device
from alumnus.training.pupil import Pupil
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from alumnus.types import Batch, Targets

SHOWN = 8  # images and parameters named
COLUMNS = ("what", "in the run", "again")
NOTHING = "–"


class Replayed(NamedTuple):
    """A failed step, then and now."""

    failure: Failure
    rows: list[tuple[str, str, str]]  # COLUMNS: targets, terms, the gradient
    is_finite: bool  # now


def replay(run: str | Path | Config) -> Replayed:
    """Returns what the failed step of a run sees and says, done again; nothing of the run is changed.

    Args:
        run: its folder; or, if a teacher is a Python object, the configuration that it was started with.

    Raises:
        ArtifactError: the folder holds no run, or none that met NaN or Inf.
        CheckpointError: images, teachers or settings are not those of the run.
    """
    config = run if isinstance(run, Config) else _recorded(Path(run))
    with told(), held(config.out):
        failure = read_failure(config.out)
        course = prepare([(config, Run(config.out))])
        pupil = course.pupils[0]
        if failure.config != pupil.fingerprint or course.start > failure.step:
            raise CheckpointError(
                f"{config.out / FILE} is about step {failure.step} of another configuration, or from before the last checkpoint "
                f"(of {course.start} steps); the run's own command makes it again"
            )
        set_training(pupil.student, batch_norm=config.optim.batch_norm)
        pupil.objective.train()
        return _compared(failure, _done_again(course, failure))


def _recorded(folder: Path) -> Config:
    path = folder / "config.yaml"
    if not path.is_file():
        raise ArtifactError(
            f"{folder} holds no run: it has no config.yaml; of several students give one, RUN/students/NAME"
        )
    return load_config(path, out=folder)


def _done_again(course: Course, failure: Failure) -> dict[str, str | float]:
    """Learns up to the failed step, and returns what comes of that one: words of what is no single number."""
    pupil, sampler, source = course.pupils[0], course.sampler, course.source
    for step, loaded in enumerate(course.batches(failure.step + 1), start=course.start):
        batch = to_device(loaded.batch, course.device)
        if step < failure.step:
            observe(sampler, batch, learn(pupil, batch, source(batch), step=step))
    number, of = failure.share
    keys = [f"{key:016x}" for key in batch.key.tolist()][number::of]
    if keys != failure.keys:
        raise CheckpointError(
            f"step {failure.step} sees other images than it did in the run: some of them changed, or came back"
        )
    found: dict[str, str | float] = {}
    for speaker in source.speakers:
        alone = TargetSource([speaker], domains=course.dataset.domains, device=source.device)
        found[f"target/{speaker.name}"] = _range(alone, batch)
    is_known = all(isinstance(value, str) for value in found.values())
    if not is_known:  # there is nothing to learn from
        return found
    return found | _terms(pupil, batch, source(batch), failure)


def _range(source: TargetSource, batch: Batch) -> str | float:
    """Least and largest number of one teacher's target; NaN if it is not finite."""
    try:
        (target,) = source(batch).values()
    except NonFiniteError:
        return math.nan
    summary = target.features.summary
    return f"{float(summary.min()):.4g} to {float(summary.max()):.4g}" if len(summary) else "no image"


def _terms(pupil: Pupil, batch: Batch, targets: Targets, failure: Failure) -> dict[str, str | float]:
    terms = terms_of(pupil, batch, targets, step=failure.step)
    found: dict[str, str | float] = {**terms.values}
    broken = (~terms.per_sample.isfinite()).nonzero().flatten().tolist()  # places in the batch
    if broken:
        rows = batch.row[broken].tolist()
        found["images not finite"] = _some([printable(pupil.dataset.file_names[row]) for row in rows])
    if not torch.isfinite(terms.loss):
        return found
    pupil.state.optimizer.zero_grad(set_to_none=True)
    terms.loss.backward()  # type: ignore[no-untyped-call]
    modules = {"student": pupil.student, "objective": pupil.objective}
    gradients = [p.grad for module in modules.values() for p in module.parameters() if p.grad is not None]
    found["norm of the gradient"] = float(get_total_norm(gradients))
    if wrong := bad_gradients(modules):
        found["gradients not finite"] = _some(wrong)
    return found


def _compared(failure: Failure, now: Mapping[str, str | float]) -> Replayed:
    then = failure.terms
    rows = [
        (name, _shown(then.get(name, NOTHING)), _shown(now.get(name, NOTHING))) for name in {**now, **then}
    ]
    is_finite = all(math.isfinite(value) for value in now.values() if isinstance(value, float))
    return Replayed(failure, rows, is_finite)


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
