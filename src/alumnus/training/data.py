"""The images of a run, and the order in which they come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.sampler import Sampler
from alumnus.errors import ConfigError, nearest
from alumnus.training.config import Config


def training_data(config: Config) -> Dataset:
    """Returns the training split of the data, cut to the domains asked for, its labels counted anew within it."""
    dataset = open_dataset(config.data)
    for domain in config.domains or ():
        if domain not in dataset.domains:
            hint = nearest(domain, dataset.domains)
            raise ConfigError(
                f"domains: the data has no {domain!r}{hint}; it has {', '.join(dataset.domains)}"
            )
    return _compact_labels(dataset.select(split="train", domains=config.domains))


def sampler_of(config: Config, dataset: Dataset) -> Sampler:
    """Returns what says which rows and views a step sees."""
    return Sampler(
        dataset.domain,
        name=config.sampler,
        batch_size=config.batch_size,
        seed=config.seed,
        views_per_image=config.views.per_image,
    )


def _compact_labels(dataset: Dataset) -> Dataset:
    """Numbers each domain's classes from 0 among those that occur here, so that a classifier has no idle class."""
    label = dataset.label.copy()
    for domain in range(len(dataset.domains)):
        here = (dataset.domain == domain) & (label >= 0)
        label[here] = np.unique(label[here], return_inverse=True)[1]
    return replace(dataset, label=label)
