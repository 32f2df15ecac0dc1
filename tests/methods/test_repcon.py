"""`repcon`: a head per teacher, the generalist as much as all experts; with one classifier it is plain distillation."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods import kd
from alumnus.methods.repcon import RepresentationConsolidation, Settings, build, shares
from alumnus.objective import TeacherWidth
from tests.methods.examples import make_batch, make_setup, make_student, make_targets, reordered

TEACHERS = {
    "cars": TeacherWidth(5, 1.0, output="logits"),
    "keys": TeacherWidth(7, 3.0, output="logits"),
    "imagenet": TeacherWidth(9, 1.0, output="logits"),
    "clip": TeacherWidth(4, 1.0),
}


def _objective(
    teachers: dict[str, TeacherWidth] = TEACHERS, **settings: object
) -> RepresentationConsolidation:
    torch.manual_seed(0)
    objective = build(Settings.model_validate(settings), make_setup(teachers, make_student()))
    assert isinstance(objective, RepresentationConsolidation)
    return objective


def test_the_generalist_weighs_as_much_as_all_experts() -> None:
    """One half, and the experts share the other as the recipe weighs them; without one of the kinds the other has all."""
    found = shares(TEACHERS, generalist="imagenet", generalist_share=0.5)
    assert found == pytest.approx({"cars": 0.1, "keys": 0.3, "imagenet": 0.5, "clip": 0.1})
    assert shares(TEACHERS, generalist="imagenet", generalist_share=0.8)["imagenet"] == pytest.approx(0.8)
    alone = {"imagenet": TEACHERS["imagenet"]}
    assert shares(alone, generalist="imagenet", generalist_share=0.5) == {"imagenet": 1.0}
    experts = {"cars": TEACHERS["cars"], "keys": TEACHERS["keys"]}
    assert shares(experts, generalist=None, generalist_share=0.5) == {"cars": 0.25, "keys": 0.75}


def test_loss_equals_a_naive_reference() -> None:
    """KL at the temperature for logits, half cosine and half smooth-L1 for features, on trusted images, weighted."""
    student, objective = make_student(), _objective(generalist="imagenet", temperature=3.0)
    targets = make_targets(TEACHERS, {"cars": (0, 2, 5), "clip": (1, 2, 3, 4)})
    terms = objective(student, make_batch(), targets, 0.0)
    output = student(make_batch().image)
    vectors = {"heads": output.features.summary, "embedding_heads": output.embedding * 8**0.5}
    total = 0.0
    for name, share in {"cars": 0.1, "keys": 0.3, "imagenet": 0.5, "clip": 0.1}.items():
        said, losses = targets[name].features.summary, []
        standardised = (said - said.mean(0)) / said.std(0, correction=0)
        for i, place in enumerate(targets[name].places.tolist()):
            for kind, vector in vectors.items():
                guess = objective.get_submodule(f"{kind}.teacher_{name}")(vector[place])
                if name == "clip":
                    cosine = functional.cosine_similarity(guess, standardised[i], dim=0)
                    smooth = functional.smooth_l1_loss(guess, standardised[i])
                    losses.append(0.5 * (1 - cosine) + 0.5 * smooth)
                else:
                    p = torch.softmax(said[i] / 3, 0)
                    losses.append(9 * (p * (p.log() - torch.log_softmax(guess / 3, 0))).sum())
        mean = torch.stack(losses).mean().item()
        assert terms.report[f"loss/{name}"].item() == pytest.approx(mean, rel=1e-5)
        total += share * mean
    assert terms.loss.item() == pytest.approx(total, rel=1e-5)
    # What a sampler sees adds up to the same where all images are trusted.
    all_trusted = _objective(generalist="imagenet")(student, make_batch(), make_targets(TEACHERS), 0.0)
    assert all_trusted.per_sample.mean().item() == pytest.approx(all_trusted.loss.item(), rel=1e-5)


def test_one_classifier_is_plain_distillation() -> None:
    """Term by term and gradient by gradient, `embedding=joint` and one teacher are `kd`."""
    teachers = {"cars": TEACHERS["cars"]}
    ours = _objective(teachers, embedding="joint", temperature=4.0)
    theirs = kd.build(kd.Settings(), make_setup(teachers, make_student()))
    assert isinstance(theirs, kd.KnowledgeDistillation)
    theirs.head.load_state_dict(ours.heads["teacher_cars"].state_dict())
    theirs.embedding_head.load_state_dict(ours.embedding_heads["teacher_cars"].state_dict())
    one, other, targets = make_student(), make_student(), make_targets(teachers, {"cars": (0, 1, 4)})
    a, b = ours(one, make_batch(), targets, 0.0), theirs(other, make_batch(), targets, 0.0)
    a.loss.backward()
    b.loss.backward()
    assert a.loss.item() == pytest.approx(b.loss.item(), rel=1e-6)
    assert torch.allclose(a.per_sample, b.per_sample)
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert its.grad is not None
        assert torch.allclose(mine.grad, its.grad, atol=1e-6)


def test_a_graph_that_is_named_gives_logits() -> None:
    """Its output has a name of its own; unnamed it is learnt as a feature."""
    graph = {**TEACHERS, "keys": TeacherWidth(7, 3.0, output="probs")}
    named, said = _objective(graph, logits=("keys",)), _objective()
    a, b = (each(make_student(), make_batch(), make_targets(TEACHERS), 0.0).loss for each in (named, said))
    assert a.item() == b.item()
    assert _objective(graph).of_logits == {"cars", "imagenet"}


@pytest.mark.parametrize("weighting", ["constant", "running", "uncertainty"])
def test_the_order_of_teachers_does_not_matter(weighting: str) -> None:
    """The same first weights, and the same loss, with the teachers listed the other way round."""
    one = _objective(generalist="imagenet", weighting=weighting)
    other = _objective(dict(reversed(TEACHERS.items())), generalist="imagenet", weighting=weighting)
    a = one(make_student(), make_batch(), make_targets(TEACHERS), 0.0).loss
    b = other(make_student(), make_batch(), reordered(make_targets(TEACHERS)), 0.0).loss
    assert a.item() == pytest.approx(b.item(), rel=1e-6)


def test_a_detached_embedding_does_not_train_the_backbone() -> None:
    """Its heads and itself learn, and the backbone's gradient is half of what the heads on the summary alone give."""
    student, objective, targets = make_student(), _objective(), make_targets(TEACHERS)
    objective(student, make_batch(), targets, 0.0).loss.backward()
    with_embedding = [parameter.grad.clone() for parameter in student.backbone.parameters()]  # type: ignore[union-attr]
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in student.embed.parameters()
    )
    for parameter in objective.embedding_heads.parameters():
        parameter.data.zero_()
    student.zero_grad()
    objective(student, make_batch(), targets, 0.0).loss.backward()
    for before, parameter in zip(with_embedding, student.backbone.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(before, parameter.grad, atol=1e-7)


def test_no_teacher_gets_a_gradient_and_all_else_does() -> None:
    """Targets are constants; every head, student and log-variance learns."""
    student, objective = make_student(), _objective(weighting="uncertainty")
    targets = make_targets(TEACHERS)
    for target in targets.values():
        target.features.summary.requires_grad_()
    objective(student, make_batch(), targets, 0.0).loss.backward()
    assert all(target.features.summary.grad is None for target in targets.values())
    assert all(p.grad is not None for p in (*objective.parameters(), *student.parameters()))


def test_a_batch_that_no_teacher_knows_costs_nothing() -> None:
    """No term, and still a gradient can be taken."""
    nowhere = dict.fromkeys(TEACHERS, ())
    terms = _objective(weighting="uncertainty")(
        make_student(), make_batch(), make_targets(TEACHERS, nowhere), 0.0
    )
    assert terms.loss.item() == 0
    assert terms.report == {}
    terms.loss.backward()


def test_unsuitable_recipes_are_refused() -> None:
    """No teacher; a generalist that is none of them, with the nearest; a weighting that has nothing to balance here."""
    with pytest.raises(ConfigError, match="give `teachers`"):
        _objective({})
    with pytest.raises(
        ConfigError, match=r"none of the teachers; did you mean 'imagenet'\?; there are cars, keys"
    ):
        _objective(generalist="imagent")
    with pytest.raises(ConfigError, match=r"generalist_share=0\.9 has no effect without a generalist"):
        _objective(generalist_share=0.9)
    with pytest.raises(ConfigError, match="method=agglomerate"):
        _objective(weighting="angle")
    heavy = {name: TeacherWidth(teacher.num_features, 7.0) for name, teacher in TEACHERS.items()}
    with pytest.raises(ConfigError, match="weight=7 has no effect, because generalist_share"):
        _objective(heavy, generalist="keys")
    logits = {name: TeacherWidth(4, 1.0, output="logits") for name in ("a", "b")}
    with pytest.raises(ConfigError, match="all of these give logits"):
        _objective(logits, projector="mlp")
