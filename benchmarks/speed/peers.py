"""The peers of Alumnus, LightlyTrain and AutoVision, each in an environment of its own. `train.py` runs it, once for each measurement.

    python benchmarks/speed/peers.py --environments .cache/peers        makes the environments (some minutes, 5 GB each)
    .cache/peers/lightly-train/bin/python benchmarks/speed/peers.py '{"tool": "lightly-train", …}'      measures in one

LightlyTrain is under the AGPL: it is compared with, and nothing of it is used, copied or imported by Alumnus. Both run their method
`distillationv3`, as their `pretrain` function is called, with random weights: of both networks nothing is downloaded. Augmentation is cut
to crop and flip unless `augmentation` is true, since that is what Alumnus does by default; the student learns in float32, from data
that two processes load. Only the standard library and torch are imported at the top: this runs where Alumnus is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

TOOLS = {"lightly-train": "lightly-train==0.18.0", "autovision": "autovision-framework==0.3.2"}
WORKERS = 2


def python_of(environments: Path, tool: str) -> Path:
    """Returns the Python of a tool's environment."""
    return environments / tool / "bin" / "python"


def make_environment(environments: Path, tool: str) -> Path:
    """Returns the Python of a tool's environment, which is made if it is missing, with the torch, torchvision and timm of Alumnus."""
    python = python_of(environments, tool)
    if not (environments / tool / "made").exists():
        venv.create(environments / tool, with_pip=True)
        same = [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision", "timm")]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", TOOLS[tool], *same], check=True)
        (environments / tool / "made").touch()
    return python


def versions(environments: Path, tool: str) -> dict[str, str]:
    """Returns what a tool's environment has of what matters."""
    ask = "import json, sys; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
    names = (TOOLS[tool].partition("==")[0], "torch", "torchvision", "timm")
    command = [str(python_of(environments, tool)), "-c", ask, *names]
    found: dict[str, str] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    """Makes the environments, or measures in one of them."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        _measure(json.loads(sys.argv[1]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, default=Path(".cache/peers"))
    environments = parser.parse_args().environments
    for tool in TOOLS:
        make_environment(environments, tool)
        print(json.dumps(versions(environments, tool)))


def _measure(asked: dict[str, Any]) -> None:
    from pace import measure

    cache = f"{asked['scratch']}/cache"  # a list of images that a killed run leaves behind stops the next one
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "LIGHTLY_TRAIN_EVENTS_DISABLED": "1",
        "LIGHTLY_TRAIN_CACHE_DIR": cache,
        "AUTOVISION_CACHE_DIR": cache,
    }
    run = {"lightly-train": _lightly, "autovision": _autovision}[asked["tool"]]
    measure(
        lambda: run(asked, _settings(asked)), warm=asked["warm"], steps=asked["steps"], batch=asked["batch"]
    )


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    """Those that both tools have: AutoVision is a fork of LightlyTrain."""
    views: dict[str, Any] = {"image_size": (asked["size"], asked["size"])}
    if not asked["augmentation"]:
        views |= {"color_jitter": None, "random_gray_scale": None, "gaussian_blur": None}
    return {
        "out": f"{asked['scratch']}/out",
        "data": asked["data"],
        "model": f"timm/{asked['student']}",
        "model_args": {"pretrained": False},
        "method": "distillationv3",
        "epochs": 1000,  # many more than are made
        "batch_size": asked["batch"],
        "num_workers": WORKERS,
        "precision": "32-true",
        "transform_args": views,
    }


def _lightly(asked: dict[str, Any], settings: dict[str, Any]) -> None:
    """Takes a teacher's weights from a file."""
    import timm
    import torch

    weights = Path(asked["scratch"]) / "teacher.pt"
    torch.save(timm.create_model(asked["teacher"], pretrained=False).state_dict(), weights)
    teacher = {"teacher": f"timm/{asked['teacher']}", "teacher_weights": str(weights)}
    importlib.import_module("lightly_train").pretrain(**settings, accelerator="cpu", method_args=teacher)


def _autovision(asked: dict[str, Any], settings: dict[str, Any]) -> None:
    teacher = {"teacher": f"timm/{asked['teacher']}", "teacher_pretrained": False}
    importlib.import_module("autovision").pretrain(**settings, method_args=teacher)


if __name__ == "__main__":
    main()
