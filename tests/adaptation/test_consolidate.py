"""Two detectors into one: the loss against a naive reference, both teachers' classes are found, and what must not happen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alumnus.adaptation.artifact import HEAD, QUARANTINE
from alumnus.adaptation.consolidate import consolidate, consolidation_loss, said, targets
from alumnus.adaptation.run import adapt
from alumnus.adaptation.use import AdaptedDense, load_adapted
from alumnus.cli import run
from alumnus.data.dataset import write_dataset
from alumnus.data.objects import Objects
from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.dense.detection import score_detection
from alumnus.evaluation.dense.encode import StudentDense
from alumnus.models.artifact import save_student
from alumnus.models.detector import BACKGROUND, Detector, Raw
from alumnus.models.student import Architecture, Student

COLOURS = {
    "red": (220, 40, 40),
    "blue": (40, 40, 220),
    "green": (40, 200, 40),
    "white": (250, 250, 250),
    "black": (0, 0, 0),
}
OLD, NEW, FURTHER = ("blue", "red"), ("green", "white"), ("black",)  # in the order that `adapt` keeps
LEARN = {"steps": 60, "lr": 4e-3, "batch_size": 4, "workers": 0}
SMALL = {"steps": 2, "batch_size": 2, "workers": 0}


def _architecture(size: int = 32, patch: int = 8) -> Architecture:
    args = {"depth": 1, "embed_dim": 32, "num_heads": 2, "patch_size": patch}
    return Architecture(model="vit_tiny_patch16_224", size=size, embed_dim=8, model_args=args)


def _student(folder: Path, architecture: Architecture) -> Path:
    torch.manual_seed(0)
    return save_student(Student(architecture), folder)


def _draw(folder: Path, count: int, *, seed: int, names: Sequence[str]) -> tuple[list[str], list[Objects]]:
    """Pictures of 32 px, a square of 10 px in each half; labels are places among `names`."""
    folder.mkdir(parents=True)
    random, paths, found = np.random.default_rng(seed), list[str](), list[Objects]()
    for number in range(count):
        pixels = np.full((32, 32, 3), 90, np.uint8)
        boxes, labels = list[tuple[int, int, int, int]](), list[int]()
        for half in range(2):
            x, y = 16 * half + int(random.integers(0, 6)), int(random.integers(0, 22))
            labels.append(int(random.integers(len(names))))
            pixels[y : y + 10, x : x + 10] = COLOURS[names[labels[-1]]]
            boxes.append((x, y, 10, 10))
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
        found.append(Objects(np.array(boxes, np.float32), np.array(labels, np.int64)))
    return paths, found


def _dataset(folder: Path, names: Sequence[str], *, seed: int, count: int = 24) -> Path:
    paths, found = _draw(folder / "pictures", count, seed=seed, names=names)
    rows = [
        {
            "file_name": str(Path(path).relative_to(folder)),
            "split": "train",
            "objects": {"bbox": each.boxes.tolist(), "categories": [names[label] for label in each.labels]},
        }
        for path, each in zip(paths, found, strict=True)
    ]
    write_dataset(rows, folder)
    return folder


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector of red and blue, and one of green and white; each knows its own pictures alone."""
    folder = tmp_path_factory.mktemp("teachers")
    student = _student(folder / "student", _architecture())
    made = list[Path]()
    for number, names in enumerate((OLD, NEW)):
        data = _dataset(folder / f"data-{number}", names, seed=number)
        made.append(adapt(student, data=data, out=folder / str(number), method="finetune", **LEARN).folder)  # type: ignore[arg-type]
    return made[0], made[1]


@pytest.fixture(scope="module")
def auxiliary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other pictures with squares of all four colours, without a word on them."""
    folder = tmp_path_factory.mktemp("auxiliary") / "pictures"
    _draw(folder, 32, seed=5, names=(*OLD, *NEW))
    return folder


def _raw(random: torch.Generator, classes: int, *, images: int = 2, cells: int = 5) -> Raw:
    return Raw(
        torch.randn(images, cells, classes, generator=random),
        torch.rand(images, cells, 4, generator=random) * 3,
        torch.randn(images, cells, generator=random),
        torch.zeros(cells, 4),
    )


def _naive(student: Raw, old: Raw, new: Raw, *, num_cells: int, box_weight: float) -> float:
    """The formulas of the module, a cell at a time."""
    total = list[float]()
    for image in range(len(old.logits)):
        sure = [
            max([_share(y) for y in old.logits[image, cell]] + [_share(y) for y in new.logits[image, cell]])
            for cell in range(old.logits.shape[1])
        ]
        for cell in sorted(range(len(sure)), key=lambda cell: -sure[cell])[:num_cells]:
            wanted = list[float]()
            for teacher in (old, new):
                own = teacher.logits[image, cell].tolist()
                wanted += [y - sum(own) / len(own) + BACKGROUND for y in own]
            logits = student.logits[image, cell].tolist()
            squares = [(a - b) ** 2 for a, b in zip(logits, wanted, strict=True)]
            giver = old if old.logits[image, cell].max() >= new.logits[image, cell].max() else new
            box = sum(
                0.5 * gap**2 if gap < 1 else gap - 0.5
                for gap in (student.sides[image, cell] - giver.sides[image, cell]).abs().tolist()
            )
            said_, share = _share(student.centredness[image, cell]), _share(giver.centredness[image, cell])
            centred = -share * math.log(said_) - (1 - share) * math.log(1 - said_)
            total.append(sum(squares) / len(squares) + box_weight * (box + centred))
    return sum(total) / len(total)


def _share(logit: Tensor) -> float:
    return 1 / (1 + math.exp(-float(logit)))


@pytest.mark.parametrize("num_cells", [2, 5, 9])
def test_the_loss_is_that_of_the_formulas(num_cells: int) -> None:
    """Also with as many cells as there are, and with more asked for."""
    random = torch.Generator().manual_seed(0)
    old, new, student = (_raw(random, classes) for classes in (2, 3, 5))
    loss = consolidation_loss(student, targets(old, new, centre="group", num_cells=num_cells), box_weight=0.7)
    assert float(loss) == pytest.approx(
        _naive(student, old, new, num_cells=min(num_cells, 5), box_weight=0.7), rel=1e-5
    )


def test_a_case_by_hand() -> None:
    """Of three cells the first is the old teacher's, the second the new one's, the third is background and left out."""
    old = Raw(
        torch.tensor([[[3.0, -5.0], [-5.0, -5.0], [-6.0, -6.0]]]),
        torch.full((1, 3, 4), 1.0),
        torch.zeros(1, 3),
        torch.zeros(3, 4),
    )
    new = Raw(
        torch.tensor([[[-4.0, -6.0], [-7.0, 1.0], [-6.0, -6.0]]]),
        torch.full((1, 3, 4), 2.0),
        torch.ones(1, 3),
        torch.zeros(3, 4),
    )
    found = targets(old, new, centre="group", num_cells=2)
    assert found.cells.tolist() == [[0, 1]]
    expected = torch.tensor([[[4.0, -4.0, 1.0, -1.0], [0.0, 0.0, -4.0, 4.0]]]) + BACKGROUND
    torch.testing.assert_close(found.logits, expected)
    assert found.sides[0, :, 0].tolist() == [1.0, 2.0]
    assert found.centredness[0].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))])
    as_it_is = targets(old, new, centre="none", num_cells=2)
    torch.testing.assert_close(as_it_is.logits[0, 0], torch.tensor([3.0, -5.0, -4.0, -6.0]))


def test_an_offset_of_one_teachers_logits_changes_no_class_to_be_learnt() -> None:
    """Which is what centring is for; without it the offset is learnt."""
    random = torch.Generator().manual_seed(1)
    old, new = _raw(random, 2), _raw(random, 3)
    louder = new._replace(logits=new.logits + 2)
    for centre, is_same in (("group", True), ("none", False)):
        one, other = (targets(old, each, centre=centre, num_cells=5) for each in (new, louder))  # type: ignore[arg-type]
        places = [each.cells.argsort(1)[..., None].expand(-1, -1, 5) for each in (one, other)]
        logits = [each.logits.gather(1, place) for each, place in zip((one, other), places, strict=True)]
        assert torch.allclose(logits[0], logits[1], atol=1e-5) is is_same


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Detectors that have learnt next to nothing: `old`, `new`, `one` class, `overlap`, `larger` images, `coarser` cells."""
    folder = tmp_path_factory.mktemp("untrained")
    small, larger, coarser = _architecture(16, 8), _architecture(32, 8), _architecture(16, 16)
    made = dict[str, Path]()
    for name, classes, architecture in (
        ("old", OLD, small),
        ("new", NEW, small),
        ("one", FURTHER, small),
        ("overlap", ("blue", "green"), small),
        ("larger", NEW, larger),
        ("coarser", NEW, coarser),
    ):
        student = _student(folder / f"{name}-student", architecture)
        data = _dataset(folder / f"{name}-data", classes, seed=1, count=4)
        made[name] = adapt(student, data=data, out=folder / name, **{**SMALL, "steps": 1}).folder  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("new", "settings", "message"),
    [
        ("overlap", {}, r"know 'blue' both; consolidated are detectors without a common class"),
        ("one", {}, r"one knows 'black' alone, and centre=group .* Take centre=none"),
        ("larger", {}, r"images of 16 px and .*larger at images of 32 px"),
        ("coarser", {}, r"old has 21 cells of 4 px and more, .*coarser has 6 of 8 px and more"),
        ("new", {"num_cells": 0}, r"num_cells=0, box_weight=1.0: the first must be at least 1"),
        ("new", {"box_weight": -1.0}, r"box_weight=-1.0"),
        ("new", {"centre": "all"}, r"centre=all; allowed: .* centre group or none"),
        ("new", {"method": "prototype"}, r"method=prototype, .*allowed: method finetune or linear"),
        ("new", {"steps": 0}, r"steps and batch_size must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    new: str,
    settings: dict[str, object],
    message: str,
    untrained: dict[str, Path],
    auxiliary: Path,
    tmp_path: Path,
) -> None:
    """By name, before anything is read or written."""
    given: dict[str, object] = {**SMALL, **settings}
    with pytest.raises(ConfigError, match=message):
        consolidate(untrained["old"], untrained[new], data=auxiliary, out=tmp_path / "out", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_task_is_refused(
    untrained: dict[str, Path], auxiliary: Path, tmp_path: Path
) -> None:
    """And the way that there is for classifiers is told; nor is one of the two overwritten."""
    student = untrained["old"].parent / "old-student"
    classes = tmp_path / "classes"
    for name in OLD:
        _draw(classes / name, 3, seed=2, names=(name,))
    other = adapt(student, data=classes, out=tmp_path / "other", workers=0).folder
    with pytest.raises(ConfigError, match=r"other is a model of classification; .* method=dmc"):
        consolidate(untrained["old"], other, data=auxiliary, out=tmp_path / "out", **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"is one of the two models; choose another folder"):
        consolidate(untrained["old"], untrained["new"], data=auxiliary, out=untrained["new"], **SMALL)  # type: ignore[arg-type]


def test_old_weights_begin_and_a_seed_decides_the_rest(
    untrained: dict[str, Path], auxiliary: Path, tmp_path: Path
) -> None:
    """Same seed, same bytes; with a rate of next to nothing the old classes and the frozen backbone stay as they were."""
    pair = untrained["old"], untrained["new"]
    first, second, other = (
        consolidate(*pair, data=auxiliary, out=tmp_path / name, seed=seed, method="linear", lr=1e-9, **SMALL)  # type: ignore[arg-type]
        for name, seed in (("first", 0), ("second", 0), ("other", 1))
    )
    files = [(each.folder / HEAD).read_bytes() for each in (first, second, other)]
    assert files[0] == files[1] != files[2]
    old = load_adapted(pair[0], workers=0)
    assert isinstance(old, AdaptedDense)
    image = torch.randint(
        0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    before, after = (
        each.fitted.head.state_dict()["fcos.head.classification_head.cls_logits.weight"]
        for each in (old, first)
    )
    torch.testing.assert_close(after[:2], before, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        first.fitted.encoder.levels(image), old.fitted.encoder.levels(image), rtol=0, atol=0
    )


def test_no_teacher_gets_a_gradient(untrained: dict[str, Path]) -> None:
    """What it says is cut from its weights, and it is in eval mode."""
    loaded = load_adapted(untrained["old"], workers=0)
    assert isinstance(loaded, AdaptedDense)
    encoder, head = loaded.fitted.encoder, loaded.fitted.head
    assert isinstance(encoder, StudentDense)
    assert isinstance(head, Detector)
    found = said(encoder, head, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert not any(part.requires_grad for part in found)
    assert not head.training


def test_a_student_of_ones_own_and_the_next_increment(
    untrained: dict[str, Path], auxiliary: Path, tmp_path: Path
) -> None:
    """A new head on another backbone; what comes out is the next step's old detector, and one class joins without centring."""
    architecture = Architecture(
        "vit_tiny_patch16_224", 16, 8, {**_architecture(16).model_args, "embed_dim": 48}
    )
    student = _student(tmp_path / "student", architecture)
    first = consolidate(
        untrained["old"],
        untrained["new"],
        data=auxiliary,
        out=tmp_path / "1",
        student=student,
        **SMALL,  # type: ignore[arg-type]
    )
    assert first.fitted.encoder.grids[0].dim == 48
    second = consolidate(
        first.folder,
        untrained["one"],
        data=auxiliary,
        out=tmp_path / "2",
        centre="none",
        **SMALL,  # type: ignore[arg-type]
    )
    assert second.about.classes == (*OLD, *NEW, *FURTHER)
    assert second.fitted.encoder.grids[0].dim == 48


def test_unreadable_images_are_set_aside_and_too_many_stop_it(
    untrained: dict[str, Path], tmp_path: Path
) -> None:
    """Their names are in the folder; nothing is written if there are too many."""
    folder = tmp_path / "pictures"
    _draw(folder, 5, seed=4, names=OLD)
    (folder / "bad.png").write_bytes(b"no picture")
    pair, words = (untrained["old"], untrained["new"]), {"data": folder, **SMALL}
    found = consolidate(*pair, out=tmp_path / "out", max_bad_fraction=0.5, **words)  # type: ignore[arg-type]
    assert (found.about.num_train, found.about.num_bad) == (6, 1)
    assert "bad.png" in (tmp_path / "out" / QUARANTINE).read_text()
    with pytest.raises(DataError, match="bad"):
        consolidate(*pair, out=tmp_path / "none", **words)  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()


def test_the_command_writes_a_folder_that_predicts(
    untrained: dict[str, Path], auxiliary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path is the one line on standard output; objects come out in the words of both."""
    out = tmp_path / "both"
    words = [str(untrained["old"]), str(untrained["new"]), f"data={auxiliary}", f"out={out}"]
    assert run(["consolidate", *words, "steps=2", "batch_size=2", "workers=0"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    table = tmp_path / "objects.csv"
    assert run(["predict", str(out), str(auxiliary), f"out={table}", "workers=0"]) == 0
    lines = table.read_text().splitlines()
    assert lines[0].startswith("file_name,label,score")
    assert {line.split(",")[1] for line in lines[1:]} <= {*OLD, *NEW}
    assert len(lines) > 1


def _precision(adapted: AdaptedDense, paths: list[str], objects: list[Objects]) -> NDArray[np.float64]:
    return score_detection(adapted.fitted, paths, objects, num_classes=4, resamples=0).per_class


def test_one_detector_finds_the_classes_of_both(
    teachers: tuple[Path, Path], auxiliary: Path, tmp_path: Path
) -> None:
    """In pictures of all colours, which neither teacher has learnt from."""
    pytest.importorskip("pycocotools")
    paths, objects = _draw(tmp_path / "test", 12, seed=9, names=(*OLD, *NEW))
    before = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in teachers]
    found = consolidate(*teachers, data=auxiliary, out=tmp_path / "both", **LEARN)  # type: ignore[arg-type]
    assert found.about.classes == (*OLD, *NEW)
    assert [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in teachers] == before
    both = _precision(found, paths, objects)
    old = load_adapted(teachers[0], workers=0)
    assert isinstance(old, AdaptedDense)
    alone = _precision(old, paths, objects)
    assert both.min() > 0.1
    assert both.mean() > alone.mean() + 0.1
    assert alone[2:].max() == 0  # it has no such classes
