"""Where a run's numbers are shown beside `metrics.jsonl`, by packages made for that: TensorBoard, and Weights & Biases.

`metrics.jsonl` stays the record. A tracker that cannot begin is an error before the first step; one that fails later is said so, left, and
the run goes on. A run that goes on after a stop goes on in its trackers too. The steps since its last checkpoint come again; TensorBoard
shows them once, Weights & Biases, which takes nothing back, twice.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self

from alumnus.disk import replace_text
from alumnus.errors import ConfigError, MissingExtra
from alumnus.log import MetricsFile
from alumnus.training.config import Config, TrackerName
from alumnus.training.run import METRICS, TENSORBOARD, WANDB_ID, WATCH, Run

EXTRA = "track"
FINISH_S = (
    60.0  # for what is still to be sent at the end; what is not stays in the run's folder, for `wandb sync`
)
Line = Mapping[str, float]  # a number for each name, `step` among them


class Tracker(Protocol):
    """Shows lines; any method may raise whatever its package raises."""

    def write(self, line: Line) -> None:
        """Takes one line."""

    def close(self, *, failed: bool) -> None:
        """Sends what is left, of a run that ended or failed."""


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs/` compares all runs below."""

    def __init__(self, config: Config, run: Run, *, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a stopped run wrote of steps that come again is not shown.
        self._writer = SummaryWriter(str(run.folder / TENSORBOARD), purge_step=start)

    def write(self, line: Line) -> None:
        """Adds a point to each curve."""
        for name, value in line.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(line["step"]))
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Closes the file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of the project that WANDB_PROJECT names, `alumnus` by default, with the settings; WANDB_MODE=offline keeps it in the folder.

    Sent are numbers and settings, with the paths in them, and what wandb itself looks up of the machine and of the process: hardware, its
    use, versions, paths of the program. Not sent are images, weights, and what wandb would look up of a git repository or of the packages
    that are installed.
    """

    def __init__(self, config: Config, run: Run, *, start: int) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "alumnus"),
            name=config.out.as_posix(),
            id=_kept_id(run.folder / WANDB_ID),
            resume="allow",
            reinit="create_new",  # students that train together are a run each
            dir=run.folder,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_save_requirements=False,
                finish_timeout=FINISH_S,
            ),
        )
        self._run.define_metric("*", step_metric="step")  # its own counter cannot go back to a checkpoint

    def write(self, line: Line) -> None:
        """Adds a point to each curve."""
        self._run.log(dict(line))

    def close(self, *, failed: bool) -> None:
        """Waits until all is sent, but not for ever: the student is still to be written."""
        self._run.finish(exit_code=int(failed))


TRACKERS: Mapping[TrackerName, Callable[..., Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}  # by the name of the package
HELP: Mapping[TrackerName, str] = {
    "tensorboard": "see whether its folder can be written",
    "wandb": "`wandb login` once, or set WANDB_MODE=offline",
}  # where one cannot begin


class Metrics:
    """`metrics.jsonl` and `watch.jsonl` of a run, and the trackers that its recipe names."""

    def __init__(self, config: Config, run: Run, *, start: int) -> None:
        """Opens all of them; what they hold of step `start` and later is dropped, for it will come again.

        An older run that was put aside is forgotten when all have begun.

        Raises:
            ConfigError: a tracker cannot begin; the older run is put back.
        """
        self._run, self._open = run, ExitStack()
        self._file = MetricsFile(run.folder / METRICS, keep_before_step=start)
        self._open.callback(self._file.close)
        self._watch: MetricsFile | None = None
        if config.watch is not None:
            self._watch = MetricsFile(run.folder / WATCH, keep_before_step=start)
            self._open.callback(self._watch.close)
        self._trackers = dict[TrackerName, Tracker]()
        for name in dict.fromkeys(config.track):
            try:
                self._trackers[name] = TRACKERS[name](config, run, start=start)
            except Exception as error:
                self._close(failed=True)
                run.put_back()
                raise ConfigError(
                    f"track: {name} cannot begin ({_first_line(error)}); {HELP[name]}, or leave it out (track=none)"
                ) from error
        run.forget_old()

    def write(self, line: Line) -> None:
        """Writes one line, and shows it."""
        self._file.write(line)
        self._show(line)

    def write_watched(self, line: Line) -> None:
        """Writes what `watch` saw, and shows it."""
        if self._watch is not None:
            self._watch.write(line)
        self._show(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes all of them."""
        self._close(failed=kind is not None)

    def _close(self, *, failed: bool) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, lambda tracker=tracker: tracker.close(failed=failed))  # type: ignore[misc]
        self._trackers.clear()
        self._open.close()

    def _show(self, line: Line) -> None:
        for name, tracker in list(self._trackers.items()):
            self._try(name, lambda tracker=tracker: tracker.write(line))  # type: ignore[misc]

    def _try(self, name: TrackerName, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            del self._trackers[name]
            self._run.say(
                f"warning: {name} shows no more of this run ({_first_line(error)}); {METRICS} has all of it"
            )


def check_trackers(config: Config) -> None:
    """Looks whether the packages are there, without importing them.

    Raises:
        MissingExtra: one is not.
    """
    for name in config.track:
        found = find_spec(name)
        if found is None or found.origin is None:  # none, or a folder of that name, such as wandb makes
            raise MissingExtra(name, extra=EXTRA)


def _kept_id(path: Path) -> str:
    """Returns what Weights & Biases knows this run by, so that a run that goes on is the same one there."""
    if not path.is_file():
        replace_text(path, secrets.token_hex(8))
    return path.read_text(encoding="ascii").strip()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
