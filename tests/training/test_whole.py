"""Two processes train what one would: the same batches, losses, gradients and student, whatever falls to whom."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from alumnus.log import read_metrics
from alumnus.moments import Moments
from alumnus.training.data import sampler_of, training_data
from alumnus.training.loop import train
from tests import two


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """The tiny images, two of which cannot be read."""
    folder = Path(shutil.copytree(tiny_images, tmp_path_factory.mktemp("images") / "images"))
    for path in sorted(folder.rglob("*.png"))[3:5]:
        path.write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("two")
    process = two.torchrun("tests.two", folder, images)
    said = two.finished(process)
    assert process.returncode == 0, said
    (folder / "said.txt").write_text(said)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """What one process leaves of the same runs."""
    folder = tmp_path_factory.mktemp("one")
    for config in two.configs(folder, images).values():
        train(config)
    return folder


def _curve(run: Path) -> list[dict[str, float]]:
    lines = read_metrics(run / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key != "images/s"} for line in lines]


def _assert_close(ours: Path, theirs: Path, *, tolerance: float) -> None:
    for mine, other in zip(_curve(ours), _curve(theirs), strict=True):
        assert mine == pytest.approx(other, rel=tolerance), mine["step"]


def test_some_share_holds_no_image_of_the_teachers_domain(images: Path, tmp_path: Path) -> None:
    """The runs below are hard ones: in some steps one of the processes' teachers sees no image, in others neither's does."""
    config = two.config(tmp_path, images)
    dataset = training_data(config)
    drawn = [sampler_of(config, dataset).draw(step).rows for step in range(config.steps)]
    seen = [[(dataset.domain[rows[rank::2]] == 0).any() for rank in range(2)] for rows in drawn]
    assert [True, False] in seen
    assert [False, True] in seen
    assert [True, True] in seen


@pytest.mark.parametrize(("method", "model", "pieces"), two.METHODS)
def test_the_gradients_are_those_of_one_process(
    both: Path, images: Path, method: str, model: str, pieces: int
) -> None:
    """Of every weight of student and objective, in size too; and running statistics of batch norms and of teachers' features."""
    found = safetensors.torch.load_file(both / f"{method}-{model}-{pieces}.safetensors")
    wanted = two.gradients(images, method, model=model, pieces=pieces)
    assert found.keys() == wanted.keys()
    # Some gradients are zero but for rounding (of a bias before another batch norm): what is compared is the size of a difference.
    largest = max(float(tensor.norm()) for name, tensor in wanted.items() if name.startswith("student/"))
    for name, tensor in wanted.items():
        assert float((found[name] - tensor).norm()) <= 1e-3 * float(tensor.norm()) + 1e-6 * largest, name


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("plain", 5e-3),
        ("stored", 5e-3),
        ("supervised", 1e-4),
        ("udon", 1e-3),
        ("fitted", 1e-3),
        ("cfl", 1e-3),
        ("rkd", 1e-3),
    ],
)
def test_the_loss_curve_is_that_of_one_process(both: Path, one: Path, name: str, tolerance: float) -> None:
    """Every term of every step; rounding grows where a gradient is zero but for it, for Adam divides by its size (batch norms do that)."""
    _assert_close(both / name, one / name, tolerance=tolerance)
    assert _curve(both / name)[0] == pytest.approx(_curve(one / name)[0], rel=1e-5)


def test_stored_targets_are_those_of_live_teachers_bit_for_bit(both: Path) -> None:
    """Both processes began with an empty store, and filled it together."""
    assert _curve(both / "stored") == _curve(both / "plain")
    names = {path.name for path in both.iterdir()}
    assert "store" in names
    assert json.loads((both / "stored" / "plan.json").read_text())["modes"]["resnet10t"] == "stored"


def test_the_student_is_that_of_one_process(both: Path, one: Path) -> None:
    """Every weight of its moving average, under the same name."""
    found, wanted = (
        safetensors.torch.load_file(folder / "supervised" / "student" / "model.safetensors")
        for folder in (both, one)
    )
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-4, msg=name)


def test_moments_are_gathered_from_all(both: Path, one: Path) -> None:
    """Each process asks its teachers about its share of the first batches."""
    found, wanted = (
        Moments.load(folder / "fitted" / "moments" / "quarters.safetensors") for folder in (both, one)
    )
    assert found.count == wanted.count
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.covariance, wanted.covariance)


def test_a_watched_student_is_seen_as_by_one_process(both: Path, one: Path) -> None:
    """All processes look, and share the search; the first one writes."""
    found, wanted = (read_metrics(folder / "fitted" / "watch.jsonl") for folder in (both, one))
    assert [line["step"] for line in found] == [1, 2]
    for mine, other in zip(found, wanted, strict=True):
        assert mine.pop("watch/effective rank") == pytest.approx(other.pop("watch/effective rank"), rel=1e-3)
        assert mine == pytest.approx(other, abs=0.04)  # an image or two of a domain's thirty


def test_bad_images_of_all_processes_are_noted_once(both: Path, one: Path) -> None:
    """In one file, the same as one process writes, but for the order within a step."""
    found, wanted = (
        set((folder / "supervised" / "quarantine.jsonl").read_text().splitlines()) for folder in (both, one)
    )
    assert found == wanted
    assert len((both / "supervised" / "quarantine.jsonl").read_text().splitlines()) == len(wanted) == 2


def test_a_resumed_run_ends_with_the_same_bits(both: Path) -> None:
    """Stopped after step 16, with the same number of processes."""
    assert _curve(both / "cut") == _curve(both / "plain")
    found, wanted = (
        (both / name / "student" / "model.safetensors").read_bytes() for name in ("cut", "plain")
    )
    assert found == wanted


def test_one_process_goes_on_where_two_stopped(both: Path, images: Path) -> None:
    """On the same batches."""
    train(two.config(both / "cut-for-one", images))
    _assert_close(both / "cut-for-one", both / "plain", tolerance=5e-3)


def test_students_draw_apart_and_objectives_alike(both: Path) -> None:
    """Dropout is of each image; what an objective draws is the same everywhere, and not moved by the student's draws."""
    first, second = (safetensors.torch.load_file(both / f"draws-{rank}.safetensors") for rank in range(2))
    assert torch.equal(first["kept"], second["kept"])
    rows = first["kept"].flatten(0, 1)  # 2 steps, 2 calls, 5 images
    assert len(torch.unique(rows, dim=0)) == len(rows)
    assert torch.equal(first["own"], second["own"])
    assert first["own"].tolist() == [
        float(torch.rand((), generator=torch.Generator().manual_seed(s))) for s in (0, 1)
    ]
    assert first["all"].tolist() == [float(first["own"][1])] * 2


def test_only_the_first_speaks(both: Path) -> None:
    """Each line of the log is printed once."""
    said = (both / "said.txt").read_text()
    for name in ("plain", "supervised"):
        assert said.count(f"student written to {both / name / 'student'}") == 1
    assert said.count("2 processes") == 8  # runs
