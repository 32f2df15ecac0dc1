"""Teachers from folders in torch.hub's form."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

IMAGE = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

HUBCONF = """
dependencies = ["torch"]
from models import Net

def net(width=4):
    return Net(width)

def number():
    return 7

def broken():
    raise KeyError("no such thing")
"""
MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 4, stride=4)

    def forward(self, image):
        return self.conv(image) * FACTOR

FACTOR = {factor}
"""


def _write(folder: Path, *, factor: int = 1) -> Path:
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF)
    (folder / "models.py").write_text(MODELS.replace("{factor}", str(factor)))
    return folder


def _load(folder: Path, entry: str = "net", **settings: object) -> Teacher:
    spec = TeacherSpec.model_validate({"model": f"hub:{folder}:{entry}", "size": 8, **settings})
    return load_teacher(spec, device=torch.device("cpu"))


def test_an_entry_point_makes_the_teacher(tmp_path: Path) -> None:
    """With arguments; the same one every time, although it draws its weights."""
    folder = _write(tmp_path / "repo")
    teacher = _load(folder, arguments={"width": 6})
    assert (teacher.name, teacher.num_features) == ("net", 6)
    assert _load(folder, arguments={"width": 6}).fingerprint == teacher.fingerprint
    assert _load(folder).fingerprint != teacher.fingerprint


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    """The numbers are those of the module with these weights; the fingerprint follows."""
    folder, prints = _write(tmp_path / "repo"), set()
    for scale in (1.0, 2.0):
        state = {"conv.weight": torch.full((4, 3, 4, 4), scale), "conv.bias": torch.zeros(4)}
        save_file(state, tmp_path / "w.safetensors")
        teacher = _load(folder, weights=str(tmp_path / "w.safetensors"))
        expected = torch.nn.functional.conv2d(IMAGE, state["conv.weight"], stride=4).mean((2, 3))
        torch.testing.assert_close(teacher(IMAGE).summary, expected, rtol=1e-4, atol=1e-5)
        prints.add(teacher.fingerprint)
    assert len(prints) == 2


def test_two_repositories_keep_their_own_code(tmp_path: Path) -> None:
    """Both call it `models`; nothing of theirs stays behind."""
    one, two = (_load(_write(tmp_path / str(factor), factor=factor)) for factor in (1, 2))
    torch.testing.assert_close(two(IMAGE).summary, one(IMAGE).summary * 2)
    assert "models" not in sys.modules


def test_code_decides_the_fingerprint(tmp_path: Path) -> None:
    """Also code that is imported."""
    folder = _write(tmp_path / "repo")
    before = _load(folder).fingerprint
    (folder / "models.py").write_text(MODELS.replace("{factor}", "3"))
    assert _load(folder).fingerprint != before


def test_a_layer_can_be_read(tmp_path: Path) -> None:
    """By its name."""
    assert _load(_write(tmp_path / "repo"), output="layer:conv")(IMAGE).patches is not None


@pytest.mark.parametrize(
    ("entry", "settings", "says"),
    [
        ("nett", {}, "no entry point 'nett'; did you mean 'net'"),
        ("number", {}, "made an object of type int"),
        ("broken", {}, "cannot be made: KeyError: 'no such thing'"),
        ("net", {"arguments": {"height": 3}}, "unexpected keyword argument 'height'"),
        ("net", {"weights": "nowhere.pth"}, "there is no file"),
        ("net", {"size": None}, "give size"),
    ],
)
def test_what_fails_is_said(entry: str, settings: dict[str, object], says: str, tmp_path: Path) -> None:
    """One readable message."""
    folder = _write(tmp_path / "repo")
    with pytest.raises(TeacherError) as caught:
        _load(folder, entry, **settings)
    assert says in str(caught.value)


def test_a_folder_without_hubconf_is_refused(tmp_path: Path) -> None:
    """Before anything runs; so is a name without an entry point."""
    with pytest.raises(TeacherError, match=r"is no folder with a hubconf\.py"):
        _load(tmp_path)
    with pytest.raises(TeacherError, match="not of the form hub:FOLDER:ENTRY"):
        load_teacher(TeacherSpec(model="hub:folder", size=8), device=torch.device("cpu"))
