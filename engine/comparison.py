"""Scores prompts over a whole data set, side by side: what ``promptmill evaluate`` does."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.assessment import Assessment, RunOptions, assess
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import check_frame_coverage, covered
from engine.result_frame import summarize
from engine.verdict.fingerprints import Fingerprints
from engine.verdict.rounds import first_by_hash
from udfs.prompt import Prompt


@dataclass(frozen=True)
class ScoredPrompt:
    """One prompt over the data set: ``score`` is the mean by weight over the scored rows, ``None`` where none was.

    ``rows`` were asked, ``scored`` of them could be scored.
    """

    place: str
    candidate_id: str
    score: float | None
    rows: int
    scored: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Comparison:
    """The prompts in the order they were given, what it took, where the rows' results are (Parquet),
    and what another comparison must have in common with this one.

    ``pairs_not_asked`` counts what the budget did not cover, of the ``rows`` with all prompts. ``doubts`` are of the
    judges.
    """

    prompts: tuple[ScoredPrompt, ...]
    rows: int
    pairs_not_asked: int
    calls: dict[str, int]
    tokens: dict[str, int]
    cost: dict[str, Any] | None
    saved: dict[str, Any]
    seconds: float
    table: str
    fingerprints: Fingerprints
    doubts: tuple[str, ...] = ()


def compare(
    app: AppConfig, settings: PromptOptimizationModel, places: Sequence[str], **options: Unpack[RunOptions]
) -> Comparison:
    """Score the prompts at ``places`` (files or registry URIs; the configured one without any) on the target.

    Raises:
        InputError: the input can't be used; nothing was called.
        LedgerError: a replay asks for what the ledger lacks.
    """
    return scored(assess(app, settings, places, command="evaluate", **options))


def scored(assessment: Assessment) -> Comparison:
    """Score the prompts of an assessment, over as many rows as the budget covers; see :func:`compare`."""
    prompts, evaluation = list(assessment.prompts), assessment.evaluation
    asked_rows = assessment.rows_at_most
    rows = first_by_hash(assessment.rows, asked_rows) if asked_rows < assessment.total_rows else assessment.rows
    # A folder of its own each time: rows that failed are asked again, all others come from the ledger.
    name = f"evaluation-{uuid.uuid4().hex[:12]}"
    total = asked_rows * len(prompts)
    result = evaluation.frame(
        prompts, rows, name=name, stage="evaluation", total=total, allowance=assessment.allowance()
    )
    result = covered(result)
    check_frame_coverage(result, prompts, assessment.settings.gate.min_coverage, "the data set")
    lines = {line["candidate_id"]: line for line in summarize(_scored_for_all(result, len(prompts)), rows).collect()}
    pairs = sum(int(line["rows"]) for line in lines.values())
    assessment.usage.metric_calls += pairs
    assessment.close()
    named = assessment.given.named or {assessment.given.current_place: assessment.given.current}
    usage, prices = assessment.usage, assessment.prices
    return Comparison(
        prompts=tuple(_scored(place, prompt, lines.get(prompt.candidate_id)) for place, prompt in named.items()),
        rows=assessment.total_rows,
        pairs_not_asked=assessment.total_rows * len(prompts) - pairs,
        calls=usage.calls(),
        tokens=usage.token_counts(),
        cost=usage.cost(*prices),
        saved=usage.saved(*prices),
        seconds=assessment.seconds,
        table=assessment.storage.folder(name),
        fingerprints=Fingerprints.of(rows, assessment.mix, evaluation.endpoint),
        doubts=assessment.doubts,
    )


def _scored_for_all(result: DataFrame, prompts: int) -> DataFrame:
    """Blank the scores of rows that were not scored for every prompt: means are only compared over common rows."""
    common = result.groupBy("row_id").agg((F.count("score") == prompts).alias("_common"))
    return result.join(common, "row_id").withColumn("score", F.when(F.col("_common"), F.col("score"))).drop("_common")


def _scored(place: str, prompt: Prompt, line: Any) -> ScoredPrompt:
    """The line of one prompt; ``None`` where the budget covered none of its rows."""
    found = line or dict.fromkeys(("score", "rows", "scored", "prompt_tokens", "completion_tokens"))
    return ScoredPrompt(
        place=place,
        candidate_id=prompt.candidate_id,
        score=None if found["score"] is None else float(found["score"]),
        rows=int(found["rows"] or 0),
        scored=int(found["scored"] or 0),
        prompt_tokens=int(found["prompt_tokens"] or 0),
        completion_tokens=int(found["completion_tokens"] or 0),
    )
