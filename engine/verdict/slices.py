"""Slices of the holdout: where a prompt is worse with confidence, whatever it gains elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.record import SliceLine
from engine.settings import GateSettings
from engine.statistics import Differences, sign_flip_p_value
from engine.verdict import paired as pairs
from engine.verdict.betting import confidence_sequence

# A slice that has at least this share of the holdout's rows is looked at with so many before anything is promoted: a
# race that is won early would else be won before anybody looked there.
_SHARE_TO_SEE, _ROWS_TO_SEE = 0.05, 30


def slice_lines(
    paired: DataFrame, names: tuple[str, ...], settings: GateSettings, *, rng_seed: int
) -> tuple[SliceLine, ...]:
    """Return a line a slice: paired difference, interval, and whether it is worse with confidence.

    Worse is: by more than ``max_slice_regression``, by a sign-flip test at ``alpha`` corrected by Holm's method over
    all slices. The intervals hold for all slices at once, whatever their size (bets at ``alpha`` over their number).
    """
    found: list[tuple[SliceLine, Differences]] = []
    for name in names:
        # All values of a slice in two jobs: a tenant or a route may have thousands.
        sliced = pairs.both(paired).withColumn("_slice", F.col("slices")[name]).where(F.col("_slice").isNotNull())
        groups = sliced.groupBy("_slice", pairs.difference(), "weight").count().collect()
        by_value: dict[str, list[Any]] = {}
        for group in groups:
            by_value.setdefault(group["_slice"], []).append(group)
        scores = {line["_slice"]: line for line in sliced.groupBy("_slice").agg(*pairs.mean_scores()).collect()}
        for value in sorted(by_value):
            differences = pairs.differences_of(by_value[value])
            line = scores[value]
            found.append((SliceLine(name, value, differences.rows, line["seed"], line["best"]), differences))
    return _tested(found, settings, rng_seed)


def _tested(found: list[tuple[SliceLine, Differences]], settings: GateSettings, rng_seed: int) -> tuple[SliceLine, ...]:
    if not found:
        return ()
    from statsmodels.stats.multitest import multipletests

    p_values = [
        sign_flip_p_value(differences.mirrored, minimum=settings.max_slice_regression, seed=rng_seed)
        for _, differences in found
    ]
    corrected = multipletests(p_values, method="holm")[1]
    return tuple(
        replace(
            line,
            difference=differences.mean,
            interval=confidence_sequence(
                differences,
                alpha=settings.alpha / len(found),
                largest_weight=float(differences.weights.max()),
            ),
            p_value=float(p_value),
            worse=bool(p_value < settings.alpha and -differences.mean > settings.max_slice_regression),
        )
        for (line, differences), p_value in zip(found, corrected, strict=True)
    )


def rows_to_see(rows: DataFrame, names: tuple[str, ...]) -> dict[tuple[str, str], int]:
    """Return how many rows of each large slice must have been asked before a promotion."""
    total = rows.count() if names else 0
    wanted = {}
    for name in names:
        for line in rows.groupBy(F.col("slices")[name].alias("value")).count().collect():
            if line["value"] is not None and line["count"] >= _SHARE_TO_SEE * total:
                wanted[name, line["value"]] = min(_ROWS_TO_SEE, int(line["count"]))
    return wanted


def are_seen(rows: DataFrame, wanted: dict[tuple[str, str], int]) -> bool:
    """Tell whether so many rows of each slice are among ``rows``."""
    for name in {name for name, _ in wanted}:
        lines = rows.groupBy(F.col("slices")[name].alias("value")).count().collect()
        found = {line["value"]: int(line["count"]) for line in lines}
        if any(found.get(value, 0) < least for (of, value), least in wanted.items() if of == name):
            return False
    return True
