"""Runs of `agglomerate` and `repcon`: exact again after a stop, stored as live, with teachers that are trusted on parts of the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import alumnus
from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.models.artifact import load_student
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run


class _Stop(Exception):
    """Ends a run from inside."""


class Quarters(nn.Module):
    """A teacher with a grid of 2 x 2, that can be made to stop after a number of calls."""

    def __init__(self, calls: int | None = None) -> None:
        super().__init__()
        self.calls_left = calls

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 3, 2, 2)."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise _Stop
        return nn.functional.adaptive_avg_pool2d(image, 2)


class Colours(nn.Module):
    """A teacher of four logits."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 4)."""
        mean = image.mean(dim=(2, 3))
        return nn.functional.pad(8 * mean, (0, 1))


FULL = {
    "name": "agglomerate",
    "adaptor": "ladder",
    "patches": "mlp",
    "weighting": "running",
    "teacher_dropping": 0.5,
    "relational": 0.2,
    "keep_adaptors": True,
}
REPCON = {"name": "repcon", "generalist": "quarters", "weighting": "uncertainty"}
DYNAMIC = {"name": "agglomerate", "weighting": {"name": "dynamic", "floor": 0.1}}


def _teachers(calls: int | None = None) -> list[dict[str, object]]:
    return [
        {"model": Quarters(calls), "name": "quarters", "size": 32, "output": "patches"},
        {"model": Colours(), "name": "colours", "size": 32, "output": "logits", "domains": ["discs"]},
    ]


def _config(out: Path, images: Path, method: object, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": [images / name for name in ("discs", "squares", "crosses")],
        "student": "timm/mobilenetv3_small_050",
        "teachers": _teachers(),
        "method": method,
        "sampler": "proportional",
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 8,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
        "views": {"per_image": 2},
    }
    return load_config(**{**values, **settings})


def _bytes(run: Run) -> bytes:
    return (run.student / "model.safetensors").read_bytes() + (run.student / "heads.safetensors").read_bytes()


def _losses(run: Run) -> list[dict[str, float]]:
    return [
        {key: value for key, value in line.items() if key.startswith(("loss", "weight/", "sampler/"))}
        for line in read_metrics(run.folder / "metrics.jsonl")
    ]


@pytest.mark.parametrize("method", [FULL, REPCON, DYNAMIC], ids=["agglomerate", "repcon", "dynamic"])
def test_a_stopped_run_continues_to_the_same_bits(method: object, tiny_images: Path, tmp_path: Path) -> None:
    """The weighting's state, kept adaptors and draws of teachers included."""
    whole = train(_config(tmp_path / "whole", tiny_images, method))
    with pytest.raises(_Stop):
        train(_config(tmp_path / "cut", tiny_images, method, teachers=_teachers(calls=6)))
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()]
    cut = train(_config(tmp_path / "cut", tiny_images, method))
    assert _bytes(cut) == _bytes(whole)
    assert _losses(cut) == _losses(whole)


@pytest.mark.parametrize(
    "method", [FULL, REPCON, "plain", "fitnets"], ids=["agglomerate", "repcon", "plain", "fitnets"]
)
def test_a_student_of_several_sizes(method: object, tiny_images: Path, tmp_path: Path) -> None:
    """Every teacher teaches it at every one, and those in a store as live ones do; it is served at `size`."""
    views = {"per_image": 2, "sizes": [32, 64]}
    whole = train(_config(tmp_path / "whole", tiny_images, method, views=views))
    assert _losses(whole) != _losses(train(_config(tmp_path / "one", tiny_images, method)))
    assert load_student(whole.student).size == 32
    store = {"path": tmp_path / "store", "precision": "float32"}
    settings: dict[str, object] = {"views": views, "store": store, "targets": "stored"}
    assert _losses(train(_config(tmp_path / "stored", tiny_images, method, **settings))) == _losses(whole)


def test_a_student_of_one_size_refuses_several(tiny_images: Path, tmp_path: Path) -> None:
    """Before anything is written; a vision transformer that resamples its positions takes what its patches divide."""
    shape = {"depth": 1, "embed_dim": 12, "num_heads": 1}
    vit = {"model": "timm/vit_tiny_patch16_224", "model_args": shape}
    settings: dict[str, object] = {"views": {"sizes": [32, 48]}, "student": vit}
    with pytest.raises(
        ConfigError, match=r"takes no images of 48 px as it was built; .*dynamic_img_size=true"
    ):
        train(_config(tmp_path / "run", tiny_images, "plain", **settings))
    assert not list((tmp_path / "run").rglob("*.yaml"))
    several = {**settings, "student": {**vit, "model_args": {**shape, "dynamic_img_size": True}}}
    dense = {"name": "agglomerate", "patches": "mlp"}
    assert train(_config(tmp_path / "run", tiny_images, dense, **several)).student.is_dir()
    with pytest.raises(ConfigError, match="size=40 is not a multiple of its patches of 16 px"):
        train(_config(tmp_path / "other", tiny_images, "plain", **{**several, "views": {"sizes": [40]}}))


@pytest.mark.parametrize("method", [FULL, REPCON], ids=["agglomerate", "repcon"])
def test_stored_teachers_are_live_ones(method: object, tiny_images: Path, tmp_path: Path) -> None:
    """Summaries, patches and logits out of a float32 store give every loss and the student, bit for bit."""
    live = train(_config(tmp_path / "live", tiny_images, method))
    store = {"path": tmp_path / "store", "precision": "float32"}
    stored = train(_config(tmp_path / "stored", tiny_images, method, store=store, targets="stored"))
    modes = json.loads((stored.folder / "plan.json").read_text())["modes"]
    assert modes == {"quarters": "stored", "colours": "stored"}
    assert _losses(stored) == _losses(live)
    assert _bytes(stored) == _bytes(live)


def test_teachers_spaces_are_in_the_student_folder(tiny_images: Path, tmp_path: Path) -> None:
    """`encode(space=…)` after a run gives vectors of the teacher's width and scale, and training on without them leaves them behind."""
    run = train(_config(tmp_path / "run", tiny_images, {**FULL, "teacher_dropping": None}, steps=60, lr=3e-3))
    encoder = alumnus.load(run.folder)
    assert encoder.spaces == {"quarters": 3, "colours": 4}
    paths = sorted((tiny_images / "discs").rglob("*.png"))
    vectors = encoder.encode(paths, space="quarters")
    assert vectors.shape == (len(paths), 3)
    assert (
        np.abs(vectors.mean() - 0.75) < 0.2
    )  # mean colours of shapes on a light ground; standardised ones would be near 0
    again = train(
        _config(tmp_path / "again", tiny_images, "plain", student=f"alumnus:{run.student}", steps=2)
    )
    assert alumnus.load(again.folder).spaces == {}


def test_patches_are_refused_before_a_run_begins_where_no_teacher_gives_them(
    tiny_images: Path, tmp_path: Path
) -> None:
    """The message says what to set; nothing is left behind."""
    with pytest.raises(ConfigError, match="set output=patches"):
        train(_config(tmp_path / "run", tiny_images, FULL, teachers=_teachers()[1:]))
    assert not (tmp_path / "run").exists()


def test_what_steers_a_run_is_in_its_log(tiny_images: Path, tmp_path: Path) -> None:
    """The weights of terms, if they move, and the domains' shares of the steps, if a sampler follows losses; else neither."""
    sampler = {"name": "dynamic", "every": 3, "floor": 0.5}
    steered = train(_config(tmp_path / "steered", tiny_images, DYNAMIC, sampler=sampler))
    lines = read_metrics(steered.folder / "metrics.jsonl")
    shares = [[line[f"sampler/{name}"] for name in ("discs", "squares", "crosses")] for line in lines]
    assert shares[0] == shares[2] == pytest.approx([1 / 3] * 3)
    assert shares[3] != shares[2]
    assert all(sum(each) == pytest.approx(1) and min(each) >= 0.5 / 3 for each in shares)
    weights = [line["weight/quarters"] for line in lines]
    assert weights[0] == pytest.approx(0.5)
    assert len(set(weights)) > 1
    plain = train(_config(tmp_path / "plain", tiny_images, {"name": "agglomerate"}))
    keys = read_metrics(plain.folder / "metrics.jsonl")[0]
    assert not any(key.startswith(("weight/", "sampler/")) for key in keys)
