"""Runs that keep what they cut out of their images: the same runs, and only where it is worth it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus.data import loader
from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.store.kept import crops_bytes, crops_folders
from alumnus.training import crops as keeping
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run

TEACHER = {"model": "timm/resnet10t", "weights": "random", "size": 32}


def _config(out: Path, images: Path, *, store: dict[str, object], **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": images,
        "student": "timm/mobilenetv3_small_050",
        "teachers": [TEACHER],
        "method": "plain",
        "size": 32,
        "embed_dim": 8,
        "steps": 16,
        "batch_size": 24,
        "workers": 0,
        "log_every": 1,
        "views": {"per_image": 2, "brightness": 0.3},
        "store": {"path": out.parent / "store", **store},
        "targets": "stored",
    }
    return load_config(**{**values, **settings})


def _found(run: Run) -> tuple[list[dict[str, float]], bytes]:
    lines = read_metrics(run.folder / "metrics.jsonl")
    losses = [{key: value for key, value in line.items() if key != "images/s"} for line in lines]
    return losses, (run.student / "model.safetensors").read_bytes()


def test_crops_change_nothing_that_is_learnt(tmp_path: Path, tiny_images: Path) -> None:
    """By default they are kept, as each of the 180 views is seen more than twice; read, written or neither, the run is the same."""
    without = train(_config(tmp_path / "without", tiny_images, store={"crops": False}))
    assert crops_bytes(tmp_path / "store") == 0
    writing = train(_config(tmp_path / "writing", tiny_images, store={}))
    assert crops_bytes(tmp_path / "store") > 0
    reading = train(_config(tmp_path / "reading", tiny_images, store={"crops": True}))
    assert _found(without) == _found(writing) == _found(reading)


def test_the_second_run_opens_no_image_that_the_first_one_saw(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else it learns: crops are of images and views, not of a run."""
    train(_config(tmp_path / "first", tiny_images, store={}))

    def nothing(path: object) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(loader, "read_keyed", nothing)
    train(_config(tmp_path / "second", tiny_images, store={}))


def test_live_teachers_have_crops_of_their_own_size(tmp_path: Path, tiny_images: Path) -> None:
    """Where they are asked for; a run of live teachers touches no store by itself."""
    settings = {"targets": "live", "size": 24}
    plain = train(_config(tmp_path / "plain", tiny_images, store={}, **settings))
    assert not (tmp_path / "store").exists()
    for name in ("writing", "reading"):
        run = train(_config(tmp_path / name, tiny_images, store={"crops": True}, **settings))
        assert _found(run) == _found(plain)
    (folder,) = crops_folders(tmp_path / "store")
    assert {side for side, _, _ in folder.files} == {24, 32}


def test_few_steps_keep_nothing(tmp_path: Path, tiny_images: Path) -> None:
    """What is seen once is not read again."""
    train(_config(tmp_path / "run", tiny_images, store={}, steps=14))
    assert crops_bytes(tmp_path / "store") == 0


@pytest.mark.parametrize("name", ["SHARE_OF_MEMORY", "SHARE_OF_DISK"])
def test_large_crops_are_kept_only_if_asked_for(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """They would fill the disk, or be read from a disk that is slower than a decoder."""
    monkeypatch.setattr(keeping, name, 1e-9)
    train(_config(tmp_path / "auto", tiny_images, store={}))
    assert crops_bytes(tmp_path / "store") == 0
    train(_config(tmp_path / "asked", tiny_images, store={"crops": True}))
    assert crops_bytes(tmp_path / "store") > 0


def test_crops_stay_within_the_budget(tmp_path: Path, tiny_images: Path) -> None:
    """By default the run goes without; asked for, it is refused before anything is trained."""
    budget: dict[str, object] = {"budget": "700kB"}
    train(_config(tmp_path / "auto", tiny_images, store=budget))
    assert crops_bytes(tmp_path / "store") == 0
    with pytest.raises(ConfigError, match=r"crops need .* the budget is 683\.6 KiB; fewer views"):
        train(_config(tmp_path / "asked", tiny_images, store={"crops": True, **budget}))
    assert not (tmp_path / "asked" / "student").exists()


def test_views_that_never_repeat_cannot_be_kept(tmp_path: Path, tiny_images: Path) -> None:
    """The message says what to set."""
    with pytest.raises(ConfigError, match=r"store\.crops=true keeps a fixed number of views"):
        train(
            _config(
                tmp_path / "run", tiny_images, store={"crops": True}, targets="live", views={"per_image": 0}
            )
        )
