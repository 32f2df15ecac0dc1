"""log.txt and metrics.jsonl: no line is lost, none is glued to one that a kill tore."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus import log
from alumnus.log import MetricsFile, append_line, bar, console, read_metrics, warn


def test_a_line_after_a_torn_one_stands_alone(tmp_path: Path) -> None:
    """log.txt was cut in the middle of a line."""
    path = tmp_path / "log.txt"
    path.write_text("steps 0 to 9\nstopp")
    append_line(path, "steps 4 to 9")
    assert path.read_text() == "steps 0 to 9\nstopp\nsteps 4 to 9\n"


def test_a_long_log_is_set_aside_once(tmp_path: Path) -> None:
    """Of any number of lines the newest are kept, in two files of about the limit."""
    path = tmp_path / "log.txt"
    for number in range(100):
        append_line(path, f"line {number:03d}", limit=180)
    older, newer = (tmp_path / "log.1.txt").read_text(), path.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["log.1.txt", "log.txt"]
    kept = (older + newer).splitlines()
    assert kept == [f"line {number:03d}" for number in range(100 - len(kept), 100)]
    assert len(kept) >= 20
    assert max(len(older), len(newer)) <= 180 + 9


def test_metrics_keep_all_whole_lines_before_the_step(tmp_path: Path) -> None:
    """A kill tore the last line; the run goes on from step 3, and step 3 comes again."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 3, "loss": 0.4}\n{"step": 5, "lo')
    metrics = MetricsFile(path, keep_before_step=3)
    metrics.write({"step": 3, "loss": 0.25})
    metrics.close()
    assert read_metrics(path) == [{"step": 1, "loss": 0.5}, {"step": 3, "loss": 0.25}]


def test_metrics_that_are_only_added_to_are_not_glued(tmp_path: Path) -> None:
    """Without a step to go back to, the torn line stays and costs nothing but itself."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo\xff\x00')
    metrics = MetricsFile(path)
    metrics.write({"step": 3})
    metrics.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_without_a_terminal_the_words_are_printed_at_equal_shares(capsys: pytest.CaptureFixture[str]) -> None:
    """Of work that ends before the first ten seconds too; what goes on half-way says nothing of the part before."""
    with bar("run", total=40, lines=4) as line:
        line.advance(20)
        for step in range(20, 40):
            line.say(f"loss {step}")
            line.advance()
    said = [each.split(", ") for each in capsys.readouterr().err.splitlines()]
    assert [(done, words) for done, _, words in said] == [
        ("run: 30/40", "loss 29"),
        ("run: 40/40", "loss 39"),
    ]
    with bar("run", total=40) as line:
        line.advance(40)
    assert capsys.readouterr().err == ""


def test_names_are_never_taken_for_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class or a folder may be called like a tag; lines, warnings and bars, on a terminal too, show it as it is."""
    name = "web [/old] [bold]"
    monkeypatch.setattr(log, "LINE_EVERY_S", 0.0)
    for is_terminal in (False, True):
        monkeypatch.setattr(console, "_force_terminal", is_terminal)
        console.print(name)
        warn(name)
        with bar(name, total=1) as line:
            line.say(name)
            line.advance()
        said = capsys.readouterr().err
        assert said.count("[/old]") >= 4
        assert "warning" in said
