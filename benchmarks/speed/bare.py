"""The limit: a bare training step on data in memory, without or with a live teacher. `train.py` runs it, once for each measurement.

    python benchmarks/speed/bare.py '{"student": "resnet18", "teacher": "resnet50", "fused": true, "kept": true, …}'

Student and teacher are channels_last, float32. A linear head on the student is trained towards the teacher's features, or towards a fixed
random target of the same width, by squared error with AdamW: `fused` or torch's default. `kept` makes glibc keep freed memory,
as Alumnus does. Nothing else is in the step: no loader, no clipping, no moving average, no checks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import timm
import torch
from pace import measure
from torch import nn
from torch.nn import functional


def main() -> None:
    """Prints the pace of what is asked for."""
    asked = json.loads(sys.argv[1])
    torch.manual_seed(0)
    if asked["kept"]:
        from alumnus.memory import keep_freed_memory

        keep_freed_memory()
    run = _loop(
        asked["student"], asked["teacher"], asked["live"], asked["fused"], asked["size"], asked["batch"]
    )
    measure(run, warm=asked["warm"], steps=asked["steps"], batch=asked["batch"])


def _loop(
    name: str, teacher_name: str, is_live: bool, fused: bool, size: int, batch: int
) -> Callable[[], object]:
    student, teacher = _network(name, size).train(), _network(teacher_name, size).eval()
    image = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    wanted = torch.randn(batch, teacher.num_features)
    head = nn.Linear(student(image[:2]).shape[1], teacher.num_features)
    optimizer = torch.optim.AdamW([*student.parameters(), *head.parameters()], lr=1e-4, fused=fused or None)

    def run() -> None:
        while True:
            target = _ask(teacher, image) if is_live else wanted
            loss = functional.mse_loss(head(student(image)), target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def _ask(teacher: nn.Module, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        features = teacher(image)
    return features.clone()


def _network(name: str, size: int) -> nn.Module:
    grid = {"img_size": size} if name.startswith("vit") else {}
    model: nn.Module = timm.create_model(name, num_classes=0, **grid)
    return model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
