"""Asks the reflection model, in parallel, through the ledger: a reply that was paid for is never asked for again."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.serving import ready, renewed
from engine.sharing import Sharing
from engine.token_estimate import tokens_in
from engine.usage import Usage
from udfs import event_loop
from udfs.allowance import Allowance, Purse
from udfs.client import Answer, ChatClient
from udfs.conversation import Message
from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, LedgerError, call_error
from udfs.flow import FlowControl, flow_control
from udfs.ledger import Entry, LedgerLocation, SegmentLedger, reflection_key
from udfs.records import canonical_json

# A reply that hit the endpoint's token limit is kept with this mark, so that a replay knows it, too.
_TRUNCATED = "length"
# So many characters of a request a message shows.
_SHOWN = 160
# A reply's length where the endpoint has no max_tokens; what a call may take is reserved before it is made.
_REPLY_TOKENS = 1024


class ReflectionClient:
    """The reflection model. Used from the process's event loop; one instance a search.

    With ``replay`` it is never called, and needs no credentials. ``allowance`` says what may still be spent; it is
    asked before calls, and nothing is called that it does not cover. ``sharing`` shares the endpoint's limits with the
    optimizations that run beside this one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: LedgerLocation,
        *,
        run_id: str,
        usage: Usage,
        replay: bool = False,
        allowance: Callable[[], Allowance] = Allowance,
        sharing: Sharing | None = None,
    ) -> None:
        self.endpoint = endpoint if replay else ready(endpoint)
        self._replay = replay
        self._location = ledger
        self._run_id = run_id
        self._usage = usage
        self._ledger: SegmentLedger | None = None
        self._client: ChatClient | None = None
        self._structured = True
        self._counted: set[str] = set()
        self._allowance = allowance
        self._purse = Purse(Allowance(), clock=time.time)
        self._under_way = 0
        self._opening = asyncio.Lock()
        self._sharing = sharing
        self._lease: contextlib.ExitStack | None = None
        self._leasing = asyncio.Lock()
        self._flow: FlowControl | None = None
        self._asking: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def ask(
        self, messages: Sequence[Message], *, sample: int, response_format: Mapping[str, Any] | None = None
    ) -> tuple[str, bool]:
        """Return the reply's text and whether it was cut off.

        ``sample`` tells several replies to one request apart. An endpoint without structured output is asked without.

        Raises:
            CallError: the call failed for good; of the kind ``budget``, it was not made.
            LedgerError: a replay asks for what the ledger lacks.
        """
        ledger = await self._opened()
        key = reflection_key(self.endpoint.endpoint_id, canonical_json(list(messages)), sample)
        # The same request may be under way already: the second waits, and finds the first's reply.
        async with self._asking.setdefault(key, asyncio.Lock()):
            return await self._ask_once(ledger, key, messages, sample, response_format)

    async def _ask_once(
        self,
        ledger: SegmentLedger,
        key: str,
        messages: Sequence[Message],
        sample: int,
        response_format: Mapping[str, Any] | None,
    ) -> tuple[str, bool]:
        entry = ledger.find(key)
        if entry is not None:
            if key in self._counted:
                pass  # asked before in this very search, which has counted it
            elif entry.run_id == self._run_id:
                # Paid for by this run before it was interrupted.
                self._usage.resumed += 1
                self._usage.add_reflection(
                    attempts=entry.attempts,
                    refused=0,
                    prompt=entry.prompt_tokens,
                    completion=entry.completion_tokens,
                )
            else:
                self._usage.reused += 1
                self._usage.saved_reflection.add(entry.prompt_tokens, entry.completion_tokens)
            self._counted.add(key)
            return entry.output or "", entry.error_message == _TRUNCATED
        if self._replay:
            raise LedgerError(
                f"--replay: {self._location.folder} has no reply of the reflection endpoint {self.endpoint.name!r} to "
                f"the request number {sample} that begins with {messages[-1]['content'][:_SHOWN]!r}. Start the same "
                "command without --replay to have it called"
            )
        answer = await self._affordable_answer(messages, sample, response_format)
        self._counted.add(key)
        truncated = answer.finish_reason == _TRUNCATED
        ledger.keep(
            Entry(
                key=key,
                kind="reflection",
                endpoint_id=self.endpoint.endpoint_id,
                candidate_id="",
                row_id="",
                sample=sample,
                output=answer.text,
                error_kind=None,
                error_message=_TRUNCATED if truncated else None,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
                latency_ms=answer.latency_ms,
                attempts=answer.attempts,
                run_id=self._run_id,
                answered_at=time.time(),
            )
        )
        return answer.text, truncated

    async def _affordable_answer(
        self, messages: Sequence[Message], sample: int, response_format: Mapping[str, Any] | None
    ) -> Answer:
        """Reserve what the call may take, make it, and count what it took."""
        tokens, cost = self._foreseen(messages)
        if not self._under_way:
            # What is left changes between steps; within one, the calls under way are counted by the purse.
            self._purse = Purse(self._allowance(), clock=time.time)
        purse = self._purse
        self._under_way += 1
        try:
            if purse.is_limited and not await purse.reserve(tokens, cost):
                raise call_error(ErrorKind.BUDGET, "the budget does not cover another call to the reflection model")
            took_tokens, took_cost = 0.0, 0.0
            try:
                client = await self._opened_client()
                await self._take_lease()
                answer = await self._answer(client, messages, sample, response_format)
                took_tokens = answer.prompt_tokens + answer.completion_tokens
                took_cost = self._price(answer.prompt_tokens, answer.completion_tokens)
            finally:
                if purse.is_limited:
                    purse.settle(tokens, cost, tokens=took_tokens, cost=took_cost)
            self._usage.add_reflection(
                attempts=answer.attempts,
                refused=answer.refused,
                prompt=answer.prompt_tokens,
                completion=answer.completion_tokens,
            )
            return answer
        finally:
            self._under_way -= 1
            if not self._under_way and self._lease is not None:
                self._lease.close()
                self._lease = None

    async def _take_lease(self) -> None:
        """Hold a part of the endpoint's limits while calls are under way, where other optimizations use it, too."""
        if self._sharing is None or self._flow is None:
            return
        sharing, limits, place = self._sharing, self.endpoint.limits, self.endpoint.place
        async with self._leasing:
            if self._lease is None:
                held = contextlib.ExitStack()
                # In a thread, because it may wait for others, whose calls run on this loop.
                lease = await asyncio.to_thread(held.enter_context, sharing.lease({place: limits}))
                self._lease = held
                self._flow.limit(limits.share(1, part=lease.parts.of(place)))

    def _foreseen(self, messages: Sequence[Message]) -> tuple[float, float]:
        prompt = sum(tokens_in(message["content"]) for message in messages)
        reply = self.endpoint.sampling.max_tokens or _REPLY_TOKENS
        return prompt + reply, self._price(prompt, reply)

    def _price(self, prompt: int, completion: int) -> float:
        return self.endpoint.price.cost(prompt, completion) if self.endpoint.price else 0.0

    async def flush(self) -> None:
        """Put what was answered so far on storage."""
        if self._ledger is not None:
            await self._ledger.close()

    async def _answer(
        self, client: ChatClient, messages: Sequence[Message], sample: int, response_format: Mapping[str, Any] | None
    ) -> Answer:
        wanted = response_format if self._structured else None
        # A seed of its own for each sample: servers that honour it then repeat themselves run for run.
        seed = sample + 1
        try:
            return await client.ask(messages, response_format=wanted, seed=seed)
        except CallError as error:
            if wanted is None or error.kind is not ErrorKind.REJECTED:
                raise
            self._structured = False
            # Neither a schema nor a seed is understood everywhere.
            return await client.ask(messages)

    async def _opened(self) -> SegmentLedger:
        async with self._opening:
            if self._ledger is None:
                known = self._location.entries(kinds=("reflection",), endpoint_ids=(self.endpoint.endpoint_id,))
                self._ledger = SegmentLedger(self._location, f"reflection-{self._run_id}", known=known)
            return self._ledger

    async def _opened_client(self) -> ChatClient:
        async with self._opening:
            # In a thread: a login may be asked over the network for its next token.
            self.endpoint = await asyncio.to_thread(renewed, self.endpoint)
            if self._client is None or self._client.endpoint is not self.endpoint:
                self._flow = self._flow or flow_control(self.endpoint.place, self.endpoint.limits.share(1), tasks=1)
                self._client = ChatClient(self.endpoint, self._flow, await event_loop.session())
            return self._client
