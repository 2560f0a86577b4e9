"""The one seam to the network: sends requests, retries them, and maps every foreign failure to ours."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import tenacity
from yarl import URL

from udfs.conversation import Message
from udfs.credentials import Credentials, credentials_of, masked
from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, PromptFailure, call_error
from udfs.flow import FlowControl, Sleep
from udfs.health import Health
from udfs.pacer import Clock
from udfs.protocols import WireProtocol, protocol_of
from udfs.retry_after import retry_after_s
from udfs.timeouts import Timeouts
from udfs.well_formed import well_formed

log = logging.getLogger(__name__)

# Backoff between attempts where the endpoint names no time itself: 0.5 s, doubling, jittered, at most 20 s.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
# Made once: `json.dumps` makes an encoder for each call that asks for other than its defaults.
_encode = json.JSONEncoder(ensure_ascii=False).encode
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
# English text has about four characters a token; only an estimate until the answer's usage settles it.
_CHARACTERS_PER_TOKEN = 4
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What one call brought: the text and what it cost, over all attempts that it took."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    latency_ms: float
    attempts: int
    refused: int
    finish_reason: str | None = None


@dataclass
class _Call:
    """How one call goes; mutated as its attempts are made. Times are in seconds of the client's clock."""

    started: float
    queued_s: float = 0.0
    attempts: int = 0
    refused: int = 0
    cold: int = 0


class ChatClient:
    """Calls one endpoint. Lives on one event loop in one process; never pickled."""

    def __init__(
        self,
        endpoint: Endpoint,
        flow: FlowControl,
        session: aiohttp.ClientSession,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
        health: Health | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.flow = flow
        self._session = session
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
        self._credentials = credentials or credentials_of(endpoint)
        self._protocol = protocol_of(endpoint)
        self._timeouts = Timeouts(endpoint.limits.timeout_s)
        self._url = _parsed(endpoint.url)
        self.health = health or Health(endpoint.url, clock=clock, warm_up_s=endpoint.limits.warm_up_s or 0.0)
        self.in_flight = 0
        self._told = False
        self._open = asyncio.Event()
        self._open.set()

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        inputs: Mapping[str, Any] | None = None,
        response_format: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Answer:
        """Ask the endpoint and return its answer, retrying what may pass.

        ``seed`` overrides the endpoint's own, for several samples of one request. ``inputs`` are the row's, which
        custom models get as columns.

        Raises:
            CallError: the retries are used up or useless; ``attempts`` and ``refused`` say what it took.
        """
        data = _encoded(self._protocol.body(messages, inputs, response_format=response_format, seed=seed))
        estimate = len(data) // _CHARACTERS_PER_TOKEN + (self.endpoint.sampling.max_tokens or 0)
        call = _Call(self._clock())
        try:
            # Nearly all calls end with the first attempt, and setting tenacity up costs more than sending one.
            return await self._attempt(data, estimate, call)
        except CallError as error:
            return await self._retry(data, estimate, call, error)

    async def _retry(self, data: bytes, estimate: int, call: _Call, failure: CallError) -> Answer:
        """Go on after the first attempt, which counts, as if it had been made here."""
        first: CallError | None = failure
        try:
            async for attempt in self._retrying(call):
                with attempt:
                    if first is not None:
                        failure, first = first, None
                        raise failure
                    answer = await self._attempt(data, estimate, call)
                    return replace(answer, attempts=call.attempts, refused=call.refused)
        except CallError as error:
            error.attempts, error.refused = call.attempts, call.refused
            raise
        raise AssertionError("tenacity ended without an answer or an error")  # pragma: no cover

    def _retrying(self, call: _Call) -> tenacity.AsyncRetrying:
        limits = self.endpoint.limits

        def stop(state: tenacity.RetryCallState) -> bool:
            # Our own clock, so that tests of the deadline take no time. Waiting for our own flow control is not the
            # endpoint's doing: under a tight rate it alone may take longer, and every call would lose its retries.
            spent_s = self._clock() - call.started - call.queued_s + state.upcoming_sleep
            # A refusal is the endpoint's word to wait, not a failure: only the deadline bounds how long we heed it.
            # Nor is an endpoint that is warming up: health alone says how long that may take.
            used_up = call.attempts - call.refused - call.cold >= limits.max_attempts or spent_s > limits.deadline_s
            return used_up or self.health.verdict() is not None

        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, CallError) and e.kind.is_retryable),
            wait=self._wait_s,
            stop=stop,
            sleep=self._sleep,
            reraise=True,
        )

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        """Seconds to the next attempt: what the endpoint asked for and a little more, or jittered backoff."""
        error = state.outcome.exception() if state.outcome else None
        # "Retry at once" is no time to keep, and would hammer an endpoint that says it always: backoff, then.
        if isinstance(error, CallError) and error.retry_after_s:
            return error.retry_after_s + self._rng.uniform(0.0, 0.1 * max(error.retry_after_s, 1.0))
        ceiling = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(state.attempt_number - 1, 10))
        return self._rng.uniform(ceiling / 2, ceiling)

    async def _attempt(self, data: bytes, estimate: int, call: _Call) -> Answer:
        self._check_health()
        await self._ready()
        queued_at = self._clock()
        permit = await self.flow.acquire(estimate)
        call.queued_s += self._clock() - queued_at
        try:
            # Again: while this one waited for its turn, others may have found the endpoint dead.
            self._check_health()
            call.attempts += 1
            answer = await self._observed(data)
        except CallError as error:
            call.refused += error.kind is ErrorKind.RATE_LIMITED
            if self.health.is_warming_up:
                self._tell_that_it_warms_up()
                call.cold, call.started, call.queued_s = call.cold + 1, self._clock(), 0.0
            self.flow.settle(permit, tokens=0, failure=error.kind, retry_after_s=error.retry_after_s)
            raise
        except BaseException:
            self.flow.cancel(permit)
            raise
        used = answer.prompt_tokens + answer.completion_tokens
        self.flow.settle(permit, tokens=used, failure=None, retry_after_s=None)
        return answer

    def _tell_that_it_warms_up(self) -> None:
        if not self._told:
            self._told = True
            most_min = (self.endpoint.limits.warm_up_s or 0.0) / 60
            log.warning("%s had scaled to zero and is warming up; waiting for it, up to %.0f min", self._url, most_min)

    async def _ready(self) -> None:
        """Wait for credentials, before the call takes its place: their server's delays are not the endpoint's."""
        asked_at = self._clock()
        try:
            await self._credentials.header()
        except CallError as error:
            self.health.failed(error.kind, error.message, took_s=self._clock() - asked_at)
            raise

    async def _observed(self, data: bytes) -> Answer:
        """Send, and let the endpoint's health know how it ended."""
        if not self._open.is_set():
            await self._open.wait()
        sent_at = self._clock()
        self.in_flight += 1
        try:
            answer = _with_estimate(await self._send(data), len(data))
        except PromptFailure:
            self.health.answered()
            raise
        except CallError as error:
            self.health.failed(error.kind, error.message, took_s=self._clock() - sent_at)
            raise
        finally:
            self.in_flight -= 1
        self.health.answered(took_s=self._clock() - sent_at)
        return answer

    def hold(self) -> None:
        """Send nothing until :meth:`release`: calls in flight may end, all others wait."""
        self._open.clear()

    def release(self) -> None:
        """Send again."""
        self._open.set()

    def _check_health(self) -> None:
        if (reason := self.health.verdict()) is not None:
            raise call_error(reason.kind, f"{reason.message}; not asked again")

    async def _send(self, data: bytes) -> Answer:
        header = await self._credentials.header()
        try:
            return await self._post(data, header)
        except CallError as error:
            # An expired token is no refusal: with another one the call goes out again at once, within its attempt.
            renewed = await self._credentials.refused(header) if error.kind is ErrorKind.CREDENTIALS else None
            if renewed is None:
                raise
        return await self._post(data, renewed)

    async def _post(self, data: bytes, header: str) -> Answer:
        started = self._clock()
        url = self.endpoint.url
        try:
            async with (
                self._timeouts.one(),
                self._session.post(
                    self._url,
                    data=data,
                    headers=_JSON | {"Authorization": header} if header else _JSON,
                    timeout=_NO_TIMEOUT,  # ours is cheaper
                    allow_redirects=False,  # a redirected POST becomes a GET, and its answer the page to log in
                ) as response,
            ):
                status, headers, raw = response.status, response.headers, await response.read()
        except TimeoutError as error:
            message = f"no answer from {url} within {self._timeouts.seconds:g} s"
            raise call_error(ErrorKind.TIMEOUT, message) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise call_error(ErrorKind.REJECTED, f"{url!r} is not a URL; mend base_url") from error
        except aiohttp.ClientResponseError as error:
            # Not chained: its repr holds the request's headers.
            said = masked(error.message, header)
            raise call_error(ErrorKind.NETWORK, f"the connection to {url} failed: {said}") from None
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise call_error(ErrorKind.NETWORK, f"the connection to {url} failed: {reason}") from error
        if status != 200:
            raise _status_error(status, headers, raw, url, header)
        return _parse_answer(raw, url, header, self._protocol, latency_ms=(self._clock() - started) * 1000)


def _parsed(url: str) -> URL | str:
    """Parse the URL once; one that can't be parsed is left to aiohttp, which says so when it is asked for."""
    try:
        return URL(url)
    except ValueError:
        return url


def _encoded(body: Mapping[str, Any]) -> bytes:
    text = _encode(body)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return well_formed(text).encode()


def _with_estimate(answer: Answer, request_bytes: int) -> Answer:
    """Estimate the tokens of an answer without usage: budgets must bound endpoints that report none, too."""
    if answer.prompt_tokens or answer.completion_tokens:
        return answer
    return replace(
        answer,
        prompt_tokens=request_bytes // _CHARACTERS_PER_TOKEN,
        completion_tokens=len(answer.text) // _CHARACTERS_PER_TOKEN,
    )


# Codes that endpoints put into `error.code` or `error.type` of a 400; the status alone does not tell these apart.
_CONTEXT_LENGTH_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
# Ends of an answer that are the server's failure, behind HTTP 200 (gateways and vLLM).
_FAILED_ENDS = frozenset({"error", "abort"})
_CONTENT_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})


def _status_error(status: int, headers: Mapping[str, str], raw: bytes, url: str, sent: str) -> CallError:
    """Map an HTTP failure to a kind, by status and by the body's error code, never by its wording."""
    codes, detail = _error_body(raw, sent)
    if 300 <= status < 400:
        detail = f"it redirects to {headers.get('Location', 'nowhere')!r}; set base_url to where the endpoint is"
        detail = masked(detail, sent)
    if status == 429:
        kind = ErrorKind.RATE_LIMITED
    elif status in {401, 403}:
        kind = ErrorKind.CREDENTIALS
    elif status in {408, 504}:
        kind = ErrorKind.TIMEOUT
    elif status in {503, 529}:  # 529: what some hosted models answer when they have too much to do
        kind = ErrorKind.OVERLOADED
    elif status >= 500:
        kind = ErrorKind.SERVER_ERROR
    elif codes & _CONTEXT_LENGTH_CODES or status == 413:
        kind = ErrorKind.CONTEXT_LENGTH
    elif codes & _CONTENT_FILTER_CODES:
        kind = ErrorKind.CONTENT_FILTER
    else:
        kind = ErrorKind.REJECTED
    return call_error(kind, f"HTTP {status} from {url}: {detail}", retry_after_s=retry_after_s(headers))


def _error_body(raw: bytes, sent: str) -> tuple[set[str], str]:
    """Return the error codes in a failure's body, and its message without the credentials, cut to 300 characters."""
    text = masked(raw.decode("utf-8", "replace"), sent)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return set(), text[:300]
    found = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(found, dict):
        return set(), well_formed(masked(str(found), sent))[:300]
    inner = found.get("innererror")
    codes = {str(found.get("code")), str(found.get("type")), str(found.get("error_code"))} | (
        {str(inner.get("code"))} if isinstance(inner, dict) else set()
    )
    return codes, well_formed(masked(str(found.get("message", text)), sent))[:300]


def _parse_answer(raw: bytes, url: str, sent: str, protocol: WireProtocol, *, latency_ms: float) -> Answer:
    try:
        text, prompt_tokens, completion_tokens, reason = protocol.read(json.loads(raw))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        head = masked(raw.decode("utf-8", "replace"), sent)[:120]
        message = f"{url} answered 200 but not with {protocol.answer_name}: {head}"
        raise call_error(ErrorKind.BAD_RESPONSE, message) from error
    if reason in _FAILED_ENDS or text is None:
        raise call_error(
            ErrorKind.BAD_RESPONSE, f"{url} answered 200, but without an answer (finish_reason {reason!r})"
        )
    if reason == "content_filter":
        raise call_error(ErrorKind.CONTENT_FILTER, "the endpoint's content filter withheld the answer")
    return Answer(well_formed(str(text)), prompt_tokens, completion_tokens, latency_ms, 1, 0, reason)
