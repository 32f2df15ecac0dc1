"""Configurations that run in turns: each is a process that has begun, and stops itself when its turn is over (see `pace.py`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any

LIMIT_S = 900  # of one turn
POLL_S = 0.002


@dataclass(frozen=True)
class Running:
    """A configuration that has begun, and stands still whenever it is not its turn."""

    name: str
    process: subprocess.Popen[str]
    printed: IO[str]
    errors: IO[str]

    def turn(self) -> dict[str, Any]:
        """Lets it run until it stops by itself, and returns what it printed then."""
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGCONT)
        while self.process.poll() is None and not _is_stopped(self.process.pid):
            if time.monotonic() - began > LIMIT_S:
                raise SystemExit(f"{self.name}: a turn took more than {LIMIT_S} s")
            time.sleep(POLL_S)
        if self.process.returncode is not None:
            self.errors.seek(0)
            raise SystemExit(
                f"{self.name} ended with {self.process.returncode}:\n{self.errors.read()[-3000:]}"
            )
        self.printed.seek(0)
        found: dict[str, Any] = json.loads(self.printed.read().splitlines()[-1])
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in found.items()}


def _is_stopped(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None


@contextmanager
def started(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Iterator[list[Running]]:
    """Begins all configurations, one after the other, each to the end of its warm-up and of a first turn that does not count."""
    with ExitStack() as stack:
        running = list[Running]()
        for name, command in commands.items():
            printed, errors = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
            process = subprocess.Popen(
                command, env=dict(environment), stdout=printed, stderr=errors, process_group=0, text=True
            )
            stack.callback(_end, process)
            running.append(Running(name, process, printed, errors))
            print(f"{name}: {running[-1].turn()}", file=sys.stderr, flush=True)
        yield running


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
