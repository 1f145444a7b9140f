"""Make the loan rows of two releases, of any size, in seconds: ``python -m bench.shadow_pair LOANS FOLDER``.

The engine makes them, from the loan's number alone. The candidate's rows come in another order, and some differ:
one outstanding in 10,007, one days past due in 9,973, one product in 20,011; one loan in 100,003 is not there, and one
is new. The same pair in doubles is what datacompy compares fastest. ``tape.parquet`` is a loan snapshot, its cells
typed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

AS_OF = "2025-11-30"
COLUMNS = (
    "loan_id",
    "product",
    "disbursed_usd",
    "received_in_period_usd",
    "scheduled_in_period_usd",
    "outstanding_usd",
    "days_past_due",
    "interest_rate",
)
_DICE = """
SELECT i, 'L' || lpad(i::VARCHAR, 9, '0') AS loan_id,
       ['factoring', 'invoice', 'working capital'][1 + (hash(i * 16 + 1) % 3)::INT] AS product,
       (500 + hash(i * 16 + 2) % 2000000 * 0.01)::DECIMAL(18,4) AS disbursed,
       (hash(i * 16 + 3) % 1001)::INT AS left_of_1000,
       (CASE WHEN hash(i * 16 + 4) % 10 < 7 THEN 0 ELSE hash(i * 16 + 5) % 240 END)::BIGINT AS days,
       (0.1 + hash(i * 16 + 6) % 1000 * 0.0001)::DECIMAL(18,6) AS interest_rate,
       (hash(i * 16 + 7) % 500000 * 0.01)::DECIMAL(18,4) AS received,
       (hash(i * 16 + 8) % 500000 * 0.01)::DECIMAL(18,4) AS scheduled,
       hash(i * 16 + 9) AS other
FROM range(?) t(i)
"""
_ROWS = f"""
SELECT i, loan_id, product, disbursed AS disbursed_usd, received AS received_in_period_usd,
       scheduled AS scheduled_in_period_usd, (disbursed * left_of_1000 / 1000)::DECIMAL(18,4) AS outstanding_usd,
       days AS days_past_due, interest_rate
FROM ({_DICE})
"""
_OLD = f"SELECT * FROM ({_ROWS}) WHERE i % 100003 <> 5"
_CHANGED = f"""
SELECT * REPLACE (outstanding_usd + CASE WHEN i % 10007 = 1 THEN 0.01 ELSE 0 END AS outstanding_usd,
                  days_past_due + CASE WHEN i % 9973 = 2 THEN 1 ELSE 0 END AS days_past_due,
                  CASE WHEN i % 20011 = 3 THEN 'another' ELSE product END AS product)
FROM ({_ROWS}) WHERE i % 100003 <> 4 ORDER BY hash(i)
"""
_TAPE = f"""
SELECT loan_id, 'C' || (i // 3)::VARCHAR AS customer_id, DATE '{AS_OF}' AS measurement_date, product,
       (disbursed * left_of_1000 / 1000)::DECIMAL(18,4) AS outstanding_principal, disbursed AS disbursed_principal,
       days AS days_past_due, interest_rate, DATE '{AS_OF}' - (other % 700)::INT AS disbursement_date,
       other % 50 = 0 AS restructured
FROM ({_DICE})
"""
_MONEY = tuple(name for name in COLUMNS if name.endswith("_usd") or name == "interest_rate")
_DOUBLES = f"SELECT * REPLACE ({', '.join(f'{name}::DOUBLE AS {name}' for name in _MONEY)}) FROM"


def write_pair(loans: int, folder: Path) -> None:
    """Write ``baseline``, ``candidate``, both ``_doubles``, and ``tape``, each a Parquet file."""
    with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(folder / "spill")}) as connection:
        for name, query in (("baseline", _OLD), ("candidate", _CHANGED)):
            path = folder / f"{name}.parquet"
            connection.execute(f"COPY (SELECT {', '.join(COLUMNS)} FROM ({query})) TO '{path}'", [loans])
            connection.execute(f"COPY ({_DOUBLES} '{path}') TO '{folder}/{name}_doubles.parquet'")
        connection.execute(f"COPY ({_TAPE}) TO '{folder}/tape.parquet'", [loans])


if __name__ == "__main__":
    write_pair(int(sys.argv[1]), Path(sys.argv[2]))
