"""Looks at a student on the way: the numbers of `alumnus evaluate`, and nothing that is learnt changes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import alumnus
from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.report.html import write_report
from alumnus.scoring import evaluate
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from alumnus.training.watch import Watched, look, watched_images
from tests.given import Colours, Stopped
from tests.training.test_loop import _bytes
from tests.training.test_loop import _config as small

SHAPES = 3


def _config(out: Path, data: object, **settings: object) -> Config:
    return small(out, data, **{"log_every": 1, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """The small images with classes held out for validation: of each shape three colours of six, with five images each."""
    folder = tmp_path_factory.mktemp("divided")
    for shape in tiny_images.iterdir():
        for place, colour in enumerate(sorted(shape.iterdir())):
            part = "val" if place % 2 else "train"
            shutil.copytree(colour, folder / shape.name / part / colour.name)
    return folder


def _sources(divided: Path) -> list[str]:
    return [str(path) for path in sorted(divided.iterdir())]


def _looks(run: Run) -> list[dict[str, float]]:
    return read_metrics(run.folder / "watch.jsonl")


def test_the_last_look_is_what_evaluate_says(tmp_path: Path, divided: Path) -> None:
    """Of all images of the split, the macro mean and each domain's; and before that there is one every two steps."""
    run = train(_config(tmp_path / "run", _sources(divided), watch={"every": 2, "images": 1000}))
    assert [line["step"] for line in _looks(run)] == [1, 3, 5]
    last, scores = _looks(run)[-1], evaluate(run.student, data=_sources(divided), split="val", knn=False)
    found = {name.removeprefix("watch/"): value for name, value in last.items() if "R@1" in name}
    assert len(found) == 1 + SHAPES
    assert found == pytest.approx({name: scores[f"merged/{name}"] for name in found})
    assert 1 <= last["watch/effective rank"] <= 8


def test_nothing_that_is_learnt_changes(tmp_path: Path, divided: Path) -> None:
    """Not even if a run is watched from its middle on."""
    plain = train(_config(tmp_path / "plain", _sources(divided)))
    stopping = [{"model": Colours(calls=5), "name": "colours", "size": 32}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", _sources(divided), teachers=stopping))
    run = train(_config(tmp_path / "run", _sources(divided), watch={"every": 1}))
    assert _bytes(run) == _bytes(plain)
    assert [line["loss"] for line in read_metrics(run.folder / "metrics.jsonl")] == [
        line["loss"] for line in read_metrics(plain.folder / "metrics.jsonl")
    ]
    assert not (plain.folder / "watch.jsonl").exists()


def test_a_run_that_went_on_has_each_look_once(tmp_path: Path, divided: Path) -> None:
    """The numbers are those of a run that was not stopped."""
    whole = train(_config(tmp_path / "whole", _sources(divided), watch={"every": 1}))
    stopping = [{"model": Colours(calls=6), "name": "colours", "size": 32}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "run", _sources(divided), teachers=stopping, watch={"every": 1}))
    run = train(_config(tmp_path / "run", _sources(divided), watch={"every": 1}))
    assert _looks(run) == _looks(whole)
    assert [line["step"] for line in _looks(run)] == list(range(6))


def test_trackers_are_shown_what_was_seen(tmp_path: Path, divided: Path) -> None:
    """Beside the losses."""
    run = train(_config(tmp_path / "run", _sources(divided), watch={"every": 3}, track="tensorboard"))
    found = EventAccumulator(str(run.folder / "tensorboard"))
    found.Reload()
    points = found.Scalars("watch/R@1")
    assert [point.step for point in points] == [2, 5]
    assert [point.value for point in points] == pytest.approx([line["watch/R@1"] for line in _looks(run)])


def test_other_images_may_be_watched(tmp_path: Path, tiny_images: Path, divided: Path) -> None:
    """And of them any split."""
    watch = {"data": _sources(divided), "split": "train", "every": 6}
    run = train(_config(tmp_path / "run", tiny_images, watch=watch))
    assert len(_looks(run)) == 1
    assert "step 5: R@1 0." in (run.folder / "log.txt").read_text()
    assert "on 45 watched images" in (run.folder / "log.txt").read_text()


def test_several_classes_of_all_domains_are_chosen(divided: Path, tmp_path: Path) -> None:
    """Up to a number, two images of a class at least; the same ones for a seed, others for another."""
    config = _config(tmp_path, _sources(divided), watch={"images": 17})
    found, again = watched_images(config), watched_images(config)
    assert found is not None
    assert again is not None
    assert torch.equal(found.image, again.image)
    assert found.fingerprint == again.fingerprint
    of = Counter(zip(found.domain.tolist(), found.label.tolist(), strict=True))
    assert [*of.values()] == [2] * 8
    assert sorted(Counter(domain for domain, _ in of).values()) == [2, 3, 3]
    seeds = [watched_images(config.model_copy(update={"seed": seed})) for seed in range(5)]
    assert len({tuple(each.label.tolist()) for each in seeds if each is not None}) > 1


@pytest.mark.parametrize(("images", "each"), [(10, 3), (50, 16), (89, 29), (90, 30)])
def test_a_large_class_has_its_share(
    images: int, each: int, divided: Path, tiny_images: Path, tmp_path: Path
) -> None:
    """All of one class would have an R@1 of 1; the three classes here have 30 images each."""
    watch = {"data": str(tiny_images), "images": images}
    found = watched_images(_config(tmp_path, _sources(divided), watch=watch))
    assert found is not None
    assert Counter(found.label.tolist()) == dict.fromkeys(range(3), each)


def test_what_few_images_leave_out_is_said(
    divided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Domains for which there is no room, and that one class is left."""
    found = watched_images(_config(tmp_path, _sources(divided), watch={"images": 3}))
    assert found is not None
    assert len(found.label) == 2
    said = " ".join(capsys.readouterr().err.split())
    left_out = ", ".join(found.domains[1:])
    assert f"watch: 2 images leave out the domains {left_out}; raise watch.images" in said
    assert "all watched images with a label are of one class" in said


def test_domains_that_are_not_trained_or_generic_are_not_watched(divided: Path, tmp_path: Path) -> None:
    """Of the run's own images."""
    first, second, third = _sources(divided)
    domains = [Path(path).name for path in (first, second, third)]
    sources = [first, second, {"path": third, "role": "generic"}]
    found = watched_images(_config(tmp_path, sources, watch={}))
    assert found is not None
    assert {found.domains[d] for d in found.domain} == set(domains[:2])
    found = watched_images(_config(tmp_path, sources, watch={}, domains=domains[:1]))
    assert found is not None
    assert {found.domains[d] for d in found.domain} == set(domains[:1])


def test_images_without_labels_have_a_rank_alone(tmp_path: Path, tiny_images: Path) -> None:
    """As have those of which no two are of one class."""
    paths = sorted(tiny_images.rglob("*.png"))[:20]
    folder = tmp_path / "flat"
    folder.mkdir()
    for number, path in enumerate(paths):
        shutil.copy(path, folder / f"{number}.png")
    run = train(_config(tmp_path / "run", folder, watch={"split": "train", "every": 6}))
    assert _looks(run)[0].keys() == {"step", "watch/effective rank"}
    student = Run(tmp_path / "run").student
    image = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    alone = Watched(image, np.array([0, 1]), np.array([0, 0]), ("a", "b"))
    assert look(alumnus.load(student).student, alone).keys() == {"watch/effective rank"}


def test_images_that_cannot_be_read_are_left_out(
    tmp_path: Path, divided: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And counted; if none can be read, that is an error before anything is written."""
    folder = tmp_path / "images"
    shutil.copytree(divided, folder)
    held = sorted(folder.rglob("val/*/*.png"))
    held[0].write_bytes(b"no picture")
    run = train(_config(tmp_path / "run", _sources(folder), watch={"every": 6}))
    assert len(_looks(run)) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"watch: of 45 images 1 could not be read; the last is '{held[0].relative_to(folder)}': text, not an image"
        in said
    )
    for path in held:
        path.write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"watch: of 45 images 45 could not be read; .*watch=none"):
        train(_config(tmp_path / "none", _sources(folder), watch={"every": 6}))
    assert not (tmp_path / "none" / "config.yaml").exists()


def test_a_split_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, tiny_images: Path) -> None:
    """Before teachers are loaded."""
    with pytest.raises(ConfigError, match=r"in the split 'val', of train \(90\); .*watch=none"):
        train(_config(tmp_path / "run", tiny_images, watch={"every": 2}))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_other_images_of_one_split_are_all_meant(divided: Path, tiny_images: Path, tmp_path: Path) -> None:
    """A folder that was not divided is the usual case."""
    found = watched_images(_config(tmp_path, _sources(divided), watch={"data": str(tiny_images)}))
    assert found is not None
    assert len(found.label) == 90


def test_watching_what_is_learnt_from_is_said(
    divided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is allowed."""
    assert watched_images(_config(tmp_path, _sources(divided), watch={"split": "train"})) is not None
    assert "the student learns from images of the split 'train'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("is_linked", [False, True])
def test_other_images_that_are_learnt_from_are_counted(
    is_linked: bool, divided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the files that they are: the folder may have another name, and each file too."""
    other = tmp_path / "other"
    other.mkdir()
    first = Path(_sources(divided)[0])
    for number, path in enumerate(sorted(first.rglob("*.png"))):
        (other / f"{number}.png").symlink_to(path)
    data = str(other if is_linked else first)
    found = watched_images(_config(tmp_path, _sources(divided), watch={"data": data, "split": "train"}))
    assert found is not None
    said = " ".join(capsys.readouterr().err.split())
    assert f"watch: of {len(found.label)} images in watch.data the student learns from 15, such as '/" in said


def test_other_images_that_are_not_learnt_from_are_watched_in_silence(
    divided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same folder too."""
    assert watched_images(_config(tmp_path, _sources(divided), watch={"data": _sources(divided)})) is not None
    assert "learns from" not in capsys.readouterr().err


def test_images_without_a_class_do_not_crowd_out_others(tmp_path: Path, divided: Path) -> None:
    """Classes come first, and what is left of the number is filled up."""
    first = _sources(divided)[0]
    sources = [{"path": first, "domain": "d"}, {"path": first, "domain": "d", "role": "proxy"}]
    loose = tmp_path / "loose"
    shutil.copytree(first, loose)
    sources[1]["path"] = str(loose)
    found = watched_images(_config(tmp_path, sources, watch={"images": 20}))
    assert found is not None
    assert Counter((found.label >= 0).tolist()) == {True: 15, False: 5}


def test_an_embedding_that_is_not_finite_does_not_end_the_run(
    tmp_path: Path, divided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look says NaN."""
    broken = torch.full((64, 8), float("nan"))
    monkeypatch.setattr(
        "alumnus.training.watch.StudentEncode", lambda student: lambda part: broken[: len(part)]
    )
    run = train(_config(tmp_path / "run", _sources(divided), watch={"every": 6}))
    assert [*_looks(run)[0]] == ["step", "watch/effective rank"]
    assert np.isnan(_looks(run)[0]["watch/effective rank"])


@pytest.mark.parametrize("given", ["val", True, 500])
def test_a_wrong_form_is_told_with_the_right_one(given: object, tmp_path: Path, divided: Path) -> None:
    """Not as pydantic says it."""
    with pytest.raises(ConfigError, match=r"watch: .* give \{every: 500, split: val\}, or none"):
        _config(tmp_path, _sources(divided), watch=given)
    with pytest.raises(ConfigError, match=r"watch\.data is empty"):
        _config(tmp_path, _sources(divided), watch={"data": []})


def test_a_recorded_configuration_can_be_given_a_watch(tmp_path: Path, divided: Path) -> None:
    """It says `watch: null`."""
    run = train(_config(tmp_path / "run", _sources(divided), teachers=[], method="supervised"))
    later = load_config(run.folder / "config.yaml", ["watch.every=5"])
    assert later.watch is not None
    assert later.watch.every == 5


def test_students_that_train_together_are_each_looked_at(tmp_path: Path, divided: Path) -> None:
    """In their own folders."""
    students = [
        {"model": "timm/resnet10t", "name": "a"},
        {"model": "timm/mobilenetv3_small_050", "name": "b"},
    ]
    config = _config(tmp_path / "run", _sources(divided), student=None, students=students, watch={"every": 6})
    a, b = train(config).students
    assert _looks(a) != _looks(b)
    assert len(_looks(a)) == len(_looks(b)) == 1


def test_the_report_draws_it(tmp_path: Path, divided: Path) -> None:
    """Macro and domains in one chart, the rank in another."""
    run = train(_config(tmp_path / "run", _sources(divided), watch={"every": 2}))
    page = write_report(run.folder).read_text()
    assert "R@1 on watched images" in page
    assert "Effective rank on watched images" in page
    assert json.loads((run.folder / "watch.jsonl").read_text().splitlines()[0])["step"] == 1
