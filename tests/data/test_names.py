"""Names as text."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from alumnus.data.names import byte_order, is_below, name_below, printable


@given(st.binary(max_size=30))
def test_any_file_name_can_be_shown(name: bytes) -> None:
    """One line of valid, printable UTF-8."""
    shown = printable(os.fsdecode(name))
    assert shown.encode("utf-8").decode() == shown
    assert shown.isprintable()


def test_ordinary_names_are_shown_as_they_are() -> None:
    """Emoji and accents are not escaped."""
    assert printable("caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{RED APPLE}.jpg") == "café \N{RED APPLE}.jpg"


@given(st.lists(st.text()))
def test_order_does_not_depend_on_the_locale(names: list[str]) -> None:
    """For valid text it is the order of code points."""
    assert sorted(names, key=byte_order) == sorted(names)


@given(st.text(st.sampled_from("ab./"), max_size=8), st.sampled_from(["/", "/a", "/a/b"]))
def test_names_below_a_folder_agree_with_relpath(tail: str, root: str) -> None:
    """The fast way gives what the library gives."""
    path = os.path.normpath("/" + tail.lstrip("/"))
    relative = os.path.relpath(path, root)
    assert is_below(path, root) == (relative != "." and not (relative == ".." or relative.startswith("../")))
    if is_below(path, root):
        assert name_below(path, root) == relative
