"""The quarantine file and the limit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alumnus.data.quarantine import Quarantine, passes_limit
from alumnus.errors import ConfigError, TooManyBadImages


def test_each_image_is_written_once(tmp_path: Path) -> None:
    """A second report of the same image changes nothing."""
    quarantine = Quarantine(tmp_path / "run" / "quarantine.jsonl", total=10, max_bad_fraction=1)
    for _ in range(3):
        quarantine.add("a.jpg", "torn")
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    assert (
        [json.loads(line) for line in lines] == quarantine.rows == [{"file_name": "a.jpg", "reason": "torn"}]
    )
    assert quarantine.count == 1


def test_what_is_left_out_is_said_at_the_first_and_in_sum(tmp_path: Path) -> None:
    """Not for each image, and not again what an earlier part of the run said."""
    said, path = list[str](), tmp_path / "q.jsonl"
    quarantine = Quarantine(path, total=1000, max_bad_fraction=1, say=said.append)
    quarantine.tell()
    assert said == []
    for name in ("a.jpg", "b.jpg", "a.jpg"):
        quarantine.add(name, "torn")
    assert said == [f"warning: 'a.jpg': torn; it is left out, and listed in {path}, as others will be"]
    again = Quarantine(path, total=1000, max_bad_fraction=1, say=said.append)
    again.add("b.jpg", "torn")
    again.tell()
    assert said[1:] == [
        f"2 of 1,000 images could not be read and were left out; {path} has names and reasons"
    ]


def test_any_name_survives_the_file(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, newlines and emoji come back as they were."""
    names = ["caf\udce9.jpg", "two\nlines", "\N{RED APPLE}", 'quo"te\\']
    first = Quarantine(tmp_path / "q.jsonl", total=10, max_bad_fraction=1)
    for name in names:
        first.add(name, "torn")
    again = Quarantine(tmp_path / "q.jsonl", total=10, max_bad_fraction=1)
    assert [row["file_name"] for row in again.rows] == names


def test_what_is_made_anew_begins_an_empty_list(tmp_path: Path) -> None:
    """An older file is gone at once, and too many bad images are not answered with its removal."""
    path = tmp_path / "q.jsonl"
    Quarantine(path, total=10, max_bad_fraction=1).add("old.jpg", "torn")
    quarantine = Quarantine(path, total=10, max_bad_fraction=0, anew=True)
    assert (quarantine.count, quarantine.rows, path.exists()) == (0, [], False)
    with pytest.raises(TooManyBadImages, match=r"raise max_bad_fraction$"):
        quarantine.add("new.jpg", "torn")
    assert [row["file_name"] for row in quarantine.rows] == ["new.jpg"]


def test_a_resumed_run_appends_after_a_torn_line(tmp_path: Path) -> None:
    """A line that a kill cut short is dropped; what follows is whole."""
    path = tmp_path / "q.jsonl"
    path.write_text('{"file_name": "a", "reason": "torn"}\n{"file_name": "b", "rea')
    quarantine = Quarantine(path, total=10, max_bad_fraction=1)
    quarantine.add("a", "torn")
    quarantine.add("c", "text")
    assert [json.loads(line)["file_name"] for line in path.read_text().splitlines()] == ["a", "c"]


def test_a_line_that_does_not_parse_is_skipped(tmp_path: Path) -> None:
    """Two processes, one of them killed, may have written into one line; others are none of ours."""
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"file_name": "a", "rea{"file_name": "b", "reason": "c"}\n5\n{}\n{"file_name": "d", "reason": "e"}\n'
    )
    quarantine = Quarantine(path, total=10, max_bad_fraction=1)
    assert quarantine.rows == [{"file_name": "d", "reason": "e"}]


def test_all_that_come_at_once_are_noted_before_they_are_refused(tmp_path: Path) -> None:
    """So that they can be mended at once, too."""
    quarantine = Quarantine(tmp_path / "q.jsonl", total=10, max_bad_fraction=0)
    with pytest.raises(TooManyBadImages, match="3 of 10"):
        quarantine.add_all((name, "torn") for name in "abc")
    assert [
        row["file_name"] for row in Quarantine(tmp_path / "q.jsonl", total=10, max_bad_fraction=1).rows
    ] == [*"abc"]


@given(total=st.integers(1, 50), fraction=st.floats(0, 1))
def test_it_stops_exactly_above_the_fraction(total: int, fraction: float) -> None:
    """As many as allowed pass; one more raises, and is still noted."""
    quarantine = Quarantine(None, total=total, max_bad_fraction=fraction)
    allowed = int(fraction * total)
    for number in range(allowed):
        quarantine.add(f"{number}", "torn")
    with pytest.raises(TooManyBadImages, match="max_bad_fraction"):
        quarantine.add("one more", "torn")
    assert quarantine.count == allowed + 1


def test_what_an_earlier_part_of_the_run_noted_counts(tmp_path: Path) -> None:
    """A run that was stopped by too many bad images does not pass when it is started again, and the message says how it would."""
    path = tmp_path / "q.jsonl"
    first = Quarantine(path, total=10, max_bad_fraction=0.1)
    first.add("a", "torn")
    with pytest.raises(TooManyBadImages):
        first.add("b", "torn")
    with pytest.raises(TooManyBadImages, match="delete that file"):
        Quarantine(path, total=10, max_bad_fraction=0.1)
    assert Quarantine(path, total=10, max_bad_fraction=0.2).count == 2


def test_an_image_that_is_known_already_is_refused_above_the_limit(tmp_path: Path) -> None:
    """Not only new ones: the next report after the limit was passed raises again."""
    quarantine = Quarantine(tmp_path / "q.jsonl", total=10, max_bad_fraction=0.1)
    quarantine.add("a", "torn")
    with pytest.raises(TooManyBadImages):
        quarantine.add("b", "torn")
    with pytest.raises(TooManyBadImages):
        quarantine.add("a", "torn")


def test_rows_about_other_images_do_not_count(tmp_path: Path) -> None:
    """A store's file is about every data set that was ever built into it; one that is reported now counts, wherever it stands."""
    path = tmp_path / "q.jsonl"
    first = Quarantine(path, total=100, max_bad_fraction=1)
    for name in ("a", "b", "c"):
        first.add(name, "torn")
    second = Quarantine(path, total=10, max_bad_fraction=0.1, names=["c", "d"])
    assert second.count == 1
    with pytest.raises(TooManyBadImages, match="2 of 10"):
        second.add("a", "torn")
    assert len(path.read_text().splitlines()) == 3


def test_a_list_that_only_tells_need_not_be_deleted(tmp_path: Path) -> None:
    """A store reads each image again: what is listed of an earlier build is not counted."""
    Quarantine(tmp_path / "q.jsonl", total=9, max_bad_fraction=1).add("a.jpg", "broken")
    later = Quarantine(tmp_path / "q.jsonl", total=9, max_bad_fraction=0, names=())
    with pytest.raises(TooManyBadImages) as found:
        later.add("b.jpg", "broken")
    assert "1 of 9 images" in str(found.value)
    assert "delete" not in str(found.value)


def test_a_fraction_outside_0_to_1_is_refused() -> None:
    """5 is not 5 percent."""
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        Quarantine(None, total=1, max_bad_fraction=5)


@given(st.integers(1, 12), st.floats(0, 1), st.data())
def test_the_limit_is_passed_where_a_quarantine_refuses(
    total: int, fraction: float, data: st.DataObject
) -> None:
    """For any places, of which two may hold one image."""
    names = [str(place // 2) for place in range(total)]
    places = data.draw(st.sets(st.integers(0, total - 1)))
    quarantine, refused = Quarantine(None, total=total, max_bad_fraction=fraction), False
    try:
        for place in places:
            quarantine.add(names[place], "torn")
    except TooManyBadImages:
        refused = True
    assert passes_limit(names, total=total, max_bad_fraction=fraction)(places) == refused
