"""Training: `train` puts everything together, and the step is the loop in `_fit`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from alumnus.data.dataset import Dataset
from alumnus.data.loader import train_batches
from alumnus.data.read import Quarantine
from alumnus.data.sampler import Sampler
from alumnus.errors import NonFiniteError
from alumnus.licences import licence_kind, licence_warning
from alumnus.log import MetricsFile, bar, console
from alumnus.models.artifact import save_student
from alumnus.models.student import Student
from alumnus.moments import Moments
from alumnus.objective import Objective, Setup, TeacherWidth
from alumnus.teachers.targets import Speaker, TargetSource
from alumnus.training.build import build_student, pick_device, provenance
from alumnus.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from alumnus.training.config import FREE, Config, method_module
from alumnus.training.data import training_data
from alumnus.training.memory import keep_freed_memory
from alumnus.training.meter import Meter
from alumnus.training.moments import moments_of, save_moments
from alumnus.training.optim import Ema, make_optimizer, set_lr
from alumnus.training.plan import Plan, StudentPrecision, fastest_precision, read_plan
from alumnus.training.run import Run, open_run
from alumnus.training.targets import choose_speakers
from alumnus.types import Batch, Terms


def train(config: Config) -> Run:
    """Trains the student of a configuration; continues where an earlier run of it stopped.

    Raises:
        UserError: something given is wrong; nothing was changed.
        NonFiniteError: a term became NaN or infinite; the last checkpoint stays.
    """
    run = open_run(config)
    if run.is_done:
        run.say(f"{run.student} is done already")
        return run
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    dataset = training_data(config)
    began = None if run.is_stale else read_plan(run.folder)
    teachers, modes, why = choose_speakers(
        config, dataset, device=device, began=None if began is None else began.modes
    )
    manifest = [teacher.about for teacher in teachers]
    _warn_of_licences(manifest)
    source = TargetSource(teachers, domains=dataset.domains, device=device)
    student = build_student(config).to(device).to(memory_format=torch.channels_last)
    precision, measured = _precision(config, student, began)
    moments = moments_of(config, run, dataset, teachers, source)
    objective = _objective(config, dataset, student, teachers, moments).to(device)
    optimizer = make_optimizer(student, objective, config.optim, lr=config.lr)
    ema = Ema(student, decay=config.optim.ema) if config.optim.ema else None
    state = TrainState(student, objective, optimizer, ema)
    fingerprint = _fingerprint(config, dataset, manifest)
    start = 0 if run.is_stale else load_checkpoint(run.checkpoints, state, fingerprint=fingerprint)
    run.begin(config, manifest)
    plan = Plan(precision, modes, why | measured)
    plan.save(run.folder)
    save_moments(run, moments)
    run.say(
        f"{len(dataset):,} images of {len(np.unique(dataset.domain))} domains, {plan.summary}, "
        f"steps {start} to {config.steps} on {device}"
    )
    _fit(config, run, dataset, source, state, precision=precision, start=start, fingerprint=fingerprint)
    if ema is not None:
        student.load_state_dict(ema.tensors)
    save_student(student, run.student, provenance=provenance(config, dataset, manifest), card=_card(config))
    run.say(f"student written to {run.student}")
    return run


def _fit(
    config: Config,
    run: Run,
    dataset: Dataset,
    source: TargetSource,
    state: TrainState,
    *,
    precision: StudentPrecision,
    start: int,
    fingerprint: str,
) -> None:
    """The training loop: steps `start` to `config.steps` - 1."""
    sampler = Sampler(
        dataset.domain,
        name=config.sampler,
        batch_size=config.batch_size,
        seed=config.seed,
        views_per_image=config.views.per_image,
    )
    loader = train_batches(
        dataset,
        sampler,
        config.views,
        size=config.size,
        teacher_sizes=source.sizes,
        start=start,
        steps=config.steps,
        workers=config.num_workers,
    )
    quarantine = Quarantine(
        run.folder / "quarantine.jsonl", total=len(dataset), max_bad_fraction=config.max_bad_fraction
    )
    metrics = MetricsFile(run.folder / "metrics.jsonl", keep_before_step=start)
    meter = Meter()
    device = next(state.student.parameters()).device
    state.student.train()
    state.objective.train()
    with closing(metrics), bar(run.folder.name, total=config.steps) as line:
        line.advance(start)
        for step, loaded in enumerate(loader, start=start):
            torch.manual_seed(_step_seed(config.seed, step))
            for row, reason in loaded.bad:
                quarantine.add(dataset.file_names[row], reason)
            batch = _to_device(loaded.batch, device)
            targets = source(batch)
            set_lr(state.optimizer, config.optim, progress=step / config.steps)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                terms = state.objective(state.student, batch, targets, step / config.steps)
            _update(terms, state, step=step, clip_norm=config.optim.clip_norm)
            sampler.observe(loaded.batch.domain.numpy(), terms.per_sample.cpu().numpy())
            meter.count(terms, len(batch.row))
            if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
                lr = max(group["lr"] for group in state.optimizer.param_groups)
                metrics.write(meter.line(step=step, lr=lr))
                line.say(f"loss {meter.last_loss:.3f}")
            if (step + 1) % config.checkpoint_every == 0 and step + 1 < config.steps:
                save_checkpoint(run.checkpoints, state, step=step + 1, fingerprint=fingerprint)
            line.advance()


def _update(terms: Terms, state: TrainState, *, step: int, clip_norm: float) -> None:
    """Backward, clip, optimiser, moving average."""
    if not torch.isfinite(terms.loss):
        broken = [name for name, value in terms.report.items() if not torch.isfinite(value)]
        raise NonFiniteError(
            f"step {step}: the loss is {float(terms.loss.detach())} (not finite: {', '.join(broken) or 'the total'}); "
            "a lower lr or precision=float32 usually helps; the last checkpoint is kept"
        )
    state.optimizer.zero_grad(set_to_none=True)
    terms.loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    norm = clip_grad_norm_(parameters, clip_norm)
    if not torch.isfinite(norm):
        raise NonFiniteError(f"step {step}: the gradient's norm is {float(norm)} though the loss is finite")
    state.optimizer.step()
    if state.ema is not None:
        state.ema.update(state.student, step=step)


def _warn_of_licences(manifest: Sequence[Mapping[str, Any]]) -> None:
    """Says before the first step what teachers' licences ask of the student; unknown ones are in teachers.json alone."""
    for teacher in manifest:
        if licence_kind(teacher["licence"]) != "unknown" and (said := licence_warning(teacher["licence"])):
            console.print(f"[yellow]warning[/]: teacher {teacher['name']}: {said}")


def _precision(
    config: Config, student: Student, began: Plan | None
) -> tuple[StudentPrecision, dict[str, str]]:
    """Returns the student's precision and, if it was measured, why."""
    if config.precision != "auto":
        return config.precision, {}
    if began is not None:
        return began.precision, {"precision": began.why.get("precision", "")}
    device = next(student.parameters()).device
    chosen, why = fastest_precision(student, batch_size=config.batch_size, device=device)
    return chosen, {"precision": why}


def _objective(
    config: Config,
    dataset: Dataset,
    student: Student,
    teachers: Sequence[Speaker],
    moments: Mapping[str, Moments],
) -> Objective:
    counts = [
        int(dataset.label[dataset.domain == d].max(initial=-1)) + 1 for d in range(len(dataset.domains))
    ]
    setup = Setup(
        num_features=student.num_features,
        embed_dim=student.embed_dim,
        teachers={t.name: TeacherWidth(t.num_features, t.weight, moments.get(t.name)) for t in teachers},
        num_classes=dict(zip(dataset.domains, counts, strict=True)),
    )
    torch.manual_seed(_step_seed(config.seed, -1))
    objective: Objective = method_module(config.method.name).build(config.method, setup)
    return objective


def _to_device(batch: Batch, device: torch.device) -> Batch:
    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    images = {side: move(image) for side, image in batch.teacher_images.items()}
    rest = (move(tensor) for tensor in (batch.row, batch.key, batch.view, batch.domain, batch.label))
    return Batch(move(batch.image), images, *rest)


def _step_seed(seed: int, step: int) -> int:
    """A seed for torch's own generator (dropout, drop path) that depends on the step alone."""
    return (seed * 1_000_003 + step + 1) % 2**63


def _fingerprint(config: Config, dataset: Dataset, teachers: Sequence[Mapping[str, Any]]) -> str:
    decisive = {key: value for key, value in config.model_dump(mode="json").items() if key not in FREE}
    said = [[teacher["fingerprint"], *_rounded(teacher)] for teacher in teachers]
    parts = [decisive, dataset.fingerprint, said]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _rounded(teacher: Mapping[str, Any]) -> list[str]:
    """Float32 out of a store is what a live teacher says, bit for bit; other precisions are another run."""
    stored = teacher.get("stored", "float32")
    return [] if stored == "float32" else [stored]


def _card(config: Config) -> str:
    teachers = "".join(f"- {spec.model}\n" for spec in config.teachers) or "- labels\n"
    return (
        "---\nlibrary_name: timm\npipeline_tag: image-feature-extraction\ntags: [alumnus, image-embedding]\n---\n"
        f"# {config.out.name}\n\n{config.student.model}, {config.embed_dim}-D embedding at {config.size} px, "
        f"trained by Alumnus with method={config.method.name} from:\n\n{teachers}\n"
        '```python\nimport alumnus\n\nencoder = alumnus.load("path/to/this/folder")\n'
        'encoder.encode(["a.jpg"])  # (1, ' + str(config.embed_dim) + ") float32, unit length\n```\n"
    )
