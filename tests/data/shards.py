"""Making tar shards, Arrow folders and small pictures for the tests of what can be read."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image


def picture(colour: int, kind: str = "PNG", size: tuple[int, int] = (6, 4)) -> bytes:
    """Returns an encoded picture of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour, colour, colour)).save(buffer, kind)
    return buffer.getvalue()


def save_tar(path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> Path:
    """Writes members into a tar, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def save_arrow(
    folder: Path, columns: Mapping[str, object], features: Mapping[str, object], split: str
) -> Path:
    """Writes what `save_to_disk` of the Hugging Face package writes for one split: two Arrow streams and two JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))
    half = (len(table) + 1) // 2
    files = []
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        files.append(f"data-{number:05d}-of-00002.arrow")
        with (
            pa.OSFile(str(folder / files[-1]), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(part, max_chunksize=1)
    state = {"_data_files": [{"filename": name} for name in files], "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def save_mask(path: Path, values: object, dtype: type = np.uint8) -> Path:
    """Writes a grey PNG of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype)).save(path)
    return path
