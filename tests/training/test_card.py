"""The student's README.md says how it is loaded, what it is from and what licences ask, and says it truly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch

from alumnus.models.artifact import load_student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from tests.given import Colours


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Run:
    """A run of two teachers, one of random weights."""
    colours = {
        "model": Colours(),
        "name": "colours",
        "size": 32,
        "licence": "cc-by-nc-4.0",
        "domains": ["discs", "squares"],
    }
    return train(
        load_config(
            out=tmp_path_factory.mktemp("card") / "run",
            data=[str(tiny_images / domain) for domain in ("discs", "squares", "crosses")],
            student="timm/test_efficientnet",
            teachers=[
                colours,
                {"model": "timm/test_resnet", "weights": "random", "size": 32, "licence": "MIT"},
            ],
            size=32,
            embed_dim=8,
            steps=2,
            batch_size=6,
            workers=0,
            seed=5,
        )
    )


def test_the_card_says_what_the_student_is_from(run: Run) -> None:
    """Teachers with source, weights and licence; first weights, images by domain, steps and seed."""
    text = (run.student / "README.md").read_text()
    assert "| colours | python object tests.given.Colours | its own | discs, squares | cc-by-nc-4.0 |" in text
    assert re.search(r"\| test_resnet \| timm/test_resnet \| \*\*random\*\* \| all \| MIT \|", text)
    assert "- first weights: random\n" in text
    images = next(line for line in text.splitlines() if line.startswith("- images: "))
    assert re.match(r"- images: (\d+) for training; by domain ", images)
    assert all(re.search(rf"\b{domain} \d+\b", images) for domain in ("crosses", "discs", "squares"))
    assert "- steps: 2 of 6 images, seed 5\n" in text


def test_the_card_names_licences_that_ask_something_and_sets_none(run: Run) -> None:
    """A permissive one is in the table alone; the card's header names no licence of the student."""
    text = (run.student / "README.md").read_text()
    asked = text[text.index("## Licence") :]
    assert "the students that you train are yours" in asked
    assert "- teacher colours: the licence cc-by-nc-4.0 forbids commercial use" in asked
    assert "test_resnet" not in asked
    assert "license:" not in text.split("---")[1]


def test_what_the_card_says_of_timm_works(run: Run) -> None:
    """The line runs as it stands and gives the backbone's features, of the width that the card names."""
    text = (run.student / "README.md").read_text()
    line = next(line for line in text.splitlines() if "local-dir:" in line)
    named: dict[str, object] = {"timm": timm}
    exec(line.replace("path/to/this/folder", str(run.student)), named)
    backbone = named["backbone"]
    assert isinstance(backbone, torch.nn.Module)
    student = load_student(run.student)
    features = backbone(torch.zeros(1, 3, 32, 32))
    assert features.shape == (1, student.backbone_dim)
    assert f"# (B, {student.backbone_dim}) features" in text
    assert 'encoder.encode(["a.jpg"])  # (1, 8) float32, unit length' in text
