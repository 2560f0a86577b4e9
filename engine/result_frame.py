"""The result of an evaluation as a frame: its columns, and what is made of its lines.

One line a pair, with the fields of :class:`udfs.rollout.Rollout`:

===================================  ==================================================================
column
===================================  ==================================================================
``candidate_id``, ``row_id``         the pair
``output``                           string, null when the call failed
``score``                            double, 0 to 1, higher is better; null when the call failed for a
                                     reason that is not the prompt's
``scores``, ``feedback``             by scorer: map<string,double>, map<string,string>
``error``                            struct<kind,message>, null; kinds in :class:`udfs.errors.ErrorKind`
``prompt_tokens`` …                  of the answer; ``reused`` says that nothing was paid for it now
``judge_calls`` …                    what the judges were asked now
===================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from udfs.errors import ErrorKind, RowError
from udfs.rollout import Rollout

RESULT_COLUMNS = tuple(column.name for column in fields(Rollout))


def result_columns() -> list[Column]:
    """Return the columns of a result over a frame of :data:`udfs.rollout.RECORD_COLUMNS`."""
    error = F.when(
        F.col("error_kind").isNotNull(),
        F.struct(F.col("error_kind").alias("kind"), F.col("error_message").alias("message")),
    )
    shaped = {
        "scores": F.from_json("scores", "map<string,double>"),
        "feedback": F.from_json("feedback", "map<string,string>"),
        "error": error,
    }
    return [shaped.get(name, F.col(name)).alias(name) for name in RESULT_COLUMNS]


def to_rollout(line: Mapping[str, object]) -> Rollout:
    """Make a rollout of a line of the result."""
    error = line["error"]
    values = {name: line[name] for name in RESULT_COLUMNS if name != "error"}
    values |= {name: dict(line[name] or {}) for name in ("scores", "feedback")}  # type: ignore[call-overload]
    return Rollout(
        **values,  # type: ignore[arg-type]
        error=RowError(ErrorKind(error["kind"]), error["message"]) if isinstance(error, dict) else None,
    )


def summarize(result: DataFrame, rows: DataFrame) -> DataFrame:
    """Return one line a candidate: ``score`` (mean by weight), ``rows``, ``scored``, ``coverage``, tokens."""
    weighed = result.join(rows.select("row_id", "weight"), "row_id")
    scored = F.col("score").isNotNull()
    return weighed.groupBy("candidate_id").agg(
        (F.sum(F.col("score") * F.col("weight")) / F.sum(F.when(scored, F.col("weight")))).alias("score"),
        F.count(F.lit(1)).alias("rows"),
        F.sum(scored.cast("bigint")).alias("scored"),
        (F.sum(scored.cast("double")) / F.count(F.lit(1))).alias("coverage"),
        F.sum("prompt_tokens").alias("prompt_tokens"),
        F.sum("completion_tokens").alias("completion_tokens"),
    )
