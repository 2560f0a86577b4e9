"""Coverage: how many rows of an evaluation must have been scored for it to say anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import CoverageError
from udfs.errors import ErrorKind
from udfs.prompt import Prompt
from udfs.rollout import Rollout


def allowed_unscored(rows: int, min_coverage: float) -> int:
    """Return how many of ``rows`` may stay unscored: one always may, so that one bad row never sinks a run.

    >>> allowed_unscored(40, 0.98), allowed_unscored(1000, 0.98)
    (1, 20)
    """
    return max(1, math.floor(rows * (1.0 - min_coverage) + 1e-9))


def covered(result: DataFrame) -> DataFrame:
    """Return an evaluation's lines without the pairs that the budget did not cover: those were never asked."""
    return result.where(F.col("error").isNull() | (F.col("error.kind") != ErrorKind.BUDGET.value))


def check_coverage(rollouts: Sequence[Rollout], min_coverage: float, what: str) -> None:
    """Make sure that enough rows were scored.

    Raises:
        CoverageError: too many were not; names the failures, most frequent first.
    """
    missing = [rollout for rollout in rollouts if rollout.score is None]
    if len(missing) <= allowed_unscored(len(rollouts), min_coverage) and len(missing) < len(rollouts):
        return
    kinds = Counter(r.error.kind.value if r.error else "unknown" for r in missing)
    example = next((r.error.message for r in missing if r.error), "")
    raise coverage_error(what, len(rollouts), len(missing), dict(kinds), example, min_coverage)


def check_frame_coverage(result: DataFrame, prompts: list[Prompt], min_coverage: float, what: str) -> None:
    """Make sure that enough rows of an evaluation's result were scored for each prompt.

    Raises:
        CoverageError: too many were not.
    """
    missing = F.col("score").isNull()
    for prompt in prompts:
        lines = result.where(F.col("candidate_id") == prompt.candidate_id)
        counted = lines.agg(F.count(F.lit(1)).alias("rows"), F.sum(missing.cast("bigint")).alias("missing")).collect()[
            0
        ]
        rows, lacking = int(counted["rows"]), int(counted["missing"] or 0)
        if not rows:
            continue  # nothing was asked for it: the budget was spent
        if lacking > allowed_unscored(rows, min_coverage) or lacking == rows:
            kinds = (
                lines.where(missing)
                .groupBy("error.kind")
                .agg(F.count(F.lit(1)).alias("n"), F.min("error.message").alias("example"))
            )
            found = {line["kind"] or "unknown": (int(line["n"]), line["example"]) for line in kinds.collect()}
            example = next((text for _, text in found.values() if text), "")
            raise coverage_error(
                what, rows, lacking, {kind: n for kind, (n, _) in found.items()}, example, min_coverage
            )


def coverage_error(
    what: str, rows: int, missing: int, kinds: dict[str, int], example: str, min_coverage: float
) -> CoverageError:
    """Return the error that says what was short, why, and how to go on."""
    causes = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items(), key=lambda kv: -kv[1]))
    return CoverageError(
        f"{what}: {missing} of {rows} rows could not be scored ({causes}), more than min_coverage {min_coverage:g} "
        f"allows. The first failure: {example}. What was answered is kept: mend the cause and start the same command "
        "again with the same --run-dir to go on without paying twice."
    )
