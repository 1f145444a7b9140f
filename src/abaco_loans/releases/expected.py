"""Expected differences: what the author of a release said beforehand would move. A prediction that fails, fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from abaco_loans.releases.comparison import Compared, Key
from abaco_loans.releases.gate import digest_of, plain_value


class Way(StrEnum):
    """Which way the candidate's value will lie from the baseline's; `EITHER` for what rounding does."""

    UP = "up"
    DOWN = "down"
    EITHER = "either"


class Measure(StrEnum):
    """In what the size of a move is said: the KPI's unit, or percent of the baseline's value."""

    UNIT = "unit"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One prediction. It counts up to and including the day ``until``.

    Attributes:
        key: the KPI, overall or in one cell of a segment.
        least: the smallest move that fulfils it; 0: it may stay where it is.
        greatest: the largest one.
        segments: it also covers the KPI's segments, as far as they move in the direction and by no more.
        stage_loans_max: how many loans may change their IFRS 9 stage by it.
    """

    key: Key
    way: Way
    least: Decimal
    greatest: Decimal
    why: str
    until: date
    author: str
    measure: Measure = Measure.UNIT
    segments: bool = False
    stage_loans_max: int = 0

    @property
    def words(self) -> str:
        """The prediction in words, with its author."""
        unit = " %" if self.measure is Measure.PERCENT else ""
        return f"{self.way.value} by {self.least:f} to {self.greatest:f}{unit}, said {self.author}: {self.why}"

    def holds(self, item: Compared) -> bool:
        """Whether the difference is as it was predicted; never where the two cannot be compared."""
        return self._allows(item, self.least)

    def covers(self, item: Compared) -> bool:
        """Whether the difference was foreseen: it is what was predicted, or a segment of it that moves no further."""
        if item.key == self.key:
            return self.holds(item)
        whole = not self.key.segment and item.key.kpi == self.key.kpi
        return self.segments and whole and self._allows(item, Decimal(0))

    def _allows(self, item: Compared, least: Decimal) -> bool:
        size = item.variance_percent if self.measure is Measure.PERCENT else item.difference
        if size is None or item.difference is None:
            return False
        if item.difference and self.way is not Way.EITHER and (item.difference > 0) != (self.way is Way.UP):
            return False
        return least <= abs(size) <= self.greatest


def active(ledger: Sequence[Expected], today: date) -> tuple[Expected, ...]:
    """The predictions that still count."""
    return tuple(item for item in ledger if today <= item.until)


def digest_of_ledger(ledger: Sequence[Expected]) -> str:
    """SHA-256 (hexadecimal) of the ledger, whatever its order."""
    return digest_of(
        sorted(
            [
                *(item.key.kpi, item.key.segment, item.key.segment_value, item.way.value, item.measure.value),
                *(plain_value(item.least), plain_value(item.greatest), item.segments, item.stage_loans_max),
                *(item.why, item.until.isoformat(), item.author),
            ]
            for item in ledger
        )
    )
