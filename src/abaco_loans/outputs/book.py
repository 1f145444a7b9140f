"""The book: a portfolio on paper, one HTML file that opens from disk, without a script or a request.

A document is plain data. Decimals are text (``"4.82"``), never numbers; shares and rates are in percent, amounts in
``currency``; dates are ISO text. Any part may be None or empty: then the page says "not computable" and the reason in
``absent[part]``, never an empty chart.

====================  ==================================================================================
``title lender``      texts for the cover
``generated_at``      ISO time with its zone
``release``           name and digest of the release, text
``definition``        ``{name, version, text, parameters: {name: value}}``
``panel_id``          what the numbers were made from
``currency as_of``    reporting currency; the date of the book
``dates``             the panel's dates, oldest first
``tape``              ``{name, sha256, layout, mapping, rows}``
``tiles``             ``[{id, name, value, unit, status, reason, thresholds: {warning, critical, direction} | None,
                      change_month, series: [[date, value | None]]}]``; statuses are those of `kpi.result.Status`
``par``               ``{dates, par_30: [percent | None], par_90: [...]}``; any other ``par_N`` too
``ageing``            ``{as_of, states: [{state, loans, outstanding, share}]}``
``waterfall``         ``{start, end, opening, disbursed, capitalised, reinstated, principal_paid,
                      newly_written_off, dust_forgiven, currency, other, closing}``; what is paid, written off or
                      forgiven is subtracted, ``currency`` and ``other`` have their sign
``roll_rates``        ``{window, interval, states, rows: [{from, to: {state: {rate, count_rate, low, high,
                      balance}}}]}``;
                      ``window`` and ``interval`` say in words what is averaged, and what low and high are about the
                      ``count_rate``; states stand from best to worst, besides ``repaid`` and ``missing``
``vintages``          ``[{k, cohorts: [{cohort, disbursed, points: [[month_on_book, percent | None]]}]}]``
``concentration``     ``[{dimension, members, top1, top5, top10, hhi}]``; HHI from 0 to 1
``collections``       ``[{month, due, received, rate}]``; ``month`` is the period's last day
``checks``            ``[{code, text, status, count, amount}]``; passed, warning, failed or not_computable
``quality``           ``{files: [{name, rows, accepted, quarantined, duplicates}],
                      warnings: [{code, text, count}]}``
``definitions``       ``[{name, formula, unit, text}]``
``notes``             texts
``absent``            part → why it is not there
====================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abaco_loans.outputs.layout import need_packages


def write_book(document: Mapping[str, Any], path: Path) -> None:
    """Write a document as one HTML file. Same document, same bytes.

    Args:
        document: see the top of this module.
        path: the file; renaming it into place is the caller's.

    Raises:
        WorldError: ``OUT-110`` a package is missing.
    """
    need_packages("the book", str(path))
    from abaco_loans.outputs.page import page

    path.write_text(page(document), encoding="utf-8", newline="\n")
