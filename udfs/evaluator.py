"""Evaluates items on one worker: predict, then score; the same code serves executors and the driver."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from udfs.calls import Calls, entry_of, missing
from udfs.client import Answer
from udfs.errors import CallError, ErrorKind, LedgerError, PromptFailure, PromptmillError, RowError, call_error
from udfs.judging import Judging
from udfs.ledger import Entry, SegmentLedger, answer_key
from udfs.plan import EvaluationPlan
from udfs.rollout import Item, Rollout
from udfs.scorers import mix
from udfs.scorers.protocol import Judge, Score, Scorer, Subject
from udfs.scoring import Scoring
from udfs.tally import Tally
from udfs.task_status import TaskStatus
from udfs.task_watch import end_if_dead


class Evaluator:
    """Evaluates items on the process's event loop. One instance a task."""

    def __init__(self, plan: EvaluationPlan, ledger: SegmentLedger) -> None:
        self._plan = plan
        self._ledger = ledger
        self._scoring = Scoring()
        # Asking a runtime protocol is slow, so it is asked once: a judge where the scorer is one.
        self._mix = [(w.scorer, w.scorer if isinstance(w.scorer, Judge) else None) for w in plan.mix]
        judges = [judge.endpoint for _, judge in self._mix if judge is not None]
        self._weights = {weighted.scorer.name: weighted.weight for weighted in plan.mix}
        self._tally = Tally(plan.endpoint.price, judges[0].price if judges else None)
        self.calls = Calls(plan, [plan.endpoint, *judges], self._tally)
        self._judging = Judging(plan, self.calls, ledger)

    def close(self) -> None:
        """Let go of what the task held; the ledger is closed by who opened it."""
        self._scoring.close()
        self.calls.close()

    def status(self) -> TaskStatus:
        """How far this task is."""
        calls = self.calls
        return replace(
            self._tally.status,
            in_flight=calls.in_flight,
            answered_at=calls.answered_at,
            warming_up=int(calls.is_warming_up),
        )

    def storage_stutters(self) -> bool:
        """Say whether a segment could not be written and is tried again: what is asked now may not be kept.

        Raises:
            LedgerError: storage has refused it for good.
        """
        self._ledger.check()
        return self._ledger.is_stuttering

    async def evaluate(self, item: Item) -> Rollout:
        """Return the item's rollout; a failed call is a rollout with an error, never an exception.

        Raises:
            EvaluationStopped: an endpoint is dead or refuses us, so that no further item is worth asking for.
            LedgerError: the answer can't be kept.
        """
        rollout = await self._evaluate(item)
        if rollout.score is None:
            await end_if_dead(self.calls)  # no row is burnt on an endpoint that has been given up
        self._tally.add(rollout)
        return rollout

    async def _evaluate(self, item: Item) -> Rollout:
        inputs = json.loads(item.inputs)
        entries = {entry.key: entry for entry in item.known}
        try:
            rollout = await self._predict(item, inputs, entries)
        except CallError as error:
            return Rollout(
                item.candidate_id,
                item.row_id,
                error=RowError(error.kind, error.message),
                attempts=error.attempts,
                refused=error.refused,
            )
        if rollout.error is not None:
            return self._zero(rollout, call_error(rollout.error.kind, rollout.error.message))
        expectations = json.loads(item.expectations) if item.expectations else {}
        return await self._score(rollout, Subject(inputs, rollout.output or "", expectations), item, entries)

    async def _predict(self, item: Item, inputs: Mapping[str, Any], entries: Mapping[str, Entry]) -> Rollout:
        """Return the rollout without scores: with the answer, or with the prompt's own failure."""
        plan = self._plan
        key = answer_key(plan.endpoint.endpoint_id, item.candidate_id, item.row_id, plan.sample)
        entry = entries.get(key) or self._ledger.find(key)
        reused = entry is not None
        refused = 0
        if entry is None:
            if plan.replay:
                raise missing(f"answer of the endpoint {plan.endpoint.name!r}", item)
            await self.calls.open()
            outcome: Answer | CallError
            try:
                outcome = await self.calls.predict(plan.endpoint, plan.prompts[item.candidate_id], inputs)
            except PromptFailure as error:
                outcome = error
            entry = entry_of(plan, item, "answer", key, plan.endpoint, outcome)
            refused = outcome.refused
            self._ledger.keep(entry)
        return Rollout(
            item.candidate_id,
            item.row_id,
            output=entry.output,
            error=RowError(ErrorKind(entry.error_kind), entry.error_message or "") if entry.error_kind else None,
            prompt_tokens=entry.prompt_tokens,
            completion_tokens=entry.completion_tokens,
            latency_ms=entry.latency_ms,
            attempts=entry.attempts,
            refused=refused,
            reused=reused,
            resumed=reused and entry.run_id == plan.run_id,
        )

    def _zero(self, rollout: Rollout, error: CallError) -> Rollout:
        """The prompt's own failure: zero from every scorer, with feedback that says why."""
        names = [weighted.scorer.name for weighted in self._plan.mix]
        return replace(
            rollout,
            score=0.0,
            scores=dict.fromkeys(names, 0.0),
            feedback=dict.fromkeys(names, f"No usable output ({error.kind.value}): {error.message}"),
            error=RowError(error.kind, error.message),
        )

    async def _score(self, rollout: Rollout, subject: Subject, item: Item, entries: Mapping[str, Entry]) -> Rollout:
        error: RowError | None = None
        unparsable = False
        values: dict[str, Score] = {}
        for scorer, judge in self._mix:
            try:
                if judge is not None:
                    rollout, found = await self._judging.verdict(rollout, judge, subject, item, entries)
                else:
                    found = await self._scoring.score(cast("Scorer", scorer), subject)
                score = _checked(found)
            except LedgerError:
                raise  # no row's failure: what is asked from here on would not be kept
            except CallError as failure:
                # A judge's own content filter or context length says nothing about the prompt that is judged.
                kind = failure.kind if failure.kind.is_infrastructure else ErrorKind.JUDGE
                error = error or RowError(kind, f"{scorer.name}: {failure.message}")
            except PromptmillError as defect:
                error = error or RowError(ErrorKind.SCORER, f"{scorer.name}: {defect}")
            else:
                values[scorer.name] = score
                unparsable = unparsable or score.unparsable
        if error is None and unparsable:
            error = RowError(ErrorKind.UNPARSABLE, "the output can't be parsed; see the feedback")
        scored = not error or not error.kind.is_infrastructure
        return replace(
            rollout,
            score=mix(values, self._weights) if scored and values else None,
            scores={name: score.value for name, score in values.items()},
            feedback={name: score.feedback for name, score in values.items()},
            error=error,
        )


def _checked(found: Score | CallError) -> Score:
    """Return a score from 0 to 1; anything else, NaN too, would spoil every mean that it enters."""
    if isinstance(found, CallError):
        raise found
    if not 0.0 <= found.value <= 1.0:
        raise call_error(ErrorKind.SCORER, f"the score {found.value!r} is not from 0 to 1; mend the scorer")
    return found
