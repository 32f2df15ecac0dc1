"""Whether a run keeps the crops of its views beside its teachers' outputs, so that later epochs neither decode nor resize."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alumnus.data.dataset import Dataset
from alumnus.data.kept import KeptCrops
from alumnus.distributed import decided, main_first
from alumnus.errors import ConfigError
from alumnus.log import console, number_of, warn
from alumnus.store.folder import Geometry, check_place
from alumnus.store.identity import identify
from alumnus.store.kept import CropsFolder, folder_of, open_crops, whole_bytes
from alumnus.store.make import disk_bytes
from alumnus.store.settings import StoreSettings, show_bytes
from alumnus.training.config import Config

# With store.crops=auto.
EPOCHS = 2  # how often a view is seen at least, on average
SHARE_OF_MEMORY = 1 / 2  # that the crops of a run take at most, or the disk would be slower than a decoder
SHARE_OF_DISK = 1 / 10  # that is free

LARGEST_SHARE_OF_DISK = 9 / 10  # whoever asks: checkpoints need room too


def kept_crops(
    config: Config, dataset: Dataset, keys: NDArray[np.int64] | None, *, teacher_sizes: Sequence[int]
) -> KeptCrops | None:
    """Returns the crops of a run's views that are on disk, where new ones are put too; None if the run keeps none.

    Args:
        keys: of the images (N,), if the store was looked into; crops=auto keeps crops beside outputs alone.
        teacher_sizes: sides in px of the views that live teachers want.

    Raises:
        ConfigError: they are asked for, and views never repeat, they do not fit, or their folder cannot be written.
    """
    store = config.store
    if store is None or store.crops is False:
        return None
    if store.crops == "auto" and (keys is None or not _repeats(config, dataset)):
        return None
    if config.views.per_image == 0:
        raise ConfigError(
            "store.crops=true keeps a fixed number of views of each image, and views.per_image=0 draws new ones for ever; set "
            "views.per_image, for example to 8"
        )
    if keys is None:
        check_place(store.path, writes=True)
        with main_first():
            keys = identify(dataset, store.path, workers=config.num_workers)
    folder = folder_of(store.path, Geometry.of(config.views, seed=config.seed), config.paths)
    sides = sorted({*(config.views.sizes or (config.size,)), *teacher_sizes})
    whole, why = decided(lambda: _weighed(store, folder, keys, sides=sides, num_views=config.views.per_image))
    if why:
        if store.crops == "auto":
            console.print(
                f"store: {why}, so none are kept; store.crops=true keeps them, store.crops=false asks no more"
            )
            return None
        raise ConfigError(f"store.crops=true: {why}; fewer views, a smaller size or store.crops=false helps")
    console.print(
        f"store: crops of {number_of(config.views.per_image, 'view')} at {', '.join(map(str, sides))} px are kept, {show_bytes(whole)}"
    )
    try:
        with main_first():
            return open_crops(folder, keys)
    except OSError as error:
        if store.crops == "auto":
            warn(f"{folder.path} cannot be written ({error.strerror}), so no crops are kept")
            return None
        raise ConfigError(
            f"{folder.path} cannot be written ({error.strerror}); store.crops=false keeps no crops"
        ) from error


def _repeats(config: Config, dataset: Dataset) -> bool:
    views = config.views.per_image * len(dataset)
    return views > 0 and config.steps * config.batch_size >= EPOCHS * views


def _weighed(
    settings: StoreSettings,
    folder: CropsFolder,
    keys: NDArray[np.int64],
    *,
    sides: Sequence[int],
    num_views: int,
) -> tuple[int, str]:
    """Returns the bytes of all crops of a run, and why they are not to be kept; an empty text if they are."""
    there = folder.disk_bytes
    more = max(0, whole_bytes(keys, sides=sides, num_views=num_views) - there)
    return more + there, _too_large(settings, more, more + there)


def _too_large(settings: StoreSettings, more: int, whole: int) -> str:
    """Returns why crops that add so many bytes, and then are so many as a whole, are not to be kept; an empty text if they are."""
    path, budget = settings.path, settings.budget
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    free, used = shutil.disk_usage(there).free, disk_bytes(path)
    if budget is not None and used + more > budget:
        return f"crops need {show_bytes(more)} more, the store holds {show_bytes(used)}, and the budget is {show_bytes(budget)}"
    if more > LARGEST_SHARE_OF_DISK * free:
        return f"crops need {show_bytes(more)} more, and {show_bytes(free)} of the disk are free"
    is_careful = settings.crops == "auto"
    if is_careful and more > SHARE_OF_DISK * free:
        return f"crops need {show_bytes(more)} more, of {show_bytes(free)} that are free"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if is_careful and whole > SHARE_OF_MEMORY * memory:
        return f"crops are {show_bytes(whole)}, and the machine's memory is {show_bytes(memory)}"
    return ""
