"""Broken files for every reader: python benchmarks/faults/fuzz.py [--minutes 10] [--only image tar] [--seed 0]

Valid files are made, damaged in one to four places (bits, cut or doubled stretches, foreign stretches, words of manifests replaced by odd
ones) and read in a process of its own. Allowed are a result and an error of Alumnus. Anything else is a find: another exception, a dead
process, more than LIMIT_S or MEMORY, or the file `pwned`, which the planted pickles would make. Damage follows from the number of the case,
so a find is made again by `--case N --only NAME`. Ends with a table, and with 1 if there was a find.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from surfaces import SURFACES

from alumnus.errors import AlumnusError

LIMIT_S, MEMORY = 30, 12 << 30
ODD_WORDS = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"9223372036854775808", b'""', b"[]", b"{}", b"[[[[[[[["),
    *(b"../../../../etc/passwd", b"/dev/zero", b"/proc/self/mem", b"\\u0000", b"\xff\xfe", b"a" * 5000),
    *(b"!!python/object/apply:os.system [touch pwned]", b"&a [*a, *a]", b"hf:../..", b"pypi:../.."),
)
PICKLE = b"cposix\nsystem\n(S'touch pwned'\ntR."  # what `pickle.loads` would run


def main() -> None:
    """Reads damaged files until the time is over, and prints what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", nargs="*", choices=SURFACES, default=list(SURFACES))
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--case", type=int, help="this case alone, in this process")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has not its parent's threads, and would wait for them
    with tempfile.TemporaryDirectory() as folder:
        valid = _valid(Path(folder), asked.only)
        if asked.case is not None:
            for name in asked.only:
                print(name, _outcome(name, valid[name], Path(folder) / "work", asked.case))
            return
        found, finds = _until(time.monotonic() + 60 * asked.minutes, valid, Path(folder), asked.seed)
    print("| files | cases | read | refused | finds |\n|---|---:|---:|---:|---:|")
    for name in asked.only:
        of = Counter({kind: count for (where, kind), count in found.items() if where == name})
        print(f"| {name} | {of.total()} | {of['read']} | {of['refused']} | {of['find']} |")
    for line in finds:
        print(line)
    sys.exit(bool(finds))


def _valid(folder: Path, names: list[str]) -> dict[str, Path]:
    """Makes the valid files of each surface, and checks that they can be read."""
    made = {}
    for name in names:
        made[name] = folder / "valid" / name.replace(" ", "-")
        made[name].mkdir(parents=True)
        SURFACES[name].make(made[name])
        SURFACES[name].read(made[name])
    return made


def _until(
    end: float, valid: dict[str, Path], folder: Path, first: int
) -> tuple[Counter[tuple[str, str]], list[str]]:
    found, finds = Counter[tuple[str, str]](), list[str]()
    reader = _Reader(valid, folder / "work")
    shown = time.monotonic()
    for case, name in ((case, name) for case in itertools.count(first) for name in valid):
        if time.monotonic() > end:
            break
        kind, words = reader.ask(name, case)
        found[name, kind] += 1
        if kind == "find":
            finds.append(f"{name}, case {case}: {words}")
            print(finds[-1], flush=True)
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{found.total()} cases, {len(finds)} finds, {end - shown:.0f} s left", file=sys.stderr)
    reader.close()
    return found, finds


class _Reader:
    """A process that reads; it is replaced when it dies or takes too long."""

    def __init__(self, valid: dict[str, Path], work: Path) -> None:
        self.valid, self.work = valid, work
        self._start()

    def ask(self, name: str, case: int) -> tuple[str, str]:
        """Returns "read", "refused" or "find", and words about it."""
        self.pipe.send((name, case))
        try:
            if self.pipe.poll(LIMIT_S):
                answer: tuple[str, str] = self.pipe.recv()
                return answer
            words = f"took more than {LIMIT_S} s"
        except EOFError:
            self.process.join()
            words = f"the process died with {self.process.exitcode}"
        self.close()
        self._start()
        return "find", words

    def close(self) -> None:
        self.process.kill()
        self.process.join()

    def _start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(theirs, self.valid, self.work), daemon=True
        )
        self.process.start()
        theirs.close()


def _serve(pipe: Connection, valid: dict[str, Path], work: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while True:
        name, case = pipe.recv()
        pipe.send(_outcome(name, valid[name], work, case))


def _outcome(name: str, valid: Path, work: Path, case: int) -> tuple[str, str]:
    """Damages a copy as the case's number says, and reads it."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(valid, work)
    os.chdir(work)
    _damage(work, np.random.default_rng([case, *name.encode()]))
    try:
        SURFACES[name].read(work)
        kind, words = "read", ""
    except AlumnusError as error:
        kind, words = "refused", str(error)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind, words = "find", f"{type(error).__name__}: {error} in {where.filename}:{where.lineno}"
    if (work / "pwned").exists():
        return "find", "something was executed"
    return kind, words


def _damage(folder: Path, draw: np.random.Generator) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[draw.integers(len(files))]
    content = bytearray(path.read_bytes())
    for _ in range(draw.integers(1, 5)):
        content = _damaged(content, draw, other=files[draw.integers(len(files))])
    path.write_bytes(content)


def _damaged(content: bytearray, draw: np.random.Generator, *, other: Path) -> bytearray:
    start = int(draw.integers(len(content) + 1))
    if draw.random() < 0.4:  # most that matters stands at the beginning
        start = min(start, int(draw.integers(200)))
    stop = min(len(content), start + int(draw.geometric(0.02)))
    match draw.integers(8):
        case 0:
            if start < len(content):
                content[start] ^= 1 << int(draw.integers(8))
            return content
        case 1:
            return content[:start]
        case 2:
            return content[:start] + content[stop:]
        case 3:
            return content[:stop] + content[start:stop] * int(draw.integers(1, 50)) + content[stop:]
        case 4:
            return content[:start] + draw.bytes(stop - start) + content[stop:]
        case 5:
            return content[:start] + other.read_bytes()[start:stop] + content[stop:]
        case 6:
            return (
                bytearray(PICKLE)
                if draw.random() < 0.2
                else content[:start] + bytes(stop - start) + content[stop:]
            )
        case _:
            return _with_odd_word(content, draw)


def _with_odd_word(content: bytearray, draw: np.random.Generator) -> bytearray:
    """Replaces a word between two of the signs that part words in text."""
    signs = [at for at, byte in enumerate(content[:20_000]) if byte in b' \n,:"[]{}']
    if len(signs) < 2:
        return content
    at = int(draw.integers(len(signs) - 1))
    word = ODD_WORDS[draw.integers(len(ODD_WORDS))]
    return content[: signs[at] + 1] + word + content[signs[at + 1] :]


if __name__ == "__main__":
    main()
