"""Two runs do not work in one folder, and a dead one keeps nobody out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from alumnus.errors import ConfigError
from alumnus.lock import NAME
from alumnus.training.lock import held
from alumnus.training.loop import train
from tests.training.test_loop import _config

HOLDER = """
import os, sys, time
from pathlib import Path
from alumnus.training.lock import held

with held(Path(sys.argv[1])):
    if not os.fork():
        print("held", flush=True)  # by the child, when it runs: a kill between fork and that is no kill of a run with readers
    time.sleep(60)  # the child too, as a reading process lives on for a while
"""


def test_a_second_run_is_refused_at_once_and_told_by_whom(tmp_path: Path, tiny_images: Path) -> None:
    """Before anything is loaded; the first is not disturbed."""
    with held(tmp_path / "run"):
        here = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ConfigError, match="in use by another run") as caught:
            train(_config(tmp_path / "run", tiny_images))
        assert here in str(caught.value)
        assert os.listdir(tmp_path / "run") == [NAME]


def test_each_of_several_students_has_its_own_folder_held(tmp_path: Path, tiny_images: Path) -> None:
    """A run of one student keeps a run of many from touching it."""
    students = ["timm/resnet10t", "timm/mobilenetv3_small_050"]
    with (
        held(tmp_path / "run" / "students" / "resnet10t"),
        pytest.raises(ConfigError, match="resnet10t is in use"),
    ):
        train(_config(tmp_path / "run", tiny_images, student=None, students=students))
    with held(tmp_path / "run"), pytest.raises(ConfigError, match="run is in use"):
        train(_config(tmp_path / "run", tiny_images, student=None, students=students))


def test_a_killed_holder_lets_go_also_if_its_readers_live_on(tmp_path: Path) -> None:
    """The same command can be given at once; the file that the kill left says nothing any more."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"process {process.pid} on"), held(tmp_path / "run"):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (tmp_path / "run" / NAME).exists()
        with held(tmp_path / "run"):
            pass
        os.killpg(process.pid, signal.SIGKILL)  # the child


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Neither the file nor the folders that were made for it; a folder with something in it stays."""
    with held(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.yaml").write_text("")
    assert os.listdir(tmp_path / "a" / "b") == ["config.yaml"]


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}', "\0"])
def test_a_damaged_lock_file_is_no_matter(tmp_path: Path, content: str) -> None:
    """It names nobody, and keeps nobody out unless it is locked."""
    (tmp_path / NAME).write_text(content)
    with held(tmp_path):
        (tmp_path / NAME).write_text(content)
        with pytest.raises(ConfigError, match="in use by another run;"), held(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file in its place, or above it."""
    (tmp_path / "file").write_text("dear")
    with pytest.raises(ConfigError, match="is a file"), held(tmp_path / "file"):
        pass
    with (
        pytest.raises(ConfigError, match="cannot be written: not a directory"),
        held(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    """Before anything is loaded."""
    tmp_path.chmod(0o555)
    with pytest.raises(ConfigError, match="cannot be written: permission denied"), held(tmp_path / "run"):
        pass
