"""`alumnus merge`: folders in, one student folder out, with a note of what it was made of."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import alumnus
from alumnus.cli import run
from alumnus.errors import ArtifactError, ConfigError, DataError
from alumnus.merging import merge
from alumnus.models.artifact import load_student, read_about, save_student
from alumnus.models.student import Architecture, Student

CNN = Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8)
VIT = Architecture(model="test_vit", size=32, embed_dim=8)


def _save(folder: Path, architecture: Architecture) -> list[Path]:
    """A base, and two students near it; the second of them as a run's."""
    base = Student(architecture)
    saved = [save_student(base, folder / "base", provenance={"seed": 0, "teachers": [{"name": "t"}]})]
    for number, name in enumerate(("one", "two/student")):
        other = copy.deepcopy(base)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        roles = {"discs": ["labelled"], "photos": ["generic"]} if number else {}
        about = {"seed": number, "data": {"domains": ["discs", "photos"][: number + 1], "roles": roles}}
        (folder / name).parent.mkdir(exist_ok=True)
        saved.append(
            save_student(
                other, folder / name, provenance={**about, "teachers": [{"name": "t"}, {"name": name}]}
            )
        )
    return saved


@pytest.fixture
def vits(tmp_path: Path) -> list[Path]:
    """Folders of three students without batch norms."""
    return _save(tmp_path, VIT)


def _tensors(folder: Path) -> dict[str, Tensor]:
    return load_student(folder).state_dict()


def test_a_soup_is_a_student_folder_that_says_what_it_is_made_of(vits: list[Path], tmp_path: Path) -> None:
    """It loads and encodes; a run folder stands for its student; provenance, teachers and roles are those of all."""
    _, one, two = vits
    out = alumnus.merge([one, two.parent], out=tmp_path / "new" / "soup", weights=[1, 3])
    a, b, found = _tensors(one), _tensors(two), _tensors(out)
    assert all(torch.allclose(found[name], (a[name] + 3 * b[name]) / 4, atol=1e-6) for name in a)
    assert len(alumnus.load(out).encode([torch.zeros(40, 40, 3, dtype=torch.uint8).numpy()])[0]) == 8
    about = read_about(out)["provenance"]
    assert about["merged"]["how"] == "average"
    assert about["merged"]["batch_norm"] is None
    parts = about["merged"]["students"]
    assert [(part["folder"], part["weight"]) for part in parts] == [(str(one), 1), (str(two), 3)]
    assert [part["provenance"]["seed"] for part in parts] == [0, 1]
    assert [teacher["name"] for teacher in about["teachers"]] == ["t", "one", "two/student"]
    assert about["data"]["roles"] == {"discs": ["labelled"], "photos": ["generic"]}
    assert f"{two}, weight 3" in (out / "README.md").read_text()


def test_the_command_does_task_arithmetic(
    vits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One scale is for all; the folder's path is printed."""
    base, one, two = vits
    out = tmp_path / "sum"
    assert run(["merge", str(one), str(two), f"base={base}", "scale=0.4", f"out={out}"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    zero, a, b, found = (_tensors(folder) for folder in (base, one, two, out))
    for name, tensor in found.items():
        wanted = zero[name] + 0.4 * (a[name] - zero[name]) + 0.4 * (b[name] - zero[name])
        assert torch.allclose(tensor, wanted, atol=1e-6)
    merged = read_about(out)["provenance"]["merged"]
    assert [part["scale"] for part in merged["students"]] == [0.4, 0.4]
    assert merged["base"]["folder"] == str(base)


def test_batch_norms_are_measured_on_the_images_given(
    tmp_path: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statistics change, weights do not; the same seed gives the same bits; without data it warns."""
    _, one, two = _save(tmp_path, CNN)
    averaged = _tensors(merge([one, two], out=tmp_path / "bare"))
    assert "give data=IMAGES" in capsys.readouterr().err
    folders = [
        merge([one, two], out=tmp_path / name, data=tiny_images, num_images=40, batch_size=16, workers=0)
        for name in ("first", "second")
    ]
    first, second = map(_tensors, folders)
    assert all(torch.equal(first[name], second[name]) for name in first)
    moved = {name.rpartition(".")[2] for name in first if not torch.equal(first[name], averaged[name])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}
    assert {int(first[name]) for name in first if name.endswith("num_batches_tracked")} == {2}
    measured = read_about(folders[0])["provenance"]["merged"]["batch_norm"]
    assert (measured["images"], measured["split"]) == (32, "train")


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path, tiny_images: Path) -> None:
    """Some of them; if none is left it fails."""
    _, one, two = _save(tmp_path, CNN)
    images = tmp_path / "images"
    images.mkdir()
    for number, path in enumerate(sorted((tiny_images / "discs" / "red").iterdir())):
        (images / f"{number}.png").write_bytes(path.read_bytes())
    (images / "0.png").write_text("no image")
    out = merge([one, two], out=tmp_path / "soup", data=images, workers=0)
    assert read_about(out)["provenance"]["merged"]["batch_norm"]["images"] == 4
    for path in images.iterdir():
        path.write_text("no image")
    with pytest.raises(DataError, match="no batch of images could be read"):
        merge([one, two], out=tmp_path / "none", data=images, workers=0)
    assert not (tmp_path / "none").exists()


def test_data_without_batch_norms_has_no_effect_and_says_so(
    vits: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images are not even opened."""
    merge(vits, out=tmp_path / "soup", data=tmp_path / "nowhere")
    assert "data= has no effect" in capsys.readouterr().err


def test_settings_that_contradict_each_other_are_refused(vits: list[Path], tmp_path: Path) -> None:
    """Each with what to give instead."""
    base, one, two = vits
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="two students or more"):
        merge([one], out=out)
    with pytest.raises(ConfigError, match="given twice"):
        merge([one, one], out=out)
    with pytest.raises(ConfigError, match="given twice"):
        merge([one, one.parent / "base" / ".." / one.name], out=out)
    with pytest.raises(ConfigError, match="seed=-1 must be 0 at least"):
        merge([one, two], out=out, seed=-1)
    with pytest.raises(ConfigError, match="cannot be replaced"):
        merge([one, two], out="/")
    with pytest.raises(ConfigError, match="give base=FOLDER"):
        merge([one, two], out=out, scale=0.3)
    with pytest.raises(ConfigError, match="with a base, give scale="):
        merge([one, two], out=out, base=base, weights=[1, 1])
    with pytest.raises(ConfigError, match="a scale, such as"):
        merge([one, two], out=out, base=base)
    with pytest.raises(ConfigError, match="its difference from itself"):
        merge([one, base], out=out, base=base, scale=1)
    with pytest.raises(ConfigError, match="one of the students to be merged"):
        merge([one, two], out=one)
    assert not out.exists()


def test_splits_and_numbers_are_checked(tmp_path: Path, tiny_images: Path) -> None:
    """Which splits there are is said."""
    _, one, two = _save(tmp_path, CNN)
    with pytest.raises(DataError, match=r"0 images in the split 'val'.*train"):
        merge([one, two], out=tmp_path / "out", data=tiny_images, split="val")
    with pytest.raises(ConfigError, match="one image has no variance"):
        merge([one, two], out=tmp_path / "out", data=tiny_images, batch_size=1)


def test_only_a_student_is_replaced(vits: list[Path], tmp_path: Path) -> None:
    """A folder of anything else stays; an older student goes."""
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not replaced"):
        merge(vits, out=other)
    assert (other / "a.txt").read_text() == "mine"
    out = merge(vits, out=tmp_path / "soup")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(
        ArtifactError, match=r"holds 'notes\.txt', which is no part of a student, so it is not replaced"
    ):
        merge(vits, out=out)  # as an adapted model is, which has more files than a student
    (out / "notes.txt").unlink()
    before = json.loads((out / "alumnus.json").read_text())
    merge(vits[:2], out=out)
    assert len(read_about(out)["provenance"]["merged"]["students"]) == 2
    assert len(before["provenance"]["merged"]["students"]) == 3
