"""What the files beside the weights of a Hugging Face model say: how images are prepared, and the licence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from PIL import Image
from torch import Tensor

from alumnus.errors import TeacherError
from alumnus.teachers.network import PIXELS
from alumnus.teachers.spec import Channels, TeacherSpec

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
DIGITS = 6  # of mean and std that are kept: what float32 holds


class Preprocessing(NamedTuple):
    """How the model's own processor prepares an image, for images in [0, 1]."""

    size: int | None  # px; None: not known
    mean: Channels = PIXELS[0]
    std: Channels = PIXELS[1]
    flips: bool = False  # the model sees blue, green, red


def read_preprocessing(library: Any, name: str, native: int | None, spec: TeacherSpec) -> Preprocessing:
    """Returns what the model's processor does; where it has none, what the recipe says, or pixels for random weights.

    Args:
        library: transformers.
        native: side in px of which the configuration speaks.

    Raises:
        TeacherError: there is no processor, and the recipe does not replace it.
    """
    if "/" not in name and not Path(name).is_dir():  # a type of model, of which there is no file
        return Preprocessing(native)
    try:
        processor = library.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # the hub, the network below it, or the files: each has its own exceptions
        if spec.weights == "random" or (spec.mean is not None and spec.std is not None):
            return Preprocessing(native)
        raise TeacherError(
            f"teacher {spec.source} has no preprocessor_config.json that can be read ({type(error).__name__}); "
            "give mean and std"
        ) from error
    return measure(processor, native or 224, spec)


def measure(processor: Callable[..., Mapping[str, Any]], side: int, spec: TeacherSpec) -> Preprocessing:
    """Returns what a processor does to the side and the channels of an image, by showing it four colours.

    Each channel is mapped by y = (x - mean) / std, whatever the names of the settings are that say so: black gives -mean / std, and a
    colour 1 / std more, in the place where the model wants it.

    Args:
        side: of the images that it is shown, in px.

    Raises:
        TeacherError: it does something else.
    """
    shown = [Image.new("RGB", (side, side), colour) for colour in COLOURS]
    seen = torch.as_tensor(processor(images=shown, return_tensors="pt")["pixel_values"]).double()
    if seen.ndim != 4 or seen.shape[1] != 3:
        raise TeacherError(
            f"teacher {spec.source}: its processor makes {tuple(seen.shape)} of 4 images, no (4, 3, S, S)"
        )
    *_, height, width = seen.shape
    if height != width and spec.size is None:
        raise TeacherError(
            f"teacher {spec.source} sees {height}x{width} px; teachers see squares: give size, in px"
        )
    middle = seen[:, :, height // 2, width // 2]  # (colour, channel)
    scale = middle[1:] - middle[0]  # 1 / std, in the row of the colour and the column where it goes
    places = scale.abs().argmax(dim=1)
    if places.tolist() not in ([0, 1, 2], [2, 1, 0]):
        raise TeacherError(f"teacher {spec.source}: its processor mixes the channels; give mean and std")
    gain = scale.gather(1, places[:, None])[:, 0]
    mean, std = -middle[0, places] / gain, 1 / gain
    return Preprocessing(height, _channels(mean), _channels(std), flips=bool(places[0] == 2))


def _channels(values: Tensor) -> Channels:
    red, green, blue = (round(float(value), DIGITS) + 0.0 for value in values)
    return red, green, blue


def licence_of(name: str) -> str | None:
    """Returns what the front matter of the model card says, if anything."""
    text = _card(name)
    if not text.startswith("---"):
        return None
    try:
        front = yaml.safe_load(text.split("---")[1])
    except (yaml.YAMLError, IndexError):
        return None
    if not isinstance(front, dict) or "license" not in front:
        return None
    licence = front.get("license_name", "other") if front["license"] == "other" else front["license"]
    return ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)


def _card(name: str) -> str:
    """The text of README.md, or nothing."""
    path = Path(name) / "README.md"
    if not Path(name).is_dir() and "/" in name:
        import huggingface_hub

        try:
            path = Path(huggingface_hub.hf_hub_download(name, "README.md"))
        except Exception:  # a licence that cannot be had is unknown
            return ""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
