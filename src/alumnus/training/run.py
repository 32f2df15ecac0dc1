"""The run folder: what a run leaves behind, and whether an older one may be continued.

config.yaml       the resolved configuration
log.txt           what was said; log.1.txt before that, if it was much
metrics.jsonl     losses, learning rate and images/s, a line every `log_every` steps
watch.jsonl       R@1 and effective rank on other images, if the recipe says `watch`
best.safetensors  the best student so far, if it says `watch.keep=best`; gone when the run is done
tensorboard/      the same for TensorBoard, and wandb/ for Weights & Biases, with wandb-id.txt: if the recipe says so
teachers.json     id, source, fingerprint and licence of every teacher
plan.json         which teachers speak live, offloaded or out of a store, the student's precision, and why
quarantine.jsonl  images that could not be read
method.py         the file of a method of somebody's own, as it was when the run began
moments/          of each teacher's features, if the method fits its normalisers to them
checkpoints/      the last two
student/          the result, written at the end
replay.json       the step that failed, if one did: see `failure`
.lock             while somebody trains here: see `lock`
.old/             a run that is to be thrown away, until the new one's trackers have begun
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from alumnus import lock
from alumnus.data.names import printable
from alumnus.disk import new_name, replace_text
from alumnus.errors import ConfigError
from alumnus.log import append_line, console
from alumnus.models.artifact import is_whole
from alumnus.training.config import STAGES, STUDENTS, Config, dump
from alumnus.training.decisive import differences

METHOD = "method.py"
METRICS = "metrics.jsonl"
WATCH = "watch.jsonl"
BEST = "best.safetensors"
WANDB_ID = "wandb-id.txt"
FILES = (
    "log.txt",
    "log.1.txt",
    METRICS,
    WATCH,
    BEST,
    WANDB_ID,
    "teachers.json",
    "plan.json",
    METHOD,
    "quarantine.jsonl",
    "replay.json",
    "results.json",
    "gallery.json",
    "evaluate.quarantine.jsonl",
    "seeds.json",
    "report.html",
    "config.yaml",  # last: a folder without it is taken for somebody else's
)
MOMENTS = "moments"
TENSORBOARD = "tensorboard"
FOLDERS = ("checkpoints", "student", MOMENTS, TENSORBOARD, "wandb")
OLD = ".old"
# May be in a folder that holds no run: the lock, and what a kill at the very beginning left.
NO_RUN = frozenset({STAGES, lock.NAME, new_name("config.yaml"), OLD})


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path
    is_stale: bool = False  # what is in the folder is to be thrown away when the run begins

    @property
    def students(self) -> list[Run]:
        """The runs of a recipe with several students, in order of their names; none if it has one."""
        return [Run(path) for path in sorted((self.folder / STUDENTS).glob("*")) if path.is_dir()]

    @property
    def student(self) -> Path:
        """The student folder; it exists when the run is done."""
        return self.folder / "student"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def is_done(self) -> bool:
        """Whether the student was written, and is whole."""
        return not self.is_stale and is_whole(self.student)

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return not self.is_stale and any(self.checkpoints.glob("step-*"))

    def say(self, text: str) -> None:
        """Prints a line and keeps it in log.txt."""
        console.print(text)  # names of files may look like it
        append_line(self.folder / "log.txt", text)

    def begin(self, config: Config, teachers: Sequence[Mapping[str, Any]]) -> None:
        """Makes the folder and writes config.yaml and teachers.json; called when everything given was found right.

        What is thrown away is put aside: `forget_old` or `put_back` has to follow.
        """
        if self.is_stale:
            self._put_aside()
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_text(self.folder / "config.yaml", dump(config))
        replace_text(self.folder / "teachers.json", json.dumps(list(teachers), indent=2) + "\n")

    def keep_method(self, source: str) -> None:
        """Writes method.py when the run begins; later it is compared, and what it says now only said to be another."""
        kept = self.folder / METHOD
        if not kept.exists():
            replace_text(kept, source)
        elif kept.read_text(encoding="utf-8", errors="replace") != source:
            self.say(
                f"warning: the method's file has changed since the run began ({kept} is as it was); it goes on with the new one, "
                "resume=never starts again"
            )

    def forget_old(self) -> None:
        """Deletes what was put aside."""
        shutil.rmtree(self.folder / OLD, ignore_errors=True)

    def put_back(self) -> None:
        """Puts what was put aside in the place of what has been written since, if something was."""
        aside = self.folder / OLD
        if not (aside / FILES[-1]).exists():
            return
        for name in FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in FILES:
            (self.folder / name).unlink(missing_ok=True)
        _move(aside, self.folder)
        self.forget_old()

    def _put_aside(self) -> None:
        self.forget_old()  # of a kill
        (self.folder / OLD).mkdir()
        _move(self.folder, self.folder / OLD)


def open_run(config: Config) -> Run:
    """Returns the run of `out`, new or to be continued; writes nothing.

    Raises:
        ConfigError: the folder holds work of another configuration (each difference is named), or something else.
    """
    run = Run(config.out)
    recorded = config.out / "config.yaml"
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"out={config.out} is a file; give a folder")
    if not recorded.is_file():
        if config.out.is_dir() and any(path.name not in NO_RUN for path in config.out.iterdir()):
            raise ConfigError(f"out={config.out} is not empty and holds no run; choose another folder")
        return run
    if run.student.is_dir() and not run.is_done:
        console.print(f"{run.student} is damaged: its last steps are learnt again")
    if (config.resume == "never" and not _is_restarted()) or not (run.is_done or run.checkpoints.is_dir()):
        return Run(config.out, is_stale=True)  # asked for, or nothing was learnt yet
    before = _settings(recorded)
    if changed := differences(before, config.model_dump(mode="json")):
        steps = before.get("steps")
        is_longer = run.is_done and isinstance(steps, int) and steps < config.steps
        further = f"; to train its student further, choose another out with student=alumnus:{run.student}"
        raise ConfigError(
            f"out={config.out} holds a run of another configuration:\n  "
            + "\n  ".join(changed)
            + "\nchoose another out, or resume=never to start again"
            + further * is_longer
        )
    return run


def _move(run: Path, to: Path) -> None:
    """Moves all that a run leaves behind, config.yaml last."""
    for name in (*FOLDERS, *FILES):
        if os.path.lexists(run / name):
            os.replace(run / name, to / name)


def _is_restarted() -> bool:
    """Whether torchrun starts its processes again after one has failed: then the run that they are of is this one."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _settings(recorded: Path) -> dict[str, Any]:
    """Returns the settings that a run wrote down."""
    why = "no settings are in it"
    try:
        found = yaml.safe_load(recorded.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = printable(str(error).splitlines()[0])
    raise ConfigError(
        f"{recorded} is damaged ({why}), so whether the run there is this one cannot be told; put it back, or resume=never to start again"
    )
