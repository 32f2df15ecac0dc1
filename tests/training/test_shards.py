"""Sharded: two processes hold half of the student each, and train what one trains that holds it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.models.artifact import load_student
from alumnus.models.student import Architecture, Student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.shards import clip_gradients, gradient_norm, shard, units
from tests import two, two_shards

FILES = ("model.safetensors", "heads.safetensors")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """What one process leaves."""
    folder = tmp_path_factory.mktemp("one")
    train(two_shards.vit(folder / "vit", tiny_images, shard=False))
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path, one: Path) -> Path:
    """What two processes leave; one of their runs is one that one process began."""
    folder = tmp_path_factory.mktemp("two")
    two_shards.uncut(one / "vit", folder / "from-one")
    process = two.torchrun("tests.two_shards", folder, tiny_images)
    said = two.finished(process)
    assert process.returncode == 0, said
    return folder


def _assert_close(ours: Path, theirs: Path, *, tolerance: float) -> None:
    """Every term of every step, and every weight of the student, under the same name."""
    for mine, other in zip(*(read_metrics(run / "metrics.jsonl") for run in (ours, theirs)), strict=True):
        del mine["images/s"], other["images/s"]
        assert mine == pytest.approx(other, rel=tolerance), mine["step"]
    for name in FILES:
        found, wanted = (safetensors.torch.load_file(run / "student" / name) for run in (ours, theirs))
        assert found.keys() == wanted.keys()
        for key, tensor in wanted.items():
            torch.testing.assert_close(found[key], tensor, rtol=0, atol=1e-4, msg=key)


def _bytes(run: Path) -> list[bytes]:
    return [(run / "student" / name).read_bytes() for name in FILES]


def test_each_process_holds_half(both: Path) -> None:
    """Of weights, gradients, moments and moving average, give or take what cannot be halved; of the objective all."""
    held = [json.loads((both / f"held-{rank}.json").read_text()) for rank in range(2)]
    for kind in ("weights", "gradients", "moments", "average"):
        shares = [process[kind][0] for process in held]
        total = held[0][kind][1]
        assert sum(shares) == total > 100_000
        assert max(shares) < 0.53 * total, kind
    assert held[0]["of the objective"] == held[1]["of the objective"] != [0, 0]


def test_a_gradient_that_is_not_finite_is_named_by_all(both: Path) -> None:
    """Only the second process holds it."""
    for rank in range(2):
        assert json.loads((both / f"held-{rank}.json").read_text())["nan"] == [two_shards.NAN]


def test_curve_and_student_are_those_of_one_process(both: Path, one: Path) -> None:
    """With gradients summed and not averaged, clipped by the norm of all shards, and a backbone that is frozen at the start."""
    _assert_close(both / "vit", one / "vit", tolerance=1e-3)


def test_the_student_folder_is_one_of_any_run(both: Path, one: Path) -> None:
    """With the same description for timm, and it is loaded as any."""
    said, wanted_said = ((run / "vit" / "student" / "config.json").read_text() for run in (both, one))
    assert said == wanted_said
    image = torch.rand(2, 3, 32, 32)
    found, wanted = (load_student(run / "vit" / "student")(image).embedding for run in (both, one))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


def test_a_resumed_run_ends_with_the_same_bits(both: Path) -> None:
    """Stopped after step 8."""
    assert _bytes(both / "cut") == _bytes(both / "vit")


def test_one_process_goes_on_where_sharded_ones_stopped(both: Path, tiny_images: Path) -> None:
    """With the same recipe, which is then without effect."""
    train(two_shards.vit(both / "for-one", tiny_images, shard=True))
    _assert_close(both / "for-one", both / "vit", tolerance=1e-3)


def test_sharded_processes_go_on_where_one_stopped(both: Path, one: Path) -> None:
    """Another setting of `shard` is no other run."""
    _assert_close(both / "from-one", one / "vit", tolerance=1e-3)


def test_micro_batches_batch_norm_and_adaptors_are_as_without_shards(both: Path) -> None:
    """Two processes in both cases, for a convolutional network."""
    _assert_close(both / "pieces-True", both / "pieces-False", tolerance=1e-3)


def test_in_one_process_it_changes_nothing(
    one: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says so."""
    train(two_shards.vit(tmp_path / "run", tiny_images, shard=True))
    assert "shard: true has no effect in one process" in capsys.readouterr().err
    assert _bytes(tmp_path / "run") == _bytes(one / "vit")


def test_float16_is_refused(tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=r"shard: true .* precision=float16.* use bfloat16"):
        load_config(out=tmp_path, data=tmp_path, student="timm/test_vit", shard=True, precision="float16")


def test_a_parameter_without_an_axis_is_refused() -> None:
    """By name."""
    backbone = timm.create_model("test_vit", num_classes=0, img_size=32)
    backbone.scale = nn.Parameter(torch.tensor(1.0))
    student = Student(Architecture("test_vit", 32, 8), backbone=backbone)
    with pytest.raises(ConfigError, match=r"shard: test_vit .* \(backbone.scale\)"):
        shard(student, device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("vit_tiny_patch16_224", ["blocks"]),
        ("resnet10t", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("mobilenetv3_small_050", ["blocks"]),
        ("convnext_atto", ["stem", "stages"]),
    ],
)
def test_units_are_the_blocks_of_a_network(name: str, rows: list[str]) -> None:
    """Blocks or stages, in their order, none within another."""
    backbone = timm.create_model(name, num_classes=0)
    wanted = [block for row in rows for block in backbone.get_submodule(row).children()]
    assert units(backbone) == [block for block in wanted if list(block.parameters())]


def test_a_norm_and_clipping_are_torchs_where_nothing_is_sharded() -> None:
    """A gradient of (3, 4) has norm 5, and half of it is left of 2.5."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    norm = gradient_norm([parameter])
    assert float(norm) == 5
    clip_gradients([parameter], largest=2.5, norm=norm)
    torch.testing.assert_close(parameter.grad, torch.tensor([1.5, 2.0]))
