"""Roles of sources: labels that nobody may see, domains that are nobody's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.data.roles import DataEntry
from alumnus.errors import ConfigError, DataError
from alumnus.models.artifact import read_about
from alumnus.scoring import evaluate
from alumnus.training.data import training_data
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from tests.training.test_loop import _config


@pytest.mark.parametrize("role", ["proxy", "auxiliary", "generic"])
def test_hidden_labels_are_nowhere(role: str, tiny_images: Path) -> None:
    """Neither as numbers nor as names of classes; the other source keeps its own."""
    hidden = DataEntry.model_validate({"path": str(tiny_images / "discs"), "role": role, "domain": "round"})
    data = open_dataset([tiny_images / "squares", hidden])
    assert data.domains == ("squares", "round")
    here = data.domain == data.domains.index("round")
    assert here.sum() == 30
    assert (data.label[here] == -1).all()
    assert data.classes[data.domains.index("round")] == ()
    assert (data.label[~here] >= 0).all()
    assert data.roles == {"squares": ("labelled",), "round": (role,)}


def test_whatever_else_was_written_down_is_hidden_too(tmp_path: Path) -> None:
    """Captions, objects, masks and depths say what a label says."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    row = {
        "file_name": "a.png",
        "domain": "d",
        "label": "x",
        "split": "train",
        "text": "a dog",
        "mask": "b.png",
    }
    objects = {"bbox": [[0, 0, 4, 4]], "categories": ["dog"]}
    write_dataset([{**row, "depth": "b.png", "objects": objects}], tmp_path)
    seen = open_dataset(tmp_path)
    assert None not in (seen.text, seen.objects, seen.masks, seen.depths)
    hidden = open_dataset(DataEntry(path=str(tmp_path), role="auxiliary"))
    assert (hidden.text, hidden.objects, hidden.masks, hidden.depths) == (None, None, None, None)
    assert hidden.label.tolist() == [-1]


def test_a_labelled_entry_is_the_plain_path(tiny_images: Path) -> None:
    """Every column and the fingerprint agree; a plain path says nothing about roles."""
    plain, entry = open_dataset(tiny_images), open_dataset(DataEntry(path=str(tiny_images)))
    assert plain.fingerprint == entry.fingerprint
    assert np.array_equal(plain.label, entry.label)
    assert plain.roles == {}
    assert set(entry.roles.values()) == {("labelled",)}


def test_a_domain_may_have_labelled_and_other_images_but_not_be_generic_too(tiny_images: Path) -> None:
    """A proxy joins a domain by its name; generic images may not."""
    labelled = DataEntry(path=str(tiny_images / "squares"))
    proxy = DataEntry(path=str(tiny_images / "discs"), role="proxy", domain="squares")
    data = open_dataset([labelled, proxy])
    assert data.domains == ("squares",)
    assert data.roles == {"squares": ("labelled", "proxy")}
    assert (data.label == -1).sum() == 30
    generic = proxy.model_copy(update={"role": "generic"})
    with pytest.raises(DataError, match=r"'squares' is generic and labelled.*`domain` of its own"):
        open_dataset([labelled, generic])


def test_recipes_write_entries_beside_paths(tmp_path: Path, tiny_images: Path) -> None:
    """One entry, several, a path that a word makes an entry; what is dumped can be loaded; mistakes are named."""
    given = {"out": tmp_path / "run", "student": "timm/resnet18", "teachers": ["timm/resnet18"]}
    entry = {"path": str(tiny_images), "role": "generic"}
    assert load_config(**given, data=entry).paths == (str(tiny_images),)
    config = load_config(**given, data=["a/", entry])
    assert config.data == ("a/", DataEntry(path=str(tiny_images), role="generic"))
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(tmp_path / "again.yaml") == config
    words = ["out=x", "student=timm/resnet18", "data=[a/, b/]", "data.1.role=proxy"]
    assert load_config(None, words).data == ("a/", DataEntry(path="b/", role="proxy"))
    with pytest.raises(ConfigError, match=r"data: rol: unknown setting; did you mean 'role'"):
        load_config(**given, data={"path": "a/", "rol": "proxy"})
    with pytest.raises(ConfigError, match=r"data: role: .*'labelled', 'proxy', 'auxiliary' or 'generic'"):
        load_config(**given, data={"path": "a/", "role": "food"})
    with pytest.raises(ConfigError, match=r"data: 5 is no source"):
        load_config(**given, data=["a/", 5])


def test_a_run_records_the_roles_and_its_evaluation_skips_generic_domains(
    tiny_images: Path, tmp_path: Path
) -> None:
    """The student's provenance says which images had labels; photographs of no domain are not scored."""
    data = (
        str(tiny_images / "squares"),
        DataEntry(path=str(tiny_images / "crosses"), role="auxiliary"),
        DataEntry(path=str(tiny_images / "discs"), role="generic", domain="food"),
    )
    config = _config(tmp_path / "run", tiny_images, steps=2).model_copy(update={"data": data})
    assert set(training_data(config).label.tolist()) == {-1, *range(6)}
    run = train(config)
    roles = {"squares": ["labelled"], "crosses": ["auxiliary"], "food": ["generic"]}
    assert read_about(run.student)["provenance"]["data"]["roles"] == roles

    both = _test_images(tmp_path / "both", tiny_images, domains=("squares", "food"))
    found = evaluate(run.folder, data=both, out=tmp_path / "results", knn=False, workers=0)
    assert "merged/R@1/squares" in found
    assert "merged/R@1/food" not in found
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["num_images"] == 4
    food = _test_images(tmp_path / "food", tiny_images, domains=("food",))
    with pytest.raises(DataError, match="nothing to score: food was generic"):
        evaluate(run.folder, data=food, knn=False, workers=0)


def _test_images(folder: Path, images: Path, *, domains: tuple[str, ...]) -> Path:
    """Two classes of two images for each domain, in the split `test`."""
    rows = list[dict[str, str]]()
    for domain in domains:
        for label in ("red", "blue"):
            for number in range(2):
                name = f"{domain}-{label}-{number}.png"
                folder.mkdir(exist_ok=True)
                shape = "discs" if domain == "food" else domain
                (folder / name).write_bytes((images / shape / label / f"{number}.png").read_bytes())
                rows.append({"file_name": name, "domain": domain, "label": label, "split": "test"})
    write_dataset(rows, folder)
    return folder


def test_a_run_of_plain_paths_records_no_roles(tiny_images: Path, tmp_path: Path) -> None:
    """Old recipes leave what they always left."""
    run = train(_config(tmp_path / "run", tiny_images, steps=1))
    assert "roles" not in read_about(run.student)["provenance"]["data"]
