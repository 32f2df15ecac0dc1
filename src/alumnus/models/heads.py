"""Small modules on top of a feature: projectors and cosine classifiers.

Axes: B images, D width of the feature, E width of the embedding, C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

ProjectorKind = Literal["linear", "mlp"]


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


def _isometry(in_dim: int, out_dim: int) -> nn.Linear:
    """An affine layer with orthonormal rows or columns; inputs of unit variance give outputs of unit variance."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.orthogonal_(layer.weight, gain=max(1.0, out_dim / in_dim) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


class CosineClassifier(nn.Module):
    """Class weights of unit length, so that logits are cosines (NormFace, Wang et al. 2017, arXiv 1704.06369)."""

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, embed_dim))
        nn.init.normal_(self.weight, std=embed_dim**-0.5)  # lecun, as in UDON; only the direction matters

    def forward(self, embedding: Tensor) -> Tensor:
        """Returns cosines (B, C) in [-1, 1] from embeddings (B, E) of unit length."""
        return functional.linear(embedding, functional.normalize(self.weight, dim=-1))
