"""Reads definitions (YAML): what is wrong in one is told with its line."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field as ModelField
from pydantic import field_validator, model_validator

from abaco_loans.checked import FileModel, check
from abaco_loans.document import Document
from abaco_loans.tape.definition import Boundary, Cover, Definition, DpdMethod, Restructured, WriteOff


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


def read_definitions(document: Document) -> dict[str, Definition]:
    """The definitions of the document, by name. Raises ConfigError ``CFG-401``."""
    file = check(document, _DefinitionsFile, code="CFG-401", hint="see docs/definitions.md")
    found: dict[str, Definition] = {}
    for name, entry in file.definitions.items():
        values = entry.model_dump()
        found[name] = Definition(name=name, **{**values, "default_for": tuple(entry.default_for)})
    return found
