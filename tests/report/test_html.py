"""The report: one file, nothing from elsewhere, nothing that runs, and it never fails for want of a part."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from alumnus.errors import ArtifactError
from alumnus.report.artifacts import read_run
from alumnus.report.charts import training_charts
from alumnus.report.html import write_report
from tests.report.examples import PIXEL, make_results, write_evil_run

VOID = {"meta", "img", "input", "br", "wbr", "line", "path", "use", "link"}


class Page(HTMLParser):
    """Elements, attributes and text of a page, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.unclosed = self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element that is closed at once."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Closes the innermost element, which it must be."""
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Notes text."""
        self.words.append(data)


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A run folder full of hostile names."""
    return write_evil_run(tmp_path / "run")


def test_nothing_from_outside_becomes_markup(evil: Path) -> None:
    """No script, no handler, no style or link of theirs, no formula, no template; the names are there as text."""
    page = Page(write_report(evil).read_text(encoding="utf-8"))
    assert page.unclosed == []
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    text = "".join(page.words)
    assert "<script>alert('x')</script>" in text
    assert "{{ 7*7 }}" in text
    assert "</pre><script>" in text


def test_the_page_loads_nothing(evil: Path) -> None:
    """Every picture is a data URI, every link leads into the page, styles name no address, and a policy forbids the rest."""
    page = Page(write_report(evil).read_text(encoding="utf-8"))
    loading = {
        (name, value) for _, name, value in page.attributes if name in {"src", "href", "xlink:href", "srcset"}
    }
    assert {value for name, value in loading if name == "src"} == {PIXEL}
    assert all(value.startswith("#") for name, value in loading if name != "src")
    outside = [
        v for _, name, v in page.attributes if "://" in v and name not in {"title", "alt", "aria-label"}
    ]
    assert outside == []
    style = "".join(word for word in page.words if "{" in word and "color" in word)
    assert "@import" not in style
    policies = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert any(value.startswith("default-src 'none'") for value in policies)


def test_a_report_of_nothing_says_what_is_missing(tmp_path: Path) -> None:
    """A run that has barely begun gives a page that names each other file and what makes it."""
    (tmp_path / "config.yaml").write_text("out: x\n")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    for name in ("metrics.jsonl", "teachers.json", "results.json", "gallery.json"):
        assert f"<code>{name}</code>" in text
    assert Page(text).unclosed == []
    with pytest.raises(ArtifactError, match="is not a folder"):
        write_report(tmp_path / "nowhere")


def test_no_page_is_put_into_a_folder_that_is_no_run(tmp_path: Path) -> None:
    """A folder of photographs stays as it is, and the message says what a run is; of several runs in one it names one."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"photos' is no run: .*config\.yaml.*results\.json$"):
        write_report(tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    (tmp_path / "students" / "one").mkdir(parents=True)
    (tmp_path / "students" / "one" / "config.yaml").write_text("out: x\n")
    with pytest.raises(ArtifactError, match=r"give one of them, such as .*students/one$"):
        write_report(tmp_path)


def test_the_student_of_a_run_stands_for_the_run(evil: Path) -> None:
    """The page is written where that of the run is; a student elsewhere has no run."""
    assert write_report(evil / "student").samefile(evil / "report.html")
    assert not (evil / "student" / "report.html").exists()
    shutil.move(evil / "student", evil.parent / "moved")
    with pytest.raises(ArtifactError, match="is no run"):
        write_report(evil.parent / "moved")


def test_images_that_were_not_scored_are_told_from_those_not_trained_on(tmp_path: Path) -> None:
    """Two lists, each with what it is of."""
    (tmp_path / "config.yaml").write_text("out: x\n")
    assert "None." in write_report(tmp_path).read_text()
    for name, image in (("quarantine.jsonl", "a.jpg"), ("evaluate.quarantine.jsonl", "b.jpg")):
        (tmp_path / name).write_text(f'{{"file_name": "{image}", "reason": "torn"}}\n')
    text = write_report(tmp_path).read_text()
    assert text.index("took no part in training") < text.index("a.jpg")
    assert text.index("a.jpg") < text.index("took no part in the evaluation") < text.index("b.jpg")


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "metrics.jsonl", "teachers.json", "results.json", "gallery.json", "quarantine.jsonl"],
)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[1, 2", b'{"entries": 5}', b"null", b"[[1]]", b"7"]
)
def test_a_damaged_part_does_not_end_the_report(evil: Path, name: str, content: bytes) -> None:
    """Whatever one file holds, the others are shown."""
    (evil / name).write_bytes(content)
    assert Page(write_report(evil).read_text(encoding="utf-8")).unclosed == []


@pytest.mark.parametrize("content", [f'{{"step": 1, "loss": 1{"0" * 400}}}', "[" * 100_000])
def test_training_curves_that_cannot_be_read_are_named(evil: Path, content: str) -> None:
    """A number beyond what a float holds, and brackets without end."""
    (evil / "metrics.jsonl").write_text(content)
    found = read_run(evil)
    assert found.metrics == ()
    assert found.missing["metrics.jsonl"].startswith("damaged: ")
    assert "damaged: " in write_report(evil).read_text(encoding="utf-8")


def test_the_report_needs_its_folder_only(evil: Path, tmp_path: Path) -> None:
    """Moved elsewhere, it comes out the same but for the time."""

    def text() -> str:
        return write_report(folder).read_text(encoding="utf-8").split("report made")[0]

    folder = evil
    here = text()
    folder = tmp_path / "elsewhere" / evil.name
    shutil.move(evil, folder)
    assert text() == here


def test_a_plain_run_reads_well(tmp_path: Path) -> None:
    """Verdict, tables, differences and counts are all there."""
    results = make_results(
        {"student": ("student", 0.6), "expert": ("teacher", 0.5), "specialist oracle": ("oracle", 0.55)}
    )
    (tmp_path / "results.json").write_text(results.to_json())
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0, "images/s": 100}\n')
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Did it consolidate? Yes." in text
    assert "+.100" in text
    assert "a 1,200 (3 with nothing to find, scored 0)" in text
    assert text.count("<table>") == 6
    assert "Images per second" in text
    assert "Weight by term" not in text


def test_what_steered_a_run_is_drawn() -> None:
    """Weights of terms and shares of domains under their own names, also where one has a slash."""
    line = {"step": 0, "loss": 1.0, "weight/clip/patches": 0.25, "sampler/a": 0.5, "other/b": 1.0}
    charts = {chart.title: [each.name for each in chart.lines] for chart in training_charts([line])}
    assert charts == {
        "Loss": ["loss"],
        "Weight by term": ["clip/patches"],
        "Share of the steps by domain": ["a"],
    }


def test_interference_is_a_table_of_signed_differences(tmp_path: Path) -> None:
    """A row a model, a colour as strong as the difference, bold where chance does not explain it; without teachers no section."""
    results = make_results(
        {
            "student": ("student", 0.5),
            "expert": ("teacher", 0.32),
            "general": ("teacher", 0.42),
            "x": ("pixels", 0.1),
        }
    )
    (tmp_path / "results.json").write_text(results.to_json())
    text = write_report(tmp_path).read_text()
    section = text[text.index('id="interference"') :]
    assert "minus general (as an example)" in section
    assert '<td class="heat warm" style="--heat: 18%"><b>+.080</b>' in section
    assert '<td class="macro heat cold" style="--heat: 22%"><b>−.100</b>' in section
    alone = make_results({"student": ("student", 0.5), "x": ("pixels", 0.1)})
    (tmp_path / "results.json").write_text(alone.to_json())
    assert 'id="interference"' not in write_report(tmp_path).read_text()
