"""Tux Paint photographs: things cut out of photos, seventeen categories, each with a sentence. Photographs; the class is the category.

Source: see `tuxpaint_stamps` (Debian `tuxpaint-stamps-default`, GPL-2). Labels: the stamp's folder, small ones joined (`vehicles`,
`household`) or left out; the caption is the stamp's English sentence. Splits by picture.

Pitfalls: some 300 pictures, seven to 65 of a class: few-shot, so report several seeds. Cut out and laid on white, so nothing is learnt
about backgrounds. Folders are the publisher's: `insects` has a slug in it, `fish` a lobster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.raster import ImageFile
from alumnus.datasets.splits import group_splits
from alumnus.datasets.tuxpaint_stamps import PACKAGE, photo_stamps

CATEGORIES = {
    ("animals", "birds"): "birds",
    ("animals", "fish"): "fish",
    ("animals", "insects"): "insects",
    ("animals", "mammals"): "mammals",
    ("animals", "marsupials"): "mammals",
    ("food", "fruit"): "fruit",
    ("food", "vegetables"): "vegetables",
    ("hobbies", "music"): "musical instruments",
    ("household",): "household",
    ("household", "arttools"): "household",
    ("household", "dishes"): "household",
    ("household", "tools"): "tools",
    ("plants", "flowers"): "flowers",
    ("plants", "trees"): "trees",
    ("seasonal", "christmas"): "christmas",
    ("seasonal", "halloween"): "gravestones",
    ("space", "moon"): "planets",
    ("space", "planets"): "planets",
    ("sports",): "sports",
    ("symbols", "money"): "coins",
    ("vehicles",): "vehicles",
}  # how a stamp's folder begins -> class; the longest beginning counts

INFO = DatasetInfo(
    name="tuxpaint",
    title="Tux Paint photographs: which of seventeen categories, with captions",
    kind="photo",
    task="classification",
    packages=(PACKAGE,),
    classes=17,
    images=310,
    notes="Photo cut-outs on white, a few of each class: scores vary much between seeds and samples.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every photograph that has a class, in order of the paths; nothing is random."""
    stamps = [(stamp, label) for stamp in photo_stamps(folders) if (label := category(stamp.category))]
    splits = group_splits([label for _, label in stamps], [str(stamp.path.stem) for stamp, _ in stamps])
    for (stamp, label), split in zip(stamps, splits, strict=True):
        yield Entry(label, "tuxpaint", ImageFile(stamp.path), split=split, text=stamp.caption or None)


def category(folders: Sequence[str]) -> str | None:
    """Returns the class of a stamp in some folders, or None.

    >>> category(("animals", "mammals", "cats")), category(("medical",))
    ('mammals', None)
    """
    beginnings = (tuple(folders[:depth]) for depth in range(len(folders), 0, -1))
    return next((CATEGORIES[each] for each in beginnings if each in CATEGORIES), None)
