"""Moments of the teachers' features, for methods whose normalisers are fitted: read out of the store, or gathered before the first step.

They are kept in the run's folder, `moments/TEACHER.safetensors`, and a resumed run takes them from there.

Axes: D width of a teacher's summary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from alumnus.data.dataset import Dataset
from alumnus.data.loader import train_batches
from alumnus.distributed import decided, each_bytes, from_main, rank, world_size
from alumnus.log import bar, console
from alumnus.moments import Moments
from alumnus.store.read import Stored
from alumnus.teachers.targets import Speaker, TargetSource, trusted_domains
from alumnus.training.config import Config
from alumnus.training.data import sampler_of
from alumnus.training.run import MOMENTS, Run
from alumnus.types import Batch

LIVE_ROWS, LIVE_ROWS_PER_DIM = (
    4096,
    4,
)  # of a live teacher at least: a covariance of D dimensions wants several times D rows
MOST_STEPS = 16  # times those of a teacher that is trusted on every image


def moments_of(
    config: Config, run: Run, dataset: Dataset, speakers: Sequence[Speaker], source: TargetSource
) -> dict[str, Moments]:
    """Returns the moments of each teacher's summaries, by its name; nothing if the method needs none."""
    if not config.method.needs_moments:
        return {}
    found, live = dict[str, Moments](), list[Speaker]()
    for speaker in speakers:
        if config.method.takes_as_logits(speaker.name, str(speaker.about.get("output", "summary"))):
            continue
        kept = run.folder / MOMENTS / f"{speaker.name}.safetensors"
        if not run.is_stale and decided(kept.is_file):
            found[speaker.name] = _of_main(partial(Moments.load, kept))
        elif isinstance(speaker, Stored):
            found[speaker.name] = _of_main(speaker.moments)
        else:
            live.append(speaker)
    return found | (_gathered(config, dataset, live, source) if live else {})


def save_moments(run: Run, found: Mapping[str, Moments]) -> None:
    """Keeps them in the run's folder."""
    for name, moments in found.items():
        (run.folder / MOMENTS).mkdir(exist_ok=True)
        moments.save(run.folder / MOMENTS / f"{name}.safetensors")


def _gathered(
    config: Config, dataset: Dataset, live: Sequence[Speaker], source: TargetSource
) -> dict[str, Moments]:
    """Asks live teachers about the views of the first steps, each until it has spoken often enough; each process about its share."""
    asking = TargetSource(live, domains=dataset.domains, device=source.device)
    found = {speaker.name: Moments(speaker.num_features) for speaker in live}
    rows = max(LIVE_ROWS, *(LIVE_ROWS_PER_DIM * speaker.num_features for speaker in live))
    last = _last_steps(config, dataset, live, rows=rows)
    steps = max(last.values())
    sampler = sampler_of(config, dataset)
    loader = train_batches(
        dataset,
        sampler,
        config.views,
        size=config.size,
        teacher_sizes=asking.sizes,
        start=0,
        steps=steps,
        workers=config.num_workers,
        rank=rank(),
        world_size=world_size(),
    )
    with bar("moments", total=steps) as line:
        for step, loaded in enumerate(loader):
            batch: Batch = loaded.batch
            for name, target in asking.of([each for each in live if step < last[each.name]], batch).items():
                found[name].update(target.features.summary.cpu())
            line.advance()
    return {name: _merged(moments) for name, moments in found.items()}


def _last_steps(config: Config, dataset: Dataset, live: Sequence[Speaker], *, rows: int) -> dict[str, int]:
    """Returns for each teacher after how many steps so many rows of the domains on which it is trusted were drawn.

    One that is trusted on a tenth of the images needs ten times the steps of one that is trusted on all; `MOST_STEPS` times is the most.
    """
    trusted = {each.name: trusted_domains(each.domains, dataset.domains) for each in live}
    least = math.ceil(rows / config.batch_size)
    drawn, last = dict.fromkeys(trusted, 0), dict[str, int]()
    sampler = sampler_of(config, dataset)
    for window in sampler.windows(0, MOST_STEPS * least):
        for step in window:
            domain = dataset.domain[sampler.draw(step).rows]
            for name in trusted.keys() - last.keys():
                drawn[name] += int(trusted[name][domain].sum())
                if drawn[name] >= rows:
                    last[name] = step + 1
            if len(last) == len(trusted):
                return last
    for name in trusted.keys() - last.keys():
        last[name] = MOST_STEPS * least
        console.print(
            f"teacher {name}: {drawn[name]:,} views of its domains give the moments of its features; {rows:,} were wanted, but its domains "
            "are drawn seldom",
        )
    return last


def _of_main(make: Callable[[], Moments]) -> Moments:
    """Returns the moments that the first process makes."""
    return make() if world_size() == 1 else Moments.unpacked(from_main(lambda: make().packed()))


def _merged(share: Moments) -> Moments:
    """Returns the moments of all processes' rows."""
    if world_size() == 1:
        return share
    whole = Moments(share.num_features)
    for part in each_bytes(share.packed()):
        whole.merge(Moments.unpacked(part))
    return whole
