"""Fashion-MNIST: product photos of clothes, 28 px grey. Real photographs, processed; the class is the kind of garment.

Source: Debian `dataset-fashion-mnist` (MIT; Zalando Research, arXiv 1708.07747), gzipped idx files. Labels: the publisher's; his train/test
split is kept in the column `official_split`. For retrieval the classes are split: the first five train, sandals val, shirts, sneakers,
bags and ankle boots test. Stored enlarged, light on black.

Pitfalls: easy and tiny; an untrained network reaches .76 R@1.
"""

from __future__ import annotations

from collections.abc import Iterator

from alumnus.datasets.idx import class_splits, read_entries
from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.packages import Package

CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

INFO = DatasetInfo(
    name="fashion_mnist",
    title="Fashion-MNIST: photos of clothes, held-out kinds for retrieval",
    kind="photo",
    packages=(
        Package(
            "debian",
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            "MIT",
        ),
    ),
    classes=10,
    images=70_000,
    notes="28 px grey photos: an easy, low-resolution domain.",
    class_splits=class_splits(CLASSES),
    limit_per_class=1_000,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields all 70,000 photos, official train first; nothing is random."""
    folder = folders["dataset-fashion-mnist"] / "usr/share/datasets/fashion-mnist"
    return read_entries(folder, ending=".gz", classes=CLASSES, style="zalando")
