"""From the names of icons to classes: brands and countries."""

from __future__ import annotations

import pytest

from alumnus.datasets.flags import country_of
from alumnus.datasets.logos import brand_name


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
