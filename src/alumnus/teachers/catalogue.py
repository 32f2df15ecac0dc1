"""Which teachers there are, and what is known of one before anything is downloaded.

Names, licences and sizes stand in timm's and torchvision's own tables. Parameters and multiply-adds of a timm model are counted on
torch's meta device, where networks have shapes and no numbers, so that a giant costs a second and no memory.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple

import timm
import torch
import torchvision.models as zoo
from timm.models import PretrainedCfg

from alumnus.errors import ConfigError, TeacherError, nearest
from alumnus.licences import licence_kind, licence_warning
from alumnus.models.cost import multiply_adds, num_parameters
from alumnus.teachers import FORMS, PREFIXES, describe, load_teacher
from alumnus.teachers.spec import TeacherSpec

LIMIT = 50  # rows; timm has 1,800 published weights


class Listed(NamedTuple):
    """A line of the list."""

    source: str
    size: str  # px
    licence: str
    use: str  # what the licence's name says


class Listing(NamedTuple):
    """The first that fit, and how many do."""

    rows: list[Listed]
    total: int
    torchvision: int  # how many of torchvision's fit; they have no licences in a table


def catalogue(pattern: str = "", *, limit: int = LIMIT) -> Listing:
    """Returns timm's published weights whose name holds the pattern, or fits it where it has `*` or `?`.

    Raises:
        ConfigError: the limit is below 1.
        TeacherError: nothing fits; names what is near.
    """
    if limit < 1:
        raise ConfigError(f"limit={limit} must be at least 1")
    name = pattern.removeprefix("timm/").removeprefix("torchvision/")
    wanted = name if set(name) & set("*?[") else f"*{name}*"
    names = [each for each in timm.list_pretrained() if fnmatch.fnmatchcase(each, wanted)]
    others = [each for each in zoo.list_models(module=zoo) if fnmatch.fnmatchcase(each, wanted)]
    if not names and not others:
        hint = nearest(name.strip("*"), timm.list_models())
        raise TeacherError(
            f"no weights of timm or torchvision fit {pattern!r}{hint}; a part of a name, or * and ?"
        )
    return Listing([_listed(each) for each in names[:limit]], len(names), len(others))


def info(source: str | TeacherSpec) -> list[tuple[str, str]]:
    """Returns field and value of what is known of a source; only local ones (files, folders, Python) are loaded.

    Args:
        source: a model, or a recipe's entry; with settings of its own, such as weights, models of timm and torchvision are loaded too.

    Raises:
        TeacherError: there is no such teacher, or it lacks a setting such as size.
    """
    spec = TeacherSpec(model=source) if isinstance(source, str) else source
    source = spec.source
    if spec.model_fields_set > {"model"} and source.startswith(PREFIXES):
        return _local_info(spec)
    if source.startswith("timm/"):
        return _timm_info(source.removeprefix("timm/"))
    if source.startswith("torchvision/"):
        return _torchvision_info(source.removeprefix("torchvision/"))
    if source.startswith(PREFIXES):
        return _local_info(spec)
    if timm.is_model(source.partition(".")[0]):
        raise TeacherError(
            f"teacher {source!r} has no known source; did you mean 'timm/{source}'? allowed: {FORMS}"
        )
    raise TeacherError(f"teacher {source!r} has no known source; allowed: {FORMS}")


def _listed(name: str) -> Listed:
    config = _config(name)
    licence = config.license or "unknown"
    return Listed(f"timm/{name}", str(config.input_size[-1]), licence, licence_kind(licence))


def _timm_info(name: str) -> list[tuple[str, str]]:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise TeacherError(
            f"timm has no model {name!r}{nearest(architecture, timm.list_models())}; alumnus teachers list"
        )
    tags = [
        full.partition(".")[2]
        for full in timm.list_pretrained(f"{architecture}*")
        if full.partition(".")[0] == architecture
    ]
    if tag and tag not in tags:
        raise TeacherError(
            f"timm has no weights {tag!r} for {architecture}{nearest(tag, tags)}; it has {', '.join(tags) or 'none'}"
        )
    config = _config(name)
    size = int(config.input_size[-1])
    return [
        ("source", f"timm/{name}"),
        *_licence_rows(config.license or "unknown"),
        ("size", f"{size} px"),
        *_counted(architecture, size),
        ("mean, std", f"{_numbers(config.mean)}, {_numbers(config.std)}"),
        ("classes", str(config.num_classes)),
        ("paper", str(config.paper_ids or config.paper_name or "not named")),
        ("weights of timm", ", ".join(tags) or "none; give weights=FILE"),
    ]


def _config(name: str) -> PretrainedCfg:
    return timm.get_pretrained_cfg(name, allow_unregistered=True) or PretrainedCfg()


def _counted(architecture: str, size: int) -> list[tuple[str, str]]:
    try:
        with torch.device("meta"):
            model = timm.create_model(architecture, pretrained=False, num_classes=0)
            model.eval().requires_grad_(False)  # fused attention that wants gradients does not run here
            width = int(model(torch.zeros(1, 3, size, size)).shape[-1])
            work = multiply_adds(model, size=size)
    except (
        Exception
    ) as error:  # a few networks need real numbers to be built or run: each fails in its own way
        return [("cost", f"unknown without its weights ({type(error).__name__})")]
    return [
        ("feature width", str(width)),
        ("parameters", f"{num_parameters(model):,}, without the classifier"),
        ("multiply-adds", f"{work:,} an image"),
    ]


def _torchvision_info(name: str) -> list[tuple[str, str]]:
    architecture, _, tag = name.partition(".")
    names = zoo.list_models(module=zoo)
    if architecture not in names:
        raise TeacherError(f"torchvision has no model {architecture!r}{nearest(architecture, names)}")
    weights = zoo.get_model_weights(architecture)
    tags = [weight.name for weight in weights]
    if tag and tag not in tags:
        raise TeacherError(
            f"torchvision has no weights {tag!r} for {architecture}{nearest(tag, tags)}; it has {', '.join(tags)}"
        )
    chosen = weights[tag or "DEFAULT"]
    return [
        ("source", f"torchvision/{name}"),
        *_licence_rows("unknown"),
        ("size", f"{chosen.transforms().crop_size[0]} px"),
        ("parameters", f"{chosen.meta['num_params']:,}, with the classifier"),
        ("multiply-adds", f"{round(1e9 * chosen.meta['_ops']):,} an image"),
        ("classes", str(len(chosen.meta["categories"]))),
        ("weights of torchvision", ", ".join(tags)),
    ]


def _local_info(spec: TeacherSpec) -> list[tuple[str, str]]:
    teacher = load_teacher(spec, device=torch.device("cpu"))
    shown = {
        name: value
        for name, value in describe(teacher).items()
        if name not in {"domains", "weight", "licence"}
    }
    return [*((name, str(value)) for name, value in shown.items()), *_licence_rows(teacher.licence)]


def _licence_rows(licence: str) -> list[tuple[str, str]]:
    warning = licence_warning(licence)
    return [("licence", licence), *([("warning", warning)] if warning else [])]


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
