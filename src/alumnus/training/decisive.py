"""What decides a run: which settings may differ between a run and its continuation, and which may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

# May differ between a run and its continuation: they change nothing that is learnt.
# (A store is known by what it holds: see `_fingerprint` in pupil.py.)
FREE = frozenset(
    {
        "out",
        "together",
        "workers",
        "checkpoint_every",
        "log_every",
        "track",
        "watch",
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
    """Returns a line for every setting that decides what is learnt and is not as it was, by its path; settings as JSON values.

    >>> differences({"teachers": [{"model": "a", "domains": None}]}, {"teachers": [{"model": "a", "domains": ["flags"]}]})
    ["teachers.0.domains: was None, is ['flags']"]
    """
    return list(_changed(decisive(old), decisive(new), ""))


def _changed(was: object, now: object, path: str) -> Iterator[str]:
    if was == now:
        return
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        if path == "method" and was.get("name") != now.get("name"):  # the settings of another one are others
            was, now = ({"name": each.get("name")} for each in (was, now))
        for key in dict.fromkeys([*now, *was]):
            inside = f"{path}.{key}" if path else str(key)
            nothing = LATER.get(inside)  # what is left out has the value that changes nothing
            yield from _changed(was.get(key, nothing), now.get(key, nothing), inside)
    elif _is_of_entries(was) and _is_of_entries(now):
        if len(was) == len(now):
            for place, (one, other) in enumerate(zip(was, now, strict=True)):
                yield from _changed(one, other, f"{path}.{place}")
        else:
            yield f"{path}: was {_listed(was)}, is {_listed(now)}"
    else:
        yield f"{path}: was {was!r}, is {now!r}"


def _is_of_entries(value: object) -> TypeGuard[Sequence[object]]:
    """A list without any is one of entries too."""
    return isinstance(value, list | tuple) and (not value or any(isinstance(each, Mapping) for each in value))


def _listed(entries: Sequence[object]) -> str:
    """How many there are, and which: networks, or folders."""
    named = [
        str(each.get("model") or each.get("path") or "?") if isinstance(each, Mapping) else str(each)
        for each in entries
    ]
    return f"{len(entries)} ({', '.join(named) or 'none'})"
