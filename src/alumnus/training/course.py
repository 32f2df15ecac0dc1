"""What a run needs, put together: images, teachers, students, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from alumnus.data.dataset import Dataset
from alumnus.data.kept import KeptCrops
from alumnus.data.loader import Loaded, train_batches
from alumnus.data.sampler import Sampling
from alumnus.distributed import main_first, rank, world_size
from alumnus.errors import ConfigError
from alumnus.licences import licence_kind, licence_warning
from alumnus.log import warn
from alumnus.memory import keep_freed_memory
from alumnus.store.read import Stored
from alumnus.teachers.targets import TargetSource
from alumnus.training.build import pick_device
from alumnus.training.check import check_given, check_pieces, check_student, sizes_of
from alumnus.training.checkpoint import load_together, share_state
from alumnus.training.config import Config
from alumnus.training.data import sampler_of, training_data
from alumnus.training.limit import check_limit
from alumnus.training.moments import moments_of
from alumnus.training.plan import read_plan
from alumnus.training.pupil import Pupil, make_pupil
from alumnus.training.run import Run
from alumnus.training.targets import choose_speakers


class Course(NamedTuple):
    """All that the loop needs."""

    config: Config  # of the first student; what is shared is the same in all of them
    pupils: list[Pupil]
    dataset: Dataset
    sampler: Sampling
    source: TargetSource
    keys: NDArray[np.int64] | None  # (N,) of the images, if a store was looked into
    start: int  # steps that are done
    device: torch.device

    def batches(self, steps: int, *, kept: KeptCrops | None = None) -> Iterator[Loaded]:
        """Yields the batches from `start` to step `steps` - 1; crops that are kept are read instead of images."""
        speakers = self.source.speakers
        return train_batches(
            self.dataset,
            self.sampler,
            self.config.views,
            size=self.config.size,
            teacher_sizes=self.source.sizes,
            start=self.start,
            steps=steps,
            workers=self.config.num_workers,
            rank=rank(),
            world_size=world_size(),
            without={row for each in speakers if isinstance(each, Stored) for row in each.without},
            kept=kept,
        )


def prepare(opened: Sequence[tuple[Config, Run]]) -> Course:
    """Returns all that the loop needs, with everything as the last checkpoint has it; nothing is written.

    Raises:
        UserError: something given is wrong.
        CheckpointError: the last checkpoint belongs to another configuration.
    """
    config, run = opened[0]
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    if config.batch_size < world_size():
        raise ConfigError(
            f"batch_size={config.batch_size} gives {world_size()} processes less than an image each; raise it, or start fewer processes"
        )
    if config.accumulate > (least := config.batch_size // world_size()):
        raise ConfigError(
            f"accumulate={config.accumulate} asks for more micro-batches than a process has images in a step, which is {least} "
            f"(batch_size={config.batch_size}, {world_size()} processes); lower it, or raise batch_size"
        )
    for one, _ in opened:
        check_student(one.student, sizes=sizes_of(one))
    with main_first():
        dataset = training_data(config)
    check_given(config, dataset)  # before teachers are downloaded, loaded and asked
    began = None if run.is_stale else read_plan(run.folder)
    teachers, modes, why, keys = choose_speakers(config, dataset, device=device, began=began)
    _warn_of_licences([teacher.about for teacher in teachers])
    source = TargetSource(teachers, domains=dataset.domains, device=device)
    moments = moments_of(config, run, dataset, teachers, source)
    sampler = sampler_of(config, dataset)
    pupils = [
        make_pupil(
            *(config, run, dataset, teachers),
            moments=moments,
            sampler=sampler,
            modes=modes,
            why=why,
            device=device,
        )
        for config, run in opened
    ]
    for pupil in pupils:
        check_pieces(pupil.config, pupil.student)
    needs = [pupil.need for pupil in pupils if pupil.need is not None]
    if config.memory_limit is not None and needs:
        check_limit(
            needs,
            memory_limit=config.memory_limit,
            batch_size=config.batch_size,
            num_live=sum(mode != "stored" for mode in modes.values()),
            device=device,
        )
    begun = [pupil.saved for pupil in pupils if not pupil.run.is_stale]
    start = load_together(begun) if len(begun) == len(pupils) else 0
    for pupil in pupils:
        share_state(pupil.state)
    return Course(config, pupils, dataset, sampler, source, keys, start, device)


def _warn_of_licences(manifest: Sequence[Mapping[str, Any]]) -> None:
    """Says before the first step what teachers' licences ask of the student; unknown ones are in teachers.json alone."""
    for teacher in manifest:
        if licence_kind(teacher["licence"]) != "unknown" and (said := licence_warning(teacher["licence"])):
            warn(f"teacher {teacher['name']}: {said}")
