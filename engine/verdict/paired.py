"""Two prompts side by side over the rows of the holdout, in Spark: what people should see of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.record import ErrorLine, RowLine
from engine.statistics import Differences
from udfs.prompt import Prompt

# Differences are grouped at this precision before they leave Spark.
DECIMALS = 6
# Lines of each kind that a report shows.
_SHOWN_ROWS = 20


def pair(result: DataFrame, rows: DataFrame, seed: Prompt, best: Prompt) -> DataFrame:
    """Join the two prompts' lines of an evaluation by row.

    Columns: those of ``rows``, and ``seed_output``, ``seed_score``, ``seed_error``, the same with ``best_``, and
    ``feedback`` (the new prompt's).
    """

    def side(prompt: Prompt, name: str) -> DataFrame:
        lines = result.where(F.col("candidate_id") == prompt.candidate_id)
        columns = [F.col(c).alias(f"{name}_{c}") for c in ("output", "score", "error", "feedback")]
        return lines.select("row_id", *columns)

    return rows.join(side(seed, "seed"), "row_id").join(side(best, "best"), "row_id")


def both(paired: DataFrame) -> DataFrame:
    """Return the rows that were scored for both prompts: only they are compared."""
    return paired.where(F.col("seed_score").isNotNull() & F.col("best_score").isNotNull())


def gain(paired: DataFrame) -> Differences:
    """Return the paired differences, best minus seed; only groups of equal ones leave Spark."""
    return differences_of(both(paired).groupBy(difference(), "weight").count().collect())


def difference() -> Column:
    """Return the column ``d`` of a row's difference, to group by."""
    return F.round(F.col("best_score") - F.col("seed_score"), DECIMALS).alias("d")


def differences_of(groups: Sequence[Any], *, noise: float = 0.0) -> Differences:
    """Make differences of groups with ``d``, ``weight`` and ``count``.

    With ``noise``, the variance that judges' noise gives the difference of two texts' scores, groups say in ``apart``
    how many of their rows have two texts: one text is judged once, and its noise cancels.
    """
    return Differences(
        np.array([g["d"] for g in groups], dtype=np.float64),
        np.array([g["weight"] for g in groups], dtype=np.float64),
        np.array([g["count"] for g in groups], dtype=np.int64),
        noise * sum(float(g["weight"]) ** 2 * (g["apart"] or 0) for g in groups) if noise else 0.0,
    )


def mean_scores() -> list[Column]:
    """Return the aggregates ``seed`` and ``best``: mean scores by weight."""
    return [
        (F.sum(F.col(f"{side}_score") * F.col("weight")) / F.sum("weight")).alias(side) for side in ("seed", "best")
    ]


def scores(paired: DataFrame) -> tuple[float, float]:
    """Return the mean scores of seed and best over the rows scored for both; NaN without any."""
    line = both(paired).agg(*mean_scores()).collect()[0]
    return (
        float(line["seed"]) if line["seed"] is not None else math.nan,
        float(line["best"]) if line["best"] is not None else math.nan,
    )


def unscored(paired: DataFrame) -> tuple[int, int]:
    """Return how many rows could not be scored for the seed, and for the best prompt."""
    counts = [F.sum(F.col(f"{side}_score").isNull().cast("bigint")).alias(side) for side in ("seed", "best")]
    line = paired.agg(*counts).collect()[0]
    return int(line["seed"] or 0), int(line["best"] or 0)


def row_lines(paired: DataFrame, *, order: str) -> tuple[RowLine, ...]:
    """Return the rows that people should see: ``worst`` (after), ``lost`` (better before) or ``won``."""
    change = F.col("best_score") - F.col("seed_score")
    chosen = {
        "worst": both(paired).where(F.col("best_score") < 1).orderBy("best_score", F.desc("weight"), "row_id"),
        "lost": both(paired).where(change < 0).orderBy(change, F.desc("weight"), "row_id"),
        "won": both(paired).where(change > 0).orderBy(F.desc(change), F.desc("weight"), "row_id"),
    }[order]
    return tuple(
        RowLine(
            row_id=line["row_id"],
            inputs=line["inputs"],
            expectations=line["expectations"],
            weight=int(line["weight"]),
            seed_output=line["seed_output"],
            seed_score=line["seed_score"],
            best_output=line["best_output"],
            best_score=line["best_score"],
            feedback="; ".join(text for text in (line["best_feedback"] or {}).values() if text),
        )
        for line in chosen.limit(_SHOWN_ROWS).collect()
    )


def flips(paired: DataFrame) -> tuple[int, int]:
    """Return how many rows the new prompt won and lost."""
    change = F.col("best_score") - F.col("seed_score")
    line = (
        both(paired)
        .agg(
            F.coalesce(F.sum((change > 0).cast("bigint")), F.lit(0)).alias("won"),
            F.coalesce(F.sum((change < 0).cast("bigint")), F.lit(0)).alias("lost"),
        )
        .collect()[0]
    )
    return int(line["won"]), int(line["lost"])


def error_lines(paired: DataFrame) -> tuple[ErrorLine, ...]:
    """Return how often each kind of failure came up, for either prompt."""
    counts: dict[str, list[int]] = {}
    examples: dict[str, str] = {}
    for position, side in enumerate(("seed", "best")):
        error = F.col(f"{side}_error")
        groups = paired.where(error.isNotNull()).groupBy(error["kind"].alias("kind"))
        for line in groups.agg(F.count(F.lit(1)).alias("n"), F.min(error["message"]).alias("example")).collect():
            counts.setdefault(line["kind"], [0, 0])[position] = int(line["n"])
            examples.setdefault(line["kind"], line["example"])
    return tuple(ErrorLine(kind, seed, best, examples[kind]) for kind, (seed, best) in sorted(counts.items()))
