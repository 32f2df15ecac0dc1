"""Clients: what is asked, and what a failure says. No registry is asked; the programs started are Python itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from alumnus.clients import download, run_client
from alumnus.errors import FetchError


class Client:
    """Fails the first `failures` downloads, then delivers; writes down what it was asked."""

    def __init__(
        self, *, failures: int = 0, may_update: bool = True, files: Sequence[str] = ("a.deb",)
    ) -> None:
        self.failures, self.may_update, self.files = failures, may_update, files
        self.asked: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], folder: Path) -> None:
        self.asked.append(command)
        if "update" in command:
            if not self.may_update:
                raise FetchError("are you root?")
            return
        if self.failures > 0:
            self.failures -= 1
            raise FetchError("Unable to locate package")
        for name in self.files:
            (folder / name).touch()


@pytest.mark.parametrize(
    ("registry", "wanted"), [("npm", "thing@1.0"), ("pypi", "thing==1.0"), ("debian", "thing=1.0")]
)
def test_exactly_the_pinned_version_is_asked_for(registry: str, wanted: str, tmp_path: Path) -> None:
    """Never a range, never the newest."""
    client = Client()
    assert download(registry, "thing", "1.0", folder=tmp_path, run=client) == tmp_path / "a.deb"
    assert client.asked[0][-1] == wanted


def test_nothing_of_a_package_is_run(tmp_path: Path) -> None:
    """pip takes wheels only (a source archive runs its setup.py), npm runs no scripts."""
    pip, npm = Client(), Client()
    download("pypi", "thing", "1.0", folder=tmp_path, run=pip)
    download("npm", "thing", "1.0", folder=tmp_path, run=npm)
    assert "--only-binary=:all:" in pip.asked[0]
    assert "--ignore-scripts" in npm.asked[0]


def test_debian_lists_are_updated_once_and_only_after_a_failure(tmp_path: Path) -> None:
    """Empty lists are usual in a container."""
    client = Client(failures=1)
    download("debian", "thing", "1.0", folder=tmp_path, run=client)
    assert ["update" in command for command in client.asked] == [False, True, False]


def test_lists_that_may_not_be_updated_are_explained(tmp_path: Path) -> None:
    """Both failures are in the message."""
    with pytest.raises(FetchError, match=r"(?s)Unable to locate.*sudo apt-get update.*are you root"):
        download("debian", "thing", "1.0", folder=tmp_path, run=Client(failures=1, may_update=False))


def test_another_version_is_explained(tmp_path: Path) -> None:
    """What is pinned, what the client said, and what to do."""
    with pytest.raises(
        FetchError, match=r"(?s)npm:thing 1.0 .*Unable to locate.*Exactly version 1.0 is pinned"
    ):
        download("npm", "thing", "1.0", folder=tmp_path, run=Client(failures=9))


@pytest.mark.parametrize("files", [(), ("a.deb", "b.deb")])
def test_anything_but_one_archive_is_refused(files: Sequence[str], tmp_path: Path) -> None:
    """It says what came."""
    with pytest.raises(FetchError, match="nothing" if not files else "a.deb, b.deb"):
        download("npm", "thing", "1.0", folder=tmp_path, run=Client(files=files))


def test_a_failing_program_gives_its_last_words(tmp_path: Path) -> None:
    """The reason stands at the end of what it prints."""
    with pytest.raises(FetchError, match=r"failed \(1\)(?s:.*)no such version"):
        run_client([sys.executable, "-c", "raise SystemExit('no such version')"], tmp_path)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """Not as a traceback from the operating system."""
    with pytest.raises(FetchError, match="'no-such-program' is not installed"):
        run_client(["no-such-program"], tmp_path)
