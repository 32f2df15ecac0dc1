"""The images of a run, and the order in which they come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.dynamic import DynamicSampler, DynamicSettings
from alumnus.data.sampler import Sampler, Sampling
from alumnus.errors import ConfigError, told_domains
from alumnus.training.config import Config


def training_data(config: Config) -> Dataset:
    """Returns the training split of the data, cut to the domains asked for, its labels counted anew within it."""
    dataset = open_dataset(config.data)
    for domain in config.domains or ():
        if domain not in dataset.domains:
            raise ConfigError(f"domains: the data has no {domain!r}{told_domains(domain, dataset.domains)}")
    return _compact_labels(dataset.select(split="train", domains=config.domains))


def sampler_of(config: Config, dataset: Dataset) -> Sampling:
    """Returns what says which rows and views a step sees."""
    seed, views = config.seed, config.views.per_image
    if isinstance(config.sampler, DynamicSettings):
        return DynamicSampler(
            dataset.domain,
            settings=config.sampler,
            num_classes=dict(enumerate(class_counts(dataset))),
            batch_size=config.batch_size,
            seed=seed,
            views_per_image=views,
        )
    return Sampler(
        dataset.domain,
        name=config.sampler,
        batch_size=config.batch_size,
        seed=seed,
        views_per_image=views,
    )


def class_counts(dataset: Dataset) -> list[int]:
    """Returns how many classes each domain has among the images of a dataset whose labels are counted within it; 0 without labels."""
    return [int(dataset.label[dataset.domain == d].max(initial=-1)) + 1 for d in range(len(dataset.domains))]


def _compact_labels(dataset: Dataset) -> Dataset:
    """Numbers each domain's classes from 0 among those that occur here, so that a classifier has no idle class."""
    label = dataset.label.copy()
    for domain in range(len(dataset.domains)):
        here = (dataset.domain == domain) & (label >= 0)
        label[here] = np.unique(label[here], return_inverse=True)[1]
    return replace(dataset, label=label)
