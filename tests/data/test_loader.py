"""Loading: the same batches whatever the number of workers or processes; a bad image never ends anything."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch

from alumnus.data import loader
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.kept import KeptCrops
from alumnus.data.loader import Loaded, center_crop_batches, train_batches
from alumnus.data.read import key_of, read_keyed
from alumnus.data.sampler import Sampler
from alumnus.data.views import ViewSettings
from alumnus.errors import DataError


def _load(
    dataset: Dataset,
    *,
    start: int = 0,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    views: ViewSettings | None = None,
    kept: KeptCrops | None = None,
    without: Collection[int] = (),
) -> list[Loaded]:
    views = views or ViewSettings()
    sampler = Sampler(dataset.domain, name="balanced", batch_size=6, seed=0, views_per_image=views.per_image)
    return list(
        train_batches(
            dataset,
            sampler,
            views,
            size=24,
            teacher_sizes=[24, 32],
            start=start,
            steps=5,
            workers=workers,
            rank=rank,
            world_size=world_size,
            kept=kept,
            without=without,
        )
    )


def test_batches_have_the_shapes_they_promise(tiny_images: Path) -> None:
    """uint8 images at the student's and the teachers' sizes, one row, view, domain and label each."""
    batch = _load(open_dataset(tiny_images))[0].batch
    assert batch.image.shape == (6, 3, 24, 24)
    assert batch.image.dtype == torch.uint8
    assert {side: image.shape for side, image in batch.teacher_images.items()} == {
        24: (6, 3, 24, 24),
        32: (6, 3, 32, 32),
    }
    for column in (batch.row, batch.view, batch.domain, batch.label):
        assert column.shape == (6,)
        assert column.dtype == torch.int64


def test_students_sizes_are_drawn_by_step(tiny_images: Path) -> None:
    """One for a whole batch, of whatever process; teachers see their own, of the same crops."""
    dataset, views = open_dataset(tiny_images), ViewSettings(sizes=(16, 40))
    whole, late = _load(dataset, views=views), _load(dataset, views=views, start=2, workers=1)
    sides = [loaded.batch.image.shape[-1] for loaded in whole]
    assert set(sides) == {16, 40}
    assert [loaded.batch.image.shape[-1] for loaded in late] == sides[2:]
    halves = [_load(dataset, views=views, rank=rank, world_size=2) for rank in range(2)]
    assert all([loaded.batch.image.shape[-1] for loaded in half] == sides for half in halves)
    for several, one in zip(whole, _load(dataset), strict=True):
        assert torch.equal(several.batch.teacher_images[32], one.batch.teacher_images[32])


def test_workers_and_restarts_change_nothing(tiny_images: Path) -> None:
    """Read here, read by two workers, or begun at step 3: the same batches."""
    dataset = open_dataset(tiny_images)
    here, workers, late = _load(dataset), _load(dataset, workers=2), _load(dataset, start=3)
    for one, other in zip(here, workers, strict=True):
        assert torch.equal(one.batch.image, other.batch.image)
        assert torch.equal(one.batch.row, other.batch.row)
    assert torch.equal(late[0].batch.image, here[3].batch.image)


def _kept(folder: Path, dataset: Dataset) -> KeptCrops:
    return KeptCrops(folder, np.array([key_of(path) for path in dataset.paths]), np.arange(len(dataset)))


def _same(ours: list[Loaded], theirs: list[Loaded]) -> bool:
    tensors = [
        [each.batch.image, *each.batch.teacher_images.values(), each.batch.key, each.batch.view]
        for loaded in (ours, theirs)
        for each in loaded
    ]
    half = len(ours)
    return all(
        torch.equal(a, b)
        for one, other in zip(tensors[:half], tensors[half:], strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "more", [{}, {"brightness": 0.4, "contrast": 0.2, "saturation": 0.3}, {"sizes": (16, 24)}]
)
def test_crops_that_are_kept_are_the_same_bits(
    tiny_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, more: dict[str, object]
) -> None:
    """While they are written, and when they are read, which opens no image."""
    dataset = open_dataset(tiny_images)
    views = ViewSettings.model_validate({"per_image": 2, **more})
    plain = _load(dataset, views=views)
    kept = _kept(tmp_path, dataset)
    assert _same(plain, _load(dataset, views=views, kept=kept, workers=workers))

    def nothing(path: object) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(loader, "read_keyed", nothing)
    assert _same(plain, _load(dataset, views=views, kept=kept, workers=workers))


def test_a_row_to_be_left_out_is_replaced_though_its_crop_is_kept(tiny_images: Path, tmp_path: Path) -> None:
    """And told, as without crops."""
    dataset, views = open_dataset(tiny_images), ViewSettings(per_image=1)
    kept = _kept(tmp_path, dataset)
    plain = _load(dataset, views=views, kept=kept)
    row = int(plain[0].batch.row[0])
    found = [_load(dataset, views=views, kept=each, without={row}) for each in (None, kept)]
    assert [bad.row for bad in found[0][0].bad] == [row]
    assert [each.bad for each in found[0]] == [each.bad for each in found[1]]
    assert _same(*found)


def test_a_bad_image_stays_one_beside_crops(tiny_images: Path, tmp_path: Path) -> None:
    """Nothing of it is kept; its replacement is."""
    images = tmp_path / "images"
    shutil.copytree(tiny_images / "discs", images / "discs")
    for path in sorted((images / "discs").rglob("*.png"))[:25]:
        path.write_bytes(path.read_bytes()[:200])
    dataset, views = open_dataset(images), ViewSettings(per_image=1)
    kept = _kept(tmp_path, dataset)
    plain, first, second = (_load(dataset, views=views, kept=each) for each in (None, kept, kept))
    assert sum(len(each.bad) for each in plain) > 5
    assert [each.bad for each in plain] == [each.bad for each in first] == [each.bad for each in second]
    assert _same(plain, first)
    assert _same(plain, second)


def test_an_image_that_changed_is_read_anew(tiny_images: Path, tmp_path: Path) -> None:
    """A crop that is kept is of the bytes that the image had."""
    shutil.copytree(tiny_images / "discs", tmp_path / "images" / "discs")
    dataset, views = open_dataset(tmp_path / "images"), ViewSettings(per_image=1)
    _load(dataset, views=views, kept=_kept(tmp_path, dataset))
    for path in dataset.paths:
        image = read_keyed(path).image
        image.rotate(90).save(path)
    assert _same(_load(dataset, views=views), _load(dataset, views=views, kept=_kept(tmp_path, dataset)))


def test_processes_share_one_global_batch(tiny_images: Path) -> None:
    """Two processes' slices together are what one process sees."""
    dataset = open_dataset(tiny_images)
    whole = _load(dataset)[2].batch
    parts = [_load(dataset, rank=rank, world_size=2)[2].batch for rank in (0, 1)]
    assert torch.equal(torch.stack([part.image for part in parts], 1).flatten(0, 1), whole.image)


def test_photometric_change_is_the_students_alone(tiny_images: Path) -> None:
    """Teachers see the shared crop, the student a darker or brighter one; geometry is the same."""
    views = ViewSettings(brightness=0.5)
    dataset = open_dataset(tiny_images)
    plain, changed = _load(dataset)[0].batch, _load(dataset, views=views)[0].batch
    assert torch.equal(plain.teacher_images[24], changed.teacher_images[24])
    assert torch.equal(plain.image, plain.teacher_images[24])
    assert not torch.equal(changed.image, changed.teacher_images[24])


def test_a_bad_image_is_replaced_by_one_of_its_domain(tiny_images: Path, tmp_path: Path) -> None:
    """The batch stays full, the replacement is of the same domain and the same in every run, and the reason is told."""
    folder = Path(shutil.copytree(tiny_images, tmp_path / "images"))
    dataset = open_dataset(folder)
    row = int(_load(dataset)[1].batch.row[2])
    Path(dataset.paths[row]).write_bytes(b"")
    first, again = _load(dataset), _load(dataset, workers=2)
    assert [bad.row for loaded in first for bad in loaded.bad] == [row]
    replacement = int(first[1].batch.row[2])
    assert replacement != row
    assert dataset.domain[replacement] == dataset.domain[row]
    assert replacement == int(again[1].batch.row[2])


def test_a_domain_without_any_good_image_is_an_error(tmp_path: Path) -> None:
    """When nothing can take the place, the message names the domain and the last reason."""
    folder = tmp_path / "ruins"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"32 draws from the domain 'ruins' in a row .* has 3 images"):
        _load(open_dataset(folder))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_views_come_in_order_without_the_bad_ones(
    tiny_images: Path, tmp_path: Path, workers: int
) -> None:
    """Every good image once, in order, at each size; the bad one with its place and reason."""
    folder = Path(shutil.copytree(tiny_images, tmp_path / "images"))
    paths = open_dataset(folder).paths
    Path(paths[4]).write_text("<html>")
    seen, bad = [], []
    for index, images, unreadable in center_crop_batches(paths, [16, 20], batch_size=7, workers=workers):
        assert {side: image.shape for side, image in images.items()} == {
            16: (len(index), 3, 16, 16),
            20: (len(index), 3, 20, 20),
        }
        seen.append(index)
        bad += unreadable
    assert np.concatenate(seen).tolist() == [place for place in range(len(paths)) if place != 4]
    assert [one.row for one in bad] == [4]
    assert bad[0].reason
