"""`rkd`: mimicry, the residual on a student that stands still, and both together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.methods.rkd import ResidualDistillation, Settings, build
from alumnus.models.artifact import load_student
from alumnus.models.assistant import AssistantShape
from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.training.build import build_student
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from alumnus.types import Batch
from tests.methods.examples import make_batch, make_targets

ARGS = {"channels": [8, 8, 16, 16]}
TEACHER = {"cars": TeacherWidth(5, 1.0, grid=(4, 5))}
FIRST, ASSISTANT, BOTH = 0.0, 0.5, 0.9  # progress in each of the phases
NETWORK = {"channels": [32, 32, 64, 64], "stem_width": 8}
SPLIT = {"model": "timm/resnet10t", "model_args": NETWORK, "split": 0.4}


def _student(*, has_assistant: bool = True) -> Student:
    """Whose assistant has learnt something."""
    torch.manual_seed(0)
    shape = AssistantShape("resnet10t", 12, {"channels": [4, 8, 8, 8]}) if has_assistant else None
    student = Student(Architecture("resnet10t", 64, 8, ARGS, assistant=shape)).eval()
    if student.assistant is not None:
        nn.init.normal_(student.assistant.join.weight, std=0.1)
    return student


def _objective(student: Student, classes: int = 0, **settings: Any) -> ResidualDistillation:
    torch.manual_seed(1)
    has = student.assistant is not None
    setup = Setup(student.num_features, 8, TEACHER, {"a": classes}, student.taps(), has_assistant=has)
    objective = build(Settings(normalise="none", **settings), setup)
    assert isinstance(objective, ResidualDistillation)
    return objective


def _batch() -> Batch:
    return make_batch(size=64)


def _parts(objective: ResidualDistillation, student: Student) -> tuple[Tensor, Tensor, Tensor]:
    """T, S and A of the docstring."""
    with torch.no_grad():
        output = student(_batch().image)
        s = objective.map(output.alone)
        a = objective.map(output.features.summary) - s
    return make_targets(TEACHER)["cars"].features.summary, s, a


def _embedding_term(objective: ResidualDistillation, embedding: Tensor, wanted: Tensor) -> Tensor:
    term: Tensor = (objective.embedding_map(embedding * 8**0.5) - wanted).pow(2).mean()
    return term


def test_each_phase_has_its_loss() -> None:
    """As the formulas say: S alone, then A on the residual, then both; and the embedding's own map in the first and last."""
    student = _student()
    objective = _objective(student, alpha=0.7)
    t, s, a = _parts(objective, student)
    alone, both = student(_batch().image, learning="first").embedding, student(_batch().image).embedding
    wanted = {
        FIRST: 0.7 * (t - s).pow(2).mean() + _embedding_term(objective, alone, t),
        ASSISTANT: ((t - s) - a).pow(2).sum(1).div(5).mean(),
        BOTH: 0.7 * (t - s - a).pow(2).mean() + _embedding_term(objective, both, t),
    }
    for progress, loss in wanted.items():
        found = objective(student, _batch(), make_targets(TEACHER), progress)
        assert found.loss.item() == pytest.approx(loss.item(), rel=1e-5)


def test_attention_is_where_the_squares_are() -> None:
    """The map of each network is the sum of squares over channels, of unit length; those of S and A add up before that."""
    student = _student()
    for mimic in ("attention", "both"):
        objective = _objective(student, mimic=mimic)
        t, s, a = _parts(objective, student)
        patches = make_targets(TEACHER)["cars"].features.patches
        assert patches is not None
        theirs = patches.pow(2).sum(-1)
        for progress, learning, features in ((FIRST, "first", s), (BOTH, "both", s + a)):
            output = student(_batch().image, patches=True, learning=learning)
            ours = output.features.patches.pow(2).sum(-1)
            gap = ours / ours.norm(dim=1, keepdim=True) - theirs / theirs.norm(dim=1, keepdim=True)
            wanted = gap.pow(2).sum(1).mean() + (t - features).pow(2).mean()
            wanted = wanted + _embedding_term(objective, output.embedding, t)
            found = objective(student, _batch(), make_targets(TEACHER), progress).loss
            assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_residual_energy_by_hand() -> None:
    """|T - S|^2 / |T|^2 and |T - S - A|^2 / |T - S|^2; nothing is taken off while A is silent."""
    student = _student()
    objective = _objective(student)
    t, s, a = _parts(objective, student)
    for progress in (ASSISTANT, BOTH):
        report = objective(student, _batch(), make_targets(TEACHER), progress).report
        first = float((t - s).pow(2).sum())
        assert float(report["residual/first"]) == pytest.approx(first / float(t.pow(2).sum()), rel=1e-5)
        assert float(report["residual/left"]) == pytest.approx(
            float((t - s - a).pow(2).sum()) / first, rel=1e-5
        )
    assert float(objective(student, _batch(), make_targets(TEACHER), FIRST).report["residual/left"]) == 1


@pytest.mark.parametrize("mimic", ["l2", "attention"])
def test_who_gets_a_gradient(mimic: str) -> None:
    """Never the teacher; S, P and the heads not in the assistant's phase, A not in the first; P alone of attention's l2."""
    student = _student().train()
    objective = _objective(student, classes=3, mimic=mimic)
    batch = _batch()._replace(label=torch.arange(6) % 3)
    modules = {"student": student, "objective": objective}
    found = {}
    for progress in (FIRST, ASSISTANT, BOTH):
        targets = make_targets(TEACHER)
        said = [tensor for tensor in targets["cars"].features if tensor is not None]
        for tensor in said:
            tensor.requires_grad_(True)
        for module in modules.values():
            module.zero_grad(set_to_none=True)
        objective(student, batch, targets, progress).loss.backward()
        assert all(tensor.grad is None for tensor in said)
        found[progress] = {
            f"{name}.{key}"
            for name, m in modules.items()
            for key, p in m.named_parameters()
            if p.grad is not None
        }
    everything = {f"{name}.{key}" for name, m in modules.items() for key, _ in m.named_parameters()}
    of_assistant = {name for name in everything if name.startswith("student.assistant.")}
    assert found[FIRST] == everything - of_assistant
    assert found[ASSISTANT] == of_assistant
    assert found[BOTH] == everything


def test_labels_are_the_task() -> None:
    """A cosine classifier over the classes of all domains, on images with a label, in the first and last phase alone."""
    student = _student()
    objective = _objective(student, classes=3, labels=0.5, scale=10.0)
    label = torch.tensor([0, 2, -1, 1, -1, 0])
    batch = _batch()._replace(label=label)
    output, places = student(batch.image), label >= 0
    assert objective.classifier is not None
    weight = objective.classifier.weight / objective.classifier.weight.norm(dim=1, keepdim=True)
    logits = 10 * output.embedding[places] @ weight.T
    wanted = -torch.log_softmax(logits, 1)[torch.arange(4), label[places]].mean()
    with_labels = objective(student, batch, make_targets(TEACHER), BOTH)
    without = objective(student, _batch(), make_targets(TEACHER), BOTH)
    assert float(with_labels.report["loss/labels"]) == pytest.approx(wanted.item(), rel=1e-5)
    assert (with_labels.loss - without.loss).item() == pytest.approx(0.5 * wanted.item(), rel=1e-4)
    assert "loss/labels" not in objective(student, batch, make_targets(TEACHER), ASSISTANT).report


def test_cosines_are_of_float32_in_low_precision() -> None:
    """Under bfloat16 autocast the cross-entropy is the one of the embedding, which is float32."""
    student = _student()
    objective = _objective(student, classes=3)
    batch = _batch()._replace(label=torch.tensor([0, 2, 1, 1, 2, 0]))
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(student, batch, make_targets(TEACHER), BOTH).report["loss/labels"]
        embedding = student(batch.image).embedding
    assert objective.classifier is not None
    logits = (
        16
        * embedding
        @ (objective.classifier.weight / objective.classifier.weight.norm(dim=1, keepdim=True)).T
    )
    wanted = -torch.log_softmax(logits, 1)[torch.arange(6), batch.label].mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_images_on_which_the_teacher_is_not_trusted_are_left_out() -> None:
    """They cost nothing, also when there is no other."""
    student = _student()
    objective = _objective(student)
    for progress in (FIRST, ASSISTANT, BOTH):
        some = objective(student, _batch(), make_targets(TEACHER, {"cars": (1, 4)}), progress)
        assert some.per_sample[[0, 2, 3, 5]].abs().sum() == 0
        none = objective(student, _batch(), make_targets(TEACHER, {"cars": ()}), progress)
        assert none.loss.item() == 0
        none.loss.backward()
    student.backbone.requires_grad_(False)  # optim.frozen, while the head learns
    objective(student, _batch(), make_targets(TEACHER, {"cars": ()}), FIRST).loss.backward()


def test_the_target_is_fixed_after_the_first_phase() -> None:
    """Statistics of the teacher move in the first phase alone."""
    student = _student()
    objective = build(Settings(), Setup(12, 8, TEACHER, {"a": 0}, has_assistant=True)).train()
    assert isinstance(objective, ResidualDistillation)
    counts = []
    for progress in (FIRST, ASSISTANT, BOTH):
        objective(student, _batch(), make_targets(TEACHER), progress)
        counts.append(float(objective.normaliser.state_dict()["count"]))
    assert counts == [6, 6, 6]


def test_an_undivided_student_has_the_loss_of_the_first_phase() -> None:
    """All along, with phases (1, 0, 0): the arm that a divided one is compared with."""
    student = _student(has_assistant=False)
    objective = _objective(student, phases=(1, 0, 0))
    output, t = student(_batch().image), make_targets(TEACHER)["cars"].features.summary
    wanted = (objective.map(output.features.summary) - t).pow(2).mean() + _embedding_term(
        objective, output.embedding, t
    )
    found = objective(student, _batch(), make_targets(TEACHER), 0.99)
    assert found.loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert set(found.report) == {"loss/cars"}


def test_unsuitable_recipes_are_refused() -> None:
    """It takes one teacher, two networks, grids where it compares them, and shares that make 1."""
    for teachers in ({}, {**TEACHER, "dogs": TEACHER["cars"]}):
        with pytest.raises(ConfigError, match="rkd learns from one teacher"):
            build(Settings(), Setup(12, 8, teachers, {}, has_assistant=True))
    with pytest.raises(ConfigError, match=r"give student\.split=0\.3, or method\.phases="):
        build(Settings(), Setup(12, 8, TEACHER, {}))
    without = {"cars": TeacherWidth(5, 1.0)}
    with pytest.raises(ConfigError, match="set output=patches on it"):
        build(Settings(mimic="both"), Setup(12, 8, without, {}, has_assistant=True))
    with pytest.raises(ConfigError, match="the student ends in none"):
        build(Settings(mimic="both"), Setup(12, 8, TEACHER, {}, has_assistant=True))
    odd = {"cars": TeacherWidth(5, 1.0, grid=(17, 5))}
    with pytest.raises(ConfigError, match="'cars' gives 17 patches, which are no square"):
        build(Settings(mimic="both"), Setup(12, 8, odd, {}, _student().taps(), has_assistant=True))
    for phases in ([0.5, 0.5, 0.5], [0, 0.5, 0.5], [1.5, -0.5, 0]):
        with pytest.raises(ValueError, match="three shares of the steps that make 1"):
            Settings(phases=phases)


class _Stop(Exception):
    pass


class _Colours(nn.Module):
    """A teacher that sees the mean colour of each quarter, and may stop the run after some calls."""

    def __init__(self, calls: int | None = None) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        if self.calls is not None:
            self.calls -= 1
            if self.calls < 0:
                raise _Stop
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


def _config(out: Path, images: Path, *, calls: int | None = None, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": images,
        "student": SPLIT,
        "teachers": [{"model": _Colours(calls), "name": "colours", "size": 32}],
        "method": {"name": "rkd", "phases": [0.3, 0.4, 0.3]},
        "size": 32,
        "embed_dim": 8,
        "steps": 10,
        "batch_size": 8,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 1,
    }
    return load_config(**{**values, **settings})


def _state(run: Path, step: int) -> dict[str, Tensor]:
    return safetensors.torch.load_file(run / "checkpoints" / f"step-{step}" / "state.safetensors")


def _bytes(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.student.glob("*.safetensors")}


def test_a_run_resumes_across_every_border_to_the_same_bits(tiny_images: Path, tmp_path: Path) -> None:
    """And S, P and the heads stand still to the bit while the assistant learns; in the first phase it is the assistant that does."""
    whole = train(_config(tmp_path / "whole", tiny_images))
    assert set(_bytes(whole)) == {"model.safetensors", "assistant.safetensors", "heads.safetensors"}
    cut = tmp_path / "cut"
    seen = {
        0: {
            f"student/{n}": t.clone()
            for n, t in build_student(_config(cut, tiny_images)).state_dict().items()
        }
    }
    # Steps 0 to 2 are the first phase, 3 to 6 the assistant's, 7 to 9 both. One call more finds the teacher's width.
    for stop, calls in ((3, 4), (5, 3), (7, 3)):
        with pytest.raises(_Stop):
            train(_config(cut, tiny_images, calls=calls))
        seen[stop] = _state(cut, stop)
    assert _bytes(train(_config(cut, tiny_images))) == _bytes(whole)

    def moved(before: int, after: int, part: str) -> set[str]:
        names = seen[after].keys() & seen[before].keys()
        return {
            name
            for name in names
            if name.startswith(part) and not torch.equal(seen[before][name], seen[after][name])
        }

    assert moved(0, 3, "student/backbone.")
    assert moved(0, 3, "student/assistant.") == set()
    for before, after in ((3, 5), (5, 7)):
        assert moved(before, after, "student/assistant.backbone.")
        assert moved(before, after, "student/assistant.join.")
        moving = moved(before, after, "student/") | moved(before, after, "objective/")
        assert all(name.startswith("student/assistant.") for name in moving)


def test_a_trained_student_says_both(tiny_images: Path, tmp_path: Path) -> None:
    """The residual falls, the card says what timm loads, and the student goes on learning by another method."""
    config = _config(tmp_path / "run", tiny_images, steps=60, checkpoint_every=60, lr=5e-3)
    run = train(config)
    left = [line["residual/left"] for line in read_metrics(run.folder / "metrics.jsonl")]
    assert left[0] == pytest.approx(1)
    assert left[40] < 0.9
    assert "the first alone, without the assistant" in (run.student / "README.md").read_text()
    student = load_student(run.student)
    assert student.num_features == 64
    more = _config(tmp_path / "more", tiny_images, student=f"alumnus:{run.student}", method="plain", steps=2)
    assert load_student(train(more).student).architecture == student.architecture


def test_what_cannot_be_divided_is_refused(tiny_images: Path, tmp_path: Path) -> None:
    """Weights do not fit narrower networks."""
    student = {**SPLIT, "model": "timm/resnet10t.c3_in1k"}
    with pytest.raises(
        ConfigError, match=r"which its weights do not fit; take one without: student\.model=timm/resnet10t,"
    ):
        train(_config(tmp_path / "run", tiny_images, student=student))
    with pytest.raises(ConfigError, match=r"student\.split divides a new network"):
        build_student(_config(tmp_path, tiny_images, student={"model": "alumnus:here", "split": 0.3}))
