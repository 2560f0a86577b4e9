"""Answers that are given, and not asked for: judges score them like any other."""

from __future__ import annotations

import hashlib

from engine.rows import Row
from udfs.ledger import Entry, answer_key
from udfs.rollout import Item


def given_item(row: Row, output: str, endpoint_id: str) -> Item:
    """Return an item whose answer is known to be ``output``, so that the endpoint is not asked.

    Its candidate stands for the answer's text. Nothing of it goes into the ledger but the verdicts over it, under the
    keys that they have anyway.
    """
    candidate_id = f"given-{hashlib.sha256(output.encode('utf-8', 'surrogatepass')).hexdigest()}"
    entry = Entry(
        key=answer_key(endpoint_id, candidate_id, row.row_id),
        kind="answer",
        endpoint_id=endpoint_id,
        candidate_id=candidate_id,
        row_id=row.row_id,
        sample=0,
        output=output,
        error_kind=None,
        error_message=None,
        prompt_tokens=0,
        completion_tokens=0,
        latency_ms=0.0,
        attempts=0,
        run_id="",
        answered_at=0.0,
    )
    return Item(candidate_id, row.row_id, row.inputs, row.expectations, (entry,))
