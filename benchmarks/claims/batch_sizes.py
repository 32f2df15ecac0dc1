"""Does what a network says of an image depend on how many others are with it? python benchmarks/claims/batch_sizes.py [NAME:PX ...]

Prints for each network the batch sizes up to 63 at which its features differ, in any bit, from those in a batch of 64, and whether order
or black images in the other places matter in batches of 16. Random weights, channels_last, float32. It is why `Teacher` fills small
batches up. The answer depends on OMP_NUM_THREADS, so try 1 too. Half a minute a network on two cores.
"""

from __future__ import annotations

import sys

import timm
import torch
from torch import Tensor, nn

NETWORKS = ("resnet10t:32", "resnet10t:64", "resnet18:96", "resnet50:96", "mobilenetv3_small_100:96")
WHOLE, CHUNK = 64, 16


def main() -> None:
    """A line a network."""
    for named in sys.argv[1:] or NETWORKS:
        name, _, px = named.partition(":")
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=0).eval().to(memory_format=torch.channels_last)
        print(f"{named}: {_report(network, torch.rand(WHOLE, 3, int(px), int(px)))}", flush=True)


@torch.inference_mode()
def _report(network: nn.Module, image: Tensor) -> str:
    def say(part: Tensor) -> Tensor:
        features: Tensor = network(part.contiguous(memory_format=torch.channels_last))
        return features

    def in_parts(whole: Tensor, size: int) -> Tensor:
        return torch.cat([say(part) for part in whole.split(size) if len(part) == size])

    whole = say(image)
    found = {size: in_parts(image, size) for size in range(1, WHOLE)}
    differ = [size for size, said in found.items() if not torch.equal(said, whole[: len(said)])]
    order = torch.randperm(WHOLE)
    few = torch.cat([image[5:8], torch.zeros_like(image[: CHUNK - 3])])
    same_order = torch.equal(in_parts(image[order], CHUNK), found[CHUNK][order])
    return f"differs at {differ}; order matters: {not same_order}; black ones matter: {not torch.equal(say(few)[:3], found[CHUNK][5:8])}"


if __name__ == "__main__":
    main()
