"""Small cells: which cells of a segment must not be shown.

A cell with fewer than three customers is suppressed. So that it cannot be had by subtracting the others from
the whole, the smallest remaining cells of the same segment are suppressed too, until those hidden are at
least two and one of them alone has three customers or more (then their union has).
"""

from __future__ import annotations

from collections.abc import Mapping

CUSTOMERS_MIN = 3

Place = tuple[str, str | None]


def suppressed_cells(members: Mapping[Place, int]) -> frozenset[Place]:
    """The places whose cells must be hidden. ``members`` of a place: its customers, or its rows."""
    hidden: set[Place] = set()
    for segment in {place[0] for place in members}:
        own = {place: count for place, count in members.items() if place[0] == segment}
        hidden |= _of_segment(own)
    return frozenset(hidden)


def _of_segment(members: Mapping[Place, int]) -> set[Place]:
    order = sorted(members, key=lambda place: (members[place], place[1] is None, place[1] or ""))
    hidden = {place for place in order if members[place] < CUSTOMERS_MIN}
    if not hidden:
        return hidden
    for place in order:
        enough = len(hidden) >= 2 and max(members[item] for item in hidden) >= CUSTOMERS_MIN
        if enough:
            break
        hidden.add(place)
    return hidden
