"""Tar shards: what is read, at random and in place, and what a broken one costs."""

from __future__ import annotations

import json
import pickle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from alumnus.data import tar_index
from alumnus.data.dataset import Dataset, open_dataset, write_dataset
from alumnus.data.dense import read_mask
from alumnus.data.loader import center_crop_batches
from alumnus.data.read import BadImage, read_image
from alumnus.data.readers.webdataset import expanded
from alumnus.data.tar_scan import Scan, scan_tar
from alumnus.errors import DataError
from tests.data.shards import picture, save_mask, save_tar


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALUMNUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder `pets` with two shards of two samples each."""
    folder = tmp_path / "pets"
    save_tar(
        folder / "train-0000.tar",
        {
            "a/0001.jpg": picture(10, "JPEG"),
            "a/0001.cls": b"cat\n",
            "a/0001.txt": b"a cat\n",
            "a/0002.png": picture(20),
            "a/0002.json": json.dumps(
                {"label": 7, "domain": "farm", "split": "val", "text": ["x", "y"]}
            ).encode(),
        },
    )
    save_tar(
        folder / "train-0001.tar",
        {"3.png": picture(30), "4.left.png": picture(40), "4.right.png": picture(50), "4.cls": b"2"},
    )
    return folder


def _labels(data: Dataset) -> list[str | None]:
    pairs = zip(data.domain, data.label, strict=True)
    return [None if label < 0 else data.classes[domain][label] for domain, label in pairs]


def test_members_are_rows_with_what_belongs_to_them(shards: Path) -> None:
    """Label, caption, domain and split come from the members of the same key."""
    data = open_dataset(shards)
    first, second = "train-0000.tar::a/", "train-0001.tar::"
    assert data.file_names == (
        first + "0001.jpg", first + "0002.png", second + "3.png", second + "4.left.png", second + "4.right.png"
    )  # fmt: skip
    assert _labels(data) == ["cat", "7", None, "2", "2"]
    assert [data.domains[d] for d in data.domain] == ["pets", "farm", "pets", "pets", "pets"]
    assert data.split.tolist() == ["train", "val", "train", "train", "train"]
    assert data.text == ("a cat", "x\ny", None, None, None)
    assert [np.asarray(read_image(path))[0, 0, 0] for path in data.paths] == [10, 20, 30, 40, 50]


def test_nothing_is_unpacked_and_the_second_opening_reads_no_header(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is kept, and belongs to one state of the shard."""
    before = open_dataset(shards)
    assert sorted(path.name for path in shards.iterdir()) == ["train-0000.tar", "train-0001.tar"]
    tar_index._members.cache_clear()
    with monkeypatch.context() as blind:
        blind.setattr(tar_index, "scan_tar", lambda path: pytest.fail("the shard was read again"))
        again = open_dataset(shards)
        assert again.fingerprint == before.fingerprint
        assert (again.text, _labels(again)) == (before.text, _labels(before))
    save_tar(shards / "train-0001.tar", {"3.png": picture(77, size=(50, 50))})
    assert np.asarray(read_image(again.paths[2]))[0, 0, 0] == 77
    assert open_dataset(shards).fingerprint != before.fingerprint


def test_an_index_made_while_the_shard_grows_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that is still copied is read again when it is whole."""
    whole = save_tar(tmp_path / "whole.tar", {f"{n}.png": picture(n) for n in range(4)}).read_bytes()
    shard = save_tar(tmp_path / "set" / "0.tar", {f"{n}.png": picture(n) for n in range(2)})

    def slow(path: Path) -> Scan:
        found = scan_tar(path)
        shard.write_bytes(whole)
        return found

    with monkeypatch.context() as growing:
        growing.setattr(tar_index, "scan_tar", slow)
        open_dataset(shard)
    tar_index._members.cache_clear()
    assert len(open_dataset(shard)) == 4


def test_patterns_name_shards(shards: Path) -> None:
    """Braces and globs, one shard, and what is not there."""
    for pattern in ("train-{0000..0001}.tar", "train-*.tar", "train-000{0,1}.tar"):
        assert open_dataset(str(shards / pattern)).file_names == open_dataset(shards).file_names
    assert len(open_dataset(shards / "train-0001.tar")) == 3
    assert expanded("a-{8..10}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar"]
    assert expanded("{a,b}-{0..1}.tar") == ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]
    with pytest.raises(DataError, match=r"train-0002\.tar': no such file"):
        open_dataset(str(shards / "train-{0000..0002}.tar"))
    with pytest.raises(DataError, match="finds no file"):
        open_dataset(str(shards / "val-*.tar"))
    with pytest.raises(DataError, match="1 to 100000 are allowed"):
        expanded("{0..999999999}.tar")


@pytest.mark.parametrize(
    ("name", "split"), [("val/0.tar", "val"), ("set-val-0.tar", "val"), ("x.tar", "train")]
)
def test_a_shards_place_or_name_says_its_split(tmp_path: Path, name: str, split: str) -> None:
    """A folder first, then a word of the name."""
    save_tar(tmp_path / "set" / name, {"1.png": picture(1)})
    assert open_dataset(tmp_path / "set").split.tolist() == [split]


def test_query_and_index_need_each_other(tmp_path: Path) -> None:
    """A lone folder `database` is a name like any other; where both are there, each may be given by itself."""
    save_tar(tmp_path / "database" / "0.tar", {"1.png": picture(1)})
    assert open_dataset(tmp_path / "database").split.tolist() == ["train"]
    save_tar(tmp_path / "query" / "1.tar", {"1.png": picture(2)})
    assert open_dataset(tmp_path).split.tolist() == ["index", "query"]
    assert open_dataset([tmp_path / "query" / "1.tar", tmp_path / "database"]).split.tolist() == [
        "query",
        "index",
    ]


def test_a_folder_of_shards_may_say_what_holds_for_all(tmp_path: Path) -> None:
    """Also above split folders, and for a pattern."""
    mask = save_mask(tmp_path / "m.png", [[0, 1]]).read_bytes()
    folder = tmp_path / "set"
    for split in ("train", "val"):
        save_tar(folder / split / "0.tar", {"1.png": picture(1), "1.mask.png": mask, "1.depth.png": mask})
    (folder / "dataset.json").write_text('{"mask_classes": ["sky", "sea"], "depth_unit": "cm"}')
    for source in (folder, f"{folder}/{{train,val}}/0.tar"):
        data = open_dataset(source)
        assert (data.mask_classes, data.depth_unit) == (("sky", "sea"), "cm")


def test_images_beside_shards_are_read_and_the_shards_named(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stray picture does not hide the shards without a word, and what is named reads them."""
    (shards / "preview.png").write_bytes(picture(60))
    assert len(open_dataset(shards)) == 1
    assert f"its tar files are not; to read those instead, give '{shards}/*.tar'" in capsys.readouterr().err
    assert len(open_dataset(f"{shards}/*.tar")) == 5


def test_masks_and_depths_in_a_shard(tmp_path: Path) -> None:
    """They are members like any other, and read in place."""
    mask = save_mask(tmp_path / "m.png", [[0, 255], [3, 1]]).read_bytes()
    save_tar(tmp_path / "set" / "0.tar", {"1.png": picture(1), "1.mask.png": mask, "2.png": picture(2)})
    data = open_dataset(tmp_path / "set")
    assert len(data) == 2
    assert data.masks is not None
    assert data.masks[0] is not None
    assert data.masks[1] is None
    assert read_mask(data.masks[0]).tolist() == [[0, -1], [3, 1]]


def test_a_torn_shard_gives_what_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The images before the tear are rows; the torn one is a BadImage when it is read, and the run goes on."""
    path = save_tar(
        tmp_path / "set" / "0.tar", [(f"{i}.png", np.random.default_rng(i).bytes(3000)) for i in range(3)]
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 + 3072 + 512 + 1000])  # inside the second member
    data = open_dataset(tmp_path / "set")
    assert data.file_names == ("0.tar::0.png", "0.tar::1.png")
    assert "ends" in capsys.readouterr().err
    with pytest.raises(BadImage, match="the tar ends inside this member, after 1000 of 3000 bytes"):
        read_image(data.paths[1])
    _, _, bad = next(center_crop_batches(data.paths, [8], workers=0))
    assert [each.row for each in bad] == [0, 1]


def test_a_shard_that_ends_inside_a_label_keeps_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The label is lost, and said to be; the image stands."""
    path = save_tar(tmp_path / "a.tar", {"0.png": picture(9), "0.cls": b"x" * 31})
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"x" * 31) + 3])
    data = open_dataset(path)
    assert len(data) == 1
    assert data.label.tolist() == [-1]
    assert "0.cls" in capsys.readouterr().err


def test_a_broken_header_loses_one_member(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What follows it is found again."""
    path = save_tar(tmp_path / "set" / "0.tar", {f"{i}.png": picture(i) for i in range(3)})
    content = bytearray(path.read_bytes())
    content[1024 : 1024 + 300] = b"\xee" * 300  # the second header; a picture and its padding take one block
    path.write_bytes(content)
    assert open_dataset(tmp_path / "set").file_names == ("0.tar::0.png", "0.tar::2.png")
    assert "a header is broken after 1 members" in capsys.readouterr().err


def test_words_that_cannot_be_understood_leave_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Broken JSON, a split of no meaning and text that is not UTF-8 are told; the images stay."""
    members = {f"{i}.png": picture(i) for i in range(4)}
    words = {"0.json": b"{", "1.json": b'{"split": "tomorrow"}', "2.cls": b"\xff", "3.json": b"[" * 100_000}
    save_tar(tmp_path / "set" / "0.tar", members | words)
    data = open_dataset(tmp_path / "set")
    assert (len(data), _labels(data)) == (4, [None] * 4)
    # What a broken JSON or an unknown word may have kept apart is not learnt from; a broken label costs the label alone.
    assert data.split.tolist() == ["spare", "spare", "train", "spare"]
    for _ in range(2):  # from the index, too
        open_dataset(tmp_path / "set")
        assert "4 things in it cannot be understood" in capsys.readouterr().err


def test_a_broken_json_leaves_the_split_of_the_shard(tmp_path: Path) -> None:
    """Where its place says one."""
    save_tar(tmp_path / "set" / "test" / "0.tar", {"0.png": picture(1), "0.json": b"{"})
    assert open_dataset(tmp_path / "set").split.tolist() == ["test"]


def test_each_word_of_a_json_counts_by_itself(tmp_path: Path) -> None:
    """A test image whose label or caption is of no known form stays a test image."""
    said: list[dict[str, object]] = [
        {"label": 0.5, "split": "test"},
        {"label": [1, 2], "split": "test"},
        {"caption": 7, "split": "test", "label": 1},
    ]
    members = {f"{i}.json": json.dumps({"domain": "d", **each}).encode() for i, each in enumerate(said)}
    data = open_dataset(save_tar(tmp_path / "0.tar", {f"{i}.png": picture(i) for i in range(3)} | members))
    assert (data.domains, set(data.split)) == (("d",), {"test"})
    assert _labels(data) == [None, None, "1"]


@pytest.mark.parametrize("order", [["0.cls", "0.json"], ["0.json", "0.cls"]])
def test_a_label_of_its_own_goes_before_the_jsons(tmp_path: Path, order: list[str]) -> None:
    """In any order of the members."""
    words = {"0.cls": b"3", "0.json": b'{"label": "cat"}'}
    members = {"0.png": picture(1)} | {name: words[name] for name in order}
    assert _labels(open_dataset(save_tar(tmp_path / "0.tar", members))) == ["3"]


@pytest.mark.parametrize(
    ("kept", "said"), [(1024 + 300, "inside a header"), (1024, "without a tar's end mark")]
)
def test_a_shard_that_ends_between_members_says_so_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: int, said: str
) -> None:
    """A download that broke off in a header, or before one."""
    path = save_tar(tmp_path / "0.tar", {f"{i}.png": picture(i) for i in range(2)})
    path.write_bytes(path.read_bytes()[:kept])
    for _ in range(2):
        assert len(open_dataset(path)) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b" + bytes(600), "compressed with gzip; unpack it"),
        (b"no tar" * 200, "is no tar"),
        (b"", "empty file"),
    ],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With what it is instead."""
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "0.tar")


def test_links_and_odd_names_in_a_tar(tmp_path: Path) -> None:
    """Links are no members; names that would leave a folder, or are not UTF-8, are only names."""
    import tarfile

    path = tmp_path / "set" / "0.tar"
    save_tar(path, {"../../up.png": picture(1), "caf\udce9.png": picture(2), "x::y.png": picture(3)})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = open_dataset(tmp_path / "set")
    assert data.file_names == ("0.tar::../../up.png", "0.tar::caf\udce9.png", "0.tar::x::y.png")
    assert [np.asarray(read_image(each))[0, 0, 0] for each in data.paths] == [1, 2, 3]
    assert len(data.fingerprint) == 64


def test_of_two_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    """As when a tar is unpacked."""
    save_tar(tmp_path / "0.tar", [("a.png", picture(1)), ("a.png", picture(2))])
    data = open_dataset(tmp_path / "0.tar")
    assert [np.asarray(read_image(each))[0, 0, 0] for each in data.paths] == [2]


def test_a_list_may_name_members(tmp_path: Path) -> None:
    """`metadata.parquet` beside shards, as the design has it; a member's name is no path to be tidied."""
    save_tar(tmp_path / "s" / "0.tar", {"b/../1.png": picture(9), "2.png": picture(8)})
    write_dataset(
        [{"file_name": "s/0.tar::b/../1.png", "label": "nine"}, {"file_name": "s/0.tar::none.png"}], tmp_path
    )
    data = open_dataset(tmp_path)
    assert data.file_names == ("s/0.tar::b/../1.png", "s/0.tar::none.png")
    assert np.asarray(read_image(data.paths[0]))[0, 0, 0] == 9
    with pytest.raises(BadImage, match="no such member"):
        read_image(data.paths[1])
    with pytest.raises(DataError, match="leaves the folder"):
        write_dataset([{"file_name": "../0.tar::1.png"}], tmp_path)


def test_other_processes_read_members(shards: Path) -> None:
    """A process that starts from nothing gets the dataset and reads at random."""
    data = open_dataset(shards)
    copy = pickle.loads(pickle.dumps(data))
    with get_context("spawn").Pool(1) as pool:
        assert pool.map(_grey, [copy.paths[4], copy.paths[0]]) == [50, 10]


def _grey(path: str) -> int:
    return int(np.asarray(read_image(path))[0, 0, 0])


def test_a_cache_that_cannot_be_written_is_done_without(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file where the folder should be."""
    (shards.parent / "blocked").write_text("")
    monkeypatch.setenv("ALUMNUS_CACHE", str(shards.parent / "blocked"))
    assert len(open_dataset(shards)) == 5
    assert _grey(open_dataset(shards).paths[2]) == 30


def test_tars_that_were_joined_are_read_to_the_end(tmp_path: Path) -> None:
    """As `cat a.tar b.tar` makes them."""
    parts = [
        save_tar(tmp_path / name, {f"{name}.png": picture(1)}).read_bytes() for name in ("a.tar", "b.tar")
    ]
    (tmp_path / "both.tar").write_bytes(b"".join(parts))
    scan = scan_tar(tmp_path / "both.tar")
    assert ([member.name for member in scan.members], scan.damage) == (["a.tar.png", "b.tar.png"], "")
