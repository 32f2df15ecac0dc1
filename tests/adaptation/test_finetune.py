"""Fine-tuning on the small coloured shapes: it learns, it stops, it repeats itself, it leaves its student alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alumnus.adaptation.classifier import Classifier, predict
from alumnus.adaptation.finetune import finetune
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError, DataError, TooManyBadImages
from alumnus.evaluation.holdout import hold_out
from alumnus.evaluation.logistic import standardiser
from alumnus.models.student import Architecture, Student

VIEWS = ViewSettings(scale=(0.8, 1.0))
VIT = Architecture(
    model="vit_tiny_patch16_224",
    size=16,
    embed_dim=8,
    model_args={"depth": 1, "embed_dim": 32, "num_heads": 2, "patch_size": 8, "drop_path_rate": 0.1},
)


@pytest.fixture
def colours(tiny_images: Path) -> Dataset:
    """30 discs of six colours."""
    return open_dataset(tiny_images / "discs")


@pytest.fixture
def student() -> Student:
    """A transformer of one block, not trained."""
    torch.manual_seed(0)
    return Student(VIT)


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_from_scratch_and_predicts_files(student: Student, colours: Dataset) -> None:
    """Six colours, 24 images: from chance to nearly all."""
    found = finetune(
        student,
        colours,
        num_classes=6,
        start="zero",
        steps=60,
        batch_size=16,
        lr=3e-3,
        layer_decay=1.0,
        check_every=20,
        views=VIEWS,
        workers=0,
    )
    assert found.checks[0].accuracy == pytest.approx(1 / 6)
    assert found.checks[0].loss == pytest.approx(np.log(6))
    predicted = predict(found.classifier, colours.paths, workers=0)
    assert (predicted.label == colours.label).mean() > 0.8
    assert predicted.logits.shape == (30, 6)
    assert not found.classifier.training


def test_held_out_images_decide_and_are_not_trained_on(student: Student, colours: Dataset) -> None:
    """The weights given back are those of the best check; the numbers add up."""
    found = finetune(
        student, colours, num_classes=6, steps=20, batch_size=8, check_every=5, views=VIEWS, workers=0
    )
    best = max(found.checks, key=lambda check: (check.accuracy, -check.loss))
    assert found.best_step == best.step
    assert [check.step for check in found.checks] == [0, 5, 10, 15, 20]
    assert (found.num_train, found.num_held_out) == (24, 6)
    held = hold_out(colours.label)
    again = predict(found.classifier, [colours.paths[row] for row in held], workers=0)
    assert (again.label == colours.label[held]).mean() == pytest.approx(best.accuracy)


def test_it_starts_at_the_linear_probe(student: Student, colours: Dataset) -> None:
    """Before the first step the held-out images are classified far above chance, by random features of coloured discs."""
    found = finetune(student, colours, num_classes=6, steps=1, batch_size=4, views=VIEWS, workers=0)
    assert found.checks[0].step == 0
    assert found.checks[0].accuracy >= 4 / 6


def test_a_convolutional_student_learns_too(colours: Dataset) -> None:
    """Batch norm is in training mode for the steps and in eval mode for the checks."""
    torch.manual_seed(0)
    student = Student(Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8))
    found = finetune(
        student, colours, num_classes=6, steps=3, batch_size=8, check_every=3, views=VIEWS, workers=0
    )
    assert [check.step for check in found.checks] == [0, 3]
    assert all(np.isfinite(check.loss) for check in found.checks)


def test_patience_ends_it(student: Student, colours: Dataset) -> None:
    """A rate that destroys the weights: two checks without a better one, and the first weights are given back."""
    found = finetune(
        student,
        colours,
        num_classes=6,
        lr=50.0,
        steps=100,
        batch_size=4,
        check_every=3,
        patience=2,
        views=VIEWS,
        workers=0,
    )
    assert found.steps == found.best_step + 6 < 100
    assert np.isfinite(predict(found.classifier, colours.paths[:4], workers=0).logits).all()


def test_one_seed_gives_the_same_weights_and_moves_nobody_elses(student: Student, colours: Dataset) -> None:
    """To the bit, with drop path; the student and torch's own random numbers stay as they were; another seed differs."""
    before, random = _state(student), torch.random.get_rng_state()
    first, again, other = (
        finetune(
            student,
            colours,
            num_classes=6,
            steps=6,
            batch_size=8,
            check_every=6,
            seed=seed,
            views=VIEWS,
            workers=0,
        )
        for seed in (1, 1, 2)
    )
    assert _same(_state(first.classifier), _state(again.classifier))
    assert first.checks == again.checks
    assert not _same(_state(first.classifier), _state(other.classifier))
    assert _same(_state(student), before)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_one_image_a_class_trains_to_the_end(student: Student, colours: Dataset) -> None:
    """Nothing can be held out: no checks, and the last weights stay."""
    single = colours.rows(np.unique(colours.label, return_index=True)[1])
    found = finetune(student, single, num_classes=6, steps=4, batch_size=6, views=VIEWS, workers=0)
    assert (found.checks, found.num_held_out, found.best_step, found.steps) == ((), 0, 4, 4)


def test_classes_without_an_image_are_not_predicted(student: Student, colours: Dataset) -> None:
    """Labels keep their numbers: class 2 of 8 is missing, and so are 6 and 7."""
    kept = colours.rows(np.flatnonzero(colours.label != 2))
    found = finetune(student, kept, num_classes=8, steps=2, batch_size=8, views=VIEWS, workers=0)
    assert set(predict(found.classifier, colours.paths, workers=0).label) <= {0, 1, 3, 4, 5}


def test_unreadable_images_are_skipped_up_to_a_share(
    student: Student, colours: Dataset, tmp_path: Path
) -> None:
    """One of 30 is left out; two are too many for 5 %. An unreadable image is never right."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")

    def spoilt(count: int) -> Dataset:
        return replace(colours, paths=(*[str(broken)] * count, *colours.paths[count:]))

    settings = {"num_classes": 6, "steps": 4, "batch_size": 8, "views": VIEWS, "workers": 0}
    found = finetune(student, spoilt(1), **settings)  # type: ignore[arg-type]
    predicted = predict(found.classifier, spoilt(1).paths, workers=0)
    assert predicted.label[0] == -1
    assert list(predicted.bad) == [0]
    with pytest.raises(TooManyBadImages):
        finetune(student, spoilt(2), **settings)  # type: ignore[arg-type]
    assert len(finetune(student, spoilt(2), total=40, **settings).bad) == 2  # type: ignore[arg-type]


def test_a_head_set_from_a_classifier_of_raw_summaries_says_the_same(student: Student) -> None:
    """In standardised summaries and, folded, as one affine layer; a dimension that is constant has no say."""
    random = np.random.default_rng(0)
    classifier = Classifier(student, 3).eval()
    raw = random.normal(3, np.geomspace(0.01, 10, 32), size=(50, 32))
    raw[:, 5] = 4.0
    weight, bias = random.normal(size=(3, 32)), random.normal(size=3)
    weight[:, 5] = 0
    classifier.set_head(weight, bias, standardiser(raw.astype(np.float32)))
    expected = torch.from_numpy(raw @ weight.T + bias).float()
    summary = torch.from_numpy(raw).float()
    inside = classifier.head((summary - classifier.center) * classifier.scale)
    assert torch.allclose(inside, expected, atol=1e-3)
    assert torch.allclose(classifier.plain_head()(summary), expected, atol=1e-3)


def test_the_student_is_frozen_by_nothing_but_copied(student: Student) -> None:
    """A change of the classifier's backbone does not reach the student it came from."""
    classifier = Classifier(student, 2)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.add_(1)
    ours, theirs = classifier.student.state_dict(), student.state_dict()
    assert not torch.equal(ours["backbone.norm.weight"], theirs["backbone.norm.weight"])


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"num_classes": 5}, DataError, r"allowed is \[0, 5\)"),
        ({"layer_decay": 0.0}, ConfigError, "layer_decay"),
        ({"steps": 0}, ConfigError, "steps=0"),
        ({"patience": 0}, ConfigError, "patience=0"),
    ],
)
def test_wrong_settings_are_refused(
    student: Student, colours: Dataset, changed: dict[str, float], error: type[Exception], words: str
) -> None:
    """Before anything is read."""
    with pytest.raises(error, match=words):
        finetune(student, colours, **({"num_classes": 6} | changed))  # type: ignore[arg-type]


def test_one_class_is_no_task(student: Student, colours: Dataset) -> None:
    """Two are needed."""
    with pytest.raises(DataError, match="two at least"):
        finetune(student, colours.rows(np.flatnonzero(colours.label == 0)), num_classes=6)
