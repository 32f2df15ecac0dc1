"""The dynamic sampler: weights and schedules by hand, a state that can be put back, and readers that run ahead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alumnus.data.dataset import open_dataset
from alumnus.data.dynamic import DynamicSampler, DynamicSettings, new_schedule, new_weights
from alumnus.data.loader import train_batches
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError

DOMAIN = np.array([0] * 30 + [2] * 7 + [5] * 3)  # some numbers have no image
LOSS = {0: 2.0, 2: 6.0, 5: 0.0}
ALL = np.array([True, True, True])


def _sampler(**settings: Any) -> DynamicSampler:
    return DynamicSampler(
        DOMAIN,
        settings=DynamicSettings(**{"every": 10, **settings}),
        num_classes={0: 10, 2: 1000, 5: 10},
        batch_size=4,
        seed=0,
    )


def _walk(sampler: DynamicSampler, start: int, steps: int) -> Iterator[int]:
    """Trains in mind: yields the domain of each step, and tells its loss."""
    for window in sampler.windows(start, steps):
        for step in window:
            domain = DOMAIN[sampler.draw(step).rows]
            assert len(set(domain)) == 1
            yield int(domain[0])
            sampler.observe(domain, np.array([LOSS[int(domain[0])] - 1, LOSS[int(domain[0])] + 1] * 2))


def test_weights_by_hand() -> None:
    """Losses 3 and 1; the third was not seen and keeps 0.25 before all are divided by 1.25."""
    found = new_weights(np.array([3.0, 1.0, 9.0]), np.array([True, True, False]), np.array([0.5, 0.25, 0.25]))
    assert found == pytest.approx([0.75 / 1.25, 0.25 / 1.25, 0.25 / 1.25])


def test_floor_and_temperature_by_hand() -> None:
    """With a floor of 0.3 a third of it is every domain's; temperature 2 takes square roots; one very high makes all alike."""
    loss = np.array([9.0, 1.0, 0.0])
    assert new_weights(loss, ALL, np.full(3, 1 / 3), floor=0.3) == pytest.approx(
        [0.1 + 0.63, 0.1 + 0.07, 0.1]
    )
    assert new_weights(loss, ALL, np.full(3, 1 / 3), temperature=2) == pytest.approx([0.75, 0.25, 0])
    flat = new_weights(loss + 1, ALL, np.full(3, 1 / 3), temperature=1e6)
    assert flat == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_weights_stay_if_nothing_is_lost() -> None:
    """All losses 0 say nothing."""
    old = np.array([0.5, 0.3, 0.2])
    assert new_weights(np.zeros(3), ALL, old) == pytest.approx(old)


def test_a_schedule_holds_whole_copies_and_the_last_domain_the_rest() -> None:
    """int(10 x 0.38) = 3, int(10 x 0.38) = 3, and 4 where 2.4 were due; in another order for another step or seed."""
    weight = np.array([0.38, 0.38, 0.24])
    found = new_schedule(weight, length=10, seed=0, step=10)
    assert np.bincount(found).tolist() == [3, 3, 4]
    assert np.array_equal(found, new_schedule(weight, length=10, seed=0, step=10))
    assert not np.array_equal(found, new_schedule(weight, length=10, seed=0, step=20))
    assert not np.array_equal(found, new_schedule(weight, length=10, seed=1, step=10))


def test_a_floor_gives_every_domain_a_step_of_a_schedule() -> None:
    """Of 10 steps, weights of .05 had none and so no loss ever again; the most frequent domain gives theirs."""
    weight = np.array([0.9, 0.05, 0.05])
    assert np.bincount(new_schedule(weight, length=10, seed=0, step=0), minlength=3).tolist() == [9, 0, 1]
    assert np.bincount(new_schedule(weight, length=10, seed=0, step=0, least=1)).tolist() == [8, 1, 1]
    assert np.bincount(new_schedule(weight, length=3, seed=0, step=0, least=1)).tolist() == [1, 1, 1]
    sampler = _sampler(floor=0.1)
    assert set(list(_walk(sampler, 0, 40))[30:]) == {0, 2, 5}
    with pytest.raises(ConfigError, match="every one of 3 domains has a step in each schedule, and every=2"):
        _sampler(floor=0.1, every=2)


def test_batches_without_a_loss_count_as_unseen() -> None:
    """A batch of domain 5 without labels says nothing of it, and its third stays: (2/8, 6/8, 1/3) / (4/3)."""
    sampler = _sampler(clear_every=4)
    for domain in (0, 2, None, None):
        at, loss = ([], []) if domain is None else ([domain] * 2, [LOSS[domain]] * 2)
        sampler.observe(np.array(at, np.int64), np.array(loss))
    list(sampler.windows(0, 11))
    assert sampler.weights == pytest.approx({0: 3 / 16, 2: 9 / 16, 5: 1 / 4})


def test_it_begins_as_round_robin_and_then_follows_losses() -> None:
    """Mean losses of batches are 2, 6 and 0: of 10 steps int(2.5) and int(7.5), and what is left for the last."""
    sampler = _sampler()
    walked = list(_walk(sampler, 0, 20))
    assert walked[:10] == [0, 2, 5] * 3 + [0]
    assert sorted(walked[10:]) == [0] * 2 + [2] * 7 + [5]
    assert sampler.weights == pytest.approx({0: 0.25, 2: 0.75, 5: 0.0})


def test_an_unseen_domain_keeps_its_weight() -> None:
    """Without losses of domain 5 in the second window its third of the first stays, scaled: (2/8, 6/8, 1/3) / (4/3)."""
    sampler = _sampler()
    for window in sampler.windows(0, 11):
        for _ in range(10 if window.start == 0 else 0):
            sampler.observe(np.array([0]), np.array([2.0]))
            sampler.observe(np.array([2]), np.array([6.0]))
    assert sampler.weights == pytest.approx({0: 3 / 16, 2: 9 / 16, 5: 1 / 4})


def test_losses_can_be_divided_by_log_c_or_by_the_first() -> None:
    """A guess among C classes loses log C; then all have the same weight. So have the first losses divided by themselves."""
    by_classes = _sampler(normalise="log_classes")
    for domain, count in ((0, 10), (2, 1000), (5, 10)):
        by_classes.observe(np.array([domain]), np.array([np.log(count)]))
    list(by_classes.windows(0, 11))
    assert by_classes.weights == pytest.approx(dict.fromkeys((0, 2, 5), 1 / 3))
    by_first = _sampler(normalise="initial")
    for loss in ([4.0, 1.0, 2.0], [2.0, 1.0, 1.0]):
        for domain, each in zip((0, 2, 5), loss, strict=True):
            by_first.observe(np.array([domain]), np.array([each]))
        list(by_first.windows(by_first._state.begin, by_first._state.begin + 11))
    assert by_first.weights == pytest.approx({0: 0.25, 2: 0.5, 5: 0.25})


def test_losses_are_forgotten_with_a_schedule_or_after_a_time_of_their_own() -> None:
    """As released they are forgotten at log events; here after 7 steps, so that the weights at step 10 are of steps 7 to 9."""
    sampler = _sampler(clear_every=7)
    for step in range(10):
        sampler.observe(np.array([(0, 2, 5)[step % 3]]), np.array([float(step)]))
    list(sampler.windows(0, 11))
    assert sampler.weights == pytest.approx({2: 7 / 24, 5: 8 / 24, 0: 9 / 24})


@pytest.mark.parametrize("cut", [1, 9, 10, 11, 14, 20, 23])
@pytest.mark.parametrize("settings", [{}, {"clear_every": 7, "normalise": "initial", "floor": 0.5}])
def test_a_restored_state_goes_on_alike(cut: int, settings: dict[str, Any]) -> None:
    """Rows and views too, wherever the cut is."""
    whole, first, second = (_sampler(**settings) for _ in range(3))
    wanted = list(_walk(whole, 0, 30))
    list(_walk(first, 0, cut))
    second.restore(first.tensors())
    assert list(_walk(second, cut, 30)) == wanted[cut:]
    for a, b in zip(second.draw(29), whole.draw(29), strict=True):
        assert np.array_equal(a, b)


def test_every_image_of_a_domain_is_used_before_one_comes_again() -> None:
    """However often its domain is drawn: a pass through 7 images in batches of 4 goes on in the next window."""
    sampler, rows = _sampler(), list[int]()
    for window in sampler.windows(0, 60):
        for step in window:
            drawn = sampler.draw(step).rows
            if DOMAIN[drawn[0]] == 2:
                rows += drawn.tolist()
            sampler.observe(DOMAIN[drawn], np.array([LOSS[int(DOMAIN[drawn[0]])]]))
    assert len(rows) > 100
    for first in range(0, len(rows) - 6, 7):
        assert sorted(rows[first : first + 7]) == list(range(30, 37))


@pytest.mark.parametrize("workers", [0, 2])
def test_readers_that_run_ahead_draw_what_one_process_draws(tiny_images: Path, workers: int) -> None:
    """They stop at a window's end, and know the losses up to there."""
    dataset = open_dataset([str(tiny_images / name) for name in ("discs", "squares", "crosses")])

    def rows(workers: int) -> list[list[int]]:
        settings = DynamicSettings(every=4)
        sampler = DynamicSampler(dataset.domain, settings=settings, num_classes={}, batch_size=3, seed=0)
        found = []
        for loaded in train_batches(
            *(dataset, sampler, ViewSettings()), size=16, teacher_sizes=(), start=0, steps=14, workers=workers
        ):
            found.append(loaded.batch.row.tolist())
            domain = loaded.batch.domain.numpy()
            sampler.observe(domain, np.full(3, 1.0 + 5 * domain[0]))
        return found

    assert rows(workers) == rows(0)
    assert len(rows(workers)) == 14
