"""Which teachers say what, the student's layers by number, and what is learnt from the teacher's end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alumnus.classes import ClassifierSettings
from alumnus.errors import ConfigError
from alumnus.intermediate import FinalDistillation, StudentLayers, roles_of
from alumnus.losses import feature_distance
from alumnus.methods.kd import KnowledgeDistillation
from alumnus.models.backbone import Taps
from alumnus.objective import Setup, TeacherWidth
from tests.methods.examples import make_batch, make_setup, make_student, make_targets

LAYER = TeacherWidth(5, 1.0, output="layer:x", grid=(16, 5))
PATCHES = TeacherWidth(5, 1.0, output="patches", grid=(16, 5))
GRAPH = TeacherWidth(3, 1.0, output="probs")
ANY = ClassifierSettings(name="m")
LOGITS, SUMMARY = TeacherWidth(3, 1.0, output="logits"), TeacherWidth(4, 1.0)


def _setup(teachers: dict[str, TeacherWidth]) -> Setup:
    return Setup(8, 8, teachers, {"a": 0})


def test_the_end_is_the_teacher_without_a_grid_or_the_last_with_one() -> None:
    """Wherever it stands in the recipe."""
    assert roles_of(_setup({"end": LOGITS, "a": LAYER, "b": LAYER}), ANY) == (("a", "b"), "end", True)
    assert roles_of(_setup({"a": LAYER, "b": PATCHES}), ANY) == (("a", "b"), "b", False)


def test_the_end_of_a_graph_is_logits_if_it_is_named() -> None:
    """A graph has names of its own for what it gives; a layer cannot be named."""
    setup, named = _setup({"end": GRAPH, "a": LAYER}), ClassifierSettings(name="m", logits=("end",))
    assert not roles_of(setup, ANY).is_logits
    assert roles_of(setup, named).is_logits
    with pytest.raises(ConfigError, match="names 'a', and only the end, 'end', may give logits"):
        roles_of(setup, ClassifierSettings(name="m", logits=("a",)))


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ({}, "no teacher gives one"),
        ({"end": LOGITS}, "no teacher gives one; set output=layer:NAME"),
        ({"a": LAYER}, "a is a layer inside; give the same model once more"),
        ({"a": LAYER, "b": SUMMARY, "c": LOGITS}, "b, c give no grid"),
        (
            {"a": TeacherWidth(5, 1.0, output="patches", grid=(17, 5))},
            "'a' gives 17 patches, which are no square",
        ),
        ({"a": LAYER, "end": TeacherWidth(3, 2.0)}, "'end': weight=2 has no effect"),
    ],
)
def test_other_teachers_are_refused(teachers: dict[str, TeacherWidth], message: str) -> None:
    """Each with what to change."""
    with pytest.raises(ConfigError, match=message):
        roles_of(_setup(teachers), ANY)


def test_layers_are_numbered_from_both_sides() -> None:
    """The last grid is -1; what there is not is refused with what there is, and so is a student without a grid."""
    student = make_student(size=64)
    layers = StudentLayers(make_setup({"a": LAYER, "end": SUMMARY}, student), method="m")
    assert [layers.number(place) for place in (0, -1, -len(layers))] == [0, len(layers) - 1, 0]
    with pytest.raises(
        ConfigError, match=f"the student has {len(layers)} layers, of 32, .*got {len(layers)}"
    ):
        layers.number(len(layers))
    _, found = layers.of(student, make_batch(size=64), inner=True)
    assert tuple(layer.shape[2] for layer in found) == layers.dims
    assert {layer.shape[1] for layer in found} == {4}
    _, (last,) = layers.of(student, make_batch(size=64), inner=False)
    assert torch.equal(last, found[-1])
    with pytest.raises(ConfigError, match="the student ends in none"):
        StudentLayers(Setup(8, 8, {}, {}, Taps()), method="m")


def test_of_logits_it_is_kd() -> None:
    """With the same heads, term by term."""
    student, teachers = make_student(), {"end": LOGITS}
    setup = make_setup(teachers, student)
    final = FinalDistillation(setup, "end", temperature=3.0, is_logits=True)
    kd = KnowledgeDistillation(setup, num_classes=3, temperature=3.0)
    assert isinstance(final.head, nn.Linear)
    assert isinstance(final.embedding_head, nn.Linear)
    kd.head, kd.embedding_head = final.head, final.embedding_head
    targets = make_targets(teachers, {"end": (1, 4, 5)})
    found = final(student(make_batch().image), targets)
    wanted = kd(student, make_batch(), targets, 0.0)
    assert torch.allclose(found, wanted.per_sample[[1, 4, 5]], atol=1e-6)


def test_of_a_summary_it_is_the_distance_of_plain() -> None:
    """To standardised targets, whose statistics move in training alone; of no image it is nothing."""
    student, teachers = make_student(), {"end": SUMMARY}
    final = FinalDistillation(make_setup(teachers, student), "end", temperature=1.0, is_logits=False)
    targets, output = make_targets(teachers), student(make_batch().image)
    found = final.train()(output, targets)
    said = targets["end"].features.summary
    assert final.normaliser is not None
    assert torch.equal(final.eval()(output, targets), found)
    wanted = feature_distance(final.embedding_head(output.embedding * 8**0.5), final.normaliser(said))
    assert torch.allclose(found, wanted, atol=1e-6)
    assert not torch.allclose(final.normaliser(said), said)
    assert final.train()(output, make_targets(teachers, {"end": ()})).shape == (0,)
