"""Does one student hold what several teachers know? python benchmarks/claims/demo.py runs/claim --seeds 3

Runs the demo, about ten minutes a seed on 2 idle cores (what is there already is kept), prints its table and differences as Markdown, and
writes all numbers beside this file. `--experts runs/claim --steps 3000` gives the student of another folder a longer budget, with the
same experts. `--beside runs/other` compares the students of another demo of as many seeds with these, where its experts are the same.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from alumnus import demo
from alumnus.evaluation.compare import over_runs
from alumnus.evaluation.results import KEYS, Results, Scores, read_results, write_results
from alumnus.evaluation.seeds import combine
from alumnus.report.table import TITLES, bounds, number, score_table, to_markdown
from alumnus.report.verdict import verdict
from alumnus.training.run import STAGES


def main() -> None:
    """Prints the Markdown of one budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the run; other seeds stand beside it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=demo.STEPS, help="of the student")
    parser.add_argument("--sampler", default="balanced", help="of the student")
    parser.add_argument("--experts", type=Path, help="folder of a run whose experts are taken")
    parser.add_argument("--beside", type=Path, help="folder of a run whose student is compared")
    asked = parser.parse_args()
    folders = [demo.folder_of(asked.out, seed) for seed in range(asked.seeds)]
    for seed, folder in enumerate(folders):
        if asked.experts and not (folder / STAGES).exists():
            shutil.copytree(demo.folder_of(asked.experts, seed) / STAGES, folder / STAGES)
    demo.run(asked.out, seeds=asked.seeds, steps=asked.steps, sampler=asked.sampler)
    runs = [read_results(folder / "results.json") for folder in folders]
    write_results(combine(runs), Path(__file__).with_name(f"demo-{asked.steps}-{asked.sampler}.json"))
    print(markdown(combine(runs)))
    if asked.beside is not None:
        others = [
            read_results(demo.folder_of(asked.beside, seed) / "results.json") for seed in range(asked.seeds)
        ]
        print(beside(runs, others))


def markdown(results: Results) -> str:
    """Returns the table of every metric, the verdict, and the paired differences with their intervals."""
    lines = [verdict(results).sentence, ""]
    for key in KEYS:
        lines += [f"**{TITLES[key]}**", "", to_markdown(score_table(results, key=key))]
    names = [domain.name for domain in results.domains]
    heads = [results.reference + " minus", "macro", *names]
    lines += [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for difference in results.differences:
        if difference.key == KEYS[0]:
            scores = difference.scores
            values = [scores.macro, *(scores.domains[name] for name in names)]
            cells = [f"{number(v.mean, signed=True)} ({bounds(v, signed=True)})" for v in values]
            lines.append(f"| {' | '.join([difference.other, *cells])} |")
    return "\n".join(lines)


def beside(runs: Sequence[Results], others: Sequence[Results]) -> str:
    """Returns the table of the students' differences, seed by seed paired, with t intervals over seeds."""
    names = [domain.name for domain in runs[0].domains]
    lines = [f"| {' | '.join(['student minus the other student', 'macro', *names])} |"]
    lines.append(f"| --- |{' ---: |' * (len(names) + 1)}")
    for key in KEYS:
        pairs = [(_scores(one, key), _scores(other, key)) for one, other in zip(runs, others, strict=True)]
        columns = [[one.macro.mean - other.macro.mean for one, other in pairs]]
        columns += [
            [one.domains[name].mean - other.domains[name].mean for one, other in pairs] for name in names
        ]
        found = [over_runs(column) for column in columns]
        cells = [f"{number(value.mean, signed=True)} ({bounds(value, signed=True)})" for value in found]
        lines.append(f"| {' | '.join([TITLES[key], *cells])} |")
    return "\n".join(lines)


def _scores(results: Results, key: str) -> Scores:
    (student,) = (model for model in results.models if model.kind == "student")
    return student.scores[key]


if __name__ == "__main__":
    main()
