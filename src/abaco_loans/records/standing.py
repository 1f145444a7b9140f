"""How the ledger says rows again, so that what was changed behind its back is found.

A row's latest change is an event that repeats its seal, so what the ledger says stands row by row (:func:`standing`):
a row that was edited, taken out, put in, or put back as it was before does not agree with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abaco_loans.records import statements
from abaco_loans.records.database import Connection, Row
from abaco_loans.records.run_rows import damaged, seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A table's rows in the ledger: the actions that make one, those that change the latest, how a row is named.

    Args:
        subject: the column that holds the subject of the events.
        number: the payload's key for the number of a row among those of its subject; '' when a change is always of
            the latest row.
        repeats: the payload's key for the row's seal.
    """

    words: str
    subject: str
    sealed: Sequence[str]
    makes: frozenset[str]
    changes: frozenset[str]
    number: str = ""
    repeats: str = "seal"


def standing(
    kind: Kind, events: Iterable[Mapping[str, Any]], *, candidate: str | None = None
) -> dict[str, list[tuple[int, str]]]:
    """By subject, the latest event of each of its rows and the seal that the event repeats, oldest row first
    (or by number).

    Args:
        events: ``seq, action, subject, payload`` in order; those of other kinds are passed over.
        candidate: only events that speak of it.
    """
    found: dict[str, dict[int, tuple[int, str]]] = {}
    for event in events:
        if event["action"] not in kind.makes | kind.changes:
            continue
        payload = said_by(event["payload"])
        if candidate is not None and payload.get("candidate") != candidate:
            continue
        rows = found.setdefault(event["subject"], {})
        rows[_place(kind, event["action"], payload, len(rows))] = (event["seq"], str(payload.get(kind.repeats, "")))
    return {subject: [rows[place] for place in sorted(rows)] for subject, rows in found.items()}


def agree(kind: Kind, rows: Iterable[Mapping[str, Any]], said: Sequence[tuple[int, str]]) -> bool:
    """Whether the rows of a subject, in the order of :func:`standing`, match their seals and what the ledger says."""
    rows = [*rows]
    whole = all(seal(row, kind.sealed) == row["seal"] for row in rows)
    return whole and [(row["event_seq"], row["seal"]) for row in rows] == [*said]


def check(connection: Connection, kind: Kind, subject: str, rows: Sequence[Row], where: str) -> None:
    """Hold all rows of a subject against the ledger.

    Raises:
        WorldError: REC-105 they are not what was written.
    """
    said = standing(kind, connection.rows(statements.EVENTS_OF, subject=subject))
    if not agree(kind, rows, said.get(subject, [])):
        raise damaged(f"{kind.words} {subject}", where)


def disagreeing(kind: Kind, rows: Iterable[Row], said: Mapping[str, Sequence[tuple[int, str]]]) -> list[str]:
    """Whose rows are not what the ledger says, in words."""
    by_subject: dict[str, list[Row]] = {subject: [] for subject in said}
    for row in rows:
        by_subject.setdefault(row[kind.subject], []).append(row)
    return [
        f"{kind.words} {subject}"
        for subject, found in by_subject.items()
        if not agree(kind, found, said.get(subject, []))
    ]


def said_by(text: str) -> dict[str, Any]:
    """What an event's payload says; nothing where it cannot be read."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _place(kind: Kind, action: str, payload: Mapping[str, Any], rows: int) -> int:
    """Which of its subject's rows an event speaks of."""
    if kind.number:
        number = payload.get(kind.number)
        return number if isinstance(number, int) else -1
    return max(rows - 1, 0) if action in kind.changes else rows
