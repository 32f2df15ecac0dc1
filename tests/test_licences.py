"""Names of licences, and what is said of them before a run."""

from __future__ import annotations

import pytest

from alumnus.licences import LicenceKind, licence_kind, licence_warning
from alumnus.packages import PINNED


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("permissive", ["apache-2.0", "MIT", "bsd-3-clause", "cc-by-4.0", "CC0-1.0", "public domain", "ISC"]),
        (
            "non-commercial",
            ["cc-by-nc-4.0", "CC-BY-NC-SA 4.0", "fair-noncommercial-research-license", "NSCL"],
        ),
        ("non-commercial", ["apple-amlr", "seer-license", "MIT (code), non-commercial (weights)"]),
        (
            "non-commercial",
            ["Creative Commons Attribution Non Commercial 4.0 International", "MIT, non commercial use only"],
        ),
        ("non-commercial", ["Apache-2.0 (research use only)", "BSD-3-Clause, for research purposes only"]),
        (
            "copyleft",
            [
                "Creative Commons Attribution Share Alike 4.0 International",
                "GNU General Public License v3",
                "Mozilla Public License 2.0",
            ],
        ),
        ("own terms", ["Creative Commons Attribution No Derivatives 4.0 International"]),
        ("copyleft", ["GPL-3.0-or-later", "agpl-3.0", "LGPL-2.1", "CC-BY-SA-4.0", "MPL-2.0"]),
        ("own terms", ["dinov3-license", "nvidia-open-model-license", "gemma", "CC-BY-ND-4.0", "my own"]),
        ("unknown", ["unknown", "", " Unknown ", "other", None]),
    ],
)
def test_kinds(kind: LicenceKind, names: list[str | None]) -> None:
    """The strictest of several names counts; a name never heard of is one to read."""
    assert {licence_kind(name) for name in names} == {kind}


def test_parts_of_words_are_no_marks() -> None:
    """`nc`, `sa` and `mit` count as words of their own."""
    assert licence_kind("limited-sale-incentive") == "own terms"


def test_only_permissive_licences_pass_in_silence() -> None:
    """A warning names the licence, or says where to write it."""
    assert licence_warning("apache-2.0") is None
    assert licence_warning("cc-by-nc-4.0") == (
        "the licence cc-by-nc-4.0 forbids commercial use, and that of a student made of it too"
    )
    assert "licence: NAME" in (licence_warning("unknown") or "")
    assert "GPL-3.0" in (licence_warning("GPL-3.0") or "")


def test_the_pinned_weights_are_free() -> None:
    """So the demo warns of nothing."""
    assert [licence_warning(package.licence) for package in PINNED] == [None] * len(PINNED)
