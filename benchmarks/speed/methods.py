"""What a method's own layers cost a step: python benchmarks/speed/methods.py

CPU time of a training step (student, loss, backward, AdamW) of `agglomerate`, the default, which has an MLP to each teacher from the
backbone and a linear layer from the embedding, over that of `plain`, which has the linear layer alone. Steps of both alternate; targets
are random and ready, so that teachers cost nothing. One thread, batch 64, 96 px. A line for each student and teachers; two minutes or more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.training.method import method_module
from alumnus.training.optim import OptimSettings, make_optimizer
from alumnus.types import Batch, Features, Target

STUDENTS = ("mobilenetv3_small_100", "resnet18")
WIDTHS = ((192,), (2048, 192, 1280, 512))  # of the teachers' features; as those of train.py
METHODS = ("plain", "agglomerate")
BATCH, SIZE = 64, 96


def main() -> None:
    """Measures all pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for model in STUDENTS:
        for widths in WIDTHS:
            steps = {method: step_of(model, method, widths) for method in METHODS}
            seconds: dict[str, list[float]] = {method: [] for method in METHODS}
            for _ in range(asked.steps + 1):
                for method, step in steps.items():
                    seconds[method].append(step())
            median = {method: statistics.median(found[1:]) for method, found in seconds.items()}
            ratio = median["agglomerate"] / median["plain"]
            print(json.dumps({"student": model, "teachers": widths, **median, "ratio": round(ratio, 2)}))


def step_of(model: str, method: str, widths: Sequence[int]) -> Callable[[], float]:
    """Returns what takes a step and says how much CPU time it took, in s."""
    student = Student(Architecture(model=model, size=SIZE, embed_dim=64))
    student.train().to(memory_format=torch.channels_last)
    teachers = {f"teacher {number}": TeacherWidth(width, 1.0) for number, width in enumerate(widths)}
    setup = Setup(student.num_features, student.embed_dim, teachers, {"images": 0})
    module = method_module(method)
    objective = module.build(module.Settings(name=method), setup)
    optimizer = make_optimizer(student, objective, OptimSettings(), lr=1e-3)
    every = torch.arange(BATCH)
    image = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    batch = Batch(image, {}, every, every, every, torch.zeros_like(every), torch.full_like(every, -1))
    targets = {
        name: Target(Features(torch.randn(BATCH, teacher.num_features)), every)
        for name, teacher in teachers.items()
    }

    def step() -> float:
        start = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        objective(student, batch, targets, 0.1).loss.backward()
        optimizer.step()
        return time.process_time() - start

    return step


if __name__ == "__main__":
    main()
