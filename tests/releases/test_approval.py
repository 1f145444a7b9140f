"""Approvals: four people, none of them the planner, bound to one plan; whatever is in doubt blocks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from abaco_loans.errors import ConfigError, InvariantError, UsageError
from abaco_loans.releases.approval import (
    Approval,
    How,
    Person,
    Role,
    Roles,
    Token,
    by_account,
    by_token,
    read_token,
    standing,
    withdrawn,
)
from abaco_loans.releases.plan import cutover_plan
from abaco_loans.releases.roles_file import read_roles
from abaco_loans.strict_yaml import parse
from tests.releases.plans import FOUR, NOW, PLANNER, approval, facts, four

PLAN = cutover_plan(facts())
HASH = PLAN.hash()
OTHER = cutover_plan(facts(pointer_epoch=3))
OTHER_HASH = OTHER.hash()
HOUR = timedelta(hours=1)


def missing(rows: list[Approval], now: datetime = NOW) -> set[Role]:
    return set(standing(rows, PLAN, now, PEOPLE).missing)


def test_four_people_are_enough_and_three_are_not() -> None:
    verdict = standing(four(HASH), PLAN, NOW, PEOPLE)
    assert verdict.complete and not verdict.refused
    assert [row.role for row in verdict.standing] == list(Role)
    assert missing([]) == set(Role)
    assert missing(four(HASH)[1:]) == {Role.OPS}


def test_approvals_die_with_the_plan() -> None:
    verdict = standing(four(HASH), OTHER, NOW, PEOPLE)
    assert set(verdict.missing) == set(Role)
    assert {refused.reason for refused in verdict.refused} == {"it was given for another plan"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"verified": False, "reason": "no such account"}, "no such account"),
        ({"verified": False}, "nobody knows"),
        ({"person": f" {PLANNER.upper()} "}, "who plans"),
        ({"person": "  "}, "names nobody"),
        ({"person": "ANA\u00a0"}, "Ana has approved as ops already"),
        ({"person": "\uff21na"}, "Ana has approved as ops already"),  # a full-width A
        ({"expires_at": NOW}, "expired"),
        ({"at": NOW + timedelta(microseconds=1)}, "future"),
        ({"expires_at": NOW + timedelta(days=8)}, "longer than 7 days"),
        ({"how": How.REHEARSAL}, "rehearsal"),
        ({"plan_hash": OTHER_HASH}, "another plan"),
    ],
)
def test_what_does_not_count_says_why(said: dict[str, Any], reason: str) -> None:
    rows = four(HASH)
    rows[1] = replace(rows[1], **said)
    verdict = standing(rows, PLAN, NOW, PEOPLE)
    assert verdict.missing == (Role.FINANCE,)
    (refused,) = verdict.refused
    assert reason in refused.reason and refused.approval == rows[1]


def test_a_rehearsal_is_approved_by_its_own_identities() -> None:
    plan = cutover_plan(facts(rehearsal=True))
    assert standing(four(plan.hash(), how=How.REHEARSAL), plan, NOW, PEOPLE).complete


def test_approvals_expire_while_one_waits() -> None:
    rows = four(HASH)
    assert not missing(rows, NOW + timedelta(hours=47))
    assert missing(rows, NOW + timedelta(hours=48)) == set(Role)


def test_the_last_word_of_a_role_counts() -> None:
    zoe = approval(HASH, Role.OPS, person="Zoe", at=NOW + HOUR)
    verdict = standing([*four(HASH), zoe], PLAN, NOW + HOUR, PEOPLE)
    assert verdict.complete and verdict.standing[0] == zoe
    # Ana is free for another role, and takes finance over
    ana = approval(HASH, Role.FINANCE, person="Ana", at=NOW + HOUR)
    assert not missing([*four(HASH), zoe, ana], NOW + HOUR)
    assert missing([*four(HASH), ana], NOW + HOUR) == {Role.FINANCE}


def test_who_withdraws_blocks_until_somebody_approves_anew() -> None:
    rows = four(HASH)
    rows.append(withdrawn(rows[0], at=NOW + HOUR))
    assert missing(rows, NOW + HOUR) == {Role.OPS}
    assert missing([*rows, rows[0]], NOW + HOUR) == {Role.OPS}  # the old one again
    assert not missing([*rows, replace(rows[0], at=NOW + 2 * HOUR)], NOW + 2 * HOUR)


def test_a_withdrawal_counts_also_when_the_clock_was_put_back() -> None:
    rows = four(HASH)
    assert missing([*rows, withdrawn(rows[0], at=NOW - HOUR)]) == {Role.OPS}


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvariantError):
        approval(HASH, Role.OPS, at=NOW.replace(tzinfo=None))


ROWS = st.lists(
    st.builds(
        approval,
        st.sampled_from([HASH, OTHER_HASH]),
        st.sampled_from(Role),
        person=st.sampled_from([*FOUR.values(), "ANA ", PLANNER, "pat  lee"]),
        how=st.sampled_from(How),
        verified=st.sampled_from([True, True, True, False]),
        at=st.sampled_from([NOW - HOUR, NOW, NOW + HOUR]),
        expires_at=st.sampled_from([NOW, NOW + HOUR, NOW + 9 * 24 * HOUR]),
    ),
    max_size=12,
)


def good(row: Approval) -> bool:
    in_time = row.at <= NOW < row.expires_at <= row.at + timedelta(days=7)
    return bool(
        row.verified and row.plan_hash == HASH and row.how is not How.REHEARSAL
        and " ".join(row.person.lower().split()) != PLANNER.lower() and in_time
    )  # fmt: skip


@given(ROWS, st.booleans())
def test_it_is_complete_only_when_four_different_people_can_be_found(rows: list[Approval], helped: bool) -> None:
    """By trying every choice of one good approval a role."""
    rows = [*rows, *four(HASH)] if helped else rows
    verdict = standing(rows, PLAN, NOW, PEOPLE)
    choices = product(*([row for row in rows if row.role is role and good(row)] for role in Role))
    possible = any(len({row.person.strip().lower() for row in choice}) == len(Role) for choice in choices)
    assert possible or not verdict.complete
    assert len(verdict.standing) + len(verdict.missing) == len(Role)
    assert len(verdict.standing) + len(verdict.refused) == len(rows)
    assert all(good(row) for row in verdict.standing)


@given(ROWS, st.sampled_from(Role))
def test_an_unverified_last_word_always_blocks(rows: list[Approval], role: Role) -> None:
    last = approval(HASH, role, verified=False, at=NOW - HOUR)
    assert role in standing([*rows, *four(HASH), last], PLAN, NOW, PEOPLE).missing


@given(ROWS)
def test_rows_of_another_plan_change_nothing(rows: list[Approval]) -> None:
    others = [replace(row, plan_hash=OTHER_HASH) for row in rows]
    assert standing([*others, *four(HASH)], PLAN, NOW, PEOPLE).standing == tuple(four(HASH))
    assert standing([*four(HASH), *others], PLAN, NOW, PEOPLE).standing == tuple(four(HASH))


# --- who somebody is ----------------------------------------------------------------------------------------

KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in ("Ana", "Ben")}


def public(name: str) -> str:
    return KEYS[name].public_key().public_bytes_raw().hex()


ANA = Person(name="Ana", accounts=("ana", "ana-admin"), keys=(public("Ana"),), roles=frozenset({Role.OPS}))
BEN = Person(name="Ben", accounts=("ben",), keys=(public("Ben"),), roles=frozenset({Role.FINANCE, Role.OPS}))
PEOPLE = Roles(people=(ANA, BEN))


@pytest.mark.parametrize(
    ("account", "role", "person", "reason"),
    [
        ("ana", Role.OPS, "Ana", ""),
        ("ana-admin", Role.OPS, "Ana", ""),
        ("ana", Role.FINANCE, "Ana", "has not the role finance"),
        ("Ana", Role.OPS, "Ana", "nobody in roles.yml has the account"),
        ("root", Role.OPS, "root", "nobody in roles.yml has the account"),
    ],
)
def test_an_account_is_mapped_to_a_person(account: str, role: Role, person: str, reason: str) -> None:
    row = by_account(account, PEOPLE, plan_hash=HASH, role=role, at=NOW, expires_at=NOW + HOUR)
    assert (row.person, row.verified, row.how) == (person, not reason, How.ACCOUNT)
    assert reason in row.reason


@pytest.mark.parametrize("planner", ["ana", "ana-admin", "Ana", " ANA "])
def test_who_planned_under_an_account_does_not_approve_under_their_name(planner: str) -> None:
    plan = cutover_plan(facts(planned_by=planner))
    verdict = standing(four(plan.hash()), plan, NOW, PEOPLE)
    assert verdict.missing == (Role.OPS,)
    assert verdict.refused[0].reason == "who plans does not approve"


def signed(signer: str = "Ana", **said: Any) -> Token:
    given = {"plan_hash": HASH, "role": Role.OPS, "person": "Ana", "issued_at": NOW, "expires_at": NOW + HOUR}
    token = Token(**{**given, **said})
    return replace(token, signature=KEYS[signer].sign(token.message()).hex())


def test_a_signed_token_is_an_approval() -> None:
    row = by_token(read_token(signed().text()), PEOPLE)
    assert row == approval(HASH, Role.OPS, how=How.TOKEN, expires_at=NOW + HOUR)
    assert by_token(signed(person=" ANA"), PEOPLE).person == "Ana"


CHANGES: dict[str, Any] = {
    "plan_hash": OTHER_HASH,
    "role": Role.FINANCE,
    "person": "Ben",
    "issued_at": NOW + timedelta(microseconds=1),
    "expires_at": NOW + 2 * HOUR,
    "signature": "0" * 128,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_token_that_was_touched_is_recorded_unverified(name: str) -> None:
    row = by_token(replace(signed(), **{name: CHANGES[name]}), PEOPLE)
    assert not row.verified and row.reason


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (signed(signer="Ben"), "no key of Ana"),
        (signed(person="Zoe"), "nobody in roles.yml is named 'Zoe'"),
        (signed(role=Role.FINANCE), "has not the role"),
        (replace(signed(), signature="no hex"), "no key of Ana"),
        (replace(signed(), signature=""), "no key of Ana"),
    ],
)
def test_a_token_that_proves_nothing_says_why(token: Token, reason: str) -> None:
    row = by_token(token, PEOPLE)
    assert not row.verified and reason in row.reason


def test_a_key_that_is_none_signs_nothing() -> None:
    for key in ("", "zz", "00", public("Ana")[:-2]):
        assert not signed().signed_by(key)


SAID = json.loads(signed().text())


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "1", "{}", "[" * 4000, "{" * 4000, "x" * 5000,
        json.dumps({**SAID, "more": "x"}),
        json.dumps({**SAID, "role": "boss"}),
        json.dumps({**SAID, "format": "other"}),
        json.dumps({**SAID, "person": 1}),
        json.dumps({**SAID, "person": "A\u0000"}),
        json.dumps({**SAID, "person": "\ud800"}),
        json.dumps({**SAID, "signature": None}),
        json.dumps({**SAID, "issued_at": "2026-03-01T12:00:00"}),
        json.dumps({**SAID, "issued_at": "soon"}),
        json.dumps({**SAID, "issued_at": "0001-01-01T00:00:00+14:00"}),
        json.dumps({name: value for name, value in SAID.items() if name != "expires_at"}),
        json.dumps(SAID)[:-1] + ', "role": "ops"}',
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="CUT-104"):
        read_token(text)


@given(st.text(max_size=100) | st.lists(st.text(max_size=5), max_size=3).map(json.dumps))
def test_any_other_text_is_refused_and_breaks_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="CUT-104"):
        read_token(text)


# --- roles.yml ----------------------------------------------------------------------------------------------

FILE = f"""
people:
  Ana:
    accounts: [ana, ana-admin]
    keys: ["{public("Ana").upper()}"]
    roles: [ops]
  Ben:
    accounts: [ben]
    keys: ["{public("Ben")}"]
    roles: [finance, ops]
"""


def test_the_people_of_the_file() -> None:
    assert read_roles(parse(FILE, name="roles.yml")) == PEOPLE
    assert read_roles(parse("{}", name="roles.yml")) == Roles(people=())


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("people:\n  Ana:\n    roles: [ops]", "ROLE-101", 2, "nobody can be identified"),
        ("people:\n  Ana:\n    accounts: [a]\n    roles: []", "ROLE-101", 4, "at least 1"),
        ("people:\n  Ana:\n    accounts: [a]\n    roles: [boss]", "ROLE-101", 4, "'ops'"),
        ("people:\n  Ana:\n    keys: [abc]\n    roles: [ops]", "ROLE-101", 3, "64 hexadecimal"),
        ("people:\n  Ana:\n    acounts: [a]\n    roles: [ops]", "ROLE-101", 3, "unknown key"),
        ("peopel: {}", "ROLE-101", 1, "unknown key"),
        ("[]", "ROLE-101", 1, "dictionary"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_line(text: str, code: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_roles(parse(text, name="roles.yml"))
    assert (told.value.code, told.value.where) == (code, f"roles.yml:{line}")
    assert words in told.value.what


@pytest.mark.parametrize(
    "second",
    [
        "ANA: {accounts: [b], roles: [ops]}",
        "Zoe: {accounts: [a], roles: [ops]}",
        "'  ': {accounts: [b], roles: [ops]}",
        "Zoe: {accounts: [' '], roles: [ops]}",
    ],
)
def test_a_name_or_account_stands_for_one_person(second: str) -> None:
    with pytest.raises(ConfigError, match="ROLE-102") as told:
        read_roles(parse(f"people:\n  Ana: {{accounts: [a], roles: [ops]}}\n  {second}", name="roles.yml"))
    assert told.value.where == "roles.yml:3"


def test_a_key_stands_for_one_person() -> None:
    key = public("Ana")
    text = f"people:\n  Ana: {{keys: ['{key}'], roles: [ops]}}\n  Zoe: {{keys: ['{key.upper()}'], roles: [ops]}}"
    with pytest.raises(ConfigError, match="ROLE-102"):
        read_roles(parse(text, name="roles.yml"))
