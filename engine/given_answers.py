"""Answers that are given, and not asked for: scorers score them, and judges judge them, like any other.

A given answer goes into an evaluation as if the ledger had it, so that the endpoint is not asked. Nothing of it is kept
but the verdicts over it, under the keys that they have anyway: whoever answers the same is not judged again.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.evaluate import Evaluation
from engine.ledger_frame import ENTRIES_DDL
from engine.rows import Row
from udfs.allowance import Allowance
from udfs.ledger import Entry, answer_key
from udfs.rollout import Item, Rollout

# Stands in an evaluation for the candidate.
GIVEN = "given"
# A given answer's entry but for its key, its pair and its text: nobody was asked, so nothing was paid.
_ENTRY = Entry(
    key="",
    kind="answer",
    endpoint_id="",
    candidate_id=GIVEN,
    row_id="",
    sample=0,
    output=None,
    error_kind=None,
    error_message=None,
    prompt_tokens=0,
    completion_tokens=0,
    latency_ms=0.0,
    attempts=0,
    run_id="",
    answered_at=0.0,
)


def score_answers(
    evaluation: Evaluation, answers: Sequence[tuple[Row, str]], *, stage: str, allowance: Allowance | None = None
) -> list[Rollout]:
    """Have the evaluation's mix score (row, output) pairs; return one rollout each, in order.

    A row may come with several outputs. The endpoint itself is not asked; judges are, unless the ledger has their
    verdict. See :meth:`engine.evaluate.Evaluation.frame` for ``allowance`` and what is raised.
    """
    items = [given_item(row, output, evaluation.endpoint.endpoint_id) for row, output in answers]
    by_pair = evaluation.run_items([], items, stage=stage, allowance=allowance)
    return [by_pair[item.candidate_id, item.row_id] for item in items]


def score_column(
    evaluation: Evaluation,
    rows: DataFrame,
    output: Column,
    *,
    name: str,
    total: int,
    allowance: Allowance | None = None,
) -> DataFrame:
    """Have the evaluation's mix score the rows' ``output``, made of their columns ``inputs`` and ``expectations``.

    Return the result as :meth:`engine.evaluate.Evaluation.frame` does, and raise what it raises; ``candidate_id`` is
    ``given``. The endpoint itself is not asked; judges are, unless the ledger has their verdict.
    """

    def to_items(known: DataFrame) -> DataFrame:
        own = given_to(F.col("row_id"), output, F.col("entries"), evaluation.endpoint.endpoint_id)
        return known.withColumn("candidate_id", F.lit(GIVEN)).withColumn("known", own)

    folder = f"{name}-{uuid.uuid4().hex[:12]}"
    return evaluation.run_rows([], rows, to_items, name=folder, total=total, stage=name, allowance=allowance)


def given_item(row: Row, output: str, endpoint_id: str) -> Item:
    """Return an item whose answer is known to be ``output``. Its candidate stands for the answer's text."""
    candidate_id = f"{GIVEN}-{hashlib.sha256(output.encode('utf-8', 'surrogatepass')).hexdigest()}"
    entry = _ENTRY._replace(
        key=answer_key(endpoint_id, candidate_id, row.row_id),
        endpoint_id=endpoint_id,
        candidate_id=candidate_id,
        row_id=row.row_id,
        output=output,
    )
    return Item(candidate_id, row.row_id, row.inputs, row.expectations, (entry,))


def given_to(row_id: Column, output: Column, entries: Column, endpoint_id: str) -> Column:
    """Return the column ``known`` of a row with one given answer: its entry, and the ledger's verdicts over the row."""
    # As `udfs.ledger.answer_key` has it.
    key = F.sha2(F.concat(F.lit(f"answer|{endpoint_id}|{GIVEN}|"), row_id, F.lit("|0")), 256)
    own = {"key": key, "endpoint_id": F.lit(endpoint_id), "row_id": row_id, "output": output}
    values = {name: F.lit(value) for name, value in _ENTRY._asdict().items()} | own
    answer = F.array(F.struct(*(value.alias(name) for name, value in values.items()))).cast(ENTRIES_DDL)
    verdicts = F.filter(entries, lambda one: one["kind"] == "verdict")
    return F.to_json(F.when(verdicts.isNull(), answer).otherwise(F.concat(answer, verdicts)))
