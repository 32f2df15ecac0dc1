"""How fast Alumnus trains, beside a bare step and its peers: python benchmarks/speed/train.py [--rounds 5] [--smoke] [--start-up]

One run, images a second at batch 64 and 96 px, two CPU threads, from a folder of JPEG files of about 256 x 256 px:

    (a) bare          the student's step alone, channels_last, float32, on data in memory: three ways, of which the fastest counts
    (b) stored        Alumnus with one and with four teachers out of a store; the store is built before and is not timed
    (c) live          Alumnus with one live teacher
    (d) bare live     the bare step with a live teacher, channels_last, on data in memory
    (e) peers         LightlyTrain and AutoVision with one live teacher of the same architecture, each in an environment of its own

All weights are random (they cost the same). Alumnus runs with its defaults: AdamW, clipping, moving average, standardised targets,
finite checks, crop and flip, checksums on what is read from the store; the recipe is `_recipe`. A run out of a store keeps what it cuts out
of its images, so (b) is the pace of later epochs, and the first one is made before; `decoded` reads the JPEG files each time, as a first
epoch does, and `packed` the same photographs as `alumnus data pack` keeps them. A live teacher's run has a store only where `crops` says
so. `auto` lets the dry run choose the precision; all else is float32.

Every configuration is a process of its own, timed as `pace.py` says, and one of them runs at a time, the others being stopped; a round goes
through all of them. Shown are medians of the rounds with their quartiles; a ratio is taken within each round. One line each goes to
train.jsonl. Photographs, the packed set and the stores stay in --folder for the next run. On 2 cores 5 minutes for the preparation (10
more where the peers' environments have to be made first), then 4 minutes until all processes have begun, a minute a round for
mobilenetv3_small_100 and three for resnet18. All of them stay in memory: some 16 GB.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from peers import TOOLS, make_environment, versions
from photos import make_photos
from start_up import start_up
from turns import Running, started

HERE = Path(__file__).parent
SIZE, BATCH, SHORT_SIDE, THREADS = 96, 64, 128, 2
PAIRS = {"resnet18": "resnet50", "mobilenetv3_small_100": "vit_tiny_patch16_224"}  # student: teacher
FOUR = ("resnet50", "vit_tiny_patch16_224", "mobilenetv3_large_100", "convnext_atto")
BARE = ("bare", "bare, fused", "bare, fused, kept")
PACE = "images/s"

# (reference, least ratio) of each goal, by student; LIMIT is the fastest of BARE.
LIMIT, LIVE, LIGHTLY = "(a)", "bare live", "lightly-train"
GOALS: dict[str, dict[str, list[tuple[str, float]]]] = {
    "resnet18": {
        "stored 1": [(LIMIT, 0.90)],
        "stored 4": [(LIMIT, 0.90), (LIGHTLY, 1.8)],
        "live 1": [(LIVE, 0.92), (LIGHTLY, 1.15)],
        "stored 1, auto": [(LIGHTLY, 3.0)],
    },
    "mobilenetv3_small_100": {
        "stored 1": [(LIMIT, 0.80)],
        "stored 4": [(LIMIT, 0.80), (LIGHTLY, 2.5)],
        "live 1": [(LIVE, 0.92), (LIGHTLY, 1.15)],
    },
}


@dataclass(frozen=True)
class Place:
    """Where everything lies, and how long to measure."""

    folder: Path
    environments: Path
    images: int
    warm: int
    steps: int
    augmentation: bool  # the peers' own

    @property
    def jpeg(self) -> Path:
        return self.folder / f"jpeg-{self.images}"

    @property
    def packed(self) -> Path:
        return self.folder / f"packed-{self.images}"

    def run(self, what: str) -> Path:
        """An empty folder for a configuration's run."""
        path = self.folder / "runs" / what.replace(", ", "-").replace(" ", "-")
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def store(self, data: Path) -> Path:
        return self.folder / f"store-{data.name}"

    @property
    def budget(self) -> dict[str, int]:
        return {"warm": self.warm, "steps": self.steps, "batch": BATCH}


def main() -> None:
    """Prepares, measures round by round, and prints the tables."""
    asked = _arguments()
    smoke = asked.smoke
    place = Place(
        folder=asked.folder.absolute(),
        environments=asked.environments.absolute(),
        images=256 if smoke else asked.images,
        warm=1 if smoke else asked.warm,
        steps=2 if smoke else asked.steps,
        augmentation=asked.peer_augmentation,
    )
    _prepare(place, asked.known)
    if asked.start_up:
        recipe = _recipe(place, "mobilenetv3_small_100", place.jpeg, teachers=FOUR[1:2], stored=True)
        for line in start_up(
            recipe, place.folder / "start-up", rounds=1 if smoke else 3, environment=_environment()
        ):
            _say(line, asked.out)
        return
    tools = [tool for tool in TOOLS if tool not in asked.without]
    for tool in tools:
        make_environment(place.environments, tool)
    _say(_about(place, tools), asked.out)
    for student in asked.students:
        commands = _commands(place, student, tools)
        chosen = {name: command for name, command in commands.items() if not asked.only or name in asked.only}
        with started(chosen, _environment()) as running:
            found = [
                _round(running, student, number, asked.out) for number in range(1 if smoke else asked.rounds)
            ]
        print(_table(student, found), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--warm", type=int, default=9, help="steps before the first turn")
    parser.add_argument("--steps", type=int, default=6, help="measured steps of a turn")
    parser.add_argument("--students", nargs="*", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--only", nargs="*", help="names of configurations, as in the table")
    parser.add_argument("--without", nargs="*", choices=TOOLS, default=[], help="peers to leave out")
    parser.add_argument("--peer-augmentation", action="store_true", help="leave the peers their own")
    parser.add_argument(
        "--known", nargs="*", default=["gcompris"], help="known data sets to cut photographs from"
    )
    parser.add_argument("--folder", type=Path, default=Path(".cache/speed"))
    parser.add_argument("--environments", type=Path, default=Path(".cache/peers"))
    parser.add_argument("--out", type=Path, default=HERE / "train.jsonl")
    parser.add_argument(
        "--smoke", action="store_true", help="everything once, with tiny numbers, which mean nothing"
    )
    parser.add_argument(
        "--start-up", action="store_true", help="instead: from `alumnus train` to the first line of metrics"
    )
    return parser.parse_args()


def _prepare(place: Place, known: Sequence[str]) -> None:
    """Photographs, the packed set, and a store for each: whatever is not there yet."""
    if not place.jpeg.exists():
        making = place.folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        count = make_photos(making, place.images, [_known(name) for name in known])
        (place.folder / f"{place.jpeg.name}.txt").write_text(f"{count} photographs\n", encoding="utf-8")
        making.rename(place.jpeg)
    if not place.packed.exists():
        _alumnus("data", "pack", str(place.jpeg), f"out={place.packed}", f"short_side={SHORT_SIDE}")
    for data in (place.jpeg, place.packed):
        recipe = place.folder / "store.yaml"
        recipe.write_text(
            yaml.safe_dump(_recipe(place, "resnet18", data, teachers=FOUR, stored=True)), encoding="utf-8"
        )
        _alumnus("cache", "build", str(recipe))
    crops = place.folder / "crops.yaml"  # the first epoch of all that reads the JPEG files out of a store
    settings = _recipe(place, "mobilenetv3_small_100", place.jpeg, teachers=FOUR[:1], stored=True, kept=True)
    epoch = math.ceil(place.images / BATCH)
    crops.write_text(yaml.safe_dump(settings | {"steps": epoch, "checkpoint_every": epoch}), encoding="utf-8")
    _alumnus("train", str(crops))


def _known(name: str) -> Path:
    from alumnus import datasets

    return datasets.get(name, size=512)


def _recipe(
    place: Place,
    student: str,
    data: Path,
    *,
    teachers: Sequence[str],
    stored: bool,
    kept: bool = False,
    precision: str = "float32",
    what: str = "run",
) -> dict[str, Any]:
    """What a user would write; the run is broken off long before `steps`, and so that it does not end early there are many."""
    recipe: dict[str, Any] = {
        "data": str(data),
        "student": f"timm/{student}",
        "teachers": [{"model": f"timm/{name}", "weights": "random", "size": SIZE} for name in teachers],
        "method": "plain",  # what the default has more costs a small student up to a third: see methods.py
        "out": str(place.run(what)),
        "size": SIZE,
        "batch_size": BATCH,
        "steps": 10_000,
        "checkpoint_every": 10_000,
        "precision": precision,
        "device": "cpu",
        "resume": "never",
    }
    if stored or kept:
        store = {"path": str(place.store(data)), "crops": kept}
        recipe |= {
            "views": {"per_image": 1},
            "store": store,
            "targets": "stored" if stored else "live",
        }
    return recipe


def _commands(place: Place, student: str, tools: Sequence[str]) -> dict[str, list[str]]:
    """Name of a configuration -> command that prints its pace."""
    own = PAIRS[student]
    commands = dict[str, list[str]]()
    for name in (*BARE, LIVE):
        asked = {"student": student, "teacher": own, "live": name == LIVE, "size": SIZE, **place.budget}
        asked |= {"fused": name != "bare", "kept": name not in BARE[:2]}
        commands[name] = _command("bare.py", asked)

    def ours(what: str, teachers: Sequence[str], *, kind: str = "", precision: str = "float32") -> None:
        name = f"{what}, {kind}" if kind else what
        stored = what.startswith("stored")
        recipe = _recipe(
            place,
            student,
            place.packed if kind == "packed" else place.jpeg,
            teachers=teachers,
            stored=stored,
            kept=kind in (("", "auto") if stored else ("crops",)),
            precision=precision,
            what=name,
        )
        commands[name] = _command("ours.py", {"settings": recipe, **place.budget})

    for what, teachers in (("stored 1", (own,)), ("stored 4", FOUR)):
        for kind in ("", "decoded", "packed"):
            ours(what, teachers, kind=kind)
    ours("stored 1", (own,), kind="auto", precision="auto")
    for kind in ("", "crops", "packed"):
        ours("live 1", (own,), kind=kind)
    for tool in tools:
        asked = {"tool": tool, "student": student, "teacher": own, "data": str(place.jpeg), "size": SIZE}
        asked |= {"augmentation": place.augmentation, "scratch": str(place.run(tool)), **place.budget}
        commands[tool] = _command("peers.py", asked, make_environment(place.environments, tool))
    return commands


def _command(script: str, asked: dict[str, Any], python: Path = Path(sys.executable)) -> list[str]:
    return [str(python), str(HERE / script), json.dumps(asked)]


def _round(running: Sequence[Running], student: str, number: int, out: Path) -> dict[str, float]:
    """Returns the pace of each configuration, one turn after another."""
    found = dict[str, float]()
    for each in running:
        turn = each.turn()
        about = {"student": student, "round": number, "what": each.name}
        _say(about | turn | {"load": round(os.getloadavg()[0], 2)}, out)
        found[each.name] = turn[PACE]
    return found


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(THREADS),
        "MKL_NUM_THREADS": str(THREADS),
        "HF_HUB_OFFLINE": "1",
    }


def _alumnus(*words: str) -> None:
    subprocess.run(
        [str(Path(sys.executable).with_name("alumnus")), *words], check=True, stdout=subprocess.DEVNULL
    )


def _about(place: Place, tools: Sequence[str]) -> dict[str, Any]:
    """Of the run: machine, versions, settings."""
    names = ("alumnus", "torch", "torchvision", "timm", "pillow")
    sizes = sorted(path.stat().st_size for path in place.jpeg.rglob("*.jpg"))
    return {
        "began": time.strftime("%Y-%m-%d %H:%M"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "threads": THREADS,
        "versions": {name: metadata.version(name) for name in names}
        | {tool: versions(place.environments, tool) for tool in tools},
        "images": f"{len(sizes)} JPEG, {statistics.median(sizes) / 1e3:.1f} kB, of "
        + (place.folder / f"{place.jpeg.name}.txt").read_text(encoding="utf-8").strip(),
        "peers' own augmentation": place.augmentation,
    } | place.budget


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def _say(line: dict[str, Any], out: Path) -> None:
    text = json.dumps(line)
    print(text, flush=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(text + "\n")


def _table(student: str, found: list[dict[str, float]]) -> str:
    """A Markdown table: each configuration's pace, its ratios, and whether the goals are met."""
    measured = [name for name in BARE if name in found[0]]
    best = max(measured, key=lambda name: statistics.median(each[name] for each in found), default="")
    references = {LIMIT: best, LIVE: LIVE, LIGHTLY: LIGHTLY}
    kept = {shown: name for shown, name in references.items() if name in found[0]}
    lines = [
        f"\n{student} from {PAIRS[student]}, median of {len(found)} rounds (quartiles); (a) is `{best}`\n",
        "| what | images/s | " + " | ".join(f"to {shown}" for shown in kept) + " | goals |",
        "|---|---" + "|---" * len(kept) + "|---|",
    ]
    for name in found[0]:
        ratios = {shown: [each[name] / each[of] for each in found] for shown, of in kept.items()}
        cells = [
            _spread([each[name] for each in found], 1),
            *(_spread(values, 2) for values in ratios.values()),
        ]
        goals = GOALS[student].get(name, GOALS[student].get(name.split(", ")[0], []))
        verdicts = [_verdict(shown, least, ratios[shown]) for shown, least in goals if shown in ratios]
        lines.append(f"| {name} | {' | '.join(cells)} | {'; '.join(verdicts)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    middle = statistics.median(values)
    low, _, high = statistics.quantiles(values, method="inclusive") if len(values) > 1 else (middle,) * 3
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _verdict(reference: str, least: float, ratios: Sequence[float]) -> str:
    is_met = statistics.median(ratios) >= least
    return f"{least} of {reference}: {'met' if is_met else 'not met'}"


if __name__ == "__main__":
    main()
