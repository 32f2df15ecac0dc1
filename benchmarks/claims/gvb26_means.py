"""Means of gvb26.json without some of its tasks: python benchmarks/claims/gvb26_means.py --without flags emoji-group

For rows that turn out to mislead: measures nothing, and prints the means of each category and of all tasks, and on how many of them the
two models that were compared differ.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gvb26 import NAMES


def main() -> None:
    """Prints two Markdown tables for each share of the labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--without", nargs="*", default=[], metavar="TASK")
    asked = parser.parse_args()
    found = json.loads(Path(__file__).with_name("gvb26.json").read_text(encoding="utf-8"))
    known = {row["task"] for board in found["boards"] for row in board["tasks"]}
    wrong = sorted(set(asked.without) - known)
    if wrong:
        parser.error(f"there is no task {wrong[0]!r}; there are {', '.join(sorted(known))}")
    print("\n\n".join(means(board, asked.without) for board in found["boards"]))
    compared = found["comparison"]
    for one in compared["rounds"]:
        print(f"\n{compared['one']} against {compared['other']}: {tally(one['tasks'], asked.without)}")


def means(board: dict[str, Any], without: list[str]) -> str:
    """Returns the means over the tasks that are left, of a model only where it has all of them."""
    rows = [row for row in board["tasks"] if row["task"] not in without]
    groups = {name: [row for row in rows if row["category"] == name] for name in board["categories"]}
    lines = [
        f"| {board['fraction']:.0%} of the labels, mean | {' | '.join(NAMES.values())} |",
        "|---|" + "---:|" * len(NAMES),
    ]
    for name, group in {**groups, "all": rows}.items():
        shown = []
        for model in NAMES:
            scores = [row["models"][model]["score"][0] for row in group if row["models"].get(model)]
            shown.append(f"{sum(scores) / len(scores):.3f}" if len(scores) == len(group) else "–")
        lines.append(f"| {name}, {len(group)} tasks | {' | '.join(shown)} |")
    return "\n".join(lines)


def tally(tasks: list[dict[str, Any]], without: list[str]) -> str:
    """Returns in words how many tasks are won, lost, and not told apart: paired intervals on either side of 0, or around it."""
    winners = [task["winner"] for task in tasks if task["task"] not in without]
    return f"better on {winners.count(1)} of {len(winners)}, worse on {winners.count(-1)}, {winners.count(0)} not told apart"


if __name__ == "__main__":
    main()
