"""A definition: the named, versioned set of parameters that says what "late", "repaid" and "written off" mean.

Every parameter is a row of DEFINITIONS ("The loan at a date D"); presets ship in ``builtin/definitions.yml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field as ModelField
from pydantic import model_validator

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
    """One definition in force. Days are calendar days; ``dust_share`` is a share of the disbursed amount."""

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
    default_for: tuple[str, ...] = ()

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
    default_for: tuple[Literal["bucketed", "snapshot", "servicing"], ...] = ()

    @model_validator(mode="after")
    def _sticky_is_rolling(self) -> Self:
        """A write-off that stays needs the day on which it happened, and that is known for `rolling` only."""
        by_days = self.write_off is WriteOff.STICKY and self.write_off_after_days is not None
        if by_days and self.dpd_method is not DpdMethod.ROLLING:
            raise ValueError("write_off: sticky by days needs dpd_method: rolling")
        return self


class _DefinitionsFile(FileModel):
    definitions: dict[str, _Entry] = ModelField(min_length=1)


def read_definitions(document: Document) -> dict[str, Definition]:
    """The definitions of the document, by name. Raises ConfigError ``CFG-401``."""
    file = check(document, _DefinitionsFile, code="CFG-401", hint="see docs/definitions.md")
    found: dict[str, Definition] = {}
    for name, entry in file.definitions.items():
        values = entry.model_dump()
        found[name] = Definition(name=name, **{**values, "default_for": tuple(entry.default_for)})
    return found
