"""Alumnus: one student from many teachers.

Every public name is imported when it is first used, so that `import alumnus` and `alumnus --help` are instant.

    alumnus.train(...)       a run, from a recipe or keyword arguments
    alumnus.load(folder)     an encoder: images -> unit vectors
    alumnus.embed(...)       vectors of a folder of images, as Parquet
    alumnus.evaluate(...)    scores on a dataset
    alumnus.merge(...)       one student from the weights of several
    alumnus.audit(...)       what candidate teachers are worth, before training
    alumnus.adapt(...)       a student and labels -> a model of its own task
    alumnus.consolidate(...) two detectors of different classes -> one, without labels
    alumnus.load_adapted(…)  that model, and `.predict(paths)`
    alumnus.predict(...)     what it says of a folder of images, as a file
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alumnus.adaptation.consolidate import consolidate as consolidate
    from alumnus.adaptation.run import adapt as adapt
    from alumnus.adaptation.use import load_adapted as load_adapted
    from alumnus.adaptation.use import predict as predict
    from alumnus.auditing.run import audit as audit
    from alumnus.encoder import Encoder as Encoder
    from alumnus.encoder import embed as embed
    from alumnus.encoder import load as load
    from alumnus.merging import merge as merge
    from alumnus.scoring import evaluate as evaluate
    from alumnus.training.run import Run

__version__ = "0.1.0"

_HOME = {
    "Encoder": "alumnus.encoder",
    "embed": "alumnus.encoder",
    "load": "alumnus.encoder",
    "evaluate": "alumnus.scoring",
    "merge": "alumnus.merging",
    "audit": "alumnus.auditing.run",
    "adapt": "alumnus.adaptation.run",
    "consolidate": "alumnus.adaptation.consolidate",
    "load_adapted": "alumnus.adaptation.use",
    "predict": "alumnus.adaptation.use",
}

__all__ = [
    "Encoder",
    "__version__",
    "adapt",
    "audit",
    "consolidate",
    "embed",
    "evaluate",
    "load",
    "load_adapted",
    "merge",
    "predict",
    "train",
]


def train(recipe: str | Path | None = None, /, *, begin_at: str | None = None, **settings: object) -> Run:
    """Trains a student, or the stages of a recipe, and returns its run folder; see `alumnus schema` for the settings.

    Args:
        recipe: a YAML file, or `recipe:NAME` of one that comes with Alumnus; the keyword arguments change it.
        begin_at: the stage that begins anew, with all after it; see docs/stages.md.
    """
    from alumnus.training.stages import load_stages, train_stages

    return train_stages(load_stages(recipe, **settings), begin_at=begin_at)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'alumnus' has no attribute {name!r}")
    return vars(importlib.import_module(_HOME[name]))[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
