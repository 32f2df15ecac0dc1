"""The contract of methods: ours keep it, and what breaks it is told by name."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from alumnus.contract import check_method
from alumnus.errors import ConfigError
from alumnus.models.assistant import AssistantShape
from alumnus.models.student import Architecture
from alumnus.objective import TeacherWidth
from alumnus.training.method import method_names

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods" / "add-a-method.md"
LOGITS = {"a": TeacherWidth(3, 1.0, output="logits"), "b": TeacherWidth(2, 1.0, output="logits")}
LAYER = {"layer": TeacherWidth(12, 1.0, output="layer:x", grid=(4, 12)), "end": TeacherWidth(5, 1.0)}
SMALL = {"channels": [4, 8, 8, 8]}
SPLIT = Architecture("resnet10t", 64, 6, SMALL, assistant=AssistantShape("resnet10t", 12, SMALL))
VIT = Architecture("test_vit", 32, 6)
GIVEN: dict[
    str, dict[str, Any]
] = {  # what each method is tried with, where it is not two teachers of features
    "agglomerate": {"teachers": {"a": TeacherWidth(12, 1.0, grid=(4, 8)), "b": TeacherWidth(5, 1.0)}},
    "attention_transfer": {"teachers": LAYER, "student": VIT},
    "cfl": {"teachers": {"x": TeacherWidth(12, 1.0), "y": TeacherWidth(5, 1.0), **LOGITS}},
    "dmc": {"teachers": LOGITS},
    "fitnets": {"teachers": LAYER, "student": VIT},
    "kd": {"teachers": {"a": LOGITS["a"]}},
    "rkd": {"teachers": {"a": TeacherWidth(12, 1.0)}, "student": SPLIT},
    "supervised": {"teachers": {}},
}
OWN = """
import copy
import torch
from torch import nn
from alumnus.objective import MethodSettings, Objective
from alumnus.types import Terms

class Settings(MethodSettings):
    pass

def build(settings, setup):
    return Own(setup)

class Own(Objective):
    def __init__(self, setup):
        super().__init__()
        self.setup = setup
        self.names = list(setup.teachers)
        self.project = nn.ModuleDict({n: nn.Linear(setup.embed_dim, t.num_features) for n, t in setup.teachers.items()})
        self.seen = []
        self.register_buffer("bank", torch.zeros(setup.num_images, setup.embed_dim))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("flat", None)
        self.sigma = nn.Parameter(torch.ones(()))
        self.classes_of_first = next(iter(setup.num_classes.values()))

    def forward(self, student, batch, targets, progress):
        embedding = student(batch.image).embedding
        total = 0 * embedding.sum()
        per_sample = embedding.new_zeros(len(embedding))
        report = {}
        for name, (features, places) in targets.items():
            if len(places) == 0:
                continue
            wanted = features.summary.detach()
            distance = (self.project[name](embedding[places]) - wanted).square().mean(1).float()
            total = total + distance.mean()
            per_sample = per_sample.float().index_add(0, places, distance.detach())
        total = total * self.sigma + torch.log(self.sigma)
        with torch.no_grad():
            self.bank = self.bank.index_copy(0, batch.row, embedding.float().detach())
            self.calls = self.calls + 1
        #
        return Terms(total, report, per_sample)
"""


@pytest.mark.parametrize("name", method_names())
def test_our_methods_keep_it(name: str) -> None:
    """With their defaults."""
    check_method(name, **GIVEN.get(name, {}))


def _own(folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str]) -> str:
    assert change[0] in OWN
    name = "own_method"
    (folder / f"{name}.py").write_text(OWN.replace(*change, 1))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_somebodys_own_method_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank of all training images, as big as `setup.num_images` says."""
    check_method(_own(tmp_path, monkeypatch, ("#", "#")))


def test_a_penalty_that_counts_once_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is told: its value in every process, its gradient by shares."""
    penalty = "sum(p.square().sum() for p in student.parameters())"
    share = "len(batch.image) / len(batch.row)"
    once = f"p = {penalty}; total = total + torch.lerp(p.detach(), p, {share})"
    check_method(_own(tmp_path, monkeypatch, ("#", once)))


def test_draws_for_each_image_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made for the whole batch, of which a process takes its rows."""
    flip = "flip = (torch.rand(len(batch.row)) < 0.5)[batch.own]"
    image = "torch.where(flip[:, None, None, None], batch.image.flip(-1), batch.image)"
    check_method(
        _own(tmp_path, monkeypatch, ("#", f"{flip}; total = total + student({image}).embedding.std()"))
    )


def test_views_that_follow_from_what_was_gathered_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call of the student, on images that the first one's whole output decides on."""
    second = "first = student(batch.image).embedding; total = total + student(batch.image + (first.std() > 0.3)).embedding.std()"
    check_method(_own(tmp_path, monkeypatch, ("#", second)))


def test_a_moving_average_as_the_page_keeps_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of docs/methods/add-a-method.md, and a term that they are for."""
    (lines,) = [
        block for block in PAGE.read_text(encoding="utf-8").split("```\n") if block.startswith("named = ")
    ]
    lines += "total = total + (embedding - wanted).square().mean()"
    check_method(_own(tmp_path, monkeypatch, ("#", indent(lines, " " * 8).strip())))


def test_a_gradient_that_reaches_patches_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that reaches summaries."""
    method = _own(tmp_path, monkeypatch, ("#", "total = total + features.patches.mean() * embedding.sum()"))
    grids = {"a": TeacherWidth(12, 1.0, grid=(4, 12))}
    with pytest.raises(ConfigError, match="a gradient reaches what a teacher said"):
        check_method(method, teachers=grids)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("if len(places) == 0", "if False"), r"n = 0\): the loss is nan"),
        (
            ("features.summary.detach()", "features.summary"),
            "a gradient reaches what a teacher said; detach it",
        ),
        (
            ("total = total + distance.mean()", "total = total + self.project[name].weight.sum()"),
            "of the student is 0: it would learn nothing",
        ),
        (
            ("total = 0 * embedding.sum()", "total = self.project[self.names[0]].weight.sum()"),
            r"n = 0\): the loss depends on no",
        ),
        (
            ("#", "per_sample = batch.image.float().mean((1, 2, 3))"),
            r"two processes.*per_sample has the shape \(4,\)",
        ),
        (
            ("distance.mean()", "distance.sum() / len(batch.image)"),
            "two processes.*the losses of the two are .* take the number of images from batch.row",
        ),
        (
            ("#", "total = total * (1 + batch.image.float().mean())"),
            "two processes.*give batch.image to the student and to nothing else",
        ),
        (
            ("#", "torch.rand(len(batch.image)); total = total * torch.rand(())"),
            "two processes.*draw random numbers for all of them",
        ),
        (
            (
                "student(batch.image).embedding",
                "student(torch.cat([batch.image, batch.image.flip(-1)])).embedding[: len(batch.row)]",
            ),
            "two processes.*was given 8 images, this process's share of a batch is 4",
        ),
        (
            ("#", "total = total + 1e-2 * sum(p.square().sum() for p in student.parameters())"),
            r"two processes.*add up to another one .*torch\.lerp",
        ),
        (
            ("#", "self.seen.append(1); total = total * len(self.seen)"),
            r"after a stop and a resume: the losses are \[",
        ),
        (
            (
                "#",
                "before = [e for rows, e in self.seen if torch.equal(rows, batch.row)]\n"
                "        total = total + sum((embedding - e).square().mean() for e in before)\n"
                "        self.seen.append((batch.row, embedding.detach()))",
            ),
            r"after a stop and a resume: the losses are \[",
        ),
        (
            ("distance.mean()", "distance.mean() * (1 + (name == self.names[0]))"),
            "in another order: the loss is",
        ),
        ((".mean(1).float()", ".mean(1).bfloat16().float().numpy()"), r"on all images: .*numpy"),
        (
            ("wanted = features.summary.detach()", "wanted = features.summary.detach().mul_(2)"),
            r"on all images: method=own_method: changes what teacher wide said in place; work on a copy",
        ),
        (
            (
                "wanted = features.summary.detach()",
                "wanted = features.summary.detach() / (len(places) - 1)",
            ),
            r"on one image \(n = 1\): the loss is inf.*\nwith the first teacher trusted on one image, .* the loss is inf",
        ),
        (("#", "assert (batch.label >= 0).all() or (batch.label < 0).all()"), "two domains, some without"),
        (("#", "assert (batch.label < self.classes_of_first).all()"), "two domains, some without"),
        (
            ("#", "total = total + self.project[self.names[0]].bias.log().sum()"),
            "in another order: the loss is nan in one order and nan in the other",
        ),
        (
            ("#", "self.copied = copy.deepcopy(student)"),
            r"on all images: .*objective has \(copied, copied\.backbone, .* and \d+ more\).*begins as None.* \(and so in \d+ other",
        ),
        (("#", "batch.label.clamp_(min=0)"), "changes the batch's label in place; work on a copy"),
        (("report = {}", "report = {'loss': total.detach()}"), "the report's loss would stand in the log"),
        (("return Own(setup)", "Own(setup)"), "build returned a NoneType"),
    ],
)
def test_what_breaks_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], words: str
) -> None:
    """By what was tried when it showed."""
    with pytest.raises(ConfigError, match=words):
        check_method(_own(tmp_path, monkeypatch, change))


def test_a_setup_that_the_method_refuses_is_told_as_in_a_run() -> None:
    """It is no breach."""
    with pytest.raises(ConfigError, match=r"^method=kd|logits") as told:
        check_method("kd")
    assert "contract" not in str(told.value)
    with pytest.raises(ConfigError, match="weigth: unknown setting"):
        check_method({"name": "agglomerate", "weigth": 1}, **GIVEN["agglomerate"])
