"""Two processes that share a sharded student: the runs that `training/test_shards.py` looks at, and what each process holds."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from alumnus.distributed import is_main, joined, rank, wait
from alumnus.training.config import Config
from alumnus.training.course import prepare
from alumnus.training.failure import bad_gradients
from alumnus.training.loop import learn, train
from alumnus.training.run import Run
from alumnus.training.shards import local
from alumnus.training.whole import whole
from tests import two

VIT = {"model": "timm/vit_tiny_patch16_224", "model_args": {"depth": 4, "embed_dim": 48}}
STEPS = 12
PIECES = {
    "student": "timm/resnet10t",
    "method": {"name": "agglomerate", "adaptor": "ladder", "keep_adaptors": True},
    "accumulate": 2,
    "steps": 6,
}
NAN = "student.backbone.blocks.1.mlp.fc1.weight"


def vit(out: Path, images: Path, *, shard: bool) -> Config:
    """A run whose backbone is frozen at the start."""
    return two.config(
        out,
        images,
        student=VIT,
        steps=STEPS,
        checkpoint_every=4,
        optim={"frozen": 0.2},
        shard=shard,
    )


def uncut(run: Path, copy: Path) -> None:
    """Copies a finished run, as it was when it had written its last checkpoint."""
    shutil.copytree(run, copy)
    (copy / "student" / "alumnus.json").unlink()


def _held(images: Path) -> dict[str, object]:
    """Numbers held by this process and in all, after a step; and which gradient is NaN if one of the second process is."""
    config = vit(Path("unused"), images, shard=True)
    course = prepare([(config, Run(config.out))])
    pupil, state = course.pupils[0], course.pupils[0].state
    pupil.student.train()
    reading = course.batches(6)
    (loaded,) = islice(reading, 1)
    batch, targets = whole(loaded.batch, course.source(loaded.batch), total=config.batch_size)
    learn(pupil, batch, targets, step=5)
    parameters = list(pupil.student.parameters())
    assert state.ema is not None
    kinds: dict[str, Sequence[Tensor]] = {
        "weights": parameters,
        "gradients": [p.grad for p in parameters if p.grad is not None],
        "moments": [state.optimizer.state[p]["exp_avg_sq"] for p in parameters if p in state.optimizer.state],
        "average": [state.ema.tensors[name] for name, _ in pupil.student.named_parameters()],
    }
    found: dict[str, object] = {
        kind: [sum(local(t).numel() for t in tensors), sum(t.numel() for t in tensors)]
        for kind, tensors in kinds.items()
    }
    found["of the objective"] = [sum(local(p).numel() for p in pupil.objective.parameters())] * 2
    broken = dict(pupil.student.named_parameters())[NAN.removeprefix("student.")].grad
    assert broken is not None
    if rank() == 1:
        local(broken)[0, 0] = torch.nan
    found["nan"] = bad_gradients({"student": pupil.student, "objective": pupil.objective})
    return found


def _together(folder: Path, images: Path) -> None:
    with joined():
        (folder / f"held-{rank()}.json").write_text(json.dumps(_held(images)))
        train(vit(folder / "vit", images, shard=True))
        if is_main():
            uncut(folder / "vit", folder / "cut")
            uncut(folder / "vit", folder / "for-one")
        wait()
        train(vit(folder / "cut", images, shard=True))
        train(vit(folder / "from-one", images, shard=True))
        for shard in (False, True):
            train(two.config(folder / f"pieces-{shard}", images, shard=shard, **PIECES))


if __name__ == "__main__":
    torch.set_num_threads(1)
    _together(Path(sys.argv[1]), Path(sys.argv[2]))
