"""What the engine can do bare: two Parquet files joined by loan, differences counted. ``bare_compare.py FOLDER``.

No exact sums, no largest, no loans of several rows. It imports nothing of ours, so that it stays a script that anybody
could write.
"""

import json
import sys
import time

import duckdb


def main(folder: str) -> None:
    """Print the seconds from the first read to the result, and what was found."""
    with duckdb.connect(config={"threads": 2, "memory_limit": "600MB", "temp_directory": f"{folder}/spill"}) as joined:
        begin = time.perf_counter()
        files = [f"{folder}/{name}.parquet" for name in ("baseline", "candidate")]
        described = joined.execute(f"DESCRIBE SELECT * FROM '{files[0]}'").fetchall()
        columns = [line[0] for line in described if line[0] != "loan_id"]
        differ = ", ".join(f"COUNT(CASE WHEN a.{name} <> b.{name} THEN 1 END)" for name in columns)
        row = joined.execute(
            "SELECT COUNT(CASE WHEN a.loan_id = b.loan_id THEN 1 END), COUNT(CASE WHEN b.loan_id IS NULL THEN 1 END),"
            f" COUNT(CASE WHEN a.loan_id IS NULL THEN 1 END), {differ}"
            f" FROM '{files[0]}' a FULL JOIN '{files[1]}' b ON a.loan_id = b.loan_id"
        ).fetchone()
        seconds = time.perf_counter() - begin
    sides, counts = list(row or ())[:3], list(row or ())[3:]
    found = {name: count for name, count in zip(columns, counts, strict=True) if count}
    print(json.dumps({"seconds": seconds, "sides": sides, "columns": found}))


if __name__ == "__main__":
    main(sys.argv[1])
