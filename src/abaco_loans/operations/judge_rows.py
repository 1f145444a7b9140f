"""Judge the typed rows of one file: which are accepted, which are duplicates, which are quarantined and why.

Invariant, for every file: rows in = accepted + quarantined + duplicates.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from sqlglot import exp

from abaco_loans.engines.base import Engine
from abaco_loans.tape import cells, reasons, rows
from abaco_loans.tape.contract import Contract, Severity, Table
from abaco_loans.tape.mapping import TableMapping
from abaco_loans.tape.masking import MaskingKey, mask_table
from abaco_loans.tape.staged import LINE_COLUMN, StagedFile, TextFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something unusual that refuses nothing. ``amount`` is what it is worth, where that can be said."""

    code: str
    text: str
    count: int
    amount: Decimal | None = None

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "code": self.code,
            "text": self.text,
            "count": self.count,
            "amount": None if self.amount is None else format(self.amount, "f"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How many rows of a file were refused for one reason in one column."""

    table: str
    file: str
    column: str
    code: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file of the tape and where its rows went. Amounts are in the contract's measure, None if unmeasured."""

    table: str
    name: str
    sha256: str
    rows_in: int
    accepted: int
    quarantined: int
    duplicates: int
    present: tuple[str, ...]
    typed: str
    refused: str
    accepted_relation: str
    line: exp.Expr
    unreadable_lines: int = 0
    amount_accepted: Decimal | None = None
    amount_quarantined: Decimal | None = None
    unmeasured: int = 0
    refusals: tuple[Refusal, ...] = ()


def judge_rows(
    table: Table,
    mapping: TableMapping,
    staged: StagedFile,
    engine: Engine,
    key: MaskingKey,
    scratch: Path,
    count: int,
    contract: Contract,
) -> tuple[FileReport, list[Warned]]:
    typed = f"typed_{table.name}"
    present = tuple(name for name in table.column_names if name in mapping.fields)
    left_out, warned = _duplicates(table, typed, present, engine)
    bad, rounded = engine.rows(
        exp.select(exp.Count(this=exp.column(cells.RAW_COLUMN)), exp.Sum(this=exp.column("_rounded"))).from_(typed)
    )[0]
    conflicts = duplicates = 0
    if left_out:
        for verdict, number in engine.rows(
            exp.select("verdict", exp.Count(this=exp.Star())).from_(left_out).group_by("verdict")
        ):
            conflicts += number if verdict == rows.CONFLICT else 0
            duplicates += number if verdict == rows.DUPLICATE else 0
    masked = contract.masked_columns(table)
    accepted, refused = f"accepted_{table.name}", f"refused_{table.name}"
    masks = _masks(table, typed, [name for name in masked if name in present], key, engine)
    engine.execute(_view(accepted, rows.accepted_query(typed, present, left_out, masks)))
    engine.execute(_view(refused, rows.refused_query(typed, present, left_out)))
    if rounded:
        warned.append(
            Warned(
                code="WARN-101",
                count=int(rounded),
                text=f"{staged.name}: numbers with more digits"
                " than are kept, or an exponent; rounded half away from zero",
            )
        )
    warned += _rule_warnings(table, mapping, accepted, staged.name, engine)
    line = exp.Add(this=exp.column("_row"), expression=exp.Literal.number(2))
    if staged.format is TextFormat.PARQUET:
        line = exp.Add(this=exp.column("_row"), expression=exp.Literal.number(1))
    if staged.has_line_column:
        line = exp.column(LINE_COLUMN)  # type: ignore[assignment]
    issues, refusals = _issues(
        table, mapping, staged, typed, left_out, masked, int(bad), conflicts, engine, scratch, present, line
    )
    lines = len(staged.refused)
    report = FileReport(
        table=table.name,
        name=staged.name,
        sha256=staged.sha256,
        rows_in=count + lines,
        accepted=count - int(bad) - conflicts - duplicates,
        quarantined=int(bad) + conflicts + lines,
        duplicates=duplicates,
        present=present,
        typed=typed,
        refused=refused,
        accepted_relation=accepted,
        line=line,
        unreadable_lines=lines,
        refusals=tuple(refusals),
        **_amounts(table, present, accepted, refused, issues, lines, int(bad) + conflicts, engine),
    )
    return report, warned


def _view(name: str, query: exp.Select) -> exp.Create:
    return exp.Create(this=exp.to_table(name), kind="VIEW", expression=query)


def _table(name: str, query: exp.Expr) -> exp.Create:
    return exp.Create(this=exp.to_table(name), kind="TABLE", expression=query)


def _duplicates(table: Table, typed: str, present: Sequence[str], engine: Engine) -> tuple[str | None, list[Warned]]:
    """The relation of rows that are left out as duplicates or conflicts, if there are any."""
    key = rows.present_key(table, present)
    parts: list[exp.Select] = []
    warned: list[Warned] = []
    if key:
        keys = f"keys_{table.name}"
        engine.execute(_table(keys, rows.repeated_keys_query(typed, key)))
        if engine.rows(exp.select(exp.Count(this=exp.Star())).from_(keys))[0][0]:
            parts.append(rows.keyed_verdicts_query(typed, keys, key, present))
    whole = not key or next(column for column in table.columns if column.name == key[0]).nullable
    extra = int(engine.rows(rows.repeated_rows_query(typed, present, key))[0][0]) if whole else 0
    if extra and table.repeats:
        warned.append(
            Warned(
                code="WARN-102",
                count=extra,
                text=f"{table.name}: rows equal to an earlier one; kept,"
                " because they have no id and two equal payments are two payments",
            )
        )
    elif extra:
        parts.append(rows.whole_row_verdicts_query(typed, present, key))
        warned.append(
            Warned(
                code="WARN-103",
                count=extra,
                text=f"{table.name}: rows without a key that repeat an"
                " earlier one in every column; removed as duplicates",
            )
        )
    if not parts:
        return None, warned
    name = f"left_out_{table.name}"
    engine.execute(_table(name, parts[0] if len(parts) == 1 else exp.union(*parts, distinct=False)))
    return name, warned


def _masks(table: Table, typed: str, columns: Sequence[str], key: MaskingKey, engine: Engine) -> dict[str, str]:
    masks = {}
    for column in columns:
        masks[column] = f"mask_{table.name}_{column}"
        engine.execute(_table(masks[column], mask_table(typed, column, key)))
    return masks


def _rule_warnings(table: Table, mapping: TableMapping, accepted: str, name: str, engine: Engine) -> list[Warned]:
    found = cells.rules_in_force(table, mapping.fields, Severity.WARNING)
    if not found:
        return []
    counts = engine.rows(exp.select(*(rows.broken_count(tree) for _, _, tree in found)).from_(accepted))[0]
    texts = {rule.code: rule.description for rule in table.rules}
    return [
        Warned(code=code, count=int(count), text=f"{name}: not so: {texts[code]}")
        for (code, _, _), count in zip(found, counts, strict=True)
        if count
    ]


def _issues(
    table: Table,
    mapping: TableMapping,
    staged: StagedFile,
    typed: str,
    left_out: str | None,
    masked: Sequence[str],
    bad: int,
    conflicts: int,
    engine: Engine,
    scratch: Path,
    present: Sequence[str],
    line: exp.Expr,
) -> tuple[str | None, list[Refusal]]:
    """The relation ``issues_<table>`` (_row, file, line, column, code, value), and its counts."""
    parts: list[exp.Select] = []
    if bad:
        listed = cells.issues_query(table, mapping, typed, masked)
        each = exp.select("_row", exp.alias_(exp.Unnest(expressions=[exp.column("_issues")]), "issue")).from_(
            listed.subquery("listed")
        )
        parts.append(
            exp.select(
                "_row",
                *(
                    exp.alias_(exp.Bracket(this=exp.column("issue"), expressions=[exp.Literal.number(index)]), name)
                    for index, name in enumerate(("code", "column_name", "value"))
                ),
            )
            .from_(each.subquery("each_issue"))
            .where(exp.Not(this=exp.Is(this=exp.column("issue"), expression=exp.null())))
        )
    if conflicts and left_out:
        key = rows.present_key(table, present)
        shown = exp.func(
            "CONCAT_WS",
            exp.Literal.string("; "),
            *(exp.cast(exp.column(name, table="t", quoted=True), "VARCHAR") for name in key),
        )
        parts.append(
            exp.select(
                exp.column("_row", table="o"),
                exp.alias_(exp.Literal.string(reasons.CONFLICT), "code"),
                exp.alias_(exp.Literal.string(", ".join(key)), "column_name"),
                exp.alias_(shown, "value"),
            )
            .from_(exp.alias_(exp.to_table(left_out), "o", table=True))
            .join(
                exp.alias_(exp.to_table(typed), "t", table=True),
                on=exp.column("rowid", table="t").eq(exp.column("_row", table="o")),
            )
            .where(exp.column("verdict", table="o").eq(rows.CONFLICT))
        )
    relation = f"issues_{table.name}"
    _load_refused_lines(staged, engine, scratch, f"lines_{table.name}")
    if not parts and not staged.refused:
        return None, []
    engine.execute(_table(relation, _located(parts, typed, staged, line, f"lines_{table.name}")))
    counts = engine.rows(
        exp.select("column_name", "code", exp.Count(this=exp.Star()))
        .from_(relation)
        .group_by("column_name", "code")
        .order_by("column_name", "code")
    )
    return relation, [
        Refusal(table=table.name, file=staged.name, column=column or "", code=code, rows=int(number))
        for column, code, number in counts
    ]


def _located(
    parts: Sequence[exp.Select], typed: str, staged: StagedFile, line: exp.Expr, lines: str
) -> exp.Expr:
    """Issues with the file and line that a person finds them on."""
    queries: list[exp.Select] = []
    for part in parts:
        query = exp.select(
            "_row",
            exp.alias_(exp.Literal.string(staged.name), "file"),
            exp.alias_(line.copy(), "line"),
            "column_name",
            "code",
            "value",
        ).from_(part.subquery("found"))
        if staged.has_line_column:
            query = query.join(
                exp.select(exp.alias_(exp.column("rowid"), "typed_row"), exp.column(LINE_COLUMN))
                .from_(typed)
                .subquery("numbered"),
                on=exp.column("typed_row").eq(exp.column("_row")),
            )
        queries.append(query)
    if staged.refused:
        queries.append(
            exp.select(
                exp.alias_(exp.null(), "_row"),
                exp.alias_(exp.Literal.string(staged.name), "file"),
                "line",
                exp.alias_(exp.Literal.string(""), "column_name"),
                "code",
                exp.alias_(exp.column("detail"), "value"),
            ).from_(lines)
        )
    return queries[0] if len(queries) == 1 else exp.union(*queries, distinct=False)


def _load_refused_lines(staged: StagedFile, engine: Engine, scratch: Path, relation: str) -> None:
    if not staged.refused:
        return
    path = scratch / f"{relation}.csv"
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("line", "code", "detail"))
        writer.writerows((item.line, item.code, item.detail) for item in staged.refused)
    listing = StagedFile(
        name=staged.name,
        path=str(path),
        format=TextFormat.CSV,
        sha256="",
        size_bytes=0,
        header=("line", "code", "detail"),
    )
    engine.load(
        relation,
        listing,
        exp.select(exp.alias_(exp.cast(exp.column("line"), "BIGINT"), "line"), "code", "detail").from_("source"),
    )


def _amounts(
    table: Table,
    present: Sequence[str],
    accepted: str,
    refused: str,
    issues: str | None,
    lines: int,
    refused_rows: int,
    engine: Engine,
) -> dict[str, Decimal | int | None]:
    """What is accepted and what is left out is worth; ``unmeasured`` rows could not be measured."""
    amount = rows.amount_expression(table, present)
    if amount is None:
        return {"amount_accepted": None, "amount_quarantined": None, "unmeasured": 0}
    total = exp.func("COALESCE", exp.Sum(this=amount), exp.Literal.number(0))
    accepted_sum = engine.rows(exp.select(total).from_(accepted))[0][0]
    if not refused_rows:
        return {
            "amount_accepted": Decimal(accepted_sum),
            "amount_quarantined": Decimal(0),
            "unmeasured": lines,
        }
    # A row is unmeasured when no measure can be read and a column of the measures is among its faults.
    columns = {name for text in table.amount for name in table.column_names if name in text}
    faulty = (
        exp.select("_row")
        .from_(issues)
        .where(
            exp.column("column_name").isin(*(exp.Literal.string(name) for name in sorted(columns))),
            exp.column("_row").is_(exp.null()).not_(),
        )
    )
    unmeasured = exp.and_(
        exp.Is(this=amount.copy(), expression=exp.null()),
        exp.In(this=exp.column("_row"), query=faulty.subquery()),
    )
    refused_sum, count = engine.rows(
        exp.select(
            total.copy(),
            exp.Sum(this=exp.case().when(unmeasured, exp.Literal.number(1)).else_(exp.Literal.number(0))),
        ).from_(refused)
    )[0]
    return {
        "amount_accepted": Decimal(accepted_sum),
        "amount_quarantined": Decimal(refused_sum),
        "unmeasured": int(count or 0) + lines,
    }


def over_limit(report: FileReport, contract: Contract) -> str:
    """Why the quarantined share of a file is over the contract's limit; empty when it is under."""
    if not report.quarantined:
        return ""
    if Decimal(report.quarantined) > contract.limit_rows * report.rows_in:
        return f"{report.quarantined} of {report.rows_in} rows ({_percent(report.quarantined, report.rows_in)})"
    if report.unmeasured > contract.limit_unmeasured:
        return (
            f"the amount of {report.unmeasured} quarantined row(s) cannot be measured, which counts as over"
            " (limitUnmeasured in the contract)"
        )
    if report.amount_quarantined and report.amount_accepted is not None:
        total = report.amount_accepted + report.amount_quarantined
        if report.amount_quarantined > contract.limit_amount * total:
            return f"{_percent(report.amount_quarantined, total)} of the amount"
    return ""


def _percent(part: Decimal | int, whole: Decimal | int) -> str:
    return f"{Decimal(part) * 100 / Decimal(whole):.1f} %"
