"""How long a user waits for the first step: from `alumnus train recipe.yaml` to the first line of metrics.jsonl (train.py --start-up).

The store is built, and every step writes its line (log_every=1; by default a line comes every 20 steps). Files tell the phases from
outside: `plan.json` appears when teachers, student and objective are there and the first batch is asked for.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

POLL_S, LIMIT_S, SLOWEST = 0.005, 120, 12
IMPORTS = ("torch", "timm", "alumnus.cli", "alumnus.training.loop")


def start_up(
    recipe: Mapping[str, Any], folder: Path, *, rounds: int, environment: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yields the waits, then what importing takes, and its most expensive modules."""
    found = [_wait(recipe, folder, environment) for _ in range(rounds)]
    for name in found[0]:
        seconds = sorted(each[name] for each in found)
        yield {"start-up": name, "s": statistics.median(seconds), "range": [seconds[0], seconds[-1]]}
    for module in IMPORTS:
        seconds = sorted(_import_s(module, environment) for _ in range(rounds))
        yield {"import": module, "s": statistics.median(seconds), "range": [seconds[0], seconds[-1]]}
    yield {"of import alumnus.training.loop, s": _slowest(environment)}


def _wait(recipe: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> dict[str, float]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path, out = folder / "recipe.yaml", folder / "run"
    path.write_text(yaml.safe_dump({**recipe, "out": str(out), "log_every": 1}), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("alumnus")), "train", str(path)]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environment), stderr=subprocess.DEVNULL)
    try:
        planned = _appears(out / "plan.json", process, began)
        stepped = _appears(out / "metrics.jsonl", process, began)
    finally:
        process.terminate()
        process.wait()
    return {"to the plan": planned, "to the first line": stepped}


def _appears(path: Path, process: subprocess.Popen[bytes], began: float) -> float:
    """Seconds until a file has content."""
    while not (path.exists() and path.stat().st_size):
        if process.poll() is not None or time.perf_counter() - began > LIMIT_S:
            raise SystemExit(f"{path} did not appear; the run ended with {process.poll()}")
        time.sleep(POLL_S)
    return round(time.perf_counter() - began, 2)


def _import_s(module: str, environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], env=dict(environment), check=True)
    return round(time.perf_counter() - began, 2)


def _slowest(environment: Mapping[str, str]) -> dict[str, float]:
    """The modules whose import, with all that they import, takes longest."""
    command = [sys.executable, "-X", "importtime", "-c", "import alumnus.training.loop"]
    done = subprocess.run(command, env=dict(environment), check=True, stderr=subprocess.PIPE, text=True)
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    seconds = {row[2].strip(): int(row[1]) / 1e6 for row in rows if row[1].strip().isdigit()}
    slowest = sorted(seconds, key=lambda name: -seconds[name])[:SLOWEST]
    return {name: round(seconds[name], 2) for name in slowest}


if __name__ == "__main__":
    raise SystemExit("run benchmarks/speed/train.py --start-up, which makes the recipe and its store")
