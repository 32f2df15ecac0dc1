"""Furniture: models stand upright in their true size, pieces keep apart, and depth is what a ruler says."""

from __future__ import annotations

import io
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.data.read import read_image
from alumnus.datasets.bullet import load_bullet
from alumnus.datasets.furniture_scenes import FAR, FREE, NEAR, Stage, metres, placed, scenes, usable
from alumnus.datasets.known import Folders
from alumnus.datasets.room_textures import SHADES, write_texture
from alumnus.datasets.sweethome3d import ARCHIVES, CATALOGUE, FOLDER, PACKAGE, read_models, write_parts
from alumnus.errors import DataError, MissingExtra

# A block 2 wide, 1 high (y is up) and 4 deep, away from the origin; its top is red, the rest has a texture.
BLOCK = """mtllib block.mtl
v 10 0 0
v 12 0 0
v 12 1 0
v 10 1 0
v 10 0 4
v 12 0 4
v 12 1 4
v 10 1 4
vt 0 0
vt 1 1
vn 0 1 0
usemtl top
f 8//1 7//1 3//1 4//1
usemtl cloth
f 4/1 3/2 2/2 1/1
f 6/2 7/2 8/1 5/1
f 5/2 8/2 4/1 1/1
f 3/2 7/2 6/1 2/1
f 2/2 6/2 5/1 1/1
"""
MATERIALS = "newmtl top\nKd 1.0 0.0 0.0\nnewmtl cloth\nKd 0.5 0.5 0.5\nmap_Kd C:\\art\\cloth.jpg\n"
ENTRY = """
id#{number}=x
name#{number}=Block {number}
category#{number}={category}
model#{number}=/made/block{number}/block.obj
width#{number}=100.0
depth#{number}=60.0
height#{number}=50.0
"""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Five archives; the first holds 30 blocks for the living room and one for the street, the others nothing."""
    root = tmp_path / "package" / FOLDER
    root.mkdir(parents=True)
    for name in ARCHIVES:
        with zipfile.ZipFile(root / f"{name}.sh3f", "w") as archive:
            _fill(archive, 31 if name == ARCHIVES[0] else 0)
    return {PACKAGE.name: tmp_path / "package"}


def _fill(archive: zipfile.ZipFile, count: int) -> None:
    texture = io.BytesIO()
    Image.new("RGB", (600, 300), (20, 90, 20)).save(texture, "JPEG")
    text = "name=made up\n"
    for number in range(1, count + 1):
        text += ENTRY.format(number=number, category="Living room" if number <= 30 else "Exterior")
        archive.writestr(f"made/block{number}/block.obj", BLOCK)
        archive.writestr(f"made/block{number}/block.mtl", MATERIALS)
        archive.writestr(f"made/block{number}/cloth.jpg", texture.getvalue())
    archive.writestr(CATALOGUE, text)


def test_models_are_listed(folders: Folders) -> None:
    """With category and size in metres; those of the street are not for rooms."""
    models = read_models(folders)
    assert len(models) == 31
    assert (models[0].name, models[0].title, models[0].size) == ("made/block1", "Block 1", (1.0, 0.6, 0.5))
    assert {model.category for model in usable(models)} == {"Living room"}


def test_a_mesh_stands_on_the_origin_in_its_true_size(folders: Folders, tmp_path: Path) -> None:
    """Each material its own mesh, with its colour or its texture as a small PNG."""
    cloth, top = write_parts(read_models(folders)[0], tmp_path / "parts")
    points = np.array(
        [line.split()[1:] for line in cloth.mesh.read_text().splitlines() if line.startswith("v ")], float
    )
    assert np.allclose(points.min(axis=0), [-0.5, -0.3, 0.0])
    assert np.allclose(points.max(axis=0), [0.5, 0.3, 0.5])
    assert "vn 0.00000 0.00000 1.00000" in top.mesh.read_text()  # what looked up still does
    assert (top.colour, top.texture) == ((1.0, 0.0, 0.0, 1.0), None)
    assert cloth.colour == (1.0, 1.0, 1.0, 1.0)
    assert cloth.texture is not None
    with Image.open(cloth.texture) as texture:
        assert texture.size == (256, 128)
    assert top.mesh.read_text().count("\nf ") == 1


def test_an_archive_that_is_none_is_refused(folders: Folders) -> None:
    """By its name."""
    path = folders[PACKAGE.name] / FOLDER / f"{ARCHIVES[2]}.sh3f"
    path.write_bytes(b"no zip")
    with pytest.raises(DataError, match=ARCHIVES[2]):
        read_models(folders)


def test_pieces_stand_apart_and_away_from_the_camera() -> None:
    """On random rooms; the circles inscribed in their footprints never touch, and all are inside."""
    for seed in range(60):
        draw = random.Random(seed)
        room, camera = (4.0, 5.0), (0.5, -2.3)
        sizes = [(draw.uniform(0.3, 1.6), draw.uniform(0.3, 1.6)) for _ in range(8)]
        found = [
            (size, pose) for size, pose in zip(sizes, placed(sizes, room, camera, draw), strict=True) if pose
        ]
        assert len(found) >= 2
        for index, (size, pose) in enumerate(found):
            assert abs(pose.x) + min(size) / 2 < room[0] / 2
            assert abs(pose.y) + min(size) / 2 < room[1] / 2
            assert np.hypot(pose.x - camera[0], pose.y - camera[1]) > FREE
            for other_size, other in found[:index]:
                apart = np.hypot(pose.x - other.x, pose.y - other.y)
                assert apart > (min(size) + min(other_size)) / 2


def test_what_does_not_fit_has_no_place() -> None:
    """A piece larger than the room."""
    assert placed([(9.0, 1.0), (0.4, 0.4)], (4.0, 5.0), (0.0, -2.3), random.Random(0))[0] is None


def test_a_buffer_runs_from_near_to_far() -> None:
    """0 is the near plane, 1 the far one."""
    assert metres(np.array([0.0, 1.0], np.float32)).tolist() == pytest.approx([NEAR, FAR])


@pytest.mark.parametrize("kind", sorted(SHADES))
def test_textures_follow_from_the_draw(tmp_path: Path, kind: str) -> None:
    """The same again, another for another draw, and none is black."""
    paths = [
        write_texture(tmp_path / f"{n}.png", random.Random(seed), kinds=[kind])
        for n, seed in enumerate((0, 0, 1))
    ]
    first, again, other = (np.asarray(read_image(path)) for path in paths)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.mean() > 40


def test_without_the_renderer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, folders: Folders) -> None:
    """Rather than an ImportError."""
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(MissingExtra, match=r"alumnus\[scenes\]"):
        next(scenes(folders, seed=0, size=80, limit=1))


def test_depth_is_what_a_ruler_says(folders: Folders, tmp_path: Path) -> None:
    """A block 1 m wide with its front 3 m away, in an empty world: its depth and, by that and its width in px, its size."""
    pytest.importorskip("pybullet")
    bullet = load_bullet()
    model = read_models(folders)[0]
    parts = {model.name: write_parts(model, tmp_path / "parts")}
    with Stage(bullet, [model], parts, tmp_path, size=160) as stage:
        view = bullet.computeViewMatrix([0, -3.3, 0.25], [0, 0, 0.25], [0, 0, 1])
        lens = bullet.computeProjectionMatrixFOV(60, 4 / 3, NEAR, FAR)
        found = bullet.getCameraImage(
            160, 120, view, lens, renderer=bullet.ER_TINY_RENDERER, physicsClientId=stage.client
        )
    depth = metres(np.reshape(found[3], (120, 160)))
    assert depth[60, 80] == pytest.approx(3.0, abs=0.01)
    assert depth[5, 5] > 15
    row = depth[60] < 3.05
    focal = 60 / np.tan(np.radians(30))
    assert row.sum() * 3.0 / focal == pytest.approx(1.0, abs=0.05)


def test_rooms_are_the_same_again(folders: Folders) -> None:
    """Pictures and depth, for a seed; models of training are not those of test."""
    pytest.importorskip("pybullet")
    first, again = (list(scenes(folders, seed=4, size=64, limit=2)) for _ in range(2))
    assert [scene.split for scene in first] == ["train"] * 2 + ["val"] * 2 + ["test"] * 2
    for one, other in zip(first, again, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert one.depth is not None
        assert np.array_equal(one.depth, other.depth)  # type: ignore[arg-type]
        known = one.depth[one.depth > 0]
        assert known.size > 0.3 * one.depth.size
        assert 300 < known.min() < known.max() < 15_000
