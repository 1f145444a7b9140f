"""Approvals of a cutover: four roles, four different people, none of them the planner, all bound to the plan's hash.

The last word of a role counts: a later approval by another person replaces the earlier one, and an unverified row (a
withdrawal is one) takes the role's approval away until somebody verified approves again. "Later" is the order in which
rows were recorded, whatever clocks say; but a verified approval that was given before the row it follows replaces
nothing, so an old token cannot be replayed over a withdrawal. Whatever is in doubt blocks.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import rfc8785

from abaco_loans.errors import InvariantError, UsageError
from abaco_loans.releases.plan import Plan

APPROVAL_FOR_MAX = timedelta(days=7)
_TOKEN_LENGTH_MAX = 4096
# In what is signed, so that a signature made for something else is never an approval.
_TOKEN_FORMAT = "abaco-approval-1"


class Role(StrEnum):
    """Who must approve a cutover."""

    OPS = "ops"
    FINANCE = "finance"
    SECURITY = "security"
    GOVERNANCE = "governance"


class How(StrEnum):
    """How the person was identified. A rehearsal's approvals count only for a rehearsal's plan."""

    ACCOUNT = "account"
    TOKEN = "token"
    REHEARSAL = "rehearsal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What one person said of one plan, in one role, as it was recorded.

    ``at`` is when it was said (for a token: when it was issued). ``reason``: why it is not verified. Times have a zone.
    """

    plan_hash: str
    role: Role
    person: str
    how: How
    verified: bool
    at: datetime
    expires_at: datetime
    reason: str = ""

    def __post_init__(self) -> None:
        if self.at.tzinfo is None or self.expires_at.tzinfo is None:
            raise InvariantError("an approval needs timezone-aware times")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An approval that does not count, and why."""

    approval: Approval
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalVerdict:
    """Which approvals stand (in the order of roles), which roles have none, and why the others do not count."""

    standing: tuple[Approval, ...]
    missing: tuple[Role, ...]
    refused: tuple[Refused, ...]

    @property
    def complete(self) -> bool:
        """Whether the plan may be carried out, as far as approvals go."""
        return not self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may approve: accounts of the operating system, Ed25519 public keys (32 bytes, hex), roles."""

    name: str
    accounts: tuple[str, ...]
    keys: tuple[str, ...]
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The people of ``roles.yml``; names differ, and no account or key belongs to two of them."""

    people: tuple[Person, ...]

    def of_account(self, account: str) -> Person | None:
        """Whose account that is; accounts are compared to the letter."""
        return next((person for person in self.people if account in person.accounts), None)

    def named(self, name: str) -> Person | None:
        """The person of that name."""
        return next((person for person in self.people if folded(person.name) == folded(name)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A signed approval, as it travels: JSON, with an Ed25519 signature (hex) over :meth:`message`."""

    plan_hash: str
    role: Role
    person: str
    issued_at: datetime
    expires_at: datetime
    signature: str = ""

    def message(self) -> bytes:
        """The bytes that are signed: canonical JSON of everything but the signature."""
        return rfc8785.dumps(self._signed())

    def text(self) -> str:
        """The token as JSON; :func:`read_token` takes it back."""
        return json.dumps({**self._signed(), "signature": self.signature})

    def signed_by(self, key: str) -> bool:
        """Whether the key (Ed25519, 32 bytes in hex) signed it."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            public.verify(bytes.fromhex(self.signature), self.message())
        except (ValueError, InvalidSignature):
            return False
        return True

    def _signed(self) -> dict[str, Any]:
        return {
            "format": _TOKEN_FORMAT,
            "plan_hash": self.plan_hash,
            "role": self.role.value,
            "person": self.person,
            "issued_at": self.issued_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "expires_at": self.expires_at.astimezone(UTC).isoformat(timespec="microseconds"),
        }


def folded(person: str) -> str:
    """A name as it is compared: compatible characters, case, and space around and between words do not matter."""
    return " ".join(unicodedata.normalize("NFKC", person).casefold().split())


def standing(approvals: Sequence[Approval], plan: Plan, now: datetime, roles: Roles) -> ApprovalVerdict:
    """What the approvals, in the order in which they were recorded, say of the plan at the moment ``now``.

    ``roles`` says who the planner is, whom the plan may know by an account while approvals are in a person's name.
    """
    plan_hash = plan.hash()
    planner = roles.of_account(plan.facts.planned_by)
    planners = {folded(plan.facts.planned_by), folded(planner.name if planner else "")}
    last: dict[Role, Approval] = {}
    refused: list[Refused] = []
    for row in approvals:
        before = last.get(row.role)
        if row.plan_hash != plan_hash:
            refused.append(Refused(approval=row, reason="it was given for another plan"))
        elif before and row.verified and row.at < before.at:
            refused.append(Refused(approval=row, reason="it was given before the one it follows: said again, not anew"))
        else:
            if before:
                refused.append(Refused(approval=before, reason=f"a later word of {row.person} replaced it"))
            # Taken out first, so that the order is that of the rows now in force.
            last.pop(row.role, None)
            last[row.role] = row
    counted: dict[str, Approval] = {}
    for row in last.values():
        reason = _fault(row, plan, planners, now) or _said_twice(counted.get(folded(row.person)))
        if reason:
            refused.append(Refused(approval=row, reason=reason))
        else:
            counted[folded(row.person)] = row
    by_role = {row.role: row for row in counted.values()}
    return ApprovalVerdict(
        standing=tuple(by_role[role] for role in Role if role in by_role),
        missing=tuple(role for role in Role if role not in by_role),
        refused=tuple(refused),
    )


def by_account(
    account: str, roles: Roles, *, plan_hash: str, role: Role, at: datetime, expires_at: datetime
) -> Approval:
    """The approval of whoever the operating system says is here; unverified, with the reason, where that is unknown."""
    person = roles.of_account(account)
    return Approval(
        plan_hash=plan_hash,
        role=role,
        person=person.name if person else account,
        how=How.ACCOUNT,
        verified=person is not None and role in person.roles,
        reason=_unfit(person, role, f"nobody in roles.yml has the account {account!r}"),
        at=at,
        expires_at=expires_at,
    )


def by_token(token: Token, roles: Roles) -> Approval:
    """The approval that a token carries; unverified, with the reason, where the person's keys did not sign it."""
    person = roles.named(token.person)
    reason = _unfit(person, token.role, f"nobody in roles.yml is named {token.person!r}")
    if person and not reason and not any(token.signed_by(key) for key in person.keys):
        reason = f"no key of {person.name} in roles.yml has signed the token"
    return Approval(
        plan_hash=token.plan_hash,
        role=token.role,
        person=person.name if person else token.person,
        how=How.TOKEN,
        verified=not reason,
        reason=reason,
        at=token.issued_at,
        expires_at=token.expires_at,
    )


def withdrawn(approval: Approval, *, at: datetime) -> Approval:
    """The row that takes an approval back: unverified, so that it blocks until somebody approves again."""
    return Approval(
        plan_hash=approval.plan_hash,
        role=approval.role,
        person=approval.person,
        how=approval.how,
        verified=False,
        reason=f"{approval.person} has withdrawn it",
        at=at,
        expires_at=approval.expires_at,
    )


def read_token(text: str) -> Token:
    """The token in a text that nobody has checked yet; its signature is not looked at.

    Raises:
        UsageError: ``CUT-104`` it is no token.
    """
    try:
        if len(text) > _TOKEN_LENGTH_MAX:
            raise ValueError("too long")
        said = json.loads(text, object_pairs_hook=_once)
        token = Token(
            plan_hash=said["plan_hash"],
            role=Role(said["role"]),
            person=said["person"],
            issued_at=_time(said["issued_at"]),
            expires_at=_time(said["expires_at"]),
            signature=said["signature"],
        )
        whole = json.loads(token.text()).keys() == said.keys() and said["format"] == _TOKEN_FORMAT
        if not whole or not all(isinstance(item, str) and item.isprintable() for item in said.values()):
            raise ValueError("not the fields of a token")
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            "this is no signed approval",
            code="CUT-104",
            hint="a token is one JSON object: format, plan_hash, role, person, issued_at, expires_at, signature",
        ) from error
    return token


def _fault(row: Approval, plan: Plan, planners: set[str], now: datetime) -> str:
    """Why an approval of this plan does not count by itself; empty when it does."""
    faults: Mapping[str, bool] = {
        f"it is not verified: {row.reason or 'nobody knows who gave it'}": not row.verified,
        "it names nobody": not folded(row.person),
        "who plans does not approve": folded(row.person) in planners,
        "it was given in a rehearsal": row.how is How.REHEARSAL and not plan.facts.rehearsal,
        "it was given in the future: a clock is wrong": row.at > now,
        "it has expired": row.expires_at <= now,
        f"it is given for longer than {APPROVAL_FOR_MAX.days} days": row.expires_at - row.at > APPROVAL_FOR_MAX,
    }
    return next((words for words, holds in faults.items() if holds), "")


def _said_twice(other: Approval | None) -> str:
    return f"{other.person} has approved as {other.role.value} already" if other else ""


def _unfit(person: Person | None, role: Role, unknown: str) -> str:
    """Why the person cannot approve in the role; empty when they can."""
    if person is None:
        return unknown
    return "" if role in person.roles else f"{person.name} has not the role {role.value} in roles.yml"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) < len(pairs):
        raise ValueError("a key stands twice")
    return said


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return at
