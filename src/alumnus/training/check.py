"""What can be seen to be wrong before anything is written, most of it before anything is downloaded or loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from alumnus.data.dataset import Dataset
from alumnus.distributed import world_size
from alumnus.errors import ConfigError
from alumnus.log import number_of
from alumnus.models.artifact import read_about, student_folder
from alumnus.models.backbone import check_name, check_sizes
from alumnus.teachers.targets import check_domains, trusted_domains
from alumnus.training.config import Config, StudentSpec


def check_student(spec: StudentSpec, *, sizes: Sequence[int] = ()) -> None:
    """Refuses a network that timm has not, weights that it has not for it, and a folder that holds no student; nothing is built.

    Args:
        sizes: in px that a new network is to see; those that are no whole number of its patches are refused too.

    Raises:
        ConfigError: naming the nearest.
        ArtifactError: `alumnus:FOLDER` is no student folder and no run that has one.
    """
    prefix, colon, rest = spec.model.partition(":")
    if prefix == "alumnus" and colon:
        read_about(
            student_folder(rest)
        )  # its size, if it has one of its own, is another matter: see `check_continued`
        return
    source, slash, name = spec.model.partition("/")
    if source != "timm" or not slash:
        raise ConfigError(
            f"student.model={spec.model!r} is not of the form timm/NAME or alumnus:FOLDER "
            "(a student has to be trainable and exportable; teachers may come from more sources)"
        )
    check_name(name, fetch=spec.is_fetched)
    check_sizes(name, sizes, model_args=spec.model_args)


def sizes_of(config: Config) -> tuple[int, ...]:
    """Returns the sizes in px that a student is to see: its own, and those of its views."""
    return (config.size, *config.views.sizes)


def check_given(config: Config, dataset: Dataset) -> None:
    """Refuses teachers that are trusted on domains which the data has not, and a method without what it learns from.

    Args:
        dataset: the training images.

    Raises:
        TeacherError: naming the nearest domain.
        ConfigError: there are no teachers or no labels, or teachers that the method does not ask.
    """
    for spec in config.teachers:
        check_domains(spec.name or spec.source, spec.domains, dataset.domains)
    method, learns_from = config.method.name, config.method.learns_from
    if learns_from is None:
        return
    if "teachers" in learns_from and not config.teachers:
        raise ConfigError(f"method={method} learns from teachers, and there is none; give `teachers`")
    if "teachers" not in learns_from and config.teachers:
        raise ConfigError(f"method={method} takes no teachers; remove `teachers`, or set `teachers: []` here")
    if "labels" in learns_from and not (dataset.label >= 0).any():
        raise ConfigError(f"method={method} needs labels, and no training image has one; see `alumnus data`")


def untaught(config: Config, dataset: Dataset) -> list[str]:
    """Returns what to say of each domain on which no teacher is trusted, if the method learns from teachers alone.

    Its images, generic and proxy ones too, fill places in the batches and teach nothing.
    """
    if config.method.learns_from != frozenset({"teachers"}):
        return []
    trusted = [trusted_domains(spec.domains, dataset.domains) for spec in config.teachers]
    counts = np.bincount(dataset.domain, minlength=len(dataset.domains))
    alone = [d for d in np.flatnonzero(counts) if not any(each[d] for each in trusted)]
    names = [name for d, name in enumerate(dataset.domains) if counts[d] and d not in alone]
    return [
        f"no teacher is trusted on the domain {dataset.domains[d]!r}: its {number_of(int(counts[d]), 'image')} take a share of the "
        f"batches, and method={config.method.name} learns nothing from them; leave them out by domains=[{','.join(names)}], or give a "
        "teacher without `domains`"
        for d in alone
    ]


def check_pieces(config: Config, student: nn.Module) -> None:
    """Refuses steps whose images come one by one to batch norms that learn. (Those of several processes see the images of all.)

    Raises:
        ConfigError: with both numbers.
    """
    if world_size() > 1 or config.batch_size // config.accumulate > 1 or config.optim.batch_norm == "frozen":
        return
    norms = [module for module in student.modules() if isinstance(module, _BatchNorm)]
    if any(parameter.requires_grad for norm in norms for parameter in norm.parameters()):
        raise ConfigError(
            f"batch_size={config.batch_size} with accumulate={config.accumulate} leaves one image at a time, and the batch norms of "
            f"{config.student.model} take their statistics of several; give at least two to each piece"
        )
