"""Anchors: signed notes of how long the ledger was and what its head was, kept outside the database.

Whoever can write the database can rewrite the whole chain; an anchor on another machine shows it. Copy the
anchors (and their public key) away; what stands beside the database protects only against accidents.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from abaco_loans.errors import InvariantError, WorldError
from abaco_loans.records.locks import exclusive

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from abaco_loans.records.ledger import Event

PUBLIC_KEY_FILE = "anchor.pub"
EXPORT_FORMAT = "abaco-ledger"
EXPORT_VERSION = 1
_LOCK_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """``count`` events ended in ``head`` at the time ``at``; signed (Ed25519, hex) by the key ``key_id``."""

    count: int
    head: str
    at: str
    key_id: str
    signature: str

    @property
    def file_name(self) -> str:
        """The name under which it is kept."""
        return f"anchor-{self.count}.json"

    def as_dict(self) -> dict[str, Any]:
        """All fields, JSON-ready."""
        return {**self._signed(), "signature": self.signature}

    def message(self) -> bytes:
        """The bytes that are signed: canonical JSON of everything but the signature."""
        return rfc8785.dumps(self._signed())

    def signature_holds(self, public_key: str) -> bool:
        """Whether the key (32 bytes in hex) signed this anchor."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            raw = bytes.fromhex(public_key)
            Ed25519PublicKey.from_public_bytes(raw).verify(bytes.fromhex(self.signature), self.message())
        except (ValueError, InvalidSignature):
            return False
        return self.key_id == _key_id(raw)

    def _signed(self) -> dict[str, Any]:
        return {"count": self.count, "head": self.head, "at": self.at, "key_id": self.key_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorSet:
    """The anchors of one ledger, by count, and the public key (hex) that stands beside them."""

    public_key: str = ""
    anchors: tuple[Anchor, ...] = ()


def write_anchor(folder: Path, key_path: Path, *, count: int, head: str, at: datetime) -> Path:
    """Sign and keep an anchor; the same one again changes nothing.

    Folder and key are made when absent, the key readable by its owner only; the public key goes into the
    folder.

    Raises:
        WorldError: REC-112 the key cannot be used, or others may read it; REC-113 an anchor for this count
            holds another head, or the folder belongs to another key; REC-104 it cannot be written.
    """
    if at.tzinfo is None:
        raise InvariantError("an anchor needs a timezone-aware time")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.with_name(f"{folder.name}.lock"), timeout_s=_LOCK_WAIT_S, who="writing an anchor"):
            _sweep_temporaries(folder, key_path)
            key = _private_key(key_path)
            public = key.public_key().public_bytes_raw()
            _keep_public(folder / PUBLIC_KEY_FILE, public)
            moment = at.astimezone(UTC).isoformat(timespec="microseconds")
            anchor = Anchor(count=count, head=head, at=moment, key_id=_key_id(public), signature="")
            path = folder / anchor.file_name
            if path.exists():
                _refuse_other_head(path, head)
                return path
            signed = Anchor(**(anchor.as_dict() | {"signature": key.sign(anchor.message()).hex()}))
            _write_whole(path, rfc8785.dumps(signed.as_dict()) + b"\n")
    except OSError as error:
        raise WorldError(
            f"cannot write the anchor: {error.strerror or error}",
            code="REC-104",
            where=str(error.filename or folder),
            hint="make room and check who may write there; the ledger itself is whole",
        ) from error
    return path


def signature_of(message: Mapping[str, Any], key_path: Path, public_key: str) -> str:
    """The signature (Ed25519, hex) over the canonical JSON of a message; '' without the key of the anchors.

    No key is made, and one whose public key is not ``public_key`` signs nothing.

    Raises:
        WorldError: REC-112 the key cannot be used, or others may read it.
    """
    if not public_key or not key_path.exists():
        return ""
    key = _private_key(key_path)
    own = key.public_key().public_bytes_raw().hex() == public_key
    return key.sign(rfc8785.dumps(dict(message))).hex() if own else ""


def read_anchors(folder: Path) -> AnchorSet:
    """The anchors in a folder; none when it does not exist.

    Raises:
        WorldError: REC-112 a file in it cannot be read as an anchor or key.
    """
    paths = sorted(folder.glob("anchor-*.json"))
    anchors = sorted((_read_anchor(path) for path in paths), key=lambda anchor: anchor.count)
    public = folder / PUBLIC_KEY_FILE
    if not public.exists() and not anchors:
        return AnchorSet()
    return AnchorSet(public_key=_read_public(public), anchors=tuple(anchors))


def read_last_anchor(folder: Path) -> AnchorSet:
    """The anchor of most events alone, told by its file's name, and the public key; as `read_anchors`."""
    counts = [name for path in folder.glob("anchor-*.json") if (name := path.stem.removeprefix("anchor-")).isdecimal()]
    if not counts:
        return AnchorSet()
    last = _read_anchor(folder / f"anchor-{max(counts, key=int)}.json")
    return AnchorSet(public_key=_read_public(folder / PUBLIC_KEY_FILE), anchors=(last,))


def export(path: Path, events: Iterable[Event], anchors: AnchorSet) -> int:
    """Write ledger, anchors and public key into one JSON-lines file for ``scripts/verify_audit.py``.

    Line 1 is ``{"format", "version", "public_key"}``, each other ``{"anchor": ...}`` or ``{"event": ...}``.

    Returns:
        how many events were written.

    Raises:
        WorldError: REC-104 it cannot be written; an older file of that name stays as it was.
    """
    count = 0
    temporary = _temporary(path)
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as out:
            for line in export_lines(events, anchors):
                out.write(line)
                count += line.startswith('{"event"')
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WorldError(
            f"cannot write the ledger's export: {error.strerror or error}",
            code="REC-104",
            where=str(path),
            hint="choose a folder that exists, has room and is writable by you",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def export_lines(events: Iterable[Event], anchors: AnchorSet) -> Iterator[str]:
    """The lines of :func:`export`."""
    head = {"format": EXPORT_FORMAT, "version": EXPORT_VERSION, "public_key": anchors.public_key}
    yield json.dumps(head) + "\n"
    for anchor in anchors.anchors:
        yield json.dumps({"anchor": anchor.as_dict()}) + "\n"
    for event in events:
        yield json.dumps({"event": event.as_dict()}, ensure_ascii=False) + "\n"


def _key_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:32]


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whoever is first has made the key; the other one uses it.
        with contextlib.suppress(FileExistsError):
            _write_whole(path, made, mode=0o600, only_if_absent=True)
    if path.stat().st_mode & 0o077:
        raise WorldError(
            "other users may read the anchor key",
            code="REC-112",
            where=str(path),
            hint="chmod 600 it; if others could have copied it, start a new key and a new anchor folder",
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise _unreadable(path, "the anchor key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unreadable(path, "the anchor key (Ed25519, PEM)")
    return key


def _keep_public(path: Path, public: bytes) -> None:
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            _write_whole(path, public.hex().encode() + b"\n", only_if_absent=True)
    if _read_public(path) != public.hex():
        raise WorldError(
            "the anchors in this folder are signed with another key",
            code="REC-113",
            where=str(path),
            hint="bring the old key back, or use a new folder for the new key",
        )


def _refuse_other_head(path: Path, head: str) -> None:
    if _read_anchor(path).head != head:
        raise WorldError(
            "an anchor for this many events holds another head: the ledger was rewritten",
            code="REC-113",
            where=str(path),
            hint="run `abaco audit verify` and compare with an export that was kept elsewhere",
        )


def _read_anchor(path: Path) -> Anchor:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        anchor = Anchor(**said)
        whole = type(anchor.count) is int and all(
            isinstance(text, str) for text in (anchor.head, anchor.at, anchor.key_id, anchor.signature)
        )
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, "the anchor") from error
    if not whole or anchor.file_name != path.name:
        raise _unreadable(path, "the anchor")
    return anchor


def _read_public(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip().lower()
        bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise _unreadable(path, "the anchors' public key") from error
    return text


def _unreadable(path: Path, what: str) -> WorldError:
    return WorldError(
        f"cannot read {what}",
        code="REC-112",
        where=str(path),
        hint="bring it back from where the anchors are copied to",
    )


def _write_whole(path: Path, content: bytes, *, mode: int = 0o644, only_if_absent: bool = False) -> None:
    """Write a file so that it is there whole, on the disk, or not at all."""
    temporary = _temporary(path)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        if only_if_absent:
            path.hardlink_to(temporary)
        else:
            temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep_temporaries(folder: Path, key_path: Path) -> None:
    """Remove what a killed process left, a half-made key above all. The folder's lock is held."""
    for parent, pattern in ((folder, ".anchor*.*.*"), (key_path.parent, f".{key_path.name}.*")):
        for path in parent.glob(pattern):
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
