"""`agglomerate`: adaptors to summaries and patches, weights or dropping, relations; with one teacher it is `plain`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.losses import asymmetric_relations
from alumnus.methods import plain
from alumnus.methods.agglomerate import Agglomerate, Settings, build
from alumnus.models.backbone import Taps
from alumnus.models.student import Student
from alumnus.moments import Moments
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Features
from tests.methods.examples import EMBED, make_batch, make_setup, make_student, make_targets, reordered

GRIDS = {
    "dino": TeacherWidth(5, 1.0, output="patches", grid=(16, 3)),  # 4 x 4
    "keys": TeacherWidth(7, 3.0),
    "sam": TeacherWidth(6, 1.0, output="patches", grid=(1, 4)),  # coarser than the student's
}
VECTORS = {name: TeacherWidth(t.num_features, t.weight) for name, t in GRIDS.items()}


def _objective(
    teachers: dict[str, TeacherWidth] = VECTORS, student: Student | None = None, **settings: object
) -> Agglomerate:
    setup = make_setup(teachers, student or make_student())
    torch.manual_seed(0)
    objective = build(Settings.model_validate(settings), setup)
    assert isinstance(objective, Agglomerate)
    return objective


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0, correction=0)


def _unit(a: Tensor, b: Tensor) -> Tensor:
    """UNIC's distance of two vectors."""
    return 0.5 * (1 - functional.cosine_similarity(a, b, dim=0)) + 0.5 * functional.smooth_l1_loss(a, b)


def _summary_losses(
    objective: Agglomerate, student: Student, wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Teacher -> (B,), in loops."""
    output, found = student(make_batch().image), {}
    for name, truth in wanted.items():
        adaptor = objective.get_submodule(f"adaptors.teacher_{name}")
        projector = objective.get_submodule(f"projectors.teacher_{name}")
        vectors = zip(output.features.summary, output.embedding * EMBED**0.5, truth, strict=True)
        found[name] = torch.stack(
            [(_unit(adaptor(s), t) + _unit(projector(e), t)) / 2 for s, e, t in vectors]
        )
    return found


def test_one_teacher_with_linear_adaptors_is_plain() -> None:
    """Loss and gradients are those of `plain` from both vectors, at equal weights."""
    teachers = {"keys": VECTORS["keys"]}
    ours = _objective(teachers, adaptor="linear")
    theirs = plain.build(plain.Settings(source="both"), make_setup(teachers, make_student()))
    assert isinstance(theirs, plain.Plain)
    assert theirs.from_summary is not None
    theirs.from_embedding["teacher_keys"].load_state_dict(ours.projectors["teacher_keys"].state_dict())
    last = ours.get_submodule("adaptors.teacher_keys.last")
    theirs.from_summary["teacher_keys"].load_state_dict(last.state_dict())
    one, other, targets = make_student(), make_student(), make_targets(teachers, {"keys": (0, 2, 3)})
    a, b = ours(one, make_batch(), targets, 0.0), theirs(other, make_batch(), targets, 0.0)
    a.loss.backward()
    b.loss.backward()
    assert a.loss.item() == pytest.approx(b.loss.item(), rel=1e-6)
    assert torch.allclose(a.per_sample, b.per_sample)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        assert torch.allclose(mine.grad, its.grad, atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "cosine", "smooth"),
    [("both", 0.5, 0.5), ("cosine", 1, 0), ("smooth_l1", 0, 1), ("radio", 0.9, 0.1)],
)
def test_summary_and_patch_losses_equal_a_naive_reference(loss: str, cosine: float, smooth: float) -> None:
    """A teacher's loss is the mean of both kinds; its grid is averaged over the student's cells, or interpolated to them."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        apart = 1 - functional.cosine_similarity(a, b, dim=0)
        return cosine * apart + smooth * functional.smooth_l1_loss(a, b)

    student = make_student(size=64)
    batch = make_batch(size=64)
    targets = make_targets(GRIDS)
    objective = _objective(GRIDS, student, patches="linear", patch_loss=loss)
    terms = objective(student, batch, targets, 0.0)
    own = student(batch.image, patches=True).features.patches
    assert own is not None
    assert own.shape[1] == 4
    for name in ("dino", "sam"):
        said = targets[name].features.patches
        assert said is not None
        flat = _standardised(said.flatten(0, 1)).view_as(said)
        if name == "dino":  # rows of four: a cell of the student covers two by two of them
            cells = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
            wanted = torch.stack([flat[:, cell].mean(1) for cell in cells], 1)
        else:
            wanted = flat.repeat(1, 4, 1)
        adaptor = objective.get_submodule(f"patch_adaptors.teacher_{name}")
        losses = [distance(adaptor(own[i, n]), wanted[i, n]) for i in range(len(own)) for n in range(4)]
        mean = torch.stack(losses).mean().item()
        assert terms.report[f"loss/{name}/patches"].item() == pytest.approx(mean, rel=1e-5)
    report = {name: value.item() for name, value in terms.report.items()}
    dino, sam = ((report[f"loss/{name}"] + report[f"loss/{name}/patches"]) / 2 for name in ("dino", "sam"))
    assert terms.loss.item() == pytest.approx((dino + 3 * report["loss/keys"] + sam) / 5, rel=1e-5)
    assert terms.per_sample.mean().item() == pytest.approx(terms.loss.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["cosine", "smooth_l1", "angle"])
def test_each_summary_loss_is_the_one_named(loss: str) -> None:
    """From the embedding and the backbone alike."""
    teachers, student = {"keys": VECTORS["keys"]}, make_student()
    objective = _objective(teachers, summary_loss=loss)
    targets = make_targets(teachers)
    truth = _standardised(targets["keys"].features.summary)
    output = student(make_batch().image)
    guesses = (
        objective.adaptors["teacher_keys"](output.features.summary),
        objective.projectors["teacher_keys"](output.embedding * EMBED**0.5),
    )
    values = []
    for guess in guesses:
        cosine = functional.cosine_similarity(guess, truth)
        smooth = functional.smooth_l1_loss(guess, truth, reduction="none").mean(1)
        values.append(
            {"cosine": 1 - cosine, "smooth_l1": smooth, "angle": cosine.acos() ** 2}[loss].mean().item()
        )
    assert objective(student, make_batch(), targets, 0.0).loss.item() == pytest.approx(
        sum(values) / 2, rel=1e-5
    )


def test_relations_are_added_at_their_weight() -> None:
    """Of what the adaptor says, against the same targets."""
    teachers, student, targets = (
        {"keys": VECTORS["keys"]},
        make_student(),
        make_targets({"keys": VECTORS["keys"]}),
    )
    without, with_it = _objective(teachers), _objective(teachers, relational=0.3)
    guess = without.adaptors["teacher_keys"](student(make_batch().image).features.summary)
    relations = asymmetric_relations(guess, _standardised(targets["keys"].features.summary)).mean().item()
    a, b = (each(student, make_batch(), targets, 0.0).loss.item() for each in (without, with_it))
    assert b - a == pytest.approx(0.3 * relations, rel=1e-4)


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_dropping_divides_by_what_the_whole_batch_keeps(drop: float) -> None:
    """Recomputed from the draws: the hardest stays, the sum over images and teachers is divided by the number kept."""
    student, objective = make_student(), _objective(teacher_dropping=drop)
    places = {"dino": (0, 1, 2, 4), "keys": (1, 2, 3, 4)}  # image 5 has `sam` alone
    targets = make_targets(VECTORS, places)
    torch.manual_seed(11)
    terms = objective(student, make_batch(), targets, 0.0)
    wanted = {name: torch.zeros(6, t.features.summary.shape[1]) for name, t in targets.items()}
    for name, target in targets.items():
        wanted[name][target.places] = _standardised(target.features.summary)
    losses = _summary_losses(objective, student, wanted)
    weighted = {name: 3 * VECTORS[name].weight / 5 * losses[name] for name in sorted(VECTORS)}
    generator = torch.Generator().manual_seed((11 + 0x9E3779B97F4A7C15) % 2**63)
    draw = torch.rand(6, 3, generator=generator)
    total, count, observed = 0.0, 0, list[float]()
    for i in range(6):
        here = {
            name: (weighted[name][i].item(), draw[i, column].item())
            for column, name in enumerate(sorted(VECTORS))
            if i in targets[name].places.tolist()
        }
        hardest = max(here, key=lambda name: here[name][0])
        names = [name for name, (_, drawn) in here.items() if name == hardest or drawn >= drop]
        kept = [here[name][0] for name in names]
        total, count = total + sum(kept), count + len(kept)
        # The mean of what is kept by the recipe's weights: no harder for more teachers.
        shares = [VECTORS[name].weight for name in names]
        observed.append(
            sum(w * losses[n][i].item() for w, n in zip(shares, names, strict=True)) / sum(shares)
        )
    assert terms.loss.item() == pytest.approx(total / count, rel=1e-5)
    for i, mean in enumerate(observed):
        assert terms.per_sample[i].item() == pytest.approx(mean, rel=1e-5)
    assert count == (14 if drop == 0 else count)


def test_draws_are_a_function_of_the_steps_seed_alone() -> None:
    """Not of what was drawn before in the step, as by a student's drop path."""
    student, targets = make_student(), make_targets(VECTORS)

    def loss(*, seed: int, earlier: int) -> float:
        objective = _objective(teacher_dropping=0.5)
        torch.manual_seed(seed)
        torch.rand(earlier)
        return float(objective(student, make_batch(), targets, 0.0).loss.detach())

    assert loss(seed=2, earlier=0) == loss(seed=2, earlier=5)
    assert loss(seed=2, earlier=0) != loss(seed=3, earlier=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"patches": "mlp", "adaptor": "ladder"},
        {"teacher_dropping": 0.5, "relational": 0.5},
        {"weighting": "running"},
        {"weighting": "angle", "normalise": "none", "summary_loss": "angle"},
    ],
)
def test_the_order_of_teachers_does_not_matter(settings: dict[str, object]) -> None:
    """The same first weights, and the same loss, with the teachers listed the other way round, also of what is dropped."""
    student = make_student(size=64)
    one = _objective(GRIDS, student, **settings)
    other = _objective(dict(reversed(GRIDS.items())), student, **settings)
    found = []
    for objective, targets in ((one, make_targets(GRIDS)), (other, reordered(make_targets(GRIDS)))):
        torch.manual_seed(4)
        found.append(objective(student, make_batch(size=64), targets, 0.0).loss.item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("kind", ["ladder", "transformer"])
def test_all_that_is_built_learns_and_no_teacher_does(model: str, kind: str) -> None:
    """Every weight of student and objective has a gradient, whatever the backbone's stages are."""
    student = make_student(model, size=160 if model == "test_vit" else 64)
    objective = _objective(GRIDS, student, adaptor="ladder", patches=kind, weighting="uncertainty")
    targets = make_targets(GRIDS)
    for target in targets.values():
        for part in target.features:
            if part is not None:
                part.requires_grad_()
    objective(student.train(), make_batch(size=student.size), targets, 0.0).loss.backward()
    parts = [part for target in targets.values() for part in target.features if part is not None]
    assert all(part.grad is None for part in parts)
    lacking = [name for name, p in objective.named_parameters() if p.grad is None]
    assert lacking == []
    assert student.embed.weight.grad is not None


@pytest.mark.parametrize("normalise", ["running", "standardise", "phi_s", "whiten", "none"])
@pytest.mark.parametrize("adaptor", ["linear", "mlp", "ladder"])
def test_kept_adaptors_say_what_the_teacher_would(normalise: str, adaptor: str) -> None:
    """After `finish` the student's space is the adaptor's output with the normalisation undone, and the loss was the same as without."""
    teachers = {}
    for name, width in VECTORS.items():
        moments = Moments(width.num_features)
        moments.update(
            torch.randn(50, width.num_features, generator=torch.Generator().manual_seed(1)) * 5 + 100
        )
        teachers[name] = TeacherWidth(width.num_features, width.weight, moments)
    student, bare, targets = make_student(size=64), make_student(size=64), make_targets(teachers)
    objective = _objective(teachers, student, normalise=normalise, adaptor=adaptor, keep_adaptors=True)
    apart = _objective(teachers, bare, normalise=normalise, adaptor=adaptor)
    for name, kept in objective.hand_over().items():
        student.keep(name, kept)
    batch = make_batch(size=64)
    a, b = objective(student, batch, targets, 0.0), apart(bare, batch, targets, 0.0)
    assert a.loss.item() == pytest.approx(b.loss.item(), rel=1e-6)
    before = student(batch.image, spaces=True).spaces
    objective.finish(student)
    after = student(batch.image, spaces=True).spaces
    for name in teachers:
        undone = objective.normalisers[f"teacher_{name}"].inverse(before[name])  # type: ignore[operator]
        assert torch.allclose(after[name], undone, rtol=1e-4, atol=1e-3)


def test_a_batch_that_no_teacher_knows_costs_nothing() -> None:
    """With dropping and without it."""
    nowhere = make_targets(VECTORS, dict.fromkeys(VECTORS, ()))
    for drop in (None, 0.5):
        terms = _objective(teacher_dropping=drop)(make_student(), make_batch(), nowhere, 0.0)
        assert terms.loss.item() == 0
        assert terms.report == {}
        terms.loss.backward()


def test_unsuitable_recipes_are_refused() -> None:
    """Each with what to do next."""
    with pytest.raises(ConfigError, match="give `teachers`"):
        _objective({})
    with pytest.raises(ConfigError, match="set output=patches"):
        _objective(patches="mlp")
    with pytest.raises(ConfigError, match="normalise=none"):
        _objective(weighting="angle")
    for loss in (
        "cosine",
        "angle",
    ):  # the adaptors' lengths are free, and undoing the standardisation needs them
        with pytest.raises(ConfigError, match="leaves the length of standardised vectors open"):
            _objective(keep_adaptors=True, summary_loss=loss)
        _objective(keep_adaptors=True, summary_loss=loss, normalise="none")
    with pytest.raises(ConfigError, match="patch_loss=radio has no effect without patches"):
        _objective(patch_loss="radio")
    with pytest.raises(ConfigError, match="'odd' gives 6 patches"):
        _objective({"odd": TeacherWidth(3, 1.0, grid=(6, 3))}, patches="mlp")
    blind = Setup(8, 8, GRIDS, {"a": 0}, Taps())
    with pytest.raises(ConfigError, match="ends in no grid"):
        build(Settings(patches="mlp"), blind)
    with pytest.raises(ConfigError, match="adaptor=mlp"):
        build(Settings(adaptor="ladder"), blind)


def test_angles_are_observed_in_training() -> None:
    """A teacher in a narrow cone weighs more from the first batch on; without what it observes the weights would be the shares."""
    targets = make_targets(VECTORS, count=32)
    narrow = targets["dino"].features.summary
    targets["dino"] = targets["dino"]._replace(features=Features(1 + 0.01 * narrow))
    objective = _objective(weighting="angle", normalise="none").train()
    terms = objective(make_student(), make_batch(count=32), targets, 0.0)
    shares = sum(VECTORS[name].weight / 5 * float(terms.report[f"loss/{name}"]) for name in VECTORS)
    assert terms.loss.item() != pytest.approx(shares, rel=0.1)
    weights = objective.weighting.weights({name: torch.tensor(1.0) for name in VECTORS})
    assert weights["dino"] > 100 * weights["sam"]


@pytest.mark.parametrize("embedding", ["joint", "detached"])
def test_detached_embeddings_do_not_move_the_backbone(embedding: str) -> None:
    """The embedding's own part of the loss reaches the backbone only if it is joint; the head learns either way."""
    student, objective = make_student(), _objective(embedding=embedding)
    for adaptor in objective.adaptors.parameters():  # so that the summary's part says nothing to the backbone
        adaptor.data.zero_()
    objective(student, make_batch(), make_targets(VECTORS), 0.0).loss.backward()
    moved = any(p.grad is not None and p.grad.abs().max() > 0 for p in student.backbone.parameters())
    assert moved is (embedding == "joint")
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in student.embed.parameters())
