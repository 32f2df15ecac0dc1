"""`udon`: the four losses from their formulas, where gradients stop, and what each switch does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import ConfigError, NonFiniteError, TeacherError
from alumnus.log import read_metrics
from alumnus.methods.udon import Settings, Udon, Weights, build
from alumnus.models.artifact import load_student
from alumnus.models.heads import CosineClassifier
from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.training.build import build_student
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.replay import replay
from alumnus.types import Batch, Features, Target, Terms
from tests.given import Colours, Stopped
from tests.training.test_loop import _bytes
from tests.training.test_replay import Failing

NETWORK = Architecture(model="test_efficientnet", size=32, embed_dim=8, normalise_summary=True)
SETUP = Setup(num_features=256, embed_dim=8, teachers={}, num_classes={"a": 3, "b": 40})


def _batch(domain: list[int], label: list[int]) -> Batch:
    count = len(domain)
    image = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(image, {}, zeros, zeros, zeros, torch.tensor(domain), torch.tensor(label))


def _part(batch: Batch, rows: Tensor) -> Batch:
    zeros = batch.row[rows]
    return Batch(batch.image[rows], {}, zeros, zeros, zeros, batch.domain[rows], batch.label[rows])


def _student() -> Student:
    return Student(NETWORK).eval()


def _objective(setup: Setup = SETUP, **settings: Any) -> Udon:
    of_heads = {} if settings.get("source") == "teachers" else {"teacher_dim": 12}
    made = build(Settings(**{**of_heads, **settings}), setup)
    assert isinstance(made, Udon)
    return made


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def _dot(one: list[float], other: list[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))


def _affine(layer: object, vector: list[float]) -> list[float]:
    assert isinstance(layer, torch.nn.Linear)
    return [
        _dot(row, vector) + bias
        for row, bias in zip(layer.weight.double().tolist(), layer.bias.double().tolist(), strict=True)
    ]


def _softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(x) for x in logits]
    return [x / sum(powers) for x in powers]


def _naive(student: Student, objective: Udon, batch: Batch) -> dict[str, float]:
    """The four losses of a batch, image by image, in plain Python and double precision."""
    domain = int(batch.domain[0])
    summaries = student(batch.image).features.summary.double().tolist()
    u, t = list[list[float]](), list[list[float]]()
    z_u, z_t = list[list[float]](), list[list[float]]()
    for summary in summaries:
        b = _unit(summary)
        u.append(_unit(_affine(student.embed, b)))
        t.append(_unit(_affine(objective.teacher_heads[domain], b)))
        for e, z, classifiers in (
            (u[-1], z_u, objective.student_classifiers),
            (t[-1], z_t, objective.teacher_classifiers),
        ):
            weight = classifiers[domain].weight
            assert isinstance(weight, Tensor)
            z.append([_dot(e, _unit(row)) for row in weight.double().tolist()])
    count, labels = len(u), batch.label.tolist()

    def classification(z: list[list[float]]) -> float:
        losses = [-math.log(_softmax([16 * x for x in z[k]])[labels[k]]) for k in range(count)]
        return sum(losses) / count

    divergence = 0.0
    for k in range(count):
        p, q = _softmax([x / 0.1 for x in z_t[k]]), _softmax([x / 0.1 for x in z_u[k]])
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / count
    squares = [(_dot(u[p], u[q]) - _dot(t[p], t[q])) ** 2 for p in range(count) for q in range(count)]
    return {
        "loss/teacher": classification(z_t),
        "loss/student": classification(z_u),
        "loss/logits": divergence,
        "loss/relations": 32 * sum(squares) / count**2,
    }


@pytest.mark.parametrize("label", [[0, 2, 1, 1, 0], [39, 2, 17, 2, 0]])
def test_the_losses_of_a_step_are_those_of_the_formulas(label: list[int]) -> None:
    """To 1e-5; their mean is the total, and the sampler sees the teacher's classification loss."""
    student, objective = _student(), _objective()
    batch = _batch([int(max(label) > 2)] * 5, label)
    terms, wanted = objective(student, batch, {}, 0.0), _naive(student, objective, batch)
    for name, value in wanted.items():
        assert terms.report[name].item() == pytest.approx(value, rel=1e-5, abs=1e-6), name
    assert terms.loss.item() == pytest.approx(sum(wanted.values()) / 4, rel=1e-5)
    assert terms.per_sample.mean().item() == pytest.approx(wanted["loss/teacher"], rel=1e-5)


def test_weights_are_shares() -> None:
    """Twice the weight of one term, none of another: (2 a + b + c) / 4. A term of weight 0 is not computed."""
    student, batch = _student(), _batch([0] * 4, [0, 1, 2, 0])
    objective = _objective(weights={"logits": 2, "relations": 0})
    terms, wanted = objective(student, batch, {}, 0.0), _naive(student, objective, batch)
    total = 2 * wanted["loss/logits"] + wanted["loss/teacher"] + wanted["loss/student"]
    assert terms.loss.item() == pytest.approx(total / 4, rel=1e-5)
    assert "loss/relations" not in terms.report


def _gradients(objective: Udon, student: Student, loss: Tensor) -> dict[str, Tensor | None]:
    modules = {"student": student, "objective": objective}
    named = {f"{owner}.{name}": p for owner, m in modules.items() for name, p in m.named_parameters()}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
    return dict(zip(named, found, strict=True))


def _moved(gradients: Mapping[str, Tensor | None]) -> set[str]:
    """The parts that a loss moves."""
    heads = (
        "student.backbone",
        "student.embed",
        "objective.teacher_heads",
        "objective.teacher_class",
        "objective.student",
    )
    return {
        head
        for head in heads
        if any(
            g is not None and bool((g != 0).any()) for name, g in gradients.items() if name.startswith(head)
        )
    }


@pytest.mark.parametrize(("to_backbone", "backbone"), [(True, {"student.backbone"}), (False, set())])
def test_distillation_never_moves_the_teacher(to_backbone: bool, backbone: set[str]) -> None:
    """Logit distillation moves the student's head and classifier, relational distillation its head; the backbone as the switch says."""
    student, batch = _student(), _batch([0] * 4, [0, 1, 2, 0])
    off = dict.fromkeys(("teacher", "student", "logits", "relations"), 0.0)
    for term, moved in (
        ("logits", {"student.embed", "objective.student"}),
        ("relations", {"student.embed"}),
    ):
        objective = _objective(weights=off | {term: 1.0}, distill_to_backbone=to_backbone)
        loss = objective(student, batch, {}, 0.0).loss
        assert _moved(_gradients(objective, student, loss)) == moved | backbone


def test_labels_move_the_backbone_through_both_heads() -> None:
    """And no one's other head."""
    student, batch = _student(), _batch([0] * 4, [0, 1, 2, 0])
    off = dict.fromkeys(("teacher", "student", "logits", "relations"), 0.0)
    for term, moved in (
        ("teacher", {"objective.teacher_heads", "objective.teacher_class"}),
        ("student", {"student.embed", "objective.student"}),
    ):
        objective = _objective(weights=off | {term: 1.0}, distill_to_backbone=False)
        loss = objective(student, batch, {}, 0.0).loss
        assert _moved(_gradients(objective, student, loss)) == moved | {"student.backbone"}


def test_without_the_switch_the_losses_are_the_same_numbers() -> None:
    """Only gradients differ."""
    student, batch = _student(), _batch([0] * 4, [0, 1, 2, 0])
    torch.manual_seed(1)
    with_backbone = _objective()
    torch.manual_seed(1)
    without = _objective(distill_to_backbone=False)
    one, other = (each(student, batch, {}, 0.0) for each in (with_backbone, without))
    assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-6)


def test_absent_domains_get_no_gradient() -> None:
    """Neither their heads nor their classifiers, so the optimiser passes over them."""
    student, objective = _student(), _objective()
    objective(student, _batch([0] * 4, [0, 1, 2, 0]), {}, 0.0).loss.backward()
    for modules in (objective.teacher_heads, objective.teacher_classifiers, objective.student_classifiers):
        assert all(p.grad is not None for p in modules[0].parameters())
        assert all(p.grad is None for p in modules[1].parameters())


def test_a_mixed_batch_is_learnt_domain_by_domain() -> None:
    """Each term is the mean over images of what its domain's images would give alone; relations are within a domain."""
    student, objective = _student(), _objective()
    batch = _batch([1, 0, 1, 1, 0], [39, 2, 17, 2, 0])
    terms, total = objective(student, batch, {}, 0.0), dict[str, float]()
    for domain, count in ((0, 2), (1, 3)):
        rows = batch.domain == domain
        alone = _part(batch, rows)
        wanted = _naive(student, objective, alone)
        for name, value in wanted.items():
            total[name] = total.get(name, 0.0) + count / 5 * value
        assert terms.per_sample[rows].mean().item() == pytest.approx(wanted["loss/teacher"], rel=1e-5)
    for name, value in total.items():
        assert terms.report[name].item() == pytest.approx(value, rel=1e-5), name
    assert terms.loss.item() == pytest.approx(sum(total.values()) / 4, rel=1e-5)


def test_in_a_mixed_batch_each_image_has_the_teacher_of_its_domain() -> None:
    """Whose vectors come without those of the other domain's images between them."""
    setup = Setup(256, 8, {"s": TeacherWidth(5, 1.0), "t": TeacherWidth(5, 1.0)}, {"a": 3, "b": 40})
    student, objective = _student(), _objective(setup, source="teachers")
    batch, said = _batch([1, 0, 1, 0, 1], [39, 2, 17, 0, 2]), torch.randn(5, 5)
    places = {"s": torch.tensor([1, 3]), "t": torch.tensor([0, 2, 4])}
    targets = {name: Target(Features(said[rows]), rows) for name, rows in places.items()}
    terms = objective(student, batch, targets, 0.0)
    u, t = student(batch.image).embedding, functional.normalize(said, dim=-1)
    distance = [(u[rows] @ u[rows].T - t[rows] @ t[rows].T).square().mean(1) for rows in places.values()]
    wanted = 32 * torch.cat(distance).mean()
    assert terms.report["loss/relations"].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_imprinted_classes_start_at_their_first_embeddings() -> None:
    """Of both classifiers; a class that came before keeps what it has learnt, and evaluation imprints nothing."""
    student, objective = _student(), _objective(imprint=True)
    batch = _batch([0] * 3, [1, 1, 2])
    objective.eval()(student, batch, {}, 0.0)
    learnt = objective.student_classifiers[0]
    assert isinstance(learnt, CosineClassifier)
    assert not learnt.seen.any()
    objective.train()(student, batch, {}, 0.0)
    b = functional.normalize(student(batch.image).features.summary, dim=-1)
    t = functional.normalize(objective.teacher_heads[0](b), dim=-1)
    for classifiers, embedding in (
        (objective.student_classifiers, student(batch.image).embedding),
        (objective.teacher_classifiers, t),
    ):
        classifier = classifiers[0]
        assert isinstance(classifier, CosineClassifier)
        mean = functional.normalize(embedding[:2].mean(0), dim=-1)
        assert torch.allclose(classifier.weight[1], mean, atol=1e-6)
        assert torch.allclose(classifier.weight[2], embedding[2], atol=1e-6)
        assert classifier.seen.tolist() == [False, True, True]
    before = learnt.weight.clone()
    objective(student, _batch([0] * 2, [1, 2]), {}, 0.0)
    assert torch.equal(learnt.weight, before)


def test_a_run_of_mixed_and_imprinted_batches_goes_on_to_the_same_bits(
    tiny_images: Path, tmp_path: Path
) -> None:
    """What has been seen is in the checkpoint: cut after step 5, classes are not imprinted twice."""
    settings: dict[str, Any] = {
        "method": {"name": "udon", "imprint": True},
        "sampler": "balanced",
        "checkpoint_every": 3,
        "steps": 8,
    }
    whole = train(_config(tmp_path / "whole", tiny_images, **settings))
    with pytest.raises(Stopped):
        train(_config(tmp_path / "cut", tiny_images, calls=6, **settings))
    assert _bytes(train(_config(tmp_path / "cut", tiny_images, **settings))) == _bytes(whole)


def test_a_domain_without_labels_is_refused_when_it_comes() -> None:
    """It may be there and never come, left out by `domains`; with a standing teacher it is welcome."""
    with pytest.raises(ConfigError, match=r"no training image of b has one; leave it out by domains="):
        _objective(Setup(256, 8, {}, {"a": 2, "b": 0}))(_student(), _batch([1, 1], [-1, -1]), {}, 0.0)


def test_images_without_a_label_are_distilled_and_not_classified() -> None:
    """Classification is the mean over the others, and the sampler counts these alone."""
    student, objective = _student(), _objective()
    batch = _batch([0] * 4, [0, -1, 2, -1])
    terms = objective(student, batch, {}, 0.0)
    kept = _part(batch, torch.arange(0, 4, 2))
    wanted = _naive(student, objective, kept)
    assert terms.report["loss/teacher"].item() == pytest.approx(wanted["loss/teacher"], rel=1e-5)
    assert terms.has_loss.tolist() == [True, False, True, False]
    assert terms.per_sample[::2].mean().item() == pytest.approx(wanted["loss/teacher"], rel=1e-5)
    nothing = objective(student, _batch([0] * 3, [-1] * 3), {}, 0.0)
    assert nothing.report.keys() == {"loss/logits", "loss/relations"}
    nothing.loss.backward()


def test_a_sample_of_all_classes_is_exact() -> None:
    """40 of 40 classes are compared with, as if there were no limit; with fewer the total is another, and finite."""
    student, batch = _student(), _batch([1] * 4, [39, 2, 17, 2])
    losses = []
    for limit in (None, 40, 12):
        torch.manual_seed(3)
        losses.append(_objective(max_classes=limit)(student, batch, {}, 0.0).loss.item())
    assert losses[0] == losses[1]
    assert math.isfinite(losses[2])
    assert losses[2] != losses[0]


def test_sampled_classes_alone_get_a_gradient() -> None:
    """The batch's own, and others up to the limit."""
    student, objective = _student(), _objective(max_classes=12)
    objective(student, _batch([1] * 4, [39, 2, 17, 2]), {}, 0.0).loss.backward()
    for classifiers in (objective.student_classifiers, objective.teacher_classifiers):
        gradient = classifiers[1].weight.grad
        assert isinstance(gradient, Tensor)
        moved = gradient.abs().sum(1).nonzero().flatten().tolist()
        assert {39, 2, 17} <= set(moved)
        assert len(moved) == 12


def test_prefixes_are_classified_by_the_prefixes_of_the_same_classifier() -> None:
    """One of all 8 numbers would be the student's own loss; of 3 it is that of the first 3, made unit vectors again."""
    student, batch = _student(), _batch([0] * 4, [0, 1, 2, 0])
    objective = _objective(nested=(3,))
    terms = objective(student, batch, {}, 0.0)
    weight = objective.student_classifiers[0].weight
    assert isinstance(weight, Tensor)
    start = functional.normalize(student(batch.image).embedding[:, :3], dim=-1)
    cosine = start @ functional.normalize(weight[:, :3], dim=-1).T
    wanted = functional.cross_entropy(16 * cosine, batch.label)
    assert terms.report["loss/nested"].item() == pytest.approx(wanted.item(), rel=1e-5)
    four = sum(float(terms.report[f"loss/{name}"]) for name in ("teacher", "student", "logits", "relations"))
    assert terms.loss.item() == pytest.approx((four + wanted.item()) / 5, rel=1e-5)


def test_a_standing_teacher_moves_the_backbone_alone() -> None:
    """Its features are predicted from the summary, where it is trusted; domains without labels learn from it."""
    setup = Setup(256, 8, {"g": TeacherWidth(5, 1.0)}, {"a": 3, "photos": 0})
    student, objective = _student(), _objective(setup).train()
    batch = _batch([1] * 4, [-1] * 4)
    places = torch.tensor([0, 2, 3])
    terms: Terms = objective(student, batch, {"g": Target(Features(torch.randn(3, 5)), places)}, 0.0)
    assert terms.report.keys() == {"loss/generalist", "generalist/g"}
    gradients = _gradients(objective, student, terms.loss)
    assert _moved(gradients) == {"student.backbone"}
    silent = Target(Features(torch.zeros(0, 5)), torch.zeros(0, dtype=torch.int64))
    assert objective(student, batch, {"g": silent}, 0.0).loss.item() == 0


def test_frozen_teachers_take_the_place_of_the_heads() -> None:
    """Relations are those of their vectors; there is no head, and the teacher's loss moves its classifier only."""
    setup = Setup(256, 8, {"s": TeacherWidth(5, 1.0)}, {"a": 3})
    student, objective = _student(), _objective(setup, source="teachers")
    batch, said = _batch([0] * 4, [0, 1, 2, 0]), torch.randn(4, 5)
    terms = objective(student, batch, {"s": Target(Features(said), torch.arange(4))}, 0.0)
    u, t = student(batch.image).embedding, functional.normalize(said, dim=-1)
    wanted = 32 * (u @ u.T - t @ t.T).square().mean()
    assert terms.report["loss/relations"].item() == pytest.approx(wanted.item(), rel=1e-4)
    assert len(objective.teacher_heads) == 0
    silent = Target(Features(torch.zeros(0, 5)), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ConfigError, match="one teacher for each domain, and about a speak none"):
        objective(student, batch, {"s": silent}, 0.0)


def test_quality_weighs_images_by_what_the_teacher_knows_of_them() -> None:
    """sum_k q_k l_k / sum_k q_k of both distillation terms, from formulas; an image without a label counts as the mean one."""
    student, batch = _student(), _batch([0] * 4, [0, 1, -1, 2])
    torch.manual_seed(2)
    plain = _objective()
    torch.manual_seed(2)
    weighed = _objective(by_quality=True)
    b = functional.normalize(student(batch.image).features.summary, dim=-1)
    u, t = student(batch.image).embedding, functional.normalize(plain.teacher_heads[0](b), dim=-1)
    z_u, z_t = plain.student_classifiers[0](u), plain.teacher_classifiers[0](t)
    q = torch.stack([(16 * z_t[k]).softmax(0)[label] for k, label in ((0, 0), (1, 1), (3, 2))])
    q = torch.stack([q[0], q[1], q.mean(), q[2]])
    p = (z_t / 0.1).softmax(1)
    divergence = (p * (p.log() - (z_u / 0.1).log_softmax(1))).sum(1)
    relations = 32 * (u @ u.T - t @ t.T).square().mean(1)
    found = weighed(student, batch, {}, 0.0)
    for name, loss in (("logits", divergence), ("relations", relations)):
        wanted = ((q * loss).sum() / q.sum()).item()
        assert found.report[f"loss/{name}"].item() == pytest.approx(wanted, rel=1e-4), name
    _, same = plain(student, batch, {}, 0.0), weighed(student, _batch([0] * 4, [-1] * 4), {}, 0.0)
    assert same.report.keys() == {"loss/logits", "loss/relations"}


def test_quality_sends_no_gradient_to_the_teacher() -> None:
    """Distillation moves the student alone, however images are weighed."""
    weights = {"teacher": 0, "student": 0, "relations": 0}
    objective, student = _objective(by_quality=True, weights=weights), _student()
    objective(student, _batch([0] * 4, [0, 1, -1, 2]), {}, 0.0).loss.backward()
    for module in (objective.teacher_heads, objective.teacher_classifiers):
        assert all(p.grad is None or p.grad.abs().max() == 0 for p in module.parameters())


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_a_margin_makes_both_classifiers_losses_larger(kind: str) -> None:
    """By the same cosines; distillation has none."""
    student, batch = _student(), _batch([0] * 4, [0, 1, 2, 2])
    torch.manual_seed(2)
    plain = _objective()
    held = _objective(margin=0.3, margin_kind=kind)
    held.load_state_dict(plain.state_dict())
    without, found = (each(student, batch, {}, 0.0).report for each in (plain, held))
    for name in ("teacher", "student"):
        assert found[f"loss/{name}"] > without[f"loss/{name}"] + 1
    assert found["loss/logits"] == without["loss/logits"]


def test_standing_teachers_count_by_their_weights() -> None:
    """The term is the mean over them by the recipe's weights."""
    setup = Setup(256, 8, {"g": TeacherWidth(5, 1.0), "h": TeacherWidth(5, 3.0)}, {"a": 3, "photos": 0})
    batch, places = _batch([1] * 4, [-1] * 4), torch.arange(4)
    targets = {name: Target(Features(torch.randn(4, 5)), places) for name in ("g", "h")}
    report = _objective(setup)(_student(), batch, targets, 0.0).report
    wanted = (report["generalist/g"] + 3 * report["generalist/h"]) / 4
    assert report["generalist/g"] != pytest.approx(float(report["generalist/h"]), rel=1e-3)
    assert report["loss/generalist"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_kept_heads_change_no_loss() -> None:
    """They are the student's and are counted there, and say what they would in the objective."""
    student, batch = _student(), _batch([1] * 4, [39, 2, 17, 2])
    torch.manual_seed(4)
    plain = _objective()
    torch.manual_seed(4)
    kept = _objective(keep_heads=True)
    for name, adaptor in kept.hand_over().items():
        student.keep(name, adaptor)
    assert list(student.architecture.spaces) == ["a", "b"]
    assert not [name for name, _ in kept.named_parameters() if "heads" in name]
    one, other = plain(student, batch, {}, 0.0), kept(student, batch, {}, 0.0)
    assert one.report.keys() == other.report.keys()
    assert all(one.report[name].item() == pytest.approx(other.report[name].item()) for name in one.report)
    other.loss.backward()
    assert all(p.grad is not None for p in student.spaces["teacher_b"].parameters())
    assert all(p.grad is None for p in student.spaces["teacher_a"].parameters())


def test_a_multi_head_teacher_is_trained_and_then_teaches(tiny_images: Path, tmp_path: Path) -> None:
    """Labels train its heads; each is a frozen teacher of its domain, told to a student by `output: space:DOMAIN`."""
    domains = ["discs", "squares", "crosses"]
    heads = {"name": "udon", "teacher_dim": 6, "keep_heads": True}
    labels_alone = {"weights": {"student": 0, "logits": 0, "relations": 0}}
    common: dict[str, Any] = {"sampler": "round_robin", "steps": 6}
    run = train(
        _config(tmp_path / "one", tiny_images, teachers=[], method={**heads, **labels_alone}, **common)
    )
    teacher = load_student(run.student)
    assert {name: shape.out_dim for name, shape in teacher.architecture.spaces.items()} == dict.fromkeys(
        domains, 6
    )
    specs = [
        {"model": f"alumnus:{run.student}", "name": name, "output": f"space:{name}", "domains": [name]}
        for name in domains
    ]
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    said = load_teacher(TeacherSpec.model_validate(specs[1]), device=torch.device("cpu"))(image.float() / 255)
    wanted = teacher(image, spaces=("squares",)).spaces
    assert list(wanted) == ["squares"]
    assert torch.allclose(said.summary, wanted["squares"], atol=1e-5)
    taught = {"name": "udon", "source": "teachers"}
    train(_config(tmp_path / "two", tiny_images, teachers=specs, method=taught, **common))
    with pytest.raises(TeacherError, match=r"space:stars' is not among its outputs.*space:discs"):
        load_teacher(TeacherSpec(**{**specs[0], "output": "space:stars"}), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("setup", "settings", "words"),
    [
        (Setup(8, 8, {}, {"a": 0}), {}, "needs labels"),
        (Setup(8, 8, {}, {"a": 2}), {"nested": (8,)}, r"8 is not in 1 to 7"),
        (Setup(8, 8, {}, {"a": 2}), {"source": "teachers"}, "got none"),
        (
            Setup(8, 8, {}, {"a": 2}),
            {"keep_heads": True, "teacher_hidden": (4,)},
            "keeps affine teacher heads",
        ),
        (
            Setup(8, 8, {"s": TeacherWidth(4, 1.0), "t": TeacherWidth(5, 1.0)}, {"a": 2}),
            {"source": "teachers"},
            r"all of one width; got \{'s': 4, 't': 5\}",
        ),
        (
            Setup(8, 8, {"s": TeacherWidth(4, 1.0)}, {"a": 2}),
            {"source": "teachers", "teacher_dim": 64},
            "teacher_dim and teacher_hidden are of heads",
        ),
        (
            Setup(8, 8, {"s": TeacherWidth(4, 5.0)}, {"a": 2}),
            {"source": "teachers"},
            "weight=5 has no effect",
        ),
        (Setup(8, 8, {}, {"a": 2}), {"margin_kind": "arcface"}, "no effect at margin=0"),
        (
            Setup(8, 8, {}, {"a": 2}),
            {"nested": (4,), "weights": {"nested": 0}},
            "no effect at weights.nested=0",
        ),
        (
            Setup(8, 8, {}, {"a": 2}),
            {"weights": dict.fromkeys(Weights.model_fields.keys() - {"nested", "generalist"}, 0)},
            "nothing to learn",
        ),
    ],
)
def test_unsuitable_setups_are_refused(setup: Setup, settings: dict[str, Any], words: str) -> None:
    """Each with what to do."""
    with pytest.raises(ConfigError, match=words):
        _objective(setup, **settings)


DYNAMIC: dict[str, Any] = {"name": "dynamic", "every": 5, "clear_every": 4}


def _config(out: Path, images: Path, *, calls: int | None = None, **settings: Any) -> Config:
    """A run of all that has a state; its standing teacher can be made to stop it."""
    values: dict[str, Any] = {
        "out": out,
        "data": [images / name for name in ("discs", "squares", "crosses")],
        "student": "timm/test_efficientnet",
        "teachers": [{"model": Colours(calls), "name": "colours", "size": 32}],
        "method": {"name": "udon", "max_classes": 5, "nested": [4], "distill_to_backbone": False},
        "sampler": DYNAMIC,
        "optim": {"frozen": 0.2, "backbone_lr": 0.1, "warmup": 0, "final_lr": 1},
        "size": 32,
        "embed_dim": 8,
        "steps": 18,
        "batch_size": 6,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 3,
    }
    return load_config(**{**values, **settings})


def test_a_run_cut_in_the_middle_of_a_window_goes_on_to_the_same_bits(
    tiny_images: Path, tmp_path: Path
) -> None:
    """Cut twice, once while the backbone is frozen, and finished by readers that run ahead: the student and every loss are the same."""
    whole = train(_config(tmp_path / "whole", tiny_images))
    cut = tmp_path / "cut"
    for calls in (
        5,
        11,
    ):  # one call finds the teacher's width; then up to a step after the checkpoints of 3 and 12
        with pytest.raises(Stopped):
            train(_config(cut, tiny_images, calls=calls))
    run = train(_config(cut, tiny_images, workers=2))
    assert _bytes(run) == _bytes(whole)
    curves = [
        [
            {k: v for k, v in line.items() if k != "images/s"}
            for line in read_metrics(each.folder / "metrics.jsonl")
        ]
        for each in (run, whole)
    ]
    assert curves[0] == curves[1]


def test_it_goes_on_at_the_very_border_of_a_window(tiny_images: Path, tmp_path: Path) -> None:
    """A checkpoint of step 5 has the losses of the window, and not yet the schedule that comes of them."""
    settings: dict[str, Any] = {
        "steps": 9,
        "checkpoint_every": 5,
        "method": "udon",
        "sampler": {"name": "dynamic", "every": 5},
    }
    whole = train(_config(tmp_path / "whole", tiny_images, **settings))
    with pytest.raises(Stopped):
        train(_config(tmp_path / "cut", tiny_images, calls=6, **settings))
    assert _bytes(train(_config(tmp_path / "cut", tiny_images, **settings))) == _bytes(whole)


def test_the_saved_student_is_the_function_that_was_trained(tiny_images: Path, tmp_path: Path) -> None:
    """Its description says that the head starts at a unit vector; a later method goes on with that."""
    settings: dict[str, Any] = {"teachers": [], "steps": 2, "method": "udon"}
    run = train(_config(tmp_path / "run", tiny_images, **settings))
    assert load_student(run.student).architecture.normalise_summary
    later = _config(
        tmp_path / "later", tiny_images, teachers=[], method="supervised", student=f"alumnus:{run.student}"
    )
    assert build_student(later).architecture.normalise_summary


def test_a_failed_step_is_done_again_on_the_batch_of_its_schedule(tiny_images: Path, tmp_path: Path) -> None:
    """Three steps after the last checkpoint and in another window than it: replay learns them again and sees the same images."""

    def config(at: int = 0) -> Config:
        teachers = [{"model": Failing(at), "name": "quarters", "size": 32}]
        return _config(tmp_path / "run", tiny_images, teachers=teachers, checkpoint_every=4)

    with pytest.raises(NonFiniteError, match="step 11: teacher quarters"):
        train(config(at=2 + 11))  # one call finds the width
    found = replay(config())
    assert found.failure.step == 11
    assert found.is_finite
