"""What scorers need of rows: looked up in all of them before the first call."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from udfs.scorers.protocol import Weighted


def check_rows(rows: DataFrame, mix: Sequence[Weighted]) -> DataFrame:
    """Make sure that every row has what the scorers need, before the first call; return each row once.

    One pass over the rows, whatever the number of scorers.

    Raises:
        InputError: names the scorer, the key and a row.
    """
    needs = [(key, weighted.scorer.name) for weighted in mix for key in sorted(weighted.scorer.needs)]
    lacking = [
        F.min(F.when(F.get_json_object("expectations", f"$['{key}']").isNull(), F.col("inputs"))).alias(f"lacking{n}")
        for n, (key, _) in enumerate(needs)
    ]
    counts = (F.count(F.lit(1)).alias("rows"), F.count_distinct("row_id").alias("distinct"))
    found = rows.agg(*counts, *lacking).collect()[0]
    for n, (key, scorer) in enumerate(needs):
        inputs = found[f"lacking{n}"]
        if inputs is not None:
            raise InputError(
                f"the scorer {scorer!r} needs expectations.{key}, which the row with inputs {inputs[:120]} lacks; add "
                "it to the data set or take the scorer out"
            )
    return rows if found["rows"] == found["distinct"] else rows.dropDuplicates(["row_id"])
