"""Scores prompts over a whole data set, side by side: what ``promptmill evaluate`` does."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine import registry
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import check_frame_coverage
from engine.errors import InputError
from engine.evaluate import Evaluation, summarize
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.ledger_uses import record_savings
from engine.migration import default_run_dir, fingerprint, seed_prompt
from engine.progress import Progress
from engine.run_state import RunState
from engine.session import configured_session
from engine.sources import load_rows
from engine.storage import Storage
from engine.tracking import set_up
from engine.verdict.fingerprints import Fingerprints
from udfs.prompt import Prompt
from udfs.scorers import build_mix


@dataclass(frozen=True)
class ScoredPrompt:
    """One prompt over the data set: ``score`` is the mean by weight over the scored rows, ``None`` where none was."""

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
    """

    prompts: tuple[ScoredPrompt, ...]
    calls: dict[str, int]
    tokens: dict[str, int]
    cost: dict[str, Any] | None
    saved: dict[str, Any]
    seconds: float
    table: str
    fingerprints: Fingerprints


def compare(
    app: AppConfig,
    settings: PromptOptimizationModel,
    places: Sequence[str],
    *,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
) -> Comparison:
    """Score the prompts at ``places`` (files or registry URIs; the configured one without any) on the target.

    ``reuse`` says how the ledger is used: as far as it goes, where nothing is said.

    Raises:
        InputError: the input can't be used; nothing was called.
        LedgerError: a replay asks for what the ledger lacks.
    """
    started = time.monotonic()
    set_up(app.mlflow.tracking_uri)
    named = {place: registry.load_file_or_uri(place) for place in places} or {
        settings.prompt.full_name: seed_prompt(settings)
    }
    seed = seed_prompt(settings)
    wanted = seed.variables
    for place, prompt in named.items():
        if not prompt.variables <= wanted:
            unknown = ", ".join(sorted(prompt.variables - wanted))
            raise InputError(f"{place}: has the variable {unknown}, which the configured prompt lacks; mend the prompt")
    judge = settings.scorer_model.endpoint() if settings.scorer_model else None
    mix = build_mix(settings.scorers, judge)
    session = configured_session(app, spark)
    identity = "|".join(sorted(prompt.candidate_id for prompt in named.values()))
    state = RunState.open(
        run_dir or default_run_dir(app, settings.name), f"evaluate|{fingerprint(settings, seed)}|{identity}"
    )
    storage = Storage.at(app.storage.root, state.run_dir)
    rows = load_rows(session, settings.dataset, storage, wanted)
    total = rows.count()
    evaluation = Evaluation(
        session,
        settings.agent.model.endpoint(),
        mix,
        storage,
        state.run_id,
        progress or Progress(),
        reuse=reuse or Reuse(),
    )
    prompts = list(named.values())
    # A folder of its own each time: rows that failed are asked again, all others come from the ledger.
    name = f"evaluation-{uuid.uuid4().hex[:12]}"
    distinct = len({prompt.candidate_id for prompt in prompts})
    result = evaluation.frame(prompts, rows, name=name, stage="evaluation", total=total * distinct)
    check_frame_coverage(result, prompts, settings.gate.min_coverage, "the data set")
    lines = {line["candidate_id"]: line for line in summarize(_scored_for_all(result, distinct), rows).collect()}
    compact_if_worthwhile(session, storage.ledger)
    usage, prices = evaluation.usage, (evaluation.endpoint.price, judge.price if judge else None, None)
    record_savings(
        storage.ledger,
        run_id=state.run_id,
        name=settings.name,
        usage=usage,
        prices=prices,
        endpoints=(evaluation.endpoint, judge),
    )
    return Comparison(
        prompts=tuple(_scored(place, prompt, lines[prompt.candidate_id]) for place, prompt in named.items()),
        calls=usage.calls(),
        tokens=usage.token_counts(),
        cost=usage.cost(*prices),
        saved=usage.saved(*prices),
        seconds=round(time.monotonic() - started, 3),
        table=storage.folder(name),
        fingerprints=Fingerprints.of(rows, mix, evaluation.endpoint),
    )


def _scored_for_all(result: DataFrame, prompts: int) -> DataFrame:
    """Blank the scores of rows that were not scored for every prompt: means are only compared over common rows."""
    common = result.groupBy("row_id").agg((F.count("score") == prompts).alias("_common"))
    return result.join(common, "row_id").withColumn("score", F.when(F.col("_common"), F.col("score"))).drop("_common")


def _scored(place: str, prompt: Prompt, line: Any) -> ScoredPrompt:
    return ScoredPrompt(
        place=place,
        candidate_id=prompt.candidate_id,
        score=None if line["score"] is None else float(line["score"]),
        rows=int(line["rows"]),
        scored=int(line["scored"]),
        prompt_tokens=int(line["prompt_tokens"] or 0),
        completion_tokens=int(line["completion_tokens"] or 0),
    )
