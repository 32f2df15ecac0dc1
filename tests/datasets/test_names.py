"""From the names of icons to classes: brands and countries."""

from __future__ import annotations

import pytest

from alumnus.datasets.flags import country_of, own_flags
from alumnus.datasets.iconify import Icon
from alumnus.datasets.logos import brand_name, marks_first
from alumnus.datasets.raster import Svg


@pytest.mark.parametrize(
    ("name", "style", "brand"),
    [
        ("react-original-wordmark", "devicon", "react"),
        ("nodejs-icon-alt", "logos", "nodejs"),
        ("nodedotjs", "simple-icons", "nodejs"),
        ("file-type-light-mdx", "vscode-icons", "lightmdx"),
        ("folder-type-git", "vscode-icons", ""),
        ("folder-git", "material-icon-theme", ""),
    ],
)
def test_variants_and_spellings_are_one_brand(name: str, style: str, brand: str) -> None:
    """What only says how it is drawn is dropped; folders have no brand."""
    assert brand_name(name, style) == brand


@pytest.mark.parametrize(
    ("characters", "country"),
    [("1f1e9-1f1ea", "de"), ("1f1e9", None), ("1f43b", None), ("1f1e9-1f3fb", None), ("1f43b-200d", None)],
)
def test_regional_indicators_spell_a_country(characters: str, country: str | None) -> None:
    """Two of them; other emoji do not."""
    assert country_of(characters) == country


def _icon(name: str, markup: str = "") -> Icon:
    return Icon(name, (), Svg(markup))


def test_a_flag_of_many_codes_is_left_out() -> None:
    """Unless it is France's own; territories that always fly another one, and the placeholder, are out anyway."""
    shown = {
        "fr": "tricolour",
        "re": "tricolour",
        "ms": "ensign",
        "tc": "ensign",
        "hm": "southern cross",
        "xx": "?",
    }
    drawn = [(code, _icon(code, flag)) for code, flag in {**shown, "de": "black red gold"}.items()]
    assert [code for code, _ in own_flags(drawn)] == ["fr", "de"]


def test_a_flag_may_be_drawn_twice_for_one_code() -> None:
    """By the same drawing under two names."""
    assert len(list(own_flags([("de", _icon("de")), ("de", _icon("de-4x3"))]))) == 2


def test_marks_come_before_names() -> None:
    """`logos` has `angular` with its name and `angular-icon` without."""
    icons = [_icon(name) for name in ("angular", "b-wordmark", "b-plain", "angular-icon")]
    assert [icon.name for icon in marks_first(icons)] == ["angular-icon", "angular", "b-plain", "b-wordmark"]
