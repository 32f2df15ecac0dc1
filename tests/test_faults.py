"""What a machine runs out of ends in one message, and what was saved before it is whole."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from alumnus.cli import app, run
from alumnus.errors import AlumnusError, DataError, ResourceError, TeacherError, TooManyBadImages
from alumnus.faults import explained, told
from alumnus.training.loop import train
from alumnus.training.run import Run
from tests.conftest import COLOURS
from tests.training.test_loop import _bytes, _config


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a/log.txt"),
            ["disk is full", "runs/a/log.txt"],
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), ["disk is full", "quota"]),
        (SafetensorError('IoError(Os { code: 28, kind: StorageFull, message: "…" })'), ["disk is full"]),
        (OSError(errno.EROFS, "Read-only file system", "runs/a"), ["no access", "runs/a", "read-only"]),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), ["no access", "permission denied"]),
        (OSError(errno.EIO, "Input/output error", "x"), ["disk or network folder fails"]),
        (OSError(errno.EMFILE, "Too many open files"), ["too many files", "ulimit -n"]),
        (
            BrokenProcessPool("A process in the process pool was terminated abruptly while …"),
            ["the system killed a reading process"],
        ),
        (MemoryError(), ["memory ran out", "store=FOLDER", "batch_size"]),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
            ["memory ran out", "memory_limit"],
        ),
        (
            RuntimeError(
                "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
            ),
            ["shared memory ran out", "workers=0", "--shm-size"],
        ),
    ],
)
def test_each_limit_is_told_with_what_helps(error: Exception, words: list[str]) -> None:
    """By its text where that is all there is."""
    found = explained(error)
    assert found is not None
    for word in words:
        assert word in str(found)


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), ValueError("out of memory"), RuntimeError("shape"), FileNotFoundError(2, "no", "x")],
)
def test_anything_else_is_left_as_it_is(error: Exception) -> None:
    """Its traceback is worth more than a guess."""
    assert explained(error) is None
    with pytest.raises(type(error)), told():
        raise error


class _Dying(Dataset[int]):
    def __init__(self, number: int) -> None:
        self.number = number

    def __getitem__(self, place: int) -> int:
        os.kill(os.getpid(), self.number)
        return place


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "killed a reading process"), (signal.SIGBUS, "shared memory")]
)
def test_a_reading_process_that_is_killed_is_understood(number: int, words: str) -> None:
    """As torch tells it: SIGKILL is the system out of memory, SIGBUS is /dev/shm out of space."""
    with pytest.raises(ResourceError, match=words), told():
        list(DataLoader(_Dying(number), batch_size=None, sampler=[0], num_workers=1))


READING = """
import sys
from alumnus.data.loader import center_crop_batches
from alumnus.errors import ResourceError
from alumnus.faults import told
try:
    with told():
        list(center_crop_batches(sys.argv[1:], [128], batch_size=8, workers=1))
except ResourceError as error:
    print(error)
"""


@pytest.mark.parametrize("bytes_used", [0, 65536])
def test_shared_memory_that_is_too_small_is_told(bytes_used: int, tiny_images: Path) -> None:
    """With room for a reading process but not for what it reads, and with room for neither: an error, and nobody waits for ever."""
    small = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*inside, small], capture_output=True, check=False).returncode
    ):
        pytest.skip("a /dev/shm of its own is not to be had here")
    command = f'{small} && head -c {bytes_used} /dev/zero > /dev/shm/full; exec "$@"'
    images = [str(path) for path in sorted(tiny_images.rglob("*.png"))[:16]]
    ended = subprocess.run(
        [*inside, command, "sh", sys.executable, "-c", READING, *images],
        capture_output=True,
        text=True,
        timeout=300,  # a guard against hanging, not a measure
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert "shared memory ran out" in ended.stdout, ended.stderr
    assert "workers=0" in ended.stdout


def test_memory_that_is_not_there_is_understood() -> None:
    """As torch tells it on a CPU."""
    with pytest.raises(ResourceError, match="memory ran out"), told():
        torch.empty(10**15)


def test_a_verb_that_meets_a_limit_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, no traceback."""

    @app.command("meets-a-limit")
    def meet() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out/[x].parquet")

    try:
        assert run(["meets-a-limit"]) == 1
    finally:
        app.registered_commands = [each for each in app.registered_commands if each.callback is not meet]
    assert "failed: the disk is full (out/[x].parquet: no space left on device)" in capsys.readouterr().err


class Acting(nn.Module):
    """The mean colour of each quarter; does something at some call."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.at, self.act = at, [act]

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        self.at -= 1
        if self.at == 0:
            self.act.pop()()  # what a call changes is none of the teacher's settings
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


def _acting(step: int, act: Callable[[], object] = lambda: None) -> list[dict[str, object]]:
    """A teacher that acts in a step."""
    return [{"model": Acting(2 + step, act), "name": "quarters", "size": 32}]  # one call finds the width


@pytest.fixture(scope="module")
def undisturbed(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The student of the run below."""
    return _bytes(train(_config(tmp_path_factory.mktemp("whole") / "run", tiny_images, teachers=_acting(-9))))


@pytest.fixture
def limits() -> Iterator[None]:
    """Gives the limit on the size of files back."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _no_room() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # of metrics, not of weights


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(("step", "left"), [(3, ["step-2"]), (5, ["step-2", "step-4"])])
def test_a_full_disk_leaves_the_last_checkpoint(
    step: int, left: list[str], tiny_images: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    """While a checkpoint is written, or the student at the end; with room again, the same command ends with the same bytes."""
    with pytest.raises(ResourceError, match="the disk is full"):
        train(_config(tmp_path / "run", tiny_images, teachers=_acting(step, _no_room)))
    assert sorted(os.listdir(tmp_path / "run" / "checkpoints")) == left
    assert not Run(tmp_path / "run").is_done
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
    assert _bytes(train(_config(tmp_path / "run", tiny_images, teachers=_acting(-9)))) == undisturbed


def test_memory_that_runs_out_leaves_the_last_checkpoint(
    tiny_images: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    """In the middle of a step."""
    with pytest.raises(ResourceError, match="memory ran out"):
        train(_config(tmp_path / "run", tiny_images, teachers=_acting(3, lambda: torch.empty(10**15))))
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["step-2"]
    assert _bytes(train(_config(tmp_path / "run", tiny_images, teachers=_acting(-9)))) == undisturbed


def test_images_that_vanish_stop_the_run_and_are_used_when_they_are_back(
    tiny_images: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    """As when a network drive goes; the message says which file to delete, and then the student is that of an undisturbed run."""
    images, away = Path(shutil.copytree(tiny_images, tmp_path / "images")), tmp_path / "away"
    away.mkdir()

    def vanish() -> None:  # grey stays, to be read in their place
        for colour in set(COLOURS) - {"grey"}:
            (images / "discs" / colour).rename(away / colour)

    strict = {"max_bad_fraction": 0.01}
    with pytest.raises(TooManyBadImages, match="no such file"):
        train(_config(tmp_path / "run", images, teachers=_acting(3, vanish), **strict))
    for folder in away.iterdir():
        folder.rename(images / "discs" / folder.name)
    with pytest.raises(TooManyBadImages, match="delete that file"):
        train(_config(tmp_path / "run", images, teachers=_acting(-9), **strict))
    (tmp_path / "run" / "quarantine.jsonl").unlink()
    assert _bytes(train(_config(tmp_path / "run", images, teachers=_acting(-9), **strict))) == undisturbed


def test_a_set_that_cannot_be_read_at_all_gives_no_workers_traceback(
    tiny_images: Path, tmp_path: Path
) -> None:
    """The error of a reading process comes as it was raised."""
    images = Path(shutil.copytree(tiny_images, tmp_path / "images"))
    for path in images.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="in a row could not be read") as caught:
        train(_config(tmp_path / "run", images, teachers=_acting(-9), workers=1, max_bad_fraction=1))
    assert "Traceback" not in str(caught.value)


def test_a_teachers_file_that_vanished_is_named_and_nothing_changes(
    tiny_images: Path, tmp_path: Path
) -> None:
    """With the file back, the run goes on from its checkpoint."""

    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough

    teacher = train(_config(tmp_path / "teacher", tiny_images, teachers=_acting(-9), steps=1))
    both = [*_acting(3, stop), {"model": f"alumnus:{teacher.student}", "name": "file"}]
    whole = [*_acting(-9), both[1]]
    with pytest.raises(Enough):
        train(_config(tmp_path / "run", tiny_images, teachers=both))
    weights, before = teacher.student / "model.safetensors", _state(tmp_path / "run")
    weights.rename(tmp_path / "away")
    with pytest.raises(AlumnusError, match=r"model\.safetensors") as caught:
        train(_config(tmp_path / "run", tiny_images, teachers=whole))
    assert isinstance(caught.value, TeacherError | ValueError)
    assert _state(tmp_path / "run") == before
    (tmp_path / "away").rename(weights)
    assert train(_config(tmp_path / "run", tiny_images, teachers=whole)).is_done


def test_a_clock_that_goes_back_changes_nothing(
    tiny_images: Path, tmp_path: Path, undisturbed: bytes
) -> None:
    """The newest checkpoint is the one of the most steps, whatever its files' times say."""

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_config(tmp_path / "run", tiny_images, teachers=_acting(5, stop)))
    for path in (tmp_path / "run" / "checkpoints" / "step-4").rglob("*"):
        os.utime(path, (0, 0))
    os.utime(tmp_path / "run" / "checkpoints" / "step-4", (0, 0))
    run = train(_config(tmp_path / "run", tiny_images, teachers=_acting(-9)))
    assert _bytes(run) == undisturbed
    assert "steps 4 to 6" in (run.folder / "log.txt").read_text()


def _state(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
