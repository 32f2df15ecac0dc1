"""Crops beside outputs: whose they are, and what `cache` says and does about them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.data.dataset import open_dataset
from alumnus.data.kept import KeptCrops, forget_crop
from alumnus.data.loader import train_batches
from alumnus.data.sampler import Sampler
from alumnus.errors import StoreError
from alumnus.store import kept as keeping
from alumnus.store.folder import Geometry
from alumnus.store.identity import identify
from alumnus.store.kept import crops_bytes, crops_folders, folder_of, open_crops, whole_bytes
from alumnus.store.make import disk_bytes
from alumnus.store.prune import remove, unneeded
from alumnus.store.verify import Again, verify
from alumnus.training import cache
from tests.store.made import VIEWS, Counting, speakers_of, spec_of, store_of

GEOMETRY = Geometry.of(VIEWS, seed=0)
SIDE = 16


def _opened(store: Path, keys: Sequence[int]) -> KeptCrops:
    return open_crops(folder_of(store, GEOMETRY), np.array(keys, np.int64))


def _seen(store: Path, images: Path) -> None:
    """A run's first epochs."""
    data = open_dataset(images)
    keys = identify(data, store, workers=0)
    sampler = Sampler(data.domain, name="proportional", batch_size=len(data), seed=0, views_per_image=2)
    kept = open_crops(folder_of(store, GEOMETRY, [str(images)]), keys)
    for _ in train_batches(
        data, sampler, VIEWS, size=SIDE, teacher_sizes=(), start=0, steps=2, workers=0, kept=kept
    ):
        pass


def test_slots_stay_what_they_are(tmp_path: Path) -> None:
    """Whatever is added, and in whatever order images come; copies of an image share one, and an unreadable one has none."""
    assert _opened(tmp_path, [50, 3, 50, -1]).slots.tolist() == [1, 0, 1, -1]
    assert _opened(tmp_path, [2, 50, 60]).slots.tolist() == [2, 1, 3]
    assert _opened(tmp_path, [3, -1]).slots.tolist() == [0, -1]
    assert folder_of(tmp_path, GEOMETRY).keys.tolist() == [3, 50, 2, 60]
    assert _opened(tmp_path / "empty", [-1]).slots.tolist() == [-1]


def test_what_a_kill_left_of_a_key_is_written_over(tmp_path: Path) -> None:
    """Seven bytes are no key."""
    _opened(tmp_path, [50, 3])
    path = folder_of(tmp_path, GEOMETRY).path / "keys.bin"
    path.write_bytes(path.read_bytes() + b"abcdefg")
    assert _opened(tmp_path, [9, 50]).slots.tolist() == [2, 1]
    assert folder_of(tmp_path, GEOMETRY).keys.tolist() == [3, 50, 9]


def test_other_views_and_another_decoder_have_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their pixels are others."""
    names = {folder_of(tmp_path, each).path.name for each in (GEOMETRY, Geometry.of(VIEWS, seed=1))}
    monkeypatch.setattr(keeping, "decoder", lambda: "Pillow 99")
    names.add(folder_of(tmp_path, GEOMETRY).path.name)
    assert len(names) == 3


def test_damage_is_found_and_repaired(tmp_path: Path, tiny_images: Path) -> None:
    """`verify` looks at every byte, and at the images of a sample again."""
    store = tmp_path / "store"
    _seen(store, tiny_images)
    (good,) = verify(store, Again(sample=8))
    assert good.is_right
    assert (good.shards, good.asked_again, good.drifted) == (2, 8, 0)
    (folder,) = crops_folders(store)
    path = folder.files[0][2]
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    (found,) = verify(store, Again(sample=8))
    assert found.damaged == (f"{path.name}: 1",)
    assert not found.is_right
    (repaired,) = verify(store, Again(sample=8), repair=True)
    assert repaired.is_right
    assert verify(store, Again(sample=8))[0].damaged == ()


def test_a_side_that_lost_its_crops_does_not_hide_the_others(tmp_path: Path, tiny_images: Path) -> None:
    """Nor does what a stranger's store has in the place of a file: a pipe stops nobody, a link is not followed."""
    store = tmp_path / "store"
    _seen(store, tiny_images)
    (folder,) = crops_folders(store)
    kept = open_crops(folder, folder.keys)
    kept.write(0, 0, kept.key(0), {8: np.zeros((3, 8, 8), np.uint8)})
    forget_crop(kept.path(8, 0), 8, 0)
    os.mkfifo(kept.path(8, 1))
    kept.path(8, 2).symlink_to(folder.files[-1][2])
    (found,) = verify(store, Again(sample=8))
    assert found.is_right
    assert (found.shards, found.asked_again) == (3, 8)


def test_crops_of_other_pixels_are_found(tmp_path: Path, tiny_images: Path) -> None:
    """As if an image had been decoded in another way: each byte is as it was written, and it is wrong."""
    store = tmp_path / "store"
    _seen(store, tiny_images)
    (folder,) = crops_folders(store)
    kept = open_crops(folder, folder.keys)
    for row in range(len(folder.keys)):
        kept.write(row, 0, kept.key(row), {SIDE: np.full((3, SIDE, SIDE), 9, np.uint8)})
    (found,) = verify(store, Again(sample=1000))
    assert found.drifted == len(folder.keys)
    assert not found.is_right


def test_where_images_are_gone_crops_are_checked_alone(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without images, or with another Pillow, nothing can be compared, which is said."""
    store, images = tmp_path / "store", tmp_path / "images"
    shutil.copytree(tiny_images, images)
    _seen(store, images)
    shutil.rmtree(images)
    (gone,) = verify(store, Again(sample=8))
    assert not gone.is_right
    assert "not read again" in gone.note
    assert verify(store, Again(sample=0))[0].is_right
    assert verify(store, Again(sample=8, data=(str(tiny_images),)))[0].asked_again == 8
    monkeypatch.setattr("alumnus.store.verify.decoder", lambda: "Pillow 99")
    (other,) = verify(store, Again(sample=8))
    assert other.is_right
    assert "Pillow 99" in other.note


def test_what_crops_take_is_counted(tmp_path: Path, tiny_images: Path) -> None:
    """Holes are not; copies of an image are one."""
    store = tmp_path / "store"
    _seen(store, tiny_images)
    (folder,) = crops_folders(store)
    size = crops_bytes(store)
    assert size == disk_bytes(store) > 0
    assert size >= whole_bytes(folder.keys, sides=[SIDE], num_views=2)
    whole = whole_bytes(np.append(folder.keys, [-1, folder.keys[0]]), sides=[SIDE, 32], num_views=3)
    images = len({path.read_bytes() for path in tiny_images.rglob("*.png")})
    assert whole == images * 3 * (2 * 4 + 3 * SIDE**2 + 3 * 32**2)


def test_a_budget_that_crops_have_used_up_says_so(tmp_path: Path, tiny_images: Path) -> None:
    """They are the part of a store that can be spared."""
    store = tmp_path / "store"
    _seen(store, tiny_images)
    tight = store_of(store, tiny_images, budget=crops_bytes(store) + 100)
    with pytest.raises(
        StoreError, match=r"of it crops, which `alumnus cache prune STORE RECIPE crops=false` removes"
    ):
        speakers_of(tight, [spec_of(Counting())])


def test_crops_are_listed_and_go_if_nobody_needs_them(tmp_path: Path, tiny_images: Path) -> None:
    """By a recipe's views; of teachers by name none go."""
    store = tmp_path / "store"
    speakers_of(store_of(store, tiny_images), [spec_of(Counting())])
    _seen(store, tiny_images)
    (line,) = (line for line in cache.info(store) if line[0].startswith("crops-"))
    assert line[2:5] == (str(SIDE), "2", f"{len(open_dataset(tiny_images)):,}")
    (crops,) = crops_folders(store)
    (outputs,) = store.glob("*/about.json")
    assert unneeded(store, keep=[outputs.parent.name]) == [crops.path]
    assert unneeded(store, teachers=["counting"]) == [outputs.parent]
    assert unneeded(store, keep=[outputs.parent.name, crops.path.name]) == []
    remove([crops.path])
    assert crops_bytes(store) == 0


def test_a_run_whose_crops_are_pruned_goes_on(
    tmp_path: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reads images, and keeps no more."""
    kept = _opened(tmp_path, [5])
    crop = np.zeros((3, SIDE, SIDE), np.uint8)
    kept.write(0, 0, 5, {SIDE: crop})
    remove([kept.folder])
    assert not kept.read(0, 0, {SIDE: crop})
    kept.write(0, 0, 5, {SIDE: crop})
    assert "no more crops are kept" in " ".join(capsys.readouterr().err.split())


def test_damaged_words_about_crops_are_told(tmp_path: Path) -> None:
    """As of outputs."""
    kept = _opened(tmp_path, [5])
    (kept.folder / "crops.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged or not from a store"):
        crops_bytes(tmp_path)


def test_upright_images_are_what_is_kept(tmp_path: Path) -> None:
    """Orientation by EXIF is part of what a view shows, here as in a run without crops."""
    images = tmp_path / "images" / "a"
    images.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    Image.fromarray(np.arange(40 * 20 * 3, dtype=np.uint8).reshape(40, 20, 3)).save(
        images / "0.jpg", exif=exif
    )
    _seen(tmp_path / "store", tmp_path / "images")
    (found,) = verify(tmp_path / "store", Again(sample=4))
    assert found.is_right
    assert found.asked_again == 2
