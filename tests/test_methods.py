"""What every file in methods/ promises, checked for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from alumnus.models.artifact import load_student
from alumnus.objective import MethodSettings
from alumnus.training.config import method_module, method_names
from alumnus.training.loop import train
from alumnus.training.recipe import load_config


class Colours(nn.Module):
    """A teacher that sees the mean colour of each quarter."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


class Brightness(nn.Module):
    """A classifier: dark, or light."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 2)."""
        mean = image.mean(dim=(1, 2, 3))
        return torch.stack([0.8 - mean, mean - 0.8], 1) * 20


def _given(name: str) -> dict[str, object]:
    """Teachers and settings that a method learns from."""
    colours = {"model": Colours(), "name": "colours", "size": 32}
    classifier = {"model": Brightness(), "name": "brightness", "size": 32}
    method: dict[str, object] = {"name": name, "logits": ["brightness"]}
    match name:
        case "supervised" | "udon":
            return {"teachers": [], "method": name}
        case "cfl":
            return {"teachers": [colours, {**colours, "name": "again"}, classifier], "method": method}
        case "kd":
            return {"teachers": [{**classifier, "output": "logits"}], "method": name}
        case "dmc":
            return {"teachers": [classifier], "method": method}
        case "rkd":
            return {
                "teachers": [colours],
                "method": name,
                "student": {"model": "timm/test_vit", "split": 0.4},
            }
    return {"teachers": [colours], "method": name}


@pytest.mark.parametrize("name", method_names())
def test_a_method_is_a_documented_file_with_settings_that_have_defaults(name: str) -> None:
    """The docstring names its source; the settings extend MethodSettings, carry the file's name and can all be left out."""
    module = method_module(name)
    assert "arXiv" in (module.__doc__ or "")
    assert "Gradients stop" in module.__doc__
    assert issubclass(module.Settings, MethodSettings)
    assert module.Settings(name=name).name == name


@pytest.mark.parametrize("name", method_names())
def test_a_method_trains_a_student(name: str, tiny_images: Path, tmp_path: Path) -> None:
    """A few steps from the defaults end with a student folder and a loss that fell."""
    settings = method_module(name).Settings(name=name)
    config = load_config(
        out=tmp_path / name,
        data=tiny_images,
        **{"student": "timm/mobilenetv3_small_050", **_given(name)},
        sampler="round_robin" if settings.wants_single_domains else "balanced",
        size=32,
        embed_dim=8,
        steps=30,
        batch_size=16,
        workers=0,
        log_every=10,
    )
    run = train(config)
    assert load_student(run.student).embed_dim == 8
    losses = [
        line.split('"loss": ')[1].split(",")[0]
        for line in (run.folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert float(losses[-1]) < float(losses[0])
