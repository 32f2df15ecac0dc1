"""What `verify` finds, and what it does not do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor, nn

from alumnus.errors import ConfigError, StoreError
from alumnus.store import verify as verifying
from alumnus.store.crops import Crops, Part
from alumnus.store.folder import folders
from alumnus.store.read import Stored
from alumnus.store.shard import Rows
from alumnus.store.verify import Again, Verdict, verify
from tests.store.made import Counting, speakers_of, spec_of, store_of


def _noted(store: Path, spec: object) -> None:
    """Writes into a store how its teacher was loaded."""
    about = next(store.glob("*/about.json"))
    about.write_text(json.dumps({**json.loads(about.read_text()), "spec": spec}))


@pytest.mark.parametrize(
    "source", ["python:os:mkdir", "hub:{}:mkdir", "torchscript:{}/a.pt", "export:{}/a.pt2", "elsewhere:a"]
)
def test_code_that_a_store_names_is_not_run(tmp_path: Path, tiny_images: Path, source: str) -> None:
    """A store may come from a stranger: whatever can run code is loaded only on the word of the user's recipe."""
    store = tmp_path / "store"
    speakers_of(store_of(store, tiny_images, sources=[str(tiny_images)]), [spec_of(Counting())])
    code = tmp_path / "code"
    code.mkdir()
    (code / "hubconf.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    spec = {"model": source.format(code), "size": 32}
    if source.startswith("python:"):
        spec["arguments"] = {"path": str(tmp_path / "run")}
    if source.endswith((".pt", ".pt2")):
        spec["trusted"] = True
    _noted(store, spec)
    (verdict,) = verify(store, Again(sample=4))
    assert not (tmp_path / "run").exists()
    assert "may run code" in verdict.note
    assert "give the recipe that has it" in verdict.note
    assert not verdict.is_right
    assert verify(store, Again(sample=0))[0].is_right


@pytest.mark.parametrize("spec", [5, {"model": "timm/resnet10t", "colour": 3}])
def test_a_store_that_notes_no_teacher_says_so(tmp_path: Path, tiny_images: Path, spec: object) -> None:
    """In the verdict, and the other folders are verified."""
    speakers_of(store_of(tmp_path, tiny_images, sources=[str(tiny_images)]), [spec_of(Counting())])
    _noted(tmp_path, spec)
    (verdict,) = verify(tmp_path, Again(sample=4))
    assert "does not say how its teacher is loaded" in verdict.note


def test_a_store_that_points_elsewhere_is_refused(tmp_path: Path, tiny_images: Path) -> None:
    """What a build adds to a folder would be written there."""
    speakers_of(store_of(tmp_path, tiny_images), [spec_of(Counting())])
    about = next(tmp_path.glob("*/about.json"))
    values = json.loads(about.read_text())
    values["teacher"]["name"] = "../elsewhere/counting"
    about.write_text(json.dumps(values))
    with pytest.raises(StoreError, match="which is no name"):
        list(folders(tmp_path))


def _verdict(store: Path, teacher: nn.Module, images: Path) -> Verdict:
    """With every output asked again, of a teacher that is taken for the store's."""
    (folder,) = folders(store)
    specs = {folder.about.fingerprint: spec_of(teacher)}
    (verdict,) = verify(store, Again(sample=1000, data=(str(images),), specs=specs))
    return verdict


class _Centred(Counting):
    """Says nearly nothing of a grey image, and of others how far they are from it."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        return super().forward(image) - self.weight * 77 / 255


def test_a_drifted_teacher_is_found_in_int8_whatever_one_row_lost(tmp_path: Path, tiny_images: Path) -> None:
    """A feature near zero is lost: its relative error is beyond measure, and excuses no other row."""
    images, store = tmp_path / "images", tmp_path / "store"
    shutil.copytree(tiny_images, images)
    Image.new("RGB", (32, 32), (77, 77, 77)).save(next(images.rglob("0.png")).with_name("grey.png"))
    speakers_of(store_of(store, images, precision="int8"), [spec_of(_Centred())])
    (folder,) = folders(store)
    assert max(shard.loss.error for shard in folder.shards) > 10
    assert _verdict(store, _Centred(), images).is_right
    assert _verdict(store, _Centred(1.2), images).drifted > 150


def test_features_below_float16s_normal_range_are_no_drift(
    tmp_path: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They lose more than two thousandths, which is the precision's doing; the build says that it does not suit."""
    store = tmp_path / "store"
    speakers_of(store_of(store, tiny_images, precision="float16"), [spec_of(Counting(1e-7))])
    assert "float16 does not suit counting" in " ".join(capsys.readouterr().err.split())
    verdict = _verdict(store, Counting(1e-7), tiny_images)
    assert verdict.largest_error > 0.01
    assert verdict.is_right


def test_a_precision_that_suits_is_not_remarked_on(
    tmp_path: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said."""
    speakers_of(store_of(tmp_path, tiny_images, precision="float16"), [spec_of(Counting())])
    assert "does not suit" not in " ".join(capsys.readouterr().err.split())


def test_images_that_are_gone_are_no_proof(tmp_path: Path, tiny_images: Path) -> None:
    """Nobody was asked, so nothing is certain; without a sample nobody is to be asked."""
    store, images = tmp_path / "store", tmp_path / "images"
    shutil.copytree(tiny_images, images)
    speakers_of(store_of(store, images), [spec_of(Counting())])
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (8, 8)).save(other / "0.png")
    verdict = _verdict(store, Counting(), other)
    assert "none of its images are in" in verdict.note
    assert not verdict.is_right
    (files,) = verify(store, Again(sample=0))
    assert files.is_right
    assert files.note == "not asked again: sample=0"


def test_verifying_writes_nothing(tmp_path: Path, tiny_images: Path) -> None:
    """So a store on a read-only disk can be verified, with images at another place too."""
    store, images = tmp_path / "store", tmp_path / "images"
    speakers_of(store_of(store, tiny_images), [spec_of(Counting())])
    shutil.copytree(tiny_images, images)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert _verdict(store, Counting(), images).asked_again == 180
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_crops_are_held_one_part_at_a_time(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is compared before the next is read, so a large sample takes no more memory than a small one."""
    speakers_of(store_of(tmp_path, tiny_images), [spec_of(Counting())])
    steps = list[str]()
    read, compare = Crops.__getitem__, verifying._compared

    def reading(self: Crops, number: int) -> Part:
        steps.append("read")
        return read(self, number)

    def comparing(stored: Stored, said: Rows) -> object:
        steps.append("compare")
        return compare(stored, said)

    monkeypatch.setattr(Crops, "__getitem__", reading)
    monkeypatch.setattr(verifying, "_compared", comparing)
    assert _verdict(tmp_path, Counting(), tiny_images).asked_again == 180
    assert steps == ["read", "compare"] * 3


def test_a_sample_below_zero_is_refused(tmp_path: Path) -> None:
    """Before anything is looked at."""
    with pytest.raises(ConfigError, match="sample=-1: 0 or more"):
        verify(tmp_path, Again(sample=-1))
