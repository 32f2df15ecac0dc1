"""`plain`: cosine and smooth-L1 to every teacher, each on the images where it is trusted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods.plain import Plain, Settings, build
from alumnus.models.student import Architecture, Student
from alumnus.moments import Moments
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Batch, Features, Target

WIDTHS = {
    "faces": TeacherWidth(5, 1.0),
    "keys": TeacherWidth(7, 3.0),
}  # `keys` is a name that ModuleDict has itself


def _setup(teachers: dict[str, TeacherWidth]) -> Setup:
    return Setup(num_features=1024, embed_dim=8, teachers=teachers, num_classes={"a": 0})


def _objective(teachers: dict[str, TeacherWidth] = WIDTHS, **settings: object) -> Plain:
    torch.manual_seed(0)
    objective = build(Settings.model_validate(settings), _setup(teachers))
    assert isinstance(objective, Plain)
    return objective


def _student() -> Student:
    torch.manual_seed(0)
    return Student(Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8)).eval()


def _batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(image, {}, zeros, zeros, zeros, zeros, zeros - 1)


def _targets(places: tuple[int, ...] = (0, 2, 3), count: int = 6) -> dict[str, Target]:
    generator = torch.Generator().manual_seed(5)
    faces = torch.randn(len(places), 5, generator=generator) * 40 + 7
    return {
        "faces": Target(Features(faces), torch.tensor(places, dtype=torch.int64)),
        "keys": Target(Features(torch.randn(count, 7, generator=generator)), torch.arange(count)),
    }


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0, correction=0)


def test_loss_equals_a_naive_reference() -> None:
    """Standardise, project, half of 1 - cos and half of smooth-L1, mean over images, weighted mean over teachers."""
    student, objective = _student(), _objective()
    terms = objective(student, _batch(), _targets(), 0.0)
    embedding = student(_batch().image).embedding * 8**0.5
    wanted = {}
    for name, target in _targets().items():
        truth = _standardised(target.features.summary)
        losses = []
        for i, place in enumerate(target.places.tolist()):
            guess = objective.from_embedding[f"teacher_{name}"](embedding[place])
            cosine = torch.dot(guess, truth[i]) / guess.norm() / truth[i].norm()
            losses.append(0.5 * (1 - cosine) + 0.5 * functional.smooth_l1_loss(guess, truth[i]))
        wanted[name] = torch.stack(losses).mean()
    for name, loss in wanted.items():
        assert terms.report[f"loss/{name}"].item() == pytest.approx(loss.item(), rel=1e-4)
    total = (1 * wanted["faces"] + 3 * wanted["keys"]) / 4
    assert terms.loss.item() == pytest.approx(total.item(), rel=1e-4)


def test_the_order_of_teachers_does_not_matter() -> None:
    """The same first weights, and the same loss, with the teachers listed the other way round."""
    one, other = _objective(), _objective(dict(reversed(WIDTHS.items())))
    backwards = dict(reversed(_targets().items()))
    a = one(_student(), _batch(), _targets(), 0.0).loss
    b = other(_student(), _batch(), backwards, 0.0).loss
    assert torch.allclose(a, b)


def test_the_scale_of_a_teacher_does_not_matter() -> None:
    """Targets are standardised: a teacher whose features are 1,000 times as large has the same loss."""
    scaled = _targets()
    scaled["faces"] = Target(Features(scaled["faces"].features.summary * 1000 + 5), scaled["faces"].places)
    a = _objective()(_student(), _batch(), _targets(), 0.0).loss
    b = _objective()(_student(), _batch(), scaled, 0.0).loss
    assert torch.allclose(a, b, rtol=1e-3)


def test_a_teacher_without_images_in_the_batch_is_silent() -> None:
    """No image on which it is trusted: no term, no gradient, no update of its statistics."""
    objective = _objective()
    terms = objective(_student(), _batch(), _targets(places=()), 0.0)
    assert "loss/faces" not in terms.report
    terms.loss.backward()
    assert all(p.grad is None for p in objective.from_embedding["teacher_faces"].parameters())


def test_gradients_reach_student_and_projectors_but_not_targets() -> None:
    """The targets are constants."""
    student, objective, targets = _student(), _objective(source="both"), _targets()
    targets["faces"].features.summary.requires_grad_()
    objective(student, _batch(), targets, 0.0).loss.backward()
    assert targets["faces"].features.summary.grad is None
    assert student.embed.weight.grad is not None
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_without_teachers_there_is_nothing_to_learn() -> None:
    """A recipe without teachers is refused."""
    with pytest.raises(ConfigError, match="teachers"):
        build(Settings(), _setup({}))


def _with_moments() -> dict[str, TeacherWidth]:
    """The same teachers, and the mean and covariance of features like those of `_targets`."""
    found = {}
    for name, width in WIDTHS.items():
        moments = Moments(width.num_features)
        moments.update(torch.randn(50, width.num_features) * 3 + 1)
        found[name] = TeacherWidth(width.num_features, width.weight, moments)
    return found


@pytest.mark.parametrize("normalise", ["standardise", "whiten", "phi_s", "none"])
def test_fitted_normalisers_stay_as_they_are(normalise: str) -> None:
    """Training changes none of their buffers, and the loss is finite; another run's checkpoint brings its own."""
    objective = _objective(_with_moments(), normalise=normalise)
    before = {name: tensor.clone() for name, tensor in objective.normalisers.state_dict().items()}
    terms = objective(_student(), _batch(), _targets(), 0.0)
    assert torch.isfinite(terms.loss)
    assert all(torch.equal(before[name], now) for name, now in objective.normalisers.state_dict().items())
    resumed = _objective(_with_moments(), normalise=normalise)
    resumed.load_state_dict(objective.state_dict())
    assert torch.equal(resumed(_student(), _batch(), _targets(), 0.0).loss, terms.loss)


@pytest.mark.parametrize("normalise", ["standardise", "whiten", "phi_s"])
def test_fitted_normalisers_need_moments(normalise: str) -> None:
    """A run without a store is told which teacher lacks them, and what to do."""
    with pytest.raises(ConfigError, match=f"normalise={normalise} needs .*'faces'.*normalise=running"):
        _objective(normalise=normalise)


def test_moments_do_not_change_the_default() -> None:
    """Running statistics are used, and the loss is the same to the last bit, whether a store is there or not."""
    bare, stored = _objective(), _objective(_with_moments())
    a = bare(_student(), _batch(), _targets(), 0.0).loss
    assert torch.equal(a, stored(_student(), _batch(), _targets(), 0.0).loss)
    assert list(bare.state_dict()) == list(stored.state_dict())
