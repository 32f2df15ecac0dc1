"""Does `alumnus data check` find every planted fault, and no false leak? python benchmarks/claims/data_check.py

Draws 5,000 pictures with 100 near copies across splits (compressed, resized, cropped by 2 % at each edge, made brighter or darker),
20 broken files and 10 class folders that hold another class's pictures; checks them; writes the counts beside this file. Half a minute
on 2 cores, most of it drawing. `--seed` draws others, `--keep FOLDER` leaves pictures and page there to be looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the planted set is that of the tests

from alumnus.curation.check import Check, check
from alumnus.report.check import write_page
from tests.curation.planted import Planted, plant

IMAGES, COPIES, CORRUPT, MISLABELLED = 5000, 100, 20, 10


def main() -> None:
    """Prints and writes what was found, missed and found wrongly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        planted = plant(
            folder / "images",
            images=IMAGES,
            copies=COPIES,
            corrupt=CORRUPT,
            mislabelled=MISLABELLED,
            seed=asked.seed,
        )
        started = time.monotonic()
        found = check(planted.folder, out=folder / "check")
        seconds = time.monotonic() - started
        write_page(found, folder / "check")
    result = {
        "seed": asked.seed,
        "images": len(found.data),
        "seconds": round(seconds, 1),
        **compare(planted, found),
    }
    print(json.dumps(result, indent=1))
    if asked.seed == 0:
        Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def compare(planted: Planted, found: Check) -> dict[str, object]:
    """Returns planted, found, missed and false, of every kind."""
    names = found.data.file_names
    leaks = {frozenset((names[leak.train], names[leak.held_out])) for leak in found.leaks}
    broken = {names[row] for row in found.unreadable}
    conflicts = {frozenset(names[row] for row in group) for group in found.conflicts}
    folders = {name.split("/")[1] for group in conflicts for name in group if "/copy-" in name}
    near = {frozenset((names[pair.first], names[pair.second])) for pair in found.near}
    return {
        "leaks": _counts(set(planted.leaks), leaks),
        "leaks missed, by change": dict(Counter(planted.leaks[pair] for pair in set(planted.leaks) - leaks)),
        "near copies": _counts(set(planted.leaks), near),
        "broken files": _counts(planted.corrupt, broken),
        "mislabelled folders": _counts(set(planted.mislabelled), folders),
        "mislabelled pictures": _counts(planted.exact, conflicts),
    }


def _counts(planted: set[object], found: set[object]) -> dict[str, int]:
    return {
        "planted": len(planted),
        "found": len(planted & found),
        "missed": len(planted - found),
        "false": len(found - planted),
    }


if __name__ == "__main__":
    main()
