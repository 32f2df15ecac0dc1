"""Small modules on top of a feature: projectors and cosine classifiers.

Axes: B images, D width of the feature, E width of the embedding, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

ProjectorKind = Literal["linear", "mlp"]
STD_OF_TRUNCATED = 0.8796256610342398  # of a standard normal cut off at -2 and 2


def projector(in_dim: int, out_dim: int, *, kind: ProjectorKind, hidden_dim: int | None = None) -> nn.Module:
    """Returns a map (B, in_dim) -> (B, out_dim).

    `linear` is one affine layer that starts as an isometry, or as a projection if `out_dim` is smaller: with equal distances
    on both sides, what is near for a teacher is near in the vector that is searched. From torch's usual start the map keeps singular values
    from 1 down to 0.0003 all through training, and the vector holds their inverse. `mlp` is affine, LayerNorm, GELU, affine, the adaptor
    of AM-RADIO (arXiv 2312.06709) without its inner blocks.

    Args:
        hidden_dim: inner width of the `mlp`; twice the input's by default.
    """
    if kind == "linear":
        return _isometry(in_dim, out_dim)
    hidden_dim = hidden_dim or 2 * in_dim
    return nn.Sequential(
        nn.Linear(in_dim, hidden_dim), nn.LayerNorm(hidden_dim), nn.GELU(), nn.Linear(hidden_dim, out_dim)
    )


def module_key(name: str) -> str:
    """Returns the key of a teacher's module in a ModuleDict, which has names of its own, such as `keys`."""
    return f"teacher_{name}"


def per_teacher(names: Iterable[str], make: Callable[[str], nn.Module]) -> nn.ModuleDict:
    """Returns a module for each teacher, made in the order of names: first weights do not depend on the order of a recipe."""
    return nn.ModuleDict({module_key(name): make(name) for name in sorted(names)})


def _isometry(in_dim: int, out_dim: int) -> nn.Linear:
    """An affine layer with orthonormal rows or columns; inputs of unit variance give outputs of unit variance."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.orthogonal_(layer.weight, gain=max(1.0, out_dim / in_dim) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


def affine_layers(widths: Sequence[int]) -> nn.Module:
    """Returns a map (B, widths[0]) -> (B, widths[-1]) of affine layers with LayerNorm and GELU between them, none after the last.

    Weights start as lecun-normal and biases at 0, as in UDON's released code (Flax's start).
    """
    *inner, last = (_lecun_affine(*pair) for pair in pairwise(widths))
    if not inner:
        return last
    steps = [(layer, nn.LayerNorm(layer.out_features), nn.GELU()) for layer in inner]
    return nn.Sequential(*chain.from_iterable(steps), last)


def _lecun_affine(in_dim: int, out_dim: int) -> nn.Linear:
    layer = nn.Linear(in_dim, out_dim)
    std = in_dim**-0.5 / STD_OF_TRUNCATED
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer


class CosineClassifier(nn.Module):
    """Class weights of unit length, so that logits are cosines (NormFace, Wang et al. 2017, arXiv 1704.06369).

    Args:
        uniform: start lecun-uniform, as UDON does, instead of lecun-normal; only the direction matters.
        imprints: remember which classes have been seen, so that `imprint` can be called.
    """

    seen: Tensor

    def __init__(
        self, embed_dim: int, num_classes: int, *, uniform: bool = False, imprints: bool = False
    ) -> None:
        super().__init__()
        if imprints:
            self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        self.weight = nn.Parameter(torch.empty(num_classes, embed_dim))
        if uniform:
            bound = (3 / embed_dim) ** 0.5  # of variance 1 / E
            nn.init.uniform_(self.weight, -bound, bound)
        else:
            nn.init.normal_(self.weight, std=embed_dim**-0.5)

    def forward(self, embedding: Tensor, classes: Tensor | None = None) -> Tensor:
        """Returns cosines (B, C) in [-1, 1] from embeddings (B, E) of unit length.

        Args:
            classes: (S,) int64, to compare with these only: (B, S).
        """
        weight = self.weight if classes is None else self.weight[classes]
        return functional.linear(embedding, functional.normalize(weight, dim=-1))

    @torch.no_grad()
    def imprint(self, embedding: Tensor, label: Tensor) -> None:
        """Sets the weights of classes that come for the first time to the direction of their mean embedding.

        Qi, Brown, Lowe 2018, "Low-shot learning with imprinted weights" (CVPR 2018, arXiv 1712.07136), there for classes added to a trained
        network. A class of few images is not in many batches: from random weights it would spend those on turning them round.

        Args:
            embedding: (B, E) of unit length.
            label: (B,) int64 in [0, C).
        """
        new = ~self.seen[label]
        classes, place = torch.unique(label[new], return_inverse=True)
        sums = embedding.new_zeros(len(classes), embedding.shape[1]).index_add_(0, place, embedding[new])
        self.weight[classes] = functional.normalize(sums, dim=-1).to(self.weight.dtype)
        self.seen[classes] = True

    def prefix(self, embedding: Tensor, length: int, classes: Tensor | None = None) -> Tensor:
        """Returns cosines as `forward` does, of the first `length` numbers of embeddings (B, E) and class weights."""
        weight = self.weight if classes is None else self.weight[classes]
        start = functional.normalize(embedding[:, :length], dim=-1)
        return functional.linear(start, functional.normalize(weight[:, :length], dim=-1))


class ClassSample(NamedTuple):
    """Some of a classifier's classes, for a softmax over these instead of all."""

    classes: Tensor  # (S,) int64, ascending
    label: Tensor  # (B,) int64, places in `classes` of the images' own
    offset: Tensor  # (S,) float32, to be added to logits: 0 of the batch's classes, -log of their share of the others


def sampled_classes(label: Tensor, *, num_classes: int, limit: int) -> ClassSample | None:
    """Returns the classes of a batch and as many others, drawn at random, as make `limit`; None if that is all of them.

    What is drawn stands for all of the rest: with -log(share drawn) added to its logits, the sum of exponentials is without bias that
    of all classes (Jean et al. 2015, arXiv 1412.2007, sec. 3; here without repetition, as Partial FC draws, arXiv 2203.15565, which
    does not correct). From torch's generator on the CPU, so that it is the same draw on every device.

    Args:
        label: (B,) int64 in [0, C).
        limit: S; a batch of more classes than that has all of its own.
    """
    if limit >= num_classes:
        return None
    own = torch.unique(label.cpu())
    order = torch.rand(num_classes)
    order[own] = 2.0  # before all others
    classes = order.topk(max(limit, len(own)), sorted=False).indices.sort().values
    share = (len(classes) - len(own)) / max(num_classes - len(own), 1)
    is_own = torch.isin(classes, own)
    offset = torch.where(is_own, 0.0, -math.log(share) if share else 0.0)
    places = torch.searchsorted(classes, label.cpu())
    return ClassSample(*(tensor.to(label.device) for tensor in (classes, places, offset)))
