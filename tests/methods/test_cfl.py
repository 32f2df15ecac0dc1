"""`cfl`: soft targets over all classes, MMD in the common space, reconstruction from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods.cfl import PUBLISHED, CommonFeatures, Settings, build, spanned
from alumnus.models.backbone import Taps, taps_of
from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Batch, Features, Target

TEACHERS = {
    "faces": TeacherWidth(5, 1.0),
    "keys": TeacherWidth(7, 3.0),  # `keys` is a name that ModuleDict has itself
    "faces_logits": TeacherWidth(3, 1.0, output="logits"),
    "keys_logits": TeacherWidth(4, 1.0, output="logits"),
}
MAPS = {
    "fine": TeacherWidth(5, 1.0, output="patches", grid=(16, 5)),
    "coarse": TeacherWidth(6, 1.0, output="patches", grid=(1, 6)),
    "classes": TeacherWidth(3, 1.0, output="logits"),
}
ARCHITECTURE = Architecture(model="test_resnet", size=64, embed_dim=8)
COUNT = 6


def _student(objective: CommonFeatures) -> Student:
    torch.manual_seed(0)
    student = Student(ARCHITECTURE).eval()
    student.classify(objective.classes)
    return student


def _setup(teachers: Mapping[str, TeacherWidth]) -> Setup:
    student = Student(ARCHITECTURE)
    return Setup(student.num_features, 8, teachers, {"a": 0}, taps_of(student.backbone, size=64))


def _objective(teachers: Mapping[str, TeacherWidth] = TEACHERS, **settings: object) -> CommonFeatures:
    setup = _setup(teachers)
    torch.manual_seed(0)
    objective = build(Settings.model_validate(settings), setup)
    assert isinstance(objective, CommonFeatures)
    return objective


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (COUNT, 3, 64, 64), dtype=torch.uint8, generator=generator)
    zeros = torch.zeros(COUNT, dtype=torch.int64)
    return Batch(image, {}, zeros, zeros, zeros, zeros, zeros - 1)


def _targets(teachers: Mapping[str, TeacherWidth] = TEACHERS, **places: list[int]) -> dict[str, Target]:
    """Of all images, or of those at the places given for a teacher."""
    found = {}
    for name, teacher in teachers.items():
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        summary = torch.randn(COUNT, teacher.num_features, generator=generator) * 3 + 1
        patches = None if teacher.grid is None else torch.randn(COUNT, *teacher.grid, generator=generator)
        here = torch.tensor(places.get(name, list(range(COUNT))), dtype=torch.int64)
        found[name] = Target(Features(summary[here], None if patches is None else patches[here]), here)
    return found


def _mmd(x: Tensor, y: Tensor, widths: list[float]) -> float:
    def mean(a: Tensor, b: Tensor) -> float:
        pairs = [(p - q).square().sum().item() for p in a for q in b]
        return sum(sum(pow(2.718281828459045, -d / (2 * s * s)) for s in widths) for d in pairs) / len(pairs)

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


@torch.no_grad()
def test_loss_equals_a_naive_reference() -> None:
    """Published kernels, raw features, all weights given: every term written out, teachers weighted 1 : 3."""
    objective = _objective(
        kernels="published",
        normalise="none",
        source="summary",
        soft=0.5,
        common=3,
        reconstruction=2,
        paired=0.7,
    )
    student, targets = _student(objective), _targets()
    terms = objective(student, _batch(), targets, 0.0)
    output = student(_batch().image)
    logits = output.logits
    assert logits is not None
    wanted = torch.cat([targets["faces_logits"].features.summary, targets["keys_logits"].features.summary], 1)
    p = wanted.softmax(1)
    soft = float((p * (p / logits.softmax(1)).log()).sum(1).mean())
    total, space = 0.5 * soft, objective.space
    ours = functional.normalize(space.of_student(output.features.summary), dim=1)
    for name, share in (("faces", 0.5), ("keys", 1.5)):
        feature = targets[name].features.summary
        h = space.of_teacher(name, feature)
        rec = float((space.reconstruct(name, h) - feature).square().mean())
        theirs = functional.normalize(h, dim=1)
        paired = float((1 - (ours * theirs).sum(1)).mean())
        own = share * (3 * _mmd(ours, theirs, list(PUBLISHED)) + 2 * rec + 0.7 * paired)
        assert terms.report[f"loss/{name}"].item() == pytest.approx(own, rel=1e-4)
        total += own
    assert terms.report["soft"].item() == pytest.approx(soft, rel=1e-4, abs=1e-5)
    assert terms.loss.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize(("kernels", "common"), [("published", 10), ("median", 0.1)])
def test_default_weights(kernels: str, common: float) -> None:
    """With published kernels 1, 10, 10 for two teachers and 1, 20, 20 for four; those of the median rule have a hundredth."""
    two = _objective(kernels=kernels)
    many = {f"t{i}": TeacherWidth(3, 1.0) for i in range(4)} | {"l": TEACHERS["keys_logits"]}
    four = _objective(many, kernels=kernels)
    assert (two.settings.soft, two.common, two.reconstruction) == (1, common, 10)
    assert (four.settings.soft, four.common, four.reconstruction) == (1, 2 * common, 20)


def test_the_order_of_teachers_does_not_matter() -> None:
    """The same first weights, and the same loss, with the teachers listed the other way round, whose classes then stand in that order."""
    one, other = _objective(), _objective(dict(reversed(TEACHERS.items())))
    students = _student(one), _student(other)
    order = [3, 4, 5, 6, 0, 1, 2]  # keys first
    for to, of in zip(students[1].parameters(), students[0].parameters(), strict=True):
        to.data.copy_(of.data)
    assert students[0].classifier is not None
    assert students[1].classifier is not None
    students[1].classifier.weight.data.copy_(students[0].classifier.weight.data[order])
    students[1].classifier.bias.data.copy_(students[0].classifier.bias.data[order])
    a = one(students[0], _batch(), _targets(), 0.0).loss
    b = other(students[1], _batch(), dict(reversed(_targets().items())), 0.0).loss
    assert a.item() == pytest.approx(b.item(), rel=1e-5)


def test_identical_teachers_can_all_be_met() -> None:
    """The floor is 0: where student and two equal teachers are aligned alike, the MMD to both vanishes, and so does the paired term."""
    twins = {"one": TeacherWidth(5, 1.0), "two": TeacherWidth(5, 1.0), "classes": TEACHERS["keys_logits"]}
    objective = _objective(twins, normalise="none", source="summary", paired=1)
    feature = torch.randn(COUNT, 5)
    for align in (objective.space.align["teacher_one"], objective.space.align["teacher_two"]):
        align.load_state_dict(objective.space.align["teacher_one"].state_dict())
    common = objective.space.of_teacher("one", feature)
    for name in ("one", "two"):
        parts = objective._parts(name, common, Features(feature))
        assert parts.common.item() == pytest.approx(0, abs=1e-6)
        assert parts.paired.abs().max().item() == pytest.approx(0, abs=1e-6)


@torch.no_grad()
def test_only_the_paired_term_sees_which_image_is_which() -> None:
    """A shuffled batch of one teacher leaves the MMD as it is, and changes the paired term."""
    objective = _objective(normalise="none")
    feature, order = torch.randn(COUNT, 5), torch.tensor([1, 2, 3, 4, 5, 0])
    common = torch.randn(COUNT, objective.space.extract[0].in_features)  # type: ignore[index]
    straight = objective._parts("faces", common, Features(feature))
    shuffled = objective._parts("faces", common, Features(feature[order]))
    assert shuffled.common.item() == pytest.approx(straight.common.item(), abs=1e-6)
    assert abs(float(shuffled.paired.mean() - straight.paired.mean())) > 1e-3


@torch.no_grad()
def test_soft_targets_are_over_the_classes_that_are_known() -> None:
    """An image of which one classifier speaks is compared on its classes alone; one that nobody knows is left out of the mean."""
    objective = _objective()
    student = _student(objective)
    targets = _targets(faces_logits=[0, 1], keys_logits=[1, 2])
    terms = objective(student, _batch(), targets, 0.0)
    logits = student(_batch().image).logits
    assert logits is not None
    z = {name: targets[name].features.summary for name in ("faces_logits", "keys_logits")}
    pairs = [
        (z["faces_logits"][0], logits[0, :3]),
        (torch.cat([z["faces_logits"][1], z["keys_logits"][0]]), logits[1]),
        (z["keys_logits"][1], logits[2, 3:]),
    ]
    wanted = [float((t.softmax(0) * (t.softmax(0) / s.softmax(0)).log()).sum()) for t, s in pairs]
    assert terms.report["soft"].item() == pytest.approx(sum(wanted) / 3, rel=1e-4)


def test_a_teacher_without_images_in_the_batch_is_silent() -> None:
    """No image on which it is trusted: no term, no gradient, no update of its statistics."""
    objective = _objective()
    terms = objective(_student(objective), _batch(), _targets(faces=[]), 0.0)
    terms.loss.backward()
    assert "loss/faces" not in terms.report
    assert all(p.grad is None for p in objective.space.align["teacher_faces"].parameters())
    assert int(objective.normalisers["teacher_faces"].count) == 0  # type: ignore[arg-type]


def test_of_one_image_all_but_the_mmd_is_learnt() -> None:
    """It is no distribution, but it is reconstructed, and paired with what the student says."""
    objective = _objective(paired=2.0)
    nothing = _targets(faces=[], keys=[], faces_logits=[], keys_logits=[])
    one = {**nothing, "faces": _targets(faces=[2])["faces"]}
    terms = objective(_student(objective), _batch(), one, 0.0)
    terms.loss.backward()
    assert terms.report["common"] == 0
    assert terms.report["reconstruction"] > 0
    assert terms.report["paired"] > 0
    assert terms.per_sample.nonzero().flatten().tolist() == [2]
    # To the sampler the image is no easier because the other teacher, with three quarters of the weight, is silent.
    assert terms.per_sample[2].item() == pytest.approx(4 * terms.loss.item(), rel=1e-5)


def test_a_batch_that_nobody_knows_has_a_gradient_of_zero() -> None:
    """Nothing is learnt from it, and nothing breaks."""
    objective = _objective()
    student = _student(objective)
    nowhere = _targets(faces=[], keys=[], faces_logits=[], keys_logits=[])
    terms = objective(student, _batch(), nowhere, 0.0)
    terms.loss.backward()
    assert terms.loss.item() == 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in student.parameters())


@pytest.mark.parametrize("maps", [False, True])
def test_gradients_reach_everything_but_the_targets(maps: bool) -> None:
    """Backbone, classifier, aligning layers, extractor and decoders learn; teachers do not."""
    teachers = MAPS if maps else TEACHERS
    objective = _objective(teachers, features="patches" if maps else "summary", paired=1)
    student, targets = _student(objective), _targets(teachers)
    given = [each for target in targets.values() for each in target.features if each is not None]
    for each in given:
        each.requires_grad_()
    objective(student, _batch(), targets, 0.0).loss.backward()
    assert all(each.grad is None for each in given)
    assert all(p.grad is not None for p in objective.parameters())
    untouched = [name for name, p in student.named_parameters() if p.grad is None]
    assert untouched == (["embed.weight", "embed.bias"] if maps else [])


def test_maps_of_different_sides_meet_at_the_smaller() -> None:
    """A grid of 4 x 4 and one of 1 x 1 against the student's 2 x 2; a grid of one cell is compared as the mean of the student's."""
    objective = _objective(MAPS, features="patches", normalise="none")
    student = _student(objective)
    grid = _setup(MAPS).taps.grid
    assert grid is not None
    assert (grid.height, grid.width) == (2, 2)
    terms = objective(student, _batch(), _targets(MAPS), 0.0)
    assert {"loss/fine", "loss/coarse", "soft"} <= set(terms.report)
    assert torch.isfinite(terms.loss)


def test_the_scale_of_a_teacher_does_not_matter_unless_asked_for() -> None:
    """Features 1,000 times as large change nothing with normalise=running, and the reconstruction a lot without."""
    scaled = _targets()
    scaled["faces"] = Target(Features(scaled["faces"].features.summary * 1000 + 5), scaled["faces"].places)
    for normalise, is_same in (("running", True), ("none", False)):
        objectives = [_objective(normalise=normalise) for _ in range(2)]
        a, b = (
            objective(_student(objective), _batch(), targets, 0.0).loss.item()
            for objective, targets in zip(objectives, (_targets(), scaled), strict=True)
        )
        assert (a == pytest.approx(b, rel=1e-3)) == is_same


def test_dimensions_that_points_fill() -> None:
    """A line fills one, a cross of four equal arms in two dimensions two, a point none; the mean does not count."""
    line = torch.arange(5.0)[:, None] * torch.ones(5, 3)
    cross = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert spanned(line + 7).item() == pytest.approx(1, abs=1e-5)
    assert spanned(cross + 7).item() == pytest.approx(2, abs=1e-5)
    assert spanned(cross.repeat(1, 3)).item() == pytest.approx(2, abs=1e-5)  # fewer rows than columns
    assert spanned(torch.ones(4, 3)).item() == 0


@pytest.mark.parametrize(
    ("teachers", "settings", "says"),
    [
        ({}, {}, "two teachers or more, and there are 0 of features and 0 of logits"),
        (["faces", "faces_logits"], {}, "there are 1 of features and 1 of logits.*method=plain"),
        (["faces_logits", "keys_logits"], {}, "needs the features.*once more under another name"),
        (
            TEACHERS,
            {"common": 0, "reconstruction": 0},
            "the features of 'faces', 'keys' have no part; remove",
        ),
        (["faces", "keys"], {}, "no teacher gives logits.*method.paired=1"),
        (TEACHERS, {"features": "patches"}, "'faces' has output=summary; give it output=patches"),
        (TEACHERS, {"logits": ["faze"]}, "'faze', which is no teacher"),
        (MAPS, {"features": "patches", "source": "embedding"}, "source=embedding has no patches"),
    ],
)
def test_unsuitable_setups_are_refused(teachers: list[str], settings: dict[str, object], says: str) -> None:
    """With what is missing, and what to do."""
    chosen = {name: {**TEACHERS, **MAPS}[name] for name in teachers}
    with pytest.raises(ConfigError, match=says):
        _objective(chosen, **settings)


def test_grids_that_do_not_fit_are_refused() -> None:
    """A student without a grid, a grid that is no square, and a classifier with a weight."""
    with pytest.raises(ConfigError, match="the student ends in no grid"):
        build(Settings(features="patches"), replace(_setup(MAPS), taps=Taps()))
    oblong = MAPS | {"fine": TeacherWidth(5, 1.0, output="patches", grid=(6, 5))}
    with pytest.raises(ConfigError, match="6 patches, which are no square"):
        _objective(oblong, features="patches")
    with pytest.raises(ConfigError, match="weight=2 has no effect"):
        _objective(TEACHERS | {"keys_logits": TeacherWidth(4, 2.0, output="logits")})


def test_without_classifiers_the_paired_term_carries_the_images() -> None:
    """Teachers of features alone are enough then, and the student gets no classifier."""
    objective = _objective({name: TEACHERS[name] for name in ("faces", "keys")}, paired=1)
    student = _student(objective)
    terms = objective(student, _batch(), _targets(), 0.0)
    assert student.classifier is None
    assert "soft" not in terms.report
    assert terms.loss.item() > 0


@torch.no_grad()
def test_without_terms_of_features_it_is_distillation_of_the_classes() -> None:
    """The baseline: classifiers alone, no common space."""
    chosen = {name: TEACHERS[name] for name in ("faces_logits", "keys_logits")}
    objective = _objective(chosen, common=0, reconstruction=0)
    terms = objective(_student(objective), _batch(), _targets(chosen), 0.0)
    assert terms.loss.item() == pytest.approx(terms.report["soft"].item(), rel=1e-6)
    assert not list(objective.normalisers)


def test_half_precision_changes_little() -> None:
    """Under bfloat16 autocast distances and softmaxes are still of float32: the loss is within 3 %, and finite gradients come."""
    losses = []
    for enabled in (False, True):
        objective = _objective(paired=1)
        student = _student(objective)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = objective(student, _batch(), _targets(), 0.0)
        terms.loss.backward()
        assert all(bool(p.grad.isfinite().all()) for p in student.parameters() if p.grad is not None)
        losses.append(terms.loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
