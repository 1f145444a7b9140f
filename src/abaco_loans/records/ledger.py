"""The audit ledger: what an event is, what its hash covers, and how a ledger is found to be true.

Invariants: ``seq`` is dense from 1; each event holds the hash of the one before it; the order is ``seq``,
never a clock. Against a rewrite of the whole chain only anchors help (:mod:`abaco_loans.records.anchors`).
``scripts/verify_audit.py`` does the same check again with the standard library alone; a test holds them
together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import rfc8785

from abaco_loans.errors import InvariantError
from abaco_loans.records.anchors import AnchorSet

GENESIS = "0" * 64

FaultKind = Literal["edited", "deleted", "inserted", "reordered", "truncated", "rewritten", "forged_anchor"]

# How far a seq may have been shifted for an event to be known again after others were taken out before it.
_SHIFT_MAX = 64
_CLOCK_WARNINGS_MAX = 20
# From here on a number of JSON is not exact everywhere.
_INT_END = 2**53
# Of ASCII alone it writes what RFC 8785 asks, which sorts other keys otherwise, and many times faster than `rfc8785`:
# a check of the ledger writes each event twice.
_ASCII = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """Something that happened, not yet in the ledger.

    Args:
        action: dotted word, such as ``run.finished``.
        subject: what it happened to, such as a run id.
        payload: strings, ints, bools, None, lists and dicts; decimals and times as strings. No floats.
    """

    action: str
    subject: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the ledger, as stored; ``recorded_at`` is UTC ISO-8601 text."""

    seq: int
    recorded_at: str
    actor: str
    action: str
    subject: str
    payload: Mapping[str, Any]
    previous_hash: str
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """All fields, JSON-ready."""
        return {**_content(self, self.seq), "hash": self.hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerVerdict:
    """What a check of the ledger found.

    ``events`` and ``head`` speak of the events up to the first fault; ``first_bad_seq`` is None when all is
    well or when the fault is in an anchor. ``warnings`` are oddities that prove nothing (a clock set back).
    """

    ok: bool
    events: int
    head: str
    anchors: int
    first_bad_seq: int | None = None
    kind: FaultKind | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    seq: int | None
    kind: FaultKind
    message: str


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON of strings, ints, bools, None, lists and dicts.

    Raises:
        InvariantError: anything else in it (floats above all), a key that is no string, an int beyond 2**53.
    """
    if _is_ascii(value):
        return _ASCII.encode(value).encode()
    return rfc8785.dumps(_plain(value, "payload"))


def event_hash(event: Event, *, seq: int | None = None) -> str:
    """The hash that the event's content gives (with another ``seq``, when one is given)."""
    return hashlib.sha256(canonical(_content(event, event.seq if seq is None else seq))).hexdigest()


def chained(new: NewEvent, *, seq: int, recorded_at: str, actor: str, previous_hash: str) -> Event:
    """The event that follows ``previous_hash`` at ``seq``, sealed.

    Raises:
        InvariantError: its content cannot be written canonically.
    """
    unsealed = Event(
        seq=seq,
        recorded_at=recorded_at,
        actor=actor,
        action=new.action,
        subject=new.subject,
        payload=_plain(new.payload, "payload"),
        previous_hash=previous_hash,
        hash="",
    )
    return Event(**(unsealed.as_dict() | {"hash": event_hash(unsealed)}))


def verify(events: Iterable[Event], anchors: AnchorSet | None = None, *, trusted_key: str = "") -> LedgerVerdict:
    """Check the whole chain, then every anchor against it.

    Args:
        events: all of them, in the order in which they are kept.
        anchors: read *before* the events, else a new anchor may speak of an event that was not read.
        trusted_key: the public key (hex) that anchors must be signed with; empty trusts the one beside them.
    """
    anchors = anchors or AnchorSet()
    wanted = {anchor.count for anchor in anchors.anchors}
    heads = {0: GENESIS}
    warnings: list[str] = []
    count, before, fault = 0, None, None
    stream = iter(events)
    for event in stream:
        expected = before.hash if before else GENESIS
        sound = event.seq == count + 1 and event.previous_hash == expected and _hash_holds(event, event.seq)
        if not sound:
            fault = _diagnosed(count + 1, before, event, tuple(stream))
            break
        if before and event.recorded_at < before.recorded_at and len(warnings) < _CLOCK_WARNINGS_MAX:
            warnings.append(f"the clock went backwards before event {event.seq}")
        count, before = count + 1, event
        if count in wanted:
            heads[count] = event.hash
    fault = fault or _anchor_fault(anchors, heads, count, trusted_key)
    return LedgerVerdict(
        ok=fault is None,
        events=count,
        head=before.hash if before else GENESIS,
        anchors=len(anchors.anchors),
        first_bad_seq=fault.seq if fault else None,
        kind=fault.kind if fault else None,
        message=fault.message if fault else "",
        warnings=tuple(warnings),
    )


def _content(event: Event, seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "recorded_at": event.recorded_at,
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "payload": event.payload,
        "previous_hash": event.previous_hash,
    }


def _is_ascii(value: Any) -> bool:
    """Nothing but JSON's own types, exact numbers and ASCII: as nearly every event is."""
    left = [value]
    while left:
        item = left.pop()
        kind = type(item)
        if kind is str:
            plain = item.isascii()
        elif kind is dict:
            plain = all(type(key) is str and key.isascii() for key in item)
            left.extend(item.values())
        elif kind is list:
            plain = True
            left.extend(item)
        elif kind is int:
            plain = abs(item) < _INT_END
        else:
            plain = item is None or kind is bool
        if not plain:
            return False
    return True


def _plain(value: Any, place: str) -> Any:
    """``value`` in the plain types of JSON, after refusing everything that is not exact."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvariantError(f"ledger {place}: text that is not Unicode") from error
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) >= _INT_END:
            raise InvariantError(f"ledger {place}: {value} is too large for JSON; pass it as a string")
        return int(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvariantError(f"ledger {place}: key {key!r} is not a string")
        return {_plain(key, place): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise InvariantError(f"ledger {place}: {type(value).__name__} is not exact JSON; pass it as a string")


def _hash_holds(event: Event, seq: int) -> bool:
    try:
        return event_hash(event, seq=seq) == event.hash
    except InvariantError:  # content that no append could have written
        return False


def _diagnosed(at: int, before: Event | None, event: Event, rest: tuple[Event, ...]) -> _Fault:
    """What happened at ``at``, where ``event`` does not follow ``before``; ``rest`` comes after it."""
    expected = before.hash if before else GENESIS
    true_successor_is_later = any(other.previous_hash == expected for other in rest)
    if event.previous_hash == expected:
        if true_successor_is_later:
            return _inserted(at)
        return _edited(at)
    if true_successor_is_later:
        if any(event.previous_hash == other.hash for other in rest):
            return _Fault(seq=at, kind="reordered", message=f"from event {at} on the order was changed")
        return _inserted(at)
    if before and event.previous_hash == before.previous_hash and event.hash != before.hash:
        # Both follow the same event. The true one is what the next event follows or, at the end of the
        # ledger, the one that was moved on from the place that its hash speaks of.
        displaced = rest[0].previous_hash == event.hash if rest else _hash_holds(event, at - 1)
        return _inserted(at - 1 if displaced else at)
    if before and event.hash == before.hash:
        return _inserted(at)
    if any(_hash_holds(event, seq) for seq in {event.seq, *range(at + 1, at + 1 + _SHIFT_MAX)} if seq > at):
        return _Fault(seq=at, kind="deleted", message=f"event {at} was deleted")
    if before and _hash_holds(event, at) and (not rest or rest[0].previous_hash == event.hash):
        # `event` and what follows agree on an earlier event than the one that stands there.
        return _edited(at - 1)
    return _edited(at)


def _edited(seq: int) -> _Fault:
    return _Fault(seq=seq, kind="edited", message=f"event {seq} was edited: its content, hash and place do not agree")


def _inserted(seq: int) -> _Fault:
    return _Fault(seq=seq, kind="inserted", message=f"event {seq} was inserted")


def _anchor_fault(anchors: AnchorSet, heads: Mapping[int, str], count: int, trusted_key: str) -> _Fault | None:
    if trusted_key and anchors.public_key != trusted_key.lower():
        return _Fault(seq=None, kind="forged_anchor", message="the anchors' public key is not the one that is trusted")
    for anchor in anchors.anchors:
        if not anchor.signature_holds(anchors.public_key):
            return _Fault(seq=None, kind="forged_anchor", message=f"the signature of {anchor.file_name} does not hold")
    agreed = 0
    for anchor in sorted(anchors.anchors, key=lambda anchor: anchor.count):
        if anchor.count > count:
            return _Fault(
                seq=count + 1,
                kind="truncated",
                message=f"{anchor.file_name} speaks of {anchor.count} events; the ledger ends after {count}",
            )
        if heads.get(anchor.count) != anchor.head:
            return _Fault(
                seq=agreed + 1,
                kind="rewritten",
                message=f"the chain was rewritten somewhere in events {agreed + 1} to {anchor.count}:"
                f" {anchor.file_name} holds another head",
            )
        agreed = anchor.count
    return None
