"""Which rows a race asks in which round: a random sample each, the same in every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention


@dataclass(frozen=True)
class Rounds:
    """Rows with the round that each is asked in (``_round``), how many each round has, and the largest weight."""

    rows: DataFrame
    sizes: tuple[int, ...]
    largest_weight: float

    @property
    def planned(self) -> int:
        """How many rows all rounds ask together."""
        return sum(self.sizes)

    @property
    def looks(self) -> int:
        """How many rounds have rows."""
        return sum(size > 0 for size in self.sizes)

    def of(self, number: int) -> DataFrame:
        """Return the rows of one round."""
        return self.rows.where(F.col("_round") == number)

    def until(self, number: int) -> DataFrame:
        """Return the rows of all rounds up to this one."""
        return self.rows.where(F.col("_round") <= number)


def first_by_hash(rows: DataFrame, most: int) -> DataFrame:
    """Return the first rows in the order that races ask them in."""
    return rows.orderBy(_hash()).limit(most)


def place(rows: DataFrame, total: int, sizes: Sequence[int]) -> Rounds:
    """Place the first of the ``total`` rows by their hash in rounds; ``sizes`` are about how many after each round.

    The last of them is how many are placed, to the row.
    """
    most = sizes[-1]
    # 52 bits of a hash, from 0 to 1: exactly representable as a double.
    at = F.conv(F.substring(_hash(), 1, 13), 16, 10)
    placed = rows.withColumn("_at", at.cast("double") / F.lit(16.0**13))
    until = 1.0
    if most < total:
        first = placed.select("_at").orderBy("_at").limit(most)
        until = float(first.agg(F.max("_at")).collect()[0][0])
        placed = placed.where(F.col("_at") <= until)
    edges = [until * size / most for size in sizes[:-1]]
    number = sum(((F.col("_at") > edge).cast("int") for edge in edges), F.lit(0))
    placed = placed.withColumn("_round", number).drop("_at")
    counted = placed.groupBy("_round").agg(F.count(F.lit(1)).alias("rows"), F.max("weight").alias("weight"))
    found = {int(line["_round"]): line for line in counted.collect()}
    counts = tuple(int(found[n]["rows"]) if n in found else 0 for n in range(len(sizes)))
    return Rounds(placed, counts, max((float(line["weight"]) for line in found.values()), default=1.0))


def _hash() -> Column:
    return F.sha2(F.concat_ws("|", F.lit("gate"), F.col("row_id")), 256)
