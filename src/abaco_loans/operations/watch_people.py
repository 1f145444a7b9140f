"""Who may make the decisions of a watch that trust the release: people of ``roles.yml``, in the role of operations.

As with approvals: whoever planned the cutover decides nothing of it, and a ``roles.yml`` that they can write verifies
nobody. A rehearsal is decided by whoever rehearses.
"""

from __future__ import annotations

import json

from abaco_loans.errors import UsageError
from abaco_loans.operations.plan_cutover import known_roles
from abaco_loans.operations.watch_checkpoint import WatchRecords
from abaco_loans.operations.workspace import Workspace
from abaco_loans.records.watches import WatchRecord
from abaco_loans.releases.approval import Role
from abaco_loans.releases.plan import plan_of


def refuse_strangers(workspace: Workspace, records: WatchRecords, watch: WatchRecord, who: str) -> None:
    """Refuse an account that may not decide what trusts the release.

    Raises:
        UsageError: ``WAT-106`` as said.
    """
    if why := _why_not(workspace, records, watch, who):
        raise UsageError(
            f"this is not for {who} to decide: {why}",
            code="WAT-106",
            where="watch decide",
            hint="somebody of operations decides, with an account of their own that stands in roles.yml",
        )


def _why_not(workspace: Workspace, records: WatchRecords, watch: WatchRecord, who: str) -> str:
    """Why an account may not; empty when it may."""
    record = records.cutover_reader.get(watch.watch_id)
    if record is None:
        return f"cutover {watch.watch_id} is not recorded"
    facts = plan_of(json.loads(record.plan)).facts
    if facts.rehearsal:
        return ""
    roles, unguarded = known_roles(workspace, facts.planned_by)
    person = roles.of_account(who)
    if unguarded:
        return unguarded
    if who == facts.planned_by:
        return f"{who} planned this cutover"
    if person is None or Role.OPS not in person.roles:
        return f"roles.yml does not say that {who} is of operations (ops)"
    return ""
