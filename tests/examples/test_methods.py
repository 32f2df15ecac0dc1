"""The example method: a file of somebody else's, by its formula and in a run; and the page that shows it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alumnus.contract import check_method
from alumnus.errors import ConfigError
from alumnus.models.student import StudentOutput
from alumnus.objective import Setup, TeacherWidth
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.types import Batch, Features, Target

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "methods"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods" / "add-a-method.md"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PYTHONPATH=examples makes it."""
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))


def _similarity() -> Any:
    return importlib.import_module("methods.similarity")


class Thumbnails(nn.Module):
    """A teacher that sees sixteen pixels."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 48)."""
        return nn.functional.adaptive_avg_pool2d(image, 4).flatten(1)


class Fixed(nn.Module):
    """A student that says the same whatever it is shown."""

    def __init__(self, embedding: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Parameter(embedding)

    def forward(self, image: Tensor) -> StudentOutput:
        """Ignores the images."""
        return StudentOutput(features=Features(self.embedding), embedding=self.embedding)


def test_the_loss_is_the_papers() -> None:
    """|G_T - G_S|^2 / n^2 over the trusted images, worked out with loops; teachers share by weight; only the student has a gradient."""
    draw = np.random.default_rng(0)
    said = draw.normal(size=(6, 5)).astype(np.float32)
    wanted = {"a": draw.normal(size=(6, 7)), "b": draw.normal(size=(3, 4))}
    places = {"a": [0, 1, 2, 3, 4, 5], "b": [1, 3, 4]}
    weights = {"a": 1.0, "b": 3.0}
    setup = Setup(5, 5, {name: TeacherWidth(wanted[name].shape[1], weights[name]) for name in wanted}, {})
    objective = _similarity().build(_similarity().Settings(factor=2.0), setup)
    student = Fixed(torch.from_numpy(said))
    features = {
        name: torch.tensor(each, dtype=torch.float32, requires_grad=True) for name, each in wanted.items()
    }
    targets = {name: Target(Features(features[name]), torch.tensor(places[name])) for name in wanted}
    nothing = torch.zeros(6, dtype=torch.int64)
    batch = Batch(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), {}, *(nothing,) * 5)

    terms = objective(student, batch, targets, 0.0)
    terms.loss.backward()

    each = {name: _naive(said[places[name]], wanted[name]) for name in wanted}
    assert float(terms.loss.detach()) == pytest.approx(2.0 * (each["a"] + 3 * each["b"]) / 4, rel=1e-5)
    assert float(terms.report["loss/b"]) == pytest.approx(each["b"], rel=1e-5)
    assert student.embedding.grad is not None
    assert student.embedding.grad.abs().sum() > 0
    assert all(feature.grad is None for feature in features.values())


def test_it_keeps_the_contract() -> None:
    """As its page shows."""
    check_method({"name": "methods.similarity", "factor": 300.0})


def test_it_is_found_by_its_path_and_trains(tiny_images: Path, tmp_path: Path) -> None:
    """`method=methods.similarity` with a setting of its own: the loss falls, and the student says which method made it."""
    run = train(_config(tmp_path / "run", tiny_images, steps=30))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    about = json.loads((run.student / "alumnus.json").read_text())
    assert about["provenance"]["method"] == {"name": "methods.similarity", "factor": 300.0}


def test_in_bfloat16_similarities_stay_float32() -> None:
    """Under autocast the loss is that of float32, and a gradient comes."""
    objective = _similarity().build(
        _similarity().Settings(factor=1.0), Setup(5, 5, {"a": TeacherWidth(5, 1.0)}, {})
    )
    student, nothing = Fixed(torch.randn(6, 5)), torch.zeros(6, dtype=torch.int64)
    batch = Batch(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), {}, *(nothing,) * 5)
    targets = {"a": Target(Features(student.embedding.detach() + 1e-3 * torch.randn(6, 5)), torch.arange(6))}
    plain = objective(student, batch, targets, 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        low = objective(student, batch, targets, 0.0)
    assert float(low.loss.detach()) == pytest.approx(float(plain.loss.detach()), rel=1e-5)
    low.loss.backward()


def test_a_setting_that_it_lacks_is_refused(tiny_images: Path, tmp_path: Path) -> None:
    """As with methods of our own, before anything is written."""
    with pytest.raises(ConfigError, match="gamma"):
        _config(tmp_path / "run", tiny_images, method={"name": "methods.similarity", "gamma": 1.0})
    assert not (tmp_path / "run").exists()


def test_without_teachers_it_says_what_it_needs() -> None:
    """The message names the setting to give."""
    with pytest.raises(ConfigError, match="give `teachers`"):
        _similarity().build(_similarity().Settings(), Setup(5, 5, {}, {}))


def test_the_page_shows_the_file_as_it_is() -> None:
    """Each block of code in the page stands in the example, so that the page cannot fall behind."""
    source = (EXAMPLES / "similarity.py").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in PAGE.read_text(encoding="utf-8").split("```python\n")[1:]]
    assert len(blocks) >= 2
    for block in blocks:
        assert block.strip() in source


def _naive(said: np.ndarray, wanted: np.ndarray) -> float:
    count = len(said)
    grams = []
    for vectors in (said, wanted):
        gram = [[float(a @ b) for b in vectors] for a in vectors]
        grams.append([[value / sum(x * x for x in row) ** 0.5 for value in row] for row in gram])
    differences = [(grams[0][i][j] - grams[1][i][j]) ** 2 for i in range(count) for j in range(count)]
    return float(sum(differences) / count**2)


def _config(out: Path, data: Path, **changed: object) -> Config:
    given: dict[str, Any] = {
        "out": out,
        "data": data,
        "student": "timm/mobilenetv3_small_050",
        "teachers": [{"model": Thumbnails(), "name": "thumbnails", "size": 32}],
        "method": {"name": "methods.similarity", "factor": 300.0},
        "size": 32,
        "embed_dim": 8,
        "batch_size": 16,
        "workers": 0,
        "log_every": 10,
    }
    return load_config(**given | changed)
