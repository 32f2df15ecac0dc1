"""A store computes what is missing, once, and gives back what the teacher said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alumnus.data.dataset import open_dataset
from alumnus.data.loader import train_batches
from alumnus.data.read import key_of
from alumnus.data.sampler import Sampler
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError, StoreError, TooManyBadImages
from alumnus.store.folder import folders
from alumnus.store.make import disk_bytes
from alumnus.store.shard import Rows, Unreadable, write_shard
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.targets import Live, TargetSource
from alumnus.types import Features
from tests.store.made import VIEWS, Counting, speakers_of, spec_of, store_of

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path, tiny_images: Path) -> Path:
    """Three domains of which one has an unreadable file more."""
    folder = tmp_path / "images"
    shutil.copytree(tiny_images, folder)
    return folder


@pytest.mark.parametrize("ratio", [VIEWS.ratio, "image"])
def test_stored_targets_are_the_live_ones_bit_for_bit(tmp_path: Path, images: Path, ratio: object) -> None:
    """Of every batch, for teachers trusted everywhere and on one domain, whatever the batches of the build and the views were."""
    views = ViewSettings.model_validate({**VIEWS.model_dump(), "ratio": ratio})
    data = open_dataset(images)
    specs = [spec_of(Counting()), spec_of(Counting(2.0), name="circles", domains=[data.domains[0]])]
    live = TargetSource(
        [Live(teacher, about=describe(teacher)) for teacher in (load_teacher(s, device=CPU) for s in specs)],
        domains=data.domains,
        device=CPU,
    )
    stored = TargetSource(
        speakers_of(store_of(tmp_path / "store", data, views), specs), domains=data.domains, device=CPU
    )
    assert stored.sizes == ()
    sampler = Sampler(data.domain, name="balanced", batch_size=7, seed=0, views_per_image=VIEWS.per_image)
    for loaded in train_batches(
        data, sampler, views, size=16, teacher_sizes=live.sizes, start=0, steps=20, workers=0
    ):
        for name, target in live(loaded.batch).items():
            found = stored(loaded.batch)[name]
            assert torch.equal(found.places, target.places)
            assert torch.equal(found.features.summary, target.features.summary)


def test_a_second_build_computes_nothing(tmp_path: Path, images: Path) -> None:
    """Nor does one of the same images in another folder, under other names."""
    teacher = Counting()
    speakers_of(store_of(tmp_path / "store", images), [spec_of(teacher)])
    others = tmp_path / "elsewhere"
    shutil.copytree(images, others / "deep")
    for path in sorted(others.rglob("*.png")):
        path.rename(path.with_name(f"again-{path.name}"))
    seen = teacher.seen
    speakers_of(store_of(tmp_path / "store", images), [spec_of(teacher)])
    speakers_of(store_of(tmp_path / "store", others), [spec_of(teacher)])
    assert teacher.seen - seen <= 2 * 2  # what loading one shows it, to learn its width


def test_a_teacher_under_another_name_finds_its_outputs(tmp_path: Path, images: Path) -> None:
    """Its name is the recipe's affair: nothing is computed, and no second folder is made."""
    teacher, store = Counting(), tmp_path / "store"
    speakers_of(store_of(store, images), [spec_of(teacher)])
    seen = teacher.seen
    (renamed,) = speakers_of(store_of(store, images), [spec_of(teacher, name="other")])
    assert renamed.name == "other"
    assert teacher.seen - seen <= 2
    (folder,) = folders(store)
    found = renamed.read(folder.shards[0].key, folder.shards[0].view)  # type: ignore[attr-defined]
    assert found.summary.shape == (180, 12)


def test_new_images_views_and_teachers_cost_what_they_add(tmp_path: Path, images: Path) -> None:
    """One image more: its two views. A view more: one output an image. Another teacher: all of its own."""
    teacher, store = Counting(), tmp_path / "store"
    speakers_of(store_of(store, images), [spec_of(teacher)])
    extra = next(images.rglob("0.png")).with_name("extra.png")
    Image.new("RGB", (30, 20), (1, 2, 3)).save(extra)
    count = len(open_dataset(images))
    assert _missing(store, images, teacher) == 2
    assert _missing(store, images, teacher, ViewSettings(per_image=3)) == count + 2
    assert _missing(store, images, Counting(3.0)) == 2 * count
    folder = next(iter(folders(store)))
    before = len(folder.index)
    speakers_of(store_of(store, images), [spec_of(teacher)])
    assert len(folder.refreshed().index) == before + 2
    assert len(folder.refreshed().shards) == 2


def test_an_unreadable_image_is_noted_and_not_tried_again(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The build goes on, and the quarantine says why; on the console stand the first and the sum."""
    broken = next(images.rglob("0.png")).with_name("broken.png")
    broken.write_bytes(b"no image at all, but bytes")
    store, teacher = tmp_path / "store", Counting()
    speakers_of(store_of(store, images), [spec_of(teacher)])
    folder = next(iter(folders(store)))
    assert list(folder.index.bad) == [key_of(broken)]
    assert _missing(store, images, teacher) == 0
    assert "broken.png" in (store / "quarantine.jsonl").read_text()
    said = capsys.readouterr().err
    assert said.count("broken.png") == 1
    assert "1 of 91 images could not be read and was left out" in said


def test_an_unreadable_image_that_is_added_alone_is_noted(tmp_path: Path, images: Path) -> None:
    """The shard that notes it has no output."""
    store, teacher = tmp_path / "store", Counting()
    speakers_of(store_of(store, images), [spec_of(teacher)])
    broken = next(images.rglob("0.png")).with_name("broken.png")
    broken.write_bytes(b"no image at all, but bytes")
    speakers_of(store_of(store, images), [spec_of(teacher)])
    assert list(next(iter(folders(store))).index.bad) == [key_of(broken)]
    assert _missing(store, images, teacher) == 0


def test_an_image_that_could_not_be_read_once_is_tried_again(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its bytes are not at fault, so it is no bad image: it stays missing, which is said, and the next build computes it."""
    store, teacher = tmp_path / "store", Counting()
    path = next(images.rglob("0.png"))
    first = store_of(store, images)
    aside = path.rename(path.with_suffix(".aside"))
    path.symlink_to(path)  # the system gives an error
    speakers_of(first, [spec_of(teacher)])
    folder = next(iter(folders(store)))
    assert folder.index.bad == {}
    assert len(folder.index) == 178
    assert "1 images could not be read" in " ".join(capsys.readouterr().err.split())
    assert "symbolic links in a loop" in (store / "quarantine.jsonl").read_text()
    path.unlink()
    aside.rename(path)
    assert _missing(store, images, teacher) == 2
    speakers_of(store_of(store, images), [spec_of(teacher)])
    assert len(folder.refreshed().index) == 180


def test_an_image_that_changes_during_a_build_is_not_bad(tmp_path: Path, images: Path) -> None:
    """Neither where the new content is an image nor where it is none."""
    store, teacher = tmp_path / "store", Counting()
    first, (one, two) = store_of(store, images), sorted(images.rglob("0.png"))[:2]
    Image.new("RGB", (40, 40), (9, 9, 9)).save(one)
    two.write_bytes(b"no image at all, but bytes")
    speakers_of(first, [spec_of(teacher)])
    assert next(iter(folders(store))).index.bad == {}
    speakers_of(store_of(store, images), [spec_of(teacher)])
    assert list(next(iter(folders(store))).index.bad) == [key_of(two)]


@pytest.mark.parametrize(
    "reason", ["cannot be opened: input/output error", "needs more memory than there is"]
)
def test_a_note_that_is_not_of_decoding_does_not_keep_an_image_out(
    tmp_path: Path, images: Path, reason: str
) -> None:
    """Early stores wrote such notes."""
    store, teacher, path = tmp_path / "store", Counting(), next(images.rglob("0.png"))
    aside = path.rename(tmp_path / "aside.png")
    speakers_of(store_of(store, images), [spec_of(teacher)])
    aside.rename(path)
    nothing = Rows(np.empty(0, np.int64), np.empty(0, np.int64), Features(torch.empty(0, 12)))
    folder = next(iter(folders(store)))
    write_shard(folder.path, nothing, "float32", [Unreadable(key_of(path), reason)])
    assert _missing(store, images, teacher) == 2


def test_a_copy_of_an_image_is_read_where_one_is_gone(tmp_path: Path, images: Path) -> None:
    """Whichever of the two it is."""
    first, last = sorted(images.rglob("0.png"))[0], sorted(images.rglob("0.png"))[-1]
    for path in (first, last):
        shutil.copy(path, path.with_name("copy.png"))
    store = store_of(tmp_path / "store", images)
    first.unlink()
    last.with_name("copy.png").unlink()
    speakers_of(store, [spec_of(Counting())])
    assert len(next(iter(folders(tmp_path / "store"))).index) == 180


def test_an_image_that_cannot_be_decoded_is_refused_with_its_own_reason(tmp_path: Path, images: Path) -> None:
    """Building again cannot help, and is not advised."""
    broken = next(images.rglob("0.png")).with_name("broken.png")
    broken.write_bytes(b"no image at all, but bytes")
    (stored,) = speakers_of(store_of(tmp_path / "store", images), [spec_of(Counting())])
    with pytest.raises(
        StoreError, match=r"could not be decoded when the store was built.*save it anew"
    ) as said:
        stored.read(np.array([key_of(broken)]), np.array([0]))  # type: ignore[attr-defined]
    assert "cache build" not in str(said.value)


def test_bad_images_count_for_their_own_data_and_by_the_runs_own_measure(
    tmp_path: Path, images: Path
) -> None:
    """Six of 90 are more than 5 % and fewer than half; faultless images of the same names are not counted among them."""
    faultless, store = tmp_path / "faultless", tmp_path / "store"
    shutil.copytree(images, faultless)
    for path in faultless.rglob("*.png"):
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    for number, path in enumerate(sorted(images.rglob("*.png"))[:6]):
        path.write_text(f"no image {number}")
    with pytest.raises(TooManyBadImages):
        speakers_of(store_of(tmp_path / "strict", images), [spec_of(Counting())])
    speakers_of(store_of(store, images, max_bad_fraction=0.5), [spec_of(Counting())])
    speakers_of(store_of(store, faultless), [spec_of(Counting())])


def test_too_many_bad_images_stop_each_build(tmp_path: Path, images: Path) -> None:
    """Also the second one, when the store knows of all of them; each time all are listed."""
    store, teacher = tmp_path / "store", Counting()
    for number, path in enumerate(sorted(images.rglob("*.png"))[:6]):
        path.write_text(f"no image {number}")
    for _ in range(2):
        with pytest.raises(TooManyBadImages, match="6 of 90 images"):
            speakers_of(store_of(store, images), [spec_of(teacher)])
        assert len((store / "quarantine.jsonl").read_text().splitlines()) == 6
        assert _missing(store, images, teacher) == 0


def test_images_that_cannot_be_opened_are_listed_and_counted(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those that cannot be decoded: with the reason, and more of them than allowed stop the build."""
    store, teacher = tmp_path / "store", Counting()
    paths = sorted(images.rglob("*.png"))
    data = open_dataset(images)
    paths[0].unlink()
    speakers_of(store_of(store, data), [spec_of(teacher)])
    said = capsys.readouterr().err
    assert f"'{paths[0]}': no such file" in said
    assert "1 of 90 images could not be read and was left out" in said
    for path in paths[1:6]:
        path.unlink()
    for _ in range(2):
        with pytest.raises(TooManyBadImages, match="6 of 90 images"):
            speakers_of(store_of(store, data), [spec_of(teacher)])
    assert (store / "quarantine.jsonl").read_text().count("no such file") == 6


def test_the_folder_that_lacks_least_is_taken_then_the_most_precise(tmp_path: Path, images: Path) -> None:
    """A run that goes on asks for the precision that it began with."""
    store, specs = tmp_path / "store", [spec_of(Counting())]
    some = next(path for path in sorted(images.iterdir()) if path.is_dir())
    speakers_of(store_of(store, some), specs)
    speakers_of(store_of(store, images, precision="float16"), specs)
    (found,) = store_of(store, images, precision="auto").estimate(specs)
    assert (found.about.precision, found.num_missing) == ("float16", 0)
    speakers_of(store_of(store, images), specs)
    both = store_of(store, images, precision="auto")
    assert both.estimate(specs)[0].about.precision == "float32"
    (kept,) = both.estimate(specs, stored_as={"counting": "float16"})
    assert (kept.about.precision, kept.num_missing) == ("float16", 0)
    (gone,) = both.estimate(specs, stored_as={"counting": "int8"})
    assert (gone.about.precision, gone.num_missing, gone.keeps_precision) == ("int8", 180, True)


def test_a_changed_teacher_is_refused_with_both_fingerprints(tmp_path: Path, images: Path) -> None:
    """Other weights, another size, another normalisation: each is another teacher."""
    speakers_of(store_of(tmp_path / "store", images), [spec_of(Counting())])
    old = next(iter(folders(tmp_path / "store"))).about.fingerprint
    for changed in (
        spec_of(Counting(1.5)),
        spec_of(Counting(), size=24),
        spec_of(Counting(), mean=[0.5] * 3, std=[1] * 3),
    ):
        new = load_teacher(changed, device=CPU).fingerprint
        with pytest.raises(StoreError, match=f"fingerprint {old[:16]}, this one has {new[:16]}"):
            speakers_of(store_of(tmp_path / "store", images), [changed])


def test_other_views_are_refused(tmp_path: Path, images: Path) -> None:
    """Another crop range, flip or seed, told by name; but not another photometric change, which teachers never see, nor more views."""
    speakers_of(store_of(tmp_path / "store", images), [spec_of(Counting())])
    for views, said in (
        (ViewSettings(per_image=2, flip=0.0), "are of other views: flip was 0.5, is 0.0;"),
        (ViewSettings(per_image=2, scale=(0.5, 1.0)), r"scale was \[.*\], is \[0.5, 1.0\];"),
    ):
        with pytest.raises(StoreError, match=said):
            speakers_of(store_of(tmp_path / "store", images, views), [spec_of(Counting())])
    bright = ViewSettings(per_image=2, brightness=0.4)
    assert _missing(tmp_path / "store", images, Counting(), bright) == 0
    speakers_of(store_of(tmp_path / "store", images, ViewSettings(per_image=3)), [spec_of(Counting())])
    assert _missing(tmp_path / "store", images, Counting(), ViewSettings(per_image=3)) == 0


def test_an_image_that_was_replaced_keeping_size_and_time_is_known_to_be_another(
    tmp_path: Path, images: Path
) -> None:
    """As `cp -p` does: else a run would miss its outputs, and a build would find none missing."""
    store, teacher, path = tmp_path / "store", Counting(), next(images.rglob("0.png"))
    speakers_of(store_of(store, images), [spec_of(teacher)])
    before, content = path.stat(), bytearray(path.read_bytes())
    assert _missing(store, images, teacher) == 0
    path.write_bytes(bytes(content) + b"x")
    path.write_bytes(bytes(content[:-1]) + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert _missing(store, images, teacher) == 2


def test_a_changed_image_is_not_given_the_old_outputs(tmp_path: Path, images: Path) -> None:
    """Same name, other content."""
    store, teacher = tmp_path / "store", Counting()
    (stored,) = speakers_of(store_of(store, images), [spec_of(teacher)])
    Image.new("RGB", (40, 40), (9, 9, 9)).save(next(images.rglob("0.png")))
    data = open_dataset(images)
    sampler = Sampler(data.domain, name="proportional", batch_size=len(data), seed=0, views_per_image=2)
    (loaded,) = train_batches(data, sampler, VIEWS, size=16, teacher_sizes=(), start=0, steps=1, workers=0)
    with pytest.raises(StoreError, match=f"1 of {len(data)} asked for are missing.*cache build"):
        stored.speak(loaded.batch, torch.arange(len(data)))
    assert _missing(store, images, teacher) == 2


def test_views_without_end_cannot_be_stored(tmp_path: Path, images: Path) -> None:
    """The message says what to set."""
    with pytest.raises(ConfigError, match=r"views\.per_image, for example to 8"):
        store_of(tmp_path / "store", images, ViewSettings())


def test_a_budget_lowers_the_precision_or_refuses(tmp_path: Path, images: Path) -> None:
    """float16 does not fit, int8 does; then neither does, and nothing was written."""
    count = len(open_dataset(images))
    store = store_of(tmp_path / "store", images, precision="auto", budget=2 * count * 40)
    speakers_of(store, [spec_of(Counting())])
    assert next(iter(folders(tmp_path / "store"))).about.precision == "int8"
    tight = store_of(tmp_path / "tight", images, precision="auto", budget="2KiB")
    with pytest.raises(StoreError, match=r"budget is 2\.0 KiB"):
        speakers_of(tight, [spec_of(Counting())])
    assert list(folders(tmp_path / "tight")) == []


def test_a_complete_store_is_used_whatever_its_budget(tmp_path: Path, images: Path) -> None:
    """Nothing is needed any more, so nothing is refused."""
    speakers_of(store_of(tmp_path / "store", images), [spec_of(Counting())])
    speakers_of(store_of(tmp_path / "store", images, budget=100), [spec_of(Counting())])


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_a_build_will_take_is_what_it_takes(tmp_path: Path, images: Path, precision: str) -> None:
    """To a few bytes of the shards' headers, so that a budget is kept."""
    store = store_of(tmp_path / "store", images, precision=precision)
    (estimate,) = store.estimate([spec_of(Counting())])
    speakers_of(store, [spec_of(Counting())])
    assert estimate.bytes_in(estimate.about.precision) == pytest.approx(
        disk_bytes(tmp_path / "store"), abs=64
    )


def test_where_the_images_were_is_noted_for_any_folder(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative folders and patterns of shards are noted with where they lie; names at Hugging Face as they are."""
    monkeypatch.chdir(tmp_path)
    sources = ["images", "a-{0..3}.tar", "hf:owner/name"]
    speakers_of(store_of(tmp_path / "store", images, sources=sources), [spec_of(Counting())])
    (folder,) = folders(tmp_path / "store")
    assert folder.about.data == (str(images), str(tmp_path / "a-{0..3}.tar"), "hf:owner/name")


def test_a_folder_with_a_quarantine_file_is_no_store_for_that(tmp_path: Path, images: Path) -> None:
    """Runs have such a file too; by itself it is no obstacle."""
    run, alone = tmp_path / "run", tmp_path / "alone"
    for folder in (run, alone):
        folder.mkdir()
        (folder / "quarantine.jsonl").touch()
    (run / "config.yaml").touch()
    store_of(alone, images)
    with pytest.raises(StoreError, match=r"is no store, and holds 'config\.yaml'"):
        store_of(run, images)


def test_a_store_that_may_not_be_filled_says_what_it_lacks(tmp_path: Path, images: Path) -> None:
    """Counts, and the command."""
    with pytest.raises(StoreError, match=r"lacks outputs \(counting 180\); `alumnus cache build`"):
        speakers_of(store_of(tmp_path / "store", images, fill=False), [spec_of(Counting())])


def test_precisions_come_close(tmp_path: Path, images: Path) -> None:
    """float16 within a thousandth of each feature vector, int8 within two hundredths, as the shards themselves say."""
    found = {}
    for precision in ("float32", "float16", "int8"):
        store = store_of(tmp_path / precision, images, precision=precision)
        (stored,) = speakers_of(store, [spec_of(Counting())])
        folder = next(iter(folders(tmp_path / precision)))
        key, view = folder.shards[0].key, folder.shards[0].view
        order = np.lexsort((view, key))
        found[precision] = stored.read(key[order], view[order]).summary  # type: ignore[attr-defined]
        error = (found[precision] - found["float32"]).norm(dim=1) / found["float32"].norm(dim=1)
        assert float(error.max()) == pytest.approx(folder.shards[0].loss.error, abs=1e-6)
        assert float(error.max()) <= {"float32": 0, "float16": 1e-3, "int8": 2e-2}[precision]


def _missing(store: Path, images: Path, teacher: Counting, views: ViewSettings = VIEWS) -> int:
    return store_of(store, images, views).estimate([spec_of(teacher)])[0].num_missing


BUILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.store.made import Counting, speakers_of, spec_of, store_of
from alumnus.store import build

def slowly(teacher, image, ask=build._ask):
    time.sleep(0.05)
    return ask(teacher, image)

build._ask = slowly
build.UNIT_ROWS = (8, 8)
speakers_of(store_of(Path(sys.argv[1]), Path(sys.argv[2])), [spec_of(Counting())])
"""


def test_a_build_that_was_killed_goes_on(tmp_path: Path, images: Path) -> None:
    """SIGKILL at three moments: what was in a shard stays, nothing half-written is read, and the end is whole and right."""
    store, kept = tmp_path / "store", 0
    for shards in (2, 4, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(store), str(images)], stderr=subprocess.DEVNULL
        )
        while len(list(store.glob("*/*.safetensors"))) < shards and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        outputs = len(next(iter(folders(store))).index)
        assert outputs >= kept
        kept = outputs
    assert 0 < kept < 180
    (stored,) = speakers_of(store_of(store, images), [spec_of(Counting())])
    whole = next(iter(folders(store)))
    assert len(whole.index) == 180
    assert sum(len(shard) for shard in whole.shards) == 180
    (again,) = speakers_of(store_of(tmp_path / "undisturbed", images), [spec_of(Counting())])
    for shard in whole.shards:
        assert torch.equal(
            stored.read(shard.key, shard.view).summary,  # type: ignore[attr-defined]
            again.read(shard.key, shard.view).summary,  # type: ignore[attr-defined]
        )
