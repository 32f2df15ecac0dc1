"""An audit of planted teachers finds what was planted; its words and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

import alumnus
from alumnus.auditing.facts import Audit, write_json
from alumnus.auditing.run import audit
from alumnus.errors import ConfigError, DataError, NonFiniteError, TeacherError
from alumnus.report.audit import verdict
from tests.auditing.planted import SIDE, ground, only_stones, plant, texture, turned

TEACHERS = [
    {"model": texture, "name": "texture", "size": SIDE, "licence": "MIT"},
    {"model": turned, "name": "turned", "size": SIDE, "licence": "cc-by-nc-4.0"},
    {"model": ground, "name": "ground", "size": SIDE},
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of 72 labelled validation images, and a file that is no image."""
    folder = plant(tmp_path_factory.mktemp("planted") / "set")
    (folder / "stones-0-0.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def found(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The audit of a good teacher, its rotated copy, and one that sees nothing."""
    return audit(data=planted, teachers=TEACHERS, out=tmp_path_factory.mktemp("out"), workers=0)


def test_a_rotated_copy_is_redundant(found: Audit) -> None:
    """One of the two, whichever was faster on this machine; they agree entirely."""
    pair = found.domains[0].agreement["texture", "turned"]
    assert (round(pair.cka.mean, 3), round(pair.mutual_knn.mean, 3)) == (1, 1)
    partners = {found.suggestion(name).redundant_with for name in ("texture", "turned")}
    assert None in partners
    assert partners & {"texture", "turned"}


def test_a_teacher_that_sees_nothing_is_left_out(found: Audit) -> None:
    """It is no better than pixels, and far below the best."""
    suggestion = found.suggestion("ground")
    assert (suggestion.is_kept, suggestion.domains) == (False, ())
    assert found.agreement["texture", "ground"].cka.mean < 0.2


def test_a_teacher_that_sees_one_domain_is_trusted_only_there(planted: Path) -> None:
    """Elsewhere its vectors say nothing of the class. Its features on stones are those of nobody else here."""
    specialist = {"model": only_stones, "name": "specialist", "size": SIDE}
    leaves = {"model": _only_leaves, "name": "leaves", "size": SIDE}
    found = audit(data=planted, teachers=[specialist, leaves], workers=0)
    assert found.suggestion("specialist").domains == ("stones",)
    assert found.suggestion("leaves").domains == ("leaves",)
    entries = yaml.safe_load(found.recipe)["teachers"]
    assert [entry["domains"] for entry in entries] == [["stones"], ["leaves"]]


def _dead(image: Tensor) -> Tensor:
    return torch.full((len(image), 8), 0.3)


def test_a_teacher_that_says_the_same_of_all_images_is_left_out(planted: Path, tmp_path: Path) -> None:
    """In words, though there is no other teacher that would be better; the numbers of the audit stand it."""
    found = audit(
        data=planted, teachers=[{"model": _dead, "name": "dead", "size": SIDE}], workers=0, limit=20
    )
    assert verdict(found, found.teachers[0]) == "leave out: says the same of all images"
    assert "# left out: dead, " in found.recipe
    assert "says the same of all images" in found.recipe
    assert found.suggestion("dead").domains == ()
    write_json(found, tmp_path)


def test_scores_are_those_of_the_planted_classes(found: Audit) -> None:
    """The texture tells all six classes apart, pixels and the ground hardly better than chance."""
    for domain in found.domains:
        assert domain.pixels is not None
        assert domain.scores["texture"].recall.mean == domain.scores["texture"].knn.mean == 1
        assert domain.pixels.mean < 0.4
        assert domain.scores["ground"].recall.mean < 0.4
        assert domain.scores["texture"].versus_pixels.low > 0.5
    assert [(domain.name, domain.split, domain.num_classes) for domain in found.domains] == [
        ("stones", "val", 6),
        ("leaves", "val", 6),
    ]


def test_bad_images_are_set_aside(found: Audit, planted: Path, tmp_path: Path) -> None:
    """The audit goes on without them and lists them, anew each time."""
    assert (found.num_bad, found.num_images) == (1, 143)
    for _ in range(2):
        audit(data=planted, teachers=TEACHERS[:1], out=tmp_path, workers=0)
        lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
        assert [json.loads(line)["file_name"] for line in lines] == ["stones-0-0.png"]


def test_features_and_costs(found: Audit, planted: Path) -> None:
    """Against a naive calculation from all images; what torch does not do costs nothing that is known."""
    facts = {teacher.name: teacher for teacher in found.teachers}
    assert facts["turned"].norm == pytest.approx(7 * facts["texture"].norm, rel=1e-4)
    assert facts["turned"].effective_rank == pytest.approx(facts["texture"].effective_rank, rel=1e-4)
    assert facts["turned"].multiply_adds == 32 * 32
    assert facts["texture"].multiply_adds is None
    assert all(teacher.ms_per_image > 0 for teacher in found.teachers)


def test_licences_are_warned_of(found: Audit) -> None:
    """A teacher's weights forbid selling; another's are unknown; MIT is silent."""
    said = {name: warning for warning, names in found.warnings.items() for name in names}
    assert set(said) == {"turned", "ground"}
    assert "forbids commercial use" in said["turned"]


def test_the_file_holds_everything(planted: Path, tmp_path: Path) -> None:
    """As strict JSON, with the names of the fields as keys."""
    found = audit(
        data=planted,
        teachers=[*TEACHERS[:1], {**TEACHERS[2], "name": "still", "model": _still}],
        out=tmp_path,
        workers=0,
    )
    read = json.loads((tmp_path / "audit.json").read_text())
    assert read["version"] == 1
    assert read["domains"][0]["scores"]["texture"]["recall"] == [1, 1, 1]
    assert read["domains"][0]["agreement"]["texture | still"]["cka"] == [None, None, None]
    assert read["suggestions"][0]["weight"] == 1
    assert read["recipe"] == found.recipe


def test_two_audits_say_the_same(planted: Path) -> None:
    """But for the time that things took."""
    first, again = (audit(data=planted, teachers=TEACHERS, limit=40, workers=0) for _ in range(2))
    assert first.domains == again.domains
    assert first.agreement == again.agreement
    assert all(domain.num_images <= 40 for domain in first.domains)


def test_without_labels_only_agreement(tmp_path: Path) -> None:
    """The recipe's trust and weights stay, and the note says why."""
    plant(tmp_path / "set", has_labels=False, split="train")
    found = audit(
        data=tmp_path / "set",
        teachers=[{**TEACHERS[0], "weight": 2.0, "domains": ["stones"]}, TEACHERS[2]],
        workers=0,
    )
    assert [domain.scores for domain in found.domains] == [{}, {}]
    assert "agreement only" in found.domains[0].note
    suggestion = found.suggestion("texture")
    assert (suggestion.weight, suggestion.domains, suggestion.is_kept) == (2.0, ("stones",), True)
    assert found.domains[0].agreement["texture", "ground"].num_images == 72


def test_a_recipe_and_its_changes(planted: Path, tmp_path: Path) -> None:
    """The file that trains is the file that is audited; words change it as they do for training."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {planted}\nstudent: timm/resnet18\nsteps: 5\nteachers:\n"
        "  - {model: timm/test_vit, weights: random, size: 32, name: tiny}\n  - timm/nonsense\n"
    )
    words = [
        "teachers.1.model=python:tests.auditing.test_run:make_ground",
        "teachers.1.size=32",
        "teachers.1.name=other",
    ]
    found = alumnus.audit(recipe, words, domains=["stones"], workers=0)
    assert [teacher.name for teacher in found.teachers] == ["tiny", "other"]
    assert [domain.name for domain in found.domains] == ["stones"]
    assert found.teachers[0].num_parameters is not None
    assert found.teachers[0].multiply_adds is not None


def test_the_training_split_is_named_where_it_is_used(tmp_path: Path) -> None:
    """A teacher may have learnt it by heart."""
    plant(tmp_path / "set", split="train", domains=["stones"])
    found = audit(data=tmp_path / "set", teachers=TEACHERS[:1], workers=0)
    assert found.domains[0].split == "train"
    assert "learnt these labels" in found.domains[0].note


def test_few_labels_decide_nothing(tmp_path: Path) -> None:
    """And the note says how many would."""
    plant(tmp_path / "set", classes=2, a_class=5, domains=["stones"])
    found = audit(data=tmp_path / "set", teachers=[TEACHERS[0], TEACHERS[2]], workers=0)
    assert found.suggestion("ground").is_kept
    assert "decide nothing; 50 would" in found.domains[0].note


def test_wrong_input_is_refused(planted: Path, tmp_path: Path) -> None:
    """With what is wrong in words."""
    with pytest.raises(ConfigError, match="data: needed"):
        audit(teachers=["timm/resnet18"])
    with pytest.raises(ConfigError, match="there is none to audit"):
        audit(data=planted)
    with pytest.raises(ConfigError, match="limit=1"):
        audit(data=planted, teachers=TEACHERS, limit=1)
    with pytest.raises(DataError, match="no domain 'stone'"):
        audit(data=planted, teachers=TEACHERS, domains=["stone"])
    with pytest.raises(TeacherError, match="two teachers are called 'texture'"):
        audit(data=planted, teachers=[TEACHERS[0], TEACHERS[0]], workers=0)
    with pytest.raises(TeacherError, match="trusted on 'moss'"):
        audit(data=planted, teachers=[{**TEACHERS[0], "domains": ["moss"]}], workers=0)
    plant(tmp_path / "set", split="test")
    with pytest.raises(DataError, match="val and train only"):
        audit(data=tmp_path / "set", teachers=TEACHERS, workers=0)


def test_a_teacher_that_breaks_is_named(planted: Path) -> None:
    """With NaN for some images only, which its loading does not show."""
    with pytest.raises(NonFiniteError, match="breaks"):
        audit(data=planted, teachers=[{"model": _breaks, "name": "breaks", "size": SIDE}], workers=0)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    """That gives the reason of the last one."""
    folder = plant(tmp_path / "set", classes=2, a_class=3, domains=["stones"])
    for path in folder.glob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="not one of 6 images could be read"):
        audit(data=folder, teachers=TEACHERS[:1], workers=0)


@pytest.mark.parametrize(
    "given", [{"student": "timm/test_resnet"}, {"students": ["timm/test_resnet", "timm/test_vit"]}]
)
def test_a_recipe_for_training_can_be_audited(
    given: dict[str, object], planted: Path, tmp_path: Path
) -> None:
    """With one student or several, which have no part in it."""
    entry = {"model": "python:tests.auditing.test_run:make_ground", "name": "ground", "size": SIDE}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": str(planted), "teachers": [entry], "out": "run", **given}))
    assert [each.name for each in audit(recipe, limit=4, workers=0).teachers] == ["ground"]


def make_ground() -> object:
    """What `python:…:make_ground` finds."""
    return ground


def _only_leaves(image: Tensor) -> Tensor:
    is_leaf = image[:, 2:].mean((1, 2, 3)) > 0.5
    return torch.where(is_leaf[:, None], turned(image), ground(image))


def _still(image: Tensor) -> Tensor:
    return torch.ones(len(image), 4)


def _breaks(image: Tensor) -> Tensor:
    vectors = texture(image)
    is_leaf = image[:, 2:].mean((1, 2, 3)) > 0.6
    return torch.where(is_leaf[:, None], torch.full_like(vectors, np.nan), vectors)
