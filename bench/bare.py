"""What the engine can do bare: read, type, write, sum. No checks, no record. ``bare.py TAPE FOLDER``.

The yardstick of `abaco run`: the same CSV, the same engine, the same types, the same Parquet settings.
It imports nothing of ours, so that it stays a script that anybody could write.
"""

import json
import sys
from decimal import Decimal

import duckdb

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


def main(tape: str, folder: str) -> None:
    """Read ``tape``, write ``folder/bare.parquet``, print the sums."""
    types = {"loan_id": "VARCHAR", "measurement_date": "DATE", **dict.fromkeys(AMOUNTS, "DECIMAL(18,4)")}
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    with duckdb.connect(config={"threads": 2, "memory_limit": "800MB", "temp_directory": folder}) as connection:
        connection.execute(
            f"CREATE TABLE tape AS FROM read_csv('{tape}', auto_detect=false, header=true, delim=',', quote='\"',"
            f" escape='\"', columns={{{columns}}})"
        )
        connection.execute(
            f"COPY tape TO '{folder}/bare.parquet'"
            " (FORMAT parquet, COMPRESSION 'snappy', PARQUET_VERSION v2, ROW_GROUP_SIZE 122880)"
        )
        sums = connection.execute(f"SELECT {', '.join(f'SUM({name})' for name in AMOUNTS)} FROM tape").fetchone()
    print(json.dumps({name: str(Decimal(value)) for name, value in zip(AMOUNTS, sums or (), strict=True)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
