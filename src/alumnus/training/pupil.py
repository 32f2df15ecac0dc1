"""One student on its way: its configuration, its run folder, and all that training changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alumnus.data.dataset import Dataset
from alumnus.data.sampler import Sampling
from alumnus.distributed import decided, gathered, is_main, main_first, share_of, world_size
from alumnus.errors import ConfigError
from alumnus.log import console, warn
from alumnus.models.artifact import save_student
from alumnus.models.backbone import Taps
from alumnus.models.batch_norm import synchronise
from alumnus.models.student import Student
from alumnus.models.weights import fingerprint
from alumnus.moments import Moments
from alumnus.objective import Objective, Setup, TeacherWidth, check_objective
from alumnus.teachers.targets import Speaker
from alumnus.training.best import keep_if_best, read_best
from alumnus.training.build import build_student, provenance
from alumnus.training.card import card
from alumnus.training.checkpoint import Saved, TrainState, save_checkpoint
from alumnus.training.config import Config
from alumnus.training.data import class_counts
from alumnus.training.decisive import decisive
from alumnus.training.freeze import FrozenStart, freeze, has_batch_norm, set_training
from alumnus.training.limit import StepNeed, step_need
from alumnus.training.meter import Meter
from alumnus.training.method import method_module, method_source
from alumnus.training.moments import save_moments
from alumnus.training.optim import Ema, make_optimizer
from alumnus.training.plan import Mode, Plan, StudentPrecision, fastest_precision, read_plan
from alumnus.training.run import BEST, Run
from alumnus.training.scaling import LossScale
from alumnus.training.shards import gather_shards, shard, share_tensors
from alumnus.training.watch import RECALL, Watched
from alumnus.training.whole import gather_outputs

LOW = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class Pupil:
    """A student in training."""

    config: Config
    run: Run
    dataset: Dataset
    teachers: Sequence[Speaker]
    moments: Mapping[str, Moments]
    plan: Plan
    student: Student
    objective: Objective
    state: TrainState  # of both, and of the optimiser
    fingerprint: str  # of all that decides what is learnt
    first_weights: str  # fingerprint of the student as it was built
    start: FrozenStart
    need: StepNeed | None  # of memory, where that is limited
    meter: Meter = field(default_factory=Meter)

    @property
    def saved(self) -> Saved:
        """Where its checkpoints are, and of what."""
        return Saved(self.run.checkpoints, self.state, self.fingerprint, self._manifest)

    def begin(self) -> None:
        """Makes the run's folder and sets the modules to training."""
        if is_main():
            self.run.begin(self.config, self._manifest)
            self.plan.save(self.run.folder)
            save_moments(self.run, self.moments)
            if (source := method_source(self.config.method.name)) is not None:
                self.run.keep_method(source)
        set_training(self.student, batch_norm=self.config.optim.batch_norm)
        self.objective.train()

    def save(self, *, done: int) -> None:
        """Writes a checkpoint after `done` steps; all processes call it, the first one writes."""
        if is_main() or self.state.is_sharded:
            save_checkpoint(self.run.checkpoints, self.state, step=done, fingerprint=self.fingerprint)

    def current(self) -> Student:
        """Returns a copy of the student that the run would end with now; not of a sharded one."""
        weights = self.student.state_dict() if self.state.ema is None else self.state.ema.tensors
        return self._copy(weights)

    def keep_if_best(self, found: Mapping[str, float], watched: Watched, *, step: int) -> None:
        """Keeps the student that a look saw, if the recipe asks for the best one and it is that so far; the first process writes."""
        if self._keeps_best and is_main():
            keep_if_best(self.run.folder, self.state.result(), found, watched, step=step)

    def finish(self) -> None:
        """Writes the student folder."""
        student, weights = self.student, None if self.state.ema is None else self.state.ema.tensors
        if self.state.is_sharded:
            weights = gather_shards(weights or student.state_dict())
        if not is_main():
            return
        if self.state.is_sharded and weights is not None:
            student = self._copy(weights)
        elif weights is not None:
            student.load_state_dict(weights)
        about = provenance(self.config, self.dataset, self._manifest, first_weights=self.first_weights)
        best = read_best(self.run.folder) if self._keeps_best else None
        if best is not None:
            self.state.end_with(best.tensors())
            about["best"] = {"step": best.step, RECALL: best.recall}
            self.run.say(
                f"the best student that watch saw is that of step {best.step}, R@1 {best.recall:.3f}: it is the result"
            )
        self.objective.finish(student)
        text = card(
            self.config,
            student,
            dataset=self.dataset,
            teachers=self._manifest,
            best_step=None if best is None else best.step,
        )
        save_student(student, self.run.student, provenance=about, card=text)
        for left in ("replay.json", BEST):  # of a step that failed once; and the student has it now
            (self.run.folder / left).unlink(missing_ok=True)
        self.run.say(f"student written to {self.run.student}")

    def _copy(self, weights: Mapping[str, Tensor]) -> Student:
        """Returns another student of the same architecture, with these weights."""
        student = Student(self.student.architecture).to(self.student.mean.device)
        student.classify(self.student.classes)
        student.load_state_dict(weights)
        return student

    @property
    def _keeps_best(self) -> bool:
        return self.config.watch is not None and self.config.watch.keep == "best"

    @property
    def _manifest(self) -> list[Mapping[str, Any]]:
        return [teacher.about for teacher in self.teachers]


def make_pupil(
    config: Config,
    run: Run,
    dataset: Dataset,
    teachers: Sequence[Speaker],
    *,
    moments: Mapping[str, Moments],
    sampler: Sampling,
    modes: Mapping[str, Mode],
    why: Mapping[str, str],
    device: torch.device,
) -> Pupil:
    """Returns the student with its first weights and everything around it; nothing is written."""
    with main_first():
        student = build_student(config)
    first_weights = fingerprint(student)
    student = student.to(device).to(memory_format=torch.channels_last)
    objective = _objective(config, dataset, student, teachers, moments).to(device)
    student.classify(objective.classes)
    for name, adaptor in objective.hand_over().items():
        student.keep(name, adaptor)
    freeze(student, config.freeze or ())
    if config.optim.batch_norm == "frozen" and not has_batch_norm(student):
        console.print(
            f"optim.batch_norm=frozen has no effect on {student.architecture.model}, which has no batch norm",
        )
    set_training(student, batch_norm=config.optim.batch_norm)  # for what is measured beforehand
    precision, measured = _precision(config, student, None if run.is_stale else read_plan(run.folder))
    student.micro_batches = config.accumulate
    need = _need(config, student, objective, precision)
    if world_size() > 1:
        synchronise(student, device=device)
    if world_size() > 1 and config.shard:
        share_tensors(student)
        share_tensors(objective)
        shard(student, device=device)
    elif config.shard:
        console.print("shard: true has no effect in one process; torchrun starts several")
    if world_size() > 1:
        gather_outputs(student, total=config.batch_size, device=device)
    rates = objective.learning_rates()
    optimizer = make_optimizer(student, objective, config.optim, lr=config.lr, rates=rates)
    scaling = LossScale(device) if precision == "float16" else None
    ema = Ema(student, decay=config.optim.ema) if config.optim.ema else None
    run_fingerprint = _fingerprint(config, dataset, [teacher.about for teacher in teachers])
    _refuse_strangers(run_fingerprint)
    return Pupil(
        config=config,
        run=run,
        dataset=dataset,
        teachers=teachers,
        moments=moments,
        plan=Plan(
            precision,
            modes,
            {**why, **measured},
            {each.name: each.about["stored"] for each in teachers if "stored" in each.about},
        ),
        student=student,
        objective=objective,
        state=TrainState(student, objective, optimizer, ema, sampler, scaling),
        fingerprint=run_fingerprint,
        first_weights=first_weights,
        start=FrozenStart(student, share=config.optim.frozen, batch_norm=config.optim.batch_norm),
        need=need,
    )


def step_seed(seed: int, step: int) -> int:
    """Returns a seed for torch's own generator (dropout, drop path) that depends on the step alone."""
    return (seed * 1_000_003 + step + 1) % 2**63


def _precision(
    config: Config, student: Student, began: Plan | None
) -> tuple[StudentPrecision, dict[str, str]]:
    """Returns the student's precision and, if it was measured, why."""
    device = next(student.parameters()).device
    if config.precision == "float16" and device.type == "cpu":
        warn("precision=float16 on a CPU is slower than float32; it is for GPUs")
    if config.precision != "auto":
        return config.precision, {}
    if began is not None:
        return began.precision, {"precision": began.why.get("precision", "")}
    images = -(-share_of(config.batch_size) // config.accumulate)
    measure = partial(fastest_precision, student, batch_size=images, device=device)
    chosen, why = decided(measure)
    return chosen, {"precision": why}


def _need(
    config: Config, student: Student, objective: Objective, precision: StudentPrecision
) -> StepNeed | None:
    """Returns what a step takes, if memory is limited; of a student that is still to be sharded nothing is known."""
    if config.memory_limit is None or (config.shard and world_size() > 1):
        return None
    size = max(config.size, *config.views.sizes) if config.views.sizes else config.size
    images = share_of(config.batch_size)
    return step_need(student, objective, images=images, size=size, low=LOW.get(precision))


def _objective(
    config: Config,
    dataset: Dataset,
    student: Student,
    teachers: Sequence[Speaker],
    moments: Mapping[str, Moments],
) -> Objective:
    setup = Setup(
        num_features=student.num_features,
        embed_dim=student.embed_dim,
        teachers={
            t.name: TeacherWidth(
                t.num_features,
                t.weight,
                moments.get(t.name),
                output=str(t.about.get("output", "summary")),
                grid=t.grid,
            )
            for t in teachers
        },
        num_classes=dict(zip(dataset.domains, class_counts(dataset), strict=True)),
        taps=student.taps() if config.method.needs_taps else Taps(),
        has_assistant=student.assistant is not None,
        num_images=len(dataset),
        batch_size=config.batch_size,
        steps=config.steps,
    )
    torch.manual_seed(step_seed(config.seed, -1))
    objective: Objective = method_module(config.method.name).build(config.method, setup)
    check_objective(objective, config.method.name)
    return objective


def _fingerprint(config: Config, dataset: Dataset, teachers: Sequence[Mapping[str, Any]]) -> str:
    said = [[teacher["fingerprint"], *_rounded(teacher)] for teacher in teachers]
    parts = [decisive(config.model_dump(mode="json")), dataset.fingerprint, said]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _refuse_strangers(fingerprint: str) -> None:
    """Of several processes, all have to train the same."""
    first, *rest = gathered([fingerprint])
    others = [number for number, found in enumerate(rest, start=1) if found != first]
    if others:
        raise ConfigError(
            f"processes {', '.join(map(str, others))} have another recipe, other images or other teachers than process 0: give all "
            "machines the same recipe, and the same files under the same names"
        )


def _rounded(teacher: Mapping[str, Any]) -> list[str]:
    """Float32 out of a store is what a live teacher says, bit for bit; other precisions are another run."""
    stored = teacher.get("stored", "float32")
    return [] if stored == "float32" else [stored]
