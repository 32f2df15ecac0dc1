"""Mean and covariance of features, gathered batch by batch: what a fitted normaliser is made of.

`Moments` belongs to one output of one teacher: its summaries, or its patches. It is gathered once, while a store is written or from what
is in it, and kept beside it as safetensors, so that any normaliser can be made at once and no run has to look at the features first.

Sums are float64 and are merged as in Chan, Golub, LeVeque 1983 ("Algorithms for computing the sample variance", eq. 2.1; for
covariances the same formula with outer products), which no large mean can spoil, and whose result does not depend on the order or
size of the batches but for rounding.

Memory: 8 D^2 bytes, and as much again while a batch is added: 4.7 MB at D = 768, 134 MB at D = 4096. Beyond MAX_WIDTH it is refused.

Axes: n rows, D width of the feature.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from alumnus.errors import DataError

MAX_WIDTH = 8192  # 0.5 GB; no summary that we know of is wider, and eigenvalues of more would take hours
VERSION = "1"


class Moments:
    """Number, mean and covariance of rows.

    Args:
        num_features: D.
        limit: a note for whoever reads it: how many rows were asked for, where only a part of a store was read; None for all of them.
    """

    def __init__(self, num_features: int, *, limit: int | None = None) -> None:
        if not 1 <= num_features <= MAX_WIDTH:
            raise DataError(
                f"features of width {num_features} have no covariance that fits in memory; 1 to {MAX_WIDTH} are allowed "
                "(normalise=running and normalise=none need none)"
            )
        self.limit = limit
        self.count = 0
        self.mean = torch.zeros(num_features, dtype=torch.float64)  # (D,)
        self._squares = torch.zeros(num_features, num_features, dtype=torch.float64)  # of deviations, summed

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def covariance(self) -> Tensor:
        """(D, D) float64: squared deviations over the number of rows, as in a variance of everything; zeros before the first row."""
        return self._squares / max(1, self.count)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Takes rows (n, D) in; n may be 0. Patches (B, N, D) are rows too: any leading axes are.

        Raises:
            DataError: another width, or a value that is not finite.
        """
        if x.shape[-1] != self.num_features:
            raise DataError(
                f"features of width {x.shape[-1]} came, but these moments have {self.num_features}"
            )
        rows = x.detach().reshape(-1, self.num_features).to("cpu", torch.float64)
        if not len(rows):
            return
        if not torch.isfinite(rows).all():
            raise DataError(
                f"{len(rows)} rows hold NaN or infinity, which have no mean; mend the teacher or its store"
            )
        mean = rows.mean(dim=0)
        rows = rows - mean
        self._merge(len(rows), mean, rows.T @ rows)

    def merge(self, other: Moments) -> None:
        """Takes the rows of other moments in, such as those of another process or shard.

        Raises:
            DataError: they are of another width.
        """
        if other.num_features != self.num_features:
            raise DataError(
                f"moments of width {other.num_features} cannot be merged into those of width {self.num_features}"
            )
        if other.count:
            self._merge(other.count, other.mean, other._squares)

    def packed(self) -> bytes:
        """Returns these moments as bytes, for another process."""
        counts = torch.tensor([self.count, -1 if self.limit is None else self.limit])
        return safetensors.torch.save({"mean": self.mean, "squares": self._squares, "counts": counts})

    @classmethod
    def unpacked(cls, data: bytes) -> Moments:
        """Returns the moments that were `packed`."""
        tensors = safetensors.torch.load(data)
        count, limit = tensors["counts"].tolist()
        found = cls(len(tensors["mean"]), limit=None if limit < 0 else limit)
        found._merge(count, tensors["mean"], tensors["squares"])
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file, whole or not at all."""
        tensors = {"mean": self.mean, "squares": self._squares}
        about = {"version": VERSION, "count": str(self.count), "limit": json.dumps(self.limit)}
        about["sha256"] = _digest(about, self.mean, self._squares)
        temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
        temporary.write_bytes(safetensors.torch.save(tensors, about))
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Moments:
        """Returns what `save` wrote.

        Raises:
            DataError: the file is torn, changed, or something else. Files of early versions, which note no digest, may be changed.
        """
        try:
            with safetensors.safe_open(os.fspath(path), "pt") as file:
                about = file.metadata() or {}
                if about.get("version") != VERSION:
                    raise DataError(
                        f"'{path}' holds no moments of version {VERSION}, but {about}; make them again"
                    )
                mean, squares = file.get_tensor("mean"), file.get_tensor("squares")
            if about.get("sha256") not in (None, _digest(about, mean, squares)):
                raise ValueError("they are not what was written")
            found = cls(len(mean), limit=json.loads(about["limit"]))
            found._merge(int(about["count"]), mean, squares)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"'{path}' cannot be read as moments: {error}; make them again") from error
        return found

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        total = self.count + count
        if not total:
            return
        step = mean - self.mean
        self._squares += squares
        self._squares.addr_(step, step, alpha=self.count * count / total)
        self.mean += step * (count / total)
        self.count = total


def _digest(about: Mapping[str, str], mean: Tensor, squares: Tensor) -> str:
    """Of all that a file holds."""
    digest = hashlib.sha256(f"{about['count']} {about['limit']}".encode())
    for tensor in (mean, squares):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()
