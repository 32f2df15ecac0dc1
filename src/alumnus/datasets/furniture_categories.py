"""Categories of unseen furniture: ten, from bathrooms to vehicles. Rendered pictures; the class is the category.

Source: see `furniture` (Debian `sweethome3d-furniture`, PyPI `pybullet`), four views of each model. Labels: the catalogue's category;
`Miscellaneous` (which means nothing) and `Staircases` (two models) are left out. Splits by model.

Pitfalls: rendered on white. A category is where a thing stands, not what it is: there are chairs in `Kitchen`, `Living room`, `Office`
and `Exterior`, and nobody could tell all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import furniture
from alumnus.datasets.known import Entry, Folders
from alumnus.datasets.splits import group_splits

VIEWS = 4
LEFT_OUT = ("Miscellaneous", "Staircases")

INFO = replace(
    furniture.INFO,
    name="furniture_categories",
    title="Furniture: which of ten categories, for models never seen",
    task="classification",
    classes=10,
    images=2_400,
    notes="Rendered on white. Categories say where a thing stands and overlap.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the views of each model, model by model; directions and lights come from the seed."""
    models = [model for model in furniture.small_models(folders) if model.category not in LEFT_OUT]
    splits = group_splits([model.category for model in models], [model.name for model in models])
    for model, split in zip(models, splits, strict=True):
        for view in furniture.views(model, VIEWS, seed=seed):
            yield Entry(model.category, "view", view, split=split, text=model.title)
