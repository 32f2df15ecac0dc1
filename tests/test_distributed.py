"""`torchrun -m alumnus train`: a killed process costs a restart, an error ends all, and a message is said once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from alumnus.distributed import decided, gathered, joined, main_first
from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.models.artifact import load_student
from tests import two


def _recipe(folder: Path, images: Path, *, teacher: Mapping[str, object], **settings: object) -> Path:
    """A file; the teacher is one of `tests.two`."""
    quarters = {
        "model": "python:tests.two:Quarters",
        "arguments": dict(teacher),
        "name": "quarters",
        "size": 32,
    }
    values = {
        "out": str(folder / "run"),
        "data": str(images),
        "student": two.VIT,
        "teachers": [quarters],
        "size": 32,
        "embed_dim": 8,
        "batch_size": 6,
        "workers": 0,
        "log_every": 1,
        **settings,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_alone_everything_is_what_it_was() -> None:
    """Without torchrun nothing is asked of anybody."""
    with joined(), main_first():
        assert decided(lambda: (1, 2)) == (1, 2)
    assert gathered([3]) == [3]


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORLD_SIZE from elsewhere is named, not waited for."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2 .* MASTER_ADDR.* torchrun"):
        with joined():
            pass


@pytest.mark.parametrize("shard", [False, True])
def test_a_killed_process_costs_a_restart(tiny_images: Path, tmp_path: Path, shard: bool) -> None:
    """kill -9 of one of two: torchrun starts both again, and the run goes on from its last checkpoint to its end."""
    recipe = _recipe(tmp_path, tiny_images, teacher={}, steps=150, checkpoint_every=5, shard=shard)
    process = two.torchrun("alumnus", "train", recipe, options=["--max-restarts=1"])
    deadline = time.monotonic() + two.TIMEOUT_S
    while not list((tmp_path / "run" / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(_second(process.pid), signal.SIGKILL)
    said = two.finished(process)
    assert process.returncode == 0, said
    assert "steps 0 to 150 on cpu, 2 processes" in said
    assert said.count("2 processes") == 2
    assert [line["step"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(150))
    assert load_student(tmp_path / "run" / "student").embed_dim == 8


def test_an_error_in_one_process_ends_all_and_is_said_once(tiny_images: Path, tmp_path: Path) -> None:
    """The teacher of the second process breaks in a step, while the first waits for it."""
    recipe = _recipe(tmp_path, tiny_images, teacher={"fails_after": 4}, steps=50)
    process = two.torchrun("alumnus", "train", recipe)
    said = two.finished(process)
    assert process.returncode == 1, said
    assert said.count("error: the teacher of process 1 broke") == 1
    assert "stopped; resume" not in said
    assert not (tmp_path / "run" / "student").exists()


def test_a_signal_to_one_process_stops_all_after_a_step_that_is_saved(
    tiny_images: Path, tmp_path: Path
) -> None:
    """They agree on the step, and nobody is left waiting for another."""
    recipe = _recipe(tmp_path, tiny_images, teacher={}, steps=2000, checkpoint_every=2000)
    process = two.torchrun("alumnus", "train", recipe)
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + two.TIMEOUT_S
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(_second(process.pid), signal.SIGTERM)
    said = two.finished(process)
    assert process.returncode != 0
    assert "stopped; resume with the same command" in said
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert saved.name == f"step-{len(read_metrics(metrics))}"


def _second(torchrun: int) -> int:
    """The process with rank 1 among those that torchrun started."""
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == torchrun and b"\0RANK=1\0" in b"\0" + (folder / "environ").read_bytes():
                return int(folder.name)
        except (OSError, ValueError, IndexError):
            continue
    raise AssertionError("torchrun has no second process")
