"""Cut-outs, boxed: photographed things laid on photographs at random. Real texture, made-up scenes; the class is the kind of thing.

Source: see `cutouts` (Tux Paint's stamps on GCompris's and MATE's photographs). Labels: tight boxes around what is to be seen of one to six
things a picture; the class is one of 15 categories, from mammal to gravestone, equally frequent. Splits: cut-outs and backgrounds of test
pictures are not seen in training.

Pitfalls: composites. Borders, light and scale do not fit the background, which a detector can learn to see instead of the thing; so AP is
not that of a natural photograph. Some categories have eight cut-outs, four of them for training, and are mixed ("household thing").
"""

from __future__ import annotations

from collections.abc import Iterator

from alumnus.datasets.cutouts import CATEGORIES, PACKAGES, PICTURES, composites
from alumnus.datasets.dense import tight_box
from alumnus.datasets.known import DatasetInfo, Folders, Scene

INFO = DatasetInfo(
    name="cutout_objects",
    title="Photo cut-outs on photos: boxes of things of 15 categories",
    kind="photo",
    task="detection",
    packages=PACKAGES,
    classes=len(CATEGORIES),
    images=sum(PICTURES.values()),
    notes="Photographed things composited on photographs: real texture, but borders, light and scale do not fit.",
    size=320,
    object_classes=CATEGORIES,
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields composites with boxes, those of training first; all of them follow from the seed."""
    for each in composites(folders, seed=seed, size=size, limit=limit):
        boxes = [tight_box(pasted.shape, pasted.category) for pasted in each.pasted]
        yield Scene(
            each.name,
            each.background,
            each.split,
            each.image,
            objects=[box for box in boxes if box is not None],
        )
