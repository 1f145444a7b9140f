"""Retire a release: it runs no more, and all that it ever said stays readable."""

from __future__ import annotations

from datetime import timedelta

from abaco_loans.errors import NoAnswer
from abaco_loans.operations.plan_cutover import refuse_retired
from abaco_loans.operations.tools import Records, Tools
from abaco_loans.records.ledger import NewEvent
from abaco_loans.records.runs import RETIRED

GOOD_DAYS = 28


def retire_release(name: str, reason: str, tools: Tools, records: Records) -> None:
    """End an old release, `GOOD_DAYS` days after the one that followed it became active.

    Recorded as its role, with the event ``release.retired``; runs, shadow runs and plans refuse it from then on.

    Raises:
        ConfigError: ``REL-103`` there is no such release.
        NoAnswer: ``REL-107`` it is still needed: active, shadow, or the one that a rollback would go back to.
        UsageError: ``CUT-111`` it is retired already.
    """
    workspace = tools.workspace
    release = workspace.any_release(name)
    refuse_retired(name, records)
    needed = _needed(name, tools, records)
    if needed:
        raise NoAnswer(
            f"release {name} cannot be retired: {needed}",
            code="REL-107",
            where=f"releases/{name}",
            hint="`abaco worker status` shows which release is active, and since when",
        )
    told = {"reason": reason, "active": records.production_reader.pointer().active or workspace.settings.release}
    records.append([NewEvent(action="release.retired", subject=name, payload=told)])
    records.writer.ensure_release(
        name,
        kind=release.kind,
        role=RETIRED,
        meaning_digest=release.core_digest,
        policy_digest=release.policy_digest,
    )
    tools.anchor()


def _needed(name: str, tools: Tools, records: Records) -> str:
    """Why the release is still needed; empty when it is not."""
    workspace, pointer = tools.workspace, records.production_reader.pointer()
    if name == (pointer.active or workspace.settings.release):
        return "it is the active one"
    if name == workspace.settings.shadow:
        return "it runs as the shadow (setting `shadow`)"
    if pointer.held_by:
        return f"{pointer.held_by} is changing production"
    # A clock that was set back makes this later, never sooner.
    since = None if pointer.changed_at is None else tools.clock.now() - pointer.changed_at
    if name == pointer.previous and (since is None or since < timedelta(days=GOOD_DAYS)):
        days = 0 if since is None else max(since.days, 0)
        return f"a rollback goes back to it until {pointer.active} was active for {GOOD_DAYS} days ({days} are over)"
    return ""
