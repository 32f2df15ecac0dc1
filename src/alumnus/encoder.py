"""The use of a student: images in, unit vectors out. Nothing of training is imported here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from alumnus.data.dataset import SPLITS, Dataset, open_dataset
from alumnus.data.loader import center_crop_batches, check_reading
from alumnus.data.names import printable
from alumnus.data.outputs import check_file
from alumnus.data.pixels import to_upright_rgb
from alumnus.data.quarantine import passes_limit
from alumnus.data.read import Quarantine
from alumnus.data.views import apply_geometry, center_view
from alumnus.distributed import gather_chunks, gathered, is_main, joined, main_first, rank, wait, world_size
from alumnus.errors import ConfigError, DataError, nearest
from alumnus.log import bar, console, number_of, warn
from alumnus.memory import keep_freed_memory
from alumnus.models.artifact import load_student, stale_embedding, student_folder
from alumnus.models.student import Student

PARQUET = ".parquet"


class Encoder:
    """A student ready for use.

    >>> encoder = Encoder(student)  # doctest: +SKIP
    >>> encoder.encode(["a.jpg", "b.png"]).shape  # doctest: +SKIP
    (2, 64)
    """

    def __init__(self, student: Student, *, device: torch.device | None = None) -> None:
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.student = student.eval().to(device).to(memory_format=torch.channels_last)
        self.device = device

    @property
    def size(self) -> int:
        """Side in px of the images that the student takes."""
        return self.student.size

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.student.embed_dim

    @property
    def spaces(self) -> dict[str, int]:
        """The teachers whose spaces were kept with the student, and how wide they are; see `encode`."""
        return {name: shape.out_dim for name, shape in self.student.architecture.spaces.items()}

    @torch.inference_mode()
    def encode_tensor(self, image: Tensor, *, space: str | None = None) -> Tensor:
        """Returns vectors (B, E) float32 of unit length from images (B, 3, size, size), uint8 or float in [0, 1].

        Args:
            space: a teacher; then what the student thinks that teacher would say, (B, D) float32, of the teacher's scale.

        Raises:
            ConfigError: that teacher's space was not kept.
            DataError: the images are of another shape, type or range.
        """
        image = self._checked(image).to(self.device)
        if space is None:
            embedding: Tensor = self.student(image).embedding
            return embedding.cpu()
        self._width(space)
        vectors: Tensor = self.student(image, spaces=(space,)).spaces[space]
        return vectors.cpu()

    def encode(
        self,
        images: Iterable[str | Path | Image.Image | np.ndarray],
        *,
        batch_size: int = 64,
        workers: int = 0,
        space: str | None = None,
    ) -> np.ndarray:
        """Returns the vectors of images: (N, E) float32 of unit length, in the order given.

        Args:
            images: paths, PIL images, or arrays (H, W, 3) uint8, as a list or one by one. A PIL image is treated as its file would be:
                turned as its EXIF says, transparency over white, 16-bit grey scaled.
            space: one of `spaces`, instead of the embedding: (N, D), of the teacher's scale.

        Raises:
            ConfigError: that teacher's space was not kept, or there is no batch of that size.
            DataError: one of them cannot be read (`embed` goes on without it), they are of several kinds, or no list.
        """
        check_reading(batch_size=batch_size, workers=workers)
        if isinstance(images, str | Path):
            raise DataError(
                f"encode takes a list of images and got one path, '{printable(str(images))}'; give [path], or a folder to `embed`"
            )
        if isinstance(images, Image.Image) or not isinstance(images, Iterable):
            raise DataError(
                f"encode takes a list of images and got one {type(images).__name__}; give [image]"
            )
        images = list(images)
        paths = [str(image) for image in images if isinstance(image, str | Path)]
        if paths and len(paths) < len(images):
            raise DataError("encode takes paths, or PIL images and arrays, but not both in one call")
        if not paths:
            return self._encode_pictures(images, batch_size=batch_size, space=space)
        vectors, bad = self.encode_paths(paths, batch_size=batch_size, workers=workers, space=space)
        if bad:
            place, reason = next(iter(bad.items()))
            raise DataError(
                f"{len(bad)} of {len(paths)} images cannot be read; the first: {paths[place]!r}, {reason}"
            )
        return vectors

    def encode_paths(
        self,
        paths: Sequence[str],
        *,
        batch_size: int = 64,
        workers: int = 0,
        advance: Callable[[int], None] | None = None,
        space: str | None = None,
        together: bool = False,
        enough: Callable[[Collection[int]], bool] | None = None,
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Returns vectors (N, E), rows of NaN where an image cannot be read, and those places with their reasons.

        Args:
            space: a teacher whose space is kept, instead of the embedding.
            together: of several processes, all call this alike and share the batches; each gets all vectors, the same bits as one computes.
            enough: whether so many unreadable places end the reading; what comes after them stays NaN, and the caller has to refuse it.
        """
        number, of = (rank(), world_size()) if together else (0, 1)
        vectors = np.full((len(paths), self._width(space)), np.nan, np.float32)
        unreadable: dict[int, str] = {}
        for index, images, bad in center_crop_batches(
            paths, [self.size], batch_size=batch_size, workers=workers, rank=number, world_size=of
        ):
            if len(index):
                vectors[index] = self.encode_tensor(images[self.size], space=space).numpy()
            unreadable |= dict(bad)
            if advance is not None:
                advance(len(index) + len(bad))
            if bad and enough is not None and enough(unreadable):
                break
        if together and of > 1:
            vectors = gather_chunks(torch.from_numpy(vectors), chunk=batch_size).numpy()
            unreadable = dict(sorted((place, why) for place, why in gathered(list(unreadable.items()))))
        return vectors, unreadable

    def _width(self, space: str | None) -> int:
        if space is None:
            return self.dim
        if space not in self.spaces:
            kept = (
                ", ".join(self.spaces)
                or "none; `method: {name: agglomerate, keep_adaptors: true}` keeps them"
            )
            raise ConfigError(
                f"space={space!r} is no teacher whose space this student keeps{nearest(space, self.spaces)}; kept: {kept}"
            )
        return self.spaces[space]

    def _checked(self, image: Tensor) -> Tensor:
        """Returns images as the student takes them: uint8, or float32 in about [0, 1] (resizing may go a little beyond)."""
        side = self.size
        if image.ndim != 4 or image.shape[1:] != (3, side, side):
            raise DataError(f"needed are images (B, 3, {side}, {side}), got {tuple(image.shape)}")
        if image.dtype == torch.uint8:
            return image
        if not image.is_floating_point():
            raise DataError(f"needed are images in uint8, or in floats in [0, 1], got {image.dtype}")
        if image.numel() and not (-0.5 <= float(image.amin()) <= float(image.amax()) <= 1.5):
            raise DataError(
                f"images in floats are in [0, 1], and not normalised; got {float(image.amin()):.4g} to {float(image.amax()):.4g}"
            )
        return image.float()

    def _encode_pictures(
        self,
        images: Sequence[str | Path | Image.Image | np.ndarray],
        *,
        batch_size: int,
        space: str | None,
    ) -> np.ndarray:
        vectors = [np.empty((0, self._width(space)), np.float32)]
        for first in range(0, len(images), batch_size):
            pictures = [_picture(image) for image in images[first : first + batch_size]]
            crops = [
                apply_geometry(picture, center_view(picture.width / picture.height), size=self.size)
                for picture in pictures
            ]
            vectors.append(self.encode_tensor(torch.from_numpy(np.stack(crops)), space=space).numpy())
        return np.concatenate(vectors)


def load(folder: str | Path) -> Encoder:
    """Returns the encoder of a student folder, or of a run folder that holds one."""
    student = load_student(student_folder(folder))
    if why := stale_embedding(student_folder(folder)):
        warn(f"{why}; `alumnus predict` uses what was learnt")
    return Encoder(student)


def embed(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    batch_size: int = 64,
    workers: int = 2,
    max_bad_fraction: float = 0.05,
    split: str | Sequence[str] | None = None,
) -> Path:
    """Writes a Parquet file: columns `file_name`, `domain`, `label` (a class, or null), `split` and `vector` (E float32 of unit length).

    Images that cannot be read are left out, and listed in a file of the same name with .quarantine.jsonl behind it. Several processes that
    torchrun started share the images, and the first one writes the file that one process alone would.

    Args:
        images: anything that `open_dataset` reads.
        out: a file that ends in .parquet.
        batch_size, workers: of the reading.
        max_bad_fraction: more unreadable images than this part of them stop the work, as soon as there are so many.
        split: such as test, or [val, test]: only these images; all by default.

    Raises:
        ConfigError: `out` ends in something else or is the list of the images, or another setting is out of range.
        DataError: there is no such split, or no image of it.
        TooManyBadImages: see `max_bad_fraction`.
    """
    out = Path(out)
    if out.suffix != PARQUET or out.is_dir():
        raise ConfigError(
            f"out={out} must be a file that ends in {PARQUET}: vectors are written as nothing else, and pandas, polars and pyarrow read it"
        )
    check_file(out, images)
    keep_freed_memory()
    with joined():
        with main_first():
            encoder, dataset = load(model), _of_split(open_dataset(images), split)
        total = len(dataset)
        enough = passes_limit(dataset.file_names, total=total, max_bad_fraction=max_bad_fraction)
        if is_main():
            out.parent.mkdir(parents=True, exist_ok=True)
        with bar("embed", total=total // world_size()) as line:
            vectors, unreadable = encoder.encode_paths(
                dataset.paths,
                batch_size=batch_size,
                workers=workers,
                advance=line.advance,
                together=True,
                enough=enough,
            )
        listed = out.with_name(f"{out.name}.quarantine.jsonl") if is_main() else None
        quarantine = Quarantine(listed, total=total, max_bad_fraction=max_bad_fraction, anew=True)
        for place, reason in unreadable.items():
            quarantine.add(dataset.file_names[place], reason)
        if is_main():
            _write(out, dataset, vectors, unreadable)
        wait()  # for the file
    return out


def _of_split(dataset: Dataset, split: str | Sequence[str] | None) -> Dataset:
    found = dataset if split is None else dataset.select(split=split)
    if not len(found):
        there = Counter(dataset.split.tolist())
        raise DataError(
            f"split={split}: there is no such image, but of {', '.join(f'{name} ({there[name]:,})' for name in SPLITS if there[name])}"
        )
    return found


def _write(out: Path, dataset: Dataset, vectors: np.ndarray, unreadable: Mapping[int, str]) -> None:
    good = [place for place in range(len(dataset)) if place not in unreadable]
    table = pa.table(
        {
            "file_name": [printable(dataset.file_names[place]) for place in good],
            "domain": pa.array(
                [printable(dataset.domains[dataset.domain[place]]) for place in good], pa.string()
            ),
            "label": pa.array([_class_of(dataset, place) for place in good], pa.string()),
            "split": pa.array(dataset.split[good].tolist(), pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors[good].ravel()), vectors.shape[1]),
        }
    )
    temporary = out.with_name(f".{out.name}.new")
    pq.write_table(table, temporary)
    os.replace(temporary, out)
    console.print(
        f"{number_of(len(good), 'vector')} written to {out}; {number_of(len(unreadable), 'image')} could not be read",
    )


def _class_of(dataset: Dataset, place: int) -> str | None:
    label = dataset.label[place]
    return None if label < 0 else printable(dataset.classes[dataset.domain[place]][label])


def _picture(image: str | Path | Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"an array must be (H, W, 3) uint8, with a pixel; got {image.shape} {image.dtype}"
            )
        return Image.fromarray(image)
    if not isinstance(image, Image.Image):
        hint = "; encode_tensor takes tensors, (B, 3, size, size)" if isinstance(image, Tensor) else ""
        raise DataError(f"encode takes paths, PIL images or arrays, and got a {type(image).__name__}{hint}")
    try:
        image.load()  # a PNG may say only after its pixels how it is turned
        return to_upright_rgb(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"a PIL image cannot be read: {error}") from error
