"""The ledger in the database: append inside a transaction, read in pages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from abaco_loans.errors import InvariantError
from abaco_loans.records import statements
from abaco_loans.records.database import Connection, Database, Row
from abaco_loans.records.ledger import GENESIS, Event, NewEvent, canonical, chained

# Short transactions: on a rollback journal a long reader keeps writers out.
_PAGE = 1000


def append(connection: Connection, new: Sequence[NewEvent], *, at: datetime, actor: str) -> tuple[Event, ...]:
    """Append events inside the caller's *writing* transaction, which alone may append until it ends."""
    seq, head = read_head(connection)
    made = []
    for item in new:
        event = chained(item, seq=seq + 1, recorded_at=moment(at), actor=actor, previous_hash=head)
        made.append(event)
        seq, head = event.seq, event.hash
    if made:
        rows = [event.as_dict() | {"payload": canonical(event.payload).decode()} for event in made]
        connection.add(statements.ADD_EVENT, rows)
    return tuple(made)


def read_head(connection: Connection) -> tuple[int, str]:
    """``(count, head)``: how many events there are and the hash of the last one."""
    last = connection.first(statements.LAST_EVENT)
    return (last["seq"], last["hash"]) if last else (0, GENESIS)


def read_events(database: Database, *, after_seq: int = 0) -> Iterator[Event]:
    """All events after ``after_seq``, in order; a page a transaction."""
    while True:
        with database.read() as connection:
            page = connection.rows(statements.EVENTS_AFTER, after_seq=after_seq, page=_PAGE)
        for row in page:
            yield _event(row)
            after_seq = row["seq"]
        if len(page) < _PAGE:
            return


def count_events(database: Database) -> dict[str, int]:
    """How many events there are of each action; only counted."""
    with database.read() as connection:
        return {row["action"]: row["events"] for row in connection.rows(statements.COUNT_EVENTS)}


def last_event_of(database: Database, action: str) -> Event | None:
    """The latest event of an action, or None; not checked against the chain."""
    with database.read() as connection:
        row = connection.first(statements.LAST_EVENT_OF_ACTION, action=action)
    return _event(row) if row else None


def moment(at: datetime) -> str:
    """A time as the records keep it: UTC, ISO-8601, microseconds.

    Raises:
        InvariantError: a time without a zone.
    """
    if at.tzinfo is None:
        raise InvariantError("a time without a zone reached the records")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _event(row: Row) -> Event:
    return Event(**(row | {"payload": _payload(row["payload"])}))


def _payload(text: Any) -> Any:
    """The stored payload; text that no append wrote comes back as something that no hash fits."""
    try:
        payload = json.loads(text)
        if canonical(payload).decode() == text:
            return payload
    except (ValueError, TypeError, RecursionError, InvariantError):
        pass
    return {"unreadable": repr(text)}
