"""Weights go where they belong, or nowhere; and no file is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from alumnus.errors import TeacherError
from alumnus.models.weights import fingerprint, load_into, load_state


class _Bomb:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self._path,)


def _network(classes: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, classes))


class _Named(nn.Module):
    """The layers of `_network` under other names, with or without a classifier."""

    def __init__(self, *, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, classes) if classes else nn.Identity()


def _same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_torch_file_gives_its_tensors(tmp_path: Path, wrapper: str | None) -> None:
    """Bare or under a checkpoint's usual key, with or without DataParallel's prefix."""
    state = {f"module.{name}": value for name, value in _network().state_dict().items()}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "w.pth")
    read = load_state(str(tmp_path / "w.pth"))
    assert list(read) == list(_network().state_dict())


def test_a_safetensors_file_is_known_by_its_content(tmp_path: Path) -> None:
    """Its name does not matter."""
    safetensors.torch.save_file({"a.weight": torch.arange(3.0)}, tmp_path / "weights.bin")
    assert torch.equal(load_state(str(tmp_path / "weights.bin"))["a.weight"], torch.arange(3.0))


def test_a_pickle_that_executes_is_refused_and_not_executed(tmp_path: Path) -> None:
    """The trap would leave a file."""
    torch.save({"weight": torch.zeros(1), "trap": _Bomb(tmp_path / "exploded")}, tmp_path / "evil.pth")
    with pytest.raises(TeacherError, match=r"a Python object .* only tensors") as refused:
        load_state(str(tmp_path / "evil.pth"))
    assert not any(words in str(refused.value) for words in ("\x1b", "weights_only", "PyTorch 2.6"))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish", b"plain text", b"\x10\0\0\0\0\0\0\0{torn"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, torn, or text."""
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(TeacherError, match=r"w\.pth"):
        load_state(str(tmp_path / "w.pth"))


def test_a_file_that_is_not_there_is_named() -> None:
    """Not as a traceback of torch."""
    with pytest.raises(TeacherError, match=r"there is no file .*nowhere\.pth"):
        load_state("nowhere.pth")


def test_names_that_agree_are_matched_by_name() -> None:
    """Whatever the order."""
    source, target = _network(), _network()
    load_into(target, dict(reversed(source.state_dict().items())), source="test")
    assert _same(source, target)


def test_other_names_in_the_same_order_are_matched_by_order(capsys: pytest.CaptureFixture[str]) -> None:
    """And a line says so."""
    source, target = _network(), _Named()
    load_into(target, source.state_dict(), source="w.pth")
    assert _same(source, target)
    assert "order" in capsys.readouterr().err


@pytest.mark.parametrize("by_name", [True, False])
def test_an_idle_classifier_is_left_out(by_name: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Of any number of classes, by name or by order, and a line says so."""
    source, target = _Named(classes=7), _Named(classes=0)
    state = source.state_dict()
    if not by_name:
        state = {f"net.{name}": value for name, value in state.items()}
    load_into(target, state, source="w.pth")
    assert torch.equal(source.stem.weight, target.stem.weight)
    assert "classifier" in capsys.readouterr().err
    load_into(target, state, source="w.pth")
    assert capsys.readouterr().err == ""  # said once


def test_a_missing_layer_is_an_error() -> None:
    """Nothing stays random in silence."""
    state = _Named().state_dict()
    del state["norm.running_var"]
    with pytest.raises(TeacherError, match=r"lacks norm\.running_var"):
        load_into(_Named(), state, source="w.pth")


def test_a_surplus_layer_that_is_no_classifier_is_an_error() -> None:
    """The network is another one."""
    state = {**_Named().state_dict(), "neck.weight": torch.zeros(2, 2)}
    with pytest.raises(TeacherError, match=r"neck\.weight, which the network has not"):
        load_into(_Named(), state, source="w.pth")


def test_another_shape_is_an_error_with_both_shapes() -> None:
    """The first differences are shown."""
    with pytest.raises(TeacherError, match=r"fc\.weight is \(9, 6\) in the file and \(4, 6\)"):
        load_into(_Named(), _Named(classes=9).state_dict(), source="w.pth")


def test_order_is_no_guide_where_known_names_have_moved() -> None:
    """Two layers of one shape, one renamed: by order they would be exchanged."""
    target = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    state: dict[str, Tensor] = {"1.weight": torch.zeros(2, 2), "first.weight": torch.ones(2, 2)}
    with pytest.raises(TeacherError, match=r"0\.weight"):
        load_into(target, state, source="w.pth")


def test_files_without_step_counters_fit() -> None:
    """Old torch did not save BatchNorm's counters."""
    state = {n: v for n, v in _Named().state_dict().items() if not n.endswith("num_batches_tracked")}
    load_into(_Named(), state, source="w.pth")


def test_fingerprint_follows_the_weights() -> None:
    """Equal for equal weights, different after the smallest change; also of integers and half precision."""
    one = _network().half()
    other = _network().half()
    other.load_state_dict(one.state_dict())
    assert fingerprint(one) == fingerprint(other)
    next(other.parameters()).data[0, 0, 0, 0] += 0.01
    assert fingerprint(one) != fingerprint(other)
