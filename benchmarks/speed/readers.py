"""How many processes read beside a step on the CPU, and at which priority: python benchmarks/speed/readers.py FOLDER [--rounds 3]

The folder holds images (`train.py` leaves one of JPEG files and a packed one in .cache/speed). A bare step of mobilenetv3_small_100, 96 px,
batch 64, on all cores, runs on data in memory, then on batches from 1, 2 and 3 readers at the lowest priority and from 2 at the step's
own, in turns in one process. The steps that drain the queue of batches read beforehand are not timed. Prints the mean time of a step,
for steps that wait differ.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from alumnus.data.loader import _Steps, give_way
from alumnus.memory import keep_freed_memory
from alumnus.training.data import sampler_of, training_data
from alumnus.training.recipe import load_config

SIZE, BATCH, TEACHER = 96, 64, "timm/vit_tiny_patch16_224"
READERS = {
    "1 reader, nice 19": (1, True),
    "2 readers, nice 19": (2, True),
    "3 readers, nice 19": (3, True),
    "2 readers, nice 0": (2, False),
}
PREFETCHED = 4  # batches of each reader


def main() -> None:
    """Measures in turns and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    asked = parser.parse_args()
    keep_freed_memory()
    items, step = _items(asked.data), _bare_step()
    in_memory = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    found = dict[str, list[float]]()
    for _ in range(asked.rounds):
        found.setdefault("in memory", []).extend(_times(step, iter(lambda: in_memory, None), 2, asked.steps))
        for name, (count, gives_way) in READERS.items():
            loader = DataLoader(
                items,
                batch_size=None,
                sampler=range(10_000),
                num_workers=count,
                prefetch_factor=PREFETCHED,
                worker_init_fn=give_way if gives_way else None,
            )
            images = (_normalised(loaded.batch.image) for loaded in loader)
            found.setdefault(name, []).extend(_times(step, images, 8 + PREFETCHED * count, asked.steps))
    print("| batches from | ms a step, mean | of the step in memory |\n|---|---:|---:|")
    limit = statistics.mean(found["in memory"])
    for name, times in found.items():
        print(f"| {name} | {1e3 * statistics.mean(times):.0f} | {limit / statistics.mean(times):.2f} |")


def _items(data: str) -> _Steps:
    config = load_config(
        data=data,
        student="timm/mobilenetv3_small_100",
        teachers=[TEACHER],
        out="unused",
        views={"per_image": 1},
    )
    dataset = training_data(config)
    return _Steps(dataset, sampler_of(config, dataset), config.views, SIZE, (), 0, 1, frozenset())


def _bare_step() -> Callable[[Tensor], None]:
    student = timm.create_model("mobilenetv3_small_100", num_classes=0).train()
    student = student.to(memory_format=torch.channels_last)
    head, wanted = nn.Linear(student.head_hidden_size, 192), torch.randn(BATCH, 192)
    optimizer = torch.optim.AdamW([*student.parameters(), *head.parameters()], lr=1e-4, fused=True)

    def step(image: Tensor) -> None:
        loss = functional.mse_loss(head(student(image)), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _normalised(image: Tensor) -> Tensor:
    return image.to(memory_format=torch.channels_last).float().mul_(1 / 128).sub_(1)


def _times(
    step: Callable[[Tensor], None], images: Iterator[Tensor], warm: int, steps: int
) -> Iterator[float]:
    for number in range(warm + steps):
        began = time.perf_counter()
        step(next(images))
        if number >= warm:
            yield time.perf_counter() - began


if __name__ == "__main__":
    main()
