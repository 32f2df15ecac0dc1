"""A packed set opens like any other, holds what the source held at a smaller size, and is there whole or not at all."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.curation.alone import alone
from alumnus.curation.pack import bytes_of, pack
from alumnus.curation.shards import Wanted, member_name, read_lines, smaller, write_shard
from alumnus.data.dataset import Dataset, open_dataset, write_dataset
from alumnus.data.dense import read_depth, read_mask
from alumnus.data.loader import train_batches
from alumnus.data.read import read_image
from alumnus.data.sampler import Sampler
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError, DataError, TooManyBadImages
from tests.data.shards import save_mask, save_tar


def _photo(width: int, height: int, kind: str = "JPEG", **settings: object) -> bytes:
    """A smooth picture, encoded."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Every column, several formats and sizes, one broken picture, one picture listed twice, one in a tar."""
    folder = tmp_path / "source"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "wide.jpg").write_bytes(_photo(400, 200))
    (folder / "cats" / "small.png").write_bytes(_photo(20, 30, "PNG"))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    (folder / "turned.jpg").write_bytes(_photo(160, 80, exif=exif.tobytes()))
    (folder / "broken.jpg").write_bytes(_photo(100, 100)[:300])
    save_tar(folder / "old.tar", {"a/in.png": _photo(64, 64, "PNG")})
    save_mask(folder / "mask.png", np.repeat([[0, 1], [255, 2]], 100, 0).repeat(200, 1))
    save_mask(folder / "depth.png", np.full((200, 400), 1234), np.uint16)
    box = {"bbox": [[40, 20, 100, 50]], "categories": ["cat"]}
    rows: list[Mapping[str, object]] = [
        {"file_name": "cats/wide.jpg", "label": "wide", "text": ["one", "two"], "objects": box}
        | {"mask": "mask.png", "depth": "depth.png"},
        {"file_name": "cats/small.png", "label": "small", "split": "test", "domain": "tiny"},
        {"file_name": "turned.jpg"},
        {"file_name": "broken.jpg", "label": "wide"},
        {"file_name": "old.tar::a/in.png", "label": "small"},
        {"file_name": "cats/wide.jpg", "label": "wide", "split": "index", "objects": box},
    ]
    write_dataset(rows, folder)
    (folder / "dataset.json").write_text(
        json.dumps({"mask_classes": ["sky", "cat", "sea"], "licence": "CC0"})
    )
    return folder


def _packed(source: Path, out: Path, **settings: object) -> Dataset:
    return open_dataset(pack(source, out, max_bad_fraction=0.5, workers=0, **settings))  # type: ignore[arg-type]


def test_every_column_comes_along(source: Path, tmp_path: Path) -> None:
    """Domain, label, split, text; the broken picture is named, and the row of a picture listed twice is there twice."""
    old, new = open_dataset(source), _packed(source, tmp_path / "new", short_side=50)
    kept = [0, 1, 2, 4, 5]
    assert len(new) == 5
    assert [new.domains[d] for d in new.domain] == [old.domains[old.domain[row]] for row in kept]
    assert new.classes == old.classes
    assert new.label.tolist() == old.label[kept].tolist()
    assert new.split.tolist() == old.split[kept].tolist()
    assert new.text is not None
    assert list(new.text) == ["one\ntwo", None, None, None, None]
    assert new.mask_classes == ("sky", "cat", "sea")
    assert new.file_names[0] == new.file_names[4] == "shards/00000.tar::cats/wide.jpg.ppm"
    assert new.file_names[3] == "shards/00000.tar::old.tar/a/in.png.ppm"
    lines = (tmp_path / "new" / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["file_name"] for line in lines] == ["broken.jpg"]
    facts = json.loads((tmp_path / "new" / "dataset.json").read_text())
    assert (facts["short_side"], facts["unreadable"]) == (50, 1)
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == [
        *("00000.tar", "dataset.json", "metadata.parquet", "quarantine.jsonl", "shards")
    ]


def test_pictures_keep_their_aspect_and_are_never_enlarged(source: Path, tmp_path: Path) -> None:
    """Resized, kept as it is, and turned by EXIF."""
    new = _packed(source, tmp_path / "new", short_side=50)
    assert [read_image(path).size for path in new.paths] == [
        (100, 50),
        (20, 30),
        (50, 100),
        (50, 50),
        (100, 50),
    ]
    small = read_image(source / "cats" / "small.png")
    assert np.array_equal(np.asarray(read_image(new.paths[1])), np.asarray(small))
    wide = read_image(source / "cats" / "wide.jpg").resize((100, 50), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(read_image(new.paths[0])), np.asarray(wide))


def test_training_reads_it_like_any_other(source: Path, tmp_path: Path) -> None:
    """By worker processes, and with nothing bad in it."""
    new = _packed(source, tmp_path / "new", short_side=50).select(split="train")
    sampler = Sampler(new.domain, name="balanced", batch_size=4, seed=0)
    for workers in (0, 1):
        loaded = list(
            train_batches(
                *(new, sampler, ViewSettings()),
                size=24,
                teacher_sizes=[32],
                start=0,
                steps=2,
                workers=workers,
            )
        )
        assert [each.batch.image.shape for each in loaded] == [(4, 3, 24, 24)] * 2
        assert not any(each.bad for each in loaded)


def test_objects_masks_and_depth_fit_the_new_size(source: Path, tmp_path: Path) -> None:
    """Boxes in the new px; classes and depths are never mixed."""
    new = _packed(source, tmp_path / "new", short_side=50)
    assert new.objects is not None
    assert new.masks is not None
    assert new.depths is not None
    for row in (0, 4):
        found = new.objects[row]
        assert found is not None
        np.testing.assert_allclose(found.boxes, [[10, 5, 25, 12.5]])
    assert new.object_classes == ("cat",)
    mask = read_mask(str(new.masks[0]))
    assert np.array_equal(mask, np.repeat([[0, 1], [-1, 2]], 25, 0).repeat(50, 1))
    depth = read_depth(str(new.depths[0]))
    assert depth.shape == (50, 100)
    np.testing.assert_allclose(depth, 1.234)


def test_processes_and_restarts_give_the_same_shards(source: Path, tmp_path: Path) -> None:
    """Two processes, one, and one that was stopped by too many broken pictures and goes on."""
    for out, workers in (("one", 0), ("two", 2)):
        pack(source, tmp_path / out, short_side=32, max_bad_fraction=0.5, workers=workers)
    for _ in range(2):  # asked again, it says so again
        with pytest.raises(TooManyBadImages, match="raise max_bad_fraction"):
            pack(source, tmp_path / "again", short_side=32, workers=0)
    assert not (tmp_path / "again").exists()
    shard = tmp_path / ".again.packing" / "shards" / "00000.tar"
    made = shard.stat().st_mtime_ns
    pack(source, tmp_path / "again", short_side=32, max_bad_fraction=0.5, workers=0)
    assert (tmp_path / "again" / "shards" / "00000.tar").stat().st_mtime_ns == made
    assert not shard.exists()
    contents = {
        (name, path.name): path.read_bytes()
        for name in ("one", "two", "again")
        for path in (tmp_path / name / "shards").iterdir()
    }
    assert len(set(contents.values())) == 1


def test_what_another_plan_left_is_not_used(source: Path, tmp_path: Path) -> None:
    """Another size, or a source that changed, starts again."""
    with pytest.raises(TooManyBadImages):
        pack(source, tmp_path / "new", short_side=32, workers=0)
    new = _packed(source, tmp_path / "new", short_side=40)
    assert read_image(new.paths[0]).size == (80, 40)


def test_many_shards_keep_the_order(tmp_path: Path) -> None:
    """600 pictures, of which some are listed twice, in three shards by two processes."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(600):
        Image.new("RGB", (3, 3), (number % 256, number // 256, 7)).save(folder / f"{number}.bmp")

    def rows() -> Iterator[dict[str, object]]:
        for number in range(600):
            yield {"file_name": f"{number}.bmp", "label": str(number)}
        for number in range(500, 600):
            yield {"file_name": f"{number}.bmp", "label": str(number), "split": "index"}

    write_dataset(rows(), folder)
    new = open_dataset(pack(folder, tmp_path / "new", workers=2))
    assert len(list((tmp_path / "new" / "shards").iterdir())) == 3
    assert len(new) == 700
    for row in (0, 255, 256, 599, 600, 699):
        number = int(new.classes[0][new.label[row]])
        assert read_image(new.paths[row]).getpixel((0, 0)) == (number % 256, number // 256, 7)


def test_a_set_that_is_too_large_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    """With the number of bytes, and what to do."""
    with pytest.raises(
        DataError, match=r"about 73.0 kB are needed, but budget allows 20.0 kB; a smaller short_side"
    ):
        pack(source, tmp_path / "new", short_side=50, budget="20kB", workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    pack(source, tmp_path / "new", short_side=50, budget="80kB", max_bad_fraction=0.5, workers=0)


def test_settings_that_mean_nothing_are_refused(source: Path, tmp_path: Path) -> None:
    """And an output that would overwrite or mix."""
    with pytest.raises(ConfigError, match="at least 8 px"):
        pack(source, tmp_path / "new", short_side=4)
    for budget in ("much", "20 apples", "-1"):
        with pytest.raises(ConfigError, match="write 500MB, 20GB"):
            bytes_of(budget)
    assert [bytes_of(each) for each in (7, "7", "1.5GB", "2 kB")] == [
        7,
        7,
        1_500_000_000,
        2000,
    ]
    with pytest.raises(DataError, match="lies inside"):
        pack(source, source / "new")
    with pytest.raises(DataError, match="not empty"):
        pack(source, source / "cats")


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    """With the next step."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"text")
    with pytest.raises(DataError, match="alumnus data check"):
        pack(tmp_path / "bad", tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("/x/../y.png", "x/y.png"),
        ("caf\udce9\n.jpg", r"caf\xe9\n.jpg"),
        ("s.tar::../m.png", "s.tar/m.png"),
    ],
)
def test_names_of_members_lead_nowhere(name: str, expected: str) -> None:
    """Whoever unpacks the tar stays in the folder."""
    assert member_name(name) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 50), (20, 10)), ((50, 101), (10, 20)), ((9, 900), (9, 900)), ((10, 10), (10, 10))],
)
def test_the_short_side_is_exact(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """The long one is rounded; small pictures stay."""
    assert smaller(size, 10) == expected


def test_a_run_that_goes_on_packs_what_the_files_hold_now(tmp_path: Path) -> None:
    """Broken pictures mended at the same size come in, and so does one that was whole and changed; what did not change is kept."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(300):  # two shards
        Image.new("RGB", (8, 8), (number % 256, 0, 7)).save(folder / f"{number:03d}.bmp")
    whole = (folder / "299.bmp").read_bytes()
    (folder / "299.bmp").write_bytes(bytes(len(whole)))
    with pytest.raises(TooManyBadImages, match="the same command tries them again") as caught:
        pack(folder, tmp_path / "new", max_bad_fraction=0, workers=0)
    assert "delete" not in str(caught.value)
    made = (tmp_path / ".new.packing" / "shards" / "00000.tar").stat().st_mtime_ns

    (folder / "299.bmp").write_bytes(whole)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / "298.bmp")
    new = open_dataset(pack(folder, tmp_path / "new", max_bad_fraction=0, workers=0))
    assert len(new) == 300
    assert [read_image(path).getpixel((0, 0)) for path in new.paths[-2:]] == [(200, 0, 0), (43, 0, 7)]
    assert not (tmp_path / "new" / "quarantine.jsonl").exists()
    assert (tmp_path / "new" / "shards" / "00000.tar").stat().st_mtime_ns == made


def test_a_mask_that_can_be_read_again_is_packed(tmp_path: Path) -> None:
    """Though nothing that is known of its file changed, as with a permission."""
    picture = tmp_path / "a.png"
    picture.write_bytes(_photo(20, 20, "PNG"))
    mask = tmp_path / "mask.png"
    save_mask(mask, np.ones((20, 20)))
    whole, time = mask.read_bytes(), mask.stat().st_mtime_ns
    wanted = [Wanted("a", str(picture), str(mask), None, is_exact=False)]
    mask.write_bytes(bytes(len(whole)))
    os.utime(mask, ns=(time, time))
    tar = write_shard(tmp_path / "0.tar", wanted, short_side=10)
    assert [packed.mask for packed in read_lines(tar)] == [None]
    mask.write_bytes(whole)
    os.utime(mask, ns=(time, time))
    assert [packed.mask for packed in read_lines(write_shard(tar, wanted, short_side=10))] == ["a.mask.png"]


def test_one_command_packs_into_a_folder_at_a_time(source: Path, tmp_path: Path) -> None:
    """A second one is refused in one line, and the first goes on."""
    out, work = tmp_path / "new", tmp_path / ".new.packing"
    with alone(work, out), pytest.raises(DataError, match=r"another process .* writes '.*new' now; wait"):
        pack(source, out, short_side=32, workers=0)
    assert not work.exists()
    with pytest.raises(ValueError, match="killed"), alone(work, out):
        raise ValueError("killed")
    pack(source, out, short_side=32, max_bad_fraction=0.5, workers=2)
    assert not work.exists()
    assert not (out / ".lock").exists()


def test_a_mask_that_cannot_be_read_costs_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are those of pictures; too many bad masks stop it all the same."""
    for number in range(4):
        for kind in ("images", "masks"):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "images" / f"{number}.png").write_bytes(_photo(20, 20 + number, "PNG"))
        save_mask(tmp_path / "set" / "masks" / f"{number}.png", np.ones((20, 20)))
    (tmp_path / "set" / "masks" / "0.png").write_bytes(b"no mask")
    (tmp_path / "set" / "images" / "3.png").write_bytes(b"no picture")
    new = open_dataset(pack(tmp_path / "set", tmp_path / "new", max_bad_fraction=0.25, workers=0))
    assert len(new) == 3
    assert "packed 3 of 4 pictures" in capsys.readouterr().err
    assert len((tmp_path / "new" / "quarantine.jsonl").read_text().splitlines()) == 2
    with pytest.raises(TooManyBadImages):
        pack(tmp_path / "set", tmp_path / "more", max_bad_fraction=0.2, workers=0)
