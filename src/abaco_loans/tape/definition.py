"""A definition: the named, versioned set of parameters that says what "late", "repaid" and "written off" mean.

Every parameter is a row of DEFINITIONS ("The loan at a date D"); presets ship in ``builtin/definitions.yml``
(read by ``definition_file``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any


class Boundary(StrEnum):
    """Whether DPD equal to k counts as PAR k."""

    AT_LEAST = "at_least"
    MORE_THAN = "more_than"


class Cover(StrEnum):
    """Which parts of a payment cover which parts of an instalment."""

    TOTAL_DUE = "total_due"
    PRINCIPAL = "principal"


class DpdMethod(StrEnum):
    """How days past due are counted."""

    ROLLING = "rolling"
    STRICT = "strict"
    MONTHLY_MBA = "monthly_mba"
    MONTHLY_OTS = "monthly_ots"


class WriteOff(StrEnum):
    """Whether a payment may bring a written-off loan back."""

    REINSTATABLE = "reinstatable"
    STICKY = "sticky"


class Restructured(StrEnum):
    """How a restructured loan counts."""

    BY_SCHEDULE = "by_schedule"
    AT_RISK = "at_risk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One definition in force. Days are calendar days; ``dust_share`` is a share of the disbursed amount.

    ``dpd_edges`` are the edges of the buckets of matrices and ageing tables; the first one is 0.
    """

    name: str
    version: str
    description: str = ""
    boundary: Boundary = Boundary.AT_LEAST
    cover: Cover = Cover.TOTAL_DUE
    dpd_method: DpdMethod = DpdMethod.ROLLING
    arrears_tolerance: Decimal = Decimal(0)
    grace_days: int = 0
    dust_share: Decimal = Decimal(0)
    write_off_after_days: int | None = None
    write_off: WriteOff = WriteOff.REINSTATABLE
    restructured: Restructured = Restructured.BY_SCHEDULE
    dpd_edges: tuple[int, ...] = (0, 7, 30, 60, 90)
    default_for: tuple[str, ...] = ()

    @property
    def bucket_floors(self) -> tuple[int, ...]:
        """The least DPD of each bucket after `current`: of matrices and ageing tables."""
        return (1, *(self.reaches(edge) for edge in self.dpd_edges[1:]))

    @property
    def buckets(self) -> tuple[str, ...]:
        """Names of the buckets: ``current`` (DPD 0), then ``1-6``, ``7-29``, ... ``90+``."""
        floors = self.bucket_floors
        ranges = [f"{low}-{high - 1}" for low, high in pairwise(floors)]
        return ("current", *ranges, f"{floors[-1]}+")

    def reaches(self, days: int) -> int:
        """The least DPD that counts as past ``days`` under the boundary."""
        return days if self.boundary is Boundary.AT_LEAST else days + 1

    def as_dict(self) -> dict[str, str | int | None]:
        """The parameters as they are shown with every number."""
        return {
            "name": self.name,
            "version": self.version,
            "boundary": self.boundary.value,
            "cover": self.cover.value,
            "dpd_method": self.dpd_method.value,
            "arrears_tolerance": format(self.arrears_tolerance, "f"),
            "grace_days": self.grace_days,
            "dust_share": format(self.dust_share, "f"),
            "write_off_after_days": self.write_off_after_days,
            "write_off": self.write_off.value,
            "restructured": self.restructured.value,
            "dpd_edges": " ".join(map(str, self.dpd_edges)),
        }


def restored(parameters: Mapping[str, Any]) -> Definition:
    """The definition of which :meth:`Definition.as_dict` gave the parameters."""
    return Definition(
        name=parameters["name"],
        version=parameters["version"],
        boundary=Boundary(parameters["boundary"]),
        cover=Cover(parameters["cover"]),
        dpd_method=DpdMethod(parameters["dpd_method"]),
        arrears_tolerance=Decimal(parameters["arrears_tolerance"]),
        grace_days=parameters["grace_days"],
        dust_share=Decimal(parameters["dust_share"]),
        write_off_after_days=parameters["write_off_after_days"],
        write_off=WriteOff(parameters["write_off"]),
        restructured=Restructured(parameters["restructured"]),
        dpd_edges=tuple(map(int, parameters["dpd_edges"].split())),
    )
