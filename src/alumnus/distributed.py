"""Several processes as one: torchrun starts them, torch.distributed connects them, and here is what they have to say to each other.

    torchrun --nproc-per-node 2 -m alumnus train recipe.yaml

The first process (rank 0) decides and writes; the others compute. Alone, every function gives back what it was given. Except for the first
few, which only say who this is, all processes have to call the same functions in the same order.

CPU tensors travel by gloo, those on a GPU by NCCL. What is not a tensor travels as JSON: nothing is unpickled.

Axes: B rows of the global batch, b of them in this process (row i belongs to process i modulo W), W processes.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from alumnus.errors import ConfigError, RunError
from alumnus.log import console

T = TypeVar("T")

# How long one process waits for another that lives but does not come: one may load a large teacher, or finish its part of a store.
# A process that dies is noticed at once, by torchrun and by a closed connection.
TIMEOUT = timedelta(hours=1)
LOST = "by peer"  # gloo: "Connection closed by peer"
BUCKET = 1 << 24  # numbers that travel together: 64 MiB in float32


def rank() -> int:
    """Returns the number of this process, from 0; 0 alone."""
    return dist.get_rank() if _is_connected() else 0


def world_size() -> int:
    """Returns the number of processes, W."""
    return dist.get_world_size() if _is_connected() else 1


def is_main() -> bool:
    """Whether this is the process that decides and writes."""
    return rank() == 0


def local_rank() -> int:
    """Returns the number of this process among those of its machine, as torchrun says; 0 alone."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_launched() -> bool:
    """Whether torchrun, or who sets the same variables, started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Connects the processes that torchrun started; others than the first are silent.

    An error in one of them ends all: its message is said once, by the process that it came to; the others leave with exit code 1 as soon
    as they notice, for they cannot go on.

    Raises:
        ConfigError: WORLD_SIZE is set, but not what else torchrun sets.
        RunError: another process is gone and did not say why.
    """
    if not is_launched() or _group.is_joined:
        yield
        return
    _group.connect()
    _group.is_joined, console.quiet = True, not is_main()
    try:
        yield
    except BaseException as error:
        with _deaf() as heard:
            if not _group.is_first_to_fail():
                heard.clear()
                raise SystemExit(1) from error
        console.quiet = False
        if isinstance(error, RuntimeError) and LOST in str(error):
            raise RunError(
                "another process of this run is gone, perhaps killed (torchrun says which); the last checkpoint is kept, and the same "
                "command goes on from it"
            ) from error
        raise
    finally:
        _group.is_joined = False


@contextmanager
def _deaf() -> Iterator[list[Any]]:
    """Ignores SIGTERM in a block, and for good if what it gives is cleared: torchrun sends it to all as soon as one has failed, and a
    process that is leaving already should not say that it was stopped."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    heard: list[Any] = [signal.signal(signal.SIGTERM, signal.SIG_IGN)] if is_main_thread else []
    try:
        yield heard
    finally:
        for handler in heard:
            signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)


@contextmanager
def main_first() -> Iterator[None]:
    """Lets the first process of each machine through before the others, which then find in a cache what it fetched or made.

    What is inside must not wait for other processes.
    """
    if local_rank() != 0:
        wait()
    yield
    if local_rank() == 0:
        wait()


def wait() -> None:
    """Returns when all processes are here."""
    if world_size() > 1:
        dist.all_reduce(torch.zeros(1))


@contextmanager
def alone() -> Iterator[None]:
    """In the block this process is one by itself: it waits for nobody, and nobody waits for it. For work that is divided by pieces."""
    before, _group.is_alone = _group.is_alone, True
    try:
        yield
    finally:
        _group.is_alone = before


def decided(decide: Callable[[], T]) -> T:
    """Returns what the first process decides; `decide` runs there alone, and gives JSON values."""
    if world_size() == 1:
        return decide()
    answer: T = json.loads(from_main(lambda: json.dumps(decide()).encode()))
    return answer


def from_main(make: Callable[[], bytes]) -> bytes:
    """Returns the bytes that `make` gives in the first process, where alone it runs; they must not be empty."""
    if world_size() == 1:
        return make()
    made = torch.frombuffer(bytearray(make()), dtype=torch.uint8) if is_main() else torch.empty(0)
    size = torch.tensor(len(made))
    dist.broadcast(size, src=0)
    data = made if is_main() else torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(data, src=0)
    return data.numpy().tobytes()


def gathered(values: Sequence[T]) -> list[T]:
    """Returns the values of all processes, in order of their ranks; JSON values. One small message, if nobody has any."""
    if world_size() == 1:
        return list(values)
    texts = each_bytes(json.dumps(values).encode() if values else b"")
    return [value for text in texts if text for value in json.loads(text)]


def each_bytes(mine: bytes) -> list[bytes]:
    """Returns the bytes that each process gives, in order of their ranks."""
    if world_size() == 1:
        return [mine]
    sizes = _stacked(torch.tensor([len(mine)])).flatten().tolist()
    if not any(sizes):
        return [b""] * len(sizes)
    padded = torch.frombuffer(bytearray(mine.ljust(max(sizes))), dtype=torch.uint8)
    return [row[:size].numpy().tobytes() for row, size in zip(_stacked(padded), sizes, strict=True)]


def share_of(total: int) -> int:
    """Returns b, how many of B rows are this process's."""
    return len(range(rank(), total, world_size()))


def gather_rows(share: Tensor, *, total: int) -> Tensor:
    """Returns all rows (B, ...) in the order of the global batch, without gradient.

    Args:
        share: (b, ...), this process's rows.
        total: B.
    """
    if world_size() == 1:
        return share
    longest = share.new_zeros(-(-total // world_size()), *share.shape[1:])
    longest[: len(share)] = share
    return _stacked(longest).transpose(0, 1).flatten(0, 1)[:total]  # (W, b, ...) -> (b, W, ...) -> (B, ...)


def gather_chunks(rows: Tensor, *, chunk: int) -> Tensor:
    """Returns rows (P, ...) of which each process has made its own: process i every W-th chunk of so many rows, from chunk i."""
    if world_size() == 1:
        return rows
    count = -(-len(rows) // chunk)
    padded = rows.new_zeros(count * chunk, *rows.shape[1:])
    padded[: len(rows)] = rows
    mine = padded.view(count, chunk, *rows.shape[1:])[rank() :: world_size()]
    return gather_rows(mine, total=count).flatten(0, 1)[: len(rows)]


def summed(x: Tensor) -> Tensor:
    """Returns the sum over all processes, with gradient where all have the same loss."""
    total: Tensor = _Sum.apply(x)
    return total


@torch.no_grad()
def sum_gradients(parted: Iterable[nn.Parameter], whole: Iterable[nn.Parameter]) -> None:
    """Turns the gradients of each process into those of the global batch, the same bits in all of them.

    A parameter without a gradient has none in any process, for all build the same graph, and is passed over.

    Args:
        parted: parameters whose gradient is of this process's rows: the sum is taken.
        whole: parameters whose gradient is of all rows in every process: the mean is taken, as kernels may differ in the last digits.
    """
    if world_size() == 1:
        return
    gradients = [p.grad for p in parted if p.grad is not None]
    same = [p.grad for p in whole if p.grad is not None]
    for gradient in same:
        gradient.div_(world_size())
    for bucket in _buckets([*gradients, *same]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


class _Sum(torch.autograd.Function):
    """Each process's part reaches the loss by way of all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        if world_size() > 1:
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


class _Store(Protocol):
    """What is used of torch's key-value store."""

    def add(self, key: str, amount: int, /) -> int: ...


class _Group:
    """The connection of this process to the others, once in its life."""

    def __init__(self) -> None:
        self.is_joined = self.is_alone = self._has_failed = False
        self._store: _Store | None = None

    def connect(self) -> None:
        """Connects, if nobody has done so."""
        if dist.is_initialized():
            return
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise ConfigError(
                f"WORLD_SIZE={os.environ['WORLD_SIZE']} asks for several processes, but {', '.join(missing)} not set; start them by "
                "torchrun, or unset WORLD_SIZE"
            )
        store, rank, world_size = next(rendezvous("env://", timeout=TIMEOUT))
        # A restarted process must not find the addresses of those that were there before.
        store = PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        if local_rank() < torch.cuda.device_count():  # else it is told where a device is asked for
            torch.cuda.set_device(local_rank())
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
        self._store = store
        atexit.register(self._leave)

    def is_first_to_fail(self) -> bool:
        """Whether no process said before that it failed; where that cannot be known, yes."""
        self._has_failed = True
        if self._store is None:
            return True
        try:
            return self._store.add("alumnus/failed", 1) == 1
        except RuntimeError:  # who keeps the count is gone
            return True

    def _leave(self) -> None:
        if not self._has_failed:  # else others may be gone, and would be waited for
            dist.destroy_process_group()


_group = _Group()


def _is_connected() -> bool:
    return not _group.is_alone and dist.is_available() and dist.is_initialized()


def _stacked(x: Tensor) -> Tensor:
    """A tensor of the same shape from each process -> (W, ...)."""
    found = x.new_empty(world_size(), *x.shape)
    dist.all_gather_into_tensor(found.view(-1), x.contiguous().view(-1))
    return found


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Joins tensors of one type and device that come after one another, up to a size."""
    bucket, held = list[Tensor](), 0
    for tensor in tensors:
        if bucket and (held + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel()
    if bucket:
        yield bucket
