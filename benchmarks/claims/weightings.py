"""How should several teachers be weighed? python benchmarks/claims/weightings.py runs/demo runs/weightings

The demo's student again, once for each weighting of `agglomerate` and once with teachers dropped, from the experts of a demo that is there;
all else is the demo's. Scored is R@1 on the demo's validation classes, all domains in one index, in all and by domain; no test image takes
part. `--seeds 3` repeats the arms from the experts of `alumnus demo --seeds 3`; `--arms` names some.

Prints a Markdown table with paired differences to `constant`, over queries of the mean over seeds, and writes weightings.json beside this
file. Eight minutes an arm on one idle core; what is there already is kept. `--steps 4` is a smoke run, with a folder of its own, and does
not write that file.

Axes: Q queries.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from classifiers import kept, settle
from demo_photographs import configured, hits

from alumnus.demo import DOMAINS, STEPS, folder_of
from alumnus.evaluation.compare import over_runs, paired_difference
from alumnus.evaluation.retrieval import macro
from alumnus.models.artifact import load_student
from alumnus.training.loop import train

DYNAMIC = {"name": "dynamic", "floor": 0.1}
ARMS: dict[str, dict[str, Any]] = {  # of the method
    "constant": {},
    "initial": {"weighting": "initial"},
    "running": {"weighting": "running"},
    "uncertainty": {"weighting": "uncertainty"},
    "dynamic": {"weighting": DYNAMIC},
    "dynamic, squared": {"weighting": {**DYNAMIC, "temperature": 0.5}},
    "dropping .5": {"teacher_dropping": 0.5},
}


def main() -> None:
    """Prints the table, and writes the numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="a run of `alumnus demo`, whose experts teach")
    parser.add_argument("out", type=Path, help="folder of the students; what is there is kept")
    parser.add_argument("--seeds", type=int, default=1, help="as many as the demo had")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    asked = parser.parse_args()
    found = {
        arm: [one(arm, asked.demo, asked.out, seed=seed, steps=asked.steps) for seed in range(asked.seeds)]
        for arm in dict.fromkeys(["constant", *asked.arms])
    }
    if asked.steps >= STEPS:
        Path(__file__).with_suffix(".json").write_text(
            json.dumps(summary(found), indent=1) + "\n", encoding="utf-8"
        )
    print(markdown(summary(found)))


def one(arm: str, demo: Path, out: Path, *, seed: int, steps: int) -> dict[str, Any]:
    """Returns `hit` (Q,) and `domain` (Q,) of one student, which is trained if it is not there."""
    place, folder = folder_of(out, seed), arm.replace(", ", "-").replace(" ", "-")
    settle(place, {"demo": str(folder_of(demo, seed)), "steps": steps})

    def made() -> dict[str, Any]:
        method = {"name": "agglomerate", **ARMS[arm]}
        config = configured(
            *(folder_of(demo, seed), place / folder, steps),
            photographs=True,
            method=method,
            optim={"backbone_lr": 0.3},
        )
        hit, domain = hits(load_student(train(config).student).eval())
        return {"hit": hit.tolist(), "domain": domain.tolist()}

    return kept(place / f"{folder}.json", made)


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the means over seeds of each arm, R@1 in all and by domain, and the differences to `constant`."""
    first = found["constant"]
    domain = np.array(first[0]["domain"])
    hit = {arm: np.array([each["hit"] for each in seeds], np.float64) for arm, seeds in found.items()}
    return {
        arm: {
            "R@1": [macro(each, domain) for each in of],
            "by_domain": {
                name: float(of[:, domain == d].mean())
                for d, name in enumerate(DOMAINS)
                if (domain == d).any()
            },
            "minus_constant": {
                "over_queries": paired_difference(of.mean(0), hit["constant"].mean(0), domain),
                "over_seeds": over_runs(
                    [macro(a, domain) - macro(b, domain) for a, b in zip(of, hit["constant"], strict=True)]
                ),
            },
        }
        for arm, of in hit.items()
    }


def markdown(found: dict[str, Any]) -> str:
    """Returns the table."""
    names = list(found["constant"]["by_domain"])
    lines = [
        f"| weighting | seeds | R@1 | minus `constant` | {' | '.join(names)} |",
        f"|---|---:|---:|---:|{'---:|' * len(names)}",
    ]
    for arm, each in found.items():
        mean, low, high = each["minus_constant"]["over_queries"]
        shown = "" if arm == "constant" else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        by = " | ".join(f"{each['by_domain'][name]:.3f}" for name in names)
        lines.append(f"| {arm} | {len(each['R@1'])} | {np.mean(each['R@1']):.3f} | {shown} | {by} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
