"""The gate: may the new prompt replace the current one? Judged on holdout rows that no search stage has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.record import ErrorLine, RowLine, SliceLine
from engine.settings import GateSettings
from engine.statistics import Differences, bootstrap_interval, sign_flip_p_value
from udfs.prompt import Prompt

# Differences are grouped at this precision before they leave Spark.
_DECIMALS = 6
# Lines of each kind that a report shows.
_SHOWN_ROWS = 20


@dataclass(frozen=True)
class Verdict:
    """The gate's answer and what it rests on. Scores are means by weight over the rows scored for both.

    ``uncertain``: there is a gain, but so many rows can't tell it from chance.
    """

    promote: bool
    reason: str
    rows: int
    seed_score: float
    best_score: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    alpha: float
    slices: tuple[SliceLine, ...] = ()
    uncertain: bool = False


def judge(
    paired: DataFrame, seed: Prompt, best: Prompt, settings: GateSettings, *, slices: tuple[str, ...], rng_seed: int
) -> Verdict:
    """Decide over ``paired`` (see :func:`pair`).

    Promotes only if every variable of the seed is still in the prompt, the mean paired difference is above
    ``min_improvement`` with confidence ``1 - alpha`` (by the interval and by the test), and no slice is worse than
    ``max_slice_regression`` with the same confidence, corrected for their number.
    """
    differences = _grouped(paired)
    scores = _scores(paired)
    interval = bootstrap_interval(differences, alpha=settings.alpha, seed=rng_seed)
    p_value = sign_flip_p_value(differences, minimum=settings.min_improvement, seed=rng_seed)
    lines, regressions = _slices(paired, slices, settings, rng_seed)
    lost = seed.variables - best.variables
    reason = _objection(differences, interval, p_value, settings)
    if lost:
        reason = f"the new prompt has lost the variable {', '.join(sorted(lost))}"
    elif not reason and regressions:
        reason = f"worse with confidence on the slice {regressions[0]}"
    promote = not reason
    return Verdict(
        promote=promote,
        reason=reason or f"better by {differences.mean:+.3f} with confidence {1 - settings.alpha:.0%}",
        rows=differences.rows,
        seed_score=scores[0],
        best_score=scores[1],
        difference=differences.mean,
        interval=interval,
        p_value=p_value,
        alpha=settings.alpha,
        slices=lines,
        uncertain=bool(reason)
        and not lost
        and not regressions
        and (differences.rows == 0 or differences.mean > settings.min_improvement),
    )


def _objection(differences: Differences, interval: tuple[float, float], p_value: float, settings: GateSettings) -> str:
    low, high = interval
    if not differences.rows:
        return "no holdout row was scored for both prompts"
    if differences.mean <= settings.min_improvement:
        return f"no gain above {settings.min_improvement:+.3f} on the holdout (difference {differences.mean:+.3f})"
    if low <= settings.min_improvement or p_value >= settings.alpha:
        return (
            f"the gain of {differences.mean:+.3f} on {differences.rows} rows may be chance: interval "
            f"[{low:+.3f}, {high:+.3f}], p = {p_value:.3f}"
        )
    return ""


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


def _both(paired: DataFrame) -> DataFrame:
    return paired.where(F.col("seed_score").isNotNull() & F.col("best_score").isNotNull())


def _grouped(paired: DataFrame) -> Differences:
    return _differences(_both(paired).groupBy(_difference(), "weight").count().collect())


def _difference() -> Column:
    return F.round(F.col("best_score") - F.col("seed_score"), _DECIMALS).alias("d")


def _differences(groups: Sequence[Any]) -> Differences:
    return Differences(
        np.array([g["d"] for g in groups], dtype=np.float64),
        np.array([g["weight"] for g in groups], dtype=np.float64),
        np.array([g["count"] for g in groups], dtype=np.int64),
    )


def _means() -> list[Column]:
    return [
        (F.sum(F.col(f"{side}_score") * F.col("weight")) / F.sum("weight")).alias(side) for side in ("seed", "best")
    ]


def _scores(paired: DataFrame) -> tuple[float, float]:
    line = _both(paired).agg(*_means()).collect()[0]
    return (
        float(line["seed"]) if line["seed"] is not None else math.nan,
        float(line["best"]) if line["best"] is not None else math.nan,
    )


def _slices(
    paired: DataFrame, names: tuple[str, ...], settings: GateSettings, rng_seed: int
) -> tuple[tuple[SliceLine, ...], list[str]]:
    """Return a line a slice, and the slices that are worse with confidence (Bonferroni over all of them)."""
    found: list[tuple[SliceLine, Differences]] = []
    for name in names:
        # All values of a slice in two jobs: a tenant or a route may have thousands.
        sliced = _both(paired).withColumn("_slice", F.col("slices")[name]).where(F.col("_slice").isNotNull())
        groups = sliced.groupBy("_slice", _difference(), "weight").count().collect()
        by_value: dict[str, list[Any]] = {}
        for group in groups:
            by_value.setdefault(group["_slice"], []).append(group)
        scores = {line["_slice"]: line for line in sliced.groupBy("_slice").agg(*_means()).collect()}
        for value in sorted(by_value):
            differences = _differences(by_value[value])
            line = scores[value]
            found.append((SliceLine(name, value, differences.rows, line["seed"], line["best"]), differences))
    alpha = settings.alpha / max(1, len(found))
    worse = []
    for shown, differences in found:
        mirrored = Differences(-differences.values, differences.weights, differences.counts)
        p_value = sign_flip_p_value(mirrored, minimum=settings.max_slice_regression, seed=rng_seed)
        if p_value < alpha and -differences.mean > settings.max_slice_regression:
            worse.append(f"{shown.name}={shown.value} ({differences.mean:+.3f} on {shown.rows} rows)")
    return tuple(shown for shown, _ in found), worse


def row_lines(paired: DataFrame, *, order: str) -> tuple[RowLine, ...]:
    """Return the rows that people should see: ``worst`` (after), ``lost`` (better before) or ``won``."""
    change = F.col("best_score") - F.col("seed_score")
    chosen = {
        "worst": _both(paired).where(F.col("best_score") < 1).orderBy("best_score", F.desc("weight"), "row_id"),
        "lost": _both(paired).where(change < 0).orderBy(change, F.desc("weight"), "row_id"),
        "won": _both(paired).where(change > 0).orderBy(F.desc(change), F.desc("weight"), "row_id"),
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
        _both(paired)
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
