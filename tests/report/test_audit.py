"""The page of an audit shows what was found and loads nothing; the verbs print, write and exit as they should."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from alumnus.auditing.facts import Audit, DataLicence
from alumnus.auditing.run import audit
from alumnus.cli import run
from alumnus.report.audit import doubts, render, summary, verdict, write_page
from tests.auditing.planted import SIDE, ground, only_stones, plant, texture, turned


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains."""
    return plant(tmp_path_factory.mktemp("planted") / "set")


@pytest.fixture(scope="module")
def found(planted: Path) -> Audit:
    """One of each kind: good, redundant, for one domain, for none."""
    models = (texture, turned, only_stones, ground)
    teachers = [{"model": model, "name": model.__name__, "size": SIDE, "licence": "MIT"} for model in models]
    return audit(data=planted, teachers=teachers, workers=0)


def test_the_page_shows_scores_agreement_and_suggestions(found: Audit, tmp_path: Path) -> None:
    """For all domains and each; what is not to be trusted is marked."""
    page = write_page(found, tmp_path / "new").read_text(encoding="utf-8")
    assert page.count('<table class="map">') == 2 * 3
    assert (
        page.count('class="out"') == 2 * 3
    )  # R@1 and kNN of ground on both domains, of only_stones on leaves
    assert "leave out: trusted nowhere" in page
    assert yaml.safe_load(found.recipe)["teachers"][0]["model"] in page
    assert "Licences to look at" not in page


def test_every_tab_has_its_panel_and_rule(found: Audit) -> None:
    """They work without a script."""
    page = render(found)
    inputs = re.findall(r'<input type="radio" name="\w+" id="([\w-]+)"', page)
    assert len(inputs) == 3 + 3
    for name in inputs:
        assert f"#{name}:checked ~ .{name}" in page
        assert re.search(rf'class="panel[^"]* {name}"', page)


def test_the_page_loads_nothing_and_runs_nothing(found: Audit) -> None:
    """It may be sent by mail."""
    assert not re.findall(r"<script|https?://|url\(|javascript:|src=", render(found))


def test_names_are_text(found: Audit) -> None:
    """Markup in a licence or a name of the data is shown as it is, on the page and in the terminal."""
    evil = "<b onload=x>[red]"
    teachers = tuple(replace(teacher, licence=evil, warning=evil) for teacher in found.teachers)
    changed = replace(found, teachers=teachers, data_licences=(DataLicence(evil, evil, None),))
    page = render(changed)
    assert "<b onload" not in page
    assert "&lt;b onload=x&gt;[red]" in page
    assert evil in _printed(changed)


def test_licences_are_warned_of_at_the_top(found: Audit) -> None:
    """One line a warning, with all whom it concerns."""
    teachers = tuple(replace(teacher, warning="must not be sold") for teacher in found.teachers)
    page = render(replace(found, teachers=teachers))
    assert "<b>texture, turned, only_stones, ground</b>: must not be sold" in page
    assert page.index("must not be sold") < page.index("Suggestions</h2>")


def test_the_terminal_has_a_line_a_teacher(found: Audit) -> None:
    """With its scores, cost, licence and what to do with it."""
    lines = _printed(found).splitlines()
    assert "R@1 stones" in lines[0]
    assert re.search(r"texture +1\.000 +1\.000 .* MIT +trust everywhere, weight 1|leave out: says", lines[1])
    assert "leave out: trusted nowhere" in lines[4]
    assert verdict(found, found.teachers[3]) == "leave out: trusted nowhere"


def test_without_scores_there_are_doubts_and_no_table_of_them(tmp_path: Path) -> None:
    """One unlabelled domain, one teacher: nothing to compare, nothing to score, still a page."""
    plant(tmp_path / "set", has_labels=False, domains=["stones"])
    found = audit(data=tmp_path / "set", teachers=[{"model": texture, "name": "t", "size": SIDE}], workers=0)
    page = render(found)
    assert doubts(found)[-1].startswith("no domain has labels enough")
    assert "Do they say the same" not in page
    assert "Effective rank" in page
    assert "R@1</label>" not in page


def test_the_verb_prints_and_writes(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that can be pasted, and the page; licences are warned of on standard error."""
    recipe = tmp_path / "recipe.yaml"
    source = "python:tests.report.test_audit:make_texture"
    recipe.write_text(f"data: {planted}\nteachers: [{{model: '{source}', name: a, size: 16}}]\n")
    words = [str(recipe), f"out={tmp_path / 'out'}", "workers=0", "limit=60", f"teachers.0.size={SIDE}"]
    assert run(["teachers", "audit", *words]) == 0
    printed = capsys.readouterr()
    start = printed.out.index("teachers:\n")
    snippet = yaml.safe_load(printed.out[start : printed.out.rindex("\n\n")])
    assert snippet == {"teachers": [{"model": source, "name": "a", "size": SIDE}]}
    assert "warning: a: the licence is not known" in printed.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.html", "audit.json"]


def test_the_verb_takes_teachers_as_words(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a recipe; a list, or one alone."""
    one = "python:tests.report.test_audit:make_texture"
    for given in (
        f"[{{model: '{one}', size: 32}}, {{model: '{one}', size: 32, name: b}}]",
        f"[{{model: '{one}', size: 32}}]",
    ):
        assert (
            run(["teachers", "audit", f"data={planted}", f"teachers={given}", "workers=0", "limit=20"]) == 0
        )
    assert "R@1 stones" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit"], "data: needed"),
        (["audit", "a.yaml", "b.yaml"], "unexpected word 'b.yaml'"),
        (["audit", "nowhere.yaml"], "nowhere.yaml"),
        (["audit", "limmit=3"], "did you mean 'limit'"),
        (["info"], "SOURCE is missing"),
        (["info", "timm/resnett18"], "did you mean 'resnet"),
        (["list", "a", "b"], "one PATTERN"),
        (["list", "zzzz"], "no weights of timm or torchvision fit 'zzzz'"),
    ],
)
def test_wrong_words_exit_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with a message that says what is wanted."""
    assert run(["teachers", *words]) == 2
    assert message in capsys.readouterr().err


def test_list_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows on standard output; what else there is on standard error."""
    assert run(["teachers", "list", "resnet18", "limit=1"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert "more; narrow the pattern" in printed.err
    assert "onnx:FILE" in printed.err
    assert run(["teachers", "info", "timm/test_vit.r160_in1k"]) == 0
    assert "apache-2.0" in capsys.readouterr().out


def make_texture() -> object:
    """What `python:…:make_texture` finds."""
    return texture


def _printed(found: Audit) -> str:
    file = io.StringIO()
    Console(file=file, width=300).print(summary(found))
    return file.getvalue()
