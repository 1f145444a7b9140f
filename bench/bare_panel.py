"""What the engine can do bare: a panel of loans at month ends. ``bare_panel.py EXTRACT FOLDER MEMORY_MB THREADS``.

The yardstick of our panel: the same CSV files, the same engine with the same memory and threads, the same Parquet
settings, the plainest SQL. No checks, no parameters, no events, eight columns. It imports nothing of ours, so that it
stays a script that anybody could write.
"""

import json
import sys

import duckdb

COLUMNS = {
    "loans": {
        "loan_id": "VARCHAR",
        "customer_id": "VARCHAR",
        "disbursement_date": "DATE",
        "disbursed_principal": "DECIMAL(18,4)",
        "interest_rate": "DECIMAL(18,6)",
        "frequency": "VARCHAR",
        "product": "VARCHAR",
    },
    "schedules": {
        "loan_id": "VARCHAR",
        "due_date": "DATE",
        "principal": "DECIMAL(18,4)",
        "interest": "DECIMAL(18,4)",
    },
    "transactions": {
        "transaction_id": "VARCHAR",
        "loan_id": "VARCHAR",
        "type": "VARCHAR",
        "date": "DATE",
        "principal": "DECIMAL(18,4)",
        "interest": "DECIMAL(18,4)",
    },
}
STEPS = {
    "received": """
SELECT loan_id, last_day(date) AS as_of, SUM(principal) AS principal, SUM(principal + interest) AS total
FROM transactions GROUP BY ALL
""",
    "scheduled": """
SELECT loan_id, last_day(due_date) AS as_of, SUM(principal + interest) AS total FROM schedules GROUP BY ALL
""",
    "owed": """
SELECT loan_id, due_date, SUM(principal + interest) OVER (PARTITION BY loan_id ORDER BY due_date) AS due_then
FROM schedules
""",
    "standing": """
SELECT l.loan_id, d.as_of, l.product, COALESCE(r.total, 0) AS received, COALESCE(s.total, 0) AS scheduled,
       l.disbursed_principal - COALESCE(SUM(r.principal) OVER w, 0) AS outstanding,
       COALESCE(SUM(r.total) OVER w, 0) AS paid_then
FROM loans l
JOIN (SELECT last_day(unnest(range(DATE '2023-01-01', DATE '2026-01-01', INTERVAL 1 MONTH))::DATE) AS as_of) d
  ON l.disbursement_date <= d.as_of
LEFT JOIN received r ON r.loan_id = l.loan_id AND r.as_of = d.as_of
LEFT JOIN scheduled s ON s.loan_id = l.loan_id AND s.as_of = d.as_of
WINDOW w AS (PARTITION BY l.loan_id ORDER BY d.as_of)
""",
    "late": """
SELECT s.loan_id, s.as_of, MIN(o.due_date) AS oldest_unpaid
FROM standing s JOIN owed o ON o.loan_id = s.loan_id AND o.due_date < s.as_of AND o.due_then > s.paid_then
GROUP BY ALL
""",
}
PANEL = """
SELECT s.loan_id, s.as_of, s.product, s.outstanding::DECIMAL(18,4) AS outstanding,
       COALESCE(s.as_of - l.oldest_unpaid, 0) AS days_past_due, s.received::DECIMAL(18,4) AS received,
       s.scheduled::DECIMAL(18,4) AS scheduled, l.oldest_unpaid
FROM standing s LEFT JOIN late l ON l.loan_id = s.loan_id AND l.as_of = s.as_of
ORDER BY s.loan_id, s.as_of
"""


def main(extract: str, folder: str, memory_mb: str, threads: str) -> None:
    """Read the files of ``extract``, write ``folder/bare.parquet``, print what it holds in all."""
    with duckdb.connect(
        config={"threads": int(threads), "memory_limit": f"{memory_mb}MB", "temp_directory": f"{folder}/spill"}
    ) as connection:
        for name, types in COLUMNS.items():
            columns = ", ".join(f"'{column}': '{kind}'" for column, kind in types.items())
            connection.execute(
                f"CREATE TABLE {name} AS FROM read_csv('{extract}/{name}.csv', auto_detect=false, header=true,"
                f" delim=',', quote='\"', escape='\"', columns={{{columns}}})"
            )
        for name, query in STEPS.items():
            connection.execute(f"CREATE TABLE {name} AS {query}")
        connection.execute(
            f"COPY ({PANEL}) TO '{folder}/bare.parquet'"
            " (FORMAT parquet, COMPRESSION 'snappy', PARQUET_VERSION v2, ROW_GROUP_SIZE 122880)"
        )
        sums = connection.execute(
            "SELECT COUNT(*), SUM(outstanding), SUM(days_past_due), SUM(received), SUM(scheduled)"
            f" FROM '{folder}/bare.parquet'"
        ).fetchone()
    print(json.dumps([str(value) for value in sums or ()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
