"""Sweet Home 3D's furniture: some 820 textured models with their names, categories and true sizes, made ready for a renderer.

Source: Debian `sweethome3d-furniture`, five `.sh3f` archives (zip) of OBJ files with MTL and textures, and a catalogue of properties. Every
material of a model becomes a mesh of its own, since simple renderers know one colour or texture a mesh; textures become PNG, since such
renderers fail on many JPEGs. Meshes stand upright (z up) in metres, the middle of their foot at the origin, front towards -y.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.datasets.known import Folders
from alumnus.errors import DataError
from alumnus.packages import Package

PACKAGE = Package(
    "debian",
    "sweethome3d-furniture",
    "1.8-1",
    "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    "CC0-1.0 and CC-BY-3.0 by archive (Scopia, Kator Legaz, Reallusion, BlendSwap); see its copyright",
)
ARCHIVES = ("BlendSwap-CC-0", "BlendSwap-CC-BY", "KatorLegaz", "Reallusion", "Scopia")
FOLDER = "usr/share/sweethome3d/furniture"
CATALOGUE = "PluginFurnitureCatalog.properties"
PROPERTY = re.compile(r"(\w+)#(\d+)=(.*)")
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up -> z up
TEXTURE_PX = 256  # longer side; larger ones are made smaller
MAX_MEMBER_BYTES = 64 << 20
WHITE = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Model:
    """One piece of furniture."""

    name: str  # "scopia/bed1", distinct
    title: str  # "Bed"
    category: str  # one of the catalogue's twelve, such as "Bedroom"
    archive: Path
    member: str  # the OBJ file in the archive
    num_bytes: int  # of the OBJ file
    size: tuple[float, float, float]  # m: width, depth, height
    elevation: float  # m above the floor, where it is meant to hang
    rotation: tuple[float, ...]  # 3 x 3, row by row, of the OBJ file's axes (y up)


class Part(NamedTuple):
    """A mesh of one material."""

    mesh: Path  # OBJ
    colour: tuple[float, float, float, float]  # RGBA in [0, 1]
    texture: Path | None  # PNG


def read_models(folders: Folders) -> list[Model]:
    """Returns the models of all archives, in alphabetical order of their names.

    Raises:
        DataError: an archive is missing or is none.
    """
    root = folders[PACKAGE.name] / FOLDER
    models = [model for name in ARCHIVES for model in _catalogue(root / f"{name}.sh3f")]
    return sorted({model.name: model for model in models}.values(), key=lambda model: model.name)


def write_parts(model: Model, folder: Path) -> list[Part]:
    """Writes a model's meshes and textures into an empty folder, and returns them.

    Raises:
        DataError: the model uses what is not read here (relative indices), or has no faces.
    """
    folder.mkdir(parents=True)
    with zipfile.ZipFile(model.archive) as archive:
        shape = _Shape.of(_text(archive, model.member), model)
        materials = _materials(archive, model, shape.library)
        parts = []
        for number, (material, faces) in enumerate(sorted(shape.faces.items())):
            colour, texture = materials.get(material, (WHITE, None))
            mesh = folder / f"{number}.obj"
            mesh.write_text(shape.block + "".join(faces), encoding="ascii")
            parts.append(Part(mesh, colour, _texture(archive, texture, folder / f"{number}.png")))
    return parts


def _catalogue(path: Path) -> Iterator[Model]:
    try:
        with zipfile.ZipFile(path) as archive:
            found: dict[str, dict[str, str]] = defaultdict(dict)
            for key, number, value in PROPERTY.findall(_text(archive, CATALOGUE)):
                found[number][key] = value.strip()
            members = {info.filename: info.file_size for info in archive.infolist()}
            for values in found.values():
                member = values.get("model", "").lstrip("/")
                if member.endswith(".obj") and member in members:
                    yield _model(path, member, members[member], values)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is no furniture that can be read: {error}") from error


def _model(archive: Path, member: str, num_bytes: int, values: Mapping[str, str]) -> Model:
    rotation = tuple(map(float, values.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()))
    width, depth, height = (float(values[key]) / 100 for key in ("width", "depth", "height"))
    return Model(
        str(PurePosixPath(member).parent),
        values["name"],
        values["category"],
        archive,
        member,
        num_bytes,
        (width, depth, height),
        float(values.get("elevation", 0)) / 100,
        rotation,
    )


class _Shape(NamedTuple):
    block: str  # all vertices, texture coordinates and normals, as OBJ text
    faces: dict[str, list[str]]  # material -> lines
    library: str  # name of the MTL file

    @classmethod
    def of(cls, text: str, model: Model) -> _Shape:
        lines: dict[str, list[str]] = {"v": [], "vt": [], "vn": []}
        faces: dict[str, list[str]] = defaultdict(list)
        material, library = "", ""
        for line in text.splitlines():
            kind, _, rest = line.strip().partition(" ")
            if kind in lines:
                lines[kind].append(rest)
            elif kind == "f":
                faces[material].append(f"f {rest}\n")
            elif kind == "usemtl":
                material = rest.strip()
            elif kind == "mtllib":
                library = rest.strip()
        if not faces or any("-" in face for part in faces.values() for face in part):
            raise DataError(f"{model.name}: its mesh has no faces, or indices that count backwards")
        points, normals = _placed(_numbers(lines["v"]), _numbers(lines["vn"]), model)
        block = _block("v", points) + "".join(f"vt {each}\n" for each in lines["vt"]) + _block("vn", normals)
        return cls(block, dict(faces), library)


def _placed(
    points: NDArray[np.float64], normals: NDArray[np.float64], model: Model
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turns (N, 3) points and (M, 3) normals upright, and gives them the model's true size."""
    turn = UPRIGHT @ np.array(model.rotation).reshape(3, 3)
    points, normals = points @ turn.T, normals @ turn.T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = np.array(model.size) / np.maximum(high - low, 1e-6)
    foot = np.array([*(low + high)[:2] / 2, low[2]])
    normals = normals / scale
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (points - foot) * scale, normals / np.maximum(length, 1e-12)


def _numbers(rows: list[str]) -> NDArray[np.float64]:
    return np.array([row.split()[:3] for row in rows], np.float64).reshape(-1, 3)


def _block(kind: str, rows: NDArray[np.float64]) -> str:
    return "".join(f"{kind} {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in rows.tolist())


def _materials(
    archive: zipfile.ZipFile, model: Model, library: str
) -> dict[str, tuple[tuple[float, float, float, float], str | None]]:
    """Name -> colour, and the archive's member that is its texture."""
    folder = PurePosixPath(model.member).parent
    found: dict[str, tuple[tuple[float, float, float, float], str | None]] = {}
    if str(folder / library) not in archive.namelist():
        return found
    name = ""
    for line in _text(archive, str(folder / library)).splitlines():
        kind, _, rest = line.strip().partition(" ")
        words = rest.split()
        if kind == "newmtl":
            name = rest.strip()
            found[name] = (WHITE, None)
        elif kind == "Kd" and len(words) >= 3 and found[name][1] is None:
            red, green, blue = (min(1.0, max(0.0, float(word))) for word in words[:3])
            found[name] = ((red, green, blue, 1.0), None)
        elif kind == "map_Kd" and words:
            found[name] = (WHITE, str(folder / rest.strip().replace("\\", "/").rpartition("/")[2]))
    return found


def _texture(archive: zipfile.ZipFile, member: str | None, path: Path) -> Path | None:
    if member is None or member not in archive.namelist():
        return None
    try:
        image: Image.Image = Image.open(
            io.BytesIO(_bytes(archive, member)), formats=("JPEG", "PNG", "BMP", "GIF")
        )
        image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError):  # one odd texture; the mesh is still wanted
        return None
    image.thumbnail((TEXTURE_PX, TEXTURE_PX))
    image.save(path, compress_level=1)
    return path


def _text(archive: zipfile.ZipFile, member: str) -> str:
    return _bytes(archive, member).decode("latin-1")


def _bytes(archive: zipfile.ZipFile, member: str) -> bytes:
    size = archive.getinfo(member).file_size
    if size > MAX_MEMBER_BYTES:
        raise DataError(f"{member} in {archive.filename} claims {size} bytes, of {MAX_MEMBER_BYTES} allowed")
    return archive.read(member)
