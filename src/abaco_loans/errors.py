"""Every failure of the product: a stable code, what happened, where, and what to do next.

A bad row is a value (see :mod:`abaco_loans.tape`); a bad world is an exception of this module;
a bug of ours is an :class:`InvariantError`, which halts.
"""

from __future__ import annotations

from collections.abc import Mapping


class AbacoError(Exception):
    """A failure that a person can act on.

    Args:
        what: one sentence that says what went wrong, in the reader's words.
        code: stable code ``AREA-NNN``; documented in ``docs/errors.md``.
        where: file, ``file:line``, column, run or command that it is about; empty when nowhere.
        hint: what to do next; empty only when there is nothing to do.
        details: JSON-ready facts for programs that read ``--json`` (row counts of a refused tape).
    """

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        code: str,
        where: str = "",
        hint: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.where = where
        self.hint = hint
        self.details = dict(details or {})

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{self.code}: {self.what}{place}{advice}"

    def as_dict(self) -> dict[str, str]:
        """The failure as a JSON-ready object: ``code, what, where, hint``."""
        return {"code": self.code, "what": self.what, "where": self.where, "hint": self.hint}


class NoAnswer(AbacoError):
    """The work was done and the answer is "no": a check or a gate failed (exit code 1)."""

    exit_code = 1


class UsageError(AbacoError):
    """The command or call is wrong (exit code 2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A file that people write (settings, contract, mapping, catalogue, definition) is wrong (exit code 2)."""


class InputError(AbacoError):
    """The tape as a whole cannot be used (exit code 3)."""

    exit_code = 3


class WorldError(AbacoError):
    """Disk, network, database or permission failed us (exit code 4)."""

    exit_code = 4


class InvariantError(AssertionError):
    """A promise of our own code is broken; never caught, never reported as a result."""
