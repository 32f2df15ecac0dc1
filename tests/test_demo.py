"""The demo's own way, on small pictures and networks from random weights: what it promises to leave, and that a second call keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus import datasets, demo
from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.data.names import name_below
from alumnus.errors import FetchError
from alumnus.evaluation.results import read_results
from alumnus.models.cost import num_parameters
from alumnus.training.build import build_student
from alumnus.training.recipe import load_config

SMALL = {"model": "timm/test_vit", "weights": "random"}


@pytest.fixture
def small_demo(tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo on the shapes, one domain each, half of the colours held out."""
    found = open_dataset(tiny_images)
    rows = [
        {
            "file_name": name_below(path, str(tiny_images)),
            "domain": Path(path).parts[-3],
            "label": (colour := Path(path).parts[-2]),
            "split": "train" if colour in {"red", "green", "blue"} else "test",
        }
        for path in found.paths
    ]
    folders = {}
    for domain in sorted({row["domain"] for row in rows}):
        folders[domain] = tmp_path / "data" / domain
        folders[domain].mkdir(parents=True)
        for row in rows:
            if row["domain"] == domain:
                picture = folders[domain] / row["file_name"]
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes((tiny_images / row["file_name"]).read_bytes())
        write_dataset([row for row in rows if row["domain"] == domain], folders[domain])
    scored, photographs = tuple(folders)[:-1], tuple(folders)[-1:]
    monkeypatch.setattr(demo, "DOMAINS", scored)
    monkeypatch.setattr(demo, "PHOTOGRAPHS", photographs)
    monkeypatch.setattr(datasets, "get", lambda name, *, size=None: folders[name])
    student = {"student": {"model": "timm/test_vit"}, "steps": 1, "batch_size": 8, "workers": 0}
    monkeypatch.setattr(demo, "EXPERTS", dict.fromkeys(scored, student))
    monkeypatch.setattr(demo, "STUDENT", {**demo.STUDENT, **student})
    monkeypatch.setattr(demo, "LITE0", SMALL)
    return tmp_path / "demo"


def test_one_call_leaves_report_table_and_student(
    small_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two seeds: a report, results of each and of both, every model that the table promises, and the next commands."""
    report = demo.run(small_demo, seeds=2, steps=2)
    assert report == small_demo / "report.html"
    assert "did it consolidate" in report.read_text(encoding="utf-8").lower()
    results = read_results(small_demo / "seeds.json")
    kinds = [model.kind for model in results.models]
    assert results.runs == 2
    assert (
        kinds.count("teacher"),
        {"student", "initial", "pixels", "concatenation", "oracle"} - {*kinds},
    ) == (
        len(demo.DOMAINS) + 1,
        set(),
    )
    assert (demo.folder_of(small_demo, 1) / "student" / "model.safetensors").is_file()
    assert {domain.name for domain in results.domains} == set(demo.DOMAINS)  # photographs are not scored
    assert f"alumnus embed {small_demo}/student" in capsys.readouterr().err.replace("\n", "")


def test_photographs_that_cannot_be_had_are_left_out(
    small_demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no apt-get: it is said, and the student goes without."""
    there = datasets.get

    def get(name: str, *, size: int | None = None) -> Path:
        if name in demo.PHOTOGRAPHS:
            raise FetchError("The program 'apt-get' is not installed")
        return there(name, size=size)

    monkeypatch.setattr(datasets, "get", get)
    assert demo.run(small_demo, steps=1).is_file()
    assert f"the photographs of {demo.PHOTOGRAPHS[0]} are left out" in capsys.readouterr().err
    assert len(load_config(small_demo / "config.yaml").data) == len(demo.DOMAINS)


def test_a_second_call_trains_nothing_again(small_demo: Path) -> None:
    """Students of stages and run keep their bytes and times."""
    demo.run(small_demo, steps=1)
    written = {path: path.stat().st_mtime_ns for path in small_demo.rglob("model.safetensors")}
    demo.run(small_demo, steps=1)
    assert len(written) == len(demo.DOMAINS) + 1
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_the_student_is_no_larger_than_the_smallest_teacher(tmp_path: Path) -> None:
    """And three architectures teach it, one of them a transformer."""
    models = {}
    for name, settings in {**demo.EXPERTS, "student": demo.STUDENT}.items():
        student = {"model": settings["student"]["model"]}
        config = load_config(
            out=tmp_path, data=tmp_path, **{**demo.COMMON, "method": "supervised", "student": student}
        )
        models[name] = num_parameters(build_student(config))
    assert models.pop("student") <= min(models.values())
    assert len({settings["student"]["model"] for settings in demo.EXPERTS.values()}) >= 3
    assert any("pvt" in settings["student"]["model"] for settings in demo.EXPERTS.values())
