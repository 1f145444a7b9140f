"""Text that is safe to open in a spreadsheet (FAULTS 23)."""

from __future__ import annotations

import re

from abaco_loans.tape.tree import exp

# Also the wide forms, which some spreadsheets take for the narrow ones.
_START = r"^[=+@\t\r\n＝＋－＠-]"
_NUMBER = r"[+-]?[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]+)?"


def safe_text(value: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would run it; numbers are untouched."""
    if re.match(_START, value) and not re.fullmatch(_NUMBER, value):
        return "'" + value
    return value


def safe_expression(value: exp.Expr) -> exp.Expr:
    """The tree that does what `safe_text` does, on a text column."""
    text = exp.func("COALESCE", value, exp.Literal.string(""))
    starts = exp.Anonymous(this="regexp_matches", expressions=[text, exp.Literal.string(_START)])
    number = exp.Anonymous(this="regexp_full_match", expressions=[text.copy(), exp.Literal.string(_NUMBER)])
    return (
        exp.case()
        .when(
            exp.and_(starts, exp.Not(this=number)),
            exp.DPipe(this=exp.Literal.string("'"), expression=text.copy()),
        )
        .else_(text.copy())
    )
