"""The matrix of interference: relative to whom, and that its numbers are paired differences of the table's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.errors import ArtifactError, ConfigError
from alumnus.evaluation.results import Results
from alumnus.evaluation.run import score
from alumnus.evaluation.seeds import combine
from tests.evaluation.test_run import colours, model, noise

DOMAINS = ("crosses", "discs", "squares")


@pytest.fixture(scope="module")
def data(tiny_images: Path) -> Dataset:
    """All images are test images."""
    found = open_dataset([tiny_images / domain for domain in DOMAINS])
    found.split[:] = "test"
    return found


def _score(data: Dataset, *kinds: str, **settings: object) -> Results:
    made = {
        "student": model("student", colours, "student"),
        "expert": model("expert", noise, domains=["discs"]),
        "generalist": model("generalist", colours),
        "second": model("second", noise),
        "initial": model("first weights", noise, "initial"),
    }
    return score([made[kind] for kind in kinds], data, workers=0, resamples=50, knn=False, **settings)  # type: ignore[arg-type]


def test_the_numbers_are_paired_differences_of_the_table(data: Dataset) -> None:
    """Row less baseline, domain by domain and macro; equal models differ by zero, with an interval of zero width."""
    results = _score(data, "student", "expert", "generalist")
    found = results.interference
    assert found is not None
    assert (found.baseline, found.why) == ("generalist", "the only teacher that is trusted everywhere")
    assert set(found.rows) == {"student", "expert"}
    base = results.model("generalist").scores[found.key]
    for name, row in found.rows.items():
        own = results.model(name).scores[found.key]
        for domain in DOMAINS:
            assert row.domains[domain].mean == pytest.approx(
                own.domains[domain].mean - base.domains[domain].mean
            )
        assert row.macro.mean == pytest.approx(np.mean([row.domains[d].mean for d in DOMAINS]))
    assert set(found.rows["student"].macro) == {0.0}
    assert found.rows["expert"].macro.sign == -1


@pytest.mark.parametrize(
    ("kinds", "given", "baseline"),
    [
        (("student", "expert", "generalist"), "expert", "expert"),
        (("student", "generalist", "second", "initial"), None, "first weights"),
        (("student", "generalist", "second"), None, "generalist"),
        (("student", "expert"), None, "expert"),
    ],
)
def test_the_baseline_is_chosen_in_a_fixed_order(
    data: Dataset, kinds: tuple[str, ...], given: str | None, baseline: str
) -> None:
    """Named; the only generalist; first weights; the best teacher."""
    found = _score(data, *kinds, generalist=given).interference
    assert found is not None
    assert found.baseline == baseline
    assert baseline not in found.rows


def test_without_teachers_there_is_none_and_a_wrong_name_is_refused(data: Dataset) -> None:
    """With the nearest name."""
    assert _score(data, "student", "initial").interference is None
    with pytest.raises(ConfigError, match="did you mean 'generalist'"):
        _score(data, "student", "generalist", generalist="genralist")


def test_a_wrong_name_is_refused_before_the_work(data: Dataset) -> None:
    """No image goes through a model."""

    def never(image: Tensor) -> Tensor:
        raise AssertionError("a model was called")

    with pytest.raises(ConfigError, match="generalist='wide' was not scored"):
        score([model("student", never, "student")], data, workers=0, generalist="wide")


def test_it_is_written_read_and_combined(data: Dataset) -> None:
    """Through JSON unchanged; over seeds as a mean; older results have none; damage is refused."""
    results = _score(data, "student", "expert", "generalist")
    assert Results.from_json(results.to_json()).interference == results.interference
    both = combine([results, results]).interference
    assert both is not None
    assert results.interference is not None
    assert both.rows["expert"].macro.mean == pytest.approx(results.interference.rows["expert"].macro.mean)
    other = _score(data, "student", "expert", "generalist", generalist="expert")
    assert combine([results, other]).interference is None
    assert Results.from_json(_old(results)).interference is None
    with pytest.raises(ArtifactError, match="damaged"):
        Results.from_json(results.to_json().replace('"baseline"', '"base"'))


def _old(results: Results) -> str:
    """What was written before there was such a field."""
    found = json.loads(results.to_json())
    del found["interference"]
    return json.dumps(found)
