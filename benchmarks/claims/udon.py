"""Do UDON's parts help one student of eight domains? python benchmarks/claims/udon.py runs/udon

UnED in small (arXiv 2309.01858, 2406.08332): eight domains, most of them drawn, classes that training never saw, all in one merged index,
64-D. Every arm starts from the same ImageNet weights and has the same steps, batch, rates and views; they differ in classifiers, sampler
and distillation. As published, a batch is of one domain; ours mixes domains and imprints classes. Specialists, each with twice an arm's
steps of its domain, make the oracle: told the domain, it searches that alone.

A cell is an arm with a seed: a run in `out/ARM-SEED`, and `queries-SPLIT.npz` in it with what every query found. What is there is kept,
what was stopped goes on. About two and a half hours for the default arms on 2 idle cores; `--steps 20 --seeds 1` is a smoke run.
`--set optim.backbone_lr=0.3` changes a setting in all arms (give another `out`), and `--split val` scores the classes that settings may be
chosen on.

Intervals of scores and differences: bootstrap over queries of the mean over seeds, paired; and Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.demo import COMMON, LITE0, MOBILENET, SIZE
from alumnus.evaluation.compare import Interval, over_runs, resample
from alumnus.evaluation.encode import Scored, StudentEncode, TeacherEncode
from alumnus.evaluation.retrieval import METRICS, PROTOCOLS, retrieve
from alumnus.evaluation.vectors import encode_paths
from alumnus.log import console
from alumnus.models.artifact import load_student
from alumnus.models.cost import num_parameters
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.training.loop import train
from alumnus.training.recipe import laid_over, read_values, validated

DOMAINS = ("emoji", "logos", "flags", "desktop_icons", "cards", "fonts", "fashion_mnist", "earth")
ORACLE, IMPRINTED_ORACLE = "specialists, oracle", "imprinted specialists, oracle"
OURS = "mixed+imprinted"
OFF_THE_SHELF = {"MobileNetV2, ImageNet": MOBILENET, "EfficientNet-Lite0, ImageNet": LITE0}
BASE: Mapping[str, Any] = {
    **COMMON,
    "student": MOBILENET,
    # Small steps for what ImageNet taught, and heads first, as in UDON; its constant rates are for 220,000 steps, so here they fall.
    "optim": {"backbone_lr": 0.3, "frozen": 0.1},
}
LABELS: Mapping[str, Any] = {"name": "supervised", "normalise_summary": True}
JOINT = {**LABELS, "classifier": "joint"}
LABELS_ALONE = {"teacher": 0, "logits": 0, "relations": 0}
IMPRINTED_LABELS = {"name": "udon", "imprint": True, "weights": LABELS_ALONE}
HEADS_ALONE: Mapping[str, Any] = {
    "method": {
        "name": "udon",
        "keep_heads": True,
        "weights": {"student": 0, "logits": 0, "relations": 0},
    },
    "sampler": "balanced",
}  # a head and a classifier for each domain on one backbone: UDON's frozen multi-head teacher

Doubles = npt.NDArray[np.float64]
KEYS = tuple(f"{protocol}/{metric}" for protocol in PROTOCOLS for metric in METRICS)


def arms(steps: int) -> dict[str, dict[str, Any]]:
    """Returns the settings of each arm beyond what is common; a sampler looks at losses ten times in a run."""
    dynamic = {"name": "dynamic", "every": max(8, steps // 10)}
    ours = {**dynamic, "normalise": "log_classes", "floor": 0.3}

    def mixed(**settings: object) -> dict[str, Any]:
        return {"method": {"name": "udon", **settings}, "sampler": "balanced"}

    return {
        "UJCDS": {"method": JOINT, "sampler": "dataset_size"},
        "UJCRR": {"method": JOINT, "sampler": "round_robin"},
        "USCDS": {"method": LABELS, "sampler": "dataset_size"},
        "USCRR": {"method": LABELS, "sampler": "round_robin"},
        "USCRR+sampler": {"method": LABELS, "sampler": dynamic},
        "USCRR+distillation": {"method": "udon", "sampler": "round_robin"},
        "UDON": {"method": "udon", "sampler": dynamic},
        OURS: mixed(imprint=True),
        # By default the arms above, and specialists; those below are asked for by name.
        "imprinted": {"method": {"name": "udon", "imprint": True}, "sampler": dynamic},
        "sampler-ours": {"method": "udon", "sampler": ours},
        "nested": {"method": {"name": "udon", "nested": [16, 32]}, "sampler": dynamic},
        # With batches of one domain distillation is not seen here, so what changes it is compared with mixed ones.
        "USC mixed": {"method": LABELS, "sampler": "balanced"},
        "USC mixed+imprinted": {"method": IMPRINTED_LABELS, "sampler": "balanced"},
        "mixed": mixed(),
        "head-only": mixed(distill_to_backbone=False),
        "quality": mixed(by_quality=True),
        "separate-teachers": mixed(source="teachers"),
        "multi-head-teacher": mixed(source="teachers"),
        "generalist": {**mixed(), "teachers": [{**LITE0, "name": "generalist", "size": SIZE}]},
    }


DEFAULT = ("UJCDS", "UJCRR", "USCDS", "USCRR", "USCRR+sampler", "USCRR+distillation", "UDON", OURS)
MIXED = ("head-only", "quality", "separate-teachers", "multi-head-teacher", "generalist")
ORDER = (
    ("UJCRR", "UJCDS"),
    ("USCDS", "UJCDS"),
    ("USCRR", "UJCDS"),
    ("USCRR", "UJCRR"),
    ("USCRR+sampler", "USCRR"),
    ("USCRR+distillation", "USCRR"),
    ("UDON", "USCRR"),
    ("UDON", "USCRR+sampler"),
    ("UDON", "USCRR+distillation"),
    (ORACLE, "UDON"),
    (OURS, "UDON"),
    (OURS, ORACLE),
    (OURS, IMPRINTED_ORACLE),
    (OURS, "USC mixed+imprinted"),
    ("mixed", "USC mixed"),
    ("USC mixed+imprinted", "USC mixed"),
    *((name, "UDON") for name in ("imprinted", "sampler-ours", "nested", "mixed")),
    *((name, "mixed") for name in MIXED),
)  # the first minus the second, where both were run


def main() -> None:
    """Trains and scores what is missing, writes all numbers beside this file, and prints the tables."""
    asked = _asked()
    data = [str(datasets.get(name, size=SIZE)) for name in asked.domains]
    dataset = open_dataset(data)
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(asked.seeds):
        common = {**BASE, "data": data, "seed": seed}
        if not asked.no_specialists:
            found.setdefault(ORACLE, []).append(_oracle(asked, "specialist", LABELS, common, dataset))
        if asked.imprinted_specialists:
            oracle = _oracle(asked, "imprinted-specialist", IMPRINTED_LABELS, common, dataset)
            found.setdefault(IMPRINTED_ORACLE, []).append(oracle)
        if asked.off_the_shelf:
            for name, spec in OFF_THE_SHELF.items():
                found.setdefault(name, []).append(_off_the_shelf(asked, name, spec, dataset))
        for arm in asked.arms:
            settings = {**common, "steps": asked.steps, **arms(asked.steps)[arm]}
            steps_of_teachers = 0
            if arm == "separate-teachers":
                steps_of_teachers = found[ORACLE][-1]["steps"]
                settings["teachers"] = [
                    _teacher(asked.out / f"specialist-{name}-{seed}", name, domains=[name])
                    for name in asked.domains
                ]
            if arm == "multi-head-teacher":
                steps_of_teachers = asked.steps
                run = asked.out / f"multi-head-{seed}"
                heads = {**common, **HEADS_ALONE, "steps": asked.steps}
                train(validated({**laid_over(heads, read_values(None, asked.set)), "out": run}))
                settings["teachers"] = [
                    _teacher(run, name, output=f"space:{name}", domains=[name]) for name in asked.domains
                ]
            cell = _cell(asked, f"{arm}-{seed}", settings, dataset)
            found.setdefault(arm, []).append({**cell, "steps": cell["steps"] + steps_of_teachers})
    results = summary(found, dataset.domains, asked)
    asked.json.write_text(json.dumps(_without_nan(results), indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the runs; what is there already is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--steps", type=int, default=800, help="of an arm; a specialist has a quarter of them"
    )
    parser.add_argument("--arms", nargs="*", default=list(DEFAULT), choices=list(arms(1)))
    parser.add_argument("--domains", nargs="*", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--no-specialists", action="store_true")
    parser.add_argument("--imprinted-specialists", action="store_true", help="a second oracle")
    parser.add_argument(
        "--off-the-shelf", action="store_true", help="backbones with their ImageNet weights, as they come"
    )
    parser.add_argument("--split", default="test", help="val, to choose settings by")
    parser.add_argument("--set", nargs="*", default=[], metavar="a.b=c", help="settings of all arms")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    if asked.no_specialists and "separate-teachers" in asked.arms:
        parser.error("separate-teachers are the specialists; leave --no-specialists out")
    return asked


def _teacher(run: Path, name: str, **settings: object) -> dict[str, object]:
    return {"model": f"alumnus:{run}/student", "name": name, **{"output": "embedding", **settings}}


def _oracle(
    asked: argparse.Namespace,
    kind: str,
    method: Mapping[str, Any],
    common: Mapping[str, Any],
    dataset: Dataset,
) -> dict[str, Any]:
    """Returns what specialists find, each among its own domain's images; both protocols are that."""
    parts = []
    for name in dataset.domains:
        settings = {**common, "steps": max(1, asked.steps // 4), "method": method, "domains": [name]}
        cell = f"{kind}-{name}-{common['seed']}"
        parts.append(_cell(asked, cell, settings, dataset.select(domains=[name])))
    values = {
        key: np.concatenate([part[key.replace("merged", "separate")] for part in parts]) for key in KEYS
    }
    domain = np.concatenate([part["domain"] for part in parts])
    totals = {key: sum(part[key] for part in parts) for key in ("steps", "parameters")}
    return {**values, "domain": domain, **totals}


def _cell(
    asked: argparse.Namespace, name: str, settings: Mapping[str, Any], dataset: Dataset
) -> dict[str, Any]:
    """Returns what each query finds with the student of a run, (Q,) for every key in order of domains, and what the run cost."""
    out = asked.out / name
    config = validated({**laid_over(settings, read_values(None, asked.set)), "out": out})
    console.print(f"cell {name}")
    run = train(config)
    student = load_student(run.student)
    values = _queries(asked, StudentEncode(student), dataset, out)
    return {**values, "steps": config.steps, "parameters": num_parameters(student)}


def _off_the_shelf(
    asked: argparse.Namespace, name: str, spec: Mapping[str, Any], dataset: Dataset
) -> dict[str, Any]:
    """Returns what each query finds by a backbone's pooled features as they come."""
    teacher = load_teacher(TeacherSpec(**spec, name="backbone", size=SIZE), device=torch.device("cpu"))
    out = asked.out / name
    out.mkdir(parents=True, exist_ok=True)
    values = _queries(asked, TeacherEncode(teacher), dataset, out)
    return {**values, "steps": 0, "parameters": teacher.num_parameters}


def _queries(
    asked: argparse.Namespace, model: Scored, dataset: Dataset, out: Path
) -> dict[str, npt.NDArray[Any]]:
    """Returns what each query of the split finds, (Q,) for every key, kept in a folder."""
    kept = out / f"queries-{asked.split}.npz"
    if not kept.is_file():
        new = kept.with_suffix(".new.npz")
        np.savez(new, **_found(model, dataset, asked.split))
        new.replace(kept)
    with np.load(kept) as file:
        return {key: file[key] for key in file.files}


def _found(model: Scored, dataset: Dataset, split: str) -> dict[str, npt.NDArray[Any]]:
    rows = np.flatnonzero(dataset.split == split)
    rows = rows[np.argsort(dataset.domain[rows], kind="stable")]
    vectors = encode_paths([model], [dataset.paths[row] for row in rows], workers=1).of[model.name]
    domain, label = dataset.domain[rows], dataset.label[rows]
    every = np.arange(len(rows))
    found = retrieve(vectors, domain=domain, label=label, queries=every[label >= 0], index=every)
    values = {
        f"{protocol}/{metric}": found.ranking(protocol).metric(metric)
        for protocol in PROTOCOLS
        for metric in METRICS
    }
    return {**values, "domain": found.domain}


def summary(
    found: Mapping[str, Sequence[Mapping[str, Any]]], domains: Sequence[str], asked: argparse.Namespace
) -> dict[str, Any]:
    """Returns scores, differences and costs as JSON values.

    Args:
        found: arm -> what each seed found.
        domains: their names, by number.
    """
    names = list(found)
    domain = found[names[0]][0]["domain"]
    values = [
        np.mean([seed[key] for seed in found[name]], axis=0) for name in names for key in KEYS
    ]  # (Q,) each
    drawn = resample(np.stack(values, axis=1), domain)
    column = {(name, key): number for number, (name, key) in enumerate((n, k) for n in names for k in KEYS)}

    def by_seed(name: str, key: str) -> Doubles:
        """The macro mean of each seed."""
        return np.array(
            [np.mean([seed[key][domain == d].mean() for d in drawn.domains]) for seed in found[name]]
        )

    scores = {
        name: {
            key: {
                "macro": drawn.macro(column[name, key]),
                "seeds": over_runs(by_seed(name, key).tolist()),
                "domains": {domains[d]: drawn.of_domain(d, column[name, key]) for d in drawn.domains},
            }
            for key in KEYS
        }
        for name in names
    }
    differences = [
        {
            "arm": one,
            "minus": other,
            "key": key,
            "macro": drawn.difference(column[one, key], column[other, key]),
            "seeds": over_runs((by_seed(one, key) - by_seed(other, key)).tolist()),
            "domains": {
                domains[d]: drawn.difference(column[one, key], column[other, key], domain=d)
                for d in drawn.domains
            },
        }
        for one, other in ORDER
        if one in found and other in found
        for key in KEYS
    ]
    costs = {name: {key: seeds[0][key] for key in ("steps", "parameters")} for name, seeds in found.items()}
    options = {key: str(value) for key, value in vars(asked).items() if key not in ("out", "json")}
    return {"options": options, "scores": scores, "differences": differences, "costs": costs}


def markdown(results: Mapping[str, Any]) -> str:
    """Returns the scores, the differences of the claimed order, and the share of the gap to the oracle that is closed."""
    scores = results["scores"]
    domains = list(next(iter(scores.values()))[KEYS[0]]["domains"])
    lines = [
        *_head("arm", *KEYS[:2], KEYS[2], "steps", "M parameters", *domains),
        *(
            _row(
                name,
                *(_percent(each[key]["macro"]) for key in KEYS[:3]),
                f"{results['costs'][name]['steps']:,}",
                f"{results['costs'][name]['parameters'] / 1e6:.1f}",
                *(f"{100 * each[KEYS[0]]['domains'][domain][0]:.1f}" for domain in domains),
            )
            for name, each in scores.items()
        ),
        "",
        *_head(f"difference of {KEYS[0]}", "macro", "over seeds", *domains),
        *(
            _row(
                f"{each['arm']} − {each['minus']}",
                _percent(each["macro"], signed=True),
                _percent(each["seeds"], signed=True),
                *(_percent(each["domains"][domain], signed=True) for domain in domains),
            )
            for each in results["differences"]
            if each["key"] == KEYS[0]
        ),
    ]
    if {ORACLE, "USCRR"} <= scores.keys():
        oracle, base = (scores[name][KEYS[0]]["macro"][0] for name in (ORACLE, "USCRR"))
        for name in ("UDON", OURS):
            if name in scores and oracle > base:
                share = (scores[name][KEYS[0]]["macro"][0] - base) / (oracle - base)
                lines += [
                    "",
                    f"{name} closes {100 * share:.0f} % of the gap of USCRR to the oracle (macro {KEYS[0]}).",
                ]
    return "\n".join(lines)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null, as in results.json."""
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _percent(interval: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (100 * value for value in interval)
    return f"{mean:{sign}.1f}" if np.isnan(low) else f"{mean:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def _head(*titles: str) -> list[str]:
    return [_row(*titles), "| --- |" + " ---: |" * (len(titles) - 1)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
