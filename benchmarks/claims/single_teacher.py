"""Is a student of many teachers above what peers make of the best one? python benchmarks/claims/single_teacher.py runs/udon runs/single

The eight domains of udon.py at 64 px, its specialists (trained if they are not there; each is trusted on its own domain) and the ImageNet
generalist. Every student is MobileNetV2 from the same ImageNet weights, sees the same images without labels in the same views, and has the
same number of steps of 64 images (a peer, which counts epochs, as many or a few more):

    plain, agglomerate, repcon   all nine teachers
    plain, best teacher          the teacher that is best on validation classes, alone
    lightly-train, autovision    the one that is best by what they distil, its pooled features, by their method `distillationv3` with its
                                 defaults; see single_teacher_peer.py

Which of ours becomes the default is a choice, and is made on validation classes: results["validation"] has their scores there.

Each is given the best that it can be given, chosen among all nine by macro R@1 on validation classes, all domains in one index: ours among
the specialists' embeddings and pooled features and the generalist's, peers among pooled features. Each seed says which, and has all scores
in teachers.json. Searched are our embeddings of 64 numbers and the peers' pooled features of 1,280; and what the best teachers say, and
the first weights. Scored on classes that nobody was trained on: R@1 with all domains in one index, in the domain's own, and leave-one-out
20-NN accuracy in the domain's own; macro means over domains. Intervals: bootstrap over queries of the mean over seeds, paired; and
Student's t over seeds.

The peers' environments are made if they are missing (some minutes, 5 GB each); LightlyTrain is under the AGPL and runs apart from
Alumnus. What is there is kept, and the same command goes on after a stop. About an hour a seed on 2 idle cores beside the specialists.
Writes single_teacher.json beside this file, or what `--json` names; fewer steps, seeds or peers than the defaults write only what
is named. `--steps 4 --specialist-steps 4 --seeds 1 --peers` with other folders is a smoke run.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from udon import BASE, DOMAINS, LABELS

from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.demo import LITE0, SIZE
from alumnus.evaluation.compare import Interval, over_runs, resample
from alumnus.evaluation.encode import CallableEncode, StudentEncode, TeacherEncode
from alumnus.evaluation.knn import knn_predict
from alumnus.evaluation.retrieval import macro, retrieve
from alumnus.evaluation.vectors import encode_paths
from alumnus.log import console
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Student
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.training.build import build_student
from alumnus.training.loop import train
from alumnus.training.recipe import validated
from alumnus.types import Encode

sys.path.append(str(Path(__file__).parents[1] / "speed"))
from peers import make_environment

PEERS = ("lightly-train", "autovision")
GENERALIST = "generalist"
OURS: Mapping[str, Any] = {
    "plain": "plain",
    "agglomerate": "agglomerate",
    "repcon": {"name": "repcon", "generalist": GENERALIST},
}
BEST, TEACHER, PEERS_TEACHER, FIRST = (
    "plain, best teacher",
    "best teacher",
    "best teacher of peers",
    "first weights",
)
# The defaults. With less of one, nothing is written beside this file.
FULL: Mapping[str, int] = {"seeds": 3, "steps": 800, "specialist_steps": 200}
MIN_SCALE = 0.5  # of a crop's area, in all students
KEYS = ("merged/R@1", "separate/R@1", "kNN")
NEIGHBOURS = 20
Found = dict[str, npt.NDArray[Any]]  # key -> (Q,), and "domain"


def main() -> None:
    """Trains and scores what is missing, writes all numbers beside this file, and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("specialists", type=Path, help="folder of udon.py")
    parser.add_argument("out", type=Path, help="folder of the students; what is there already is kept")
    parser.add_argument("--seeds", type=int, default=FULL["seeds"])
    parser.add_argument("--steps", type=int, default=FULL["steps"])
    parser.add_argument(
        "--specialist-steps",
        type=int,
        default=FULL["specialist_steps"],
        help="those of udon.py: a quarter of its steps",
    )
    parser.add_argument("--environments", type=Path, default=Path(".cache/peers"))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="all by default")
    parser.add_argument(
        "--json",
        type=Path,
        help="where numbers go; single_teacher.json beside this file if the run is a full one",
    )
    asked = parser.parse_args()
    data = [str(datasets.get(name, size=SIZE)) for name in DOMAINS]
    dataset = open_dataset(data)
    seeds = [one_seed(asked, data, dataset, seed=seed) for seed in range(asked.seeds)]
    results = summary(seeds, dataset.domains)
    options = {"steps": asked.steps, "seeds": asked.seeds, "specialist_steps": asked.specialist_steps}
    files = [asked.out / f"seed-{seed}" / "teachers.json" for seed in range(asked.seeds)]
    results["teachers"] = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    results["validation"] = [
        on_validation(asked.out / f"seed-{seed}", dataset) for seed in range(asked.seeds)
    ]
    is_full = set(asked.peers) == set(PEERS) and all(
        vars(asked)[name] >= number for name, number in FULL.items()
    )
    if path := asked.json or (Path(__file__).with_suffix(".json") if is_full else None):
        path.write_text(json.dumps({"options": options, **results}, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


def one_seed(
    asked: argparse.Namespace, data: Sequence[str], dataset: Dataset, *, seed: int
) -> dict[str, Found]:
    """Returns what every model finds on the test classes."""
    out = asked.out / f"seed-{seed}"
    common = {**BASE, "optim": {}, "lr": 3e-3, "data": data, "seed": seed}
    specialists = {
        name: train(
            validated(
                {
                    **BASE,
                    "data": data,
                    "seed": seed,
                    "steps": asked.specialist_steps,
                    "method": LABELS,
                    "domains": [name],
                    "out": asked.specialists / f"specialist-{name}-{seed}",
                }
            )
        ).student
        for name in DOMAINS
    }
    specs = candidates(specialists)
    scores = scores_of(specs, dataset, kept=out / "teachers.json")
    best, best_of_peers = best_of(scores), best_of(scores, output="summary")
    console.print(
        f"seed {seed}: the best teacher on validation classes is {best}, and of those that a peer can be given {best_of_peers}"
    )
    everyone = [
        specs[f"{GENERALIST}/summary"],
        *({**specs[f"{name}/embedding"], "domains": [name]} for name in specialists),
    ]
    alone = [specs[best]]
    arms: dict[str, tuple[Any, list[dict[str, Any]]]] = {
        **{name: (method, everyone) for name, method in OURS.items()},
        BEST: ("plain", alone),
    }
    found: dict[str, Found] = {}
    for name, (method, teachers) in arms.items():
        settings = {**common, "method": method, "teachers": teachers, "steps": asked.steps}
        run = train(validated({**settings, "out": out / name.replace(", ", "-").replace(" ", "-")}))
        found[name] = scored(lambda run=run: StudentEncode(load_student(run.student)), dataset, run.folder)  # type: ignore[misc]
    for row, name in ((TEACHER, best), (PEERS_TEACHER, best_of_peers)):
        found[row] = scored(lambda name=name: speaking(specs[name]), dataset, out / row.replace(" ", "-"))  # type: ignore[misc]
    settings = {**common, "method": "plain", "teachers": alone, "out": out / "none"}
    start, first = saved(settings, out / "first" / "student")
    found[FIRST] = scored(lambda: pooled(start / "model.safetensors", first), dataset, out / "first")
    teacher = specialists.get(best_of_peers.partition("/")[0])
    if teacher is None:
        teacher, _ = saved({**settings, "student": LITE0}, out / GENERALIST / "student")
    for tool in asked.peers:
        weights = peer(asked, tool, start, teacher, dataset, out / tool, seed=seed)
        found[tool] = scored(lambda w=weights: pooled(w, first), dataset, out / tool)  # type: ignore[misc]
    return found


def candidates(specialists: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Returns all that one student can be given, "teacher/output" -> a teacher of a recipe; `summary` is pooled features."""
    found = {f"{GENERALIST}/summary": {**LITE0, "name": GENERALIST, "size": SIZE}}
    for name, folder in specialists.items():
        for output in ("embedding", "summary"):
            found[f"{name}/{output}"] = {"model": f"alumnus:{folder}", "name": name, "output": output}
    return found


def scores_of(specs: Mapping[str, Mapping[str, Any]], dataset: Dataset, *, kept: Path) -> dict[str, float]:
    """Returns the macro R@1 of each teacher on validation classes, all domains in one index."""
    if not kept.is_file():
        means = {}
        for name, spec in specs.items():
            found = score(speaking(spec), dataset, split="val")
            means[name] = macro(found["merged/R@1"], found["domain"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(".new")
        temporary.write_text(json.dumps(means, indent=1) + "\n", encoding="utf-8")
        temporary.rename(kept)
    known: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
    return known


def on_validation(out: Path, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Returns the macro scores of each of our students of all teachers on validation classes, kept beside it."""
    found = {}
    for name in OURS:
        kept = out / name / "validation.json"
        if not kept.is_file():
            said = score(StudentEncode(load_student(out / name / "student")), dataset, split="val")
            means = {key: macro(said[key], said["domain"]) for key in KEYS}
            kept.write_text(json.dumps(means) + "\n", encoding="utf-8")
        found[name] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def best_of(scores: Mapping[str, float], *, output: str = "") -> str:
    """Returns the best "teacher/output", or the best with one output."""
    return max((name for name in scores if name.endswith(output)), key=lambda name: scores[name])


def speaking(spec: Mapping[str, Any]) -> Encode:
    """Returns a teacher of a recipe, to be scored."""
    return TeacherEncode(load_teacher(TeacherSpec(**spec), device=torch.device("cpu")))


def saved(settings: Mapping[str, Any], folder: Path) -> tuple[Path, Student]:
    """Returns the folder of a recipe's student with its first weights, written if it is not there, and the student."""
    if not folder.is_dir():
        save_student(build_student(validated(settings)), folder)
    return folder, load_student(folder)


def peer(
    asked: argparse.Namespace,
    tool: str,
    student: Path,
    teacher: Path,
    dataset: Dataset,
    out: Path,
    *,
    seed: int,
) -> Path:
    """Returns the weights of a peer's student of one teacher."""
    weights = out / "backbone.safetensors"
    if weights.is_file():
        return weights
    rows = np.flatnonzero(dataset.split == "train")
    words = {
        "tool": tool,
        "student": str(student),
        "teacher": str(teacher),
        "data": str(_images(asked.out / "images", dataset, rows)),
        "out": str(out),
        "size": SIZE,
        "min_scale": MIN_SCALE,
        "epochs": math.ceil(asked.steps * BASE["batch_size"] / len(rows)),
        "batch": BASE["batch_size"],
        "workers": BASE["workers"],
        "seed": seed,
    }
    shutil.rmtree(out, ignore_errors=True)
    script = Path(__file__).with_name("single_teacher_peer.py")
    python = make_environment(asked.environments, tool)
    subprocess.run([str(python), str(script), json.dumps(words)], check=True)
    return weights


def _images(folder: Path, dataset: Dataset, rows: npt.NDArray[np.int64]) -> Path:
    """Returns a folder of the training images, as the peers want them."""
    if not folder.is_dir():
        temporary = folder.with_name(".images.new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for row in rows:
            path = Path(dataset.paths[row])
            shutil.copyfile(path, temporary / f"{row:06d}{path.suffix}")
        temporary.rename(folder)
    return folder


def pooled(weights: Path, like: Student) -> Encode:
    """Returns the pooled features of a backbone of timm; images are normalised as the student's are."""
    network = timm.create_model(like.architecture.model, pretrained=False, num_classes=0).eval()
    network.load_state_dict(load_file(weights), strict=False)  # beside the classifier

    def features(image: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = network((image.float() / 255 - like.mean) / like.std)
        return found

    return CallableEncode(features, name="pooled", size=like.size)


def scored(model: Callable[[], Encode], dataset: Dataset, folder: Path) -> Found:
    """Returns what a model finds on the test classes, kept in its folder."""
    kept = folder / "queries.npz"
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_name(".queries.npz")
        np.savez(temporary, **score(model(), dataset, split="test"))
        temporary.rename(kept)
    with np.load(kept) as file:
        return {key: file[key] for key in file.files}


def score(model: Encode, dataset: Dataset, *, split: str) -> Found:
    """Returns whether each labelled image of a split finds its class: by its first neighbour, and by the vote of 20."""
    rows = np.flatnonzero((dataset.split == split) & (dataset.label >= 0))
    rows = rows[np.argsort(dataset.domain[rows], kind="stable")]
    paths = [dataset.paths[row] for row in rows]
    vectors = encode_paths([model], paths, workers=1).of[model.name]
    domain, label, every = dataset.domain[rows], dataset.label[rows], np.arange(len(rows))
    found = retrieve(vectors, domain=domain, label=label, queries=every, index=every)
    votes = np.zeros(len(rows))
    for number in np.unique(domain):
        here = np.flatnonzero(domain == number)
        own = vectors[here]
        said = knn_predict(own, own, label[here], k=NEIGHBOURS, exclude=np.arange(len(here)))
        votes[here] = said == label[here]
    first = {key: found.ranking(key.split("/")[0]).metric("R@1") for key in KEYS[:2]}  # type: ignore[arg-type]
    return {**first, KEYS[2]: votes, "domain": domain}


def summary(seeds: Sequence[Mapping[str, Found]], domains: Sequence[str]) -> dict[str, Any]:
    """Returns scores, and each of our students of all teachers minus everything else, as JSON values.

    Args:
        seeds: model -> what it found, for each seed; models have the same queries.
    """
    names, domain = list(seeds[0]), next(iter(seeds[0].values()))["domain"]
    columns = [(name, key) for name in names for key in KEYS]
    drawn = resample(
        np.stack([np.mean([seed[name][key] for seed in seeds], axis=0) for name, key in columns], axis=1),
        domain,
    )
    place = {column: number for number, column in enumerate(columns)}
    means = {
        (name, key): np.array([macro(seed[name][key], domain) for seed in seeds]) for name, key in columns
    }
    scores = {
        name: {
            key: {
                "macro": drawn.macro(place[name, key]),
                "seeds": over_runs(means[name, key].tolist()),
                "domains": {domains[d]: drawn.of_domain(d, place[name, key])[0] for d in drawn.domains},
            }
            for key in KEYS
        }
        for name in names
    }
    differences = [
        {
            "of": one,
            "minus": other,
            "key": key,
            "macro": drawn.difference(place[one, key], place[other, key]),
            "seeds": over_runs((means[one, key] - means[other, key]).tolist()),
        }
        for one in OURS
        for other in names
        if other != one
        for key in KEYS
    ]
    return {"scores": scores, "differences": differences}


def markdown(results: Mapping[str, Any]) -> str:
    """Returns a table of scores with R@1 by domain, and one of differences with both intervals."""
    scores = results["scores"]
    domains = list(next(iter(scores.values()))[KEYS[0]]["domains"])
    lines = [f"| | {' | '.join((*KEYS, *domains))} |", "|---|" + "---:|" * (len(KEYS) + len(domains))]
    for name, each in scores.items():
        macros = [f"{each[key]['macro'][0]:.3f}" for key in KEYS]
        own = [f"{each[KEYS[0]]['domains'][d]:.3f}" for d in domains]
        lines.append(f"| {' | '.join([name, *macros, *own])} |")
    lines += ["", "| difference | of | over queries | over seeds |", "|---|---|---:|---:|"]
    for each in results["differences"]:
        spans = [_shown(Interval(*each[over])) for over in ("macro", "seeds")]
        lines.append(f"| {each['of']} minus {each['minus']} | {each['key']} | {' | '.join(spans)} |")
    return "\n".join(lines)


def _shown(found: Interval) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


if __name__ == "__main__":
    main()
