"""Splits rows into train, val and holdout: by hash, so that it is the same wherever and however often it runs."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.rows import Row, local_rows
from engine.settings import SplitSettings

# Up to so many rows the shares are exact and stratified by ranking within each stratum; above, the law of large
# numbers makes plain hash thresholds as good, without a shuffle by stratum.
_EXACT_ROWS = 100_000
# Expected responses that take at most so many values are labels, and worth stratifying by.
_MOST_STRATA = 50


@dataclass(frozen=True)
class Split:
    """The three parts. ``train`` and ``val`` are held on the driver; ``holdout`` never is."""

    train: list[Row]
    val: list[Row]
    holdout: DataFrame
    holdout_rows: int


def split_rows(rows: DataFrame, settings: SplitSettings, *, seed: int) -> Split:
    """Split ``rows``; the parts share no row. Rows above ``max_train`` and ``max_val`` go to the holdout.

    Raises:
        InputError: a part would be empty.
    """
    total = rows.count()
    if total < 3:
        raise InputError(
            f"the data set has {total} distinct rows; a split into train, val and holdout needs at least 3"
        )
    order = F.sha2(F.concat_ws("|", F.lit(f"split-{seed}"), F.col("row_id")), 256)
    placed = rows.withColumn("_order", order)
    placed = placed.withColumn("_at", _position(placed, total))
    train_until, val_until = settings.train, settings.train + settings.val
    part = F.when(F.col("_at") < train_until, "train").when(F.col("_at") < val_until, "val").otherwise("holdout")
    placed = placed.withColumn("_part", part)
    train = _some(placed, "train", settings.max_train)
    val = _some(placed, "val", settings.max_val)
    used = {row.row_id for row in (*train, *val)}
    holdout = _without(placed, used, whole=total <= _EXACT_ROWS).drop("_order", "_at", "_part")
    holdout_rows = total - len(used)
    for name, size in (("train", len(train)), ("val", len(val)), ("holdout", holdout_rows)):
        if size == 0:
            raise InputError(f"of {total} distinct rows none fall into {name}; give more rows or a larger share")
    return Split(train, val, holdout, holdout_rows)


def sample_rows(rows: DataFrame, most: int, *, seed: int) -> list[Row]:
    """Return at most ``most`` of the rows, sorted by id: by hash, from every label alike where there are labels."""
    order = F.sha2(F.concat_ws("|", F.lit(f"sample-{seed}"), F.col("row_id")), 256)
    placed = rows.withColumn("_order", order)
    placed = placed.withColumn("_at", _position(placed, rows.count()))
    return local_rows(placed.orderBy("_at", "_order").limit(most).drop("_order", "_at"))


def _position(rows: DataFrame, total: int) -> Column:
    """A column from 0 to 1 that spreads the rows evenly, within each label where the answers are labels."""
    if total > _EXACT_ROWS:
        # 52 bits of the hash: exactly representable as a double.
        return F.conv(F.substring("_order", 1, 13), 16, 10).cast("double") / F.lit(16.0**13)
    answer = F.coalesce(F.get_json_object("expectations", "$.expected_response"), F.lit(""))
    strata = rows.select(answer.alias("answer")).distinct().limit(_MOST_STRATA + 1).count()
    # Every row_id is 64 long: one stratum, spelt so that Spark does not warn of a window without partitions.
    stratum = answer if strata <= _MOST_STRATA else F.length("row_id").cast("string")
    within = Window.partitionBy(stratum)
    # Staggered by the stratum's own hash: strata of one or two rows would otherwise all fall into the same part.
    stagger = F.conv(F.substring(F.sha2(stratum, 256), 1, 13), 16, 10).cast("double") / F.lit(16.0**13)
    return (F.row_number().over(within.orderBy("_order")) - 1 + stagger) / F.count(F.lit(1)).over(within)


def _some(placed: DataFrame, part: str, most: int) -> list[Row]:
    # By position, not by hash alone: a cut at `most` then takes from every stratum alike.
    chosen = placed.where(F.col("_part") == part).orderBy("_at", "_order").limit(most)
    return local_rows(chosen.drop("_order", "_at", "_part"))


def _without(placed: DataFrame, used: set[str], *, whole: bool) -> DataFrame:
    if whole or len(used) <= 5000:
        return placed.where(~F.col("row_id").isin(sorted(used)))
    spark = placed.sparkSession
    taken = spark.createDataFrame([(row_id,) for row_id in sorted(used)], "row_id string")
    return placed.join(F.broadcast(taken), "row_id", "left_anti")
