"""A release restored from plain JSON is the release that was read, or none."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abaco_loans.kpi.catalogue import Catalogue, Direction, Thresholds, ValidRange
from abaco_loans.kpi.formula import Formula
from abaco_loans.operations.workspace import builtin_texts
from abaco_loans.releases.plain import plain_release, restored_release
from abaco_loans.releases.policy_files import PORTFOLIO_FILE
from abaco_loans.releases.release import Release, read_release
from abaco_loans.tape.definition import Boundary, Definition, restored
from tests.releases.odd import ODD

SHIPPED = {path: text for path, text in builtin_texts().items() if path != PORTFOLIO_FILE}


@pytest.fixture(scope="module", params=[SHIPPED, ODD], ids=["shipped", "odd"])
def release(request: pytest.FixtureRequest) -> Release:
    return read_release("v2", request.param)


@pytest.fixture
def data(release: Release) -> Any:
    return through_json(release)


def through_json(release: Release) -> Any:
    return json.loads(json.dumps(plain_release(release)))


def comparable(release: Release) -> Release:
    """The release without the compiled functions of its formulas, which equal themselves only."""
    kpis = [replace(kpi, formula=replace(kpi.formula, evaluate=nothing)) for kpi in release.catalogue.kpis]
    return replace(release, catalogue=replace(release.catalogue, kpis=tuple(kpis)))


def nothing(values: Any) -> None:
    """Stands for a compiled formula."""


def texts_of_numbers(item: Any) -> list[str]:
    """Every Decimal, written out: 0.10 equals 0.1 and is shown otherwise."""
    if isinstance(item, Decimal):
        return [str(item)]
    if isinstance(item, (list, tuple)):
        return [text for entry in item for text in texts_of_numbers(entry)]
    if isinstance(item, dict):
        return texts_of_numbers(list(item.values()))
    if hasattr(item, "__dataclass_fields__") and not isinstance(item, Formula):
        return [text for field in fields(item) for text in texts_of_numbers(getattr(item, field.name))]
    return []


def test_restored_is_what_was_read(release: Release, data: Any) -> None:
    found = restored_release("v2", data)
    assert found is not None
    assert comparable(found) == comparable(release)
    assert texts_of_numbers(found) == texts_of_numbers(release)
    assert [item.as_dict() for item in found.definitions.values()] == [
        item.as_dict() for item in release.definitions.values()
    ]
    assert list(found.contracts) == list(release.contracts)


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False)


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=4, max_size=4),
    numbers=st.lists(NUMBERS, min_size=4, max_size=4),
    whole=st.integers(0, 10**6),
    direction=st.sampled_from(Direction),
    boundary=st.sampled_from(Boundary),
)
def test_whatever_its_values_are(
    texts: list[str], numbers: list[Decimal], whole: int, direction: Direction, boundary: Boundary
) -> None:
    odd = read_release("v2", ODD)
    first, *others = odd.catalogue.kpis
    changed = replace(
        first,
        name=texts[0],
        thresholds=Thresholds(warning=numbers[0], critical=numbers[1], direction=direction),
        valid_range=ValidRange(least=numbers[2], clamp=bool(whole % 2)),
        departments=tuple(texts),
        precision=whole,
    )
    definition = replace(
        odd.definitions["odd"], boundary=boundary, dust_share=numbers[3], grace_days=whole, version=texts[1]
    )
    release = replace(
        odd,
        catalogue=Catalogue(version=texts[2], kpis=(changed, *others)),
        definitions={**odd.definitions, "odd": definition},
    )
    found = restored_release("v2", through_json(release))
    assert found is not None
    assert found.definitions == release.definitions
    assert comparable(found).catalogue == comparable(release).catalogue
    assert texts_of_numbers(found) == texts_of_numbers(release)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of the data."""
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from places(value, (*path, key))
    if isinstance(data, list) and data:
        yield from places(data[0], (*path, 0))


def put(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the data with another value in one place."""
    found = copy.deepcopy(data)
    place = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return found


@pytest.mark.parametrize("wrong", [1.5, [[]], {"x": 1}], ids=repr)
def test_another_type_anywhere_is_no_release(wrong: Any) -> None:
    data = through_json(read_release("v2", ODD))
    for path in places(data):
        if path:
            assert restored_release("v2", put(data, path, wrong)) is None, path


def test_a_field_too_many_or_too_few_is_no_release() -> None:
    data = through_json(read_release("v2", ODD))
    for path in places(data):
        part = data
        for step in path:
            part = part[step]
        if isinstance(part, dict) and path and path[-1] not in ("fields", "codes"):
            assert restored_release("v2", put(data, path, {**part, "new": None})) is None, path
            for name in part:
                less = {key: value for key, value in part.items() if key != name}
                assert restored_release("v2", put(data, path, less)) is None, (path, name)


@pytest.mark.parametrize("data", [None, [], "text", 7, {}, {"contracts": []}])
def test_no_data_is_no_release(data: Any) -> None:
    assert restored_release("v2", data) is None


@pytest.mark.parametrize(
    "formula",
    ["SUM(no_such_column)", "READ_TEXT('secret')", "SUM(outstanding_usd", "", "a.none", "a.late", "1 / a.late"],
)
def test_a_formula_that_would_be_refused_is_no_release(formula: str) -> None:
    data = through_json(read_release("v2", ODD))
    assert data["catalogue"]["kpis"][0]["id"] == "a.early"
    assert restored_release("v2", put(data, ("catalogue", "kpis", 0, "formula"), formula)) is None


def test_a_definition_is_restored_from_its_parameters() -> None:
    for item in read_release("v2", ODD).definitions.values():
        again: Definition = restored(json.loads(json.dumps(item.as_dict())))
        assert again == replace(item, description="", default_for=())
        assert again.as_dict() == item.as_dict()
