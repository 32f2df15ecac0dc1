"""What the name of a licence allows, as far as a name can say it, and the warning that belongs before a training run.

A student inherits what its teachers' weights and its data demand. Names are SPDX identifiers, the words that timm and model hubs use,
or free text; of several names in one text the strictest counts. This is a reminder to read the licence, not legal advice.
"""

from __future__ import annotations

import re
from typing import Literal

LicenceKind = Literal["permissive", "copyleft", "own terms", "unknown", "non-commercial"]

# The research licences of Apple (AMLR), Meta (FAIR, SEER) and NVIDIA (NSCL) forbid commercial use, which their names do not all say.
NON_COMMERCIAL = re.compile(
    r"\bnc\b|non[ -]?commercial|research[ -](?:use[ -]|purposes?[ -])?only|\bamlr\b|\bseer\b|\bfair[ -]research|\bnscl\b|academic",
    re.IGNORECASE,
)
COPYLEFT = re.compile(
    r"\b[al]?gpl|\bsa\b|share[ -]?alike|general public licen[cs]e|mozilla public|\bmpl\b|\beupl\b|\bosl\b|\bcddl\b|\bepl\b",
    re.IGNORECASE,
)
NO_DERIVATIVES = re.compile(r"\bnd\b|no[ -]?deriv", re.IGNORECASE)
PERMISSIVE = re.compile(
    r"apache|\bmit\b|\bbsd|\bisc\b|\bcc0|\bcc-by\b|creative commons attribution|public[ -]domain|unlicense|\bzlib\b|\bofl\b|\bhpnd\b",
    re.IGNORECASE,
)
WARNINGS = {
    "copyleft": "is copyleft: what is made of it may have to be published under the same terms",
    "own terms": "has terms of its own: read them before you publish or sell the student",
    "unknown": "is not known: find out before you publish or sell the student, then say licence: NAME in the recipe",
    "non-commercial": "forbids commercial use, and that of a student made of it too",
}


def licence_kind(licence: str | None) -> LicenceKind:
    """Returns what is known of a licence by its name; a name never heard of has terms of its own.

    >>> licence_kind("apache-2.0"), licence_kind("cc-by-nc-sa-4.0"), licence_kind("unknown"), licence_kind("gemma")
    ('permissive', 'non-commercial', 'unknown', 'own terms')
    """
    name = (licence or "").strip().replace("_", "-")
    if name.lower() in {"", "unknown", "none", "other"}:
        return "unknown"
    if NON_COMMERCIAL.search(name):
        return "non-commercial"
    if COPYLEFT.search(name):
        return "copyleft"
    return "permissive" if PERMISSIVE.search(name) and not NO_DERIVATIVES.search(name) else "own terms"


def licence_warning(licence: str | None) -> str | None:
    """Returns what to say before anything is made under that licence, or None where nothing is to be said.

    >>> licence_warning("cc-by-nc-4.0")
    'the licence cc-by-nc-4.0 forbids commercial use, and that of a student made of it too'
    """
    kind = licence_kind(licence)
    if kind == "permissive":
        return None
    return f"the licence {WARNINGS[kind]}" if kind == "unknown" else f"the licence {licence} {WARNINGS[kind]}"
