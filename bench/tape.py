"""Make a bucketed tape of any size in seconds: ``python -m bench.tape ROWS PATH``.

The engine makes it, from the row's number alone, so the same number of rows is the same file on any machine.
A believable book: receivables of 50 to some 20,000, one loan in seven late, the later the fewer, what is late
partly, some receivables not eligible, a little cash.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

AS_OF = "2025-11-30"
AMOUNTS = (
    "total_receivable_usd",
    "total_eligible_usd",
    "discounted_balance_usd",
    "cash_available_usd",
    "dpd_0_7_usd",
    "dpd_7_30_usd",
    "dpd_30_60_usd",
    "dpd_60_90_usd",
    "dpd_90_plus_usd",
)
_QUERY = f"""
WITH dice AS (
  SELECT i, hash(i * 4 + 1) % 10000 AS size, hash(i * 4 + 2) % 1000 AS late, hash(i * 4 + 3) % 1000 AS share
  FROM range(?) t(i)
), loans AS (
  SELECT *, (50 + size * size // 5000 + share % 100 * 0.01)::DECIMAL(18,2) AS receivable,
         CASE WHEN late < 855 THEN 0 WHEN late < 915 THEN 1 WHEN late < 950 THEN 2 WHEN late < 972 THEN 3
              ELSE 4 END AS bucket
  FROM dice
), parts AS (
  SELECT *, CASE WHEN bucket = 0 THEN 0 WHEN bucket = 4 THEN receivable
                 ELSE (receivable * (200 + share % 800) / 1000) END::DECIMAL(18,2) AS overdue
  FROM loans
)
SELECT 'L' || lpad(i::VARCHAR, 9, '0') AS loan_id, DATE '{AS_OF}' AS measurement_date,
       receivable AS total_receivable_usd,
       CASE WHEN share < 40 THEN 0 ELSE receivable END::DECIMAL(18,2) AS total_eligible_usd,
       (receivable * 0.97)::DECIMAL(18,2) AS discounted_balance_usd,
       CASE WHEN share < 40 THEN 0 ELSE receivable * (share % 20) / 100 END::DECIMAL(18,2) AS cash_available_usd,
       (receivable - overdue)::DECIMAL(18,2) AS dpd_0_7_usd,
       CASE WHEN bucket = 1 THEN overdue ELSE 0 END::DECIMAL(18,2) AS dpd_7_30_usd,
       CASE WHEN bucket = 2 THEN overdue ELSE 0 END::DECIMAL(18,2) AS dpd_30_60_usd,
       CASE WHEN bucket = 3 THEN overdue ELSE 0 END::DECIMAL(18,2) AS dpd_60_90_usd,
       CASE WHEN bucket = 4 THEN overdue ELSE 0 END::DECIMAL(18,2) AS dpd_90_plus_usd
FROM parts
"""


def write_tape(rows: int, path: Path) -> None:
    """Write a tape of ``rows`` rows."""
    with duckdb.connect(config={"memory_limit": "600MB", "temp_directory": str(path.parent)}) as connection:
        connection.execute(f"COPY ({_QUERY}) TO '{path}' (FORMAT csv, HEADER)", [rows])


if __name__ == "__main__":
    write_tape(int(sys.argv[1]), Path(sys.argv[2]))
