"""Packages: the pin holds, the cache is whole or absent, and a reference means one file. No registry is asked."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from alumnus.errors import ConfigError, FetchError
from alumnus.packages import Package, fetch, resolve_file


class Registry:
    """Stands for npm or pip: puts one archive into the folder, and counts how often it is asked."""

    def __init__(self, content: dict[str, str], *, archive: str = "made-up-1.0.tgz") -> None:
        self.archive, self.asked = archive, 0
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as file:
            for name, text in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                file.addfile(member, io.BytesIO(text.encode()))
        self.bytes = buffer.getvalue()

    def __call__(self, command: Sequence[str], folder: Path) -> None:
        self.asked += 1
        (folder / self.archive).write_bytes(self.bytes)

    def package(self, version: str = "1.0") -> Package:
        return Package("npm", "@made/up", version, hashlib.sha256(self.bytes).hexdigest(), "MIT")


@pytest.fixture
def registry() -> Registry:
    """One with two files."""
    return Registry({"package/data/a.txt": "first", "package/data/b.pth": "second"})


def test_content_is_unpacked_and_kept(registry: Registry, tmp_path: Path) -> None:
    """The second time nothing is downloaded."""
    folder = fetch(registry.package(), cache=tmp_path, run=registry)
    assert (folder / "data/a.txt").read_text() == "first"
    assert fetch(registry.package(), cache=tmp_path, run=registry) == folder
    assert registry.asked == 1


def test_another_archive_is_refused_and_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    """The message holds both checksums."""
    pinned = Package("npm", "@made/up", "1.0", "0" * 64, "MIT")
    with pytest.raises(FetchError, match="pinned SHA-256 0000.*came " + registry.package().sha256):
        fetch(pinned, cache=tmp_path, run=registry)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_changed_pin_replaces_the_old_content(registry: Registry, tmp_path: Path) -> None:
    """One version under another checksum is another package."""
    fetch(registry.package(), cache=tmp_path, run=registry)
    other = Registry({"package/data/a.txt": "changed"})
    folder = fetch(other.package(), cache=tmp_path, run=other)
    assert [path.name for path in (folder / "data").iterdir()] == ["a.txt"]
    assert (folder / "data/a.txt").read_text() == "changed"


def test_half_written_content_is_fetched_again(registry: Registry, tmp_path: Path) -> None:
    """A folder without its checksum is not trusted."""
    folder = fetch(registry.package(), cache=tmp_path, run=registry)
    (folder / ".sha256").unlink()
    (folder / "data/a.txt").unlink()
    assert (fetch(registry.package(), cache=tmp_path, run=registry) / "data/a.txt").exists()


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("pypi:made-up/data/a.txt", "data/a.txt"),
        ("pypi:made-up==1.0/data/a.txt", "data/a.txt"),
        ("pypi:made-up/a.txt", "data/a.txt"),
        ("pypi:made-up", "data/b.pth"),
    ],
)
def test_references_may_be_short(reference: str, file: str, fetched: tuple[Path, Package]) -> None:
    """Version, folders, and the name of the only weights may be left out."""
    cache, package = fetched
    assert resolve_file(reference, pinned=[package], cache=cache).relative_to(_folder(cache)) == Path(file)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pypi:made-pu/a.txt", "not a pinned package; did you mean 'made-up'"),
        ("pypi:made-up==2.0/a.txt", "pinned is ==1.0"),
        ("pypi:made-up/c.txt", "no such file; there are data/a.txt, data/b.pth"),
        ("pypi:made-up/../../secret", "no such file"),
        ("pypi:made-up//etc/passwd", "no such file"),
        ("package:no_such_package/a", "no package 'no_such_package' is installed"),
        ("package:a.b/c", "no name of a package"),
    ],
)
def test_wrong_references_say_what_there_is(
    reference: str, message: str, fetched: tuple[Path, Package]
) -> None:
    """Nor do they leave the package."""
    cache, package = fetched
    with pytest.raises(ConfigError, match=message):
        resolve_file(reference, pinned=[package], cache=cache)


def test_files_of_an_installed_package_are_found() -> None:
    """It lies where Python would import it from."""
    assert resolve_file("package:json/decoder.py").name == "decoder.py"


def test_anything_else_is_a_path(tmp_path: Path) -> None:
    """Also one that does not exist."""
    assert resolve_file(str(tmp_path / "x.pth")) == tmp_path / "x.pth"


@pytest.fixture
def fetched(registry: Registry, tmp_path: Path) -> tuple[Path, Package]:
    """A cache that already holds a PyPI package."""
    package = Package("pypi", "made-up", "1.0", registry.package().sha256, "MIT")
    fetch(package, cache=tmp_path, run=registry)
    return tmp_path, package


def _folder(cache: Path) -> Path:
    return cache / "packages/pypi/made-up-1.0"
