"""Teachers from open_clip against the library called by hand: small architectures with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

open_clip = pytest.importorskip("open_clip")

TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TOWERS: dict[str, dict[str, Any]] = {
    "tiny-vit": VISION,
    "tiny-resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "tiny-timm": {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "", "timm_proj": "linear"},
    "tiny-coca": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
}


@pytest.fixture(autouse=True, scope="module")
def _architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Made known to the library by its own way."""
    folder = tmp_path_factory.mktemp("open_clip")
    for name, vision in TOWERS.items():
        config: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}
        if name == "tiny-timm":
            config["vision_cfg"] = {**vision, "timm_pool": "avg"}
        if name == "tiny-coca":
            config |= {"multimodal_cfg": {**TEXT, "attn_pooler_heads": 2}, "custom_text": True}
            config["text_cfg"] = {**TEXT, "embed_cls": True, "output_tokens": True}
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def _load(model: str, **settings: object) -> Teacher:
    spec = TeacherSpec.model_validate({"model": f"open_clip:{model}", **settings})
    return load_teacher(spec, device=torch.device("cpu"))


def _saved(name: str, folder: Path) -> tuple[Any, str]:
    """A model, and its file."""
    model = open_clip.create_model(name).eval()
    save_file({key: value.clone() for key, value in model.state_dict().items()}, folder / "w.safetensors")
    return model, str(folder / "w.safetensors")


def _normalised(image: Tensor, teacher: Teacher) -> Tensor:
    mean, std = torch.tensor(teacher.mean).view(3, 1, 1), torch.tensor(teacher.std).view(3, 1, 1)
    return (image - mean) / std


@pytest.mark.parametrize(
    ("name", "cells"), [("tiny-vit", 16), ("tiny-resnet", 4), ("tiny-timm", 100), ("tiny-coca", 16)]
)
def test_the_summary_is_encode_image(name: str, cells: int, tmp_path: Path) -> None:
    """Of every kind of tower; with patches from the same pass. The text tower stays outside."""
    model, weights = _saved(name, tmp_path)
    teacher, dense = (_load(name, weights=weights, output=output) for output in ("summary", "patches"))
    image = torch.rand(2, 3, teacher.size, teacher.size)
    with torch.no_grad():
        expected = model.encode_image(_normalised(image, teacher), normalize=False)
    assert teacher.mean == open_clip.OPENAI_DATASET_MEAN
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)
    features = dense(image)
    torch.testing.assert_close(features.summary, expected, rtol=1e-4, atol=1e-5)
    assert features.patches is not None
    assert features.patches.shape[1] == cells
    assert teacher.num_parameters == sum(value.numel() for value in model.visual.parameters())


def test_patches_are_those_behind_the_last_norm(tmp_path: Path) -> None:
    """As the tower itself gives them with its class token."""
    model, weights = _saved("tiny-vit", tmp_path)
    teacher = _load("tiny-vit", weights=weights, output="patches")
    image = torch.rand(2, 3, 32, 32)
    model.visual.output_tokens = True
    with torch.no_grad():
        _, tokens = model.visual(_normalised(image, teacher))
    torch.testing.assert_close(teacher(image).patches, tokens, rtol=1e-4, atol=1e-5)


def test_another_size_resamples_the_positions(tmp_path: Path) -> None:
    """As open_clip does when it loads the file."""
    _, weights = _saved("tiny-vit", tmp_path)
    teacher, image = _load("tiny-vit", weights=weights, size=48), torch.rand(2, 3, 48, 48)
    model = open_clip.create_model("tiny-vit", pretrained=weights, force_image_size=48).eval()
    with torch.no_grad():
        expected = model.encode_image(_normalised(image, teacher))
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(TeacherError, match="multiple of its patches of 8 px; nearest valid is 48"):
        _load("tiny-vit", weights=weights, size=50)


def test_random_weights_are_the_same_every_time() -> None:
    """And leave the run's generator alone."""
    before = torch.get_rng_state()
    one, two = (_load("tiny-vit", weights="random") for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.fingerprint == two.fingerprint


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    """From a file of the same name."""
    prints = {_load("tiny-vit", weights=_saved("tiny-vit", tmp_path)[1]).fingerprint for _ in range(2)}
    assert len(prints) == 2


def test_a_folder_is_a_source(tmp_path: Path) -> None:
    """As open_clip writes one for the hub."""
    model, _ = _saved("tiny-vit", tmp_path)
    config = {
        "model_cfg": open_clip.get_model_config("tiny-vit"),
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "w.safetensors").rename(tmp_path / "open_clip_model.safetensors")
    teacher, image = _load(f"local-dir:{tmp_path}"), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.encode_image((image - 0.5) / 0.5)
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_can_be_read(tmp_path: Path) -> None:
    """By its name in the tower."""
    model, weights = _saved("tiny-vit", tmp_path)
    teacher = _load("tiny-vit", weights=weights, output="layer:transformer.resblocks.0")
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        said = model.visual.forward_intermediates(_normalised(image, teacher), indices=[0], output_fmt="NLC")
    torch.testing.assert_close(teacher(image).patches, said["image_intermediates"][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("ViT-B-23", {}, "did you mean 'ViT-B-32'"),
        ("ViT-B-32/laion2b_s34b_b79", {}, "did you mean 'laion2b_s34b_b79k'"),
        ("ViT-B-32", {}, "its tags are openai"),
        ("tiny-vit", {"weights": "nowhere.safetensors"}, "there is no file"),
        ("tiny-vit", {"weights": "random", "output": "logits"}, "it has summary, patches"),
        ("local-dir:nowhere", {}, "it could not be had"),
        ("local-dir:nowhere", {"weights": "random"}, "the model has its own"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, settings: dict[str, object], says: str) -> None:
    """One readable message."""
    with pytest.raises(TeacherError) as caught:
        _load(name, **settings)
    assert says in str(caught.value)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no network, and no cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(TeacherError, match=r"could not be had .* weights=FILE takes a local file"):
        _load("ViT-B-32/laion2b_s34b_b79k")


def test_weights_of_another_architecture_do_not_fit(tmp_path: Path) -> None:
    """Nor do pickles that would run something."""
    _, weights = _saved("tiny-resnet", tmp_path)
    with pytest.raises(TeacherError, match="do not fit"):
        _load("tiny-vit", weights=weights)
    torch.save({"state_dict": {"a": Path("x")}}, tmp_path / "w.pt")
    with pytest.raises(TeacherError, match="do not fit"):
        _load("tiny-vit", weights=str(tmp_path / "w.pt"))
