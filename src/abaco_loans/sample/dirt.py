"""Spoiled rows on demand, each with a note of what was done to it and where."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

Row = list[str]

MAIN_SPOILED_FROM = 0.05
"""From this share of dirty rows on, a few rows have an unreadable main amount."""

_MAIN_EVERY = 60
_TEXTS_IN_NUMBERS = ("abc", "NaN", "1_000", "1,5")
_IMPOSSIBLE_DATES = ("2025-02-30", "2024-13-05", "2025-00-10", "soon")
_FORMULA = '=HYPERLINK("http://x")'


class DirtKind(StrEnum):
    """What is wrong with a row.

    A ragged row has no amount that could be measured, which stops a run: it occurs from the share on at which
    main amounts are spoiled too. ``many_digits`` (an exponent, or digits beyond the scale) is to be read right,
    ``formula_text`` is text; the two duplicates stand as an additional row behind the sound one.
    """

    TEXT_IN_NUMBER = "text_in_number"
    MISSING_REQUIRED = "missing_required"
    IMPOSSIBLE_DATE = "impossible_date"
    EXACT_DUPLICATE = "exact_duplicate"
    SAME_KEY_OTHER_CONTENT = "same_key_other_content"
    NEGATIVE_AMOUNT = "negative_amount"
    BUCKETS_OVER_RECEIVABLE = "buckets_over_receivable"
    FORMULA_TEXT = "formula_text"
    MANY_DIGITS = "many_digits"
    RAGGED_ROW = "ragged_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyRow:
    """One spoiled row: file below the sample folder, line (the header is 1), column ("" for all of it)."""

    file: str
    line: int
    column: str
    kind: DirtKind


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtRules:
    """Which columns of a tape take which dirt; a kind without columns does not occur.

    ``main`` is the amount by which a quarantined share is measured; only ``text_in_number`` makes it
    unreadable, and rarely. ``numbers`` never includes it.
    """

    main: str
    numbers: tuple[str, ...]
    required: tuple[str, ...]
    dates: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    bucket: str = ""

    def kinds(self) -> list[DirtKind]:
        """The kinds that make sense for the tape, in a fixed order."""
        absent = {
            DirtKind.NEGATIVE_AMOUNT: not self.negatives,
            DirtKind.FORMULA_TEXT: not self.texts,
            DirtKind.BUCKETS_OVER_RECEIVABLE: not self.bucket,
        }
        return [kind for kind in DirtKind if not absent.get(kind, False)]


class Spoiler:
    """Spoils one row in every ``1 / share``, at a random place within each such stretch.

    Kinds come in rounds, each round in another order, so that a few dirty rows already show every kind.
    """

    def __init__(self, columns: tuple[str, ...], rules: DirtRules, share: float, rng: random.Random) -> None:
        """Take a share of rows above 0 and up to 0.5, and a stream of this tape's own."""
        self._place = {name: number for number, name in enumerate(columns)}
        self._rules = rules
        self._share = share
        self._rng = rng
        self._rows = 0
        self._spoiled = 0
        self._round: list[DirtKind] = []
        self._at = self._next_place(-1)

    def _next_place(self, last: int) -> int:
        return max(last + 1, int((self._spoiled + self._rng.random()) / self._share))

    def spoil(self, row: Row) -> Iterator[tuple[Row, DirtKind | None, str]]:
        """One or two rows to write in its place, each with the kind of dirt (or None) and the column."""
        number = self._rows
        self._rows += 1
        if number != self._at:
            yield row, None, ""
            return
        force_main = self._share >= MAIN_SPOILED_FROM and self._spoiled % _MAIN_EVERY == 0
        kind = DirtKind.TEXT_IN_NUMBER if force_main else self._next_kind()
        column = self._rules.main if force_main else self._column(kind)
        dirty = self._spoiled_row(row, kind, column)
        if kind in (DirtKind.EXACT_DUPLICATE, DirtKind.SAME_KEY_OTHER_CONTENT):
            yield row, None, ""
        yield dirty, kind, column
        self._spoiled += 1
        self._at = self._next_place(number)

    def _next_kind(self) -> DirtKind:
        if not self._round:
            self._round = [
                kind
                for kind in self._rules.kinds()
                if kind is not DirtKind.RAGGED_ROW or self._share >= MAIN_SPOILED_FROM
            ]
            self._rng.shuffle(self._round)
        return self._round.pop()

    def _column(self, kind: DirtKind) -> str:
        rules = self._rules
        choices: dict[DirtKind, tuple[str, ...]] = {
            DirtKind.TEXT_IN_NUMBER: rules.numbers,
            DirtKind.MISSING_REQUIRED: rules.required,
            DirtKind.IMPOSSIBLE_DATE: rules.dates,
            DirtKind.SAME_KEY_OTHER_CONTENT: (rules.main,),
            DirtKind.NEGATIVE_AMOUNT: rules.negatives,
            DirtKind.BUCKETS_OVER_RECEIVABLE: (rules.bucket,),
            DirtKind.FORMULA_TEXT: rules.texts,
            DirtKind.MANY_DIGITS: (rules.main, *rules.numbers),
        }
        return self._rng.choice(choices[kind]) if kind in choices else ""

    def _spoiled_row(self, row: Row, kind: DirtKind, column: str) -> Row:
        if kind is DirtKind.RAGGED_ROW:
            return [*row, "one field too many"]
        dirty = list(row)
        if kind is DirtKind.EXACT_DUPLICATE:
            return dirty
        place = self._place[column]
        dirty[place] = self._spoiled_cell(row[place], kind, row[self._place[self._rules.main]])
        return dirty

    def _spoiled_cell(self, cell: str, kind: DirtKind, main: str) -> str:
        if kind is DirtKind.TEXT_IN_NUMBER:
            return self._rng.choice(_TEXTS_IN_NUMBERS)
        if kind is DirtKind.IMPOSSIBLE_DATE:
            return self._rng.choice(_IMPOSSIBLE_DATES)
        if kind is DirtKind.FORMULA_TEXT:
            return _FORMULA
        if kind is DirtKind.SAME_KEY_OTHER_CONTENT:
            return str(Decimal(cell) + self._rng.randint(1, 500))
        if kind is DirtKind.NEGATIVE_AMOUNT:
            return f"-{cell}" if Decimal(cell) > 0 else "-1.00"
        if kind is DirtKind.BUCKETS_OVER_RECEIVABLE:
            return str(Decimal(cell) + Decimal(main) + 1000)
        if kind is DirtKind.MANY_DIGITS:
            return self._same_number(cell)
        return ""

    def _same_number(self, cell: str) -> str:
        """The same number at four digits, written with an exponent or with far more digits than the scale."""
        number = Decimal(cell)
        if number == 0:
            return "5.68E-14"
        return f"{number:E}" if self._rng.random() < 0.5 else f"{number:.4f}0000000001"
