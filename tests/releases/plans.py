"""Plans and approvals for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from abaco_loans.releases.approval import Approval, How, Role
from abaco_loans.releases.plan import PlanFacts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLANNER = "Pat Lee"
FOUR = {Role.OPS: "Ana", Role.FINANCE: "Ben", Role.SECURITY: "Eva", Role.GOVERNANCE: "Ian"}


def facts(**said: Any) -> PlanFacts:
    given: dict[str, Any] = {
        "from_release": "v1",
        "to_release": "v2",
        "from_meaning": "a" * 64,
        "from_policy": "b" * 64,
        "to_meaning": "c" * 64,
        "to_policy": "d" * 64,
        "planned_by": PLANNER,
        "planned_at": NOW,
        "pointer_epoch": 1,
        "workspace_id": "w1",
        "gates_digest": "e" * 64,
        "shadow_digest": "f" * 64,
        "shadow_ids": ("s1", "s2"),
        "drill_id": "drill1",
    }
    return PlanFacts(**{**given, **said})


def approval(plan_hash: str, role: Role, **said: Any) -> Approval:
    given: dict[str, Any] = {
        "person": FOUR[role],
        "how": How.ACCOUNT,
        "verified": True,
        "at": NOW,
        "expires_at": NOW + timedelta(days=2),
    }
    return Approval(plan_hash=plan_hash, role=role, **{**given, **said})


def four(plan_hash: str, **said: Any) -> list[Approval]:
    return [approval(plan_hash, role, **said) for role in Role]
