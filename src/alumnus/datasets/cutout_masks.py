"""Cut-outs, outlined: photographed things laid on photographs at random. Real texture, made-up scenes; the class is the kind of thing.

Source: see `cutouts` (Tux Paint's stamps on GCompris's and MATE's photographs): the same pictures as in `cutout_objects`. Labels: a mask;
the class of a pixel is background or one of 15 categories, by the cut-out's own transparency, whose half counts as the border. Splits:
cut-outs and backgrounds of test pictures are not seen in training.

Pitfalls: composites. Borders, light and scale do not fit the background, which a model can learn to see instead of the thing. About five
pixels in six are background: mean IoU, not pixel accuracy. A planet's or a violin's outline is exact, fur is cut roughly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alumnus.datasets.cutouts import CATEGORIES, PACKAGES, PICTURES, composites
from alumnus.datasets.known import DatasetInfo, Folders, Scene

INFO = DatasetInfo(
    name="cutout_masks",
    title="Photo cut-outs on photos: outlines of things of 15 categories",
    kind="photo",
    task="segmentation",
    packages=PACKAGES,
    classes=len(CATEGORIES) + 1,
    images=sum(PICTURES.values()),
    notes="Photographed things composited on photographs: real texture, but borders, light and scale do not fit.",
    size=320,
    mask_classes=("background", *CATEGORIES),
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields composites with masks, those of training first; all of them follow from the seed."""
    for each in composites(folders, seed=seed, size=size, limit=limit):
        mask = np.zeros((each.image.height, each.image.width), np.uint8)
        for pasted in each.pasted:
            mask[pasted.shape] = INFO.mask_classes.index(pasted.category)
        yield Scene(each.name, each.background, each.split, each.image, mask=mask)
