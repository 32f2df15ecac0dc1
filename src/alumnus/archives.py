"""Package archives → folders, without letting a member leave the folder: .tgz and .tar.gz, .whl and .zip, .deb."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from alumnus.clients import run_client
from alumnus.errors import FetchError


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks an archive into a new folder and returns the folder with its content.

    The content of an npm archive lies one folder down (`package/`, whatever its name); of the others at the root.

    Raises:
        FetchError: it is torn, of another kind, or a member wants to lie outside.
    """
    folder.mkdir()
    try:
        return _unpack(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise FetchError(f"{archive.name} cannot be unpacked: {error}") from error


def _unpack(archive: Path, folder: Path) -> Path:
    match archive.suffix:
        case ".tgz" | ".gz":
            return _unpack_tar(archive, folder)
        case ".whl" | ".zip":
            return _unpack_zip(archive, folder)
        case ".deb":
            run_client(["dpkg-deb", "-x", str(archive), str(folder)], folder)
            return folder
    raise FetchError(f"{archive.name} is of an unknown kind; known are .tgz, .tar.gz, .whl, .zip and .deb")


def _unpack_tar(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")  # refuses absolute names, .., links outside, devices
    inner = list(folder.iterdir())
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _unpack_zip(archive: Path, folder: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise FetchError(
                    f"{archive.name} holds {name!r}, which would lie outside; nothing was unpacked"
                )
        file.extractall(folder)
    return folder
