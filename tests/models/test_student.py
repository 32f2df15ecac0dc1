"""The student: any timm network, normalised input, unit-length embedding; its folder is a timm folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from alumnus.errors import ArtifactError, ConfigError
from alumnus.models.adaptors import Adaptor, AdaptorKind, AdaptorShape
from alumnus.models.artifact import load_student, save_student, student_folder
from alumnus.models.backbone import taps_of
from alumnus.models.student import Architecture, Student

CNN = Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8)
VIT = Architecture(
    model="vit_tiny_patch16_224",
    size=32,
    embed_dim=8,
    model_args={"depth": 1, "embed_dim": 48, "num_heads": 2, "patch_size": 8},
)


def _image(size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_embeddings_are_unit_vectors_of_the_width_asked_for(architecture: Architecture) -> None:
    """A convolutional and a transformer student both give (B, E) of length 1."""
    output = Student(architecture).eval()(_image())
    assert output.embedding.shape == (2, 8)
    assert torch.allclose(output.embedding.norm(dim=-1), torch.ones(2))
    assert output.features.summary.ndim == 2


def test_uint8_and_unit_range_input_are_the_same() -> None:
    """uint8 images and the same images in [0, 1] give the same embedding."""
    student = Student(CNN).eval()
    assert torch.equal(student(_image()).embedding, student(_image().float() / 255).embedding)


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_a_saved_student_comes_back_the_same(architecture: Architecture, tmp_path: Path) -> None:
    """Saving and loading changes no bit of the embedding, and leaves no temporary folder."""
    student = Student(architecture).eval()
    folder = save_student(student, tmp_path / "student", provenance={"seed": 1})
    assert torch.equal(load_student(folder)(_image()).embedding, student(_image()).embedding)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize("architecture", [CNN, VIT], ids=["cnn", "vit"])
def test_timm_loads_the_backbone_from_the_folder(architecture: Architecture, tmp_path: Path) -> None:
    """`timm.create_model("local-dir:…")` gives the same summary."""
    student = Student(architecture).eval()
    folder = save_student(student, tmp_path / "student")
    backbone = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    normalised = (_image().float() / 255 - student.mean) / student.std
    wanted = student(_image()).features.summary
    assert torch.allclose(backbone(normalised), wanted, atol=1e-5)


def test_a_classifier_is_kept(tmp_path: Path) -> None:
    """Its groups and its logits come back from the folder; without one there are no logits and no word of it in alumnus.json."""
    student = Student(CNN).eval()
    assert student(_image()).logits is None
    assert "classes" not in json.loads(
        (save_student(student, tmp_path / "bare") / "alumnus.json").read_text()
    )
    student.classify({"digits": 3, "clothes": 2})
    found = load_student(save_student(student, tmp_path / "student"))
    logits = found(_image()).logits
    assert logits is not None
    assert found.classes == {"digits": 3, "clothes": 2}
    assert logits.shape == (2, 5)
    assert torch.equal(logits, student(_image()).logits)


def test_a_classifier_of_the_same_groups_stays() -> None:
    """Asked for again it is the same; of other groups, or of the same in another order, it is a new one; of none it is gone."""
    student = Student(CNN)
    student.classify({"a": 3, "b": 2})
    first = student.classifier
    student.classify({"a": 3, "b": 2})
    assert student.classifier is first
    student.classify({"b": 2, "a": 3})
    assert student.classifier is not first
    student.classify({})
    assert student.classifier is None
    assert not any(name.startswith("classifier") for name in student.state_dict())


@pytest.mark.parametrize("classes", [["a"], {"a": 0}, {"a": "2"}, {"a": 4}])
def test_a_classifier_that_does_not_fit_is_refused(classes: object, tmp_path: Path) -> None:
    """Groups that are none, and numbers that are not those of the tensors."""
    student = Student(CNN)
    student.classify({"a": 3})
    about = save_student(student, tmp_path / "student") / "alumnus.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "classes": classes}))
    with pytest.raises(ArtifactError):
        load_student(tmp_path / "student")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A misspelt architecture names the one that was meant."""
    with pytest.raises(ConfigError, match=r"did you mean 'resnet18'"):
        Student(Architecture(model="resnett18", size=32, embed_dim=8))


@pytest.mark.parametrize("lost", ["model.safetensors", "heads.safetensors", "config.json", "alumnus.json"])
def test_an_incomplete_folder_is_refused_by_name(lost: str, tmp_path: Path) -> None:
    """The message says which file is missing."""
    folder = save_student(Student(CNN), tmp_path / "student")
    (folder / lost).unlink()
    with pytest.raises(ArtifactError, match=lost):
        load_student(folder)


def test_a_run_folder_points_to_its_student(tmp_path: Path) -> None:
    """Who gives the run's folder instead of the student's is told where it is."""
    save_student(Student(CNN), tmp_path / "student")
    with pytest.raises(ArtifactError, match="student/"):
        load_student(tmp_path)


def test_a_run_of_several_students_points_to_one(tmp_path: Path) -> None:
    """To a run that has a student: one that was stopped before is no answer."""
    (tmp_path / "students" / "huge").mkdir(parents=True)
    for name in ("small", "large"):
        save_student(Student(CNN), tmp_path / "students" / name / "student")
    with pytest.raises(
        ArtifactError, match=r"holds several runs, give one of them, such as .*students/large$"
    ):
        load_student(student_folder(tmp_path))


def test_torn_and_foreign_content_is_refused(tmp_path: Path) -> None:
    """A cut tensor file, another version and broken JSON are ArtifactErrors."""
    folder = save_student(Student(CNN), tmp_path / "student")
    for name, content in [
        ("model.safetensors", b"torn"),
        ("alumnus.json", b"{"),
        ("alumnus.json", json.dumps({"version": 99}).encode()),
        ("alumnus.json", json.dumps({"version": 1, "architecture": {"model": "resnet18"}}).encode()),
    ]:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(content)
        with pytest.raises(ArtifactError):
            load_student(copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("model", "size"),
    [("mobilenetv3_small_050", 64), ("resnet10t", 64), ("test_vit", 160), ("pvt_v2_b0", 64)],
)
def test_earlier_stages_change_nothing_else(model: str, size: int) -> None:
    """Features with and without the stages agree; all stages are on the last grid, as `taps_of` says."""
    student = Student(Architecture(model=model, size=size, embed_dim=4)).eval()
    image = torch.rand(2, 3, size, size)
    bare, tapped = student(image, patches=True), student(image, patches=True, stages=True)
    for one, other in ((bare.embedding, tapped.embedding), (bare.features.patches, tapped.features.patches)):
        assert torch.allclose(one, other, atol=1e-5)
    grid, dims, cells = taps_of(student.backbone, size=size)
    assert grid is not None
    assert len(cells) == len(dims or ())
    assert sorted(cells, reverse=True) == list(cells)  # fine to coarse, before they are pooled
    assert cells[0] >= grid.height * grid.width
    assert tapped.features.patches.shape == (2, grid.height * grid.width, grid.dim)
    assert dims is not None
    assert len(dims) > 1
    assert [tuple(stage.shape) for stage in tapped.stages] == [(2, grid.height * grid.width, d) for d in dims]


def test_taps_leave_the_network_as_it_is() -> None:
    """Modules in training stay so, those in eval too, and no batch norm has seen the image."""
    backbone = Student(CNN).backbone.train()
    frozen = next(backbone.children()).eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    taps_of(backbone, size=64)
    assert backbone.training
    assert not frozen.training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("stage_dims", [(), None])
def test_kept_spaces_are_saved_with_the_student(tmp_path: Path, stage_dims: tuple[int, ...] | None) -> None:
    """Written and read back bit for bit, ladders too; an odd name of a teacher is no trouble; embeddings stay as they are."""
    student = Student(CNN).eval()
    without = student(_image()).embedding
    dims = taps_of(student.backbone, size=CNN.size).stage_dims if stage_dims is None else ()
    kind: AdaptorKind = "mlp" if stage_dims == () else "ladder"
    for name in ("keys", "b-1"):
        student.keep(name, Adaptor(AdaptorShape(kind, student.num_features, 5, dims or ())))
    folder = save_student(student, tmp_path / "student")
    found = load_student(folder)
    assert found.architecture == student.architecture
    ours, theirs = student(_image(), spaces=True), found(_image(), spaces=True)
    assert list(theirs.spaces) == ["keys", "b-1"]
    assert all(torch.equal(ours.spaces[name], theirs.spaces[name]) for name in ours.spaces)
    assert torch.equal(theirs.embedding, ours.embedding)
    assert torch.allclose(without, ours.embedding, atol=1e-6)
    assert found(_image()).spaces == {}


def test_a_student_without_spaces_is_written_as_before(tmp_path: Path) -> None:
    """No word of them, so that older versions read it."""
    folder = save_student(Student(CNN), tmp_path / "student")
    assert "spaces" not in (folder / "alumnus.json").read_text()
    assert set(safetensors.torch.load_file(folder / "heads.safetensors")) == {"embed.weight", "embed.bias"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", [0.5, 0.5]),
        ("std", "abc"),
        ("embed_dim", -1),
        ("size", 0),
        ("spaces", {"a": {"kind": "lstm", "in_dim": 1, "out_dim": 1, "stage_dims": []}}),
        ("spaces", {"a": 3}),
        ("spaces", [1]),
        ("spaces", {"a": {"kind": "mlp"}}),
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, name: str, value: object) -> None:
    """As every other damage of the folder: one error that names the file."""
    folder = save_student(Student(CNN), tmp_path / "student")
    about = json.loads((folder / "alumnus.json").read_text())
    about["architecture"][name] = value
    (folder / "alumnus.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match=r"alumnus\.json does not describe a student"):
        load_student(folder)


UDON = replace(CNN, normalise_summary=True)


def test_a_head_on_a_summary_of_unit_length_does_not_see_its_length() -> None:
    """Bias and all: a backbone whose summaries are three times as long gives the same embedding; without the switch another."""
    for architecture, is_same in ((UDON, True), (CNN, False)):
        student = Student(architecture).eval()
        assert isinstance(student.embed, nn.Linear)
        nn.init.normal_(student.embed.bias)
        before = student(_image())
        longer = 3 * before.features.summary
        assert torch.allclose(student._embedded(longer), before.embedding, atol=1e-6) is is_same


@pytest.mark.parametrize("architecture", [UDON, replace(CNN, embed_hidden=(12, 10))], ids=["unit", "mlp"])
def test_the_kind_of_head_is_part_of_the_saved_student(architecture: Architecture, tmp_path: Path) -> None:
    """What encodes is the same function after loading."""
    student = Student(architecture).eval()
    again = load_student(save_student(student, tmp_path / "student"))
    assert again.architecture == architecture
    assert torch.equal(again(_image()).embedding, student(_image()).embedding)


def test_a_folder_from_before_there_were_kinds_of_heads_loads_unchanged(tmp_path: Path) -> None:
    """Its description does not say, and means one affine layer on the summary as it is."""
    student = Student(CNN).eval()
    folder = save_student(student, tmp_path / "student")
    about = json.loads((folder / "alumnus.json").read_text())
    for name in ("normalise_summary", "embed_hidden"):
        del about["architecture"][name]
    (folder / "alumnus.json").write_text(json.dumps(about))
    assert torch.equal(load_student(folder)(_image()).embedding, student(_image()).embedding)


def test_the_head_can_be_had_without_the_backbone() -> None:
    """The same vectors; their gradient moves the head alone."""
    student = Student(UDON).eval()
    output = student(_image(), head_only=True)
    assert output.head_only is not None
    assert torch.equal(output.head_only, output.embedding)
    output.head_only[:, 0].sum().backward()
    assert student.embed.weight.grad is not None
    assert all(parameter.grad is None for parameter in student.backbone.parameters())
    assert student(_image()).head_only is None
