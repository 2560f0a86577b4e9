"""Items and rollouts: what one evaluation is asked for, line by line, and what it returns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from udfs.errors import RowError
from udfs.ledger import Entry
from udfs.well_formed import well_formed

# Made once: `json.dumps` makes an encoder for each call that asks for other than its defaults.
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class Item:
    """One (candidate, row) pair to evaluate.

    ``inputs`` and ``expectations`` are JSON objects as text. ``known`` are the ledger's entries for this pair: its
    answer and verdicts, as far as they were paid for before.
    """

    candidate_id: str
    row_id: str
    inputs: str
    expectations: str | None
    known: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """The outcome of one (candidate, row) pair.

    ``score`` is the weighted mean of ``scores``, 0 to 1, higher is better; ``None`` when the call or a judge failed
    for a reason that is not the prompt's. ``reused`` means that the answer came from the ledger: the tokens are those
    of the answer, but nothing was paid for them now; ``resumed``, that this very run paid for it before it was
    interrupted. The ``judge_*`` fields count what this run asked, before or after an interruption, for this pair;
    ``judge_reused*`` the verdicts that the ledger had, and what they had cost.
    """

    candidate_id: str
    row_id: str
    output: str | None = None
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    feedback: Mapping[str, str] = field(default_factory=dict)
    error: RowError | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float | None = None
    attempts: int = 0
    refused: int = 0
    reused: bool = False
    resumed: bool = False
    judge_calls: int = 0
    judge_attempts: int = 0
    judge_prompt_tokens: int = 0
    judge_completion_tokens: int = 0
    judge_reused: int = 0
    judge_reused_prompt_tokens: int = 0
    judge_reused_completion_tokens: int = 0


def to_columns(rollouts: Sequence[Rollout]) -> dict[str, Sequence[Any]]:
    """Return the flat form in which rollouts leave a pandas UDF: maps as JSON text, the error as two columns.

    The columns are :data:`RECORD_COLUMNS`.

    >>> to_columns([Rollout("c", "r", scores={"exact_match": 1.0})])["scores"]
    ['{"exact_match": 1.0}']
    """
    columns: dict[str, Sequence[Any]] = dict.fromkeys(RECORD_COLUMNS, ())
    if rollouts:
        columns |= zip(_PLAIN, zip(*map(_plain, rollouts), strict=True), strict=True)
    columns["scores"] = [_encode(r.scores) for r in rollouts]
    columns["feedback"] = [well_formed(_encode(r.feedback)) for r in rollouts]
    columns["error_kind"] = [r.error.kind.value if r.error else None for r in rollouts]
    columns["error_message"] = [well_formed(r.error.message) if r.error else None for r in rollouts]
    return columns


# The flat form as Spark sees it; `engine.result_frame` turns it into the columns that users see.
RECORD_DDL = (
    "candidate_id string, row_id string, output string, score double, scores string, feedback string, "
    "prompt_tokens bigint, completion_tokens bigint, latency_ms double, attempts bigint, refused bigint, "
    "reused boolean, resumed boolean, judge_calls bigint, judge_attempts bigint, judge_prompt_tokens bigint, "
    "judge_completion_tokens bigint, judge_reused bigint, judge_reused_prompt_tokens bigint, "
    "judge_reused_completion_tokens bigint, error_kind string, error_message string"
)
RECORD_COLUMNS = tuple(column.split()[0] for column in RECORD_DDL.split(", "))
_PLAIN = tuple(f.name for f in fields(Rollout) if f.name in RECORD_COLUMNS and f.name not in {"scores", "feedback"})
_plain = attrgetter(*_PLAIN)
