"""Results made by hand, and a run folder whose every name is an attack."""

from __future__ import annotations

import json
from pathlib import Path

from alumnus.evaluation.compare import Interval
from alumnus.evaluation.encode import Kind
from alumnus.evaluation.results import (
    KEYS,
    Difference,
    DomainCount,
    Interference,
    ModelScores,
    Results,
    Scores,
)

EVIL = (
    "<script>alert('x')</script>\"'><img src=http://evil.example/a.png onerror=alert(1)>{{ 7*7 }} $\\frac{$"
)
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def scores(macro: float, *, domains: tuple[str, ...], half: float = 0.01) -> Scores:
    """The same mean in every domain."""
    interval = Interval(macro, macro - half, macro + half)
    return Scores(interval, dict.fromkeys(domains, interval))


def make_results(
    models: dict[str, tuple[Kind, float]], *, domains: tuple[str, ...] = ("a", "b"), half: float = 0.01
) -> Results:
    """Name -> kind and score; the first is the reference, and differences have intervals of +- half."""
    first, (_, reference) = next(iter(models.items()))
    return Results(
        split="test",
        index_split=None,
        seed=0,
        resamples=1000,
        fingerprint="f" * 64,
        date="2030-01-01T00:00:00+00:00",
        versions={"alumnus": "0"},
        timing="one image at a time",
        domains=tuple(DomainCount(name, 1200, 1200, 3) for name in domains),
        num_images=2400,
        num_bad=0,
        models=tuple(
            ModelScores(
                name,
                kind,
                64,
                1_500_000,
                3.21,
                {key: scores(value, domains=domains, half=half) for key in KEYS},
                {domains[0]: Interval(value, value, value)},
            )
            for name, (kind, value) in models.items()
        ),
        knn_note="",
        reference=first,
        differences=tuple(
            Difference(name, key, scores(reference - value, domains=domains, half=half))
            for name, (_, value) in models.items()
            if name != first
            for key in KEYS
        ),
        interference=_interference(models, domains=domains, half=half),
    )


def _interference(
    models: dict[str, tuple[Kind, float]], *, domains: tuple[str, ...], half: float
) -> Interference | None:
    """Relative to the last teacher."""
    teachers = [name for name, (kind, _) in models.items() if kind == "teacher"]
    if not teachers:
        return None
    base = models[teachers[-1]][1]
    rows = {
        name: scores(value - base, domains=domains, half=half)
        for name, (kind, value) in models.items()
        if name != teachers[-1] and kind in ("student", "initial", "teacher")
    }
    return Interference(teachers[-1], "as an example", "separate/R@1", rows)


def write_evil_run(folder: Path) -> Path:
    """Fills a run folder; wherever a name can come from outside, it is EVIL."""
    folder.mkdir()
    results = make_results({f"student {EVIL}": ("student", 0.5), EVIL: ("teacher", 0.4)}, domains=(EVIL, "b"))
    (folder / "results.json").write_text(results.to_json())
    lines = [
        {"step": step, "loss": 1 / (step + 1), f"loss/{EVIL}": 0.5, EVIL: EVIL, "lr": 0.1}
        for step in range(5)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 5, "lo')
    teacher = {
        "name": EVIL,
        "source": EVIL,
        "licence": EVIL,
        "fingerprint": EVIL,
        "domains": [EVIL],
        "size": 96,
    }
    (folder / "teachers.json").write_text(json.dumps([teacher]))
    shown = {"file_name": EVIL, "domain": EVIL, "label": EVIL, "correct": True, "image": PIXEL}
    remote = {**shown, "correct": False, "image": "http://evil.example/track.png"}
    inside = {**shown, "image": f'{PIXEL}" onload="alert(1)'}
    entry = {"domain": EVIL, "correct": True, "query": shown, "neighbours": [shown, remote, inside]}
    (folder / "gallery.json").write_text(json.dumps({"version": 1, "entries": [entry]}))
    row = {"file_name": f"{EVIL}\udce9", "reason": EVIL}
    (folder / "quarantine.jsonl").write_text((json.dumps(row) + "\n") * 60)
    (folder / "config.yaml").write_text(f"out: </pre>{EVIL}\n")
    (folder / "student").mkdir()
    (folder / "student" / "alumnus.json").write_text(
        json.dumps({"provenance": {EVIL: EVIL, "deep": {"a": 1}}})
    )
    return folder
