"""The pandas UDF of an evaluation: a thin shell around :func:`udfs.task.evaluate_stream`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from udfs.ledger import Entry
from udfs.plan import EvaluationPlan
from udfs.rollout import RECORD_DDL, Item, to_columns
from udfs.task import evaluate_stream

if TYPE_CHECKING:
    from pyspark.sql._typing import UserDefinedFunctionLike

# Columns of the struct that the UDF is given. `known` is a JSON array of ledger entries, or null.
ITEM_COLUMNS = ("candidate_id", "row_id", "inputs", "expectations", "known")


def to_items(batch: pd.DataFrame) -> list[Item]:
    """Return the batch's items; the columns are :data:`ITEM_COLUMNS`."""
    return [
        Item(candidate_id, row_id, inputs, expectations, _entries(known))
        for candidate_id, row_id, inputs, expectations, known in zip(
            *(batch[column].tolist() for column in ITEM_COLUMNS), strict=True
        )
    ]


def _entries(known: str | None) -> tuple[Entry, ...]:
    if not known:
        return ()
    return tuple(Entry.from_json(json.dumps(entry)) for entry in json.loads(known))


def evaluate_batches(
    plan: EvaluationPlan, batches: Iterator[pd.DataFrame], *, partition: int
) -> Iterator[pd.DataFrame]:
    """Evaluate item frames into record frames of the same lengths, in order; see :func:`udfs.rollout.to_columns`."""
    for rollouts in evaluate_stream(plan, (to_items(batch) for batch in batches), partition=partition):
        yield pd.DataFrame(to_columns(rollouts))


def evaluation_udf(plan: EvaluationPlan) -> UserDefinedFunctionLike:
    """Return the UDF that evaluates a struct column of items into a struct column of records.

    It is marked nondeterministic, so that Spark never runs it twice in a plan; a second *action* on the plan would,
    which is why ``engine.evaluate`` writes the result once and reads it back.
    """
    from pyspark import TaskContext
    from pyspark.sql.pandas.functions import pandas_udf

    def evaluate_items(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        context: Any = TaskContext.get()
        yield from evaluate_batches(plan, batches, partition=context.partitionId() if context else 0)

    return pandas_udf(evaluate_items, RECORD_DDL).asNondeterministic()  # type: ignore[call-overload,no-any-return]
