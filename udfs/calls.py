"""The calls of one task: its clients, what they share of the cluster's limits, and what they may spend."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from udfs import event_loop
from udfs.allowance import Purse
from udfs.client import Answer, ChatClient
from udfs.conversation import Message
from udfs.endpoint import Endpoint, Limits, tightest
from udfs.errors import CallError, ErrorKind, RowError, call_error
from udfs.flow import FlowControl, flow_control
from udfs.ledger import Entry
from udfs.parts import Parts, Place
from udfs.plan import EvaluationPlan
from udfs.program import Program, ProgramThreads
from udfs.prompt import Prompt
from udfs.rollout import Item
from udfs.tally import Tally


class Calls:
    """Asks the endpoints of a plan: the target's first, then the judges'. Lives on one event loop."""

    def __init__(self, plan: EvaluationPlan, endpoints: Sequence[Endpoint], tally: Tally) -> None:
        self._endpoints = tuple(endpoints)
        self._tally = tally
        self._tasks = self._planned_tasks = plan.tasks
        self._parts = plan.parts
        self._clients: dict[tuple[str, str, str, str], ChatClient] = {}
        self._flows: dict[Place, FlowControl] = {}
        self._program = ProgramThreads(self._most())
        self._purse = Purse(plan.allowance.share(plan.tasks), clock=time.time)
        self.window = self._most()

    async def open(self) -> None:
        """Make all clients, so that a judge without its key stops the run before anything is paid.

        Raises:
            InputError: a key can't be used.
        """
        called = [endpoint for endpoint in self._endpoints if not isinstance(endpoint, Program)]
        if len(self._clients) < len({_key(endpoint) for endpoint in called}):
            for endpoint in called:
                await self._client(endpoint)

    async def predict(self, endpoint: Endpoint, prompt: Prompt, inputs: Mapping[str, Any]) -> Answer:
        """Ask the target about a row, be it an endpoint or a program.

        Raises:
            CallError: the call failed, or the budget does not cover it.
        """
        if isinstance(endpoint, Program):
            if not await self._purse.reserve(0.0, 0.0):  # what a program spends is not known; time is
                raise call_error(ErrorKind.BUDGET, "not asked: the budget is spent")
            try:
                return await self._program.ask(endpoint, prompt, inputs)
            finally:
                self._purse.settle(0.0, 0.0, tokens=0.0, cost=0.0)
        return await self.ask(endpoint, prompt.messages(inputs), inputs=inputs)

    def close(self) -> None:
        """Let go of the program's threads."""
        self._program.close()

    async def ask(self, endpoint: Endpoint, messages: Sequence[Message], **options: Any) -> Answer:
        """Ask, if the allowance covers it; ``options`` are those of :meth:`udfs.client.ChatClient.ask`.

        Raises:
            CallError: the call failed, or the budget does not cover it.
        """
        client, purse = self._clients.get(_key(endpoint)) or await self._client(endpoint), self._purse
        if not purse.is_limited:
            return await client.ask(messages, **options)
        prompt, completion = self._tally.foreseen(endpoint, messages)
        reserved, cost = prompt + completion, _cost(endpoint, prompt, completion)
        if not await purse.reserve(reserved, cost):
            raise call_error(ErrorKind.BUDGET, "not asked: the budget is spent")
        answer: Answer | None = None
        try:
            answer = await client.ask(messages, **options)
        finally:
            prompt, completion = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
            if answer is not None:
                self._tally.answered(endpoint, completion)
            purse.settle(reserved, cost, tokens=prompt + completion, cost=_cost(endpoint, prompt, completion))
        return answer

    @property
    def in_flight(self) -> int:
        """Calls under way now."""
        return sum(client.in_flight for client in self._clients.values()) + self._program.in_flight

    @property
    def answered_at(self) -> float:
        """When the latest answer came, in Unix time; 0 before the first."""
        return max([client.health.answered_at for client in self._clients.values()] + [self._program.answered_at])

    def verdict(self) -> RowError | None:
        """Return why there is no use in going on: one of the endpoints is dead or refuses us."""
        return next((bad for client in self._clients.values() if (bad := client.health.verdict())), None)

    @property
    def is_warming_up(self) -> bool:
        """One of the endpoints had scaled to zero, and is waited for."""
        return any(client.health.is_warming_up for client in self._clients.values())

    def hold(self) -> None:
        """Send nothing until :meth:`release`; calls in flight may end."""
        for client in self._clients.values():
            client.hold()

    def release(self) -> None:
        """Send again."""
        for client in self._clients.values():
            client.release()

    def share(self, tasks: int) -> None:
        """Share the cluster's limits among so many tasks from now on: others have ended."""
        self._tasks = tasks
        self._keep_limits()

    def take(self, parts: Parts) -> None:
        """Keep to other parts of the cluster's limits from now on: other evaluations have begun or ended."""
        self._parts = parts
        self._keep_limits()

    @property
    def keeps_limits(self) -> bool:
        """Whether no more calls are in flight than the limits of now allow: those under way are not broken off."""
        return all(flow.in_flight <= (self._share(place).max_concurrency or 1) for place, flow in self._flows.items())

    def _keep_limits(self) -> None:
        self.window = self._most()
        for place, flow in self._flows.items():
            flow.limit(self._share(place))

    async def _client(self, endpoint: Endpoint) -> ChatClient:
        """Return the client of ``endpoint``; clients that talk to the same place share one flow control."""
        key, place = _key(endpoint), endpoint.place
        if key not in self._clients:
            session = await event_loop.session()
            if place not in self._flows:
                self._flows[place] = flow_control(place, self._share(place), tasks=self._planned_tasks)
            # Checked again: another item may have made it while this one waited for the session.
            self._clients.setdefault(key, ChatClient(endpoint, self._flows[place], session))
        return self._clients[key]

    def _share(self, place: Place) -> Limits:
        whole = tightest([endpoint.limits for endpoint in self._endpoints if endpoint.place == place])
        return whole.share(self._tasks, part=self._parts.of(place))

    def _most(self) -> int:
        target = self._endpoints[0]
        return target.limits.share(self._tasks, part=self._parts.of(target.place)).max_concurrency or 1


def entry_of(
    plan: EvaluationPlan, item: Item, kind: str, key: str, endpoint: Endpoint, outcome: Answer | CallError
) -> Entry:
    """Return what the ledger keeps of a call for ``item``: its answer, or the prompt's own failure."""
    answer = outcome if isinstance(outcome, Answer) else None
    failure = outcome if isinstance(outcome, CallError) else None
    return Entry(
        key=key,
        kind=kind,
        endpoint_id=endpoint.endpoint_id,
        candidate_id=item.candidate_id,
        row_id=item.row_id,
        sample=plan.verdict_sample if kind == "verdict" else plan.sample,
        output=answer.text if answer else None,
        error_kind=failure.kind.value if failure else None,
        error_message=failure.message if failure else None,
        prompt_tokens=answer.prompt_tokens if answer else 0,
        completion_tokens=answer.completion_tokens if answer else 0,
        latency_ms=answer.latency_ms if answer else 0.0,
        attempts=outcome.attempts,
        run_id=plan.run_id,
        answered_at=time.time(),
    )


def missing(what: str, item: Item) -> CallError:
    """Return what a replay says of a pair that the ledger has nothing for."""
    inputs = item.inputs if len(item.inputs) <= _SHOWN_INPUTS else f"{item.inputs[:_SHOWN_INPUTS]}…"
    return call_error(
        ErrorKind.NOT_IN_LEDGER,
        f"the ledger has no {what} for candidate {item.candidate_id}, row {item.row_id}, inputs {inputs}",
    )


# So many characters of a row's inputs a message shows.
_SHOWN_INPUTS = 160


def _cost(endpoint: Endpoint, prompt: int, completion: int) -> float:
    return endpoint.price.cost(prompt, completion) if endpoint.price else 0.0


def _key(endpoint: Endpoint) -> tuple[str, str, str, str]:
    return (*endpoint.place, endpoint.endpoint_id)
