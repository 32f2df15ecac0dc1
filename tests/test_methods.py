"""What every file in methods/ promises, checked for each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alumnus.models.artifact import load_student
from alumnus.objective import MethodSettings
from alumnus.training.loop import train
from alumnus.training.method import method_module, method_names
from alumnus.training.recipe import load_config
from tests.given import given

PAGES = Path(__file__).parents[1] / "docs/methods"


@pytest.mark.parametrize("name", method_names())
def test_a_method_is_a_documented_file_with_settings_that_have_defaults(name: str) -> None:
    """The docstring names its source; the settings extend MethodSettings, carry the file's name and can all be left out."""
    module = method_module(name)
    assert "arXiv" in (module.__doc__ or "")
    assert "Gradients stop" in module.__doc__
    assert issubclass(module.Settings, MethodSettings)
    assert module.Settings(name=name).name == name


@pytest.mark.parametrize("name", method_names())
def test_a_methods_page_lists_its_settings(name: str) -> None:
    """Each in a table of the page, and none that there is not."""
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {word for row in rows for word in re.findall(r"`([a-z_]+)`", row)}
    missing = method_module(name).Settings.model_fields.keys() - {"name"} - listed
    assert not missing, f"{name}.md has no row of {missing}"


@pytest.mark.parametrize("name", method_names())
def test_a_method_trains_a_student(name: str, tiny_images: Path, tmp_path: Path) -> None:
    """A few steps from the defaults end with a student folder and a loss that fell."""
    config = load_config(
        out=tmp_path / name,
        data=tiny_images,
        **{"student": "timm/mobilenetv3_small_050", **given(name)},
        size=32,
        embed_dim=8,
        steps=30,
        batch_size=16,
        workers=0,
        log_every=10,
    )
    run = train(config)
    assert load_student(run.student).embed_dim == 8
    losses = [
        line.split('"loss": ')[1].split(",")[0]
        for line in (run.folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert float(losses[-1]) < float(losses[0])
