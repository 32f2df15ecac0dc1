"""`alumnus cache`: plan, build, info, verify, prune, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from alumnus.cli import run


@pytest.fixture
def recipe(tmp_path: Path, tiny_images: Path) -> Path:
    """Two teachers of random weights over the tiny images."""
    shutil.copytree(tiny_images, tmp_path / "images")
    values = {
        "data": [str(tmp_path / "images" / name) for name in ("discs", "squares", "crosses")],
        "teachers": [
            {"model": "timm/resnet10t", "weights": "random", "size": 32},
            {"model": "timm/mobilenetv3_small_050", "weights": "random", "size": 32, "domains": ["discs"]},
        ],
        "views": {"per_image": 2},
        "workers": 0,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "recipe.yaml"


def test_a_store_is_planned_built_shown_and_verified(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan writes nothing; after build nothing is missing; info counts; verify asks the teachers again."""
    store = str(tmp_path / "store")
    assert run(["cache", "plan", str(recipe), f"out={store}"]) == 0
    planned = capsys.readouterr().out
    assert "resnet10t" in planned
    assert "180" in planned
    assert not Path(store).exists()
    assert run(["cache", "build", str(recipe), f"out={store}", "precision=int8"]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert run(["cache", "info", store]) == 0
    assert "int8" in capsys.readouterr().out
    assert run(["cache", "verify", store, "sample=8"]) == 0
    verified = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[1:5] for line in verified] == [["1", "0", "8", "0"]] * 2


@pytest.mark.parametrize(
    "given", [{"student": "timm/test_resnet"}, {"students": ["timm/test_resnet", "timm/test_vit"]}]
)
def test_a_recipe_for_training_does_for_a_store(
    given: dict[str, object], recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one student or several, which have no part in it."""
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **given}))
    assert run(["cache", "plan", str(recipe), f"out={tmp_path / 'store'}"]) == 0
    assert "resnet10t" in capsys.readouterr().out


def test_a_flipped_byte_is_found_and_repaired(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 until the shard was removed and computed again."""
    store = tmp_path / "store"
    assert run(["cache", "build", str(recipe), f"out={store}"]) == 0
    shard = next(store.glob("resnet10t*/*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    assert run(["cache", "verify", str(store), "sample=0"]) == 2
    assert "not what was kept" in capsys.readouterr().err
    assert run(["cache", "verify", str(store), "sample=0", "--repair"]) == 0
    assert run(["cache", "build", str(recipe), f"out={store}"]) == 0
    assert run(["cache", "verify", str(store), "sample=4"]) == 0


def test_a_teacher_that_drifted_is_found(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outputs are whole, but no longer what the teacher says: as after a change of its library."""
    store = tmp_path / "store"
    assert run(["cache", "build", str(recipe), f"out={store}"]) == 0
    about = next(store.glob("resnet10t*/about.json"))
    values = json.loads(about.read_text())
    values["spec"]["std"] = [0.5, 0.5, 0.5]
    about.write_text(json.dumps(values))
    assert run(["cache", "verify", str(store), "sample=4"]) == 2
    assert "what the teacher says now" in capsys.readouterr().err


def test_a_teacher_that_is_not_asked_is_not_verified(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 if its images are gone, unless nothing was to be asked."""
    store = tmp_path / "store"
    assert run(["cache", "build", str(recipe), f"out={store}"]) == 0
    shutil.rmtree(tmp_path / "images")
    assert run(["cache", "verify", str(store)]) == 2
    assert "could not be asked" in capsys.readouterr().err
    assert run(["cache", "verify", str(store), "sample=0"]) == 0
    assert "sample=0" in capsys.readouterr().out


def test_images_that_moved_are_found_where_data_says(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The teachers are those that the store notes."""
    store = tmp_path / "store"
    assert run(["cache", "build", str(recipe), f"out={store}"]) == 0
    (tmp_path / "images").rename(tmp_path / "moved")
    capsys.readouterr()
    assert run(["cache", "verify", str(store), "sample=8", f"data={tmp_path / 'moved'}", "workers=0"]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()[1:]] == ["8", "8"]


def test_data_without_a_training_image_are_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no store is made."""
    (tmp_path / "images" / "discs").rename(tmp_path / "test")
    (tmp_path / "only").mkdir()
    (tmp_path / "test").rename(tmp_path / "only" / "test")
    words = [f"data={tmp_path / 'only'}", "teachers.1.domains=null", f"out={tmp_path / 'store'}"]
    assert run(["cache", "build", str(recipe), *words]) == 2
    assert "there is no training image" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


def test_pruning_keeps_what_a_recipe_needs(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --yes it only says what would go."""
    store = tmp_path / "store"
    assert run(["cache", "build", str(recipe), f"out={store}"]) == 0
    capsys.readouterr()
    values = yaml.safe_load(recipe.read_text())
    smaller = tmp_path / "smaller.yaml"
    smaller.write_text(yaml.safe_dump({**values, "teachers": values["teachers"][:1]}))
    assert run(["cache", "prune", str(store), str(smaller)]) == 0
    assert "mobilenetv3_small_050" in capsys.readouterr().out
    assert len(list(store.glob("*/about.json"))) == 2
    assert run(["cache", "prune", str(store), str(smaller), "--yes"]) == 0
    assert [path.parent.name.split("-")[0] for path in store.glob("*/about.json")] == ["resnet10t"]
    assert run(["cache", "prune", str(store), str(smaller), "views.per_image=1"]) == 0
    assert "teachers go as a whole, and views or images" in capsys.readouterr().err
    assert run(["cache", "prune", str(store), "teachers=resnet10x", "--yes"]) == 2
    assert "did you mean 'resnet10t'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "said"),
    [("precision=fp16", "precision"), ("budget=much", "'much' is no size; write it as 4GiB")],
)
def test_a_wrong_word_is_said_before_anything_is_loaded(
    recipe: Path, tmp_path: Path, word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no store."""
    assert run(["cache", "build", str(recipe), f"out={tmp_path / 'store'}", word]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "nowhere"], "there is no store nowhere"),
        (["build"], "data"),
        (["prune"], "wanted: STORE"),
        (["prune", ".", "views.per_image=3", "teachers=t", "--yes"], "unexpected word 'views.per_image=3'"),
        (["verify", ".", "sample=-1"], "sample=-1: 0 or more"),
        (["verify", ".", "views.per_image=3"], "views.per_image: without a recipe verify takes"),
        (["info", "."], "holds no teacher outputs"),
    ],
)
def test_mistakes_are_said_in_one_message(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert run(["cache", *words]) == 2
    assert said in capsys.readouterr().err


def test_crops_of_a_run_are_shown_verified_and_pruned(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the recipe's views stay, unless it wants none."""
    store = str(tmp_path / "store")
    words = ["student=timm/mobilenetv3_small_050", "method=plain", "size=32", "embed_dim=8"]
    words += ["steps=2", "batch_size=12", f"store={store}", "store.crops=true", "views.scale=[0.5,1]"]
    assert run(["train", str(recipe), f"out={tmp_path / 'run'}", *words]) == 0
    assert "crops of 2 views at 32 px are kept" in " ".join(capsys.readouterr().err.split())
    assert run(["cache", "info", store]) == 0
    assert "crops-" in capsys.readouterr().out
    assert run(["cache", "verify", store, "sample=8"]) == 0
    (folder,) = Path(store).glob("crops-*")
    crops = max(folder.glob("*.crops"), key=lambda path: path.stat().st_size)
    content = bytearray(crops.read_bytes())
    content[-1] ^= 1
    crops.write_bytes(content)
    assert run(["cache", "verify", store, "sample=8"]) == 2
    assert run(["cache", "verify", store, "sample=8", "--repair"]) == 0
    capsys.readouterr()
    same, prune = ["views.scale=[0.5,1]"], ["cache", "prune", store, str(recipe)]
    assert run([*prune, *same]) == 0
    assert capsys.readouterr().out == ""
    assert run([*prune, *same, "crops=false"]) == 0
    assert capsys.readouterr().out.split() == [str(folder)]
    assert run([*prune, *same, "crops=false", "--yes"]) == 0
    assert not folder.exists()


def test_a_build_that_is_to_compute_nothing_is_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fill=false` is of runs."""
    assert run(["cache", "build", str(recipe), f"out={tmp_path / 'store'}", "fill=false"]) == 2
    assert "fill=false computes nothing" in capsys.readouterr().err
