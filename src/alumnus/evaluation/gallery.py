"""Queries with their five nearest, right and wrong, as small pictures: `gallery.json`, which the report shows.

    {"version": 1, "model", "protocol": "merged", "entries": [{"domain", "correct", "query": Shown, "neighbours": [Shown, ...]}]}
    Shown = {"file_name", "domain", "label", "correct", "image": "data:image/jpeg;base64,..."}

The pictures are inside, so that a report can be made where the images are not.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alumnus.data.dataset import Dataset
from alumnus.data.loader import center_crop_batches
from alumnus.data.names import printable
from alumnus.disk import replace_text
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.retrieval import Retrieval
from alumnus.evaluation.search import NO_ID

VERSION = 1
EACH = 3  # right ones and wrong ones, of each domain
THUMBNAIL_PX = 80  # shown at 72 px at most; about 2 kB each
JPEG_QUALITY = 82


def choose_queries(found: Retrieval, *, each: int = EACH, seed: int = 0) -> Ids:
    """Returns places in `found.queries`: of each domain up to `each` whose first neighbour is a hit and as many whose is not.

    Queries that have nothing to find are left out.
    """
    chosen = [np.empty(0, np.int64)]
    for d in np.unique(found.domain):
        random = np.random.default_rng([seed, int(d)])
        for right in (True, False):
            pool = np.flatnonzero(
                (found.domain == d) & (found.merged.hits[:, 0] == right) & (found.relevant > 0)
            )
            chosen.append(np.sort(random.choice(pool, min(each, len(pool)), replace=False)))
    return np.concatenate(chosen)


def write_gallery(
    path: Path, model: str, found: Retrieval, data: Dataset, rows: Ids, *, seed: int = 0, workers: int = 0
) -> Path:
    """Writes the file.

    Args:
        rows: (N,) the dataset's row of each row that `found` speaks of.
    """
    chosen = choose_queries(found, seed=seed)
    shown = np.concatenate([found.queries[chosen], found.merged.neighbours[chosen].ravel()])
    pictures = _pictures(data, rows[np.unique(shown[shown != NO_ID])], workers)

    def show(place: int, correct: bool) -> dict[str, Any]:
        row = int(rows[place])
        return {**_caption(data, row), "correct": correct, "image": pictures.get(row, "")}

    entries = []
    for q in chosen:
        near = zip(found.merged.neighbours[q], found.merged.hits[q], strict=True)
        entries.append(
            {
                "domain": data.domains[int(found.domain[q])],
                "correct": bool(found.merged.hits[q, 0]),
                "query": show(int(found.queries[q]), True),
                "neighbours": [show(int(place), bool(hit)) for place, hit in near if place != NO_ID],
            }
        )
    gallery = {"version": VERSION, "model": model, "protocol": "merged", "entries": entries}
    return replace_text(path, json.dumps(gallery) + "\n")


def _caption(data: Dataset, row: int) -> dict[str, str]:
    domain, label = int(data.domain[row]), int(data.label[row])
    return {
        "file_name": printable(data.file_names[row]),
        "domain": data.domains[domain],
        "label": data.classes[domain][label] if label >= 0 else "",
    }


def _pictures(data: Dataset, rows: Ids, workers: int) -> dict[int, str]:
    """Returns row -> data URI."""
    pictures = {}
    paths = [data.paths[row] for row in rows]
    for places, images, _ in center_crop_batches(paths, [THUMBNAIL_PX], batch_size=32, workers=workers):
        for place, image in zip(places, images[THUMBNAIL_PX], strict=True):
            buffer = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY)
            text = base64.b64encode(buffer.getvalue()).decode("ascii")
            pictures[int(rows[place])] = f"data:image/jpeg;base64,{text}"
    return pictures
