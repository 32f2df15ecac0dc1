"""Stages: ordinary runs one after another, checked together before the first, each begun only when it has to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from alumnus.errors import ConfigError
from alumnus.models.artifact import load_student
from alumnus.training.loop import train
from alumnus.training.recipe import laid_over, load_config
from alumnus.training.run import Run
from alumnus.training.stages import Stage, load_stages, train_stages
from tests.given import Colours, Stopped

EXPERT: dict[str, Any] = {"name": "discs", "method": "supervised", "domains": ["discs"], "lr": 2e-3}
SECOND: dict[str, Any] = {"name": "crosses", "method": "supervised", "domains": ["crosses"]}
TAUGHT: dict[str, Any] = {
    "name": "taught",
    "teachers": [
        {"model": "stage:discs", "output": "embedding", "domains": ["discs"]},
        {"model": "stage:crosses", "domains": ["crosses"]},
    ],
}
FINE: dict[str, Any] = {
    "name": "fine",
    "student": "stage:discs",
    "size": 40,
    "lr": 1e-4,
    "method": "supervised",
}


def _shared(out: Path, data: Path) -> dict[str, Any]:
    return {
        "out": out,
        "data": [str(data / domain) for domain in ("discs", "squares", "crosses")],
        "student": "timm/test_efficientnet",
        "size": 32,
        "embed_dim": 8,
        "steps": 2,
        "batch_size": 6,
        "workers": 0,
        "checkpoint_every": 1,
        "log_every": 1,
    }


def _stages(out: Path, data: Path, *stages: dict[str, Any], **settings: Any) -> tuple[Stage, ...]:
    return load_stages(**{**_shared(out, data), "stages": list(stages), **settings})


def _weights(run: Run) -> bytes:
    return (run.student / "model.safetensors").read_bytes() + (run.student / "heads.safetensors").read_bytes()


def _times(out: Path) -> dict[str, int]:
    """When each stage's student was written."""
    return {
        path.parent.parent.name: path.stat().st_mtime_ns for path in out.rglob("student/model.safetensors")
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Run:
    """Two experts, and a student that they taught. Shared: nothing in it may change."""
    out = tmp_path_factory.mktemp("stages") / "run"
    return train_stages(_stages(out, tiny_images, EXPERT, SECOND, TAUGHT))


def test_each_stage_is_the_run_that_it_would_be_by_itself(
    done: Run, tmp_path: Path, tiny_images: Path
) -> None:
    """The same weights as from plain recipes with folders in the place of names; and its config.yaml is such a recipe."""
    expert = {key: value for key, value in EXPERT.items() if key != "name"}
    alone = train(load_config(**{**_shared(tmp_path / "expert", tiny_images), **expert}))
    assert _weights(Run(done.folder / "stages" / "discs")) == _weights(alone)
    teachers = [
        {**spec, "model": f"alumnus:{done.folder}/stages/{spec['domains'][0]}/student"}
        for spec in TAUGHT["teachers"]
    ]
    alone = train(load_config(**{**_shared(tmp_path / "taught", tiny_images), "teachers": teachers}))
    assert _weights(done) == _weights(alone)
    assert (
        load_config(done.folder / "config.yaml").teachers
        == load_config(**_shared(tmp_path, tiny_images), teachers=teachers).teachers
    )


def test_finished_stages_are_passed_over_and_named_after_their_stage(
    done: Run, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again trains nothing; teachers are called like their stages."""
    before = _times(done.folder)
    train_stages(_stages(done.folder, tiny_images, EXPERT, SECOND, TAUGHT))
    assert _times(done.folder) == before
    assert len(before) == 3
    assert capsys.readouterr().err.count("is done already") == 3
    teachers = json.loads((done.folder / "teachers.json").read_text())
    assert [teacher["name"] for teacher in teachers] == ["discs", "crosses"]


def test_an_unfinished_stage_resumes_to_the_same_bits(tmp_path: Path, tiny_images: Path) -> None:
    """Stopped in its third step, after a checkpoint: the first stage stays, the second goes on."""

    def stages(out: Path, teacher: Colours) -> tuple[Stage, ...]:
        spec = {"model": teacher, "name": "colours", "size": 32}
        return _stages(out, tiny_images, EXPERT, {"name": "taught", "teachers": [spec], "steps": 4})

    whole = train_stages(stages(tmp_path / "whole", Colours()))
    with pytest.raises(Stopped):
        train_stages(stages(tmp_path / "cut", Colours(calls=3)))  # one call finds the width
    before = _times(tmp_path / "cut")
    assert set(before) == {"discs"}
    cut = train_stages(stages(tmp_path / "cut", Colours()))
    assert _weights(cut) == _weights(whole)
    assert _times(tmp_path / "cut")["discs"] == before["discs"]
    assert "steps 2 to 4" in (cut.folder / "log.txt").read_text()


def test_a_changed_stage_is_refused_before_anything_runs(done: Run, tiny_images: Path) -> None:
    """Even the last one's change is found before the first stage is looked at; the difference is named."""
    before = _times(done.folder)
    with pytest.raises(
        ConfigError, match=r"stage 'taught': .*another configuration:\n  lr: was 0.001, is 0.5"
    ):
        train_stages(_stages(done.folder, tiny_images, EXPERT, SECOND, {**TAUGHT, "lr": 0.5}))
    assert _times(done.folder) == before


def test_from_begins_anew_at_a_stage_and_keeps_those_before(tmp_path: Path, tiny_images: Path) -> None:
    """The stage and all after it are trained again, to the same bits here; a changed setting of theirs is allowed."""
    fine = {**FINE, "domains": ["discs"]}
    middle = {**SECOND, "lr": 3e-3}
    train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, SECOND, fine))
    before = _times(tmp_path / "run")
    run = train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, middle, fine), begin_at="crosses")
    after = _times(run.folder)
    assert after["discs"] == before["discs"]
    assert after["crosses"] > before["crosses"]
    assert after["run"] > before["run"]
    assert yaml.safe_load((run.folder / "stages/crosses/config.yaml").read_text())["lr"] == 3e-3


def test_from_needs_what_is_before_it(tmp_path: Path, tiny_images: Path) -> None:
    """A stage that is not done, one that does not exist and a recipe without stages are answered; nothing is written."""
    stages = _stages(tmp_path / "run", tiny_images, EXPERT, SECOND, TAUGHT)
    with pytest.raises(ConfigError, match="--from taught: the stage 'discs' before it is not done"):
        train_stages(stages, begin_at="taught")
    with pytest.raises(ConfigError, match="--from tought: there is no such stage; did you mean 'taught'"):
        train_stages(stages, begin_at="tought")
    plain = load_stages(**_shared(tmp_path / "run", tiny_images))
    with pytest.raises(ConfigError, match=r"--from x: .* the recipe has no stages"):
        train_stages(plain, begin_at="x")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_beginning_leaves_nothing_of_the_later_stages(
    tmp_path: Path, tiny_images: Path
) -> None:
    """Otherwise the plain command would take the old last student for the new one's."""
    spec = {"model": Colours(), "name": "colours", "size": 32}
    taught = {"name": "taught", "teachers": [spec]}
    fine = {**FINE, "student": "stage:taught"}
    train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, taught, fine))
    stopping = {**taught, "teachers": [{**spec, "model": Colours(calls=2)}]}
    with pytest.raises(Stopped):
        train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, stopping, fine), begin_at="taught")
    assert set(_times(tmp_path / "run")) == {"discs"}
    run = train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, taught, fine))
    assert set(_times(run.folder)) == {"discs", "taught", "run"}


def test_a_student_continues_at_a_larger_size(tmp_path: Path, tiny_images: Path) -> None:
    """It begins with the earlier weights: a step at a learning rate of nearly nothing leaves them."""
    stages = [EXPERT, {**FINE, "lr": 1e-12, "steps": 1}]
    run = train_stages(_stages(tmp_path / "run", tiny_images, *stages))
    before, after = (load_student(path) for path in (run.folder / "stages/discs/student", run.student))
    assert (before.size, after.size) == (32, 40)
    for name, value in before.named_parameters():
        assert (after.get_parameter(name) - value).abs().max() < 1e-6
    with pytest.raises(ConfigError, match=r"stage 'fine': .*embed_dim=8, the recipe embed_dim=4"):
        train_stages(_stages(tmp_path / "other", tiny_images, EXPERT, {**FINE, "embed_dim": 4}))
    fixed = [{**EXPERT, "student": "timm/test_vit"}, FINE]
    with pytest.raises(ConfigError, match=r"stage 'fine': .*size=32, the recipe size=40.*one size of grid"):
        train_stages(_stages(tmp_path / "other", tiny_images, *fixed))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("stages", "parts"),
    [
        ([EXPERT, EXPERT], ["two stages are called 'discs'"]),
        ([], ["list of mappings"]),
        ("discs", ["list of mappings"]),
        (["discs"], ["stages.0", "with a `name`", "'discs'"]),
        ([{"steps": 3}], ["stages.0", "with a `name`"]),
        ([{"name": "../up"}], ["letters, digits and _", "../up"]),
        ([{**EXPERT, "stpes": 3}], ["stage 'discs'", "stpes: unknown setting", "'steps'"]),
        ([{**EXPERT, "out": "x"}], ["stage 'discs'", "out", "folder follows from its name"]),
        ([EXPERT, {**FINE, "student": "stage:disks"}], ["stage 'fine'", "did you mean 'discs'"]),
        (
            [{**FINE, "student": "stage:discs"}, EXPERT],
            ["stage 'fine'", "stage:discs", "not before this one"],
        ),
        ([{**FINE, "student": "stage:fine"}], ["stage 'fine'", "not before this one"]),
        ([TAUGHT, EXPERT, SECOND], ["stage 'taught'", "stage:discs", "not before this one"]),
        (
            [{**EXPERT, "students": ["timm/test_resnet", "timm/test_vit"]}, FINE],
            ["stage 'fine'", "several students", "discs/test_resnet, discs/test_vit"],
        ),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(
    stages: Any, parts: list[str], tmp_path: Path, tiny_images: Path
) -> None:
    """Unknown, later and own names, cycles, two of one name: one message with what is allowed, before anything is read."""
    with pytest.raises(ConfigError) as caught:
        load_stages(**_shared(tmp_path / "run", tiny_images), stages=stages)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("last", "parts"),
    [
        ({"name": "b"}, ["stage 'b'", "method=agglomerate learns from teachers", "`teachers`"]),
        ({**FINE, "teachers": ["stage:discs"]}, ["stage 'fine'", "supervised takes no teachers"]),
        (
            {**SECOND, "domains": ["croses"]},
            ["stage 'crosses'", "domains", "no 'croses'", "'crosses'"],
        ),
        (
            {"name": "b", "teachers": [{"model": "stage:discs", "domains": ["disks"]}]},
            ["stage 'b'", "discs", "'disks'"],
        ),
        ({**SECOND, "data": "absent/"}, ["stage 'crosses'", "absent", "does not exist"]),
        ({**FINE, "freeze": "backbon"}, ["stage 'fine'", "freeze", "'backbon'", "backbone."]),
        ({**SECOND, "watch": {"every": 1}}, ["stage 'crosses'", "watch", "'val'", "train (90)"]),
    ],
)
def test_a_stage_without_what_it_needs_is_refused_before_the_first_runs(
    last: dict[str, Any], parts: list[str], tmp_path: Path, tiny_images: Path
) -> None:
    """Teachers, labels, domains, images, also watched ones, parameters to freeze: all are looked at before anything is written."""
    with pytest.raises(ConfigError) as caught:
        train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, last))
    for part in parts:
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_unlabelled_images_are_no_food_for_labels(tmp_path: Path, tiny_images: Path) -> None:
    """A supervised stage whose images hide their labels is refused before anything runs."""
    hidden = {**SECOND, "data": {"path": str(tiny_images / "crosses"), "role": "proxy"}}
    with pytest.raises(ConfigError, match="stage 'crosses': method=supervised needs labels"):
        train_stages(_stages(tmp_path / "run", tiny_images, EXPERT, hidden))


def test_words_set_a_shared_setting_or_one_of_a_stage(tmp_path: Path, tiny_images: Path) -> None:
    """`steps` is everybody's, `stages.NAME.steps` one stage's; a stage is also found by its number, and by its name when misspelt."""
    recipe = tmp_path / "recipe.yaml"
    shared = {key: str(v) if isinstance(v, Path) else v for key, v in _shared(tmp_path, tiny_images).items()}
    recipe.write_text(yaml.safe_dump({**shared, "stages": [EXPERT, SECOND, TAUGHT]}))
    words = ["steps=7", "stages.crosses.steps=50", "stages.taught.teachers.1.weight=3"]
    words += ["stages.0.student.weights=first.pth", "stages.taught.optim.ema=0"]
    discs, crosses, taught = (stage.config for stage in load_stages(recipe, words))
    assert (discs.steps, crosses.steps, taught.steps) == (7, 50, 7)
    assert (discs.student.model, discs.student.weights) == ("timm/test_efficientnet", "first.pth")
    assert [spec.weight for spec in taught.teachers] == [1, 3]
    assert (discs.optim.ema, taught.optim.ema) == (0.99, 0)
    with pytest.raises(
        ConfigError, match=r"stages\.croses: there is no stage 'croses'; did you mean 'crosses'"
    ):
        load_stages(recipe, ["stages.croses.steps=50"])


def test_a_stage_changes_keys_and_replaces_lists() -> None:
    """Key by key inside mappings and behind short forms; another method or network takes the whole place."""
    shared = {
        "views": {"flip": 0, "contrast": 0.1},
        "method": {"name": "plain", "projector": "mlp"},
        "student": "timm/a",
        "teachers": ["timm/b", "timm/c"],
        "domains": ["x", "y"],
    }
    own = {
        "views": {"flip": 0.5},
        "method": {"source": "both"},
        "student": {"weights": "w"},
        "domains": ["z"],
    }
    assert laid_over(shared, own) == {
        "views": {"flip": 0.5, "contrast": 0.1},
        "method": {"name": "plain", "projector": "mlp", "source": "both"},
        "student": {"model": "timm/a", "weights": "w"},
        "teachers": ["timm/b", "timm/c"],
        "domains": ["z"],
    }
    assert laid_over(shared, {"method": {"name": "supervised"}})["method"] == {"name": "supervised"}
    assert laid_over(shared, {"student": {"model": "timm/d"}})["student"] == {"model": "timm/d"}
    changed = laid_over(shared, {"teachers": {"1": {"weight": 2}}})
    assert changed["teachers"] == ["timm/b", {"model": "timm/c", "weight": 2}]
    assert shared["teachers"] == ["timm/b", "timm/c"]


def test_several_students_of_a_stage_are_found_by_their_names(tmp_path: Path, tiny_images: Path) -> None:
    """`stage:NAME/STUDENT`; and a stage with one student of its own puts shared several ones aside."""
    several = {
        **EXPERT,
        "students": ["timm/test_efficientnet", {"model": "timm/test_resnet", "name": "second"}],
    }
    last = {"name": "taught", "student": "timm/test_efficientnet", "teachers": ["stage:discs/second"]}
    run = train_stages(_stages(tmp_path / "run", tiny_images, several, last))
    (teacher,) = json.loads((run.folder / "teachers.json").read_text())
    assert teacher["name"] == "second"


def test_other_verbs_want_one_run(tmp_path: Path, tiny_images: Path) -> None:
    """`load_config`, as `cache` and `audit` call it, says which file to give."""
    with pytest.raises(ConfigError, match=r"OUT/stages/NAME/config\.yaml"):
        load_config(**_shared(tmp_path, tiny_images), stages=[EXPERT])
