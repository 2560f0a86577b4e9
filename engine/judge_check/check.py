"""Measures the judges of an optimization: what ``promptmill judge-check`` does.

The configured prompt (or others) answers a sample of the rows, and labelled answers come as they are. Each answer is
judged, judged again under a sample number of its own in the ledger, and judged with the two texts swapped where a
judge compares.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from pyspark.sql import SparkSession

from engine import judge_noise, registry
from engine.config import AppConfig, PromptOptimizationModel
from engine.coverage import allowed_unscored, coverage_error
from engine.errors import InputError
from engine.estimate import ANSWER_TOKENS, Estimate, judge_part, mean, message_tokens, part, subject
from engine.evaluate import Evaluation
from engine.given_answers import score_answers
from engine.given_parts import load_parts
from engine.judge_check.findings import Rounds, judge_report
from engine.judge_check.labels import Labelled, label_scores, labels_in_file, labels_in_rows
from engine.judge_check.report import FILE_NAME, JudgeCheck, JudgeReport
from engine.ledger_compaction import compact_if_worthwhile
from engine.ledger_join import Reuse
from engine.ledger_uses import record_savings
from engine.migration import default_run_dir, fingerprint, seed_prompt
from engine.needs import check_rows
from engine.program import ship_program, target_of
from engine.progress import Progress
from engine.rows import Row
from engine.run_state import RunState
from engine.session import configured_session
from engine.settings import JudgeCheckSettings
from engine.shared_storage import check_shared
from engine.sources import load_rows
from engine.split import sample_rows
from engine.storage import Storage
from engine.tracking import set_up
from udfs.endpoint import Endpoint
from udfs.errors import ErrorKind
from udfs.files import write_whole
from udfs.program import Program
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet
from udfs.rollout import Rollout
from udfs.scorers import build_mix
from udfs.scorers.protocol import Comparing, Judge, Weighted

_ROUNDS = ("verdicts", "verdicts, asked again", "verdicts, texts swapped")


@dataclass
class PreparedCheck:
    """A check that is set up but has not called an endpoint yet."""

    spark: SparkSession
    settings: PromptOptimizationModel
    check: JudgeCheckSettings
    target: Endpoint
    mix: tuple[Weighted, ...]
    prompts: tuple[Prompt, ...]
    rows: list[Row]
    labelled: list[Labelled]
    labels: dict[str, list[float]]
    storage: Storage
    state: RunState
    progress: Progress
    reuse: Reuse = field(default_factory=Reuse)

    @property
    def judges(self) -> list[tuple[Judge, float]]:
        """The judges of the mix and their weights."""
        return [(w.scorer, w.weight) for w in self.mix if isinstance(w.scorer, Judge)]

    def estimate(self) -> Estimate:
        """Foresee calls, tokens and money, at the most; calls nothing. What the ledger has is paid for already."""
        answers = len(self.rows) * len(self.prompts) if self.judges else 0
        prompt_each = mean(
            [message_tokens(prompt.messages(json.loads(row.inputs))) for prompt in self.prompts for row in self.rows]
        )
        answer_each = self.target.sampling.max_tokens or ANSWER_TOKENS
        parts = [part(f"target {self.target.name}", self.target, 0, answers, prompt_each, answer_each)]
        for judge, _ in self.judges:
            subjects = [subject(one.row, one.output) for one in self.labelled]
            subjects += [subject(row) for row in self.rows] * len(self.prompts)
            rounds = 3 if isinstance(judge, Comparing) else 2
            parts.append(judge_part(judge, subjects, 0, rounds * (answers + len(self.labelled))))
        priced = [e.price for e in (self.target, *(judge.endpoint for judge, _ in self.judges)) if e.price is not None]
        return Estimate(tuple(parts), prompt_each + answer_each, priced[0].currency if priced else None, None)

    def run(self) -> JudgeCheck:
        """Measure the judges, write ``judge_check.json``, and keep their noise for later verdicts.

        Raises:
            EvaluationError: it was stopped; what was answered is kept.
            CoverageError: too many answers or verdicts failed for reasons that are not the judge's.
            KeyboardInterrupt: it was interrupted; what was answered is kept.
        """
        started = time.monotonic()
        judging = Evaluation(
            self.spark,
            self.target,
            self.mix_of_judges,
            self.storage,
            self.state.run_id,
            self.progress,
            local_row_ids=frozenset(row.row_id for row in (*self.rows, *(one.row for one in self.labelled))),
            reuse=self.reuse,
        )
        answers, without = self._answers(judging) if self.judges else ([], 0)
        reports = self._measure(judging, answers) if self.judges else ()
        if self.judges:
            compact_if_worthwhile(self.spark, self.storage.ledger)
        usage = judging.usage
        judge = self.judges[0][0].endpoint if self.judges else None
        prices = (self.target.price, judge.price if judge else None, None)
        record_savings(
            self.storage.ledger,
            run_id=self.state.run_id,
            name=self.settings.name,
            usage=usage,
            prices=prices,
            endpoints=(self.target, judge),
        )
        noise = {report.judge_id: report.repeat.noise_variance for report in reports if report.repeat}
        mixed = judge_noise.mixed_noise_variance(self.mix, lambda judge: noise.get(judge.judge_id, 0.0))
        found = JudgeCheck(
            optimization=self.settings.name,
            rows=len(self.rows),
            labelled=len(self.labelled),
            without_answer=without,
            judges=reports,
            not_judges=tuple(w.scorer.name for w in self.mix if not isinstance(w.scorer, Judge)),
            noise_sd=math.sqrt(mixed or 0.0),
            calls=usage.calls(),
            tokens=usage.token_counts(),
            cost=usage.cost(*prices),
            seconds=round(time.monotonic() - started, 3),
            run_dir=self.state.run_dir,
        )
        text = json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n"
        write_whole(f"{self.state.run_dir}/{FILE_NAME}", text.encode("utf-8", "surrogatepass"))
        return found

    @property
    def mix_of_judges(self) -> tuple[Weighted, ...]:
        """The mix without the scorers that compute."""
        return tuple(weighted for weighted in self.mix if isinstance(weighted.scorer, Judge))

    def _answers(self, judging: Evaluation) -> tuple[list[tuple[Row, str]], int]:
        """Return the answers to judge, labelled ones first, each once; and how many rows gave none."""
        asked = replace(judging, mix=()).rollouts([(prompt, self.rows) for prompt in self.prompts], stage="answers")
        lines = [(row, rollout) for rollouts in asked for row, rollout in zip(self.rows, rollouts, strict=True)]
        self._check_coverage([rollout for _, rollout in lines], "the sample")
        found: dict[tuple[str, str], tuple[Row, str]] = {}
        for one in self.labelled:
            found.setdefault((one.row.row_id, one.output), (one.row, one.output))
        for row, rollout in lines:
            if rollout.output is not None:
                found.setdefault((row.row_id, rollout.output), (row, rollout.output))
        return list(found.values()), sum(rollout.output is None for _, rollout in lines)

    def _measure(self, judging: Evaluation, answers: list[tuple[Row, str]]) -> tuple[JudgeReport, ...]:
        first = score_answers(judging, answers, stage=_ROUNDS[0])
        again = score_answers(replace(judging, verdict_sample=1), answers, stage=_ROUNDS[1])
        turned = tuple(replace(w, scorer=w.scorer.swapped()) for w in judging.mix if isinstance(w.scorer, Comparing))
        swapped = score_answers(replace(judging, mix=turned), answers, stage=_ROUNDS[2]) if turned else None
        for stage, rollouts in zip(_ROUNDS, (first, again, swapped), strict=True):
            self._check_coverage(rollouts or first, stage)
        rounds = Rounds(answers, first, again, swapped)
        reports = []
        for judge, weight in self.judges:
            by_answer = {
                (one.row.row_id, one.output): label
                for one, label in zip(self.labelled, self.labels[judge.name], strict=True)
                if not math.isnan(label)
            }
            labels = np.array([by_answer.get((row.row_id, output), math.nan) for row, output in answers])
            report = judge_report(
                judge,
                rounds,
                labels,
                self.check,
                weight=weight,
                is_compared=isinstance(judge, Comparing),
                seed=self.settings.search.seed,
            )
            if report.repeat is not None:
                judge_noise.keep(
                    self.storage,
                    judge,
                    answers=report.repeat.agreement.of,
                    self_agreement=report.repeat.agreement.value,
                    noise_variance=report.repeat.noise_variance,
                )
            reports.append(report)
        return tuple(reports)

    def _check_coverage(self, rollouts: Sequence[Rollout], what: str) -> None:
        """Make sure that outages took no more than ``gate.min_coverage`` allows: they are no judge's fault."""
        errors = [r.error for r in rollouts if r.error is not None]
        lost = [e for e in errors if e.kind.is_infrastructure and e.kind is not ErrorKind.JUDGE]
        least = self.settings.gate.min_coverage
        if lost and (len(lost) > allowed_unscored(len(rollouts), least) or len(lost) == len(rollouts)):
            kinds = {e.kind.value: sum(other.kind is e.kind for other in lost) for e in lost}
            raise coverage_error(what, len(rollouts), len(lost), kinds, lost[0].message, least)


def prepare(
    app: AppConfig,
    settings: PromptOptimizationModel,
    *,
    places: Sequence[str] = (),
    rows: int | None = None,
    labels: str | None = None,
    run_dir: str | None = None,
    progress: Progress | None = None,
    spark: SparkSession | None = None,
    reuse: Reuse | None = None,
) -> PreparedCheck:
    """Set up a check: everything that can be wrong with the input is found here, before the first call.

    ``places`` are prompts (files or registry URIs) whose answers are judged, the configured one without any; ``rows``
    overrides ``judge_check.rows``; ``labels`` is a file of labelled answers.

    Raises:
        InputError: the input can't be used.
    """
    set_up(app.mlflow.tracking_uri)
    target = target_of(settings)
    is_program = isinstance(target, Program)
    seed = seed_prompt(settings, needs_variables=not is_program)
    if isinstance(seed, PromptSet):
        prompts: tuple[Prompt, ...] = tuple(load_parts(places, seed).values()) or (seed,)
    else:
        prompts = tuple(registry.load_file_or_uri(place) for place in places) or (seed,)
    mix = build_mix(settings.scorers, settings.scorer_model.endpoint() if settings.scorer_model else None)
    check = settings.judge_check
    if rows is not None:
        check = JudgeCheckSettings(**{**check.model_dump(), "rows": rows})
    session = configured_session(app, spark)
    ship_program(session, settings, target)
    identity = "|".join(sorted(prompt.candidate_id for prompt in prompts))
    state = RunState.open(
        run_dir or default_run_dir(app, f"{settings.name}-judges"),
        f"judge-check|{fingerprint(settings, seed, target=target)}|{identity}",
    )
    storage = Storage.at(app.storage.root, state.run_dir)
    check_shared(session, storage)
    wanted = frozenset() if is_program else frozenset().union(*(prompt.needs for prompt in prompts))
    judges = tuple(weighted for weighted in mix if isinstance(weighted.scorer, Judge))
    every = load_rows(
        session,
        settings.dataset,
        storage,
        wanted,
        prompt=None if is_program else seed,
        prompt_name="" if is_program else settings.prompt.full_name,
    )
    every = check_rows(every, judges)
    labelled = labels_in_rows(every) + (labels_in_file(session, labels, every) if labels else [])
    named = [cast("Judge", weighted.scorer) for weighted in judges]
    for one in labelled:
        _check_needs(one, named)
    return PreparedCheck(
        session,
        settings,
        check,
        target,
        mix,
        prompts,
        sample_rows(every, check.rows, seed=settings.search.seed),
        labelled,
        label_scores(labelled, named) if judges else {},
        storage,
        state,
        progress or Progress(),
        reuse or Reuse(),
    )


def _check_needs(one: Labelled, judges: Sequence[Judge]) -> None:
    expectations: dict[str, Any] = json.loads(one.row.expectations or "{}")
    for judge in judges:
        lacking = sorted(key for key in judge.needs if expectations.get(key) is None)
        if lacking:
            raise InputError(
                f"{one.place}: the judge {judge.name!r} needs expectations.{lacking[0]}, which neither this record nor "
                "the data set's row has; add it"
            )
