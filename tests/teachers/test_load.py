"""The prefix says the source; what is wrong is said with the nearest right thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from alumnus.errors import TeacherError
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

CPU = torch.device("cpu")


def _load(model: str, **settings: object) -> Teacher:
    return load_teacher(TeacherSpec.model_validate({"model": model, **settings}), device=CPU)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("resnet18", "did you mean 'timm/resnet18'"),
        ("faces.onnx", "did you mean 'onnx:faces.onnx'"),
        ("net.pt2", "did you mean 'export:net.pt2'"),
        ("net.pt", "did you mean 'torchscript:net.pt'"),
        ("huggingface:a/b", "allowed: timm/NAME"),
        ("hub:nowhere:net", "no folder with a hubconf.py"),
        ("export:nowhere.pt2", "no such file"),
        ("tim/resnet18", "did you mean 'timm/'"),
        ("pyhton:a:b", "did you mean 'python:'"),
        ("nonsense", "allowed: timm/NAME"),
        ("timm/resnet81", "did you mean 'resnet18'"),
        ("timm/resnet18.a1_in2k", "did you mean 'a1_in1k'"),
        ("torchvision/resnet81", "did you mean 'resnet18'"),
        ("torchvision/resnet18.IMAGENET1K_V3", "did you mean 'IMAGENET1K_V1'"),
        ("onnx:nowhere.onnx", "no such file"),
        ("alumnus:nowhere", "not a student folder"),
        ("python:json", "not of the form"),
        ("python:nowhere:f", "PYTHONPATH"),
        ("python:json:dmups", "did you mean 'dumps'"),
    ],
)
def test_a_wrong_source_gets_a_hint(model: str, says: str) -> None:
    """One readable message."""
    with pytest.raises(TeacherError) as caught:
        _load(model)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "setting", [{"trusted": True}, {"arguments": {"width": 4}}], ids=["trusted", "arguments"]
)
def test_settings_of_other_sources_are_refused(setting: dict[str, object]) -> None:
    """They would have no effect."""
    with pytest.raises(TeacherError, match="has no effect; it is for"):
        _load("timm/test_resnet", weights="random", **setting)


@pytest.mark.parametrize("model", ["timm/test_resnet", "torchvision/resnet18"])
def test_an_unknown_output_names_those_there_are(model: str) -> None:
    """With the nearest."""
    with pytest.raises(TeacherError, match=r"did you mean 'summary'.*logits"):
        _load(model, output="sumary", weights="random")


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone() -> None:
    """A resumed run must meet the same teacher."""
    before = torch.get_rng_state()
    one = _load("timm/test_resnet", weights="random")
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert _load("timm/test_resnet", weights="random").fingerprint == one.fingerprint


def test_random_weights_are_announced(capsys: pytest.CaptureFixture[str]) -> None:
    """They are seldom meant."""
    _load("timm/test_resnet", weights="random")
    assert "random weights" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["timm/test_resnet.r160_in1k", "torchvision/squeezenet1_1"])
def test_a_failed_download_says_what_to_do(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing answers at this proxy, and there is no cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(TeacherError, match=r"could not be downloaded.*weights=FILE takes a local file"):
        _load(model, output="logits")


def test_a_model_without_published_weights_asks_for_some() -> None:
    """Random ones have to be asked for."""
    with pytest.raises(TeacherError, match="weights=random"):
        _load("timm/efficientnet_b8")


def test_whatever_decides_the_features_decides_the_fingerprint() -> None:
    """Size, normalisation, output and precision; not the name or the weight."""
    base: dict[str, object] = {"weights": "random", "size": 64}
    changes: tuple[dict[str, object], ...] = (
        {},
        {"size": 32},
        {"mean": (0.1, 0.2, 0.3)},
        {"std": (0.1, 0.2, 0.3)},
        {"output": "patches"},
        {"dtype": "bfloat16"},
    )
    prints = [_load("timm/test_resnet", **{**base, **change}).fingerprint for change in changes]
    assert len(set(prints)) == len(changes)
    same = _load("timm/test_resnet", **base, name="other", weight=2, domains="faces", licence="MIT")
    assert same.fingerprint == prints[0]


def test_the_description_is_json() -> None:
    """It goes into teachers.json."""
    teacher = _load("timm/test_resnet", weights="random", licence="MIT", domains=["a"])
    entry = json.loads(json.dumps(describe(teacher)))
    assert entry["name"] == "test_resnet"
    assert entry["licence"] == "MIT"
    assert entry["domains"] == ["a"]
    assert entry["num_features"] == teacher.num_features
    assert entry["num_parameters"] > 0


def test_weights_of_a_pinned_package_have_its_licence(tmp_path: Path) -> None:
    """Where nobody said another; of a local file nothing is known."""
    teacher = _load("timm/test_resnet", weights="random")
    torch.save(teacher._network.module.state_dict(), tmp_path / "w.pth")  # type: ignore[attr-defined]
    assert _load("timm/test_resnet", weights=str(tmp_path / "w.pth")).licence == "unknown"
