"""The doctor says what is there, and what to do about what is not."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from alumnus.doctor import CLIENTS, Finding, report


def _found(topic: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in report() if finding.topic == topic}


def test_versions_are_those_installed() -> None:
    """The lines that a bug report needs."""
    assert _found("machine")["Python"].value == platform.python_version()
    assert _found("packages")["torch"].value == metadata.version("torch")


def test_every_extra_but_the_developers_is_listed() -> None:
    """They are read from the package's own metadata, so none can be forgotten."""
    extras = _found("extras")
    assert {name.split(" ")[0] for name in extras} >= {"onnxruntime", "resvg-py"}
    assert not any("dev" in name or "alumnus" in name for name in extras)


def test_an_absent_client_says_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty PATH nothing is found, and every line says what that closes."""
    monkeypatch.setenv("PATH", "")
    clients = _found("clients")
    assert clients.pop("pip").value == metadata.version("pip")  # this environment's, not one on the PATH
    assert set(clients) == set(CLIENTS)
    assert all(
        finding.value == "absent" and CLIENTS[name] in finding.note for name, finding in clients.items()
    )


def test_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is not there yet is fine; one that is there is measured."""
    monkeypatch.setenv("ALUMNUS_CACHE", str(tmp_path / "new" / "cache"))
    found = _found("cache")
    assert found["folder"].value == str(tmp_path / "new" / "cache")
    assert found["size"].value == "0.0 GiB"
    (tmp_path / "new" / "cache").mkdir(parents=True)
    with (tmp_path / "new" / "cache" / "big").open("wb") as file:
        file.truncate(2**30)  # sparse: takes no disk
    assert _found("cache")["size"].value == "1.0 GiB"


def test_the_module_alone_does_not_import_torch() -> None:
    """Only calling it does."""
    code = "import sys, alumnus.doctor; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
