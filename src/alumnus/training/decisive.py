"""What decides a run: which settings may differ between a run and its continuation, and which may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# May differ between a run and its continuation: they change nothing that is learnt.
# (A store is known by what it holds: see `_fingerprint` in pupil.py.)
FREE = frozenset(
    {
        "out",
        "together",
        "workers",
        "checkpoint_every",
        "log_every",
        "resume",
        "max_bad_fraction",
        "device",
        "store",
        "memory_limit",
        "shard",
    }
)

# Came after there were runs. Left out of what decides as long as they have the value that changes nothing, so that older runs go on.
LATER: Mapping[str, object] = {
    "freeze": None,
    "accumulate": 1,
    "student.split": None,
    "optim.frozen": 0.0,
    "optim.batch_norm": "train",
    "views.sizes": [],
    "method.classifier": "separate",  # of supervised
    "method.normalise_summary": False,  # of supervised
    "method.imprint": False,  # of udon
}


def decisive(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of a configuration's settings, as JSON values, that decide what is learnt."""
    found = {key: value for key, value in values.items() if key not in FREE}
    for path, nothing in LATER.items():
        *parents, last = path.split(".")
        for parent in parents:
            inside = found.get(parent)
            if isinstance(inside, Mapping) and inside.get(last, nothing) == nothing:
                found[parent] = {key: value for key, value in inside.items() if key != last}
        if not parents and found.get(last, nothing) == nothing:
            found.pop(last, None)
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns a line for every setting that decides what is learnt and is not as it was; settings as JSON values."""
    now, then = decisive(new), decisive(old)
    keys = [*now, *(key for key in then if key not in now)]

    def said(values: Mapping[str, Any], key: str) -> object:
        return values.get(key, LATER.get(key))  # what is left out has the value that changes nothing

    return [
        f"{key}: was {said(then, key)!r}, is {said(now, key)!r}"
        for key in keys
        if then.get(key) != now.get(key)
    ]
