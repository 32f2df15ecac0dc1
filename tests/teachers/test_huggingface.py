"""Teachers from transformers against the library called by hand: architectures with random weights, saved by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 99, "eos_token_id": 98, "bos_token_id": 97}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
TOKENS: dict[
    str, tuple[dict[str, Any], int]
] = {  # type -> configuration, number of tokens that are no patches
    "vit": (VISION, 1),
    "deit": (VISION, 2),
    "beit": (VISION, 1),
    "dinov2": (VISION, 1),
    "dinov2_with_registers": ({**VISION, "num_register_tokens": 4}, 5),
    "dinov3_vit": ({**VISION, "num_register_tokens": 4}, 5),
    "ijepa": (VISION, 0),
    "siglip_vision_model": (VISION, 0),
    "clip_vision_model": (VISION, 1),
    "swin": (
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        0,
    ),
    "dinov3_convnext": ({"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "image_size": 64}, 1),
}
GRIDS: dict[str, dict[str, Any]] = {
    "convnext": {**STAGES, "num_stages": 4, "image_size": 64},
    "resnet": {**STAGES, "embedding_size": 8, "layer_type": "basic"},
    "mobilenet_v2": {"image_size": 64, "depth_multiplier": 0.25},
}
DUAL: dict[str, dict[str, Any]] = {
    "clip": {"vision_config": VISION, "text_config": TEXT, "projection_dim": 16},
    "siglip": {"vision_config": VISION, "text_config": {**TEXT, "projection_size": 32}},
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no cache"))


def _save(
    kind: str, settings: dict[str, Any], folder: Path, *, auto: str = "AutoModel", processor: Any = None
) -> Any:
    """Writes a folder, and returns the model."""
    config = transformers.AutoConfig.for_model(kind, **settings)
    model = getattr(transformers, auto).from_config(config).eval()
    for value in model.parameters():  # also where the architecture starts from zeros
        value.data += 0.02 * torch.randn_like(value)
    model.save_pretrained(folder)
    side = {"height": 32, "width": 32}
    (processor or transformers.ViTImageProcessor(size=side)).save_pretrained(folder)
    return model


def _load(folder: Path | str, **settings: object) -> Teacher:
    spec = TeacherSpec.model_validate({"model": f"hf:{folder}", **settings})
    return load_teacher(spec, device=torch.device("cpu"))


def _image(size: int = 32) -> Tensor:
    return torch.rand(2, 3, size, size)


def _normalised(image: Tensor) -> Tensor:
    """As ViTImageProcessor does."""
    return (image - 0.5) / 0.5


def _close(one: Tensor | None, other: Tensor) -> None:
    assert one is not None
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", TOKENS)
def test_a_network_of_tokens(kind: str, tmp_path: Path) -> None:
    """What it pools, or its class token, or the mean; patches without class and register tokens."""
    settings, others = TOKENS[kind]
    model = _save(kind, settings, tmp_path)
    size = settings["image_size"]
    image = _image(size)
    with torch.no_grad():
        said = model(_normalised(image))
    last, pooled = said.last_hidden_state, said.get("pooler_output")
    features = _load(tmp_path, output="patches", size=size)(image)
    _close(features.patches, last[:, others:])
    _close(features.summary, pooled if pooled is not None else last[:, 0] if others else last.mean(1))
    assert _load(tmp_path, size=size)(image).patches is None


@pytest.mark.parametrize("kind", GRIDS)
def test_a_convolutional_network(kind: str, tmp_path: Path) -> None:
    """What it pools; the grid row by row; any size."""
    model, image = _save(kind, GRIDS[kind], tmp_path), _image(96)
    with torch.no_grad():
        said = model(_normalised(image))
    features = _load(tmp_path, output="patches", size=96)(image)
    _close(features.summary, said.pooler_output.flatten(1))
    _close(features.patches, said.last_hidden_state.flatten(2).mT)


@pytest.mark.parametrize("kind", DUAL)
def test_of_two_towers_the_image_side(kind: str, tmp_path: Path) -> None:
    """Its embedding, which can be compared with the model's texts; the text side is not loaded into the teacher."""
    model, image = _save(kind, DUAL[kind], tmp_path), _image()
    with torch.no_grad():
        expected = model.get_image_features(_normalised(image)).pooler_output
        last = model.vision_model(_normalised(image)).last_hidden_state
    teacher = _load(tmp_path, output="patches")
    _close(teacher(image).summary, expected)
    _close(teacher(image).patches, last[:, 1 if kind == "clip" else 0 :])
    whole, text = (sum(p.numel() for p in part.parameters()) for part in (model, model.text_model))
    assert teacher.num_parameters is not None
    assert teacher.num_parameters <= whole - text


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_a_classifier_has_logits(kind: str, tmp_path: Path) -> None:
    """And, from the same folder, a summary."""
    settings = {**TOKENS[kind][0], "num_labels": 7}
    model, image = _save(kind, settings, tmp_path, auto="AutoModelForImageClassification"), _image()
    with torch.no_grad():
        expected = model(_normalised(image)).logits
    _close(_load(tmp_path, output="logits")(image).summary, expected)
    assert _load(tmp_path).num_features == (32 if kind == "vit" else 16)


def test_a_pooler_that_was_never_learnt_is_not_used(tmp_path: Path) -> None:
    """A classifier's file has none; transformers would start it at random. The class token it is."""
    model, image = _save("vit", VISION, tmp_path, auto="AutoModelForImageClassification"), _image()
    with torch.no_grad():
        expected = model.vit(_normalised(image)).last_hidden_state[:, 0]
    teacher = _load(tmp_path)
    _close(teacher(image).summary, expected)
    torch.rand(1)
    assert _load(tmp_path).fingerprint == teacher.fingerprint


def test_weights_that_are_missing_are_an_error(tmp_path: Path) -> None:
    """A backbone is no classifier; nothing stays random in silence."""
    _save("vit", VISION, tmp_path)
    with pytest.raises(TeacherError, match=r"lack classifier.*is it a classifier\?"):
        _load(tmp_path, output="logits")


@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov3_vit", "clip"])
def test_another_size_where_the_positions_can_be_resampled(kind: str, tmp_path: Path) -> None:
    """As the library does it."""
    model, image = (
        _save(kind, {**TOKENS, **{k: (v, 1) for k, v in DUAL.items()}}[kind][0], tmp_path),
        _image(48),
    )
    call = model.get_image_features if kind == "clip" else model
    more = {"interpolate_pos_encoding": True} if kind in {"vit", "clip"} else {}
    with torch.no_grad():
        expected = call(_normalised(image), **more).pooler_output
    teacher = _load(tmp_path, size=48, output="patches")
    _close(teacher(image).summary, expected)
    patches = teacher(image).patches
    assert patches is not None
    assert patches.shape[1] == 36


@pytest.mark.parametrize(("size", "valid"), [(30, 32), (3, 8)])
def test_a_side_of_no_whole_number_of_patches_names_the_nearest(
    size: int, valid: int, tmp_path: Path
) -> None:
    """The rest would be cut off."""
    _save("dinov2", VISION, tmp_path)
    with pytest.raises(TeacherError, match=f"multiple of its patches of 8 px; nearest valid is {valid}"):
        _load(tmp_path, size=size)


def test_another_size_where_it_cannot_be_names_the_valid_one(tmp_path: Path) -> None:
    """In the model's own words."""
    _save("groupvit", {"vision_config": VISION, "text_config": TEXT}, tmp_path)
    with pytest.raises(TeacherError, match=r"does not run on images of 48x48 px: .*model \(32\*32\)"):
        _load(tmp_path, size=48)


@pytest.mark.parametrize(
    "processor",
    [
        lambda: transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        ),
        lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}, rescale_factor=1 / 127.5),
        lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}, do_rescale=False),
        lambda: transformers.ViTImageProcessor(size={"height": 32, "width": 32}, do_normalize=False),
        lambda: transformers.MobileViTImageProcessor(
            size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}
        ),
        lambda: transformers.EfficientNetImageProcessor(size={"height": 32, "width": 32}, include_top=True),
    ],
    ids=["crop", "factor", "no rescale", "no normalise", "flip", "twice"],
)
def test_images_are_prepared_as_by_the_models_processor(processor: Any, tmp_path: Path) -> None:
    """Size, factor, mean, std and order of channels, whatever its settings are called."""
    made = processor()
    model = _save("vit", VISION, tmp_path, processor=made)
    pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    picture = Image.fromarray(pixels.numpy())
    prepared = made(picture, do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model(prepared).pooler_output
    teacher = _load(tmp_path)
    assert teacher.size == 32
    torch.testing.assert_close(
        teacher(pixels.permute(2, 0, 1)[None].float() / 255).summary, expected, rtol=1e-3, atol=1e-4
    )


def test_without_a_processor_the_recipe_says_how_to_normalise(tmp_path: Path) -> None:
    """Nothing is guessed."""
    _save("vit", VISION, tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(TeacherError, match="give mean and std"):
        _load(tmp_path)
    teacher = _load(tmp_path, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert (teacher.size, teacher.mean) == (32, (0.5, 0.5, 0.5))


def test_random_weights_need_a_configuration_only(tmp_path: Path) -> None:
    """Of a folder, or of a type of model; the same every time, and the run's generator is left alone."""
    _save("vit", VISION, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    before = torch.get_rng_state()
    one, two = (_load(tmp_path, weights="random") for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.fingerprint == two.fingerprint
    assert _load("mobilevit", weights="random", size=64).num_features == 640


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    """In the same folder."""
    _save("vit", VISION, tmp_path)
    before = _load(tmp_path).fingerprint
    assert _load(tmp_path).fingerprint == before
    _save("vit", VISION, tmp_path)
    assert _load(tmp_path).fingerprint != before


@pytest.mark.parametrize(("setting", "value"), [("hidden_act", "quick_gelu"), ("num_attention_heads", 4)])
def test_another_configuration_has_another_fingerprint(setting: str, value: object, tmp_path: Path) -> None:
    """Of the same weights: they are then another network. Where it is from does not matter."""
    _save("vit", VISION, tmp_path)
    before = _load(tmp_path).fingerprint
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"transformers_version": "0", "_name_or_path": "elsewhere"}))
    assert _load(tmp_path).fingerprint == before
    file.write_text(json.dumps(values | {setting: value}))
    assert _load(tmp_path).fingerprint != before


def test_the_order_of_the_colours_is_in_the_fingerprint(tmp_path: Path) -> None:
    """It is said in a file of its own."""
    side = {"height": 32, "width": 32}
    made = transformers.MobileViTImageProcessor(size={"shortest_edge": 32}, crop_size=side)
    _save("vit", VISION, tmp_path, processor=made)
    before = _load(tmp_path).fingerprint
    file = next(tmp_path.glob("*processor_config.json"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_flip_channel_order": False}))
    assert _load(tmp_path).fingerprint != before


def test_half_precision_files_are_computed_in_float32(tmp_path: Path) -> None:
    """The recipe's dtype decides, not the file's."""
    model = _save("vit", VISION, tmp_path).half()
    model.save_pretrained(tmp_path)
    image = _image()
    with torch.no_grad():
        expected = model.float()(_normalised(image)).pooler_output
    _close(_load(tmp_path)(image).summary, expected)


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: [mit, cc0-1.0]", "mit, cc0-1.0"),
        ("license: other\nlicense_name: dinov3-license", "dinov3-license"),
        ("tags: [vision]", "unknown"),
        ("license: [", "unknown"),
    ],
)
def test_the_licence_is_the_model_cards(front: str, licence: str, tmp_path: Path) -> None:
    """From its front matter."""
    _save("vit", VISION, tmp_path)
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    assert _load(tmp_path).licence == licence


def test_a_layer_can_be_read(tmp_path: Path) -> None:
    """By its name in the model."""
    model, image = _save("vit", VISION, tmp_path), _image()
    with torch.no_grad():
        hidden = model(_normalised(image), output_hidden_states=True).hidden_states
    features = _load(tmp_path, output="layer:layers.0")(image)
    _close(features.summary, hidden[1][:, 0])
    _close(features.patches, hidden[1][:, 1:])


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """Safetensors only."""
    model = _save("vit", VISION, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(TeacherError, match=r"its weights \(model.safetensors\) cannot be used"):
        _load(tmp_path)


def test_code_beside_the_weights_is_never_run(tmp_path: Path) -> None:
    """A configuration that asks for it is refused."""
    _save("vit", VISION, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "theirs",
        "auto_map": {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    mark = tmp_path / "mark"
    (tmp_path / "theirs.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(TeacherError, match=r"its config.json cannot be used"):
        _load(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("owner/nowhere", {}, "could not be downloaded"),
        ("nowhere", {}, "no such folder"),
        ("vitt", {"weights": "random"}, "did you mean 'vit'"),
        ("vit", {"weights": "w.safetensors"}, "put the file there as model.safetensors"),
        ("vit", {"output": "embedding"}, "it has summary, patches, logits"),
    ],
)
def test_what_cannot_be_had_is_said(name: str, settings: dict[str, object], says: str) -> None:
    """One readable message."""
    with pytest.raises(TeacherError) as caught:
        _load(name, **settings)
    assert says in str(caught.value)


def test_a_masked_autoencoder_is_refused() -> None:
    """It hides patches at random, also in eval mode."""
    with pytest.raises(TeacherError, match="hides patches at random"):
        _load("vit_mae", weights="random", size=224)
