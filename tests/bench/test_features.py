"""Vectors are computed once, read once for all models, and kept within a limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from alumnus.bench.features import FeatureStore
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.errors import NonFiniteError
from alumnus.evaluation.encode import CallableEncode
from tests.bench.made import make_colours

SEEN: list[int] = []
GIGABYTE = 10**9


def counted(image: Tensor) -> Tensor:
    """The mean colour; notes how many images it was shown."""
    SEEN.append(len(image))
    return image.float().mean((2, 3))


def broken(image: Tensor) -> Tensor:
    """NaN."""
    return torch.full((len(image), 2), torch.nan)


def model(name: str = "mean", function: object = counted) -> CallableEncode:
    """A model of images of 8 px."""
    return CallableEncode(function, name=name, size=8)  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Twenty pictures."""
    SEEN.clear()
    return open_dataset(make_colours(tmp_path / "data", {"train": 5}))


def test_only_what_is_not_known_is_computed(data: Dataset, tmp_path: Path) -> None:
    """Rows 0 to 9, then 5 to 19: ten more, and the same vectors as at once."""
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    store.vectors({"m": model()}, data, np.arange(10), state="now", workers=0)
    found = store.vectors({"m": model()}, data, np.arange(5, 20), state="now", workers=0)["m"]
    assert sum(SEEN) == 20
    assert store.missing("m", "now", np.arange(20), size=8).tolist() == []
    assert store.missing("other", "now", np.arange(3), size=8).tolist() == [0, 1, 2]
    whole = FeatureStore(tmp_path / "other", limit_bytes=GIGABYTE).vectors(
        {"m": model()}, data, np.arange(20), state="now", workers=0
    )
    np.testing.assert_array_equal(found.vector, whole["m"].vector[5:])


def test_an_unreadable_image_is_told_every_time_and_tried_again(data: Dataset, tmp_path: Path) -> None:
    """The others come from the file, which does not hold it: what can be read again is known then."""
    whole = Path(data.paths[3]).read_bytes()
    Path(data.paths[3]).write_bytes(b"no picture")
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    for _ in range(2):
        found = store.vectors({"m": model()}, data, np.arange(2, 6), state="now", workers=0)["m"]
        assert list(found.bad) == [3]
        assert found.vector.shape == (4, 3)
    assert sum(SEEN) == 3
    assert store.missing("m", "now", np.arange(2, 6), size=8).tolist() == [3]
    Path(data.paths[3]).write_bytes(whole)
    found = store.vectors({"m": model()}, data, np.arange(2, 6), state="now", workers=0)["m"]
    assert not found.bad
    assert found.vector[1].any()
    assert sum(SEEN) == 4
    assert not len(store.missing("m", "now", np.arange(2, 6), size=8))


def test_where_nothing_can_be_read_nothing_is_kept(data: Dataset, tmp_path: Path) -> None:
    """The width is not known then."""
    whole = Path(data.paths[3]).read_bytes()
    Path(data.paths[3]).write_bytes(b"no picture")
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    assert list(store.vectors({"m": model()}, data, np.arange(3, 4), state="now", workers=0)["m"].bad) == [3]
    assert not store.folder.exists()
    Path(data.paths[3]).write_bytes(whole)
    found = store.vectors({"m": model()}, data, np.arange(3, 5), state="now", workers=0)["m"]
    assert found.vector.shape == (2, 3)


def test_vectors_of_another_state_are_others(data: Dataset, tmp_path: Path) -> None:
    """Of files that were changed, whatever their size."""
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    for state in ("before", "after", "before"):
        store.vectors({"m": model()}, data, np.arange(4), state=state, workers=0)
    assert sum(SEEN) == 8


def test_a_model_that_fails_does_not_cost_the_others(data: Dataset, tmp_path: Path) -> None:
    """NaN is an error of one model."""
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    found = store.vectors(
        {"good": model(), "bad": model("bad", broken)}, data, np.arange(4), state="now", workers=0
    )
    assert isinstance(found["bad"].error, NonFiniteError)
    assert found["good"].error is None
    assert found["good"].vector.shape == (4, 3)


class Odd(Exception):
    """Straight from Exception, as onnxruntime's are."""


@pytest.mark.parametrize("error", [KeyError("oops"), Odd("oops")])
def test_whatever_a_model_raises_does_not_cost_the_others(
    data: Dataset, tmp_path: Path, error: Exception
) -> None:
    """A function of a stranger's."""

    def raising(image: Tensor) -> Tensor:
        raise error

    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    models = {"good": model(), "bad": model("bad", raising)}
    found = store.vectors(models, data, np.arange(4), state="now", workers=0)
    assert found["bad"].error is error
    assert found["good"].error is None


def test_ctrl_c_in_a_model_ends_the_run(data: Dataset, tmp_path: Path) -> None:
    """It is no failure of the model."""

    def stopped(image: Tensor) -> Tensor:
        raise KeyboardInterrupt

    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    with pytest.raises(KeyboardInterrupt):
        store.vectors({"m": model("m", stopped)}, data, np.arange(4), state="now", workers=0)


def test_the_files_that_were_not_used_for_longest_go(data: Dataset, tmp_path: Path) -> None:
    """Two files fit; the one that was read again stays."""
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    for mark in ("a", "b"):
        store.vectors({mark: model()}, data, np.arange(20), state="now", workers=0)
    store.vectors({"a": model()}, data, np.arange(20), state="now", workers=0)
    size = max(path.stat().st_size for path in store.folder.iterdir())
    tight = FeatureStore(store.folder, limit_bytes=2 * size)
    tight.vectors({"c": model()}, data, np.arange(20), state="now", workers=0)
    assert sorted(path.name[0] for path in store.folder.iterdir()) == ["a", "c"]


def test_a_damaged_file_is_computed_again(data: Dataset, tmp_path: Path) -> None:
    """And a limit of 0 keeps nothing."""
    store = FeatureStore(tmp_path / "kept", limit_bytes=GIGABYTE)
    first = store.vectors({"m": model()}, data, np.arange(20), state="now", workers=0)["m"]
    (path,) = store.folder.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    again = store.vectors({"m": model()}, data, np.arange(20), state="now", workers=0)["m"]
    np.testing.assert_array_equal(first.vector, again.vector)
    assert sum(SEEN) == 40
    nothing = FeatureStore(tmp_path / "nothing", limit_bytes=0)
    nothing.vectors({"m": model()}, data, np.arange(4), state="now", workers=0)
    assert not nothing.folder.exists()


def test_a_folder_that_cannot_be_written_costs_time_only(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The vectors are there, and one line says that they are not kept."""
    (tmp_path / "file").write_text("no folder")
    store = FeatureStore(tmp_path / "file" / "kept", limit_bytes=GIGABYTE)
    for name in ("a", "b"):
        found = store.vectors({name: model()}, data, np.arange(10), state="now", workers=0)[name]
        assert found.error is None
        assert len(found.vector) == 10
    assert capsys.readouterr().err.count("vectors cannot be kept in") == 1


def test_room_that_another_process_made_is_no_error(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files may go between the listing and the look at each."""
    store = FeatureStore(tmp_path, limit_bytes=GIGABYTE)
    gone = tmp_path / "gone.safetensors"
    monkeypatch.setattr(Path, "glob", lambda _, pattern: iter([gone]))
    store.vectors({"m": model()}, data, np.arange(10), state="now", workers=0)
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".safetensors"]) == 1
