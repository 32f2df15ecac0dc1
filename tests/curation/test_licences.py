"""Licences stand in dataset.json, in several forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alumnus.curation.licences import licences


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"licence": "CC0"}, [("set", "CC0")]),
        ({"license": "MIT"}, [("set", "MIT")]),
        ({"packages": {"npm:a@1": {"sha256": "0", "licence": "Apache-2.0"}}}, [("npm:a@1", "Apache-2.0")]),
        (
            {"licences": {"photos": "CC-BY-4.0", "icons": None}},
            [("photos", "CC-BY-4.0"), ("icons", "unknown")],
        ),
        ({"name": "x"}, []),
        ([1, 2], []),
    ],
)
def test_forms(tmp_path: Path, content: object, found: list[tuple[str, str]]) -> None:
    """Of a folder, and of a list in it."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))
    assert licences([tmp_path / "set"]) == found
    assert licences([tmp_path / "set" / "list.csv", tmp_path / "set"]) == found


def test_no_file_no_licence(tmp_path: Path) -> None:
    """Nor from a damaged one."""
    assert licences([tmp_path]) == []
    (tmp_path / "dataset.json").write_text("{")
    assert licences([tmp_path]) == []
