"""Loss scaling: small gradients arrive, large ones skip the step and lower the scale, and all of it resumes to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from alumnus.errors import NonFiniteError
from alumnus.log import read_metrics
from alumnus.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from alumnus.training.loop import train
from alumnus.training.scaling import MAX_SKIPPED, LossScale
from tests.training.test_loop import _config

CPU = torch.device("cpu")
BROKEN = "tests.training.nan_gradient"
TINY = {
    "model": "timm/vit_tiny_patch16_224",
    "model_args": {"depth": 1, "embed_dim": 48, "num_heads": 2},
}


def _layer() -> tuple[nn.Linear, torch.optim.Optimizer]:
    layer = nn.Linear(3, 1, bias=False)
    return layer, torch.optim.AdamW(layer.parameters(), fused=True)


def test_gradients_are_those_of_the_loss_itself() -> None:
    """Scaled before and unscaled after: powers of two change no bit."""
    (layer, optimizer), scaling, image = _layer(), LossScale(CPU), torch.randn(5, 3)
    (wanted,) = torch.autograd.grad(layer(image).square().mean(), [layer.weight])
    scaling.scaled(layer(image).square().mean()).backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is not None
    assert not torch.equal(layer.weight.grad, wanted)
    assert not scaling.has_overflowed(optimizer)
    assert torch.equal(layer.weight.grad, wanted)
    assert (scaling.value, scaling.skipped_in_a_row) == (2.0**16, 0)


def test_a_gradient_that_is_not_finite_halves_the_scale() -> None:
    """Again and again; a good one ends the count."""
    (layer, optimizer), scaling = _layer(), LossScale(CPU)
    for factor, value, count in ((1e35, 2.0**15, 1), (1e35, 2.0**14, 2), (1.0, 2.0**14, 0)):
        optimizer.zero_grad()
        scaling.scaled(factor * layer(torch.ones(1, 3)).sum()).backward()  # type: ignore[no-untyped-call]
        assert scaling.has_overflowed(optimizer) == (factor > 1)
        assert (scaling.value, scaling.skipped_in_a_row) == (value, count)


def test_a_checkpoint_keeps_the_scale(tmp_path: Path) -> None:
    """Value, good steps since it moved, skipped steps in a row."""
    layer, optimizer = _layer()
    scaling, other = LossScale(CPU), LossScale(CPU)
    tensors = {
        "scale": torch.tensor(512.0),
        "good_steps": torch.tensor(7),
        "skipped_in_a_row": torch.tensor(3),
    }
    scaling.restore(tensors)
    save_checkpoint(
        tmp_path, TrainState(layer, nn.Identity(), optimizer, None, scaling=scaling), step=1, fingerprint="a"
    )
    assert (
        load_checkpoint(
            tmp_path, TrainState(layer, nn.Identity(), optimizer, None, scaling=other), fingerprint="a"
        )
        == 1
    )
    assert {name: float(tensor) for name, tensor in other.tensors().items()} == {
        name: float(tensor) for name, tensor in tensors.items()
    }


def test_a_run_in_float16_learns_what_one_in_float32_does(tiny_images: Path, tmp_path: Path) -> None:
    """But for rounding; the log says the scale and that no step was skipped."""
    whole, half = (
        train(_config(tmp_path / name, tiny_images, student=TINY, precision=name))
        for name in ("float32", "float16")
    )
    wanted, found = (read_metrics(run.folder / "metrics.jsonl") for run in (whole, half))
    for theirs, ours in zip(wanted, found, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.02)
        assert ours["loss"] != theirs["loss"]
        assert (ours["skipped"], ours["loss_scale"]) == (0, 2.0**16)
        assert "skipped" not in theirs


def test_skipped_steps_are_counted_and_change_nothing(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second half of this run has no gradient that is finite; it ends with the weights of the first, resumed or not."""
    settings = {
        "student": TINY,
        "method": BROKEN,
        "precision": "float16",
        "optim": {"ema": 0},
        "log_every": 1,
    }
    run = train(_config(tmp_path / "run", tiny_images, **settings))
    lines = read_metrics(run.folder / "metrics.jsonl")
    skipped = [line["skipped"] for line in lines]
    assert skipped[1:] == [0, 0, 1, 1, 1]  # the first step may meet a scale that is too large
    scale = 2.0 ** (16 - sum(skipped))
    assert lines[-1]["loss_scale"] == scale
    said = f"step 5: skipped, a gradient is beyond float16; the loss scale is now {scale:g}"
    assert said in (run.folder / "log.txt").read_text()
    weights = (run.student / "heads.safetensors").read_bytes()
    shutil.rmtree(run.student)  # the last checkpoint is of step 4, in the midst of the skipped ones
    again = train(_config(run.folder, tiny_images, **settings))
    assert read_metrics(again.folder / "metrics.jsonl")[-1]["loss_scale"] == scale
    assert (again.student / "heads.safetensors").read_bytes() == weights
    assert "precision=float16 on a CPU is slower" in " ".join(capsys.readouterr().err.split())


def test_a_run_of_skipped_steps_ends(tiny_images: Path, tmp_path: Path) -> None:
    """It names what is not finite and what helps, and can be replayed."""
    method = {"name": BROKEN, "since": 0.1}
    steps = MAX_SKIPPED + 10
    with pytest.raises(
        NonFiniteError, match=rf"step {MAX_SKIPPED + 2}: {MAX_SKIPPED} steps in a row .* precision=bf"
    ):
        train(
            _config(
                tmp_path / "run", tiny_images, student=TINY, method=method, precision="float16", steps=steps
            )
        )
    assert (tmp_path / "run" / "replay.json").is_file()


@pytest.mark.gpu
def test_float16_on_a_gpu_learns_what_float32_does(tiny_images: Path, tmp_path: Path) -> None:
    """But for rounding."""
    losses = []
    for name in ("float32", "float16"):
        run = train(
            _config(tmp_path / name, tiny_images, student=TINY, precision=name, device="cuda", steps=50)
        )
        losses.append(read_metrics(run.folder / "metrics.jsonl")[-1]["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
