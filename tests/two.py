"""Two processes that train together, as torchrun would start them, and the runs that one and two processes are compared in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from alumnus.data.loader import train_batches
from alumnus.distributed import gathered, is_main, joined, rank, sum_gradients, world_size
from alumnus.errors import TeacherError
from alumnus.methods import agglomerate, plain, supervised, udon
from alumnus.models.backbone import taps_of
from alumnus.models.batch_norm import synchronise
from alumnus.models.student import Architecture, Student, StudentOutput
from alumnus.objective import Objective, Setup, TeacherWidth
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.targets import TargetSource
from alumnus.training.config import Config
from alumnus.training.data import sampler_of, training_data
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.targets import live_speakers
from alumnus.training.whole import gather_outputs, whole
from alumnus.types import Features

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 900  # a guard against hanging, not a measure
VIT = {"model": "timm/vit_tiny_patch16_224", "model_args": {"depth": 2, "embed_dim": 48}}
RANDOM = {"model": "timm/resnet10t", "weights": "random", "size": 32}
METHODS = (
    ("plain", "mobilenetv3_small_050", 1),
    ("plain", "resnet10t", 1),
    ("plain", "resnet10t", 2),
    ("supervised", "resnet10t", 1),
    ("agglomerate", "resnet10t", 1),
    ("udon", "test_vit", 1),
)  # method, student (all but the last have batch norm), micro-batches
SAMPLERS = {
    "plain": "proportional",
    "agglomerate": "proportional",
    "supervised": "balanced",
    "udon": "round_robin",
}
UDON = {"name": "udon", "teacher_dim": 12, "distill_to_backbone": False}
CPU = torch.device("cpu")


class Quarters(nn.Module):
    """A teacher that sees the mean colour of each quarter; optionally one that fails in the second process."""

    # A recipe records where a class is from, and this file is `__main__` in the processes and not in the tests.
    __module__ = "two"

    def __init__(self, fails_after: int | None = None) -> None:
        super().__init__()
        self.calls_left = fails_after if rank() == 1 else None

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise TeacherError("the teacher of process 1 broke")
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


def config(out: Path, images: Path, **settings: object) -> Config:
    """Domains are folders, so that a teacher can be trusted on one: 7 images at random seldom hold one of it in both shares."""
    values: dict[str, object] = {
        "out": out,
        "data": [images / name for name in ("discs", "squares", "crosses")],
        "student": "timm/mobilenetv3_small_050",
        "teachers": [
            {"model": Quarters(), "name": "quarters", "size": 32},
            {**RANDOM, "domains": ["discs"]},
        ],
        "method": {"name": "plain", "source": "both"},
        "sampler": "proportional",
        "size": 32,
        "embed_dim": 8,
        "steps": 24,
        "batch_size": 7,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 8,
        "views": {"per_image": 2},
    }
    return load_config(**{**values, **settings})


def configs(folder: Path, images: Path) -> dict[str, Config]:
    """The runs, by what is special about them."""
    store = {"path": folder / "store", "precision": "float32"}
    quarters = [{"model": Quarters(), "name": "quarters", "size": 32}]
    return {
        "plain": config(folder / "plain", images),
        "stored": config(folder / "stored", images, store=store, targets="stored"),
        "supervised": config(
            folder / "supervised", images, student=VIT, method="supervised", teachers=[], max_bad_fraction=0.5
        ),
        "udon": config(
            folder / "udon",
            images,
            student=VIT,
            teachers=[{"model": Quarters(), "name": "quarters", "size": 32, "domains": ["discs"]}],
            method={"name": "udon", "max_classes": 4, "distill_to_backbone": False, "keep_heads": True},
            sampler={"name": "dynamic", "every": 6},
            optim={"frozen": 0.3},
            max_bad_fraction=0.5,
        ),
        "fitted": config(
            folder / "fitted",
            images,
            student=VIT,
            teachers=quarters,
            method={"name": "plain", "normalise": "phi_s"},
            watch={"split": "train", "every": 2},
            steps=3,
        ),
        "cfl": config(
            folder / "cfl",
            images,
            student=VIT,
            teachers=[*quarters, RANDOM, {**quarters[0], "name": "classes", "domains": ["discs", "crosses"]}],
            method={"name": "cfl", "logits": ["classes"]},
            steps=8,
        ),
        "rkd": config(
            folder / "rkd",
            images,
            student={**VIT, "split": 0.4},
            teachers=quarters,
            method={"name": "rkd", "phases": [0.4, 0.3, 0.3]},
            max_bad_fraction=0.5,
            steps=10,
        ),
    }


def gradients(images: Path, method: str, *, model: str, pieces: int) -> dict[str, Tensor]:
    """Gradients of one step of a student, and of what its objective trains; statistics too.

    In pieces it is of twelve images: then the k-th pieces of two processes are together the k-th one of one, and batch norms see the same.
    """
    settings = config(
        Path("unused"),
        images,
        sampler=SAMPLERS[method],
        method={**UDON} if method == "udon" else method,
        batch_size=7 if pieces == 1 else 12,
    )
    dataset = training_data(settings)
    specs = [] if method == "supervised" else [TeacherSpec.model_validate(each) for each in settings.teachers]
    speakers, _ = live_speakers(specs, device=CPU, memory_limit=None)
    source = TargetSource(speakers, domains=dataset.domains, device=CPU)
    torch.manual_seed(0)
    architecture = Architecture(model, 32, 8, normalise_summary=method == "udon")
    student = Student(architecture).train()
    widths = {each.name: TeacherWidth(each.num_features, 1.0) for each in speakers}
    taps = taps_of(student.backbone, size=32)
    setup = Setup(student.num_features, 8, widths, dict.fromkeys(dataset.domains, 6), taps)
    objective = _objective(method, setup).train()
    for name, adaptor in objective.hand_over().items():
        student.keep(name, adaptor)
    student.micro_batches = pieces
    if world_size() > 1:
        synchronise(student, device=CPU)
        gather_outputs(student, total=settings.batch_size, device=CPU)
    loader = train_batches(
        dataset,
        sampler_of(settings, dataset),
        settings.views,
        size=32,
        teacher_sizes=source.sizes,
        start=3,
        steps=4,
        workers=0,
        rank=rank(),
        world_size=world_size(),
    )
    share = next(loader).batch
    batch, targets = whole(share, source(share), total=settings.batch_size)
    assert torch.equal(batch.row[batch.own], share.row)
    terms = objective(student, batch, targets, 0.5)
    terms.loss.backward()
    sum_gradients(student.parameters(), objective.parameters())
    modules = {"student": student, "objective": objective}
    found = {"loss": terms.loss.detach(), "per_sample": terms.per_sample}
    for name, module in modules.items():
        found |= {f"{name}/{key}": p.grad for key, p in module.named_parameters() if p.grad is not None}
        found |= {f"{name}/{key}": b for key, b in module.named_buffers() if b.is_floating_point()}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _objective(method: str, setup: Setup) -> Objective:
    """Of `agglomerate`, all that is gathered beside summaries and embeddings, and all that is drawn."""
    if method == "plain":
        return plain.build(plain.Settings(source="both"), setup)
    if method == "supervised":
        return supervised.build(supervised.Settings(), setup)
    if method == "udon":
        return udon.build(udon.Settings.model_validate(UDON), setup)
    settings = agglomerate.Settings(
        adaptor="ladder", keep_adaptors=True, teacher_dropping=0.5, weighting="uncertainty", relational=0.1
    )
    return agglomerate.build(settings, setup)


def draws() -> dict[str, Tensor]:
    """What a student with dropout and an objective draw in two steps: (2, rows) kept, (2,) the objective's."""

    class Dropping(nn.Module):
        def forward(self, image: Tensor) -> StudentOutput:
            kept = nn.functional.dropout(torch.ones(len(image), 64), 0.5)
            return StudentOutput(Features(kept), kept)

    student = Dropping()
    gather_outputs(student, total=5, device=CPU)  # type: ignore[arg-type]
    image, kept, own = torch.zeros(len(range(rank(), 5, world_size())), 1), [], []
    for step in range(2):
        torch.manual_seed(step)
        kept += [student(image).embedding, student(image).embedding]
        own.append(torch.rand(()))
    return {
        "kept": torch.stack(kept),
        "own": torch.stack(own),
        "all": torch.tensor(gathered([float(own[1])])),
    }


def torchrun(*words: str | Path, options: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Starts two processes of a module with its words, with their output in one pipe."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *options]
    return subprocess.Popen(
        [*command, "-m", *map(str, words)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What it said until it ended; one that hangs is stopped, and the test fails."""
    try:
        return process.communicate(timeout=TIMEOUT_S)[0]
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun then ends its processes
        raise AssertionError(f"it hung, and had said: {process.communicate()[0]}") from None


def _together(folder: Path, images: Path) -> None:
    """Everything that the tests look at, in one start: starting costs more than all of it."""
    with joined():
        for method, model, pieces in METHODS:
            found = gradients(images, method, model=model, pieces=pieces)
            if is_main():
                safetensors.torch.save_file(found, folder / f"{method}-{model}-{pieces}.safetensors")
        safetensors.torch.save_file(draws(), folder / f"draws-{rank()}.safetensors")
        for each in configs(folder, images).values():
            train(each)
        if is_main():
            shutil.copytree(folder / "plain", folder / "cut")
            (folder / "cut" / "student" / "alumnus.json").unlink()
            shutil.copytree(folder / "cut", folder / "cut-for-one")
        train(config(folder / "cut", images))


if __name__ == "__main__":
    torch.set_num_threads(1)
    _together(Path(sys.argv[1]), Path(sys.argv[2]))
