"""Type every cell of a table in one pass: the queries that the engine runs over the text of a file.

For each contract column the first query holds a *grade* (0 read as written, 1 read but rounded, NULL cannot
be read) made by looking at the text, and a value that is cast only where the grade allows. A row that breaks
a grade, a range or a rule keeps its text in ``_raw``; a second query, run only if there are such rows, says
for each of them what is wrong. So a clean tape pays for looking, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingType
from collections.abc import Sequence

from abaco_loans.tape import reasons
from abaco_loans.tape.contract import Column, Kind, Severity, Table
from abaco_loans.tape.expression import column_names, row_expression
from abaco_loans.tape.mapping import Field, Formats, TableMapping, Unit
from abaco_loans.tape.staged import LINE_COLUMN
from abaco_loans.tape.tree import exp

SOURCE = "source"
RAW_COLUMN = "_raw"
_VALUE_LENGTH = 200
_PLAIN_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO_DATE = _PLAIN_DATE + "([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
TRUE_WORDS = ("true", "t", "yes", "y", "1", "si", "sí")
FALSE_WORDS = ("false", "f", "no", "n", "0")


def typed_query(table: Table, mapping: TableMapping, has_line_column: bool = False) -> exp.Select:
    """The query that types ``table`` from the relation ``source``, whose columns are all text.

    The result has the contract's columns that the mapping has, then ``_rounded`` (number of rounded cells,
    NULL where a cell cannot be read) and ``_raw`` (NULL, or the texts of a faulty row, in the same order).

    Args:
        table: the contract of the file.
        mapping: where each column comes from; columns that are not in it are left out.
        has_line_column: the source has ``_line``, and so gets the result.
    """
    columns = _mapped(table, mapping)
    line = [exp.column(LINE_COLUMN)] if has_line_column else []
    raws = exp.select(*line, *(_alias(_source(mapping.fields[c.name]), _raw(c)) for c in columns)).from_(SOURCE)
    grades = exp.select(
        *line,
        *(exp.column(_raw(c)) for c in columns),
        *(_alias(_grade(c, mapping.fields[c.name], mapping.formats), _grade_name(c)) for c in columns),
    ).from_(raws.subquery("raws"))
    values = exp.select(
        *line,
        *(exp.column(_raw(c)) for c in columns),
        *(exp.column(_grade_name(c)) for c in columns),
        *(_alias(_value(c, mapping.fields[c.name], mapping.formats), c.name) for c in columns),
    ).from_(grades.subquery("grades"))
    rounded = _sum_of([exp.column(_grade_name(column)) for column in columns])
    return exp.select(
        *(exp.column(column.name, quoted=True) for column in columns),
        _alias(exp.cast(rounded, "SMALLINT"), "_rounded"),
        _alias(
            exp.case().when(
                _faulty(table, columns, mapping), exp.array(*(exp.column(_raw(column)) for column in columns))
            ),
            RAW_COLUMN,
        ),
        *(_alias(exp.cast(node, "BIGINT"), LINE_COLUMN) for node in line),
    ).from_(values.subquery("cells"))


def _alias(node: exp.Expr, name: str) -> exp.Expr:
    return exp.alias_(node, name, quoted=True)


def _raw(column: Column) -> str:
    return f"_raw_{column.name}"


def _grade_name(column: Column) -> str:
    return f"_grade_{column.name}"


def _source(field: Field) -> exp.Expr:
    return exp.column(field.source, quoted=True)


def _sum_of(nodes: Sequence[exp.Expr]) -> exp.Expr:
    total = nodes[0]
    for node in nodes[1:]:
        total = exp.Add(this=total, expression=node)
    return total


def _matches(text: exp.Expr, pattern: str) -> exp.Expr:
    return exp.Anonymous(this="regexp_full_match", expressions=[text, exp.Literal.string(pattern)])


def _trimmed(text: exp.Expr) -> exp.Expr:
    return exp.func("NULLIF", exp.func("TRIM", text), exp.Literal.string(""))


def _normal_number(text: exp.Expr, formats: Formats) -> exp.Expr:
    """The text with thousands separators removed and a point as decimal mark."""
    node = exp.func("TRIM", text)
    if formats.thousands:
        node = exp.func("REPLACE", node, exp.Literal.string(formats.thousands), exp.Literal.string(""))
    if formats.decimal == ",":
        node = exp.func("REPLACE", node, exp.Literal.string(","), exp.Literal.string("."))
    return node


def _number_patterns(column: Column, formats: Formats) -> tuple[str, str, str]:
    """Regular expressions of a number that surely fits, one that is kept to its last digit, and any number."""
    mark = re.escape(formats.decimal)
    if formats.thousands:
        separator = re.escape(formats.thousands)
        whole = f"([0-9]+|[0-9]{{1,3}}({separator}[0-9]{{3}})+)"
    else:
        whole = "[0-9]+"
    places = column.scale if column.kind is Kind.DECIMAL else 0
    fraction = f"({mark}[0-9]{{0,{places}}})?"
    wide = f"[+-]?({whole}({mark}[0-9]*)?|{mark}[0-9]+)([eE][+-]?[0-9]{{1,3}})?"
    return f"-?[0-9]{{1,{18 - places}}}{fraction}", f"-?{whole}{fraction}", wide


def plain_number(column: Column) -> str:
    """The regular expression of a decimal that needs no care, in the default format."""
    return _number_patterns(column, Formats())[0]


def _decimal_type(column: Column, field: Field) -> str:
    extra = 2 if field.unit is Unit.PERCENT else 0
    return f"DECIMAL({18 + extra},{column.scale + extra})"


def _empty_grade(column: Column) -> exp.Expr:
    return exp.Literal.number(0) if column.nullable else exp.null()


def _grade(column: Column, field: Field, formats: Formats) -> exp.Expr:
    raw = exp.column(_raw(column))
    zero, one = exp.Literal.number(0), exp.Literal.number(1)
    empty = exp.func("COALESCE", _trimmed(raw), exp.Literal.string("")).eq("")
    case = exp.case()
    if field.codes:
        known = exp.func("TRIM", raw.copy()).isin(*(exp.Literal.string(code) for code in field.codes))
        return case.when(known, zero).when(empty, _empty_grade(column))
    match column.kind:
        case Kind.DECIMAL:
            plain, exact, wide = _number_patterns(column, formats)
            readable = exp.and_(
                _matches(exp.func("TRIM", raw), wide),
                exp.Not(this=exp.Is(this=_cast_any_number(column, field, formats), expression=exp.null())),
            )
            short = _matches(exp.func("TRIM", raw), exact)
            return (
                case.when(_matches(raw, plain), zero)
                .when(empty, _empty_grade(column))
                .when(exp.and_(short, readable), zero)
                .when(readable, one)
            )
        case Kind.INTEGER:
            whole = _matches(exp.func("TRIM", raw), "[+-]?[0-9]{1,18}([.]0*)?")
            return case.when(whole, zero).when(empty, _empty_grade(column))
        case Kind.DATE:
            readable = exp.Not(this=exp.Is(this=_cast_date(column, field, formats), expression=exp.null()))
            pattern = _date_pattern(field.date_format or formats.date)
            return case.when(exp.and_(_matches(exp.func("TRIM", raw), pattern), readable), zero).when(
                empty, _empty_grade(column)
            )
        case Kind.BOOLEAN:
            known = exp.func("LOWER", exp.func("TRIM", raw)).isin(
                *(exp.Literal.string(word) for word in (*TRUE_WORDS, *FALSE_WORDS))
            )
            return case.when(known, zero).when(empty, _empty_grade(column))
        case Kind.TEXT:
            fits = exp.LTE(this=exp.func("LENGTH", raw), expression=exp.Literal.number(column.length_max))
            return case.when(empty, _empty_grade(column)).when(fits, zero)


def _cast_number(column: Column, field: Field, formats: Formats) -> exp.Expr:
    text = _normal_number(exp.column(_raw(column)), formats)
    if not formats.thousands and formats.decimal == ".":
        text = exp.column(_raw(column))
    return exp.TryCast(this=text, to=exp.DataType.build(_decimal_type(column, field)))


def _cast_any_number(column: Column, field: Field, formats: Formats) -> exp.Expr:
    """The cast of a number with an exponent or many digits, by way of 38 digits.

    DuckDB 2.0 reads `.49999E15` into DECIMAL(18,4) as what it cannot hold, refuses `.01E15`, and rounds
    `327242.0509090684879E8` wrongly; into 38 digits it reads them all right (tests/tape/test_cells.py).
    """
    narrow = _cast_number(column, field, formats)
    scale = column.scale + (2 if field.unit is Unit.PERCENT else 0)
    wide = exp.TryCast(this=narrow.this.copy(), to=exp.DataType.build(f"DECIMAL(38,{scale})"))
    return exp.TryCast(this=wide, to=narrow.args["to"].copy())


def _cast_date(column: Column, field: Field, formats: Formats) -> exp.Expr:
    raw = exp.func("TRIM", exp.column(_raw(column)))
    pattern = field.date_format or formats.date
    if pattern == "iso":
        return exp.TryCast(this=exp.func("LEFT", raw, exp.Literal.number(10)), to=exp.DataType.build("DATE"))
    parsed = exp.Anonymous(this="try_strptime", expressions=[raw, exp.Literal.string(pattern)])
    return exp.cast(parsed, "DATE")


def _date_pattern(pattern: str) -> str:
    if pattern == "iso":
        return _ISO_DATE
    parts = {
        "%d": "[0-9]{1,2}",
        "%m": "[0-9]{1,2}",
        "%Y": "[0-9]{4}",
        "%y": "[0-9]{2}",
        "%b": "[A-Za-z]{3}",
        "%B": "[A-Za-z]+",
        "%H": "[0-9]{2}",
        "%M": "[0-9]{2}",
        "%S": "[0-9]{2}",
    }
    pieces = re.split(r"(%[A-Za-z])", pattern)
    return "".join(parts.get(piece, re.escape(piece)) for piece in pieces)


def _value(column: Column, field: Field, formats: Formats) -> exp.Expr:
    grade = exp.column(_grade_name(column))
    raw = exp.column(_raw(column))
    return exp.case().when(exp.Not(this=exp.Is(this=grade, expression=exp.null())), _cast(column, field, formats, raw))


def _cast(column: Column, field: Field, formats: Formats, raw: exp.Expr) -> exp.Expr:
    if field.codes:
        coded = exp.case(exp.func("TRIM", raw))
        for source, code in field.codes.items():
            coded = coded.when(exp.Literal.string(source), exp.Literal.string(code))
        if column.kind is Kind.BOOLEAN:
            said = exp.func("NULLIF", exp.func("LOWER", coded), exp.Literal.string(""))
            return said.isin(*(exp.Literal.string(word) for word in TRUE_WORDS))
        return coded if column.kind is Kind.TEXT else exp.TryCast(this=coded, to=exp.DataType.build(sql_type(column)))
    match column.kind:
        case Kind.DECIMAL:
            number: exp.Expr = (
                exp.case()
                .when(exp.column(_grade_name(column)).eq(0), _cast_number(column, field, formats))
                .else_(_cast_any_number(column, field, formats))
            )
            if field.unit is Unit.PERCENT:
                number = exp.cast(exp.Mul(this=number, expression=exp.Literal.number("0.01")), sql_type(column))
            return number
        case Kind.INTEGER:
            return exp.TryCast(
                this=exp.TryCast(this=raw, to=exp.DataType.build("DECIMAL(18,0)")),
                to=exp.DataType.build("BIGINT"),
            )
        case Kind.DATE:
            return _cast_date(column, field, formats)
        case Kind.BOOLEAN:
            return exp.func("LOWER", _trimmed(raw)).isin(*(exp.Literal.string(word) for word in TRUE_WORDS))
        case Kind.TEXT:
            return _trimmed(raw)


def sql_type(column: Column) -> str:
    """The SQL type of a column's values."""
    return {
        Kind.TEXT: "VARCHAR",
        Kind.INTEGER: "BIGINT",
        Kind.DECIMAL: f"DECIMAL(18,{column.scale})",
        Kind.DATE: "DATE",
        Kind.BOOLEAN: "BOOLEAN",
    }[column.kind]


def _bound(column: Column, bound: str) -> exp.Expr:
    if column.kind is Kind.DATE:
        return exp.cast(exp.Literal.string(bound), "DATE")
    return exp.cast(exp.Literal.string(bound), sql_type(column))


def ranges(columns: Sequence[Column]) -> list[tuple[Column, str, exp.Expr]]:
    """(column, code, condition that is true where the value is out of range)."""
    found: list[tuple[Column, str, exp.Expr]] = []
    for column in columns:
        value = exp.column(column.name, quoted=True)
        if column.minimum is not None:
            found.append((column, reasons.BELOW, exp.LT(this=value, expression=_bound(column, column.minimum))))
        if column.maximum is not None:
            found.append((column, reasons.ABOVE, exp.GT(this=value.copy(), expression=_bound(column, column.maximum))))
    return found


def rules_in_force(
    table: Table, present: MappingType[str, object], severity: Severity
) -> list[tuple[str, list[str], exp.Expr]]:
    """(code, columns, condition that must hold) of the rules whose columns the source has."""
    found = []
    for rule in table.rules:
        tree = row_expression(rule.expression, columns=table.column_names, code="CFG-203", where=rule.where)
        names = column_names(tree)
        if rule.severity is severity and all(name in present for name in names):
            found.append((rule.code, names, tree))
    return found


def _faulty(table: Table, columns: Sequence[Column], mapping: TableMapping) -> exp.Expr:
    """TRUE where a cell cannot be read or a range or rule is surely broken; an unknown value breaks nothing."""
    conditions: list[exp.Expr] = [
        exp.Is(this=exp.column(_grade_name(column)), expression=exp.null()) for column in columns
    ]
    conditions += [condition for _, _, condition in ranges(columns)]
    conditions += [
        exp.Not(this=exp.Paren(this=tree)) for _, _, tree in rules_in_force(table, mapping.fields, Severity.ERROR)
    ]
    return exp.or_(*conditions, copy=False)


def issues_query(table: Table, mapping: TableMapping, relation: str, masked: Sequence[str]) -> exp.Select:
    """The query that says what is wrong with each faulty row of ``relation`` (a result of `typed_query`).

    Gives ``_row`` (rowid) and ``_issues``: a list whose entries are NULL or [code, column, value as written].
    The value of a column in ``masked`` is not repeated.
    """
    columns = _mapped(table, mapping)
    texts = (
        exp.select(
            _alias(exp.column("rowid"), "_row"),
            *(exp.column(column.name, quoted=True) for column in columns),
            *(
                _alias(
                    exp.Bracket(this=exp.column(RAW_COLUMN), expressions=[exp.Literal.number(position)]),
                    _raw(column),
                )
                for position, column in enumerate(columns)
            ),
        )
        .from_(relation)
        .where(exp.Not(this=exp.Is(this=exp.column(RAW_COLUMN), expression=exp.null())))
    )
    graded = exp.select(
        "*", *(_alias(_grade(c, mapping.fields[c.name], mapping.formats), _grade_name(c)) for c in columns)
    ).from_(texts.subquery("texts"))
    entries = [_entry_unreadable(column, mapping.fields[column.name], mapping.formats, masked) for column in columns]
    entries += [exp.case().when(condition, _entry(code, column, masked)) for column, code, condition in ranges(columns)]
    for code, names, tree in rules_in_force(table, mapping.fields, Severity.ERROR):
        cells = exp.func("CONCAT_WS", exp.Literal.string("; "), *(exp.column(f"_raw_{name}") for name in names))
        entries.append(
            exp.case().when(
                exp.Not(this=exp.paren(tree)),
                exp.array(exp.Literal.string(code), exp.Literal.string(", ".join(names)), _cut(cells)),
            )
        )
    return exp.select(exp.column("_row"), _alias(exp.array(*entries), "_issues")).from_(graded.subquery("graded"))


def _mapped(table: Table, mapping: TableMapping) -> list[Column]:
    return [column for column in table.columns if column.name in mapping.fields]


def _cut(text: exp.Expr) -> exp.Expr:
    return exp.func("LEFT", text, exp.Literal.number(_VALUE_LENGTH))


def _entry(code: str | exp.Expr, column: Column, masked: Sequence[str]) -> exp.Expr:
    code_node = exp.Literal.string(code) if isinstance(code, str) else code
    shown: exp.Expr = exp.Literal.string("(masked)")
    if column.name not in masked:
        shown = _cut(exp.func("COALESCE", exp.column(_raw(column)), exp.Literal.string("")))
    return exp.array(code_node, exp.Literal.string(column.name), shown)


def _entry_unreadable(column: Column, field: Field, formats: Formats, masked: Sequence[str]) -> exp.Expr:
    raw = exp.column(_raw(column))
    empty = exp.func("COALESCE", _trimmed(raw), exp.Literal.string("")).eq("")
    if field.codes:
        reason: exp.Expr = exp.Literal.string(reasons.UNKNOWN_CODE)
    elif column.kind is Kind.DECIMAL:
        _, _, wide = _number_patterns(column, formats)
        reason = (
            exp.case()
            .when(_matches(exp.func("TRIM", raw.copy()), wide), exp.Literal.string(reasons.TOO_LARGE))
            .else_(exp.Literal.string(reasons.NOT_NUMBER))
        )
    else:
        reason = exp.Literal.string(
            {
                Kind.INTEGER: reasons.NOT_WHOLE,
                Kind.DATE: reasons.NOT_DATE,
                Kind.BOOLEAN: reasons.NOT_BOOLEAN,
                Kind.TEXT: reasons.TOO_LONG,
            }[column.kind]
        )
    code = exp.case().when(empty, exp.Literal.string(reasons.MISSING)).else_(reason)
    return exp.case().when(
        exp.Is(this=exp.column(_grade_name(column)), expression=exp.null()), _entry(code, column, masked)
    )
