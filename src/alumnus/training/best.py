"""The best student that `watch` has seen, for `watch.keep=best`: kept in the run's folder until the run ends with it.

A run that goes on looks again at steps since its last checkpoint; what it finds there is what it found before, so nothing changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from alumnus.disk import new_name, sync
from alumnus.log import console
from alumnus.models.tensors import savable
from alumnus.training.run import BEST
from alumnus.training.watch import RECALL, Watched


class Best(NamedTuple):
    """What was kept."""

    step: int
    recall: float  # macro R@1
    watched: str  # fingerprint of the images: on others it says nothing
    path: Path

    def tensors(self) -> dict[str, Tensor]:
        """Returns what `keep_if_best` was given."""
        with safe_open(self.path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # a file is no mapping


def read_best(folder: Path) -> Best | None:
    """Returns what is kept in a run's folder; None if nothing is, or it is damaged, which is said."""
    path = folder / BEST
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["best"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        console.print(
            f"{path} is damaged ({error}): the best student is one of those that are still to be seen"
        )
        return None
    return Best(**about, path=path)


def keep_if_best(
    folder: Path, tensors: Mapping[str, Tensor], found: Mapping[str, float], watched: Watched, *, step: int
) -> bool:
    """Writes the tensors if what a look found is better than all before; returns whether it was."""
    if RECALL not in found:  # an embedding is not finite
        return False
    before, images = read_best(folder), watched.fingerprint
    if before is not None and before.watched == images and before.recall >= found[RECALL]:
        return False
    about = {"step": step, "recall": found[RECALL], "watched": images}
    new = folder / new_name(BEST)
    save_file(savable(tensors), new, metadata={"best": json.dumps(about)})
    sync(new)
    new.replace(folder / BEST)
    return True
