"""Why a row is refused: the codes that are not written in a contract, and their words."""

from __future__ import annotations

MISSING = "TAPE-201"
NOT_NUMBER = "TAPE-202"
TOO_LARGE = "TAPE-203"
NOT_WHOLE = "TAPE-204"
NOT_DATE = "TAPE-205"
NOT_BOOLEAN = "TAPE-206"
UNKNOWN_CODE = "TAPE-207"
BELOW = "TAPE-208"
ABOVE = "TAPE-209"
TOO_LONG = "TAPE-210"
FIELD_COUNT = "TAPE-241"
CELL_TOO_LONG = "TAPE-242"
NOT_JSON = "TAPE-243"
CONFLICT = "TAPE-251"

# What is worth saying although it refuses nothing.
WARNINGS: dict[str, str] = {
    "WARN-101": "numbers with more digits than are kept, or an exponent; rounded half away from zero",
    "WARN-102": "rows equal to an earlier one; kept: without an id, two equal payments are two payments",
    "WARN-103": "rows without a key that repeat an earlier one in every column; removed as duplicates",
}

REASONS: dict[str, str] = {
    MISSING: "a required value is missing",
    NOT_NUMBER: "not a number in the format of the mapping",
    TOO_LARGE: "more digits before the decimal point than the contract holds",
    NOT_WHOLE: "not a whole number",
    NOT_DATE: "not a date in the format of the mapping",
    NOT_BOOLEAN: "neither yes nor no",
    UNKNOWN_CODE: "a code that the mapping does not know",
    BELOW: "below the minimum of the contract",
    ABOVE: "above the maximum of the contract",
    TOO_LONG: "longer than the contract allows",
    FIELD_COUNT: "the row has another number of fields than the header",
    CELL_TOO_LONG: "a field is too long to be a value",
    NOT_JSON: "the line is not a JSON object",
    CONFLICT: "the same key stands in another row with other content",
}
