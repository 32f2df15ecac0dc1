"""The members of a WebDataset shard → its samples: files of one name up to the first dot belong together.

    0007.jpg  the image           0007.cls   its label        0007.txt   a caption
    0007.json {"label", "domain", "split", "text"}, each optional
    0007.mask.png, 0007.seg.png   a mask                      0007.depth.png  a depth map

A sample with several images (`0007.left.jpg`, `0007.right.jpg`) is several rows of one label. A label or caption that is a file goes before
the one in the JSON. What belongs to an image but cannot be read leaves the image without it, and is told; of a split that is none the image
is neither learnt from nor scored, nor is one whose JSON is broken in a shard that does not say a split itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alumnus.data.listing import LABEL_NAMES, Text, caption_of, split_of, text_of
from alumnus.data.names import EXTENSIONS, printable
from alumnus.data.tar_scan import Member

SPARE = "spare"
UNKNOWN = "?"  # split of an image whose JSON cannot be read
MAX_WORDS = 1 << 20  # bytes of a label, caption or json member; more is none
MASKS, DEPTHS = (".mask.png", ".seg.png"), (".depth.png",)
LABELS, CAPTIONS, OBJECTS = (".cls",), (".txt", ".text", ".caption"), (".json",)
CAPTION_KEYS = ("text", "caption", "captions")


class Row(NamedTuple):
    """An image of a shard and what the shard says about it; None where it says nothing; the split may be `UNKNOWN`."""

    name: str
    label: str | None
    domain: str | None
    split: str | None
    texts: Text | None
    mask: str | None
    depth: str | None


class Samples(NamedTuple):
    """The images of a shard, in their order."""

    rows: list[Row]
    faults: list[str]  # one line for each member that should say something but cannot be understood


@dataclass
class _Sample:
    images: list[str] = field(default_factory=list)
    label: str | None = None  # of a member of its own, which goes before that of the JSON
    texts: Text | None = None
    said: dict[str, str] = field(default_factory=dict)  # label, domain and split of the JSON
    said_texts: Text | None = None
    mask: str | None = None
    depth: str | None = None

    def rows(self) -> Iterable[Row]:
        """Yields its images."""
        label = self.said.get("label") if self.label is None else self.label
        texts = self.said_texts if self.texts is None else self.texts
        for name in self.images:
            yield Row(
                name, label, self.said.get("domain"), self.said.get("split"), texts, self.mask, self.depth
            )


def samples_of(members: Iterable[Member], read: Callable[[Member], bytes]) -> Samples:
    """Returns the images among the members of a shard.

    Args:
        read: gives the content of a member; EOFError if it is not all there.
    """
    found: dict[str, _Sample] = {}
    faults = list[str]()
    for member in members:
        folder, slash, base = member.name.rpartition("/")
        key, dot, kind = base.partition(".")
        if not key or not dot:  # a hidden file, or one that is nothing
            continue
        sample = found.setdefault(f"{folder}{slash}{key}", _Sample())
        try:
            told = _note(sample, member, f".{kind.lower()}", read)
        except (ValueError, OSError, EOFError, RecursionError) as error:
            told = [str(error)]
            if f".{kind.lower()}" in OBJECTS:  # it may have said that the image is to be tested on
                sample.said["split"] = UNKNOWN
        faults += [f"{printable(member.name)}: {each}" for each in told]
    return Samples([row for each in found.values() for row in each.rows()], faults)


def _note(sample: _Sample, member: Member, kind: str, read: Callable[[Member], bytes]) -> list[str]:
    """Returns what cannot be understood in it."""
    if kind.endswith(MASKS):
        sample.mask = member.name
    elif kind.endswith(DEPTHS):
        sample.depth = member.name
    elif "." + kind.rpartition(".")[2] in EXTENSIONS:
        sample.images.append(member.name)
    elif kind in LABELS:
        sample.label = text_of(_words(member, read).strip())
    elif kind in CAPTIONS:
        sample.texts = caption_of(_words(member, read).strip())
    elif kind in OBJECTS:
        return _note_json(sample, json.loads(_words(member, read)))
    return []


def _note_json(sample: _Sample, found: object) -> list[str]:
    """Notes each field by itself, so that a label that cannot be understood does not put a test image among those to learn from."""
    if not isinstance(found, Mapping):
        raise ValueError(f"a JSON {type(found).__name__}, but must be an object")
    faults = list[str]()
    convert = {"domain": text_of, "split": lambda word: split_of(word, default="train"), "label": text_of}
    values = {key: found.get(key) for key in ("domain", "split")} | {"label": _first(found, LABEL_NAMES)}
    for key, value in values.items():
        try:
            word = None if value is None else convert[key](value)
        except ValueError as error:
            faults.append(str(error))
            word = SPARE if key == "split" else None  # neither learnt from nor scored
        if word is not None:
            sample.said[key] = word
    try:
        texts = _first(found, CAPTION_KEYS)
        sample.said_texts = None if texts is None else caption_of(texts)
    except ValueError as error:
        faults.append(str(error))
    return faults


def _first(found: Mapping[str, object], keys: Iterable[str]) -> object:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _words(member: Member, read: Callable[[Member], bytes]) -> str:
    if member.size > MAX_WORDS:
        raise ValueError(f"{member.size} bytes are too many for words; {MAX_WORDS} are allowed")
    return read(member).decode("utf-8-sig")
