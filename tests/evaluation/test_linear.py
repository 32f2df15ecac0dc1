"""The linear probe: scikit-learn's optimum, a choice that the test part cannot move, and the corners of class counts."""

from __future__ import annotations

import numpy as np
import pytest

from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.linear import DECAYS, FALLBACK, fit_linear, linear_probe
from alumnus.evaluation.logistic import solve, standardiser
from tests.evaluation.made import clouds


def _shares(logits: Floats | Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
    shares: Doubles = powers / powers.sum(1, keepdims=True)
    return shares


def _objective(features: Doubles, label: Ids, weight: Doubles, bias: Doubles, decay: float) -> float:
    shares = _shares(features @ weight.T + bias)
    return float(-np.log(shares[np.arange(len(label)), label]).mean() + decay / 2 * (weight**2).sum())


@pytest.mark.parametrize("width", [24, 600], ids=["more images than dimensions", "fewer"])
@pytest.mark.parametrize("decay", [1e-2, 1e-4])
def test_the_classifier_is_that_of_scikit_learn(width: int, decay: float) -> None:
    """The same shares on new images, and no higher objective: 5 classes, standardised features, C = 1 / (N decay)."""
    models = pytest.importorskip("sklearn.linear_model")
    made = clouds(5, 20, width=width, noise=2.0)
    fit = fit_linear(made.train, made.train_label, decays=(decay,))
    standardise = standardiser(made.train)
    reference = models.LogisticRegression(C=1 / (decay * len(made.train)), max_iter=5000, tol=1e-8)
    reference.fit(standardise(made.train), made.train_label)
    expected = reference.predict_proba(standardise(made.test))
    assert np.allclose(_shares(fit.classifier.logits(made.test)), expected, atol=2e-3)
    ranked = np.sort(expected, axis=1)
    is_clear = ranked[:, -1] - ranked[:, -2] > 4e-3  # the others may go either way, by the machine's rounding
    same = fit.classifier.predict(made.test) == reference.predict(standardise(made.test))
    assert same[is_clear].all()
    assert is_clear.mean() > 0.9
    (ours,) = solve(standardise(made.train), made.train_label, 5, decays=(decay,))
    found = _objective(standardise(made.train), made.train_label, ours.weight, ours.bias, decay)
    best = _objective(standardise(made.train), made.train_label, reference.coef_, reference.intercept_, decay)
    assert found <= best + 1e-5
    assert fit.converged


def test_two_classes_are_the_binary_regression() -> None:
    """Two rows of opposite weight w / 2 cost half the penalty of one row w: C = 2 / (N decay)."""
    models = pytest.importorskip("sklearn.linear_model")
    made, decay = clouds(2, 40, noise=3.0), 1e-3
    standardise = standardiser(made.train)
    reference = models.LogisticRegression(C=2 / (decay * len(made.train)), max_iter=5000, tol=1e-8)
    reference.fit(standardise(made.train), made.train_label)
    fit = fit_linear(made.train, made.train_label, decays=(decay,))
    expected = reference.predict_proba(standardise(made.test))
    assert np.allclose(_shares(fit.classifier.logits(made.test)), expected, atol=2e-3)


def test_poisoned_test_labels_move_nothing_but_the_score() -> None:
    """The decay, the trials and every weight are the same to the bit whatever the test part says."""
    made = clouds(6, 12, noise=2.0)
    honest = linear_probe(*made)
    poisoned = linear_probe(
        made.train, made.train_label, made.test * -3 + 7, np.roll(made.test_label, 1) * 0 + 5
    )
    assert poisoned.fit.decay == honest.fit.decay
    assert poisoned.fit.trials == honest.fit.trials
    assert np.array_equal(poisoned.fit.classifier.weight, honest.fit.classifier.weight)
    assert np.array_equal(poisoned.fit.classifier.bias, honest.fit.classifier.bias)
    assert poisoned.accuracy.top1.mean < honest.accuracy.top1.mean


def test_training_labels_do_move_the_choice() -> None:
    """Weaker decay pays for clean labels and only costs for random ones: the trials look at something."""
    made = clouds(4, 40, noise=0.5)
    clean = fit_linear(made.train, made.train_label).trials
    random = fit_linear(made.train, np.random.default_rng(1).permutation(made.train_label)).trials
    assert clean[-1].loss < clean[0].loss
    assert random[-1].loss > random[0].loss
    assert clean[0].accuracy > 0.9
    assert max(trial.accuracy for trial in random) < 0.35


def test_one_seed_gives_one_classifier() -> None:
    """To the bit; another seed holds out other images."""
    made = clouds(5, 10, noise=2.0)
    first, again, other = (fit_linear(made.train, made.train_label, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.classifier.weight, again.classifier.weight)
    assert first.trials == again.trials
    assert first.trials != other.trials


def test_scale_and_offset_of_features_do_not_matter() -> None:
    """Each dimension may be multiplied and shifted: the predictions stay."""
    made = clouds(5, 20, noise=1.5)
    scale = np.geomspace(0.01, 100, made.train.shape[1]).astype(np.float32)
    moved = linear_probe(made.train * scale - 3, made.train_label, made.test * scale - 3, made.test_label)
    plain = linear_probe(*made)
    assert moved.fit.decay == plain.fit.decay
    assert (moved.accuracy.right == plain.accuracy.right).mean() > 0.98


def test_a_constant_dimension_has_no_weight() -> None:
    """Neither zeros nor a constant that differs by rounding is blown up."""
    made = clouds(3, 10)
    random = np.random.default_rng(0)
    idle = np.stack([np.zeros(30), 1000 + 1e-4 * random.normal(size=30)], 1).astype(np.float32)
    fit = fit_linear(np.concatenate([made.train, idle], 1), made.train_label)
    assert np.abs(fit.classifier.weight[:, -2:]).max() == 0
    assert np.isfinite(fit.classifier.weight).all()


def test_one_image_a_class_takes_the_fixed_decay() -> None:
    """Nothing can be held out, so nothing is chosen; the nearest decay of the list to the fixed one is taken."""
    made = clouds(10, 1, noise=0.2)
    scored = linear_probe(*made)
    assert scored.fit.trials == ()
    assert scored.fit.decay == FALLBACK / 10
    assert scored.accuracy.top1.mean > 0.9


def test_a_class_without_training_images_is_never_predicted() -> None:
    """Its test images count as wrong, and the numbers of the other classes keep their meaning."""
    made = clouds(4, 20, noise=0.3)
    kept = made.train_label != 1
    scored = linear_probe(made.train[kept], made.train_label[kept], made.test, made.test_label)
    assert scored.fit.classifier.classes.tolist() == [0, 2, 3]
    assert not scored.accuracy.right[made.test_label == 1].any()
    assert scored.accuracy.right[made.test_label != 1].mean() > 0.95
    assert scored.accuracy.per_class.mean == pytest.approx(0.75, abs=0.04)


def test_many_classes() -> None:
    """1,000 classes of two images each, in seconds."""
    made = clouds(1000, 2, num_test=500, noise=0.05)
    scored = linear_probe(*made, decays=(1e-4, 1e-6))
    assert scored.fit.classifier.weight.shape == (1000, 24)
    assert scored.accuracy.top1.mean > 0.8


def test_weak_decays_are_tried_only_while_they_help() -> None:
    """Trials are a head of the list, from strong to weak, and the chosen one is the best among them."""
    made = clouds(4, 30, noise=4.0)
    fit = fit_linear(made.train, made.train_label, decays=tuple(reversed(DECAYS)))
    tried = [trial.decay for trial in fit.trials]
    assert tried == sorted(DECAYS, reverse=True)[: len(tried)]
    assert len(tried) < len(DECAYS)
    best = max(fit.trials, key=lambda trial: trial.accuracy)
    assert next(t for t in fit.trials if t.decay == fit.decay).accuracy == best.accuracy


@pytest.mark.parametrize(
    ("features", "label", "words"),
    [
        (np.ones((3, 2), np.float32), np.zeros(3, np.int64), "two classes"),
        (np.ones((3, 2), np.float32), np.array([0, 1]), "must be"),
        (np.ones((3, 2), np.float32), np.array([0, 1, -1]), "negative"),
        (np.full((3, 2), np.nan, np.float32), np.array([0, 1, 1]), "NaN"),
    ],
)
def test_what_is_no_task_is_refused(features: Floats, label: Ids, words: str) -> None:
    """With a message that says what is wrong."""
    with pytest.raises(DataError, match=words):
        fit_linear(features, label)
