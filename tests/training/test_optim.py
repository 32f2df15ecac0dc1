"""Learning rate, weight decay and moving average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from alumnus.errors import ConfigError
from alumnus.models.student import Architecture, Student
from alumnus.training.optim import Ema, OptimSettings, make_optimizer, schedule, set_lr


def test_schedule_rises_then_falls_to_its_end() -> None:
    """Half of the warm-up gives half of the peak; the end is `final_lr`; the middle of the cosine is the mean."""
    settings = OptimSettings(warmup=0.1, final_lr=0.2)
    assert schedule(settings, 0.05) == pytest.approx(0.5)
    assert schedule(settings, 0.1) == pytest.approx(1.0)
    assert schedule(settings, 0.55) == pytest.approx(0.6)
    assert schedule(settings, 1.0) == pytest.approx(0.2)
    assert schedule(settings, 0.0) > 0


def test_backbone_and_heads_have_their_own_rate_and_norms_no_decay() -> None:
    """Every weight is in exactly one group, the backbone's at its share of lr, vectors without decay."""
    student = Student(Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8))
    objective = nn.Linear(8, 3)
    settings = OptimSettings(backbone_lr=0.1, weight_decay=0.3)
    optimizer = make_optimizer(student, objective, settings, lr=1.0)
    set_lr(optimizer, settings, progress=settings.warmup)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    wanted = [*student.parameters(), *objective.parameters()]
    assert sorted(of) == sorted(id(p) for p in wanted)
    for name, parameter in student.named_parameters():
        group = of[id(parameter)]
        assert group["lr"] == pytest.approx(0.1 if name.startswith("backbone") else 1.0)
        assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize(
    ("model", "spared"),
    [
        ("vit_tiny_patch16_224", {"cls_token", "pos_embed"}),
        ("swin_tiny_patch4_window7_224", {"relative_position_bias_table"}),
    ],
)
def test_what_timm_spares_does_not_decay(model: str, spared: set[str]) -> None:
    """Position embeddings and their like are no weights of a layer, though they have several axes."""
    student = Student(Architecture(model=model, size=32 if "vit" in model else 64, embed_dim=8))
    optimizer = make_optimizer(student, nn.Linear(8, 3), OptimSettings(weight_decay=0.3), lr=1.0)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    not_decayed = {
        name.rpartition(".")[2] for name, p in student.named_parameters() if p.ndim > 1 and not decay[id(p)]
    }
    assert not_decayed == spared


class _Prototypes(nn.Module):
    """A weight, and what is none though it has two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))

    def no_weight_decay(self) -> set[str]:
        """As timm's networks."""
        return {"scale"}


def test_what_a_method_spares_does_not_decay() -> None:
    """In any module of its objective."""
    student, own = Student(Architecture("mobilenetv3_small_050", 32, 8)), _Prototypes()
    optimizer = make_optimizer(student, nn.Sequential(own), OptimSettings(weight_decay=0.3), lr=1.0)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert (decay[id(own.weight)], decay[id(own.scale)]) == (0.3, 0.0)


def test_a_methods_modules_have_rates_of_their_own() -> None:
    """The innermost name counts, decay is as ever, and what is not named learns at lr, in groups as without rates."""
    student = Student(Architecture("mobilenetv3_small_050", 32, 8))
    objective = nn.ModuleDict(
        {"head": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "queue": nn.Linear(2, 2)}
    )
    rates = {"head": 10.0, "head.1.weight": 0.5}
    settings = OptimSettings(weight_decay=0.3)
    optimizer = make_optimizer(student, objective, settings, lr=0.1, rates=rates)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in optimizer.param_groups)
    found = {name: of[id(p)]["base_lr"] for name, p in objective.named_parameters()}
    assert found == pytest.approx(
        {
            "head.0.weight": 1.0,
            "head.0.bias": 1.0,
            "head.1.weight": 0.05,
            "head.1.bias": 1.0,
            "queue.weight": 0.1,
            "queue.bias": 0.1,
        }
    )
    assert of[id(objective["head"][0].weight)]["weight_decay"] == 0.3  # type: ignore[index]
    assert of[id(objective["head"][0].bias)]["weight_decay"] == 0.0  # type: ignore[index]
    plain = make_optimizer(student, objective, settings, lr=0.1)
    assert len(plain.param_groups) == 6


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"haed": 2.0}, r"'haed'.*did you mean 'head'\?.*does not have"),
        ({"head": 0.0}, r"'head' 0\.0; a share of lr is above 0"),
        ({"head": math.inf}, "a share of lr is above 0"),
    ],
)
def test_rates_that_mean_nothing_are_refused(rates: dict[str, float], message: str) -> None:
    """Rather than learnt without."""
    student, objective = (
        Student(Architecture("mobilenetv3_small_050", 32, 8)),
        nn.ModuleDict({"head": nn.Linear(2, 2)}),
    )
    with pytest.raises(ConfigError, match=message):
        make_optimizer(student, objective, OptimSettings(), lr=0.1, rates=rates)


def test_moving_average_by_hand() -> None:
    """After one step the decay is still 1/10: a tenth of the old value stays."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = Ema(module, decay=0.99)
    nn.init.ones_(module.weight)
    ema.update(module, step=0)
    assert ema.tensors["weight"].item() == pytest.approx(0.9)


def test_moving_average_covers_batch_statistics() -> None:
    """Running means move with the weights and the count is copied."""
    module = nn.BatchNorm1d(2)
    ema = Ema(module, decay=0.5)
    module(torch.ones(4, 2) * 3)
    ema.update(module, step=100)
    assert module.running_mean is not None
    assert torch.allclose(ema.tensors["running_mean"], module.running_mean / 2)
    assert ema.tensors["num_batches_tracked"] == 1


def test_a_constant_rate_is_a_schedule_too() -> None:
    """No warm-up, and an end as high as the peak: exactly 1 at every step."""
    settings = OptimSettings(warmup=0, final_lr=1)
    assert {schedule(settings, step / 7) for step in range(7)} == {1.0}
