"""From names in a configuration to the things themselves: device, student, provenance."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from alumnus.data.dataset import Dataset
from alumnus.distributed import is_launched, local_rank
from alumnus.errors import ConfigError
from alumnus.models.artifact import load_student, student_folder
from alumnus.models.backbone import create_backbone, input_statistics, published_tag, size_arguments, takes
from alumnus.models.split import split_network
from alumnus.models.student import Architecture, Student
from alumnus.models.weights import load_into, load_state
from alumnus.training.check import check_student, sizes_of
from alumnus.training.config import RANDOM, Config, StudentSpec


def pick_device(name: str) -> torch.device:
    """Returns the device; `auto` is the GPU where there is one. Of several processes on a machine, each has a GPU of its own.

    Raises:
        ConfigError: there is no GPU, or none for this process.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, and torch sees no GPU; device=auto uses what there is")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if not is_launched():
        return torch.device("cuda")
    if local_rank() >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local_rank()} of this machine has no GPU, torch sees {torch.cuda.device_count()}; start no more processes than "
            "GPUs (torchrun --nproc-per-node gpu), or device=cpu"
        )
    torch.cuda.set_device(local_rank())
    return torch.device("cuda", local_rank())


FIRST_WEIGHTS = ("weights", "model_args", "mean", "std")  # settings of a student that only a new network has


def build_student(config: Config) -> Student:
    """Returns the student with its first weights, the same every time for one configuration.

    Raises:
        ConfigError: no such student can be built, or it cannot take images of all `views.sizes`.
    """
    student = _built(config)
    for size in config.views.sizes:
        for network in student.networks:
            if not takes(network, size=size):
                raise ConfigError(
                    f"views.sizes={list(config.views.sizes)}: {student.architecture.model} takes no images of {size} px as it was built; a "
                    "plain vision transformer of timm takes several sizes with student.model_args.dynamic_img_size=true, in steps of its "
                    "patches"
                )
    return student


def _built(config: Config) -> Student:
    torch.manual_seed(config.seed)
    spec = config.student
    prefix, colon, rest = spec.model.partition(":")
    if prefix == "alumnus" and colon:
        return _continued(student_folder(rest), config)
    check_student(spec, sizes=sizes_of(config))
    return _fresh(spec, config)


def _fresh(spec: StudentSpec, config: Config) -> Student:
    architecture = first_architecture(config)
    backbone = create_backbone(
        architecture.model, size=config.size, model_args=architecture.model_args, pretrained=spec.is_fetched
    )
    if spec.weights is not None and spec.weights != RANDOM:
        load_into(backbone, load_state(spec.weights), source=spec.weights)
    return Student(architecture, backbone=backbone)


def random_start(spec: StudentSpec) -> str | None:
    """Returns what to say of a student that begins from random weights though nobody asked for them, or None."""
    if (
        spec.weights is not None
        or spec.is_fetched
        or spec.split is not None
        or not spec.model.startswith("timm/")
    ):
        return None
    tag = published_tag(spec.model.removeprefix("timm/"))
    known = "timm publishes none for it" if tag is None else f"a tag such as .{tag} takes timm's"
    return (
        f"student {spec.model} begins from random weights; {known} (student.weights=random, if that is meant)"
    )


def first_architecture(config: Config) -> Architecture:
    """Returns what a student of a timm network will be, divided if that is asked for.

    Raises:
        ConfigError: it is to be divided, and has weights, or is of no family that can be.
    """
    spec = config.student
    name = spec.model.removeprefix("timm/")
    mean, std = input_statistics(name)
    architecture = Architecture(
        model=name,
        size=config.size,
        embed_dim=config.embed_dim,
        model_args=spec.model_args,
        mean=spec.mean or mean,
        std=spec.std or std,
        normalise_summary=config.method.normalises_summary,
        embed_hidden=config.method.embed_hidden,
    )
    if spec.split is None:
        return architecture
    if "." in name or spec.weights not in (None, RANDOM):
        raise ConfigError(
            f"student.split divides {name} into narrower networks, which its weights do not fit; take one without: "
            f"student.model=timm/{name.partition('.')[0]}, and no student.weights"
        )
    divided = split_network(
        name, size=config.size, ratio=spec.split.ratio, cap=spec.split.cap, model_args=spec.model_args
    )
    return replace(
        architecture,
        model=divided.first.model,
        model_args=divided.first.model_args,
        assistant=divided.shape,
    )


def _continued(folder: Path, config: Config) -> Student:
    if config.student.split is not None:
        raise ConfigError(f"student.split divides a new network (timm/NAME), and {folder} is trained already")
    student = load_student(folder)
    check_continued(student.architecture, config, source=folder)
    # Where the method wants a summary of unit length, a head that began at one of any length goes on: only its bias weighs otherwise.
    normalises = student.architecture.normalise_summary or config.method.normalises_summary
    # Adaptors that an earlier run kept are left behind: this run would train the network away from under them.
    wanted = replace(student.architecture, size=config.size, normalise_summary=normalises, spaces={})
    if student.architecture == wanted:
        return student
    changed = Student(wanted, backbone=student.backbone)
    changed.embed.load_state_dict(student.embed.state_dict())
    changed.classes, changed.classifier = student.classes, student.classifier
    changed.assistant, changed.join = student.assistant, student.join
    return changed.eval()


def check_continued(found: Architecture, config: Config, *, source: object) -> None:
    """Refuses to continue from a student whose embedding is of another width, or whose grid is fixed to another size.

    Args:
        source: what has that architecture, for the message.

    Raises:
        ConfigError: naming both.
    """
    given = [name for name in FIRST_WEIGHTS if vars(config.student)[name]]
    if given:
        raise ConfigError(
            f"student.{given[0]} is of a new network (timm/NAME), and {source} has its network and weights already; leave it out"
        )
    if found.embed_dim != config.embed_dim:
        raise ConfigError(
            f"{source} has embed_dim={found.embed_dim}, the recipe embed_dim={config.embed_dim}; they must agree"
        )
    if config.method.embed_hidden not in ((), found.embed_hidden):
        raise ConfigError(
            f"{source} has an embedding head of inner widths {list(found.embed_hidden)}, method={config.method.name} wants "
            f"{list(config.method.embed_hidden)}; they must agree"
        )
    if found.size != config.size and size_arguments(found.model.partition(".")[0], found.size):
        raise ConfigError(
            f"{source} has size={found.size}, the recipe size={config.size}; they must agree, because {found.model} was built "
            "for one size of grid (networks without a fixed grid may continue at another)"
        )


def provenance(
    config: Config, dataset: Dataset, teachers: Sequence[Mapping[str, Any]], *, first_weights: str
) -> dict[str, Any]:
    """Returns what the student came from, for alumnus.json.

    Args:
        first_weights: fingerprint of what `build_student` gave.
    """
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("alumnus", "torch", "timm")},
        "method": config.method.model_dump(mode="json"),
        "seed": config.seed,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "first_weights": first_weights,
        "data": {
            "fingerprint": dataset.fingerprint,
            "images": len(dataset),
            "domains": list(dataset.domains),
            **(
                {"roles": {name: list(roles) for name, roles in dataset.roles.items()}}
                if dataset.roles
                else {}
            ),
        },
        "teachers": list(teachers),
    }
