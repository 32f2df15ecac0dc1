"""What the images of a source are for. Only of labelled ones does training see labels, captions, objects, masks and depths.

labelled    images of the user's domains, with labels where there are any
proxy       images that stand in for those of a domain which are not at hand, such as public ones for private ones
auxiliary   further images beside a domain's own
generic     photographs of no domain of the user's: on them a generalist says most; evaluation leaves their domains out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from alumnus.data.compact import Coded
from alumnus.data.folder_facts import MILLIMETRES
from alumnus.data.listing import Listing
from alumnus.errors import DataError

Role = Literal["labelled", "proxy", "auxiliary", "generic"]


class DataEntry(BaseModel):
    """A source of images with its role; a plain path is short for a labelled one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="dataset folder, image folder or list file")
    role: Role = Field(
        "labelled", description="labelled; or proxy, auxiliary or generic, whose labels are hidden"
    )
    domain: str | None = Field(
        None, min_length=1, description="of all its images; what the source itself says by default"
    )

    def applied(self, rows: Listing) -> Listing:
        """Returns the rows of the source as this entry wants them seen: of its domain, and unless it is labelled without all that was
        written down about them: labels, captions, objects, masks, depths."""
        count = len(rows.file_names)
        if self.domain is not None:
            rows = replace(rows, domains=Coded(np.zeros(count, np.int32), (self.domain,)))
        if self.role != "labelled":
            rows = replace(
                rows,
                labels=Coded(np.full(count, -1, np.int32), ()),
                texts=None,
                objects=None,
                masks=None,
                mask_classes=(),
                depths=None,
                depth_unit=MILLIMETRES,
            )
        return rows


def roles_of(roles: Sequence[Role], listings: Sequence[Listing]) -> dict[str, tuple[Role, ...]]:
    """Returns which roles the images of each domain have; a listing for each role given.

    Raises:
        DataError: a domain is generic and something else too.
    """
    found: dict[str, tuple[Role, ...]] = {}
    for role, rows in zip(roles, listings, strict=True):
        for domain in rows.domains.words:
            found[domain] = tuple(dict.fromkeys((*found.get(domain, ()), role)))
    for domain, here in found.items():
        if "generic" in here and len(here) > 1:
            others = " and ".join(role for role in here if role != "generic")
            raise DataError(
                f"the domain {domain!r} is generic and {others}; generic images belong to none of your domains: "
                "give their entry a `domain` of its own, or another role"
            )
    return found


def generic_domains(roles: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns the domains that are nobody's."""
    return [domain for domain, here in roles.items() if "generic" in here]
