"""Training: `course.prepare` puts everything together, `_fit` is the loop, and the step is `learn`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from alumnus.data.kept import KeptCrops
from alumnus.data.read import Quarantine
from alumnus.data.sampler import Sampling
from alumnus.distributed import (
    decided,
    gathered,
    is_main,
    joined,
    main_first,
    sum_gradients,
    wait,
    world_size,
)
from alumnus.errors import ConfigError, NonFiniteError
from alumnus.faults import told
from alumnus.log import bar, number_of
from alumnus.objective import LOSS_SCALE, SKIPPED, check_losses, check_parts, check_terms, parts_of, unchanged
from alumnus.teachers.targets import constant_teachers
from alumnus.training.build import random_start
from alumnus.training.check import untaught
from alumnus.training.config import Config
from alumnus.training.course import Course, prepare
from alumnus.training.crops import kept_crops
from alumnus.training.failure import failure_kept, not_finite
from alumnus.training.limit import over_limit
from alumnus.training.lock import held
from alumnus.training.optim import set_lr
from alumnus.training.pupil import LOW, Pupil, step_seed
from alumnus.training.run import Run, open_run
from alumnus.training.scaling import MAX_SKIPPED
from alumnus.training.shards import clip_gradients, gradient_norm
from alumnus.training.stop import signals_noted
from alumnus.training.trackers import Metrics, check_trackers
from alumnus.training.watch import Watched, look, seen, watched_images
from alumnus.training.whole import whole
from alumnus.types import Batch, Targets, Terms

TOO_MANY = (
    "Raise max_bad_fraction to go on from the last checkpoint; with mended or removed images it is another run, which begins again "
    "(resume=never)"
)  # a checkpoint is of its images too


def train(config: Config) -> Run:
    """Trains the student of a configuration, or each of its students; continues where an earlier run of it stopped.

    With `students`, each has a run of its own in `out/students/NAME`, the same as if it were trained alone. Started by torchrun, several
    processes train together, on the batches that one would see (see `whole.py`); the first one writes.

    Ctrl-C and SIGTERM are noted: the step is finished, a checkpoint is written, and then KeyboardInterrupt or whatever the signal does
    comes. The same call goes on from there, to the bytes of a run that was not stopped.

    Raises:
        UserError: something given is wrong, or another run works in the folder; nothing was changed.
        NonFiniteError: a target, term or gradient became NaN or infinite; the last checkpoint stays.
        ResourceError: memory, disk or shared memory ran out; the last checkpoint stays.
    """
    each = config.each_student
    with joined(), told(), ExitStack() as stack:
        for folder in dict.fromkeys([config.out, *(one.out for one in each)]) if is_main() else ():
            stack.enter_context(held(folder))
        for configs in [each] if config.together else [(one,) for one in each]:
            for opened in _open(configs):
                _train(opened)
                wait()  # for the student to be written
    return Run(config.out)


def _train(opened: Sequence[tuple[Config, Run]]) -> None:
    """Trains several students that differ in nothing but their networks on the same batches and targets."""
    decided(lambda: check_trackers(opened[0][0]))  # the first process writes
    with main_first():
        watched = watched_images(opened[0][0])
    course = prepare(opened)
    config, pupils, dataset, start = course.config, course.pupils, course.dataset, course.start
    kept = kept_crops(config, dataset, course.keys, teacher_sizes=course.source.sizes)
    several = f", {world_size()} processes" if world_size() > 1 else ""
    for pupil in pupils:
        pupil.begin()
        if start == 0 and (hint := random_start(pupil.config.student)):
            _say(pupil.run, hint)
        for said in untaught(config, dataset) if start == 0 else ():
            _say(pupil.run, f"warning: {said}")
        _say(
            pupil.run,
            f"{number_of(len(dataset), 'image')} of {number_of(len(np.unique(dataset.domain)), 'domain')}, {pupil.plan.summary}, "
            f"steps {start} to {config.steps} on {course.device}{several}",
        )
    _fit(course, watched, kept)
    for pupil in pupils:
        pupil.finish()


def _open(configs: Sequence[Config]) -> list[list[tuple[Config, Run]]]:
    """Returns the runs that are not done yet; the first process looks.

    Those that were begun come apart from those that were not: a student that joins others half-way must not cost them their steps.
    """

    def look() -> list[tuple[bool, bool, bool]]:
        runs = [open_run(config) for config in configs]
        for run in runs:
            if run.is_done:
                run.say(f"{run.student} is done already")
        return [(run.is_stale, run.is_done, run.is_begun) for run in runs]

    begun, new = list[tuple[Config, Run]](), list[tuple[Config, Run]]()
    for config, (is_stale, is_done, is_begun) in zip(configs, decided(look), strict=True):
        if not is_done:
            (begun if is_begun else new).append((config, Run(config.out, is_stale)))
    return [group for group in (begun, new) if group]


def _fit(course: Course, watched: Watched | None, kept: KeptCrops | None) -> None:
    """The training loop: steps `start` to `config.steps` - 1."""
    config, pupils, dataset, sampler, source, _, start, device = course
    writing = pupils if is_main() else []
    quarantines = [
        Quarantine(
            pupil.run.folder / "quarantine.jsonl",
            total=len(dataset),
            max_bad_fraction=config.max_bad_fraction,
            names=dataset.file_names,
            what_next=TOO_MANY,
            say=pupil.run.say,
        )
        for pupil in writing
    ]
    with ExitStack() as stack:
        stop = stack.enter_context(signals_noted())
        metrics = [stack.enter_context(Metrics(pupil.config, pupil.run, start=start)) for pupil in writing]
        # Several students have their folders in out/students.
        label = config.out.name if len(pupils) == 1 else config.out.parents[1].name
        line = stack.enter_context(bar(label, total=config.steps, lines=10))
        line.advance(start)
        done, parts = start, [parts_of(pupil.objective) for pupil in pupils]
        reading = stop.before(course.batches(config.steps, kept=kept))
        for step, loaded in enumerate(reading, start=start):
            for row, reason in gathered(loaded.bad):
                for quarantine in quarantines:
                    quarantine.add(dataset.file_names[row], reason)
            share = to_device(loaded.batch, device)
            with failure_kept(pupils, loaded.batch, step=step):
                targets = source(share)
            batch, targets = whole(share, targets, total=config.batch_size)
            found = []
            for pupil in pupils:
                with failure_kept([pupil], batch, step=step, writes=is_main()):
                    found.append(learn(pupil, batch, targets, step=step))
            if step == start:
                _check_first(pupils, targets, found, parts)
            # Before a checkpoint is written, which has the sampler's state. One that looks at losses has one student.
            observe(sampler, batch, found[0])
            if step == start and (said := over_limit(config.memory_limit, device)):
                _say(pupils[0].run, said)
            if watched is not None and _is_look(config, step):
                _look(pupils, watched, metrics, step=step)
            for pupil, terms, log in zip_longest(pupils, found, metrics):
                _note(pupil, terms, log, step=step, images=len(batch.row))
            if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                line.say(
                    ", ".join(
                        f"{_name_of(pupil, pupils)}loss {pupil.meter.last_loss:.3f}" for pupil in pupils
                    )
                )
            line.advance()
            done = step + 1
        for quarantine in quarantines:
            quarantine.tell()
        if stop.is_agreed():
            for pupil in pupils:
                _leave(pupil, done)


def _check_first(
    pupils: Sequence[Pupil], targets: Targets, found: Sequence[Terms], parts: Sequence[set[str]]
) -> None:
    """Checks after the first step what only a step shows of teachers and of a method.

    Args:
        parts: of each objective before it.

    Raises:
        ConfigError: an objective has other parts now, or processes have different losses of the same batch.
    """
    for name in constant_teachers(targets):
        _say(
            pupils[0].run,
            f"warning: teacher {name} says the same of all images of a batch, so there is nothing to learn from it; are its weights, "
            "output, mean and std those that you mean?",
        )
    for pupil, terms, before in zip(pupils, found, parts, strict=True):
        check_parts(pupil.objective, before, pupil.config.method.name)
        check_losses(gathered([float(terms.loss.detach())]), pupil.config.method.name)


def learn(pupil: Pupil, batch: Batch, targets: Targets, *, step: int) -> Terms:
    """One step of one student."""
    config, state = pupil.config, pupil.state
    terms = terms_of(pupil, batch, targets, step=step)
    is_taken = _update(pupil, terms, step=step)
    if all(parameter.grad is None for parameter in state.student.parameters()):
        raise ConfigError(
            f"method={config.method.name}: the loss of step {step} depends on no parameter of the student that is trained, only on the "
            "method's own; it has to be computed from what student(batch.image) returns, not detached"
        )
    if state.scaling is None:
        return terms
    more = {SKIPPED: torch.tensor(float(not is_taken)), LOSS_SCALE: torch.tensor(state.scaling.value)}
    return terms._replace(report={**terms.report, **more})


def observe(sampler: Sampling, batch: Batch, terms: Terms) -> None:
    """Tells the sampler the losses of a step's images that have one."""
    rows = slice(None) if terms.has_loss is None else terms.has_loss
    # numpy has no bfloat16, which a method of somebody's own may give.
    sampler.observe(batch.domain[rows].cpu().numpy(), terms.per_sample[rows].float().cpu().numpy())


def terms_of(pupil: Pupil, batch: Batch, targets: Targets, *, step: int) -> Terms:
    """The first half of a step: what one student has to learn from a batch."""
    config, progress = pupil.config, step / pupil.config.steps
    torch.manual_seed(step_seed(config.seed, step))
    set_lr(pupil.state.optimizer, config.optim, progress=progress)
    pupil.start.apply(progress)
    low = LOW.get(pupil.plan.precision)
    with (
        unchanged(batch, targets, config.method.name),
        torch.autocast(batch.image.device.type, low, enabled=low is not None),
    ):
        try:
            terms: Terms = pupil.objective(pupil.student, batch, targets, progress)
        except Exception as error:
            error.add_note(f"in step {step}, in the objective of method={config.method.name}")
            raise
    check_terms(terms, config.method.name, num_images=len(batch.row))
    return terms


def _update(pupil: Pupil, terms: Terms, *, step: int) -> bool:
    """Backward, clip, optimiser, moving average; returns whether the step was taken: in float16 a gradient may be too large for it."""
    state = pupil.state
    if not torch.isfinite(terms.loss):
        helps = "a lower lr" if pupil.plan.precision == "float32" else "a lower lr or precision=float32"
        broken = [name for name, value in terms.report.items() if not torch.isfinite(value)]
        raise NonFiniteError(
            f"the loss is {float(terms.loss.detach())} (not finite: {', '.join(broken) or 'the total'}); "
            f"{helps} usually helps",
            terms=terms.values,
        )
    counted = terms.per_sample if terms.has_loss is None else terms.per_sample[terms.has_loss]
    if not counted.isfinite().all():
        raise NonFiniteError(
            f"the loss of {int((~counted.isfinite()).sum())} of {len(counted)} images (per_sample) is not finite, though the loss is, and "
            "a sampler may go by it; has_loss says which images have none",
            terms=terms.values,
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss = terms.loss if state.scaling is None else state.scaling.scaled(terms.loss)
    loss.backward()  # type: ignore[no-untyped-call]
    # Of a sharded student they are summed already, in the backward pass.
    sum_gradients([] if state.is_sharded else state.student.parameters(), state.objective.parameters())
    if state.scaling is not None and state.scaling.has_overflowed(state.optimizer):
        if state.scaling.skipped_in_a_row < MAX_SKIPPED:
            return False
        raise NonFiniteError(
            f"{MAX_SKIPPED} steps in a row had a gradient that is not finite, down to a loss scale of {state.scaling.value:g}; not finite: "
            f"{not_finite(state)}; precision=bfloat16 or float32, or a lower lr, usually helps",
            terms=terms.values,
        )
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    norm = gradient_norm(parameters)
    if not torch.isfinite(norm):
        raise NonFiniteError(
            f"the gradient's norm is {float(norm)} though the loss is finite; not finite: {not_finite(state)}",
            terms=terms.values,
        )
    clip_gradients(parameters, largest=pupil.config.optim.clip_norm, norm=norm)
    state.optimizer.step()
    if state.ema is not None:
        state.ema.update(state.student, step=step)
    return True


def _note(pupil: Pupil, terms: Terms, metrics: Metrics | None, *, step: int, images: int) -> None:
    """Counts a step, writes a line and a checkpoint when their time has come; without a file to write to, only counts."""
    config, state = pupil.config, pupil.state
    pupil.meter.count(terms, images)
    if state.scaling is not None and terms.report[SKIPPED]:
        _say(
            pupil.run,
            f"step {step}: skipped, a gradient is beyond float16; the loss scale is now {state.scaling.value:g}",
        )
    if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
        lr = max(group["lr"] for group in state.optimizer.param_groups)
        line = {**pupil.meter.line(step=step, lr=lr), **_shares(pupil)}
        if metrics is not None:
            metrics.write(line)
        for name in pupil.meter.newly_broken(line):
            _say(
                pupil.run,
                f"warning: {name} is {line[name]} in the log up to step {step}, though the loss is finite",
            )
        if pupil.meter.is_silent:
            pupil.meter.is_silent = False
            _say(
                pupil.run,
                f"warning: nothing to learn up to step {step}: each loss is 0. Is every teacher trusted on images that it sees, are "
                "weights above 0, and are there enough images of each in a batch (batch_size, sampler)?",
            )
    if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
        pupil.save(done=step + 1)


def _is_look(config: Config, step: int) -> bool:
    """Whether students are looked at after a step."""
    return config.watch is not None and ((step + 1) % config.watch.every == 0 or step + 1 == config.steps)


def _look(pupils: Sequence[Pupil], watched: Watched, metrics: Sequence[Metrics], *, step: int) -> None:
    """Looks at each student; of several processes all do. The time that it takes is not the steps'."""
    began = time.monotonic()
    for pupil, log in zip_longest(pupils, metrics):
        found = look(pupil.current(), watched)
        if log is not None:
            log.write_watched({"step": step, **found})
        pupil.keep_if_best(found, watched, step=step)
        _say(pupil.run, f"{_name_of(pupil, pupils)}step {step}: {seen(found, watched)}")
    for pupil in pupils:
        pupil.meter.leave_out(time.monotonic() - began)


def _shares(pupil: Pupil) -> dict[str, float]:
    """What a sampler that follows losses gives to each domain now, `sampler/DOMAIN`; of others nothing."""
    sampler, names = pupil.state.sampler, pupil.dataset.domains
    weights = {} if sampler is None else sampler.weights
    return {f"sampler/{names[domain]}": weight for domain, weight in weights.items()}


def _leave(pupil: Pupil, done: int) -> None:
    """Saves what is not saved yet."""
    if done and not decided((pupil.run.checkpoints / f"step-{done}").is_dir):
        pupil.save(done=done)
    _say(pupil.run, f"stopped after step {done}; it is saved")


def _name_of(pupil: Pupil, pupils: Sequence[Pupil]) -> str:
    """What begins a line about one of several students; nothing if there is one."""
    return f"{pupil.config.out.name} " if len(pupils) > 1 else ""


def _say(run: Run, text: str) -> None:
    if is_main():
        run.say(text)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Returns a batch on a device."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    images = {side: move(image) for side, image in batch.teacher_images.items()}
    return batch._replace(
        image=move(batch.image),
        teacher_images=images,
        row=move(batch.row),
        key=move(batch.key),
        view=move(batch.view),
        domain=move(batch.domain),
        label=move(batch.label),
    )
