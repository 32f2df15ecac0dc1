"""A teacher's fingerprint changes when its function does, and with nothing else."""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.identity import behind, structure
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

THEIRS = """
import torch
from torch import nn
from dataclasses import dataclass

SCALE = 2

def activation(x):
    return torch.relu(x) * SCALE

@dataclass
class Settings:
    width: int = 8

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):
        return activation(self.conv(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.settings = Settings()
        self.block = Block(self.settings.width)
        self.tags = {"b", "a", "c"}

    def forward(self, x):
        return self.block(x)

def build():
    torch.manual_seed(0)
    return Net()

def unrelated():
    return 1
"""


def _load(model: object, **settings: object) -> Teacher:
    spec = TeacherSpec.model_validate({"model": model, "size": 8, **settings})
    return load_teacher(spec, device=torch.device("cpu"))


def _conv() -> nn.Conv2d:
    return nn.Conv2d(3, 4, 3)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of somebody's, on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "their_nets.py").write_text(THEIRS)
    yield tmp_path / "their_nets.py"
    sys.modules.pop("their_nets", None)


def _their_fingerprint() -> str:
    sys.modules.pop("their_nets", None)
    importlib.invalidate_caches()
    return _load("python:their_nets:build").fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return activation(self.conv(x))", "return self.conv(x) * 3"),
        ("torch.relu(x) * SCALE", "torch.tanh(x) * SCALE"),
        ("SCALE = 2", "SCALE = 3"),
        ("return self.block(x)", "return self.block(x).neg()"),
    ],
    ids=["sub-module", "helper", "constant", "outermost"],
)
def test_edited_code_has_another_fingerprint(theirs: Path, old: str, new: str) -> None:
    """With the same weights; wherever in the way of an image it is."""
    before = _their_fingerprint()
    assert _their_fingerprint() == before
    assert old in THEIRS
    theirs.write_text(THEIRS.replace(old, new))
    assert _their_fingerprint() != before


def test_code_that_has_no_part_in_it_may_change(theirs: Path) -> None:
    """A script may be edited around its teacher."""
    before = _their_fingerprint()
    theirs.write_text("# a line above\n" + THEIRS.replace("return 1", "return 2"))
    assert _their_fingerprint() == before


def test_it_is_the_same_in_another_process_and_folder(theirs: Path, tmp_path: Path) -> None:
    """Sets have another order there, objects other addresses, and the file another place."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "their_nets.py").write_text(THEIRS)
    code = (
        "import torch; from alumnus.teachers import load_teacher; from alumnus.teachers.spec import TeacherSpec; torch.rand(3); "
        "print(load_teacher(TeacherSpec(model='python:their_nets:build', size=8), device=torch.device('cpu')).fingerprint)"
    )
    paths = [str(elsewhere), *sys.path]
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == _their_fingerprint()


def _apply(net: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    return net(image)


class _InList:
    """Keeps its networks in a list."""

    def __init__(self, net: nn.Module) -> None:
        self.parts = [net]

    def __call__(self, image: Tensor) -> Tensor:
        """What the first says."""
        result: Tensor = self.parts[0](image)
        return result


def _closure(net: nn.Module) -> Callable[[Tensor], Tensor]:
    def inner(image: Tensor) -> Tensor:
        result: Tensor = net(image)
        return result

    return inner


def _no_grad(net: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.no_grad()(_closure(net))


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "partial": lambda net: partial(_apply, net),
    "list": _InList,
    "method": lambda net: SimpleNamespace(object=_InList(net)).object.__call__,
    "closure": _closure,
    "decorated": _no_grad,
    "default": lambda net: lambda image, net=net: net(image),
    "mapping": lambda net: partial(_apply, {"one": net}.__getitem__("one")),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_network_is_found_wherever_it_is_kept(way: str) -> None:
    """Other weights, another fingerprint; and it works in eval mode, whatever its owner does."""
    net = nn.Sequential(_conv(), nn.BatchNorm2d(4))
    teacher = _load(WAYS[way](net))
    assert _load(WAYS[way](net)).fingerprint == teacher.fingerprint
    other = copy.deepcopy(net)
    assert _load(WAYS[way](other)).fingerprint == teacher.fingerprint
    next(other.parameters()).data.mul_(2)
    assert _load(WAYS[way](other)).fingerprint != teacher.fingerprint
    assert not net.training
    net.train()
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(teacher(image).summary, teacher(image).summary)
    assert not net.training


NET = nn.Sequential(_conv(), nn.BatchNorm2d(4))


def _helper(image: Tensor) -> Tensor:
    result: Tensor = NET(image)
    return result


def _through_a_helper(image: Tensor) -> Tensor:
    return _helper(image)


def test_a_network_behind_a_helper_is_in_eval_mode() -> None:
    """What an image's features are does not depend on the others of its batch."""
    NET.train()
    teacher, image = _load(_through_a_helper), torch.rand(32, 3, 8, 8)
    assert not NET.training
    torch.testing.assert_close(teacher(image).summary[:16], teacher(image[:16]).summary)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.ReLU(), nn.Tanh()),
        (nn.GELU(), nn.GELU("tanh")),
        (nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(5, 1, 2)),
        (nn.Sequential(nn.ReLU(), nn.Hardtanh()), nn.Sequential(nn.Hardtanh(), nn.ReLU())),
    ],
)
def test_layers_without_weights_count(one: nn.Module, other: nn.Module) -> None:
    """Their kind, settings and order."""
    first = _conv()
    assert _load(nn.Sequential(first, one)).fingerprint != _load(nn.Sequential(first, other)).fingerprint
    assert structure(one) != structure(other)


class _Counts(nn.Module):
    """Counts its calls and keeps a table: neither is a setting, `scale` is."""

    def __init__(self, scale: float = 1) -> None:
        super().__init__()
        self.scale, self.calls = scale, 0
        self.known: dict[int, Tensor] = {}
        self.conv = _conv()

    def forward(self, image: Tensor) -> Tensor:
        """Its features."""
        self.calls += 1
        self.known[len(image)] = image
        result: Tensor = self.conv(image) * self.scale
        return result

    def rescale(self, scale: float) -> None:
        """Makes another network of it."""
        self.scale = scale


def test_what_a_call_changes_is_no_setting() -> None:
    """A network that was in use is the same one; what its owner sets makes it another."""
    net = _Counts()
    teacher = _load(net)
    teacher(torch.rand(3, 3, 8, 8))
    assert _load(net).fingerprint == teacher.fingerprint
    net.rescale(2)
    assert _load(net).fingerprint != teacher.fingerprint


class _CountsWithout(_Counts):
    """The same under a decorator."""

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Its features."""
        self.calls += 1
        result: Tensor = self.conv(image)
        return result


class _CountsUnread(_Counts):
    """The same without a source."""

    exec("def forward(self, image):\n    self.calls += 1\n    return self.conv(image)")


@pytest.mark.parametrize("kind", [_CountsWithout, _CountsUnread])
def test_what_a_decorated_or_unread_call_changes_is_no_setting(kind: type[nn.Module]) -> None:
    """It is found behind the decorator, and in the bytecode."""
    net = kind()
    teacher = _load(net)
    teacher(torch.rand(3, 3, 8, 8))
    assert _load(net).fingerprint == teacher.fingerprint


def test_training_mode_devices_and_folders_do_not_count() -> None:
    """They are not what a network does."""
    net = _Counts()
    before = structure(net)
    net.train()
    assert structure(net) == before
    net.place, net.file = "cuda:1", "/home/one/weights.pth"  # type: ignore[assignment]
    placed = structure(net)
    net.place, net.file = "cpu", "/srv/two/weights.pth"  # type: ignore[assignment]
    assert structure(net) == placed


def test_a_table_that_is_not_saved_counts() -> None:
    """It is not among the weights."""
    net = nn.Sequential(_conv())
    texts = []
    for value in (1.0, 2.0):
        net.register_buffer("table", torch.full((3,), value), persistent=False)
        texts.append(structure(net))
    assert texts[0] != texts[1]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scripted_network_is_known_by_its_code() -> None:
    """Its classes are all the same."""
    first = _conv()
    pair = [_scripted(nn.Sequential(first, last)) for last in (nn.ReLU(), nn.Tanh())]
    assert _load(pair[0]).fingerprint != _load(pair[1]).fingerprint


def _scripted(module: nn.Module) -> nn.Module:
    result: nn.Module = torch.jit.trace(module.eval(), torch.rand(1, 3, 8, 8))  # type: ignore[no-untyped-call]
    return result


def test_what_nothing_is_known_of_is_refused() -> None:
    """The way out is named."""

    with pytest.raises(
        TeacherError, match=r"neither Python code nor torch modules.*give a Python function that calls it"
    ):
        _load(methodcaller("mean", (2, 3)))


def test_no_address_or_folder_is_in_the_text() -> None:
    """Of a network with many kinds of parts, and of code around it."""
    net = timm.create_model("test_vit")
    text = behind(_closure(net)).text
    assert " at 0x" not in text
    assert str(Path(timm.__file__).parent) not in text
    assert str(Path(__file__).parent) not in text


class _Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, image: Tensor) -> Tensor:
        self.seen += len(image)
        return image.mean((2, 3))


class _Above(_Counted):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * len(os.environ["PATH"])


def test_a_counter_of_the_method_that_is_replaced_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass calls its base's forward; and what the environment holds is no setting either."""
    teacher = _Above()
    before = behind(teacher).text
    teacher(torch.zeros(2, 3, 4, 4))
    monkeypatch.setenv("ANYTHING", "else")
    assert behind(teacher).text == before
