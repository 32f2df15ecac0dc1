"""Results that have no place to go are told in one message, whatever verb they are of; see `disk.check_writable`."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus.adaptation.run import adapt
from alumnus.cli import run
from alumnus.models.artifact import save_student
from alumnus.models.student import Architecture, Student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student folder, not trained."""
    made = Student(Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8))
    return save_student(made, tmp_path_factory.mktemp("run") / "student")


@pytest.fixture(scope="module")
def adapted(student: Path, tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of labels."""
    return adapt(
        student,
        data=tiny_images / "discs",
        out=tmp_path_factory.mktemp("adapted") / "model",
        method="prototype",
    ).folder


TEACHER = "teachers=[{model: timm/test_resnet, weights: random, size: 32}]"
VERBS = {
    "train": ["train", "data={images}", "student=timm/test_resnet", "method=supervised", "out={out}"],
    "train store": [
        *("train", "data={images}", "student=timm/test_resnet", TEACHER, "method=plain", "out={fine}"),
        *("store={out}", "targets=stored", "views.per_image=1", "workers=0"),
    ],
    "cache build": ["cache", "build", "data={images}", TEACHER, "views.per_image=1", "out={out}"],
    "data check": ["data", "check", "{images}", "out={out}"],
    "data curate": ["data", "curate", "{images}", "out={out}"],
    "data pack": ["data", "pack", "{images}", "out={out}"],
    "data get": ["data", "get", "mnist", "out={out}"],
    "demo": ["demo", "out={out}"],
    "audit": ["teachers", "audit", "data={images}", TEACHER, "out={out}"],
    "evaluate": ["evaluate", "{student}", "data={images}", "split=train", "out={out}"],
    "merge": ["merge", "{student}", "{student}", "out={out}"],
    "adapt": ["adapt", "{student}", "data={images}", "out={out}"],
    "bench": ["bench", "--suite", "gvb26", "--models", "pixels", "--out", "{out}"],
    "embed": ["embed", "{student}", "{images}", "out={out}.parquet"],
    "predict": ["predict", "{adapted}", "{images}", "out={out}.csv"],
}


@pytest.mark.parametrize("place", ["below a file", "below /proc"])
@pytest.mark.parametrize("verb", VERBS)
def test_results_without_a_place_are_refused(
    verb: str,
    place: str,
    *,
    student: Path,
    adapted: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2 and one message, before anything is downloaded or computed."""
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "out" if place == "below a file" else Path("/proc/none/out")
    known = {"images": tiny_images / "discs", "student": student, "adapted": adapted, "out": out}
    words = [
        word if word == TEACHER else word.format(**known, fine=tmp_path / "fine") for word in VERBS[verb]
    ]
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "out" in said
    assert (tmp_path / "file").read_text() == "x"


def test_a_store_is_not_put_among_pictures(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shards among them would stay there; as `train` refuses a folder that holds something else."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "0.png").write_bytes((tiny_images / "discs" / "red" / "0.png").read_bytes())
    words = ["cache", "build", f"data={tiny_images}/discs", TEACHER, "views.per_image=1", "workers=0"]
    assert run([*words, f"out={folder}"]) == 2
    assert "photos is no store, and holds '0.png'" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["0.png"]
    for _ in range(2):  # a new one, and the same again
        assert run([*words, f"out={tmp_path / 'store'}"]) == 0
