"""What tests of adapting share."""

from __future__ import annotations

from typing import Any

from alumnus.models.student import Architecture

VIT = Architecture(
    model="vit_tiny_patch16_224",
    size=16,
    embed_dim=8,
    model_args={"depth": 1, "embed_dim": 32, "num_heads": 2, "patch_size": 8},
)
FAST: dict[str, Any] = {"steps": 4, "batch_size": 8}
