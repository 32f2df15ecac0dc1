"""Merging: averages and task arithmetic by hand, what is no weight, what is refused, batch norms measured again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.models.merge import add_tasks, average, batch_norms, reestimate
from alumnus.models.student import Architecture, Student

CNN = Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8)
VIT = Architecture(model="test_vit", size=32, embed_dim=8)


def _students(architecture: Architecture = VIT, count: int = 3) -> dict[str, Student]:
    """Students whose every tensor of numbers differs; variances stay above zero."""
    first = Student(architecture).eval()
    found = {"s0": first}
    for number in range(1, count):
        other = copy.deepcopy(first)
        for tensor in other.state_dict().values():
            tensor.add_(torch.rand(tensor.shape) if tensor.is_floating_point() else number)
        found[f"s{number}"] = other
    return found


def _far(found: Student, wanted: Mapping[str, Tensor]) -> list[str]:
    state = found.state_dict()
    assert state.keys() == wanted.keys()
    return [name for name, tensor in wanted.items() if not torch.allclose(state[name], tensor, atol=1e-6)]


def _images(count: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_an_average_is_that_of_every_tensor() -> None:
    """By the formula, with relative weights; the students themselves stay as they were."""
    students = _students()
    before = {name: copy.deepcopy(student.state_dict()) for name, student in students.items()}
    merged = average(students, [1, 2, 1])
    a, b, c = (student.state_dict() for student in students.values())
    assert _far(merged, {name: (a[name] + 2 * b[name] + c[name]) / 4 for name in a}) == []
    assert not merged.training
    assert all(_far(student, before[name]) == [] for name, student in students.items())


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_an_average_of_one_student_with_itself_is_that_student_to_the_bit(architecture: Architecture) -> None:
    """Whatever the weights, and so is all weight on one of two."""
    student, other = _students(architecture, 2).values()
    same = average({"a": student, "b": copy.deepcopy(student), "c": student}, [0.3, 0.1, 0.6]).state_dict()
    assert all(torch.equal(same[name], tensor) for name, tensor in student.state_dict().items())
    first = average({"a": student, "b": other}, [1, 0]).state_dict()
    assert all(torch.equal(first[name], tensor) for name, tensor in student.state_dict().items())


def test_task_arithmetic_adds_scaled_differences() -> None:
    """By the formula, a negative scale too."""
    base, *others = _students().items()
    merged = add_tasks(base, dict(others), [0.5, -0.25])
    zero, one, two = base[1].state_dict(), *(student.state_dict() for _, student in others)
    wanted = {
        name: zero[name] + 0.5 * (one[name] - zero[name]) - 0.25 * (two[name] - zero[name]) for name in zero
    }
    assert _far(merged, wanted) == []


def test_scale_1_is_the_student_and_scale_0_the_base() -> None:
    """With one student it goes from the base to it, as an average does (WiSE-FT)."""
    (name, base), (_, tuned) = _students(count=2).items()
    assert _far(add_tasks((name, base), {"tuned": tuned}, [1]), tuned.state_dict()) == []
    assert _far(add_tasks((name, base), {"tuned": tuned}, [0]), base.state_dict()) == []
    between = average({"base": base, "tuned": tuned}, [0.7, 0.3])
    assert _far(add_tasks((name, base), {"tuned": tuned}, [0.3]), between.state_dict()) == []


def test_statistics_stay_between_those_given_and_counts_are_the_first() -> None:
    """Extrapolated, a weight leaves the range and a variance does not, so nothing becomes NaN."""
    (name, base), (_, tuned) = _students(CNN, 2).items()
    merged = add_tasks((name, base), {"tuned": tuned}, [-2])
    zero, found = base.state_dict(), merged.state_dict()
    norm = next(iter(batch_norms(merged)))
    assert torch.equal(found[f"{norm}.running_var"], zero[f"{norm}.running_var"])
    assert torch.equal(found[f"{norm}.num_batches_tracked"], zero[f"{norm}.num_batches_tracked"])
    assert (found[f"{norm}.weight"] < zero[f"{norm}.weight"] - 1).any()
    assert merged(_images(2)).embedding.isfinite().all()


def test_other_architectures_are_refused_by_name() -> None:
    """The message says whose and where; timm's tag, which says where weights came from, does not count."""
    plain = Student(VIT)
    with pytest.raises(ConfigError, match=r"b and c are of two architectures.*embed_dim is 8 and 16"):
        average({"b": plain, "c": Student(replace(VIT, embed_dim=16))}, [1, 1])
    with pytest.raises(ConfigError, match=r"model is test_vit and mobilenetv3_small_050.*more"):
        add_tasks(("base", plain), {"other": Student(CNN)}, [1])
    taught = Student(VIT)
    taught.classify({"digits": 3})
    with pytest.raises(
        ConfigError, match=r"classes is \{\} and \{'digits': 3\}; classifier.weight is not there"
    ):
        average({"b": plain, "c": taught}, [1, 1])
    tagged = Student(replace(VIT, model="test_vit.r160_in1k"), backbone=Student(VIT).backbone)
    assert average({"b": plain, "c": tagged}, [1, 1]).architecture == plain.architecture


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")]])
def test_weights_that_are_no_shares_are_refused(weights: list[float]) -> None:
    """One for each, none below zero, finite."""
    with pytest.raises(ConfigError, match="needed are 2 numbers"):
        average(_students(count=2), weights)


def test_scales_are_counted() -> None:
    """One for each student."""
    base, *others = _students().items()
    with pytest.raises(ConfigError, match="one for each of 2 students"):
        add_tasks(base, dict(others), [1])


def test_measured_statistics_are_the_mean_over_batches() -> None:
    """Of what the first norm sees, by hand; what was there before is forgotten, and momentum and modes come back."""
    student = Student(CNN).eval()
    name, norm = next(iter(batch_norms(student).items()))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.fill_(1e3)
    momentum, seen = norm.momentum, list[Tensor]()
    hook = norm.register_forward_hook(lambda _module, given, _output: seen.append(given[0]))
    batches = [_images(4, seed) for seed in range(3)]
    assert reestimate(student, batches) == 3
    hook.remove()
    mean = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variance = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    assert torch.allclose(norm.running_mean, mean, atol=1e-5), name
    assert torch.allclose(norm.running_var, variance, atol=1e-5)
    assert norm.momentum == momentum
    assert not any(part.training for part in student.modules())


def test_dropout_does_not_disturb_what_is_measured() -> None:
    """Two measurements on the same images give the same statistics, and no weight moves."""
    student = Student(replace(CNN, model_args={"drop_rate": 0.9, "drop_path_rate": 0.9}))
    weights = {name: value.clone() for name, value in student.named_parameters()}
    first, second = (_measured_again(student) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(weights[name], value) for name, value in student.named_parameters())


def _measured_again(student: Student) -> dict[str, Tensor]:
    reestimate(student, [_images(8)])
    return {name: value.clone() for name, value in student.named_buffers()}


def test_only_norms_with_running_statistics_are_measured() -> None:
    """One without them, and other norms, are left alone."""
    made = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.LayerNorm(3))
    assert list(batch_norms(made)) == ["0"]
