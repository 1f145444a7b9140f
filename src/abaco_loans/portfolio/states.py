"""The states of a loan, in the order in which tables show them."""

from __future__ import annotations

import re

from abaco_loans.portfolio.columns import MISSING, REPAID, WRITTEN_OFF

# The state of a loan that the definition does not count (its DPD method is for other loans).
UNCOUNTED = "(none)"
_AFTER_BUCKETS = (UNCOUNTED, WRITTEN_OFF, REPAID, MISSING)


def order(state: str) -> tuple[int, int]:
    """Sorts states: current, buckets by their first day, then uncounted, written off, repaid, missing."""
    if state in _AFTER_BUCKETS:
        return 1, _AFTER_BUCKETS.index(state)
    first_day = re.match(r"\d+", state)
    return 0, int(first_day.group()) if first_day else 0
