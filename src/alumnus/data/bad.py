"""The one error of reading a picture, mask or depth map: something is wrong with this one, and the run goes on without it."""

from __future__ import annotations

import os

from alumnus.data.names import printable
from alumnus.errors import DataError


class BadImage(DataError):
    """A file that cannot be read as an image.

    Args:
        path: as it was asked for.
        reason: one line, without the path.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"'{printable(path)}': {reason}")
        self.path, self.reason = os.fspath(path), reason

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        """Lets a worker process send it."""
        return BadImage, (self.path, self.reason)
