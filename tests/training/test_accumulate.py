"""Accumulation: a step in micro-batches is the step of the whole batch, for every method; its runs resume to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from torch import Tensor

from alumnus.errors import ConfigError
from alumnus.training.config import Config
from alumnus.training.course import prepare
from alumnus.training.loop import terms_of, train
from alumnus.training.method import method_names
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from tests.given import Colours, Stopped, given

VIT = {"model": "timm/vit_tiny_patch16_224", "model_args": {"depth": 1, "embed_dim": 48, "num_heads": 2}}


def _config(out: Path, data: Path, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": data,
        "student": VIT,
        "teachers": [{"model": Colours(), "name": "colours", "size": 32}],
        "size": 32,
        "embed_dim": 8,
        "steps": 6,
        "batch_size": 10,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    return load_config(**{**values, **settings})


def _step(config: Config) -> dict[str, Tensor]:
    """Loss, terms, and gradients of the first step."""
    course = prepare([(config, Run(config.out))])
    pupil = course.pupils[0]
    pupil.student.train()
    loaded = next(course.batches(1))
    terms = terms_of(pupil, loaded.batch, course.source(loaded.batch), step=0)
    terms.loss.backward()  # type: ignore[no-untyped-call]
    found = {"loss": terms.loss.detach(), "per_sample": terms.per_sample, **terms.report}
    for owner, module in {"student": pupil.student, "objective": pupil.objective}.items():
        found |= {f"{owner}/{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found


@pytest.mark.parametrize("method", method_names())
def test_a_step_is_that_of_the_whole_batch(method: str, tiny_images: Path, tmp_path: Path) -> None:
    """Loss, all terms and all gradients, whatever the method makes of the batch."""
    wanted = _step(_config(tmp_path / "whole", tiny_images, **given(method)))
    found = _step(_config(tmp_path / "pieces", tiny_images, accumulate=3, **given(method)))
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert float((found[name] - tensor).norm()) <= 1e-4 * float(tensor.norm()) + 1e-6, name


def test_a_stopped_run_goes_on_to_the_same_bits(tiny_images: Path, tmp_path: Path) -> None:
    """With batch norm and dropout, which differ from piece to piece."""
    settings = {
        "student": {"model": "timm/mobilenetv3_small_050", "model_args": {"drop_path_rate": 0.2}},
        "accumulate": 3,
    }
    whole = train(_config(tmp_path / "whole", tiny_images, **settings))
    stopping = [{"model": Colours(calls=5), "name": "colours", "size": 32}]
    with pytest.raises(Stopped):
        train(_config(tmp_path / "cut", tiny_images, teachers=stopping, **settings))
    cut = train(_config(tmp_path / "cut", tiny_images, **settings))
    for name in ("model.safetensors", "heads.safetensors"):
        assert (cut.student / name).read_bytes() == (whole.student / name).read_bytes()


def test_several_students_each_go_in_pieces(tiny_images: Path, tmp_path: Path) -> None:
    """Together, to the bits that each has alone."""
    small = {**VIT, "name": "small"}
    other = {"model": "timm/mobilenetv3_small_050", "name": "other"}
    several = {"student": None, "students": [small, other], "accumulate": 2, "steps": 2}
    train(_config(tmp_path / "both", tiny_images, **several))
    alone = train(_config(tmp_path / "alone", tiny_images, student=other, accumulate=2, steps=2))
    together = Run(tmp_path / "both" / "students" / "other")
    for name in ("model.safetensors", "heads.safetensors"):
        assert (together.student / name).read_bytes() == (alone.student / name).read_bytes()


def test_more_pieces_than_images_are_refused(tiny_images: Path, tmp_path: Path) -> None:
    """With both numbers, before anything is written."""
    with pytest.raises(ConfigError, match=r"accumulate=11 .* which is 10 \(batch_size=10, 1 processes\)"):
        train(_config(tmp_path / "run", tiny_images, accumulate=11))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"batch_size": 4, "accumulate": 4}, {"batch_size": 1}])
def test_batch_norms_need_two_images_in_a_piece(
    settings: dict[str, int], tiny_images: Path, tmp_path: Path
) -> None:
    """Of one image torch has no statistics where a grid has one cell, and says so in the first step; those that are frozen need none."""
    student = "timm/mobilenetv3_small_050"
    with pytest.raises(ConfigError, match=r"leaves one image at a time.*mobilenetv3_small_050.*at least two"):
        train(_config(tmp_path / "run", tiny_images, student=student, **settings))
    assert not (tmp_path / "run").exists()
    frozen = {"freeze": ["backbone"], "steps": 1, "student": student, **settings}
    assert train(_config(tmp_path / "frozen", tiny_images, **frozen)).is_done
    kept = {
        "optim": {"batch_norm": "frozen"},
        "precision": "auto",
        "steps": 1,
        "student": student,
        **settings,
    }
    assert train(_config(tmp_path / "kept", tiny_images, **kept)).is_done


def test_a_run_from_before_there_were_pieces_goes_on(tiny_images: Path, tmp_path: Path) -> None:
    """Its config.yaml does not know the setting; only another value than 1 is a difference."""
    out = tmp_path / "run"
    stopping = [{"model": Colours(calls=5), "name": "colours", "size": 32}]
    with pytest.raises(Stopped):
        train(_config(out, tiny_images, teachers=stopping))
    recorded = yaml.safe_load((out / "config.yaml").read_text())
    del recorded["accumulate"]
    (out / "config.yaml").write_text(yaml.safe_dump(recorded))
    with pytest.raises(ConfigError, match="accumulate: was 1, is 2"):
        train(_config(out, tiny_images, accumulate=2))
    assert train(_config(out, tiny_images)).is_done
