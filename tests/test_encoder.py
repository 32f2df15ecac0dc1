"""The encoder: images in, unit vectors out, however they are given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import alumnus
from alumnus.cli import run
from alumnus.data.dataset import open_dataset
from alumnus.errors import ArtifactError, ConfigError, DataError, TooManyBadImages
from alumnus.models.adaptors import Adaptor, AdaptorShape
from alumnus.models.artifact import save_student
from alumnus.models.student import Architecture, Student


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student folder."""
    made = Student(Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8))
    return save_student(made, tmp_path_factory.mktemp("run") / "student")


def test_paths_pictures_and_arrays_give_the_same_vectors(student: Path, tiny_images: Path) -> None:
    """(N, E) float32 of unit length, in the order given, however the images come."""
    encoder = alumnus.load(student)
    paths = sorted(tiny_images.rglob("*.png"))[:5]
    vectors = encoder.encode(paths)
    assert vectors.shape == (5, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    assert np.array_equal(vectors, encoder.encode(pictures))
    assert np.array_equal(vectors, encoder.encode([np.asarray(picture) for picture in pictures]))
    assert np.allclose(
        vectors[::-1], encoder.encode([str(path) for path in paths[::-1]], batch_size=2), atol=1e-5
    )


def _saved(folder: Path, kind: str) -> Path:
    """A picture that `convert("RGB")` gets wrong."""
    ramp = np.linspace(0, 255, 40 * 48).reshape(40, 48).astype(np.uint8)
    grey, path = Image.fromarray(ramp), folder / f"{kind}.png"
    if kind == "16 bit":
        Image.fromarray(ramp.astype(np.uint16) * 200).save(path)
    elif kind == "RGBA":
        Image.merge("RGBA", (grey, grey, grey, grey.transpose(Image.Transpose.ROTATE_180))).save(path)
    elif kind == "LA":
        Image.merge("LA", (grey, grey.transpose(Image.Transpose.ROTATE_180))).save(path)
    else:
        exif = Image.Exif()
        exif[Base.Orientation] = 6
        grey.convert("RGB").save(path, exif=exif)
    return path


@pytest.mark.parametrize("kind", ["16 bit", "RGBA", "LA", "EXIF-rotated"])
def test_a_picture_is_encoded_as_its_file(student: Path, tmp_path: Path, kind: str) -> None:
    """Also where its mode is not RGB, or where it lies on its side."""
    encoder, path = alumnus.load(student), _saved(tmp_path, kind)
    with Image.open(path) as picture:
        assert np.array_equal(encoder.encode([picture]), encoder.encode([path]))
        converted = np.asarray(picture.convert("RGB"))
    assert not np.array_equal(encoder.encode([converted]), encoder.encode([path]))


def test_a_path_alone_is_no_list(student: Path, tiny_images: Path) -> None:
    """A str is not taken apart into letters; the message says what to write."""
    for path in ("a.jpg", Path("a.jpg")):
        with pytest.raises(
            DataError, match=r"takes a list of images and got one path, 'a\.jpg'; give \[path\]"
        ):
            alumnus.load(student).encode(path)  # type: ignore[arg-type]


def test_a_run_folder_is_as_good_as_its_student(student: Path) -> None:
    """`load` finds student/ inside a run; a folder that is neither is refused."""
    assert alumnus.load(student.parent).dim == 8
    with pytest.raises(ArtifactError):
        alumnus.load(student.parent.parent / "absent")


def test_no_image_gives_no_vector(student: Path) -> None:
    """An empty list gives an empty array of the right width."""
    assert alumnus.load(student).encode([]).shape == (0, 8)


def test_unreadable_and_mixed_input_is_refused(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """The message counts and names what cannot be read; paths and arrays are not mixed; arrays must be RGB bytes."""
    encoder, good = alumnus.load(student), min(tiny_images.rglob("*.png"))
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"1 of 2 .*bad\.png"):
        encoder.encode([good, tmp_path / "bad.png"])
    with pytest.raises(DataError, match="both"):
        encoder.encode([good, np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(DataError, match=r"\(4, 4\) float64"):
        encoder.encode([np.zeros((4, 4))])
    with pytest.raises(DataError, match="got a Tensor; encode_tensor takes tensors"):
        encoder.encode(torch.zeros(2, 3, 32, 32))


def test_embed_writes_a_row_for_every_image(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """The Parquet file has names and unit vectors, equal to what `encode` gives."""
    out = alumnus.embed(student, tiny_images, tmp_path / "out" / "vectors.parquet", workers=0)
    table, dataset = pq.read_table(out), open_dataset(tiny_images)
    assert table["file_name"].to_pylist() == list(dataset.file_names)
    wanted = alumnus.load(student).encode(dataset.paths)
    assert np.allclose(np.stack(table["vector"].to_pylist()), wanted, atol=1e-6)
    assert table.schema.field("vector").type.list_size == 8


def test_vectors_stand_beside_what_is_known_of_their_images(
    student: Path, tiny_images: Path, tmp_path: Path
) -> None:
    """Domain, class and split, so that they need not be looked up; an image that cannot be read shifts nothing."""
    names = [f"{name}.png" for name in "abcd"]
    for name in names:
        shutil.copy(min(tiny_images.rglob("*.png")), tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"no")
    columns = {
        "file_name": names,
        "domain": ["pets", "pets", "shoes", "pets"],
        "label": ["cat", "dog", "boot", ""],
        "split": ["train", "val", "test", "test"],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")

    def rows(**settings: Any) -> list[tuple[str, ...]]:
        out = alumnus.embed(
            student,
            tmp_path / "list.parquet",
            tmp_path / "out.parquet",
            workers=0,
            max_bad_fraction=1,
            **settings,
        )
        table = pq.read_table(out)
        assert table.column_names == [*columns, "vector"]
        return [tuple(row[name] for name in columns) for row in table.to_pylist()]

    train, *test = (
        ("a.png", "pets", "cat", "train"),
        ("c.png", "shoes", "boot", "test"),
        ("d.png", "pets", None, "test"),
    )
    assert rows() == [train, *test]
    assert rows(split="test") == test
    assert rows(split=["train", "val"]) == [train]
    with pytest.raises(
        DataError, match=r"split=query: there is no such image, but of train \(1\), val \(1\)"
    ):
        rows(split="query")
    with pytest.raises(DataError, match=r"there is no split 'tset', only .*did you mean 'test'"):
        rows(split="tset")


def test_a_split_is_embedded_from_the_command_line(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """One, or a list."""
    for part, shape in (("train", "discs"), ("test", "squares")):
        shutil.copytree(tiny_images / shape, tmp_path / "set" / part)
    for split, parts in (("test", {"test"}), ("[train,test]", {"train", "test"})):
        words = [str(tmp_path / "set"), f"split={split}", f"out={tmp_path / 'v.parquet'}", "workers=0"]
        assert run(["embed", str(student), *words]) == 0
        assert set(pq.read_table(tmp_path / "v.parquet")["split"].to_pylist()) == parts


def test_embed_takes_an_image_by_itself(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """As the command is tried first: its vector is the one that it has among others."""
    image, out = tiny_images / "discs" / "red" / "0.png", tmp_path / "one.parquet"
    assert run(["embed", str(student), str(image), f"out={out}", "workers=0"]) == 0
    (row,) = pq.read_table(out).to_pylist()
    assert row["file_name"] == "0.png"
    assert np.allclose(row["vector"], alumnus.load(student).encode([image])[0], atol=1e-5)


@pytest.mark.parametrize("is_list", [False, True])
def test_embed_takes_several_sources(is_list: bool, student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """As words, or as a list as other commands do."""
    sources, out = [str(tiny_images / name) for name in ("discs", "squares")], tmp_path / "two.parquet"
    words = [f"[{','.join(sources)}]"] if is_list else sources
    assert run(["embed", str(student), *words, f"out={out}", "workers=0"]) == 0
    assert pq.read_table(out)["file_name"].to_pylist() == list(open_dataset(sources).file_names)


@pytest.mark.parametrize("name", ["vectors.csv", "vectors", "vectors.npy", "vectors.parquet.gz"])
def test_embed_writes_parquet_under_no_other_name(
    name: str, student: Path, tiny_images: Path, tmp_path: Path
) -> None:
    """Refused before anything is read or written; the message says what is allowed."""
    with pytest.raises(ConfigError, match=rf"{name} must be a file that ends in \.parquet"):
        alumnus.embed(student, tiny_images, tmp_path / "out" / name, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_each_file_of_vectors_has_a_list_of_its_own(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """Of that call alone: not of another file's in the folder, and an image that was mended is gone from it."""
    for number in (1, 2):
        (tmp_path / f"images{number}").mkdir()
        Image.open(min(tiny_images.rglob("*.png"))).save(tmp_path / f"images{number}" / "good.png")
        (tmp_path / f"images{number}" / f"bad{number}.png").write_bytes(b"no")

    def listed(number: int) -> list[str]:
        out = tmp_path / "out" / f"v{number}.parquet"
        alumnus.embed(student, tmp_path / f"images{number}", out, workers=0, max_bad_fraction=1)
        lists = out.with_name(f"{out.name}.quarantine.jsonl")
        lines = lists.read_text().splitlines() if lists.exists() else []
        return [json.loads(line)["file_name"] for line in lines]

    assert (listed(1), listed(2), listed(1)) == (["bad1.png"], ["bad2.png"], ["bad1.png"])
    (tmp_path / "images1" / "good.png").replace(tmp_path / "images1" / "bad1.png")
    assert listed(1) == []
    assert not (tmp_path / "out" / "quarantine.jsonl").exists()


def test_embed_stops_as_soon_as_too_many_images_are_bad(
    student: Path, tiny_images: Path, tmp_path: Path
) -> None:
    """Here before the first good one is encoded; how many may be bad follows from how many there are. A list in the message says which."""
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / "images" / f"{number:02}.png").write_bytes(b"no")
    for path in sorted((tmp_path / "images").iterdir())[4:]:
        shutil.copy(min(tiny_images.rglob("*.png")), path)
    encoded, out = list[int](), tmp_path / "out" / "v.parquet"

    def embed(fraction: float) -> Path:
        return alumnus.embed(
            student, tmp_path / "images", out, batch_size=2, workers=0, max_bad_fraction=fraction
        )

    def count(module: nn.Module, _: object, __: object) -> None:
        encoded.extend([1] * isinstance(module, Student))

    handle = register_module_forward_hook(count)
    try:
        with pytest.raises(
            TooManyBadImages, match=r"4 of 12 images .* all of them are in .*v\.parquet\.quar"
        ):
            embed(0.25)
        with pytest.raises(ConfigError, match="max_bad_fraction is 5"):
            embed(5)
        assert not encoded
        assert pq.read_table(embed(0.34)).num_rows == 8
        assert len(encoded) == 4
    finally:
        handle.remove()


def test_a_kept_space_is_served(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """(N, D) of that teacher's width from paths and pictures alike; a space that was not kept is refused with those that were."""
    made = alumnus.load(student).student
    made.keep("faces", Adaptor(AdaptorShape("mlp", made.num_features, 5)))
    encoder = alumnus.load(save_student(made, tmp_path / "student"))
    assert encoder.spaces == {"faces": 5}
    paths = sorted(tiny_images.rglob("*.png"))[:3]
    vectors = encoder.encode(paths, space="faces")
    assert vectors.shape == (3, 5)
    pictures = [Image.open(path).convert("RGB") for path in paths]
    assert np.array_equal(vectors, encoder.encode(pictures, space="faces"))
    assert np.array_equal(encoder.encode(paths), alumnus.load(student).encode(paths))
    assert encoder.encode([], space="faces").shape == (0, 5)
    with pytest.raises(ConfigError, match=r"space='fces' .*did you mean 'faces'\?; kept: faces"):
        encoder.encode(paths, space="fces")
    with pytest.raises(ConfigError, match=r"kept: none; .*keep_adaptors: true"):
        alumnus.load(student).encode(paths, space="faces")


def test_images_may_come_one_by_one(student: Path, tiny_images: Path) -> None:
    """A generator is read to its end, of paths or of pictures; it gave no vector at all, or a traceback."""
    encoder, paths = alumnus.load(student), sorted(tiny_images.rglob("*.png"))[:5]
    wanted = encoder.encode(paths)
    assert np.array_equal(encoder.encode(path for path in paths), wanted)
    assert np.array_equal(encoder.encode(Image.open(path) for path in paths), wanted)
    assert np.allclose(encoder.encode((Image.open(path) for path in paths), batch_size=2), wanted, atol=1e-5)


def test_what_is_no_image_is_named(student: Path, tiny_images: Path, tmp_path: Path) -> None:
    """One picture, other types, a file that was cut, an array without a pixel: each is an error that says what came."""
    encoder, path = alumnus.load(student), next(tiny_images.rglob("*.png"))
    with pytest.raises(DataError, match=r"got one Image; give \[image\]"):
        encoder.encode(Image.new("RGB", (8, 8)))  # type: ignore[arg-type]
    for wrong in (path.read_bytes(), None, torch.zeros(3, 32, 32)):
        with pytest.raises(DataError, match=f"got a {type(wrong).__name__}"):
            encoder.encode([wrong])  # type: ignore[list-item]
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:-60])
    with (
        Image.open(tmp_path / "cut.png") as cut,
        pytest.raises(DataError, match="a PIL image cannot be read"),
    ):
        encoder.encode([cut])
    with pytest.raises(DataError, match=r"\(0, 5, 3\) uint8"):
        encoder.encode([np.zeros((0, 5, 3), np.uint8)])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(2, 3, 50, 70), r"\(B, 3, 32, 32\), got \(2, 3, 50, 70\)"),
        (torch.zeros(3, 32, 32), r"got \(3, 32, 32\)"),
        (torch.full((1, 3, 32, 32), 200), "uint8, or in floats .*got torch.int64"),
        (torch.full((1, 3, 32, 32), 200.0), "got 200 to 200"),
        (torch.linspace(-2, 2, 3 * 32 * 32).view(1, 3, 32, 32), "not normalised; got -2 to 2"),
    ],
)
def test_tensors_of_another_shape_or_range_are_refused(student: Path, image: torch.Tensor, said: str) -> None:
    """They gave vectors of something else without a word."""
    with pytest.raises(DataError, match=said):
        alumnus.load(student).encode_tensor(image)


def test_floats_and_bytes_give_the_same_vectors(student: Path) -> None:
    """Also doubles, and what resizing pushes a little beyond 0 and 1."""
    encoder, image = alumnus.load(student), torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    wanted = encoder.encode_tensor(image)
    torch.testing.assert_close(encoder.encode_tensor(image.float() / 255), wanted)
    torch.testing.assert_close(encoder.encode_tensor(image.double() / 255), wanted)
    assert encoder.encode_tensor(image.float() / 255 - 0.01).shape == wanted.shape


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": -1}, {"workers": -1}])
def test_numbers_with_which_nothing_would_be_read_are_refused(
    wrong: dict[str, Any], student: Path, tiny_images: Path, tmp_path: Path
) -> None:
    """A batch of -1 read no image, and vectors of NaN or a score of nothing came out."""
    paths = sorted(tiny_images.rglob("*.png"))[:2]
    with pytest.raises(ConfigError, match="needed are 1 or more images"):
        alumnus.load(student).encode(paths, **wrong)
    with pytest.raises(ConfigError, match="needed are 1 or more images"):
        alumnus.load(student).encode([np.zeros((8, 8, 3), np.uint8)], **wrong)
    with pytest.raises(ConfigError, match="needed are 1 or more images"):
        alumnus.embed(student, tiny_images, tmp_path / "v.parquet", **wrong)
    assert not (tmp_path / "v.parquet").exists()


def test_vectors_are_not_written_over_the_list_of_their_images(
    student: Path, tiny_images: Path, tmp_path: Path
) -> None:
    """Given as it is, in its folder, or in a split's folder; beside it they may be."""
    folder = tmp_path / "set"
    for part in ("train", "test"):
        shutil.copytree(tiny_images / "discs", folder / part / "discs")
        names = [str(path.relative_to(folder / part)) for path in (folder / part).rglob("*.png")]
        pq.write_table(pa.table({"file_name": names}), folder / part / "metadata.parquet")
    before = (folder / "test" / "metadata.parquet").read_bytes()
    for images in (folder, folder / "test", folder / "test" / "metadata.parquet"):
        with pytest.raises(ConfigError, match="is the list of the images that are read, and would be lost"):
            alumnus.embed(student, images, folder / "test" / "metadata.parquet")
    assert (folder / "test" / "metadata.parquet").read_bytes() == before
    assert alumnus.embed(student, folder / "test", folder / "test" / "vectors.parquet").is_file()
