"""A suite: which tasks, on which pictures, with how much of everything. It is the frozen part of a benchmark.

    name: mine
    tasks:
      - {name: birds, data: birds/, task: classification}
      - {name: emoji, data: emoji, task: retrieval, size: 64}
      - {name: roads, data: roads/, task: segmentation, options: {test_images: 200}}

`data` is the name of a known data set or anything that `open_dataset` reads, or a list of those. The suites that come with Alumnus
are the YAML files in `suites/`: gvb26 has the shape of INTERN's GV-B (arXiv 2111.08687), uned8 that of UnED (Ypsilantis et al.
2023, arXiv 2309.01858).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from alumnus.data.names import printable
from alumnus.errors import ConfigError, nearest
from alumnus.models.dense_heads import DenseHeadKind
from alumnus.training.messages import explain

Kind = Literal["classification", "retrieval", "detection", "segmentation", "depth"]
KINDS: tuple[Kind, ...] = ("classification", "retrieval", "detection", "segmentation", "depth")
DENSE: tuple[Kind, ...] = ("detection", "segmentation", "depth")
FOLDER = Path(__file__).parent / "suites"


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Options(_Frozen):
    """What of the data a task uses."""

    train: Names | None = Field(default=None, description="splits to learn from; train by default")
    test: Names | None = Field(
        default=None,
        description="splits to be scored, in retrieval the queries; test by default, in retrieval query too",
    )
    index: Names | None = Field(
        default=None,
        description="splits that answer in retrieval; index and test by default; where `test` is given, index if there is one, else the "
        "queries themselves",
    )
    domains: Names | None = Field(default=None, description="domains of the data; all by default")
    train_images: int | None = Field(default=None, ge=2, description="at most; the budget's by default")
    test_images: int | None = Field(default=None, ge=2, description="at most; the budget's by default")
    head: DenseHeadKind = Field(default="linear", description="of segmentation and depth: linear or decoder")
    limit_per_class: int | None = Field(
        default=None, ge=0, description="of a known data set, see `alumnus data get`"
    )


class Task(_Frozen):
    """One row of the table."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="lower case letters, digits, - and _")
    data: Names = Field(
        description="a known data set, or anything that open_dataset reads; or a list of those"
    )
    task: Kind = Field(description="classification, retrieval, detection, segmentation or depth")
    category: str | None = Field(
        default=None, min_length=1, description="over which scores are averaged; the kind of task by default"
    )
    size: int | None = Field(
        default=None,
        ge=8,
        description="side in px in which pictures of a known data set are stored; its usual one by default",
    )
    input_size: int | None = Field(
        default=None,
        ge=8,
        description="side in px that models see, unless they have one; the suite's by default",
    )
    options: Options = Options()

    @property
    def group(self) -> str:
        """The category."""
        return self.category or self.task


class Budget(_Frozen):
    """How much work a cell may be. Numbers of one budget are not comparable with those of another."""

    train_images: int | None = Field(
        default=None, ge=2, description="classification: at most, drawn class by class"
    )
    test_images: int | None = Field(default=None, ge=2, description="classification and retrieval: at most")
    dense_train_images: int | None = Field(default=None, ge=2)
    dense_test_images: int | None = Field(default=None, ge=2)
    dense_seeds: int | None = Field(default=None, ge=1, description="detection, segmentation, depth: at most")
    dense_steps: int | None = Field(
        default=None, ge=1, description="of a light head's training; its own by default"
    )


BUDGETS: Mapping[str, Budget] = {
    "quick": Budget(
        train_images=1000,
        test_images=1000,
        dense_train_images=100,
        dense_test_images=100,
        dense_seeds=1,
        dense_steps=100,
    ),
    "standard": Budget(
        train_images=5000,
        test_images=3000,
        dense_train_images=400,
        dense_test_images=300,
        dense_seeds=1,
        dense_steps=400,
    ),
    "full": Budget(),
}


# Of how a kind of task is scored: another one makes its cells again.
VERSIONS: Mapping[Kind, int] = {
    "classification": 2,  # chooses no decay on a few large classes
    "retrieval": 2,  # test beside query and index
    "detection": 1,
    "segmentation": 1,
    "depth": 1,
}


class Suite(_Frozen):
    """Tasks, and what holds for all of them."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    title: str = ""
    input_size: int | None = Field(
        default=None, ge=8, description="side in px that models see, unless they have one of their own"
    )
    budget: str = Field(default="full", description=f"one of {', '.join(BUDGETS)}")
    tasks: tuple[Task, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Suite:
        twice = [name for name, count in Counter(task.name for task in self.tasks).items() if count > 1]
        if twice:
            raise ValueError(f"two tasks are named {twice[0]!r}; give each a name of its own")
        pick_budget(self.budget)
        return self

    @property
    def categories(self) -> tuple[str, ...]:
        """In the order of their first task."""
        return tuple(dict.fromkeys(task.group for task in self.tasks))


def load_suite(name: str | Path) -> Suite:
    """Returns a suite that comes with Alumnus, by name, or that of a YAML file.

    Raises:
        ConfigError: there is none, or it is wrong; one line for each wrong setting.
    """
    path = FOLDER / f"{name}.yaml" if str(name) in suite_names() else Path(name)
    if not path.is_file():
        known = ", ".join(suite_names())
        raise ConfigError(
            f"there is no suite {printable(path)!r}{nearest(str(name), suite_names())}; give {known} or a YAML file"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the suite {printable(path)} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"the suite {printable(path)} holds {type(values).__name__}, needed are `name:` and `tasks:`"
        )
    return parse_suite({"name": path.stem, **values}, source=printable(path))


def parse_suite(values: Mapping[str, Any], *, source: str = "suite") -> Suite:
    """Returns a suite from plain values.

    Raises:
        ConfigError: one line for each wrong setting.
    """
    try:
        return Suite.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"the suite {source} is wrong:\n{explain(error, Suite)}") from error


def suite_names() -> list[str]:
    """Returns the suites that come with Alumnus."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def pick_budget(name: str) -> Budget:
    """Returns the budget of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in BUDGETS:
        raise ConfigError(
            f"there is no budget {name!r}{nearest(name, BUDGETS)}; allowed are {', '.join(BUDGETS)}"
        )
    return BUDGETS[name]


def choose_tasks(suite: Suite, names: tuple[str, ...]) -> Suite:
    """Returns the suite with some of its tasks, in its order; all for no names.

    Raises:
        ConfigError: there is no such task.
    """
    known = [task.name for task in suite.tasks]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"the suite {suite.name} has no task {name!r}{nearest(name, known)}; it has {', '.join(known)}"
            )
    chosen = tuple(task for task in suite.tasks if not names or task.name in names)
    return suite.model_copy(update={"tasks": chosen})


def protocol_of(task: Task, budget: Budget) -> str:
    """Returns a hash of all that decides what a task's numbers mean, its data and the model apart."""
    version = VERSIONS[task.task]
    mine = {
        key: value
        for key, value in budget
        if key.startswith("dense_") == (task.task in DENSE) and key != "dense_seeds"
    }
    text = f"{version}\n{task.model_dump_json(exclude={'name', 'category', 'data'})}\n{json.dumps(mine, sort_keys=True)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
