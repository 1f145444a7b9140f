#!/usr/bin/env python3
"""Check an exported audit ledger, or an evidence pack, on any machine, with the Python standard library alone.

    python3 verify_audit.py LEDGER.jsonl|PACK.zip [--key HEX | --key anchor.pub]

Checks every event's hash and its link to the one before, every anchor's Ed25519 signature, and every
anchor's count and head against the chain. Of a pack also every file against its list, the signature of the list, and
what the ledger says of files in it. Give the public key that you kept yourself: without ``--key`` the
key inside the file is used, which proves that the file agrees with itself but not who signed it.

Exit code 0: it holds; what was not checked is said. 1: it does not; the message names the first bad event, or every
bad file, and what was done. 2: wrong usage, or the file is no export.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

FORMAT, VERSION = "abaco-ledger", 1
PACK_FORMAT = "abaco-evidence-pack"
LIST, SIGNATURE, LEDGER = "MANIFEST.json", "SIGNATURE.json", "ledger.jsonl"
GENESIS = "0" * 64
CONTENT = ("seq", "recorded_at", "actor", "action", "subject", "payload", "previous_hash")
SHIFT_MAX = 64

Event = dict[str, Any]


class Bad(Exception):
    """The ledger does not hold: first bad sequence number (None: an anchor), kind, and a sentence."""

    def __init__(self, seq: int | None, kind: str, message: str) -> None:
        super().__init__(message)
        self.seq, self.kind, self.message = seq, kind, message


class NoExport(Exception):
    """The file is not an export of a ledger."""


# --- canonical JSON (RFC 8785) of what ledgers hold: strings, ints, bools, null, lists, objects ---


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON; raises ValueError for what a ledger never holds."""
    return _json(value).encode()


def _json(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and abs(value) < 2**53:
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_json(key)}:{_json(value[key])}" for key in keys) + "}"
    raise ValueError(f"{type(value).__name__} is not in a ledger")


# --- Ed25519 verification (RFC 8032, section 5.1.7) ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)

Point = tuple[int, int, int, int]  # extended coordinates: x = X/Z, y = Y/Z, T = XY/Z


def _added(a: Point, b: Point) -> Point:
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(factor: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            total = _added(total, point)
        point = _added(point, point)
        factor >>= 1
    return total


def _point(encoded: bytes) -> Point | None:
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    squared = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(squared, (P + 3) // 8, P)
    if (x * x - squared) % P:
        x = x * ROOT % P
    if (x * x - squared) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _encoded(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


_BASE = _point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signature_holds(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message`` was made with the key of ``public`` (Ed25519)."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, s = _point(public), int.from_bytes(signature[32:], "little")
    if key is None or _BASE is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus_key = (P - key[0], key[1], key[2], P - key[3])
    return _encoded(_added(_times(s, _BASE), _times(k, minus_key))) == signature[:32]


# --- the export ---


class Ledger(NamedTuple):
    """What an export holds; ``key`` is the public key (hex) inside it."""

    key: str
    events: list[Event]
    anchors: list[dict[str, Any]]


def read(path: Path) -> Ledger:
    """The export in a file; raises :class:`NoExport`."""
    try:
        return parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise NoExport(f"{path}: {error}") from error


def parsed(data: bytes, path: str) -> Ledger:
    """The export in these bytes; raises :class:`NoExport`."""
    try:
        lines = [_line(text) for text in data.decode().split("\n") if text]
    except (ValueError, RecursionError) as error:
        raise NoExport(f"{path}: {error}") from error
    if not lines or lines[0].get("format") != FORMAT or lines[0].get("version") != VERSION:
        raise NoExport(f"{path}: the first line is not that of an export ({FORMAT} {VERSION})")
    events, anchors = [], []
    for number, line in enumerate(lines[1:], start=2):
        event, anchor = line.get("event"), line.get("anchor")
        if isinstance(event, dict) and set(event) == {*CONTENT, "hash"} and type(event["seq"]) is int:
            events.append(event)
        elif isinstance(anchor, dict) and {"count", "head", "at", "key_id", "signature"} == set(anchor):
            anchors.append(anchor)
        else:
            raise NoExport(f"{path}:{number}: neither an event nor an anchor")
    return Ledger(str(lines[0].get("public_key", "")), events, anchors)


def _line(text: str) -> dict[str, Any]:
    line = json.loads(text, object_pairs_hook=_once, parse_float=_no_float, parse_constant=_no_float)
    if not isinstance(line, dict):
        raise ValueError("a line that is no JSON object")
    return line


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key that stands twice in one object")
    return dict(pairs)


def _no_float(text: str) -> Any:
    raise ValueError(f"the number {text}, where only whole numbers may stand")


# --- the chain ---


def check_chain(events: list[Event]) -> None:
    """Raise :class:`Bad` for the first event that is not what was written."""
    previous = GENESIS
    for index, event in enumerate(events):
        if event["seq"] != index + 1 or event["previous_hash"] != previous or not _holds(event, event["seq"]):
            raise _diagnosed(events, index, previous)
        previous = event["hash"]


def _holds(event: Event, seq: int) -> bool:
    try:
        content = canonical({name: event[name] for name in CONTENT} | {"seq": seq})
    except ValueError:
        return False
    return bool(hashlib.sha256(content).hexdigest() == event["hash"])


def _diagnosed(events: list[Event], index: int, expected: str) -> Bad:
    at, event, rest = index + 1, events[index], events[index + 1 :]
    before = events[index - 1] if index else None
    successor_is_later = any(other["previous_hash"] == expected for other in rest)
    inserted = Bad(at, "inserted", f"event {at} was inserted")
    edited = Bad(at, "edited", f"event {at} was edited: its content, hash and place do not agree")
    if event["previous_hash"] == expected:
        return inserted if successor_is_later else edited
    if successor_is_later:
        if any(event["previous_hash"] == other["hash"] for other in rest):
            return Bad(at, "reordered", f"from event {at} on the order was changed")
        return inserted
    leads_on = bool(rest) and rest[0]["previous_hash"] == event["hash"]
    if before and event["hash"] == before["hash"]:
        return inserted
    if before and event["previous_hash"] == before["previous_hash"]:
        displaced = leads_on or (not rest and _holds(event, at - 1))
        return Bad(at - 1, "inserted", f"event {at - 1} was inserted") if displaced else inserted
    if any(_holds(event, seq) for seq in {event["seq"], *range(at + 1, at + 1 + SHIFT_MAX)} if seq > at):
        return Bad(at, "deleted", f"event {at} was deleted")
    if before and _holds(event, at) and (leads_on or not rest):
        return Bad(at - 1, "edited", f"event {at - 1} was edited: its content, hash and place do not agree")
    return edited


# --- the anchors ---


def check_anchors(ledger: Ledger, trusted: str) -> None:
    """Raise :class:`Bad` for the first anchor that is forged or speaks of another chain."""
    if trusted and ledger.key.lower() != trusted:
        raise Bad(None, "forged_anchor", "the public key in the file is not the one that you trust")
    for anchor in ledger.anchors:
        if not _anchor_holds(anchor, trusted or ledger.key):
            raise Bad(None, "forged_anchor", f"the signature of anchor {anchor['count']} does not hold")
    agreed = 0
    for anchor in sorted(ledger.anchors, key=lambda anchor: int(anchor["count"])):
        count = anchor["count"]
        if count > len(ledger.events):
            raise Bad(
                len(ledger.events) + 1,
                "truncated",
                f"an anchor speaks of {count} events; the ledger ends after {len(ledger.events)}",
            )
        if (ledger.events[count - 1]["hash"] if count else GENESIS) != anchor["head"]:
            raise Bad(
                agreed + 1,
                "rewritten",
                f"the chain was rewritten somewhere in events {agreed + 1} to {count}: the anchor holds another head",
            )
        agreed = count


def _anchor_holds(anchor: dict[str, Any], key: str) -> bool:
    signed = {name: anchor[name] for name in ("count", "head", "at", "key_id")}
    try:
        public, signature = bytes.fromhex(key), bytes.fromhex(anchor["signature"])
        if type(anchor["count"]) is not int or anchor["count"] < 0:
            return False
        message = canonical(signed)
    except (ValueError, TypeError):
        return False
    return anchor["key_id"] == hashlib.sha256(public).hexdigest()[:32] and signature_holds(public, message, signature)


# --- the evidence pack ---


def check_pack(path: Path, trusted: str) -> tuple[list[str], list[str]]:
    """What is wrong with a pack, and what is right or was not checked, in words; raises :class:`NoExport`."""
    try:
        with zipfile.ZipFile(path) as pack:
            names = [info.filename for info in pack.infolist()]
            content = {name: _content(pack, name) for name in names}
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
        raise NoExport(f"{path}: {error}") from error
    said = _object(content.get(LIST))
    if said is None or said.get("format") != PACK_FORMAT or said.get("version") != VERSION:
        raise NoExport(f"{path}: {LIST} is not that of an evidence pack ({PACK_FORMAT} {VERSION})")
    bad = [f"added: {name} stands in the pack twice" for name in sorted(set(names)) if names.count(name) > 1]
    bad += _bad_files(said, content)
    key = ""
    notes: list[str] = []
    try:
        ledger = parsed(content.get(LEDGER) or b"", LEDGER)
        key = ledger.key
        bad += _bad_ledger(ledger, said, trusted)
        more, notes = _bad_words(ledger, content)
        bad += more
        notes.insert(0, f"{len(ledger.events)} events and {len(ledger.anchors)} anchors")
        if not ledger.anchors:
            notes.append("NOT CHECKED: no anchor; a ledger cut short or wholly rewritten would look the same")
    except NoExport as error:
        bad.append(f"changed: {error}")
    notes.insert(0, f"{len(_listed(said))} files are those of the list ({LIST})")
    if SIGNATURE in content:
        bad += _bad_signature(content, trusted or key)
        notes.append("the list is signed" + (" by the key that you gave" if trusted else ""))
        if not trusted:
            notes.append(f"NOT CHECKED: whose key it is: {key} stands in the pack; compare it with yours (--key)")
    elif trusted:
        bad.append(f"missing: {SIGNATURE}: nobody signed the list of files")
    else:
        notes.append("NOT CHECKED: who made the list of files: it is not signed; files and list could be replaced")
    return bad, notes


def _content(pack: zipfile.ZipFile, name: str) -> bytes | None:
    try:
        return pack.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return None


def _object(data: bytes | None) -> dict[str, Any] | None:
    try:
        return _line((data or b"").decode())
    except (ValueError, RecursionError):
        return None


def _listed(said: dict[str, Any]) -> dict[str, Any]:
    return said["files"] if isinstance(said.get("files"), dict) else {}


def _bad_files(said: dict[str, Any], content: dict[str, bytes | None]) -> list[str]:
    """Files that are changed, missing or added against the list."""
    bad = []
    for name, digest in sorted(_listed(said).items()):
        data = content.get(name)
        if name not in content:
            bad.append(f"missing: {name}")
        elif data is None or hashlib.sha256(data).hexdigest() != digest:
            bad.append(f"changed: {name} is not what the list says")
    strangers = sorted(set(content) - set(_listed(said)) - {LIST, SIGNATURE})
    return bad + [f"added: {name} is not in the list" for name in strangers]


def _head(ledger: Ledger) -> str:
    return str(ledger.events[-1]["hash"]) if ledger.events else GENESIS


def _bad_ledger(ledger: Ledger, said: dict[str, Any], trusted: str) -> list[str]:
    try:
        check_chain(ledger.events)
        check_anchors(ledger, trusted)
    except Bad as bad:
        return [f"{bad.kind}: {LEDGER}: {bad.message}"]
    found = {"events": len(ledger.events), "anchors": len(ledger.anchors), "head": _head(ledger)}
    return [] if said.get("ledger") == found else [f"changed: {LEDGER} has not the length, head or anchors of the list"]


def _bad_words(ledger: Ledger, content: dict[str, bytes | None]) -> tuple[list[str], list[str]]:
    """Files that are not what the ledger says of them; and what is known of the others."""
    told = {(str(event["action"]), str(event["subject"])): event["payload"] for event in ledger.events}
    bad, agreed = [], 0
    for name, data in sorted(content.items()):
        folder, _, rest = name.partition("/")
        subject, _, file = rest.partition("/")
        if folder == "runs" and file == "manifest.json":
            said, digest = told.get(("run.finished", subject)), hashlib.sha256(data or b"").hexdigest()
            right = isinstance(said, dict) and said.get("manifest_sha256") == digest
        elif folder == "shadow" and file == "report.json":
            said, report = told.get(("shadow.finished", subject)), _object(data) or {}
            right = isinstance(said, dict) and said.get("report_sha256", "") == report.get("full_report_sha256")
        else:
            continue
        agreed += right
        if not right:
            bad.append(f"changed: {name} is not what the ledger says of {subject}")
    return bad, [
        f"{agreed} files are what the ledger says of them: manifests of runs, shadow reports by the digest they name",
        "NOT CHECKED: what else a shadow report says: loans were left out of it, so its own digest is another",
        "NOT CHECKED: that release files and the other reports are those that events speak of",
    ]


def _bad_signature(content: dict[str, bytes | None], key: str) -> list[str]:
    told = _object(content[SIGNATURE]) or {}
    signed = {"format": PACK_FORMAT, "manifest_sha256": hashlib.sha256(content[LIST] or b"").hexdigest()}
    try:
        holds = signature_holds(bytes.fromhex(key), canonical(signed), bytes.fromhex(told["signature"]))
    except (KeyError, ValueError, TypeError):
        holds = False
    return [] if holds else [f"changed: {LIST}: its signature does not hold"]


def main(arguments: list[str] | None = None) -> int:
    """Run the check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check an exported audit ledger, or an evidence pack.")
    parser.add_argument("file", type=Path, help="made by `abaco audit export`: the ledger, or a pack (.zip)")
    parser.add_argument("--key", default="", help="the public key that you trust: 64 hex digits, or its file")
    given = parser.parse_args(arguments)
    try:
        trusted = _key(given.key)
        return _pack(given.file, trusted) if zipfile.is_zipfile(given.file) else _ledger(given.file, trusted)
    except NoExport as error:
        sys.stderr.write(f"cannot check: {error}\n")
        return 2


def _pack(path: Path, trusted: str) -> int:
    bad, notes = check_pack(path, trusted)
    right = (text if text.startswith("NOT") else f"OK: {text}" for text in notes)
    sys.stdout.writelines(f"{text}\n" for text in ([f"BAD: {text}" for text in bad] or right))
    return 1 if bad else 0


def _ledger(path: Path, trusted: str) -> int:
    ledger = read(path)
    try:
        check_chain(ledger.events)
        check_anchors(ledger, trusted)
    except Bad as bad:
        place = "anchor" if bad.seq is None else f"event {bad.seq}"
        sys.stdout.write(f"BAD: {bad.kind} at {place}: {bad.message}\n")
        return 1
    sys.stdout.write(f"OK: {len(ledger.events)} events, {len(ledger.anchors)} anchors, head {_head(ledger)}\n")
    if not ledger.anchors:
        sys.stdout.write("note: no anchor; a ledger cut short or wholly rewritten would look the same\n")
    elif not trusted:
        sys.stdout.write(f"note: signed by {ledger.key}, the key inside the file; compare it with yours (--key)\n")
    return 0


def _key(given: str) -> str:
    path = Path(given)
    try:
        text = path.read_text(encoding="ascii").strip() if given and path.is_file() else given
        if given and len(bytes.fromhex(text)) != 32:
            raise ValueError("32 bytes are needed")
    except (OSError, ValueError) as error:
        raise NoExport(f"--key {given}: neither 64 hex digits nor a file that holds them ({error})") from error
    return text.lower()


if __name__ == "__main__":
    sys.exit(main())
