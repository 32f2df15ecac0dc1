"""One student by LightlyTrain or AutoVision, for single_teacher.py, which runs this in the tool's own environment.

Their method `distillationv3` with its defaults, but for the views, which are those of all other students: a crop of half the area or more,
and no flip, blur or change of colour. Student and teacher are networks of timm with given weights, in student folders. Both tools normalise
images by ImageNet's statistics; a network that learnt with others gets them back. Only the standard library and torch are imported at the
top: this runs where Alumnus is not installed.

    python benchmarks/claims/single_teacher_peer.py '{"tool": "lightly-train", "student": FOLDER, "teacher": FOLDER, …}'
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

MODULES = {"lightly-train": "lightly_train", "autovision": "autovision"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # by which the tools normalise


class Wrapped(nn.Module):
    """A network in the form that both tools document for one's own.

    With their own wrapper, timm's MobileNetV2 fails in the first step: it takes the 320 features before the last layer for 1,280.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: Any, *, mean: Sequence[float], std: Sequence[float]) -> None:
        """Takes what the network's own images are normalised by."""
        super().__init__()
        self.network = network
        ours, theirs = (torch.tensor([mean, std]), torch.tensor([MEAN, STD]))
        # Not saved: what is exported is the network's.
        self.register_buffer("scale", (theirs[1] / ours[1]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", ((theirs[0] - ours[0]) / ours[1]).view(1, 3, 1, 1), persistent=False)

    def forward_features(self, x: Any) -> dict[str, Any]:
        """Images (B, 3, S, S), normalised by ImageNet's statistics -> grid (B, D, h, w)."""
        return {"features": self.network.forward_features(x * self.scale + self.shift)}

    def forward_pool(self, x: dict[str, Any]) -> dict[str, Any]:
        """The grid -> (B, D, 1, 1)."""
        return {"pooled_features": functional.adaptive_avg_pool2d(x["features"], 1)}

    def feature_dim(self) -> int:
        """D."""
        return int(self.network.num_features)

    def get_model(self) -> Any:
        """What is exported."""
        return self.network

    # The same four by AutoVision's names.
    feature_maps, pool_features, encoder_dim, raw_module = (
        forward_features,
        forward_pool,
        feature_dim,
        get_model,
    )


def main() -> None:
    """Trains, and writes the backbone's weights to `out/backbone.safetensors`."""
    asked = json.loads(sys.argv[1])
    os.environ |= {"HF_HUB_OFFLINE": "1", "LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    from safetensors.torch import save_file

    out = Path(asked["out"])
    out.mkdir(parents=True, exist_ok=True)
    student, teacher = (wrapped(Path(asked[part])) for part in ("student", "teacher"))
    views: dict[str, Any] = {
        "image_size": (asked["size"], asked["size"]),
        "random_resize": {"min_scale": asked["min_scale"]},
        **dict.fromkeys(("random_flip", "color_jitter", "random_gray_scale", "gaussian_blur")),
    }
    importlib.import_module(MODULES[asked["tool"]]).pretrain(
        out=str(out / "run"),
        data=asked["data"],
        model=student,
        method="distillationv3",
        method_args={"teacher": teacher},
        epochs=asked["epochs"],
        batch_size=asked["batch"],
        num_workers=asked["workers"],
        precision="32-true",
        seed=asked["seed"],
        transform_args=views,
        **({"accelerator": "cpu"} if asked["tool"] == "lightly-train" else {}),
    )
    exported = torch.load(out / "run" / "exported_models" / "exported_last.pt", weights_only=True)
    exported = exported.get("state_dict", exported)  # AutoVision's has more beside it, and wraps the wrapper
    network = student.network
    network.load_state_dict({name.rpartition("network.")[2]: tensor for name, tensor in exported.items()})
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, out / "backbone.safetensors")


def wrapped(folder: Path) -> Wrapped:
    """Returns the timm network of a student folder, with its weights; the classifier is random and not used."""
    import timm
    from safetensors.torch import load_file

    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    network = timm.create_model(about["architecture"], pretrained=False, **about["model_args"])
    missing, unknown = network.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    if unknown or {name.split(".")[0] for name in missing} != {"classifier"}:
        sys.exit(f"{folder} is not {about['architecture']}: missing {missing}, unknown {unknown}")
    learnt_with = about["pretrained_cfg"]
    return Wrapped(network, mean=learnt_with["mean"], std=learnt_with["std"])


if __name__ == "__main__":
    main()
