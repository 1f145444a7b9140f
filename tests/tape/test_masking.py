"""Masking: keyed, the same as Python's hmac, before anything is written, and never of the loan's own key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from abaco_loans.engines.duckdb import DuckDB
from abaco_loans.tape.contract import Column, Kind
from abaco_loans.tape.masking import MaskingKey, key_version, mask_expression
from tests.tape.reading import HEADER, KEY, read, shipped


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDB:
    return DuckDB(scratch=tmp_path_factory.mktemp("mask"), folders=[], memory_mb=200, threads=1)


@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), min_size=1, max_size=20
    ),
    secret=st.binary(min_size=32, max_size=200),
)
def test_the_engine_masks_as_python_does(engine: DuckDB, texts: list[str], secret: bytes) -> None:
    key = MaskingKey(version="1", secret=secret)
    found = engine.rows(exp.select(*(mask_expression(exp.Literal.string(text), key) for text in texts)))[0]
    meant = [hmac.new(secret, text.encode(), hashlib.sha256).hexdigest() for text in texts]
    assert list(found) == [f"m{digest[:32]}" for digest in meant] == [key.mask(text) for text in texts]


def test_the_key_is_in_no_text_about_it() -> None:
    secret = b"\xaa planted secret of the key!\xbb!!!"
    key = MaskingKey(version=key_version(secret), secret=secret)
    for told in (repr(key), str(key), f"{key}", key.version):
        assert "planted" not in told and secret.hex() not in told
    assert hashlib.sha256(secret).hexdigest()[:12] not in key.version, "a version must not be a digest of the key alone"


def test_a_dictionary_without_the_key_finds_nobody() -> None:
    """All national ids that exist, hashed with everything but the key, meet no masked value (FAULTS 42)."""
    people = [f"0801-19{year:02d}-{number:05d}" for year in range(60, 80) for number in range(0, 500, 7)]
    masked = {KEY.mask(person) for person in people}
    assert len(masked) == len(people) and all(len(value) == 33 for value in masked), "128 bits, no collision"
    other = MaskingKey(version="2", secret=bytes(32))
    attacks: list[Callable[[str], str]] = [
        lambda text: hashlib.sha256(text.encode()).hexdigest()[:32],
        lambda text: hashlib.md5(text.encode()).hexdigest(),
        lambda text: hmac.new(KEY.version.encode(), text.encode(), hashlib.sha256).hexdigest()[:32],
        lambda text: other.mask(text)[1:],
    ]
    for attack in attacks:
        assert not {f"m{attack(person)}" for person in people} & masked


def test_customers_and_names_are_masked_loans_are_not_also_in_what_is_refused(tmp_path: Path) -> None:
    release = shipped()
    table = release.contracts["snapshot"].table("tape")
    extra = (Column(name="contact_email", kind=Kind.TEXT), Column(name="borrower_name", kind=Kind.TEXT))
    wider = replace(release.contracts["snapshot"], tables=(replace(table, columns=(*table.columns, *extra), rules=()),))
    header = f"{HEADER},customer_id,contact_email,borrower_name,disbursed_principal"
    rows = [
        f"L{number},2025-11-30,1,0,shop,C{number % 2},ana{number}@planted.example,Ana Planted {number},1"
        for number in range(4)
    ]
    rows.append('L9,2025-11-30,1,0,shop,C9,"line\nana9@planted.example",Ana Planted 9,x')
    path = tmp_path / "tape.csv"
    path.write_text("\n".join([header, *rows, rows[0]]))
    told = read(path, tmp_path, release=replace(release, contracts={**release.contracts, "snapshot": wider})).only
    assert told.counts == (6, 4, 1, 1)
    assert [row["loan_id"] for row in told.rows] == ["L0", "L1", "L2", "L3"]
    assert [row["customer_id"] for row in told.rows] == [KEY.mask(f"C{number % 2}") for number in range(4)]
    assert told.rows[2]["contact_email"] == KEY.mask("ana2@planted.example")
    assert told.rows[2]["borrower_name"] == KEY.mask("Ana Planted 2")
    assert "planted" not in repr(told).lower()


def test_columns_are_masked_by_tag_and_by_telling_names() -> None:
    contract = shipped().contracts["snapshot"]
    telling = ["email", "Mobile_Phone", "home_address", "tax_id", "dni", "birth_date", "dob", "full_name", "iban"]
    harmless = ["region", "product", "status", "renamed_at", "denim", "unit", "named"]
    assert [name for name in telling if not contract.is_pii(name)] == []
    assert [name for name in harmless if contract.is_pii(name)] == []
