"""The same pair compared by datacompy, with polars (its faster way): ``datacompy_compare.py FOLDER``.

It gets doubles, which it compares some seven times as fast as decimals. It runs in an environment of its own.
"""

import json
import sys
import time


def main(folder: str) -> None:
    """Print the seconds from the first read to the result, and what was found."""
    import polars
    from datacompy import PolarsCompare

    begin = time.perf_counter()
    sides = [polars.read_parquet(f"{folder}/{name}_doubles.parquet") for name in ("baseline", "candidate")]
    found = PolarsCompare(*sides, join_columns="loan_id")
    columns = {str(item["column"]): int(item["unequal_cnt"]) for item in found.column_stats if item["unequal_cnt"]}
    counts = [len(rows) for rows in (found.intersect_rows, found.df1_unq_rows, found.df2_unq_rows)]
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "sides": counts, "columns": columns}))


if __name__ == "__main__":
    main(sys.argv[1])
