"""What a machine runs out of, told in words that say what to do.

Memory, disk space and shared memory end in errors of many types: Python's, PyTorch's (which tells them apart by text alone), those of
safetensors' Rust, and a signal that kills a reading process. `explained` knows them by what was seen of each (torch 2.11 to 2.15, Linux);
whatever else comes is left as it is, with its traceback.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from alumnus.errors import AlumnusError, ResourceError

GOES_ON = "What was saved stays, and the same command goes on from there"
MEMORY = (
    "With the same run: store=FOLDER (teachers run one after another, before training), memory_limit=4GiB (live teachers are measured "
    "first), workers=0 or 1. Another run: accumulate=4 (the images of a step in four goes), or a smaller batch_size or size"
)
FULL = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
)  # EFBIG: larger than the file system or ulimit -f allows
CLOSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
SPENT = frozenset({errno.EMFILE, errno.ENFILE})
# Shared memory is looked for before disk and memory, for it is "out of memory" and "no space" too.
SHARED = ("shared memory", "Bus error", "file </torch_")
GONE = "exited unexpectedly"
KILLED = ("is killed by signal: Killed", GONE, "terminated abruptly")  # the last: concurrent.futures
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "STATUS_ALLOC_FAILED",  # CUDNN_ and CUBLAS_
)
NO_SPACE = ("No space left on device", "StorageFull", "File too large", "Disk quota exceeded")


def explained(error: BaseException) -> ResourceError | None:
    """Returns what an error says of the machine and what helps, or None if it is about something else.

    >>> str(explained(OSError(28, "No space left on device", "runs/a/metrics.jsonl")))[:53]
    'the disk is full (runs/a/metrics.jsonl: no space left'
    """
    from safetensors import SafetensorError  # here, for an instant --help

    text, number = str(error), error.errno if isinstance(error, OSError) else None
    if not isinstance(error, MemoryError | OSError | RuntimeError | SafetensorError):
        return None
    if GONE in text and error.__cause__ is not None:
        text = str(error.__cause__) or text  # torch names the signal there
    if number in SPENT or "Too many open files" in text:
        return ResourceError(
            f"too many files are open ({_short(text)}). ulimit -n 4096, or workers=0. {GOES_ON}"
        )
    if any(words in text for words in SHARED) or (number in FULL and _is_of_processes(error)):
        return ResourceError(
            f"shared memory ran out, through which reading processes hand over images ({_short(text)}). workers=0 needs none; or make "
            f"/dev/shm larger, such as docker run --shm-size=8g. {GOES_ON}"
        )
    if any(words in text for words in KILLED):
        return ResourceError(
            f"the system killed a reading process, as it does when memory runs out ({_short(text)}). workers=0 or 1 needs less. {GOES_ON}"
        )
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY) or number == errno.ENOMEM:
        return ResourceError(f"memory ran out ({_short(text) or 'MemoryError'}). {MEMORY}. {GOES_ON}")
    if number in FULL or (number is None and any(words in text for words in NO_SPACE)):
        return ResourceError(f"the disk is full ({_where(error)}). Free some space. {GOES_ON}")
    if number in CLOSED:
        return ResourceError(f"no access ({_where(error)}). Allow it, or name another folder. {GOES_ON}")
    if number == errno.EIO:
        return ResourceError(f"the disk or network folder fails ({_where(error)}). {GOES_ON}")
    return None


@contextmanager
def told() -> Iterator[None]:
    """Turns such an error of the block into a `ResourceError`.

    Raises:
        ResourceError: see `explained`.
    """
    try:
        yield
    except AlumnusError:
        raise
    except Exception as error:
        found = explained(error)
        if found is None:
            raise
        raise found from error


def _is_of_processes(error: BaseException) -> bool:
    """Whether it came up where Python starts processes: their semaphores are files in /dev/shm, and the error names none."""
    return any("multiprocessing" in frame.filename for frame in traceback.extract_tb(error.__traceback__))


def _where(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror.lower()}"
    return _short(str(error))


def _short(text: str) -> str:
    """The last line with something in it: before it may stand a worker's traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
