"""Make a servicing extract of any size in seconds: ``python -m bench.extract LOANS FOLDER``.

The engine makes it, from the loan's number alone, so the same number of loans is the same book on any machine.
A believable book: loans disbursed over `MONTHS` months, a third in one payment after one to four months, the others
in 6 to 24 monthly instalments; of ten loans seven pay on their days, two some days or weeks late, and one stops
somewhere. As a lender would send it: three CSV files, the movements in the order of their dates.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

FIRST, LAST, MONTHS = "2023-01-01", "2025-12-31", 36

_LOANS = f"""
CREATE TABLE loans AS
WITH dice AS (
  SELECT i, (hash(i * 8 + 1) % 1096)::INT AS day, (hash(i * 8 + 2) % 3 = 0) AS once,
         (hash(i * 8 + 3) % 1000)::INT AS size, (hash(i * 8 + 4) % 100)::INT AS conduct,
         (hash(i * 8 + 5) % 19)::INT AS length, (hash(i * 8 + 6) % 5)::INT AS product
  FROM range(?) t(i)
)
SELECT i, 'L' || lpad(i::VARCHAR, 8, '0') AS loan_id, 'C' || lpad((i * 7 // 20)::VARCHAR, 8, '0') AS customer_id,
       DATE '{FIRST}' + day AS disbursement_date, once,
       (CASE WHEN once THEN 1 ELSE 6 + length END)::INT AS instalments, 30 + length * 5 AS days,
       (240 + size * 12)::DECIMAL(18,2) AS disbursed_principal, (0.18 + product * 0.06)::DECIMAL(18,4) AS interest_rate,
       ['factoring', 'invoice', 'working capital', 'equipment', 'retail'][product + 1] AS product, conduct
FROM dice
"""
_INSTALMENTS = """
CREATE VIEW instalments AS
WITH each AS (SELECT *, unnest(range(1, instalments + 1))::INT AS number FROM loans)
SELECT i, loan_id, number, conduct,
       CASE WHEN once THEN disbursement_date + days ELSE (disbursement_date + to_months(number))::DATE END AS due_date,
       CASE WHEN number < instalments THEN trunc(disbursed_principal / instalments, 2)
            ELSE disbursed_principal - trunc(disbursed_principal / instalments, 2) * (instalments - 1)
            END::DECIMAL(18,2) AS principal,
       (disbursed_principal * interest_rate * (instalments + 1 - number) / instalments / 12)::DECIMAL(18,2) AS interest
FROM each
"""
_PAYMENTS = f"""
CREATE VIEW payments AS
WITH timed AS (
  SELECT *, CASE WHEN conduct < 70 THEN 0 WHEN conduct < 90 THEN (hash(i * 64 + number) % (conduct - 60))::INT * 2
            END AS late, 1 + hash(i * 8 + 7) % 12 AS stops_at
  FROM instalments
)
SELECT loan_id, number, due_date + COALESCE(late, 0) AS date, principal, interest FROM timed
WHERE due_date + COALESCE(late, 0) <= DATE '{LAST}' AND (conduct < 90 OR number < stops_at)
"""
_FILES = {
    "loans": "SELECT loan_id, customer_id, disbursement_date, disbursed_principal, interest_rate,"
    " CASE WHEN once THEN 'one_time' ELSE 'monthly' END AS frequency, product FROM loans ORDER BY i",
    "schedules": "SELECT loan_id, due_date, principal, interest FROM instalments ORDER BY i, number",
    "transactions": "SELECT 'T' || loan_id || lpad(number::VARCHAR, 2, '0') AS transaction_id, loan_id,"
    " 'payment' AS type, date, principal, interest FROM payments ORDER BY date, loan_id, number",
}


def write_extract(loans: int, folder: Path) -> None:
    """Write the files of a book of ``loans`` loans."""
    with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(folder / "spill")}) as connection:
        connection.execute(_LOANS, [loans])
        connection.execute(_INSTALMENTS)
        connection.execute(_PAYMENTS)
        for name, query in _FILES.items():
            connection.execute(f"COPY ({query}) TO '{folder / name}.csv' (FORMAT csv, HEADER)")


if __name__ == "__main__":
    write_extract(int(sys.argv[1]), Path(sys.argv[2]))
