"""Judges: a verdict over one output, asked once for all candidates that answer alike."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from dataclasses import replace

from udfs.calls import Calls, entry_of, missing
from udfs.client import Answer
from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, call_error
from udfs.ledger import Entry, Ledger, verdict_key
from udfs.plan import EvaluationPlan
from udfs.rollout import Item, Rollout
from udfs.scorers.protocol import Judge, Score, Subject

# A judge whose reply is no verdict is asked again so often, then the row stays unscored.
_VERDICT_TRIES = 3


class Judging:
    """Asks the judges of one task, through the ledger."""

    def __init__(self, plan: EvaluationPlan, calls: Calls, ledger: Ledger) -> None:
        self._plan = plan
        self._calls = calls
        self._ledger = ledger
        self._asking: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def verdict(
        self, rollout: Rollout, judge: Judge, subject: Subject, item: Item, entries: Mapping[str, Entry]
    ) -> tuple[Rollout, Score | CallError]:
        """Return the verdict, or why there is none, and the rollout with what was asked for it."""
        key = verdict_key(
            judge.endpoint.endpoint_id,
            judge.judge_id,
            item.row_id,
            item.expectations or "",
            subject.output,
            self._plan.verdict_sample,
        )
        # Two candidates that answer alike may be under way at once: the second waits, and finds the first's verdict.
        async with self._asking.setdefault(key, asyncio.Lock()):
            entry = entries.get(key) or self._ledger.find(key)
            if entry is not None and entry.output is not None:
                return self._known(rollout, entry), judge.verdict(entry.output)
            return await self._ask(key, rollout, judge, subject, item)

    async def _ask(
        self, key: str, rollout: Rollout, judge: Judge, subject: Subject, item: Item
    ) -> tuple[Rollout, Score | CallError]:
        if self._plan.replay:
            raise missing(f"verdict of the judge {judge.name!r} at the endpoint {judge.endpoint.name!r}", item)
        messages = judge.messages(subject)
        unread: CallError | None = None
        for attempt in range(_VERDICT_TRIES):
            seed = _seed(judge.endpoint, self._plan.verdict_sample, attempt)
            try:
                answer = await self._calls.ask(
                    judge.endpoint, messages, response_format=judge.response_format, seed=seed
                )
            except CallError as error:
                return _asked_in_vain(rollout, error), error
            rollout = _judged(rollout, answer)
            try:
                score = judge.verdict(answer.text)
            except CallError as error:
                unread = error
                continue
            self._ledger.keep(entry_of(self._plan, item, "verdict", key, judge.endpoint, answer))
            return rollout, score
        return rollout, unread or call_error(ErrorKind.JUDGE, "no verdict")

    def _known(self, rollout: Rollout, entry: Entry) -> Rollout:
        # Paid for by this very pair before this run was interrupted: it counts as this run's, as the answer does.
        if entry.run_id == self._plan.run_id and entry.candidate_id == rollout.candidate_id:
            return _judged(rollout, entry)
        return replace(
            rollout,
            judge_reused=rollout.judge_reused + 1,
            judge_reused_prompt_tokens=rollout.judge_reused_prompt_tokens + entry.prompt_tokens,
            judge_reused_completion_tokens=rollout.judge_reused_completion_tokens + entry.completion_tokens,
        )


def _seed(endpoint: Endpoint, sample: int, attempt: int) -> int | None:
    """Return the seed of a request, ``None`` for the endpoint's own.

    The same request at temperature 0 brings the same reply, so another attempt needs another seed. A further sample is
    the very same request, as any evaluation would ask it, unless a fixed seed would fix the reply, too.
    """
    number = sample * _VERDICT_TRIES + attempt
    own = endpoint.sampling.seed
    return number + (own or 0) if attempt or (number and own is not None) else None


def _judged(rollout: Rollout, verdict: Answer | Entry) -> Rollout:
    return replace(
        rollout,
        judge_calls=rollout.judge_calls + 1,
        judge_attempts=rollout.judge_attempts + verdict.attempts,
        judge_prompt_tokens=rollout.judge_prompt_tokens + verdict.prompt_tokens,
        judge_completion_tokens=rollout.judge_completion_tokens + verdict.completion_tokens,
    )


def _asked_in_vain(rollout: Rollout, error: CallError) -> Rollout:
    return replace(
        rollout,
        judge_calls=rollout.judge_calls + min(error.attempts, 1),
        judge_attempts=rollout.judge_attempts + error.attempts,
    )
