"""One evaluation on one worker: predict, then score, for each item; the same code serves executors and the driver."""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from udfs import event_loop
from udfs.allowance import Allowance, Purse
from udfs.client import Answer, ChatClient
from udfs.collector import seldom_collecting
from udfs.endpoint import Endpoint, Limits, tightest
from udfs.errors import (
    CallError,
    ErrorKind,
    EvaluationStopped,
    LedgerError,
    PromptFailure,
    PromptmillError,
    RowError,
    call_error,
)
from udfs.flow import FlowControl, flow_control
from udfs.ledger import Entry, LedgerLocation, SegmentLedger, answer_key, verdict_key
from udfs.prompt import Message, Prompt
from udfs.rollout import Item, Rollout
from udfs.scorers import mix
from udfs.scorers.protocol import Judge, Score, Scorer, Subject, Weighted
from udfs.scoring import Scoring
from udfs.tally import Tally
from udfs.task_status import StatusFolder, TaskStatus
from udfs.task_watch import TaskWatch, end_when_dead, raise_if_dead
from udfs.window import stream

# A judge whose reply is no verdict is asked again so often, then the row stays unscored.
_VERDICT_TRIES = 3
# So many characters of a row's inputs a message shows.
_SHOWN_INPUTS = 160
# Finished rows that may wait behind a straggler in one task: bounds a worker's memory.
_HELD_ITEMS = 50_000


@dataclass(frozen=True)
class EvaluationPlan:
    """What a UDF closes over: plain data, small, picklable.

    ``prompts`` maps candidate ids to prompts; ``tasks`` is how many tasks share the endpoints' limits;
    ``evaluation_id`` names this evaluation's segments, so that a retried task finds its earlier attempts'.
    ``allowance`` is what the whole evaluation may spend; ``watched`` says that the driver has opened its
    ``status_folder``, through which tasks report and are stopped. With ``replay`` no endpoint is called: what the
    ledger lacks is an error of the kind ``not_in_ledger``.
    """

    endpoint: Endpoint
    prompts: Mapping[str, Prompt]
    mix: tuple[Weighted, ...]
    ledger: LedgerLocation
    evaluation_id: str
    run_id: str
    tasks: int = 1
    sample: int = 0
    allowance: Allowance = field(default_factory=Allowance)
    watched: bool = False
    replay: bool = False

    @property
    def status_folder(self) -> StatusFolder:
        """Where the evaluation's tasks and the driver tell each other how it goes."""
        return StatusFolder(self.ledger.root, self.evaluation_id)


class Evaluator:
    """Evaluates items on the process's event loop. One instance a task."""

    def __init__(self, plan: EvaluationPlan, ledger: SegmentLedger) -> None:
        self._plan = plan
        self._tasks = plan.tasks
        self._ledger = ledger
        self._clients: dict[tuple[str, str, str, str], ChatClient] = {}
        self._flows: dict[tuple[str, str, str], FlowControl] = {}
        self._judging: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._scoring = Scoring()
        self._window = _most(plan.endpoint, plan.tasks)
        self._purse = Purse(plan.allowance.share(plan.tasks), clock=time.time)
        # Asking a runtime protocol is slow, so it is asked once: a judge where the scorer is one.
        self._mix = [(w.scorer, w.scorer if isinstance(w.scorer, Judge) else None) for w in plan.mix]
        self._judges = [judge for _, judge in self._mix if judge is not None]
        self._weights = {weighted.scorer.name: weighted.weight for weighted in plan.mix}
        self._tally = Tally(plan.endpoint.price, self._judges[0].endpoint.price if self._judges else None)

    def close(self) -> None:
        """Let go of what the task held; the ledger is closed by who opened it."""
        self._scoring.close()

    def _endpoints(self) -> list[Endpoint]:
        return [self._plan.endpoint, *(judge.endpoint for judge in self._judges)]

    @property
    def window(self) -> int:
        """How many items are worth having under way, at the most that the endpoint may be given."""
        return self._window

    def status(self) -> TaskStatus:
        """How far this task is."""
        clients = self._clients.values()
        return replace(
            self._tally.status,
            in_flight=sum(client.in_flight for client in clients),
            answered_at=max((client.health.answered_at for client in clients), default=0.0),
        )

    def verdict(self) -> RowError | None:
        """Return why there is no use in going on: one of the endpoints is dead or refuses us."""
        return next((bad for client in self._clients.values() if (bad := client.health.verdict())), None)

    def hold(self) -> None:
        """Send nothing from now on; what waits stays waiting until the stream is closed."""
        for client in self._clients.values():
            client.hold()

    def share(self, tasks: int) -> None:
        """Share the cluster's limits among so many tasks from now on: others have ended."""
        self._tasks = tasks
        self._window = _most(self._plan.endpoint, tasks)
        for place, flow in self._flows.items():
            flow.limit(self._limits(place).share(tasks))

    async def evaluate(self, item: Item) -> Rollout:
        """Return the item's rollout; a failed call is a rollout with an error, never an exception.

        Raises:
            EvaluationStopped: an endpoint is dead or refuses us, so that no further item is worth asking for.
            LedgerError: the answer can't be kept.
        """
        rollout = await self._evaluate(item)
        if rollout.score is None:
            raise_if_dead(self)  # no row is burnt on an endpoint that has been given up
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
                raise _missing(f"answer of the endpoint {plan.endpoint.name!r}", item)
            # All clients, before anything is paid: a judge without its key must stop the run, not each row.
            client = await self._client(plan.endpoint)
            for judge in self._judges:
                await self._client(judge.endpoint)
            messages = plan.prompts[item.candidate_id].messages(inputs)
            failure: CallError | None = None
            answer: Answer | None = None
            try:
                answer = await self._paid(client, messages)
            except PromptFailure as error:
                failure = error
            entry = self._entry(item, key, "answer", plan.endpoint, answer, failure)
            refused = answer.refused if answer else failure.refused if failure else 0
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
                    rollout, found = await self._judge(rollout, judge, subject, item, entries)
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

    async def _judge(
        self, rollout: Rollout, judge: Judge, subject: Subject, item: Item, entries: Mapping[str, Entry]
    ) -> tuple[Rollout, Score | CallError]:
        """Return the verdict, or why there is none, and the rollout with what was asked for it."""
        key = verdict_key(
            judge.endpoint.endpoint_id, judge.judge_id, item.row_id, item.expectations or "", subject.output
        )
        # Two candidates that answer alike may be under way at once: the second waits, and finds the first's verdict.
        async with self._judging.setdefault(key, asyncio.Lock()):
            return await self._judge_once(key, rollout, judge, subject, item, entries)

    async def _judge_once(
        self, key: str, rollout: Rollout, judge: Judge, subject: Subject, item: Item, entries: Mapping[str, Entry]
    ) -> tuple[Rollout, Score | CallError]:
        entry = entries.get(key) or self._ledger.find(key)
        if entry is not None and entry.output is not None:
            return self._known_verdict(rollout, entry), judge.verdict(entry.output)
        if self._plan.replay:
            raise _missing(f"verdict of the judge {judge.name!r} at the endpoint {judge.endpoint.name!r}", item)
        client = await self._client(judge.endpoint)
        messages = judge.messages(subject)
        unread: CallError | None = None
        for sample in range(_VERDICT_TRIES):
            # The same request at temperature 0 brings the same reply: another try needs another seed.
            try:
                answer = await self._paid(client, messages, response_format=judge.response_format, seed=sample or None)
            except CallError as error:
                return _asked_in_vain(rollout, error), error
            rollout = _judged(rollout, answer)
            try:
                score = judge.verdict(answer.text)
            except CallError as error:
                unread = error
                continue
            self._ledger.keep(self._entry(item, key, "verdict", judge.endpoint, answer, None))
            return rollout, score
        return rollout, unread or call_error(ErrorKind.JUDGE, "no verdict")

    async def _paid(self, client: ChatClient, messages: Sequence[Message], **options: Any) -> Answer:
        """Ask, if the allowance covers it."""
        purse, endpoint = self._purse, client.endpoint
        if not purse.is_limited:
            return await client.ask(messages, **options)
        prompt, completion = self._tally.foreseen(endpoint, messages)
        cost = endpoint.price.cost(prompt, completion) if endpoint.price else 0.0
        reserved = prompt + completion
        if not await purse.reserve(reserved, cost):
            raise call_error(ErrorKind.BUDGET, "not asked: the budget is spent")
        answer: Answer | None = None
        try:
            answer = await client.ask(messages, **options)
        finally:
            prompt, completion = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
            paid = endpoint.price.cost(prompt, completion) if endpoint.price else 0.0
            if answer is not None:
                self._tally.answered(endpoint, completion)
            purse.settle(reserved, cost, tokens=prompt + completion, cost=paid)
        return answer

    def _known_verdict(self, rollout: Rollout, entry: Entry) -> Rollout:
        # Paid for by this very pair before this run was interrupted: it counts as this run's, as the answer does.
        if entry.run_id == self._plan.run_id and entry.candidate_id == rollout.candidate_id:
            return _judged(rollout, entry)
        return replace(
            rollout,
            judge_reused=rollout.judge_reused + 1,
            judge_reused_prompt_tokens=rollout.judge_reused_prompt_tokens + entry.prompt_tokens,
            judge_reused_completion_tokens=rollout.judge_reused_completion_tokens + entry.completion_tokens,
        )

    def _entry(
        self,
        item: Item,
        key: str,
        kind: str,
        endpoint: Endpoint,
        answer: Answer | None,
        failure: CallError | None,
    ) -> Entry:
        return Entry(
            key=key,
            kind=kind,
            endpoint_id=endpoint.endpoint_id,
            candidate_id=item.candidate_id,
            row_id=item.row_id,
            sample=self._plan.sample,
            output=answer.text if answer else None,
            error_kind=failure.kind.value if failure else None,
            error_message=failure.message if failure else None,
            prompt_tokens=answer.prompt_tokens if answer else 0,
            completion_tokens=answer.completion_tokens if answer else 0,
            latency_ms=answer.latency_ms if answer else 0.0,
            attempts=answer.attempts if answer else failure.attempts if failure else 0,
            run_id=self._plan.run_id,
            answered_at=time.time(),
        )

    async def _client(self, endpoint: Endpoint) -> ChatClient:
        """Return the client of ``endpoint``; clients that talk to the same place share one flow control."""
        key = (*_place(endpoint), endpoint.endpoint_id)
        if key not in self._clients:
            session = await event_loop.session()
            place = _place(endpoint)
            if place not in self._flows:
                limits = self._limits(place).share(self._tasks)
                self._flows[place] = flow_control(place, limits, tasks=self._plan.tasks)
            # Checked again: another item may have made it while this one waited for the session.
            self._clients.setdefault(key, ChatClient(endpoint, self._flows[place], session))
        return self._clients[key]

    def _limits(self, place: tuple[str, str, str]) -> Limits:
        return tightest([e.limits for e in self._endpoints() if _place(e) == place])


def _missing(what: str, item: Item) -> CallError:
    """What a replay says of a pair that the ledger has nothing for."""
    inputs = item.inputs if len(item.inputs) <= _SHOWN_INPUTS else f"{item.inputs[:_SHOWN_INPUTS]}…"
    return call_error(
        ErrorKind.NOT_IN_LEDGER,
        f"the ledger has no {what} for candidate {item.candidate_id}, row {item.row_id}, inputs {inputs}",
    )


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


def _most(endpoint: Endpoint, tasks: int) -> int:
    return endpoint.limits.share(tasks).max_concurrency or 1


def _place(endpoint: Endpoint) -> tuple[str, str, str]:
    return (endpoint.provider, endpoint.base_url, endpoint.name)


def _checked(found: Score | CallError) -> Score:
    """Return a score from 0 to 1; anything else, NaN too, would spoil every mean that it enters."""
    if isinstance(found, CallError):
        raise found
    if not 0.0 <= found.value <= 1.0:
        raise call_error(ErrorKind.SCORER, f"the score {found.value!r} is not from 0 to 1; mend the scorer")
    return found


def evaluate_stream(
    plan: EvaluationPlan, batches: Iterable[Sequence[Item]], *, partition: int = 0
) -> Iterator[list[Rollout]]:
    """Yield one list of rollouts a batch of items, in order, the window full across batch borders.

    What earlier attempts of this partition left in the ledger is not called again. The ledger's last segment is
    closed when the stream ends, however it ends.

    Raises:
        EvaluationStopped: an endpoint is dead or refuses us, or somebody has stopped the evaluation.
        LedgerError: answers can't be kept.
        InputError: this worker does not see the driver's storage.
    """
    writer = f"{plan.evaluation_id}-p{partition:05d}"
    ledger = SegmentLedger(plan.ledger, writer, known=plan.ledger.closed_by(f"{writer}-"))
    evaluator = Evaluator(plan, ledger)
    loop = event_loop.event_loop()
    watch: TaskWatch | None = None
    if plan.watched:
        watch = TaskWatch(plan.status_folder, evaluator, partition=partition, tasks=plan.tasks)
        watch.begin()
    try:
        try:
            with seldom_collecting():
                yield from stream(
                    batches,
                    evaluator.evaluate,
                    loop=loop,
                    ahead=lambda: 2 * evaluator.window,
                    held=_HELD_ITEMS,
                    beside=watch.watch if watch else partial(end_when_dead, evaluator),
                )
        finally:
            evaluator.close()
            event_loop.run(ledger.close())
    except (LedgerError, EvaluationStopped) as error:
        if watch:
            watch.give_up(error)
        raise
    if watch:
        watch.end()
