"""Asks the reflection model, in parallel, through the ledger: a reply that was paid for is never asked for again."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from engine.usage import Usage
from udfs import event_loop
from udfs.client import Answer, ChatClient
from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, LedgerError
from udfs.flow import flow_control
from udfs.ledger import Entry, LedgerLocation, SegmentLedger, reflection_key
from udfs.prompt import Message
from udfs.records import canonical_json

# A reply that hit the endpoint's token limit is kept with this mark, so that a replay knows it, too.
_TRUNCATED = "length"
# So many characters of a request a message shows.
_SHOWN = 160


class ReflectionClient:
    """The reflection model. Used from the process's event loop; one instance a search.

    With ``replay`` it is never called, and needs no credentials.
    """

    def __init__(
        self, endpoint: Endpoint, ledger: LedgerLocation, *, run_id: str, usage: Usage, replay: bool = False
    ) -> None:
        self.endpoint = endpoint if replay else endpoint.with_secret()
        self._replay = replay
        self._location = ledger
        self._run_id = run_id
        self._usage = usage
        self._ledger: SegmentLedger | None = None
        self._client: ChatClient | None = None
        self._structured = True
        self._opening = asyncio.Lock()
        self._asking: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def ask(
        self, messages: Sequence[Message], *, sample: int, response_format: Mapping[str, Any] | None = None
    ) -> tuple[str, bool]:
        """Return the reply's text and whether it was cut off.

        ``sample`` tells several replies to one request apart. An endpoint without structured output is asked without.

        Raises:
            CallError: the call failed for good.
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
            if entry.run_id == self._run_id:
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
            return entry.output or "", entry.error_message == _TRUNCATED
        if self._replay:
            raise LedgerError(
                f"--replay: {self._location.folder} has no reply of the reflection endpoint {self.endpoint.name!r} to "
                f"the request number {sample} that begins with {messages[-1]['content'][:_SHOWN]!r}. Start the same "
                "command without --replay to have it called"
            )
        answer = await self._answer(await self._opened_client(), messages, sample, response_format)
        self._usage.add_reflection(
            attempts=answer.attempts,
            refused=answer.refused,
            prompt=answer.prompt_tokens,
            completion=answer.completion_tokens,
        )
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
            if self._client is None:
                place = (self.endpoint.provider, self.endpoint.base_url, self.endpoint.name)
                flow = flow_control(place, self.endpoint.limits.share(1), tasks=1)
                self._client = ChatClient(self.endpoint, flow, await event_loop.session())
            return self._client
