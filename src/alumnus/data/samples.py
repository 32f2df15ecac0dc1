"""The members of a WebDataset shard → its samples: files of one name up to the first dot belong together.

    0007.jpg  the image           0007.cls   its label        0007.txt   a caption
    0007.json {"label", "domain", "split", "text"}, each optional
    0007.mask.png, 0007.seg.png   a mask                      0007.depth.png  a depth map

A sample with several images (`0007.left.jpg`, `0007.right.jpg`) is several rows of one label. What belongs to an image but cannot be read
leaves the image without it, and is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alumnus.data.listing import Text, caption_of, split_of, text_of
from alumnus.data.names import EXTENSIONS, printable
from alumnus.data.tar_scan import Member

MAX_WORDS = 1 << 20  # bytes of a label, caption or json member; more is none
MASKS, DEPTHS = (".mask.png", ".seg.png"), (".depth.png",)
LABELS, CAPTIONS, OBJECTS = (".cls",), (".txt", ".text", ".caption"), (".json",)
LABEL_KEYS = ("label", "cls", "class", "class_id")
CAPTION_KEYS = ("text", "caption", "captions")


class Row(NamedTuple):
    """An image of a shard and what the shard says about it; None where it says nothing."""

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
    label: str | None = None
    domain: str | None = None
    split: str | None = None
    texts: Text | None = None
    mask: str | None = None
    depth: str | None = None


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
            _note(sample, member, f".{kind.lower()}", read)
        except (ValueError, OSError, EOFError, RecursionError) as error:
            faults.append(f"{printable(member.name)}: {error}")
    rows = [
        Row(name, each.label, each.domain, each.split, each.texts, each.mask, each.depth)
        for each in found.values()
        for name in each.images
    ]
    return Samples(rows, faults)


def _note(sample: _Sample, member: Member, kind: str, read: Callable[[Member], bytes]) -> None:
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
        _note_json(sample, json.loads(_words(member, read)))


def _note_json(sample: _Sample, found: object) -> None:
    if not isinstance(found, Mapping):
        raise ValueError(f"a JSON {type(found).__name__}, but must be an object")
    label, texts = _first(found, LABEL_KEYS), _first(found, CAPTION_KEYS)
    domain, split = found.get("domain"), found.get("split")
    sample.label = sample.label if label is None else text_of(label)
    sample.texts = sample.texts if texts is None else caption_of(texts)
    sample.domain = text_of(domain)
    sample.split = None if split is None else split_of(split, default="train")


def _first(found: Mapping[str, object], keys: Iterable[str]) -> object:
    return next((found[key] for key in keys if found.get(key) is not None), None)


def _words(member: Member, read: Callable[[Member], bytes]) -> str:
    if member.size > MAX_WORDS:
        raise ValueError(f"{member.size} bytes are too many for words; {MAX_WORDS} are allowed")
    return read(member).decode("utf-8-sig")
