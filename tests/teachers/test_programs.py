"""TorchScript files and programs of torch.export: the numbers of the module that they were made of."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

IMAGE = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class _Net(nn.Module):
    """Several outputs: tokens with a class token, their grid, and the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 4, stride=4), nn.BatchNorm2d(5)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Named."""
        grid = self.norm(self.conv(image))
        pooled = grid.mean((2, 3))
        tokens = torch.cat([pooled[:, None] * 2, grid.flatten(2).mT], dim=1)
        return {"pooled": pooled, "grid": grid, "tokens": tokens}


class _Pair(_Net):
    """Without names."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Pooled, grid."""
        grid = self.norm(self.conv(image))
        return grid.mean((2, 3)), grid


class _ChannelsLast(_Net):
    """As networks of TensorFlow want their images."""

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        """Grid."""
        grid: Tensor = self.norm(self.conv(image.permute(0, 3, 1, 2)))
        return grid


def _write(kind: str, folder: Path, net: nn.Module | None = None) -> Path:
    module = (net or _Net()).eval()
    path = folder / ("m.pt2" if kind == "export" else "m.pt")
    if kind == "export":
        free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
        torch.export.save(torch.export.export(module, (IMAGE,), dynamic_shapes={"image": free}), path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            torch.jit.trace(module, IMAGE, strict=False).save(str(path))  # type: ignore[no-untyped-call]
    return path


def _load(kind: str, path: Path, **settings: object) -> Teacher:
    given = {"model": f"{kind}:{path}", "trusted": True, "size": 16, **settings}
    return load_teacher(TeacherSpec.model_validate(given), device=torch.device("cpu"))


def _said(net: nn.Module, image: Tensor = IMAGE) -> dict[str, Tensor]:
    with torch.no_grad():
        said: dict[str, Tensor] = net(image)
    return said


KINDS = pytest.mark.parametrize("kind", ["torchscript", "export"])


@KINDS
def test_outputs_are_chosen_by_name(kind: str, tmp_path: Path) -> None:
    """The first one by default; a grid and tokens are read as such."""
    net = _Net()
    path, said = _write(kind, tmp_path, net), _said(net)
    assert _load(kind, path).name == "m"
    torch.testing.assert_close(_load(kind, path)(IMAGE).summary, said["pooled"])
    grid = _load(kind, path, output="grid")(IMAGE)
    assert grid.patches is not None
    torch.testing.assert_close(grid.patches, said["grid"].flatten(2).mT)
    tokens = _load(kind, path, output="tokens")(IMAGE)
    torch.testing.assert_close(tokens.summary, said["pooled"] * 2)
    torch.testing.assert_close(tokens.patches, grid.patches)
    with pytest.raises(TeacherError, match="did you mean 'pooled'"):
        _load(kind, path, output="poled")


@KINDS
def test_outputs_without_names_have_numbers(kind: str, tmp_path: Path) -> None:
    """From 0."""
    net = _Pair()
    features = _load(kind, _write(kind, tmp_path, net), output="1")(IMAGE)
    assert features.patches is not None
    torch.testing.assert_close(features.summary, _said(net)[0])  # type: ignore[index]


@KINDS
def test_pixels_come_in_0_to_1_unless_the_recipe_normalises(kind: str, tmp_path: Path) -> None:
    """A program does not say."""
    net = _Net()
    teacher = _load(kind, _write(kind, tmp_path, net), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    expected = _said(net, (IMAGE - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5)["pooled"]
    torch.testing.assert_close(teacher(IMAGE).summary, expected, rtol=1e-4, atol=1e-5)


@KINDS
def test_the_fingerprint_is_the_files(kind: str, tmp_path: Path) -> None:
    """Other weights, other fingerprint."""
    path = _write(kind, tmp_path)
    before = _load(kind, path).fingerprint
    assert _load(kind, path).fingerprint == before
    _write(kind, tmp_path, _Net())
    assert _load(kind, path).fingerprint != before


@KINDS
def test_parameters_are_counted(kind: str, tmp_path: Path) -> None:
    """Those that were learnt."""
    assert _load(kind, _write(kind, tmp_path)).num_parameters == sum(p.numel() for p in _Net().parameters())


@pytest.mark.parametrize("batch", [{}, {0: Dim("b", min=2, max=3)}, {0: Dim.DYNAMIC}])
def test_a_program_gets_as_many_images_as_it_takes(batch: dict[int, object], tmp_path: Path) -> None:
    """Fixed to 4, from 2 to 3, any: one image, and five."""
    net = _Net().eval()
    program = torch.export.export(net, (IMAGE[: 3 if batch else 4],), dynamic_shapes={"image": batch})
    torch.export.save(program, tmp_path / "m.pt2")
    teacher = _load("export", tmp_path / "m.pt2", size=None)
    assert teacher.size == 16
    for count in (1, 5):
        summary = teacher(IMAGE[:count]).summary
        torch.testing.assert_close(summary, _said(net)["pooled"][:count], rtol=1e-4, atol=1e-5)


def test_a_program_with_channels_last(tmp_path: Path) -> None:
    """Its input says so."""
    net, last = _ChannelsLast().eval(), IMAGE.permute(0, 2, 3, 1).contiguous()
    torch.export.save(torch.export.export(net, (last,)), tmp_path / "m.pt2")
    expected = net(last).mean((2, 3)).detach()
    torch.testing.assert_close(
        _load("export", tmp_path / "m.pt2")(IMAGE).summary, expected, rtol=1e-4, atol=1e-5
    )


def test_a_side_that_is_free_has_to_be_given(tmp_path: Path) -> None:
    """And a fixed one is not contradicted."""
    path = _write("export", tmp_path)
    with pytest.raises(TeacherError, match="give size"):
        _load("export", path, size=None)
    assert _load("export", path, size=32).size == 32
    torch.export.save(torch.export.export(_Net().eval(), (IMAGE,)), path)
    with pytest.raises(TeacherError, match="size=32, and the graph is fixed to 16"):
        _load("export", path, size=32)


def test_a_script_does_not_say_its_size(tmp_path: Path) -> None:
    """The recipe has to."""
    with pytest.raises(TeacherError, match="give size"):
        _load("torchscript", _write("torchscript", tmp_path), size=None)


class _Bomb:
    """What unpickling would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """Makes a file."""
        return Path.touch, (self.mark,)


def _with_bomb(path: Path, mark: Path) -> None:
    """The program, its sample inputs exchanged for something that runs when it is unpickled."""
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, data in content.items():
            new.writestr(name, pickle.dumps(_Bomb(mark)) if "sample_inputs" in name else data)


def test_a_program_that_nobody_trusts_is_not_read(tmp_path: Path) -> None:
    """Reading it would run the code inside: that is why the recipe has to say it."""
    path, mark = _write("export", tmp_path), tmp_path / "mark"
    _with_bomb(path, mark)
    with pytest.raises(TeacherError, match=r"can execute code .* trusted=true"):
        _load("export", path, trusted=False)
    assert not mark.exists()
    with pytest.raises(TeacherError, match="cannot be read"):
        _load("export", path)
    assert mark.exists()  # if torch has become safe, trust is needed no longer


def test_a_script_that_nobody_trusts_is_not_read(tmp_path: Path) -> None:
    """As torch itself warns."""
    with pytest.raises(TeacherError, match=r"can execute code .* trusted=true"):
        _load("torchscript", _write("torchscript", tmp_path), trusted=False)


@KINDS
@pytest.mark.parametrize("setting", [{"weights": "x.pth"}, {"dtype": "bfloat16"}])
def test_settings_without_effect_are_refused(kind: str, setting: dict[str, str], tmp_path: Path) -> None:
    """The file has its own weights and precision."""
    with pytest.raises(TeacherError, match="cannot be given"):
        _load(kind, _write(kind, tmp_path), **setting)


@KINDS
def test_a_file_that_is_no_program_is_refused(kind: str, tmp_path: Path) -> None:
    """With its name; so is one that is not there."""
    (tmp_path / "m.pt2").write_bytes(b"no program")
    with pytest.raises(TeacherError, match=r"m\.pt2 cannot be read"):
        _load(kind, tmp_path / "m.pt2")
    with pytest.raises(TeacherError, match="no such file"):
        _load(kind, tmp_path / "nowhere.pt2")
