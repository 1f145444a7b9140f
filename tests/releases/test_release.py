"""A release's digests: what can change a number, and what cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from abaco_loans.errors import ConfigError
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.releases.release import Release, read_release, run_identity

Files = dict[str, str]


@pytest.fixture(scope="module")
def files() -> Files:
    return builtin_texts()


@pytest.fixture(scope="module")
def base(files: Files) -> Release:
    return read_release("v2", files)


def changed(files: Files, name: str, old: str, new: str) -> Release:
    assert old in files[name], old
    return read_release("v2", {**files, name: files[name].replace(old, new, 1)})


CATALOGUE, DEFINITIONS, CONTRACT = "catalogue.yml", "definitions.yml", "contracts/bucketed.yml"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (CATALOGUE, "warning: 5, critical: 8", "warning: 4, critical: 8"),
        (CATALOGUE, "5, critical: 8, direction: high_is_bad", "8, critical: 5, direction: low_is_bad"),
        (CATALOGUE, "owner: risk", "owner: finance"),
        (CATALOGUE, "name: PAR 30", "name: Portfolio at risk"),
        (CATALOGUE, "departments: [risk, finance, compliance]", "departments: [risk]"),
        (CATALOGUE, "refresh: daily", "refresh: weekly"),
        (CATALOGUE, "description: Share of the receivable", "description: The share of the receivable"),
        (DEFINITIONS, "default_for: [bucketed, snapshot]", "default_for: [bucketed]"),
        (DEFINITIONS, "description: As the first catalogue counted", "description: As it counted"),
        (CONTRACT, '{property: limitRows, value: "0.05"}', '{property: limitRows, value: "0.01"}'),
        (CONTRACT, '{property: limitAmount, value: "0.05"}', '{property: limitAmount, value: "0.01"}'),
        (CONTRACT, "{property: limitUnmeasured, value: 0}", "{property: limitUnmeasured, value: 3}"),
        (CONTRACT, 'description: "Total receivable."', 'description: "The receivable."'),
        (CONTRACT, "schema:\n", "slaProperties: [{property: frequency, value: 1, unit: d}]\nschema:\n"),
        (CONTRACT, "schema:\n", "slaProperties: [{property: latency, value: 1, unit: d}]\nschema:\n"),
    ],
)
def test_policy_changes_no_meaning(files: Files, base: Release, name: str, old: str, new: str) -> None:
    found = changed(files, name, old, new)
    assert found.policy_digest != base.policy_digest
    assert found.core_digest == base.core_digest
    assert found.meaning_digest == base.meaning_digest
    assert found.mapping_digests == base.mapping_digests


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (
            CATALOGUE,
            "SUM(dpd_90_plus_usd) / SUM(total_receivable_usd) * 100",
            "SUM(dpd_90_plus_usd) * 100 / SUM(total_receivable_usd)",
        ),
        (CATALOGUE, "valid_range: {min: 0, max: 10, clamp: true}", "valid_range: {min: 0, max: 10}"),
        (CATALOGUE, "precision: 2", "precision: 3"),
        (CATALOGUE, "grain: customer", "grain: customer\n    segmented: false"),
        (DEFINITIONS, "write_off_after_days: 180", "write_off_after_days: 181"),
        (DEFINITIONS, "dust_share: 0.01", "dust_share: 0.011"),
        (DEFINITIONS, "boundary: more_than", "boundary: at_least"),
        (CONTRACT, "<= total_receivable_usd + 0.05", "<= total_receivable_usd + 0.06"),
        (CONTRACT, "logicalTypeOptions: {minimum: 0}", "logicalTypeOptions: {minimum: 1}"),
        (CONTRACT, "physicalType: DECIMAL(18,4)", "physicalType: DECIMAL(18,2)"),
        (CONTRACT, "severity: warning", "severity: error"),
        (CONTRACT, '"e?mail"', '"e?mails"'),
        (CONTRACT, "tags: [dimension]", "tags: [pii]"),
    ],
)
def test_meaning_changes_no_policy(files: Files, base: Release, name: str, old: str, new: str) -> None:
    found = changed(files, name, old, new)
    assert found.core_digest != base.core_digest
    assert found.meaning_digest != base.meaning_digest
    assert found.policy_digest == base.policy_digest


def test_a_mapping_is_no_part_of_the_core(files: Files, base: Release) -> None:
    mapping = files["mappings/factoring.yml"]
    more = read_release("v2", {**files, "mappings/other.yml": mapping.replace("name: factoring", "name: other")})
    assert more.core_digest == base.core_digest
    assert more.meaning_digest != base.meaning_digest
    assert more.policy_digest == base.policy_digest
    assert more.mapping_digests["factoring"] == base.mapping_digests["factoring"]
    edited = changed(files, "mappings/factoring.yml", "due_date: date_due", "due_date: date_owed")
    assert edited.core_digest == base.core_digest
    assert edited.mapping_digests["factoring"] != base.mapping_digests["factoring"]
    assert edited.meaning_digest != base.meaning_digest


def _reversed(text: str) -> str:
    """The same document with the keys of every mapping in the opposite order."""

    def turn(item: object) -> object:
        if isinstance(item, dict):
            return {key: turn(item[key]) for key in reversed(item)}
        return [turn(entry) for entry in item] if isinstance(item, list) else item

    return yaml.safe_dump(turn(yaml.load(text, Loader=yaml.BaseLoader)), sort_keys=False, allow_unicode=True)


def _commented(text: str) -> str:
    return "# a comment\n" + text.replace("\n", "  # said aside\n", 1) + "\n# the end\n"


@pytest.mark.parametrize("change", [_reversed, _commented])
def test_order_of_keys_and_comments_do_not_matter(files: Files, base: Release, change: Callable[[str], str]) -> None:
    for name in (CATALOGUE, DEFINITIONS, "mappings/factoring.yml"):
        found = read_release("v2", {**files, name: change(files[name])})
        assert found.meaning_digest == base.meaning_digest, name
        assert found.policy_digest == base.policy_digest, name


def test_order_of_kpis_and_how_a_formula_is_laid_out_do_not_matter(files: Files, base: Release) -> None:
    head, *entries = files[CATALOGUE].split("  - id: ")
    turned = "  - id: ".join([head, *reversed(entries)])
    spread = turned.replace("12 * SUM(interest_fees_in_period_usd)", "12   *\n      sum( interest_fees_in_period_usd )")
    assert spread != turned
    assert read_release("v2", {**files, CATALOGUE: spread}).meaning_digest == base.meaning_digest


def test_a_name_is_no_meaning(files: Files, base: Release) -> None:
    assert read_release("v9", files).meaning_digest == base.meaning_digest


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        (CATALOGUE, "SUM(dpd_90_plus_usd)", "SUM(dpd_90_usd)", "KPI-104"),
        (CATALOGUE, "precision: 2", "precision: two", "KPI-100"),
        (CATALOGUE, "warning: 5, critical: 8", "warning: 8, critical: 5", "KPI-100"),
        (DEFINITIONS, "boundary: more_than", "boundary: more", "CFG-401"),
        (CONTRACT, "<= total_receivable_usd + 0.05", "<= total_receivables + 0.05", "CFG-203"),
        ("mappings/factoring.yml", "layout: servicing", "layout: serving", ""),
        (CATALOGUE, "version:", "version: &anchor", "CFG-102"),
    ],
)
def test_an_error_names_the_file_and_the_line(files: Files, name: str, old: str, new: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(files, name, old, new)
    assert caught.value.where.startswith(f"releases/v2/{name}:"), str(caught.value)
    assert caught.value.code.startswith(code)
    assert caught.value.hint


@pytest.mark.parametrize("name", [CATALOGUE, DEFINITIONS])
def test_a_file_that_is_missing_is_named(files: Files, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"REL-101: the release has no {name} \[releases/v2\]"):
        read_release("v2", {path: text for path, text in files.items() if path != name})


def test_a_release_without_contracts_is_none(files: Files) -> None:
    with pytest.raises(ConfigError, match="REL-101: the release has no contract"):
        read_release("v2", {path: text for path, text in files.items() if not path.startswith("contracts/")})


def test_definitions_by_name_and_by_layout(base: Release) -> None:
    assert [base.definition(None, layout).name for layout in ("bucketed", "snapshot", "servicing")] == [
        "original",
        "original",
        "investor",
    ]
    with pytest.raises(ConfigError, match=r"REL-102.*did you mean 'investor'"):
        base.definition("investors", "bucketed")
    with pytest.raises(ConfigError, match=r"REL-102.*default_for"):
        base.definition(None, "letters")


def test_a_runs_identity_is_what_its_numbers_depend_on(files: Files, base: Release) -> None:
    def identity(release: Release = base, **given: str) -> str:
        values = {"mapping": "factoring", "tape_sha256": "a" * 64, "as_of": "2025-11-30", "reporting_currency": "USD"}
        values |= given
        definition = release.definition(values.pop("definition", "investor"), "servicing")
        return run_identity(release, definition=definition, **values)

    assert identity() == identity()
    assert identity().startswith("20251130-")
    policy = changed(files, CATALOGUE, "warning: 5, critical: 8", "warning: 4, critical: 8")
    assert identity(policy) == identity()
    others = {
        identity(),
        identity(mapping="other"),
        identity(tape_sha256="b" * 64),
        identity(as_of="2025-10-31"),
        identity(reporting_currency="EUR"),
        identity(definition="iris"),
        identity(changed(files, DEFINITIONS, "write_off_after_days: 180", "write_off_after_days: 181")),
        identity(changed(files, "mappings/factoring.yml", "due_date: date_due", "due_date: date_owed")),
    }
    assert len(others) == 8
