"""A definition: the named, versioned set of parameters that says what "late", "repaid" and "written off" mean.

Every parameter is a row of DEFINITIONS ("The loan at a date D"); presets ship in ``builtin/definitions.yml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field as ModelField
from pydantic import field_validator, model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.strict_yaml import Document


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


class _Entry(FileModel):
    version: str
    description: str = ""
    boundary: Boundary = Boundary.AT_LEAST
    cover: Cover = Cover.TOTAL_DUE
    dpd_method: DpdMethod = DpdMethod.ROLLING
    arrears_tolerance: Decimal = ModelField(default=Decimal(0), ge=0)
    grace_days: int = ModelField(default=0, ge=0, le=3650)
    dust_share: Decimal = ModelField(default=Decimal(0), ge=0, lt=1)
    write_off_after_days: int | None = ModelField(default=None, ge=1, le=36500)
    write_off: WriteOff = WriteOff.REINSTATABLE
    restructured: Restructured = Restructured.BY_SCHEDULE
    dpd_edges: tuple[int, ...] = (0, 7, 30, 60, 90)
    default_for: tuple[Literal["bucketed", "snapshot", "servicing"], ...] = ()

    @field_validator("dpd_edges")
    @classmethod
    def _rising(cls, edges: tuple[int, ...]) -> tuple[int, ...]:
        if len(edges) < 2 or edges[0] != 0 or any(low >= high for low, high in pairwise(edges)):
            raise ValueError("dpd_edges begin at 0 and rise, like [0, 7, 30, 60, 90]")
        if edges[1] < 2:
            raise ValueError("the second of dpd_edges is at least 2")
        return edges

    @model_validator(mode="after")
    def _sticky_is_rolling(self) -> Self:
        """A write-off that stays needs the day on which it happened, and that is known for `rolling` only."""
        by_days = self.write_off is WriteOff.STICKY and self.write_off_after_days is not None
        if by_days and self.dpd_method is not DpdMethod.ROLLING:
            raise ValueError("write_off: sticky by days needs dpd_method: rolling")
        return self


class _DefinitionsFile(FileModel):
    definitions: dict[str, _Entry] = ModelField(min_length=1)


def restored(parameters: Mapping[str, Any]) -> Definition:
    """The definition of which :meth:`Definition.as_dict` gave the parameters."""
    known = {item.name for item in fields(Definition)}
    given = {name: value for name, value in parameters.items() if name in known}
    edges = tuple(int(edge) for edge in str(given.pop("dpd_edges")).split())
    entry = _Entry(**{name: value for name, value in given.items() if name != "name"}, dpd_edges=edges)
    return Definition(name=str(given["name"]), **entry.model_dump())


def read_definitions(document: Document) -> dict[str, Definition]:
    """The definitions of the document, by name. Raises ConfigError ``CFG-401``."""
    file = check(document, _DefinitionsFile, code="CFG-401", hint="see docs/definitions.md")
    found: dict[str, Definition] = {}
    for name, entry in file.definitions.items():
        values = entry.model_dump()
        found[name] = Definition(name=name, **{**values, "default_for": tuple(entry.default_for)})
    return found
