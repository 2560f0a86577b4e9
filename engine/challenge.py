"""The verdict without a search: given prompts against the current one, over a data set; ``promptmill gate``."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from engine import gate
from engine.assessment import Assessment, RunOptions, assess
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import check_frame_coverage
from engine.estimate import Estimate
from engine.gate_record import STATUSES, Challenge, Challenger
from engine.given_prompts import distinct
from engine.questions import Question, gate_questions
from engine.verdict import paired as paired_rows
from engine.verdict.holdout import HoldoutRace, RaceForm, TryoutOutcome
from engine.verdict.race import Answer, look_sizes
from engine.verdict.recorded import RecordedAnswers, check_recorded
from engine.verdict.section import judge_noise_section, no_worse_section
from udfs.prompt import Prompt


def challenge(
    app: AppConfig,
    settings: PromptOptimizationModel,
    places: Sequence[str],
    *,
    current: str | Sequence[str] | None = None,
    holdout_only: bool = False,
    all_rows: bool = False,
    **options: Unpack[RunOptions],
) -> Challenge:
    """Judge the prompts at ``places`` (files or registry URIs) against ``current`` (else the configured one).

    They race over the rows of the data set, or with ``holdout_only`` over those that a search with these settings does
    not see, in rounds of growing size. Each prompt has a verdict of its own, and is asked about no more rows when it is
    known; the error, ``gate.alpha``, holds over all looks and all prompts. With ``all_rows`` every row is scored with
    every prompt, and looked at once. Nothing is registered, and no alias moves.

    Raises:
        InputError: the input can't be used; nothing was called.
        CoverageError: too many rows could not be scored.
    """
    return judged(
        prepare(app, settings, places, current=current, holdout_only=holdout_only, **options), all_rows=all_rows
    )


def prepare(
    app: AppConfig,
    settings: PromptOptimizationModel,
    places: Sequence[str],
    *,
    current: str | Sequence[str] | None = None,
    holdout_only: bool = False,
    **options: Unpack[RunOptions],
) -> Assessment:
    """Set up a challenge; calls nothing. See :func:`challenge`."""
    found = assess(app, settings, places, command="gate", current=current, holdout_only=holdout_only, **options)
    check_recorded(found.rows, settings.gate.question)
    return found


def foreseen(assessment: Assessment, *, all_rows: bool = False) -> Estimate:
    """Return what a challenge would take: at the least one round of the race, at the most all rows in the budget."""
    most = assessment.rows_at_most
    recorded = assessment.settings.gate.question != gate.BETTER
    return assessment.estimate(first_rows=most if all_rows else look_sizes(most)[0], recorded=recorded)


def judged(assessment: Assessment, *, all_rows: bool = False) -> Challenge:
    """Let the prompts of an assessment race, and judge each; see :func:`challenge`."""
    settings, given, usage = assessment.settings, assessment.given, assessment.usage
    racing = [p for p in distinct(*given.named.values()) if p.candidate_id != given.current.candidate_id]
    # A folder of its own each time: rows that failed are asked again, all others come from the ledger.
    folder = f"gate-{uuid.uuid4().hex[:12]}"
    outcome = None
    if racing:
        outcome = _race(assessment, racing, RaceForm(one_look=all_rows, stage="gate", folder=folder))
        check_frame_coverage(outcome.result, list(assessment.prompts), settings.gate.min_coverage, "the data set")
    verdicts = {p.candidate_id: _verdict(assessment, outcome, p) for p in racing} if outcome else {}
    challengers = tuple(
        _challenger(assessment, place, prompt, verdicts[prompt.candidate_id], among=len(racing))
        if prompt.candidate_id in verdicts
        else _unchanged(assessment, place, prompt)
        for place, prompt in given.named.items()
    )
    assessment.close()
    looks = max((one.looks for one in challengers), key=len)
    return Challenge(
        optimization=settings.name,
        status=min((one.status for one in challengers), key=STATUSES.index),
        current=given.current_place,
        rows=assessment.total_rows,
        prompts=challengers,
        calls=usage.calls(),
        tokens=usage.token_counts(),
        cost=usage.cost(*assessment.prices),
        seconds=assessment.seconds,
        run_dir=assessment.state.run_dir,
        table=assessment.storage.folder(folder) if outcome else None,
        doubts=assessment.doubts,
        question=settings.gate.question,
        planned_rows=assessment.rows_at_most if outcome else 0,
        asked_rows=outcome.asked_rows if outcome else 0,
        looks=len(looks),
        pairs_not_asked=outcome.pairs_not_asked if outcome else 0,
    )


def _race(assessment: Assessment, racing: list[Prompt], form: RaceForm) -> TryoutOutcome:
    settings, evaluation, given = assessment.settings, assessment.evaluation, assessment.given
    question = settings.gate.question
    recorded = None
    # Where no question asks for it, scoring the recorded answers is a Spark job more for nothing.
    if question != gate.BETTER:
        recorded = RecordedAnswers.of(evaluation, assessment.rows, assessment.allowance, question=question)
    rows = assessment.rows_at_most
    if rows < assessment.total_rows:
        assessment.progress.tell(
            f"the budget covers {rows:,} of {assessment.total_rows:,} rows; the gate reads no more"
        )
    return HoldoutRace(
        evaluation,
        assessment.rows,
        assessment.total_rows,
        given.current,
        racing,
        settings.gate,
        rows,
        assessment.allowance,
        slices=settings.slices,
        labels={prompt.candidate_id: place for place, prompt in given.named.items()},
        source_scores=recorded.scores if recorded else None,
        rng_seed=settings.search.seed,
        form=form,
    ).run_each()


@dataclass(frozen=True)
class _Judged:
    """A prompt's verdict, and how many rows it won and lost."""

    verdict: gate.Verdict
    won: int
    lost: int


def _verdict(assessment: Assessment, outcome: TryoutOutcome, prompt: Prompt) -> _Judged:
    settings, current = assessment.settings, assessment.given.current
    paired = paired_rows.pair(outcome.result, outcome.asked, current, prompt)
    verdict = gate.judge(
        paired,
        current,
        prompt,
        settings.gate,
        slices=settings.slices,
        rng_seed=settings.search.seed,
        race=outcome.ends[prompt.candidate_id],
    )
    return _Judged(verdict, *paired_rows.flips(paired))


def _challenger(assessment: Assessment, place: str, prompt: Prompt, judged_: _Judged, *, among: int) -> Challenger:
    verdict = judged_.verdict
    status = "promoted" if verdict.promote else "need_more_data" if verdict.answer is Answer.NEED_MORE_DATA else "kept"
    return Challenger(
        place=place,
        candidate_id=prompt.candidate_id,
        status=status,
        reason=verdict.reason,
        rows=verdict.rows,
        current_score=_number(verdict.seed_score),
        score=_number(verdict.best_score),
        difference=_number(verdict.difference),
        interval=(_number(verdict.interval[0]), _number(verdict.interval[1])),
        p_value=_number(verdict.p_value),
        alpha=verdict.alpha / among,
        slices=verdict.slices,
        won=judged_.won,
        lost=judged_.lost,
        questions=gate_questions(
            status,
            verdict.reason,
            rows=verdict.rows,
            total=verdict.looks[-1].rows,
            slices=verdict.slices,
            lost_variables=sorted(assessment.given.current.variables - prompt.variables),
        ),
        looks=verdict.looks,
        no_worse=no_worse_section(verdict.findings.get(gate.NO_WORSE), verdict.source_score),
        judge_noise=judge_noise_section(verdict),
    )


def _unchanged(assessment: Assessment, place: str, prompt: Prompt) -> Challenger:
    """The verdict of a prompt that is the current one, word for word: nothing need be asked."""
    reason = "it is the current prompt, word for word"
    return Challenger(
        place=place,
        candidate_id=prompt.candidate_id,
        status="kept",
        reason=reason,
        rows=0,
        current_score=None,
        score=None,
        difference=None,
        interval=(None, None),
        p_value=None,
        alpha=assessment.settings.gate.alpha,
        slices=(),
        won=0,
        lost=0,
        questions=(Question("difference", "kept", reason),),
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
