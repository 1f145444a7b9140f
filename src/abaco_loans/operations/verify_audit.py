"""Verify the audit ledger: its chain, its anchors, and that the records are what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.anchors import AnchorSet, read_anchors
from abaco_loans.records.ledger import LedgerVerdict


class Ledger(Protocol):
    """What is verified."""

    def verify(self, anchors: AnchorSet | None = None, *, trusted_key: str = "") -> LedgerVerdict:
        """The verdict on chain and anchors."""
        ...

    def faults(self) -> Sequence[str]:
        """What in the records is not what was written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """The whole verdict; ``kind`` and ``first_bad_seq`` say what was done to the ledger, and where first."""

    ok: bool
    events: int
    head: str
    anchors: int
    kind: str
    first_bad_seq: int | None
    message: str
    warnings: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "ok": self.ok,
            "events": self.events,
            "head": self.head,
            "anchors": self.anchors,
            "kind": self.kind,
            "first_bad_seq": self.first_bad_seq,
            "message": self.message,
            "warnings": list(self.warnings),
            "faults": list(self.faults),
        }


def verify_audit(ledger: Ledger, workspace: Workspace, *, trusted_key: str = "") -> AuditVerdict:
    """Verify the ledger of a workspace against its chain and the anchors beside it.

    ``trusted_key``: the public key that the anchors must be signed with, kept elsewhere; without it the key
    beside the anchors is used, which whoever can write there can replace.
    """
    anchors = read_anchors(workspace.anchors)
    verdict = ledger.verify(anchors, trusted_key=trusted_key)
    faults = tuple(ledger.faults())
    message = verdict.message
    if verdict.ok and faults:
        message = f"the chain holds, but the records do not: {faults[0]}"
    return AuditVerdict(
        ok=verdict.ok and not faults,
        events=verdict.events,
        head=verdict.head,
        anchors=verdict.anchors,
        kind=verdict.kind or ("records" if faults else ""),
        first_bad_seq=verdict.first_bad_seq,
        message=message,
        warnings=tuple(verdict.warnings),
        faults=faults,
    )
