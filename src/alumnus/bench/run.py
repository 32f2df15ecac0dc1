"""`bench`: every model on every task of a suite, cell by cell; started again, it goes on where it stopped.

    out/suite.json            the suite, all of its tasks
    out/cells/TASK/MODEL/…    one JSON for each model, task, fraction and seed, see `cells`
    out/summary.json          all scores · summary.md · report.html

Pictures of a task are read once for all models that need them. A cell that fails is recorded with its error and does not end the run;
one that is there and good is not replaced by an error.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alumnus.bench import dense, frozen
from alumnus.bench.cells import Cell, write_cell
from alumnus.bench.compare import compare_models
from alumnus.bench.features import FeatureStore, Vectors
from alumnus.bench.meter import Meter, metered, spoken
from alumnus.bench.models import Given, Model, Zoo, named_pair, read_models
from alumnus.bench.outcome import Outcome
from alumnus.bench.page import write_page
from alumnus.bench.plan import Job, TaskPlan, is_kept, make_plan, read_cells, side_of
from alumnus.bench.sharing import cells_of_all, one_state, refuse_strangers, share
from alumnus.bench.suite import (
    DENSE,
    Budget,
    Suite,
    choose_tasks,
    load_suite,
    parse_suite,
    pick_budget,
    protocol_of,
)
from alumnus.bench.summary import Summary, left_out_words, summarise, write_summary
from alumnus.bench.tasks import Opener, TaskData, check_readable, check_sources
from alumnus.data.names import printable
from alumnus.disk import check_writable, replace_text
from alumnus.distributed import alone, decided, is_main, joined, main_first, wait, world_size
from alumnus.errors import ConfigError, RunError
from alumnus.evaluation.compare import RESAMPLES, check_resamples
from alumnus.evaluation.vectors import words_of
from alumnus.log import console, number_of, progress
from alumnus.packages import cache_dir
from alumnus.training.build import pick_device

FRACTIONS = (0.01, 0.1, 1.0)
FAILURES_SHOWN = 20


@joined()
def bench(
    *,
    suite: str | Path | Mapping[str, object] | Suite,
    models: Sequence[Given],
    out: Path,
    fractions: Sequence[float] = FRACTIONS,
    seeds: int = 3,
    tasks: Sequence[str] = (),
    budget: str | None = None,
    size: int | None = None,
    compare: Sequence[str] = (),
    cache: Path | None = None,
    cache_gb: float = 8.0,
    batch_size: int = 64,
    workers: int = 2,
    device: str = "auto",
    resamples: int = RESAMPLES,
    max_bad_fraction: float = 0.05,
    plan: bool = False,
) -> Summary:
    """Returns the scores of all models on all tasks.

    Several processes that torchrun started share the pictures of each task and then its cells; the first one writes the tables.

    Args:
        suite: gvb26, uned8, a YAML file, or its content.
        models: see `models.read_models`.
        out: the folder of the results; one that holds some is continued.
        fractions: shares of the labels, in (0, 1]; at least one image of a class is kept.
        seeds: 0 to seeds - 1, of which labels are kept and of what is drawn in training a head.
        tasks: only these; the tables show what is there of the others too.
        budget: quick, standard or full; the suite's by default.
        size: side in px that models see, unless they have one of their own; the suite's by default.
        compare: two of the models, by their names or as they are given in `models`, to be compared in pairs.
        cache, cache_gb: where vectors are kept, and how much of them; the user's cache by default.
        batch_size, workers: of the reading.
        device: auto, cpu or cuda.
        resamples: of the intervals.
        max_bad_fraction: more unreadable images than this part of those that a task learns from, scores, or searches fail its cells.
        plan: only say what would be done; nothing is written.

    Raises:
        ConfigError: a setting, a task, a model or a name of data is wrong; nothing was measured.
        RunError: some cells failed; everything else was measured and written.
    """
    _check_grid(fractions, seeds, max_bad_fraction, resamples, cache_gb, size)
    whole, limits = _settle(suite, budget, size)
    chosen = choose_tasks(whole, tuple(tasks))
    check_sources(chosen.tasks)
    entries = read_models(models)
    compare = named_pair(compare, entries)
    on = pick_device(device)
    zoo = Zoo(entries, device=on)
    store = FeatureStore(cache or cache_dir() / "bench", limit_bytes=int(cache_gb * 1e9))
    decided(lambda: _claim(out, whole, writes=not plan))
    with main_first():
        for name in progress(list(zoo.entries), "models"):
            for side in {side_of(task, chosen.input_size) for task in chosen.tasks}:
                zoo.get(name, side)  # what cannot be loaded is told before anything is measured
        opened = _open(chosen, limits)
    refuse_strangers(opened)
    opened = one_state(opened)
    learns = any(task.task != "retrieval" for task in chosen.tasks)
    fractions = sorted(set(fractions)) if learns else [1.0]  # retrieval uses no labels, so one table says all
    read = partial(read_cells, chosen, list(zoo.entries), fractions, seeds, limits, out)
    cells = read()
    wait()  # nobody writes while another process reads
    todo = make_plan(chosen, opened, zoo, store, fractions=fractions, seeds=seeds, budget=limits, cells=cells)
    _tell(chosen, todo, list(zoo.entries))
    made = list[Cell]()
    if not plan:
        own = sum(len(share(task.jobs)) for task in todo)
        with metered(own, sum(task.seconds for task in todo) / world_size()) as meter:
            runner = _Runner(
                chosen,
                zoo,
                store,
                limits,
                out,
                batch_size,
                workers,
                str(on),
                resamples,
                max_bad_fraction,
                meter,
            )
            for task in todo:
                made += runner.run(task)
        wait()  # for the cells of the others
        if world_size() > 1:
            made = cells_of_all(read(), made, todo, out)
    cells_of_run = [*(cell for task in todo for cell in task.done), *made]
    others = _of_other_tasks(whole, chosen, zoo, fractions, seeds, limits, out)
    there = {cell.task for cell in others} | {task.name for task in chosen.tasks}
    shown = choose_tasks(whole, tuple(there))
    return _finish(
        shown, list(zoo.entries), cells_of_run, others, out, compare, fractions, resamples, wanted=not plan
    )


class _Runner:
    """Makes the cells of one task after the other."""

    def __init__(
        self,
        suite: Suite,
        zoo: Zoo,
        store: FeatureStore,
        budget: Budget,
        out: Path,
        batch_size: int,
        workers: int,
        device: str,
        resamples: int,
        max_bad_fraction: float,
        meter: Meter,
    ) -> None:
        self.suite, self.zoo, self.store, self.budget, self.out = suite, zoo, store, budget, out
        self.batch_size, self.workers, self.device, self.resamples = batch_size, workers, device, resamples
        self.max_bad_fraction, self.meter, self.versions = max_bad_fraction, meter, _versions()

    def run(self, plan: TaskPlan) -> Iterator[Cell]:
        """Yields the cells that were to be made, each when it is written."""
        if not plan.jobs:
            return
        if isinstance(plan.found, Exception):
            yield from (self._failed(plan, job, plan.found) for job in share(plan.jobs))
        elif plan.task.task in DENSE:
            yield from self._dense(plan, plan.found)
        else:
            yield from self._frozen(plan, plan.found)

    def _frozen(self, plan: TaskPlan, found: TaskData) -> Iterator[Cell]:
        kind, rows = plan.task.task, found.rows
        models = {name: self._model(plan, name) for name in plan.models}
        marks = {name: model.mark(kind) for name, model in models.items()}
        self.meter.say(f"{plan.task.name}: encode")
        encodes = {marks[name]: model.encode(kind) for name, model in models.items()}  # equal models run once
        vectors = self.store.vectors(
            encodes,
            found.data,
            rows,
            state=found.state,
            batch_size=self.batch_size,
            workers=self.workers,
        )
        self.meter.spent(plan.encode_s)
        for job in share(plan.jobs):
            seen = vectors[marks[job.key.model]]
            if seen.error is not None:
                yield self._failed(plan, job, seen.error)
                continue
            yield self._attempt(plan, job, partial(self._score, found, seen, job))

    def _score(self, found: TaskData, seen: Vectors, job: Job) -> Outcome:
        check_readable(found, seen.bad, self.max_bad_fraction)
        good = ~np.isin(found.rows, list(seen.bad))
        rows, vectors = found.rows[good], seen.vector[good]
        fraction, seed = job.key.fraction, job.key.seed
        if fraction is None or seed is None:
            return frozen.retrieval(found, rows, vectors, resamples=self.resamples, device=self.device)
        return frozen.classification(
            found, rows, vectors, fraction=fraction, seed=seed, resamples=self.resamples, device=self.device
        )

    def _dense(self, plan: TaskPlan, found: TaskData) -> Iterator[Cell]:
        for name in plan.models:
            jobs = [job for job in share(plan.jobs) if job.key.model == name]
            if not jobs:
                continue
            self.meter.say(f"{plan.task.name}: {name}")
            try:
                with alone():
                    probe = dense.prepare(
                        found,
                        self._model(plan, name),
                        self.budget,
                        batch_size=self.batch_size,
                        workers=self.workers,
                        device=self.device,
                        max_bad_fraction=self.max_bad_fraction,
                    )
            except Exception as error:
                yield from (self._failed(plan, job, error) for job in jobs)
                continue
            self.meter.spent(plan.encode_s / len(plan.models))
            for job in jobs:
                yield self._attempt(plan, job, partial(self._fit, probe, job))

    def _fit(self, probe: dense.Probe, job: Job) -> Outcome:
        assert job.key.fraction is not None, job
        assert job.key.seed is not None, job
        return probe.score(fraction=job.key.fraction, seed=job.key.seed, resamples=self.resamples)

    def _model(self, plan: TaskPlan, name: str) -> Model:
        return self.zoo.get(name, side_of(plan.task, self.suite.input_size))

    def _attempt(self, plan: TaskPlan, job: Job, make: Callable[[], Outcome]) -> Cell:
        self.meter.say(str(job.key))
        started = time.perf_counter()
        try:
            with alone():
                outcome = make()
        except Exception as error:  # whatever it is, the other cells are worth having
            return self._failed(plan, job, error, time.perf_counter() - started)
        seconds = time.perf_counter() - started
        cell = Cell(
            **self._common(plan, job, seconds),
            primary=outcome.primary,
            scores=outcome.scores,
            counts=outcome.counts,
            details=outcome.details,
        )
        write_cell(cell, outcome.per_image, self.out)
        self.meter.cell_done(job.seconds)
        return cell

    def _failed(self, plan: TaskPlan, job: Job, error: Exception, seconds: float = 0.0) -> Cell:
        said, kept = words_of(error), ""
        cell = Cell(**self._common(plan, job, seconds), error=said)
        if is_kept(job, self.out):
            kept = "; its scores of before stay in the folder"
        else:
            write_cell(cell, {}, self.out)
        console.print(f"failed: {job.key}: {said}{kept}")
        self.meter.cell_done(job.seconds)
        return cell

    def _common(self, plan: TaskPlan, job: Job, seconds: float) -> dict[str, Any]:
        return {
            "suite": self.suite.name,
            "kind": plan.task.task,
            "category": plan.task.group,
            **job.key._asdict(),
            "seconds": round(seconds, 3),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": self.versions,
            "fingerprints": dict(job.fingerprints),
        }


def _settle(
    given: str | Path | Mapping[str, object] | Suite, budget: str | None, size: int | None
) -> tuple[Suite, Budget]:
    """Returns the whole suite as it is measured, and its budget."""
    suite = given if isinstance(given, Suite) else _read_suite(given)
    if size is not None:
        suite = suite.model_copy(update={"input_size": size})
    suite = suite.model_copy(update={"budget": budget or suite.budget})
    return suite, pick_budget(suite.budget)


def _read_suite(given: str | Path | Mapping[str, object]) -> Suite:
    return parse_suite(given) if isinstance(given, Mapping) else load_suite(given)


def _check_grid(
    fractions: Sequence[float],
    seeds: int,
    max_bad_fraction: float,
    resamples: int,
    cache_gb: float,
    size: int | None,
) -> None:
    wrong = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if wrong or not fractions:
        raise ConfigError(
            f"fractions={list(fractions)}: each must be above 0 and at most 1, such as 0.01 0.1 1"
        )
    if seeds < 1:
        raise ConfigError(f"seeds={seeds} must be at least 1")
    check_resamples(resamples)
    if not 0 <= cache_gb < math.inf:
        raise ConfigError(f"cache_gb={cache_gb} must be a number of gigabytes; 0 keeps nothing")
    if size is not None and size < 8:
        raise ConfigError(f"size={size} must be at least 8 px")
    if not 0 <= max_bad_fraction <= 1:
        raise ConfigError(f"max_bad_fraction is {max_bad_fraction}; it must lie in [0, 1]")


def _claim(out: Path, suite: Suite, *, writes: bool) -> None:
    """Refuses a folder that is another suite's; if wanted, writes what is measured."""
    check_writable(out, is_folder=True)
    path = out / "suite.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        found = suite.name
    if found != suite.name:
        raise ConfigError(
            f"'{printable(out)}' holds results of the suite {found!r}, not of {suite.name!r}; name another out"
        )
    if not writes:
        return
    out.mkdir(parents=True, exist_ok=True)
    replace_text(path, suite.model_dump_json(indent=1) + "\n")


def _open(suite: Suite, budget: Budget) -> dict[str, TaskData | Exception]:
    """Returns each task's data, or why there is none."""
    opener, found = Opener(), dict[str, TaskData | Exception]()
    for task in progress(suite.tasks, "data"):
        try:
            found[task.name] = opener.open(task, budget)
        except Exception as error:  # a registry that is away must not end the other tasks
            found[task.name] = error
    return found


def _tell(suite: Suite, plans: Sequence[TaskPlan], models: Sequence[str]) -> None:
    jobs, done = sum(len(plan.jobs) for plan in plans), sum(len(plan.done) for plan in plans)
    seconds = sum(plan.seconds for plan in plans)
    without = {plan.task.name: plan.found for plan in plans if isinstance(plan.found, Exception)}
    console.print(
        f"{suite.name} ({suite.budget} budget): {number_of(len(suite.tasks), 'task')}, {number_of(len(models), 'model')}, "
        f"{number_of(jobs + done, 'cell')}; "
        f"{done} are there, {jobs} to make, about {spoken(seconds)}",
    )
    for name, error in without.items():
        why = " ".join(str(error).split()).removeprefix(f"task {name}: ")
        console.print(f"no data, so no scores: {name} ({why or type(error).__name__})")


def _of_other_tasks(
    whole: Suite, chosen: Suite, zoo: Zoo, fractions: Sequence[float], seeds: int, budget: Budget, out: Path
) -> list[Cell]:
    """Returns good cells of tasks that are not of this run, of the same models and protocols; their data is not looked at."""
    rest = whole.model_copy(update={"tasks": tuple(each for each in whole.tasks if each not in chosen.tasks)})
    found = list[Cell]()
    for key, cell in read_cells(rest, list(zoo.entries), fractions, seeds, budget, out).items():
        task = next(each for each in rest.tasks if each.name == key.task)
        model = zoo.get(key.model, side_of(task, whole.input_size))
        marks = {"model": model.mark(task.task), "protocol": protocol_of(task, budget)}
        if cell.error is None and marks.items() <= cell.fingerprints.items():
            found.append(cell)
    return found


def _finish(
    suite: Suite,
    models: Sequence[str],
    cells: Sequence[Cell],
    others: Sequence[Cell],
    out: Path,
    compare: Sequence[str],
    fractions: Sequence[float],
    resamples: int,
    *,
    wanted: bool,
) -> Summary:
    """Args: cells of this run, and others that were there before it, which the tables show too."""
    shown = [*others, *cells]
    summary = summarise(suite, models, shown, out, fractions=fractions, resamples=resamples)
    if not wanted:
        return summary
    _write(summary, out)  # before the comparison, which may fail
    if compare:
        found = compare_models(
            suite, shown, compare[0], compare[1], out, fractions=fractions, resamples=resamples
        )
        summary = replace(summary, comparison=found)
        _write(summary, out)
    wait()
    for words in left_out_words(summary):
        console.print(words)
    if summary.unreadable:
        console.print("`alumnus data check` names the images that could not be read")
    failed = [cell for cell in cells if cell.error is not None]
    if failed:
        listed = [f"  {cell.key}: {cell.error}" for cell in failed[:FAILURES_SHOWN]]
        more = f"\n  and {len(failed) - FAILURES_SHOWN} more" if len(failed) > FAILURES_SHOWN else ""
        raise RunError(
            f"{len(failed)} of {len(cells)} cells failed; the others are in '{printable(out)}', and the same command tries "
            f"these again:\n" + "\n".join(listed) + more
        )
    return summary


def _write(summary: Summary, out: Path) -> None:
    if is_main():
        write_summary(summary, out)
        write_page(summary, out)


def _versions() -> dict[str, str]:
    packages = ("alumnus", "torch", "numpy", "faiss-cpu", "timm", "pillow")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }
