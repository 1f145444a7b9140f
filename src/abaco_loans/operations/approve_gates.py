"""Approve that a candidate's gates are looser than before: what was sealed last, by a second person."""

from __future__ import annotations

from collections.abc import Callable

from abaco_loans.records.shadows import GateSeal, ShadowReader, ShadowWriter


def approve_gates(
    reader: ShadowReader, writer: ShadowWriter, candidate: str, reason: str, *, anchor: Callable[[], None]
) -> GateSeal:
    """Approve the candidate's pending seal in the name of whoever opened the records.

    Raises:
        ConfigError: ``GATE-105`` nothing waits for an approval; ``GATE-106`` the approver is who sealed it;
            ``GATE-107`` no reason is given.
    """
    seals = reader.seals(candidate)
    gates, expected = (seals[-1].gates_digest, seals[-1].expected_digest) if seals else ("", "")
    seal = writer.approve(candidate, gates_digest=gates, expected_digest=expected, reason=reason)
    anchor()
    return seal
