"""Stages: a recipe as a list of runs, one after another, where later ones build on earlier ones.

    out/stages/NAME   the run of each stage but the last
    out               the run of the last

A stage's settings are the shared ones of the recipe with its own laid over them. `stage:NAME`, as the student or a teacher's model, is the
student of an earlier stage. Each run is an ordinary one, with paths in the place of names: what is trained, resumed, refused or
done is decided as for any other run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alumnus.distributed import is_main, joined, wait
from alumnus.errors import ConfigError, UserError, nearest
from alumnus.log import console
from alumnus.models.student import Architecture, Student
from alumnus.training.build import check_continued, first_architecture, pick_device
from alumnus.training.check import check_given, check_student, sizes_of
from alumnus.training.config import STAGE_NAME, STAGES, Config
from alumnus.training.data import sampler_of, training_data
from alumnus.training.freeze import freeze
from alumnus.training.loop import train
from alumnus.training.recipe import laid_over, read_values, validated
from alumnus.training.run import Run, open_run
from alumnus.training.trackers import check_trackers
from alumnus.training.watch import watched_rows

PREFIX = "stage:"


@dataclass(frozen=True)
class Stage:
    """One run of a recipe."""

    name: str | None  # None where the recipe has no stages
    config: Config

    @property
    def runs(self) -> list[Run]:
        """Its run, or that of each of its students.

        Raises:
            ConfigError: see `open_run`.
        """
        return [open_run(config) for config in self.config.each_student]

    @property
    def students(self) -> dict[str, Path]:
        """`NAME`, or `NAME/STUDENT` of several, -> the folder of that student."""
        if not self.config.students:
            return {f"{self.name}": Run(self.config.out).student}
        return {
            f"{self.name}/{config.out.name}": Run(config.out).student for config in self.config.each_student
        }


def load_stages(
    recipe: str | Path | None = None, words: Sequence[str] = (), /, **settings: object
) -> tuple[Stage, ...]:
    """Returns the runs of a recipe, in their order; a recipe without `stages` has one. Arguments are those of `load_config`.

    Raises:
        ConfigError: a setting is wrong, two stages have one name, or one builds on a stage that is not before it.
    """
    shared = read_values(recipe, words, **settings)
    if STAGES not in shared:
        return (Stage(None, validated(shared)),)
    given = shared.pop(STAGES)
    names = _names(given)
    if not isinstance(shared.get("out"), str | Path):
        raise ConfigError(
            f"out: a folder is needed, that of the last stage with the others in it; got {shared.get('out')!r}"
        )
    whole = Path(shared["out"])
    made: list[Stage] = []
    students: dict[str, Path] = {}
    for name, own in zip(names, given, strict=True):
        out = whole if name == names[-1] else whole / STAGES / name
        try:
            values = _linked(_settings(shared, own, out), students, names)
            made.append(Stage(name, validated(values)))
        except ConfigError as error:
            raise ConfigError(f"stage {name!r}: {error}") from error
        students |= made[-1].students
    return tuple(made)


def train_stages(stages: Sequence[Stage], *, begin_at: str | None = None) -> Run:
    """Trains each stage in turn and returns the run of the last; finished ones are passed over, an unfinished one goes on.

    Args:
        begin_at: name of a stage: it and those after it begin anew, and those before it have to be done.

    Raises:
        UserError: something given is wrong. Most of it is found before the first stage, the rest when a stage begins; what is done stays.
    """
    with joined():
        anew = _first_anew(stages, begin_at)
        if len(stages) > 1:
            _check(stages, anew, needs_earlier=begin_at is not None)
            wait()  # all have looked before anything changes
        for stage in reversed(stages[anew + 1 :]) if is_main() else ():
            for config in stage.config.each_student:
                _forget(Run(config.out))
        for number, stage in enumerate(stages):
            if stage.name is not None:
                console.print(f"stage {stage.name}, {number + 1} of {len(stages)}")
            train(stage.config.model_copy(update={"resume": "never"}) if number == anew else stage.config)
    return Run(stages[-1].config.out)


def _names(given: Any) -> list[str]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ConfigError(f"stages: a list of mappings is needed, each with its `name`; got {given!r}")
    names = list[str]()
    for number, own in enumerate(given):
        name = own.get("name") if isinstance(own, Mapping) else None
        if not isinstance(name, str) or not re.fullmatch(STAGE_NAME, name):
            raise ConfigError(
                f"stages.{number}: a stage is a mapping with a `name` of letters, digits and _; got {own!r}"
            )
        if name in names:
            raise ConfigError(f"two stages are called {name!r}; give one of them another `name`")
        names.append(name)
    return names


def _settings(shared: Mapping[str, Any], own: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The shared settings with a stage's own laid over them; a student of its own takes the place of shared ones, one or several."""
    if "out" in own:
        raise ConfigError("out: a stage's folder follows from its name; give `out` beside `stages`")
    replaced = {"student": "students", "students": "student"}
    kept = {key: value for key, value in shared.items() if replaced.get(key) not in own}
    values = laid_over(kept, {key: value for key, value in own.items() if key != "name"})
    return {**values, "out": out}


def _linked(values: dict[str, Any], students: Mapping[str, Path], names: Sequence[str]) -> dict[str, Any]:
    """Puts paths in the place of `stage:NAME`."""

    def link(entry: Any) -> Any:
        if isinstance(entry, Mapping):
            return {**entry, "model": link(entry["model"])} if "model" in entry else entry
        if not isinstance(entry, str) or not entry.startswith(PREFIX):
            return entry
        name = entry.removeprefix(PREFIX)
        if name not in students:
            raise ConfigError(f"{entry}: {_why_not(name, students, names)}")
        return f"alumnus:{students[name]}"

    result = dict(values)
    for key in ("student", "students", "teachers"):
        if key in values:
            given = values[key]
            result[key] = [link(each) for each in given] if isinstance(given, list) else link(given)
    return result


def _why_not(name: str, students: Mapping[str, Path], names: Sequence[str]) -> str:
    before = ", ".join(students) or "none"
    if any(known.startswith(f"{name}/") for known in students):
        return f"that stage has several students; name one of them: {before}"
    if name in names:
        return f"that stage is not before this one, and a stage builds on earlier ones only: {before}"
    return f"there is no such stage{nearest(name, students)}; before this one are: {before}"


def _first_anew(stages: Sequence[Stage], begin_at: str | None) -> int:
    """The number of the first stage that begins anew; how many stages there are if none does."""
    names = [stage.name for stage in stages]
    if begin_at is not None and begin_at not in names:
        known = [name for name in names if name is not None]
        there = (
            f"there are {', '.join(known)}" if known else "the recipe has no stages; resume=never begins anew"
        )
        raise ConfigError(f"--from {begin_at}: there is no such stage{nearest(begin_at, known)}; {there}")
    for number, stage in enumerate(stages):
        if stage.config.resume == "never" or (begin_at is not None and stage.name == begin_at):
            return number
    return len(stages)


def _check(stages: Sequence[Stage], anew: int, *, needs_earlier: bool) -> None:
    """Finds what can be found before anything runs."""
    made: dict[str, Architecture] = {}
    for number, stage in enumerate(stages):
        try:
            is_done = number < anew and all(run.is_done for run in stage.runs)
            if not is_done:
                _check_inputs(stage.config, made)
            made |= _architectures(stage, made)
        except UserError as error:
            raise ConfigError(f"stage {stage.name!r}: {error}") from error
        if needs_earlier and number < anew and not is_done:
            raise ConfigError(
                f"--from {stages[anew].name}: the stage {stage.name!r} before it is not done; without --from it is trained first"
            )


def _check_inputs(config: Config, made: Mapping[str, Architecture]) -> None:
    """The device, students that no earlier stage makes, all images, teachers or labels where the method learns from them, trackers."""
    pick_device(config.device)
    for one in config.each_student:
        if one.student.model not in made:
            check_student(one.student, sizes=sizes_of(one))
    dataset = training_data(config)
    sampler_of(config, dataset)  # refuses data without a training image
    check_given(config, dataset)
    check_trackers(config)
    if config.watch is not None:
        watched_rows(config, config.watch)


def _architectures(stage: Stage, made: Mapping[str, Architecture]) -> dict[str, Architecture]:
    """Returns what the stage's students will be; one that continues an earlier one has to agree with it."""
    found = {}
    for config in stage.config.each_student:
        spec, before = config.student, made.get(config.student.model)
        if before is not None:
            check_continued(before, config, source=spec.model)
            architecture = replace(before, size=config.size)
        elif spec.split is not None and spec.model.startswith("timm/"):
            architecture = first_architecture(config)
        else:
            name = spec.model.removeprefix("timm/")
            architecture = Architecture(name, config.size, config.embed_dim, spec.model_args)
        if config.freeze and not architecture.model.startswith("alumnus:"):
            freeze(Student(architecture), config.freeze)  # random weights: only the names count
        found[f"alumnus:{Run(config.out).student}"] = architecture
    return found


def _forget(run: Run) -> None:
    """Takes away what a run learnt, so that it begins anew; it clears the rest when it does."""
    for folder in (run.student, run.checkpoints):
        shutil.rmtree(folder, ignore_errors=True)
