"""Misspelt names are found before a teacher is loaded or asked; a start from random weights is said once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import Tensor

from alumnus.errors import ConfigError, TeacherError, UserError
from alumnus.models.artifact import save_student
from alumnus.models.backbone import published_tag
from alumnus.models.student import Architecture, Student
from alumnus.training.build import build_student, random_start
from alumnus.training.check import check_student
from alumnus.training.config import Config, StudentSpec
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.stages import Stage, train_stages
from tests.given import Colours

HINT = "begins from random weights"


def _config(out: Path, data: Path, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": [str(data / domain) for domain in ("discs", "squares", "crosses")],
        "student": "timm/test_efficientnet",
        "teachers": [{"model": Colours(), "name": "colours", "size": 32}],
        "size": 32,
        "embed_dim": 8,
        "steps": 2,
        "batch_size": 6,
        "workers": 0,
        "checkpoint_every": 1,
    }
    return load_config(**{**values, **settings})


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("timm/test_eficientnet", ["timm has no model 'test_eficientnet'", "did you mean"]),
        ("timm/resnet18.a1_in2k", ["no weights 'a1_in2k' for resnet18", "did you mean 'a1_in1k'", "tv_in1k"]),
        ("resnet18", ["'resnet18'", "timm/NAME or alumnus:FOLDER"]),
        ("hf:owner/name", ["timm/NAME or alumnus:FOLDER"]),
        ("alumnus:nowhere/student", ["nowhere/student is not a student folder"]),
    ],
)
def test_a_student_that_cannot_be_is_refused_by_its_name(model: str, parts: list[str]) -> None:
    """With the nearest one; nothing is built."""
    with pytest.raises(UserError) as caught:
        check_student(StudentSpec(model=model))
    for part in parts:
        assert part in str(caught.value)


def test_a_tag_is_known_also_where_its_weights_are_not_taken() -> None:
    """Other weights than the tag's leave its mean and std, so an unknown one is refused too."""
    check_student(StudentSpec(model="timm/resnet18.a1_in1k", weights="mine.pth"))
    with pytest.raises(ConfigError, match="no weights 'none' for resnet18"):
        check_student(StudentSpec(model="timm/resnet18.none", weights="random"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"student": "timm/test_eficientnet"}, "timm has no model 'test_eficientnet'; did you mean"),
        ({"method": "supervised"}, "method=supervised takes no teachers"),
        ({"teachers": [{"domains": ["disks"]}]}, "trusted on 'disks', .*did you mean 'discs'"),
    ],
)
def test_a_run_of_one_stage_is_refused_before_its_teacher_is_asked(
    settings: dict[str, object], message: str, tmp_path: Path, tiny_images: Path
) -> None:
    """A teacher is asked once when it is loaded; here it would end the test. With a store it would have filled it."""
    stopping = {"model": Colours(calls=0), "name": "colours", "size": 32}
    own = settings.get("teachers", [{}])
    assert isinstance(own, list)
    config = _config(tmp_path / "run", tiny_images, **{**settings, "teachers": [{**stopping, **own[0]}]})
    with pytest.raises((ConfigError, TeacherError), match=message):
        train_stages([Stage(None, config)])
    stored = _config(
        tmp_path / "run",
        tiny_images,
        **{**settings, "teachers": [{**stopping, **own[0]}]},
        store=tmp_path / "store",
        targets="stored",
        views={"per_image": 1},
    )
    with pytest.raises((ConfigError, TeacherError), match=message):
        train(stored)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_names_its_misspelt_student_before_the_first_runs(tmp_path: Path, tiny_images: Path) -> None:
    """The second stage's, though the first could run."""
    first = _config(tmp_path / "run/stages/a", tiny_images)
    second = _config(tmp_path / "run", tiny_images, student="timm/resnet81")
    with pytest.raises(ConfigError, match=r"stage 'b': timm has no model 'resnet81'; did you mean 'resnet"):
        train_stages([Stage("a", first), Stage("b", second)])
    assert not (tmp_path / "run").exists()


def test_a_domain_on_which_no_teacher_is_trusted_is_named(tmp_path: Path, tiny_images: Path) -> None:
    """With its images and both ways out; not where somebody is."""
    teacher = {"model": Colours(), "name": "colours", "size": 32}
    some = {**teacher, "domains": ["discs", "crosses"]}

    def said(name: str, **settings: object) -> str:
        run = train(_config(tmp_path / name, tiny_images, steps=1, **settings))
        return (run.folder / "log.txt").read_text()

    log = said("alone", teachers=[some])
    assert log.count("warning: no teacher is trusted on the domain 'squares': its ") == 1
    assert "learns nothing from them; leave them out by domains=[discs,crosses], or give a teacher" in log
    other = {**teacher, "name": "other", "domains": ["squares"]}
    assert "no teacher is trusted" not in said("both", teachers=[some, other])
    assert "no teacher is trusted" not in said("cut", teachers=[some], domains=["discs", "crosses"])


class _Dead(Colours):
    """A teacher that says the same of every image."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        return 0 * super().forward(image) + 0.3


@pytest.mark.parametrize(("teacher", "count"), [(Colours(), 0), (_Dead(), 1)])
def test_a_teacher_that_says_the_same_of_all_images_is_named_once(
    teacher: Colours, count: int, tmp_path: Path, tiny_images: Path
) -> None:
    """In the first step, whatever comes."""
    given = {"model": teacher, "name": "theirs", "size": 32}
    run = train(_config(tmp_path / "run", tiny_images, teachers=[given]))
    log = (run.folder / "log.txt").read_text()
    assert log.count("warning: teacher theirs says the same of all images of a batch") == count


def test_a_start_from_random_weights_is_said_once(tmp_path: Path, tiny_images: Path) -> None:
    """With a tag that timm has; not when the run goes on, and not where random weights were asked for."""
    run = train(_config(tmp_path / "run", tiny_images))
    log = (run.folder / "log.txt").read_text()
    assert log.count(HINT) == 1
    tag = published_tag("test_efficientnet")
    assert f"student timm/test_efficientnet {HINT}; a tag such as .{tag} takes timm's" in log
    asked = {"model": "timm/test_efficientnet", "weights": "random"}
    run = train(_config(tmp_path / "asked", tiny_images, student=asked))
    assert HINT not in (run.folder / "log.txt").read_text()


def test_what_begins_elsewhere_needs_no_hint() -> None:
    """A tag, a file, a student that goes on, and a network to be divided, which no weights fit."""
    for spec in (
        StudentSpec(model="timm/resnet18.a1_in1k"),
        StudentSpec(model="timm/resnet18", weights="mine.pth"),
        StudentSpec(model="alumnus:runs/a/student"),
        StudentSpec.model_validate({"model": "timm/test_vit", "split": 0.4}),
    ):
        assert random_start(spec) is None


def test_random_weights_are_the_same_whether_asked_for_or_not(tmp_path: Path, tiny_images: Path) -> None:
    """`weights: random` takes none of a tag's either, only its mean and std."""
    plain = build_student(_config(tmp_path, tiny_images)).state_dict()
    for model in ("timm/test_efficientnet", f"timm/test_efficientnet.{published_tag('test_efficientnet')}"):
        asked = {"model": model, "weights": "random"}
        found = build_student(_config(tmp_path, tiny_images, student=asked)).state_dict()
        assert all(
            (found[name] == value).all() for name, value in plain.items() if name.startswith("backbone.")
        )


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 50},
        {"size": 10},
        {"size": 32, "views": {"sizes": [32, 50]}},
        {"students": ["timm/test_efficientnet", "timm/deit_tiny_patch16_224"], "size": 50},
    ],
)
def test_a_size_that_would_be_cut_off_is_refused_before_a_teacher_is_asked(
    tmp_path: Path, tiny_images: Path, changes: dict[str, object]
) -> None:
    """Timm leaves the last rows and columns out in silence where patches do not fit; a teacher is refused by the same check."""
    student = {"student": None if "students" in changes else "timm/deit_tiny_patch16_224"}
    teacher = Colours(calls=0)
    config = _config(
        tmp_path / "run",
        tiny_images,
        **{
            **student,
            **changes,
            "teachers": [{"model": teacher, "name": "colours", "size": 32}],
        },
    )
    size, valid = (10, 16) if changes["size"] == 10 else (50, 48)
    said = f"student timm/deit_tiny_patch16_224: size={size} is not a multiple of its patches of 16 px; nearest valid is {valid}"
    with pytest.raises(ConfigError, match=re.escape(said)):
        train(config)
    assert not (tmp_path / "run" / "config.yaml").exists()
    with pytest.raises(ConfigError, match=re.escape(said)):
        build_student(config.each_student[-1])


def test_smaller_patches_and_convolutions_take_other_sizes() -> None:
    """What is left out in silence is refused, nothing else."""
    check_student(StudentSpec(model="timm/test_efficientnet"), sizes=(50,))
    check_student(StudentSpec(model="timm/levit_128s"), sizes=(224,))
    check_student(StudentSpec(model="timm/swin_tiny_patch4_window7_224"), sizes=(48, 112))  # it pads
    check_student(StudentSpec(model="timm/swinv2_tiny_window8_256"), sizes=(48, 112))
    with pytest.raises(ConfigError, match=r"size=50 is not a multiple of its patches of 4 px"):
        check_student(StudentSpec(model="timm/swin_tiny_patch4_window7_224"), sizes=(50,))
    check_student(StudentSpec(model="timm/test_vit", model_args={"patch_size": 5}), sizes=(50,))
    check_student(StudentSpec(model="timm/test_vit", model_args={"dynamic_img_pad": True}), sizes=(50,))


def test_a_student_folder_goes_on(tmp_path: Path) -> None:
    """It is looked at, not loaded."""
    made = Student(Architecture(model="test_efficientnet", size=32, embed_dim=8))
    check_student(StudentSpec(model=f"alumnus:{save_student(made, tmp_path / 'student')}"))


def test_a_run_goes_on_with_its_student(tmp_path: Path, tiny_images: Path) -> None:
    """As a run folder is a teacher: what is inside is meant."""
    made = Student(Architecture(model="test_efficientnet", size=32, embed_dim=8))
    save_student(made, tmp_path / "run" / "student")
    asked = {"model": f"alumnus:{tmp_path / 'run'}"}
    check_student(StudentSpec(**asked))
    found = build_student(_config(tmp_path, tiny_images, student=asked, embed_dim=8, size=32))
    assert all((found.state_dict()[name] == value).all() for name, value in made.state_dict().items())
