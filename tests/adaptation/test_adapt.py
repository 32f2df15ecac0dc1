"""From a student folder and a few images to a folder that predicts: every task, every method, and what must not happen."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from alumnus.adaptation.artifact import ABOUT, HEAD, QUARANTINE, TEST
from alumnus.adaptation.run import adapt
from alumnus.adaptation.use import AdaptedClassifier, AdaptedDense, load_adapted, predict
from alumnus.cli import run
from alumnus.data.dataset import open_dataset
from alumnus.data.dense import read_depth, read_mask
from alumnus.data.loader import Bad
from alumnus.errors import ArtifactError, ConfigError, DataError
from alumnus.merging import merge
from alumnus.models.artifact import STALE, load_student, read_about, save_student, stale_embedding
from alumnus.models.assistant import AssistantShape
from alumnus.models.student import Student
from alumnus.scoring import evaluate
from tests.adaptation.made import FAST, VIT
from tests.evaluation.dense.shapes import METRES


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("method", ["linear", "prototype", "finetune"])
def test_an_adapted_model_comes_back_from_its_folder_as_it_was(
    method: str, student: Path, discs: Path, tmp_path: Path
) -> None:
    """Its test accuracy is recomputed from fresh predictions of the loaded folder; colours are easy for any method."""
    settings = {**FAST, "patience": 5} if method == "finetune" else {}
    adapted = adapt(student, data=discs, out=tmp_path / "out", method=method, workers=0, **settings)  # type: ignore[arg-type]
    data = open_dataset(discs).select(split="test")
    loaded = load_adapted(tmp_path / "out")
    assert isinstance(loaded, AdaptedClassifier)
    labels = loaded.predict(data.paths, workers=0)
    true = [data.classes[0][label] for label in data.label]
    right = np.mean([one == other for one, other in zip(labels.label, true, strict=True)])
    assert adapted.about.scores["top1"].mean == pytest.approx(right)
    assert right > 0.6  # chance is 1/6
    np.testing.assert_allclose(labels.probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(labels.probability, labels.probabilities.max(1))
    rows = _table(tmp_path / "out" / TEST)
    assert [row["label"] for row in rows] == labels.label
    assert [row["true"] for row in rows] == true
    assert loaded.about == adapted.about
    assert (loaded.about.num_train, loaded.about.num_test) == (18, 12)


@pytest.mark.parametrize("method", ["linear", "finetune", "prototype"])
def test_a_linear_classifier_is_the_students_own(
    method: str, student: Path, discs: Path, tmp_path: Path
) -> None:
    """So the folder teaches logits, those that it predicts with; class means are no linear classifier, and an older one is not kept."""
    older = load_student(student)
    older.classify({"old": 3})
    save_student(older, tmp_path / "older")
    settings: dict[str, Any] = {"method": method, **(FAST if method == "finetune" else {})}
    adapted = adapt(tmp_path / "older", data=discs, out=tmp_path / "out", workers=0, **settings)
    found = load_student(tmp_path / "out")
    if method == "prototype":
        assert found.classes == {}
        return
    assert isinstance(adapted, AdaptedClassifier)
    image = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        logits = found(image).logits
        torch.testing.assert_close(logits, adapted.model(image), rtol=1e-4, atol=1e-4)
    assert list(found.classes.values()) == [len(adapted.about.classes)]


def test_only_finetuning_moves_the_backbone(student: Path, discs: Path, tmp_path: Path) -> None:
    """And the folder is a student folder in every case."""
    before = load_student(student).state_dict()
    for method in ("linear", "prototype", "finetune"):
        settings = {**FAST, "lr": 1e-2} if method == "finetune" else {}
        adapt(student, data=discs, out=tmp_path / method, method=method, workers=0, **settings)
        after = load_student(tmp_path / method).state_dict()
        moved = any(not torch.equal(before[name], after[name]) for name in before)
        chosen = json.loads((tmp_path / method / ABOUT).read_text())["settings"].get("best_step", 0)
        assert moved == (chosen > 0)


def test_from_scratch_the_weights_are_those_of_the_seed(student: Path, discs: Path, tmp_path: Path) -> None:
    """The same seed gives the same, another one another; none of them the student's."""
    heads = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        adapt(student, data=discs, out=tmp_path / name, start="scratch", seed=seed, workers=0)
        heads[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert heads["a"] == heads["b"] != heads["c"]
    assert heads["a"] != (student / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "a" / ABOUT).read_text())["provenance"]["student"] is None


def test_a_fraction_of_the_labels_keeps_every_class(student: Path, discs: Path, tmp_path: Path) -> None:
    """A tenth of three images is one; nothing can then be held out, and all methods work all the same."""
    for method in ("linear", "prototype", "finetune"):
        settings = FAST if method == "finetune" else {}
        about = adapt(
            student,
            data=discs,
            out=tmp_path / "out",
            method=method,
            fraction=0.1,
            workers=0,
            **settings,
        ).about
        assert (about.num_train, len(about.classes), about.held_out) == (6, 6, None)


def test_the_test_part_has_no_say(student: Path, discs: Path, tmp_path: Path) -> None:
    """With other test labels the same tensors are learnt."""
    other = tmp_path / "other"
    shutil.copytree(discs, other)
    (other / "test" / "red").rename(other / "test" / "swap")
    (other / "test" / "blue").rename(other / "test" / "red")
    (other / "test" / "swap").rename(other / "test" / "blue")
    for method in ("linear", "prototype", "finetune"):
        settings = FAST if method == "finetune" else {}
        for name, data in (("one", discs), ("two", other)):
            adapt(student, data=data, out=tmp_path / name, method=method, workers=0, **settings)
        for name in (HEAD, "model.safetensors"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_test_images_of_unknown_classes_are_counted_not_scored(
    student: Path, discs: Path, tmp_path: Path
) -> None:
    """Two of twelve; without any test image there is no score."""
    data = tmp_path / "data"
    shutil.copytree(discs, data)
    (data / "test" / "red").rename(data / "test" / "a colour nobody learnt")
    about = adapt(student, data=data, out=tmp_path / "out", workers=0).about
    assert about.num_test == 10
    assert "2 of 12" in about.note
    shutil.rmtree(data / "test")
    about = adapt(student, data=data, out=tmp_path / "out", workers=0).about
    assert about.scores == {}
    assert "no test image" in about.note
    assert not (tmp_path / "out" / TEST).exists()


def test_bad_images_are_listed_and_in_the_test_part_count_as_wrong(
    student: Path, discs: Path, tmp_path: Path
) -> None:
    """One broken file on either side, and one given to predict."""
    data = tmp_path / "data"
    shutil.copytree(discs, data)
    (data / "train" / "red" / "x.png").write_bytes(b"no image")
    (data / "test" / "red" / "x.png").write_bytes(b"no image")
    adapted = adapt(student, data=data, out=tmp_path / "out", workers=0, max_bad_fraction=0.2)
    assert adapted.about.num_bad == 2
    listed = (tmp_path / "out" / QUARANTINE).read_text().splitlines()
    assert {json.loads(line)["file_name"] for line in listed} == {"train/red/x.png", "test/red/x.png"}
    rows = _table(tmp_path / "out" / TEST)
    assert adapted.about.scores["top1"].mean == pytest.approx(
        np.mean([r["label"] == r["true"] for r in rows])
    )
    assert [row["label"] for row in rows if row["file_name"] == "test/red/x.png"] == [""]

    out = predict(tmp_path / "out", data / "test", tmp_path / "labels.csv", workers=0)
    assert len(_table(out)) == 12
    assert len((tmp_path / "labels.csv.quarantine.jsonl").read_text().splitlines()) == 1
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="not one"):
        predict(tmp_path / "out", tmp_path / "bad", tmp_path / "labels.csv", workers=0)


@pytest.mark.parametrize(("method", "settings"), [("linear", {}), ("prototype", {}), ("finetune", FAST)])
def test_a_class_without_a_readable_image_is_left_out_and_told(
    student: Path, discs: Path, tmp_path: Path, method: str, settings: dict[str, int]
) -> None:
    """Its test images are not scored as wrong."""
    data = shutil.copytree(discs, tmp_path / "data")
    for path in (data / "train" / "red").iterdir():
        path.write_bytes(b"no image")
    about = adapt(
        student,
        data=data,
        out=tmp_path / "out",
        method=method,  # type: ignore[arg-type]
        workers=0,
        max_bad_fraction=0.2,
        **settings,  # type: ignore[arg-type]
    ).about
    assert about.num_test == 10
    assert "2 of 12 test images" in about.note
    assert "(red)" in about.note
    assert {row["true"] for row in _table(tmp_path / "out" / TEST)} == set(about.classes) - {"red"}


@pytest.mark.parametrize(("method", "settings"), [("linear", {}), ("finetune", FAST)])
def test_too_many_bad_test_images_cost_the_scores_not_the_model(
    student: Path, discs: Path, tmp_path: Path, method: str, settings: dict[str, int]
) -> None:
    """What was trained is written, all bad images are listed, and the note says why there is no score."""
    data = shutil.copytree(discs, tmp_path / "data")
    for path in sorted((data / "test").glob("*/*.png"))[:4]:
        path.write_bytes(b"no image")
    adapted = adapt(student, data=data, out=tmp_path / "out", method=method, workers=0, **settings)  # type: ignore[arg-type]
    assert isinstance(adapted, AdaptedClassifier)
    assert adapted.about.scores == {}
    assert "not scored: " in adapted.about.note
    assert "max_bad_fraction=0.05" in adapted.about.note
    assert adapted.about.num_bad == len((tmp_path / "out" / QUARANTINE).read_text().splitlines()) == 4
    assert adapted.predict([next((data / "train" / "red").iterdir())], workers=0).label[0] is not None


def test_bad_images_are_counted_alike_by_every_method(student: Path, discs: Path, tmp_path: Path) -> None:
    """One of 18 to learn from is more than 5 %, of all 30 it is not."""
    data = shutil.copytree(discs, tmp_path / "data")
    next((data / "train" / "red").iterdir()).write_bytes(b"no image")
    for method, settings in (("linear", {}), ("prototype", {}), ("finetune", FAST)):
        about = adapt(student, data=data, out=tmp_path / method, method=method, workers=0, **settings).about  # type: ignore[arg-type]
        assert about.num_bad == 1


def test_parquet_holds_all_probabilities(student: Path, discs: Path, tmp_path: Path) -> None:
    """A column of lists, in the order of the classes."""
    adapted = adapt(student, data=discs, out=tmp_path / "out", workers=0)
    table = pq.read_table(predict(tmp_path / "out", discs / "test", tmp_path / "labels.parquet", workers=0))
    shares = np.array(table["probabilities"].to_pylist())
    assert shares.shape == (12, 6)
    assert table["label"].to_pylist() == [adapted.about.classes[place] for place in shares.argmax(1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "linear", "steps": 5}, "no effect"),
        ({"method": "prototype", "lr": 0.1}, "no effect"),
        ({"head": "decoder"}, "no effect"),
        ({"fraction": 0.0}, "fraction"),
        ({"split": "train+test", "test_split": "test"}, "share"),
        ({"method": "finetun"}, "method=finetun is none; did you mean 'finetune'"),
        ({"start": "scrach"}, "start=scrach is none; did you mean 'scratch'"),
        ({"head": "decode"}, "head=decode is none; did you mean 'decoder'"),
        ({"resamples": 0}, "resamples=0 must be 1 at least"),
        ({"method": "finetune", "batch_size": 0}, "batch_size=0 must be 1 at least"),
        ({"method": "finetune", "lr": float("nan")}, "lr=nan must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: dict[str, object], message: str, student: Path, discs: Path, tmp_path: Path
) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigError, match=message):
        adapt(student, data=discs, out=tmp_path / "out", workers=0, **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_several_domains_ask_for_one(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """The message names them; with one it works."""
    data = [str(tiny_images / name) for name in ("discs", "squares")]
    with pytest.raises(DataError, match=r"discs, squares.*domain=discs"):
        adapt(student, data=data, out=tmp_path / "out", workers=0)
    about = adapt(student, data=data, out=tmp_path / "out", domain="squares", workers=0).about
    assert (about.domain, about.num_train) == ("squares", 30)


def test_foreign_folders_are_never_touched(student: Path, discs: Path, tmp_path: Path) -> None:
    """Neither others' folders, nor an adapted model with a file of the user's in it; an adapted model alone is replaced."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match=r"thesis\.txt"):
        adapt(student, data=discs, out=out, workers=0)
    (out / "thesis.txt").unlink()
    adapt(student, data=discs, out=out, workers=0)
    adapt(student, data=discs, out=out, method="prototype", workers=0)
    assert load_adapted(out).about.method == "prototype"
    (out / "labels.csv").write_text("mine")
    with pytest.raises(ArtifactError, match=r"labels\.csv"):
        adapt(student, data=discs, out=out, workers=0)
    with pytest.raises(ArtifactError):
        adapt(student, data=discs, out=student.parent, workers=0)
    with pytest.raises(ConfigError, match="itself"):
        adapt(out, data=discs, out=out, workers=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_damaged_folders_say_so(student: Path, discs: Path, tmp_path: Path) -> None:
    """A plain student, a torn JSON, a head of another size."""
    with pytest.raises(ArtifactError, match="not an adapted model"):
        load_adapted(student)
    out = tmp_path / "out"
    adapt(student, data=discs, out=out, workers=0)
    text = (out / ABOUT).read_text()
    for wrong, message in (
        (text[:50], "damaged"),
        (text.replace('"version": 1', '"version": 9'), "version 9"),
        (text.replace('"red",', ""), "does not fit"),
        (text.replace('"kind": "linear"', '"kind": "os.system"'), "is no classifier"),
    ):
        assert wrong != text
        (out / ABOUT).write_text(wrong)
        with pytest.raises(ArtifactError, match=message):
            load_adapted(out)
    (out / ABOUT).write_text(text)
    (out / HEAD).write_bytes(b"torn")
    with pytest.raises(ArtifactError, match="safetensors"):
        load_adapted(out)


@pytest.mark.parametrize("is_old", [False, True])
def test_an_adapted_student_is_evaluated_as_any(
    student: Path, discs: Path, tmp_path: Path, is_old: bool
) -> None:
    """Its embedding, by `evaluate`; a folder of before data had a place of its own in the provenance, too."""
    out = tmp_path / "out"
    adapt(student, data=discs, out=out, method="finetune", steps=4, batch_size=8, workers=0)
    if is_old:
        about = json.loads((out / "alumnus.json").read_text())
        about["provenance"]["data"] = "0123"
        (out / "alumnus.json").write_text(json.dumps(about))
    assert 0 <= evaluate(out, data=discs, workers=0, knn=False)["merged/R@1"] <= 1


def test_an_adapted_model_can_be_adapted_again(student: Path, discs: Path, tmp_path: Path) -> None:
    """It is a student folder."""
    adapt(student, data=discs, out=tmp_path / "one", workers=0)
    about = adapt(tmp_path / "one", data=discs, out=tmp_path / "two", method="prototype", workers=0).about
    assert about.provenance["student"]["student"] == {"from": "a test"}


def test_vectors_that_mean_nothing_stay_so_in_what_is_made_of_them(
    student: Path, discs: Path, tmp_path: Path
) -> None:
    """Whose backbone was fine-tuned once has no embedding any more, whatever is learnt on it next; random weights begin anew."""
    adapt(student, data=discs, out=tmp_path / "tuned", method="finetune", workers=0, **FAST)
    adapt(tmp_path / "tuned", data=discs, out=tmp_path / "on-it", workers=0)
    adapt(student, data=discs, out=tmp_path / "linear", workers=0)
    found = {
        name: read_about(tmp_path / name)["provenance"].get(STALE) for name in ("tuned", "on-it", "linear")
    }
    assert "its backbone was fine-tuned" in found["tuned"]
    assert found == {"tuned": found["tuned"], "on-it": found["tuned"], "linear": None}
    merged = merge([tmp_path / "linear", tmp_path / "on-it"], out=tmp_path / "merged")
    assert read_about(merged)["provenance"][STALE] == found["tuned"]
    assert f"the vectors of {merged} mean nothing: its backbone was fine-tuned" in str(
        stale_embedding(merged)
    )


def test_classifiers_of_different_classes_are_not_merged(student: Path, discs: Path, tmp_path: Path) -> None:
    """Of as many, in a group of the same name."""
    other = tmp_path / "other" / "discs"
    shutil.copytree(discs, other)
    for split in ("train", "test"):
        (other / split / "red").rename(other / split / "crimson")
    for name, data in (("one", discs), ("same", discs), ("other", other)):
        adapt(student, data=data, out=tmp_path / name / "student", workers=0)
    merged = merge([tmp_path / "one", tmp_path / "same"], out=tmp_path / "merged")
    for one in (tmp_path / "one", merged):
        with pytest.raises(ConfigError, match="tell different classes apart"):
            merge([one, tmp_path / "other"], out=tmp_path / "again")


def test_names_like_markup_cost_nothing(
    student: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class of which no image can be read is told by its name after the model was written."""
    data = tmp_path / "data"
    shutil.copytree(discs, data)
    for split in ("train", "test"):
        (data / split / "red").rename(data / split / "red [i]")
    for path in (data / "train" / "red [i]").iterdir():
        path.write_bytes(b"no image")
    adapt(student, data=data, out=tmp_path / "out", max_bad_fraction=0.5, workers=0)
    assert "(red [i])" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["segmentation", "depth", "detection"])
@pytest.mark.parametrize("method", ["linear", "finetune"])
def test_dense_tasks_come_back_as_they_were(
    task: str, method: str, dense_student: Path, scenes: Path, tmp_path: Path
) -> None:
    """The loaded head gives the same scores to the test part as the fresh one did, by the files that predict writes."""
    out = tmp_path / "out"
    adapted = adapt(
        dense_student,
        data=scenes,
        out=out,
        task=task,  # type: ignore[arg-type]
        method=method,  # type: ignore[arg-type]
        steps=3,
        batch_size=4,
        resamples=5,
        workers=0,
    )
    assert isinstance(adapted, AdaptedDense)
    assert adapted.about.num_train == 9
    moved = (out / "model.safetensors").read_bytes() != (dense_student / "model.safetensors").read_bytes()
    assert moved == (method == "finetune")
    data = open_dataset(scenes).select(split="test")
    found = list(adapted.predict(data.paths))
    assert not any(isinstance(each, Bad) for each in found)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in data.paths:
        shutil.copy(path, pictures)
    if task == "detection":
        _check_objects(predict(out, pictures, tmp_path / "objects.csv", workers=0), adapted)
        return
    written = predict(out, pictures, tmp_path / "maps", workers=0)
    maps = [written / f"{Path(path).name}.png" for path in data.paths]
    if task == "segmentation":
        _check_masks(maps, list(data.masks or ()), adapted)
    else:
        _check_depths(maps, list(data.depths or ()), adapted)


def _check_masks(maps: Sequence[Path], masks: Sequence[str | None], adapted: AdaptedDense) -> None:
    assert adapted.about.classes == ("ground", "red", "blue")
    right = total = 0
    for path, mask in zip(maps, masks, strict=True):
        said, true = read_mask(path), read_mask(str(mask))
        right += int((said == true)[true >= 0].sum())
        total += int((true >= 0).sum())
    assert adapted.about.scores["pixel_accuracy"].mean == pytest.approx(right / total)


def _check_depths(maps: Sequence[Path], depths: Sequence[str | None], adapted: AdaptedDense) -> None:
    errors = []
    for path, depth in zip(maps, depths, strict=True):
        said, true = read_depth(path), read_depth(str(depth))
        assert METRES[0] - 1e-3 <= said.min() <= said.max() <= METRES[-1] + 1e-3
        errors.append(np.sqrt(np.square(said - true)[true > 0].mean()))
    assert adapted.about.scores["RMSE"].mean == pytest.approx(
        np.mean(errors), abs=1e-3
    )  # a file's step is 1 mm


def _check_objects(path: Path, adapted: AdaptedDense) -> None:
    assert adapted.about.classes == ("blue", "red")
    assert set(adapted.about.scores) == {"AP", "AP50", "AP75"}
    for row in _table(path):
        assert row["label"] in adapted.about.classes
        assert 0 <= float(row["score"]) <= 1


def test_several_kinds_of_labels_ask_for_a_task(dense_student: Path, scenes: Path, tmp_path: Path) -> None:
    """And prototypes are for classes only."""
    with pytest.raises(DataError, match="segmentation, depth, detection; say which"):
        adapt(dense_student, data=scenes, out=tmp_path / "out", workers=0)
    with pytest.raises(DataError, match="nothing to learn classification"):
        adapt(dense_student, data=scenes, out=tmp_path / "out", task="classification", workers=0)
    with pytest.raises(ConfigError, match="prototype"):
        adapt(dense_student, data=scenes, out=tmp_path / "out", task="depth", method="prototype", workers=0)


def test_the_command_line(
    student: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """adapt, then predict; a word that is wrong is code 2."""
    out = tmp_path / "out"
    assert run(["adapt", str(student), f"data={discs}", f"out={out}", "method=prototype", "workers=0"]) == 0
    said = capsys.readouterr().out
    assert "top1" in said
    assert str(out) in said
    labels = tmp_path / "labels.csv"
    assert run(["predict", str(out), str(discs / "test"), f"out={labels}", "workers=0"]) == 0
    assert len(_table(labels)) == 12
    assert run(["adapt", str(student), f"data={discs}", f"out={out}", "method=magic"]) == 2
    assert run(["predict", str(out), str(discs), f"out={tmp_path / 'labels.txt'}"]) == 2


def test_results_stay_in_their_folder(dense_student: Path, scenes: Path, tmp_path: Path) -> None:
    """A list may name images above itself; their maps are not written there."""
    out = tmp_path / "out"
    adapt(
        dense_student,
        data=scenes,
        out=out,
        task="segmentation",
        steps=1,
        batch_size=2,
        resamples=2,
        workers=0,
    )
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "deep" / "list.csv").write_text("file_name\n../a.png\n")
    with pytest.raises(DataError):
        predict(out, tmp_path / "deep" / "list.csv", tmp_path / "maps", workers=0)
    assert not (tmp_path / "a.png.png").exists()


def test_an_unknown_class_in_a_test_mask_costs_the_score_not_the_model(
    student: Path, scenes: Path, tmp_path: Path
) -> None:
    """The classes have names here, so index 5 has none."""
    folder = shutil.copytree(scenes, tmp_path / "set")
    data = open_dataset(folder)
    assert data.masks is not None
    last = data.masks[int(np.flatnonzero(data.split == "test")[0])]
    assert last is not None
    Image.fromarray(np.full(np.asarray(Image.open(last)).shape, 5, np.uint8)).save(last)
    adapted = adapt(student, data=folder, out=tmp_path / "out", task="segmentation", steps=2, workers=0)
    assert adapted.about.scores == {}
    assert "has the class 5" in adapted.about.note
    assert isinstance(load_adapted(tmp_path / "out"), AdaptedDense)


def test_a_class_that_only_test_masks_have_is_missed(student: Path, scenes: Path, tmp_path: Path) -> None:
    """Where nobody names the classes: it can be scored, though not learnt."""
    folder = shutil.copytree(scenes, tmp_path / "set")
    (folder / "dataset.json").unlink()
    data = open_dataset(folder)
    assert data.masks is not None
    last = data.masks[int(np.flatnonzero(data.split == "test")[0])]
    assert last is not None
    Image.fromarray(np.full(np.asarray(Image.open(last)).shape, 5, np.uint8)).save(last)
    adapted = adapt(
        student, data=folder, out=tmp_path / "out", task="segmentation", method="linear", steps=2, workers=0
    )
    assert adapted.about.classes == ("0", "1", "2", "3", "4", "5")
    assert adapted.about.scores["mIoU"].mean < 1


def test_a_student_of_two_networks_is_adapted_again_in_its_place(discs: Path, tmp_path: Path) -> None:
    """The file of its second network is its own, not a stranger's."""
    assistant = AssistantShape(model=VIT.model, dim=32, model_args=VIT.model_args)
    two = Student(dataclasses.replace(VIT, assistant=assistant))
    folder = save_student(two, tmp_path / "student")
    for _ in range(2):
        adapt(folder, data=discs, out=tmp_path / "out", method="linear")


def test_an_out_that_cannot_be_written_is_found_before_the_training(
    student: Path, discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a device that there is not, and a folder that no other can take the place of."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="file/out cannot be written"):
        adapt(student, data=discs, out=tmp_path / "file" / "out", method="linear")
    with pytest.raises(ConfigError, match="device='gpu' cannot be used"):
        adapt(student, data=discs, out=tmp_path / "out", method="linear", device="gpu")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(
        ConfigError, match=r"out=\. is the current folder, or above it, and cannot be replaced"
    ):
        adapt(student, data=discs, out=".", method="linear")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
