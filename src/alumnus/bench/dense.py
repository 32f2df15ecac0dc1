"""Detection, segmentation and depth: a light head on the grids of a frozen encoder, the budget fixed beforehand.

Of a model, every picture is encoded once: the training pictures into a cache of which each cell takes its share, the test pictures
as they are asked for. What a cell then costs is the training of its head.

Axes: N training pictures, Q test pictures, C classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from alumnus.bench.models import Model
from alumnus.bench.outcome import Drawn, Outcome, PerImage, interval_of, mean_of
from alumnus.bench.suite import Budget
from alumnus.bench.tasks import TaskData, check_readable
from alumnus.data.dense import check_two_classes, highest_class
from alumnus.data.fractions import label_fraction, rarest_class
from alumnus.data.objects import Objects
from alumnus.errors import DataError
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.compare import RESAMPLES
from alumnus.evaluation.dense.coco import RESAMPLES as AP_RESAMPLES
from alumnus.evaluation.dense.coco import resampled_precision
from alumnus.evaluation.dense.depth import fit_depth, score_depth
from alumnus.evaluation.dense.detection import BUDGET, fit_detection, score_detection
from alumnus.evaluation.dense.features import LevelCache, cached_levels
from alumnus.evaluation.dense.segmentation import fit_segmentation, score_segmentation
from alumnus.evaluation.dense.training import Budget as HeadBudget
from alumnus.evaluation.dense.training import Setup
from alumnus.models.dense_heads import DenseHeadKind
from alumnus.types import DenseEncode, Grid

T = TypeVar("T")

REMEMBERED = 1 << 30  # bytes of the test pictures' grids; what does not fit is computed again for each cell


class Probe:
    """A model on a dense task: encoded once, then scored at any fraction and seed."""

    def __init__(
        self,
        found: TaskData,
        encoder: DenseEncode,
        features: LevelCache,
        budget: Budget,
        workers: int,
        device: str,
        max_bad_fraction: float,
    ) -> None:
        self.found, self.encoder, self.features = found, encoder, features
        self.budget, self.workers, self.device = budget, workers, device
        self.max_bad_fraction = max_bad_fraction
        self.train_paths = [found.data.paths[row] for row in found.train]
        self.test_paths = [found.data.paths[row] for row in found.test]
        self.num_classes = 0 if found.task.task == "depth" else _num_classes(found)

    def score(self, *, fraction: float, seed: int, resamples: int = RESAMPLES) -> Outcome:
        """Returns the scores of a head that learnt from a share of the training pictures.

        Raises:
            TooManyBadImages: of the test pictures, or of the training part's masks or maps, see `max_bad_fraction` of `bench`.
        """
        places = label_fraction(_strata(self.found), fraction, seed)
        setup = Setup(budget=self._budget(), seed=seed, workers=self.workers, device=self.device)
        make = {"detection": self._detection, "segmentation": self._segmentation, "depth": self._depth}
        return make[self.found.task.task](places, setup, resamples)

    def _detection(self, places: Ids, setup: Setup, resamples: int) -> Outcome:
        train, test = _objects(self.found, self.found.train[places]), _objects(self.found, self.found.test)
        fitted = fit_detection(
            self.encoder,
            self._paths(places),
            train,
            num_classes=self.num_classes,
            setup=setup,
            features=self._part(places),
        )
        score = score_detection(fitted, self.test_paths, test, num_classes=self.num_classes, resamples=0)
        _check_objects(self.found, self.found.test[score.places])
        truth = [test[place] for place in score.places]
        # The same resamples for every model and seed: drawn from seed 0, not from the head's.
        drawn = resampled_precision(
            score.found, truth, num_classes=self.num_classes, resamples=min(resamples, AP_RESAMPLES), seed=0
        )
        rows = self.found.test[score.places]
        runs = {
            "AP": Drawn(rows, score.ap.mean, drawn[:, 0]),
            "AP50": Drawn(rows, score.ap50.mean, drawn[:, 1]),
        }
        return self._outcome("AP", runs, places, fitted.bad, score.bad, len(rows), resamples)

    def _segmentation(self, places: Ids, setup: Setup, resamples: int) -> Outcome:
        masks, kind = self.found.data.masks, self._head()
        assert masks is not None
        fitted = fit_segmentation(
            self.encoder,
            self._paths(places),
            _there([masks[row] for row in self.found.train[places]]),
            num_classes=self.num_classes,
            kind=kind,
            setup=setup,
            features=self._part(places),
        )
        score = score_segmentation(
            fitted,
            self.test_paths,
            _there([masks[row] for row in self.found.test]),
            num_classes=self.num_classes,
            resamples=1,
        )
        rows, (right, true, predicted) = self.found.test[score.places], score.overlap
        occurs = true.sum(0) > 0  # the mean is over classes that the test part has
        part, whole = right[:, occurs], (true + predicted - right)[:, occurs]
        pixels = (each.astype(np.float32) for each in (part, whole, true[:, occurs]))
        one = np.zeros(len(rows), np.int64)
        runs = {
            "mIoU": PerImage(rows, one, *pixels),
            "pixel_accuracy": PerImage(
                rows,
                one,
                right.sum(1, keepdims=True).astype(np.float32),
                true.sum(1, keepdims=True).astype(np.float32),
            ),
        }
        return self._outcome("mIoU", runs, places, fitted.bad, score.bad, len(rows), resamples)

    def _depth(self, places: Ids, setup: Setup, resamples: int) -> Outcome:
        depths, unit = self.found.data.depths, self.found.data.depth_unit
        assert depths is not None
        fitted = fit_depth(
            self.encoder,
            self._paths(places),
            _there([depths[row] for row in self.found.train[places]]),
            unit=unit,
            kind=self._head(),
            setup=setup,
            features=self._part(places),
        )
        score = score_depth(
            fitted, self.test_paths, _there([depths[row] for row in self.found.test]), unit=unit, resamples=1
        )
        rows = self.found.test[score.places]
        rmse, abs_rel, delta1 = score.errors.T
        runs = {
            "delta1": mean_of(delta1, rows),
            "RMSE": mean_of(rmse, rows),
            "abs_rel": mean_of(abs_rel, rows),
        }
        return self._outcome("delta1", runs, places, fitted.bad, score.bad, len(rows), resamples)

    def _outcome(
        self,
        primary: str,
        runs: dict[str, PerImage] | dict[str, Drawn],
        places: Ids,
        bad_train: Mapping[int, str],
        bad_test: Mapping[int, str],
        num_test: int,
        resamples: int,
    ) -> Outcome:
        """Args: places of the training pictures; of these, and of the test pictures, place -> why it took no part."""
        learnt = _by_row(self.found.train[places], bad_train)
        bad = {
            **_by_row(self.found.train, self.features.bad),
            **learnt,
            **_by_row(self.found.test, bad_test),
        }
        check_readable(self.found, bad, self.max_bad_fraction)
        scores = {name: interval_of([run], resamples=resamples) for name, run in runs.items()}
        counts = {"num_train": len(places) - len(learnt), "num_test": num_test, "num_bad": len(bad)}
        return Outcome(primary, scores, dict(runs), counts)

    def _budget(self) -> HeadBudget:
        own = BUDGET if self.found.task.task == "detection" else HeadBudget()
        steps = self.budget.dense_steps
        return own if steps is None else dataclasses.replace(own, steps=min(own.steps, steps))

    def _head(self) -> DenseHeadKind:
        return self.found.task.options.head

    def _paths(self, places: Ids) -> list[str]:
        return [self.train_paths[place] for place in places]

    def _part(self, places: Ids) -> LevelCache:
        cache, new = self.features, {int(place): number for number, place in enumerate(places)}
        return LevelCache(
            cache.values[places],
            cache.grids,
            [cache.boxes[place] for place in places],
            {new[place]: why for place, why in cache.bad.items() if place in new},
            is_mirrored=False,
        )


class Remembered:
    """A `DenseEncode` that computes the grids of the same batch of pictures once."""

    def __init__(self, inner: DenseEncode, *, limit_bytes: int = REMEMBERED) -> None:
        self.inner, self.name, self.size = inner, inner.name, inner.size
        self.grids: tuple[Grid, ...] = inner.grids
        self._left, self._known = limit_bytes, dict[bytes, tuple[Tensor, ...]]()

    def dense(self, image: Tensor, /) -> Tensor:
        """Returns the last grid (B, D, h, w) from images (B, 3, S, S) uint8."""
        return self.levels(image)[-1]

    def levels(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Returns the grids (B, D, h, w), fine to coarse, from images (B, 3, S, S) uint8."""
        mark = hashlib.sha256(image.numpy().tobytes()).digest()
        if mark not in self._known:
            found = tuple(level.float().cpu() for level in self.inner.levels(image))
            size = sum(level.numel() * level.element_size() for level in found)
            if size > self._left:
                return found
            self._left -= size
            self._known[mark] = found
        return self._known[mark]


def prepare(
    found: TaskData,
    model: Model,
    budget: Budget,
    *,
    batch_size: int = 32,
    workers: int = 2,
    device: str = "cpu",
    max_bad_fraction: float = 0.05,
) -> Probe:
    """Returns a model on a dense task, its training pictures encoded.

    Raises:
        DataError: not one picture can be read, the masks have fewer than two classes, or the test part has no object.
        TooManyBadImages: more than `max_bad_fraction` of the training pictures cannot be read.
        TeacherError, ConfigError: the model gives no grid of features.
    """
    _check_masks(found)
    _check_objects(found, found.test)
    encoder = model.dense()
    paths = [found.data.paths[row] for row in found.train]
    features = cached_levels(encoder, paths, batch_size=min(batch_size, 32), workers=workers)
    check_readable(found, _by_row(found.train, features.bad), max_bad_fraction)
    return Probe(found, Remembered(encoder), features, budget, workers, device, max_bad_fraction)


def _by_row(rows: Ids, bad: Mapping[int, str]) -> dict[int, str]:
    """Returns row -> reason of place -> reason."""
    return {int(rows[place]): why for place, why in bad.items()}


def _num_classes(found: TaskData) -> int:
    data = found.data
    if found.task.task == "detection":
        return len(data.object_classes)
    if data.mask_classes:
        return len(data.mask_classes)
    assert data.masks is not None
    # One that only the test masks have cannot be predicted, but it is there to be missed.
    highest = highest_class(_there([data.masks[row] for row in found.rows]))
    if highest < 0:
        raise DataError(f"task {found.task.name}: no mask can be read")
    return highest + 1


def _check_masks(found: TaskData) -> None:
    """Refuses masks to learn from that have fewer than two classes."""
    masks = found.data.masks
    if found.task.task != "segmentation" or masks is None:
        return
    try:
        check_two_classes(_there([masks[row] for row in found.train]))
    except DataError as error:
        raise DataError(f"task {found.task.name}: {error}") from error


def _check_objects(found: TaskData, rows: Ids) -> None:
    """Refuses test pictures without any object: of nothing there is no average precision."""
    if found.task.task == "detection" and not any(len(each.labels) for each in _objects(found, rows)):
        raise DataError(
            f"task {found.task.name}: no object in the test part, so nothing can be found; options test names its splits"
        )


def _strata(found: TaskData) -> Ids:
    """Returns (N,) by what the share of the pictures is drawn, so that in detection no class is lost."""
    if found.task.task != "detection":
        return np.zeros(len(found.train), np.int64)
    return rarest_class(_objects(found, found.train), len(found.data.object_classes))


def _objects(found: TaskData, rows: Ids) -> list[Objects]:
    column = found.data.objects
    assert column is not None
    return _there([column[row] for row in rows])


def _there(values: Sequence[T | None]) -> list[T]:
    """Returns values that `tasks` has made sure of."""
    return [value for value in values if value is not None]
