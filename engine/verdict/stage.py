"""The gate's stage of a migration: who races on the holdout, over how many rows, and the verdict."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame

from engine import gate
from engine.coverage import check_frame_coverage, covered
from engine.evaluate import Evaluation
from engine.search.budget import affordable_gate_rows, affordable_pairs
from engine.search.history import Candidate
from engine.search.loop import SearchResult
from engine.verdict.holdout import HoldoutRace, RaceOutcome
from engine.verdict.paired import pair
from engine.verdict.race import selection_rows
from engine.verdict.recorded import RecordedAnswers
from engine.verdict.rounds import first_by_hash
from udfs.allowance import Allowance

if TYPE_CHECKING:
    from engine.migration import Migration


def judge_on_holdout(
    migration: Migration, evaluation: Evaluation, found: SearchResult
) -> tuple[gate.Verdict, DataFrame, SearchResult]:
    """Race the best candidates against the seed on the holdout, and judge.

    Returns the verdict, both prompts' lines side by side, and what was found with the race's leader as its best.

    Raises:
        EvaluationError: a round failed, or too few rows could be scored.
    """
    if found.best is found.history.seed:
        return (*_without_challenger(migration, evaluation, found.best), found)
    settings = migration.settings

    def allowance() -> Allowance:
        return migration.budget.allowance(for_gate=True)

    recorded = RecordedAnswers.of(evaluation, migration.split.holdout, allowance, question=settings.gate.question)
    racing, rows = _finalists(migration, found)
    if rows < migration.split.holdout_rows:
        migration.progress.tell(f"the gate reads at most {rows:,} of {migration.split.holdout_rows:,} holdout rows")
    race = HoldoutRace(
        evaluation,
        migration.split.holdout,
        migration.split.holdout_rows,
        migration.seed,
        [candidate.prompt for candidate in racing],
        settings.gate,
        rows,
        allowance,
        slices=settings.slices,
        labels={candidate.candidate_id: candidate.label for candidate in racing},
        source_scores=recorded.scores if recorded else None,
        rng_seed=settings.search.seed,
    )
    outcome = race.run()
    best = next(one for one in racing if one.prompt is outcome.leader)
    check_frame_coverage(outcome.result, [migration.seed, best.prompt], settings.gate.min_coverage, "the holdout")
    paired = pair(outcome.result, outcome.asked, migration.seed, best.prompt)
    verdict = gate.judge(
        paired,
        migration.seed,
        best.prompt,
        settings.gate,
        slices=settings.slices,
        rng_seed=settings.search.seed,
        race=outcome.end,
    )
    _tell(migration, outcome, verdict)
    return verdict, paired, replace(found, best=best)


def _finalists(migration: Migration, found: SearchResult) -> tuple[list[Candidate], int]:
    """Who races, best on val first, and over how many rows at most: as far as the budget goes."""
    history, most = found.history, migration.racing
    others = [
        candidate
        for candidate in history.candidates
        if candidate is not found.best and candidate is not history.seed and _val_gain(found, candidate) > 0
    ]
    others.sort(key=lambda candidate: -_val_gain(found, candidate))
    tokens = [_mean_tokens(one) for one in (history.seed, found.best)]
    rows = affordable_gate_rows(migration.gate_rows, migration.budget, pair_tokens=sum(tokens), challenged=True)
    # What the seed and the winner don't need for all rows pays for the others' first quarter.
    spare = affordable_pairs(migration.budget, tokens_each=max(tokens)) - 2 * rows
    others = others[: int(min(most - 1, max(0.0, spare) // max(1, selection_rows(rows))))]
    return [found.best, *others], rows


def _val_gain(found: SearchResult, candidate: Candidate) -> float:
    """How much better than the seed a candidate was on all of val; 0 where it was not run on all of it."""
    history = found.history
    if not history.is_complete(candidate):
        return 0.0
    differences = history.differences(candidate, history.seed)
    return differences.mean if differences.rows else 0.0


def _without_challenger(
    migration: Migration, evaluation: Evaluation, seed: Candidate
) -> tuple[gate.Verdict, DataFrame]:
    """Nothing beat the seed: see on some rows how the new model does with it."""
    settings, holdout = migration.settings, migration.split.holdout
    rows = affordable_gate_rows(migration.gate_rows, migration.budget, pair_tokens=_mean_tokens(seed), challenged=False)
    if rows < migration.split.holdout_rows:
        migration.progress.tell(f"the gate reads {rows:,} of {migration.split.holdout_rows:,} holdout rows")
        holdout = first_by_hash(holdout, rows)
    migration.usage.metric_calls += rows
    # A folder of its own each time: a run that goes on after an outage asks again for the rows that failed, and finds
    # all others in the ledger.
    result = evaluation.frame(
        [seed.prompt],
        holdout,
        name=f"holdout-{uuid.uuid4().hex[:12]}",
        stage="holdout",
        total=rows,
        allowance=migration.budget.allowance(for_gate=True),
    )
    asked = covered(result)
    unasked = rows - asked.count()
    if unasked:
        migration.progress.tell(f"the budget did not cover {unasked:,} of the gate's {rows:,} calls")
    check_frame_coverage(asked, [seed.prompt], settings.gate.min_coverage, "the holdout")
    paired = pair(asked, holdout, seed.prompt, seed.prompt)
    verdict = gate.judge(
        paired, seed.prompt, seed.prompt, settings.gate, slices=settings.slices, rng_seed=settings.search.seed
    )
    return verdict, paired


def _tell(migration: Migration, outcome: RaceOutcome, verdict: gate.Verdict) -> None:
    asked, planned = outcome.end.looks[-1].rows, outcome.end.planned_rows
    if asked < planned:
        migration.progress.tell(
            f"the race ended after {asked:,} of {planned:,} holdout rows: {verdict.reason}; "
            f"{outcome.pairs_not_asked:,} calls were not made"
        )


def _mean_tokens(candidate: Candidate) -> float:
    """Mean tokens of a candidate's answers on val, its judges' included."""
    used = [
        r.prompt_tokens + r.completion_tokens + r.judge_prompt_tokens + r.judge_completion_tokens
        for r in candidate.val.values()
    ]
    return sum(used) / len(used) if used else 0.0
