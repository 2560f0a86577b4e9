"""Tokens of an OAuth 2.0 server, fetched with a client's id and secret (RFC 6749, section 4.4) and renewed in time."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import aiohttp
import tenacity

from udfs.credentials import bearer
from udfs.errors import CallError, ErrorKind, InputError, call_error
from udfs.flow import Sleep
from udfs.keys import OAuthClient
from udfs.pacer import Clock
from udfs.retry_after import retry_after_s

log = logging.getLogger(__name__)

# A token is renewed this long before it ends: a minute covers calls under way and a slow server, and a token that
# lives for 30 s must not spend most of its life being renewed.
_LONGEST_MARGIN_S, _MARGIN_SHARE = 60.0, 0.2
# Tasks that started together got their tokens together: renewals are spread over a tenth of a token's life.
_SPREAD_SHARE = 0.1
# An endpoint that refuses single calls for reasons of its own must not make each of them fetch a token.
_FORCED_EVERY_S = 5.0
# A server that is down is asked again after 0.5 s, doubling, jittered, at most 10 s apart; the calls that waited for
# it fail after half a minute, each to be retried under its own deadline, while its endpoint is not yet taken for dead.
_FIRST_WAIT_S, _LONGEST_WAIT_S, GIVE_UP_S = 0.5, 10.0, 30.0
# After it has refused or given up, the server is left alone for so long.
_HOLD_S = 5.0
_TIMEOUT_S = 10.0
_MOST_BYTES = 1_000_000
# RFC 6749, section 5.2: the server knows this client or this request not at all, and will not tomorrow.
_REFUSALS = frozenset({400, 401, 403})


@dataclass(frozen=True)
class _Token:
    """Times are in seconds of the clock; ``ends_at`` is a little before the server ends it."""

    header: str = field(repr=False)
    renew_at: float
    ends_at: float
    margin_s: float


class OAuthCredentials:
    """Fetches a token when one is first needed, and another before it ends; one request at a time.

    While a token still holds, calls go on with it and the next one is fetched beside them. ``give_up_s`` bounds how
    long a server that fails is asked again before the calls that wait are told; 0 asks once.
    """

    def __init__(
        self,
        client: OAuthClient,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._client = client
        self._client_id = client.client_id if isinstance(client.client_id, str) else client.client_id.resolve().value
        self._secret = client.client_secret.resolve().value.strip()
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
        self._give_up_s = give_up_s
        self._token: _Token | None = None
        self._renewal: asyncio.Task[_Token] | None = None
        self._failure: CallError | None = None
        self._hold_until = -math.inf
        self._forced_at = -math.inf

    async def header(self) -> str:
        """Return the token's header; waits only where there is no token that holds."""
        token, now = self._token, self._clock()
        if token is not None and now < token.renew_at:
            return token.header
        if token is not None and now < token.ends_at:
            if now >= self._hold_until:
                self._renew()
            return token.header
        if self._failure is not None and now < self._hold_until:
            raise call_error(self._failure.kind, self._failure.message)
        # Shielded: the call that waits may be cancelled, the others wait on.
        return (await asyncio.shield(self._renew())).header

    async def refused(self, header: str) -> str | None:
        """Return a token that was fetched after ``header``'s: by another call by now, or else at once."""
        token, now = self._token, self._clock()
        if token is not None and token.header == header:
            if now < token.ends_at:
                if now - self._forced_at < min(_FORCED_EVERY_S, token.margin_s):
                    return None
                self._forced_at = now
            self._token = None
        renewed = await self.header()
        return renewed if renewed != header else None

    def _renew(self) -> asyncio.Task[_Token]:
        if self._renewal is None:
            self._renewal = asyncio.get_running_loop().create_task(self._renewed())
            self._renewal.add_done_callback(self._ended)
        return self._renewal

    def _ended(self, renewal: asyncio.Task[_Token]) -> None:
        self._renewal = None
        if renewal.cancelled():
            return
        error = renewal.exception()  # looked at, for there may be nobody who waits
        if isinstance(error, CallError):
            self._failure, self._hold_until = error, self._clock() + _HOLD_S
            log.warning("%s", error.message)
        elif error is None:
            self._token, self._failure = renewal.result(), None

    async def _renewed(self) -> _Token:
        started = self._clock()

        def wait_s(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked_for_s = (error.retry_after_s or 0.0) if isinstance(error, CallError) else 0.0
            ceiling = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(state.attempt_number - 1, 10))
            return asked_for_s + self._rng.uniform(ceiling / 2, ceiling)

        def stop(state: tenacity.RetryCallState) -> bool:
            return self._clock() - started + state.upcoming_sleep > self._give_up_s

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, CallError) and e.kind.is_retryable),
            wait=wait_s,
            stop=stop,
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._fetch)

    async def _fetch(self) -> _Token:
        asked_at = self._clock()  # its life began after this, and at the latest when the answer arrived
        body = await self._post()
        kind = str(body.get("token_type", "bearer"))
        if kind.lower() != "bearer":
            raise self._error(ErrorKind.CREDENTIALS, f"gives tokens of the type {kind!r}; only bearer is understood")
        try:
            header = bearer(str(body["access_token"] or ""))
        except (KeyError, InputError):
            header = ""
        if not header:
            raise self._error(ErrorKind.BAD_RESPONSE, "answered without an access_token that can be sent")
        life_s = _life_s(body.get("expires_in"))
        margin_s = min(_LONGEST_MARGIN_S, _MARGIN_SHARE * life_s)
        spread_s = self._rng.uniform(0.0, _SPREAD_SHARE * life_s) if life_s < math.inf else 0.0
        end = asked_at + life_s
        return _Token(header, end - margin_s - spread_s, end - margin_s / 2, margin_s)

    async def _post(self) -> Mapping[str, Any]:
        client = self._client
        # RFC 6749, section 2.3.1: form-encoded, then HTTP Basic, which every server must take.
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
        headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}", "Accept": "application/json"}
        form = {"grant_type": "client_credentials"} | ({"scope": client.scope} if client.scope else {})
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            # A session of its own: one request in a token's life is worth no connection kept warm.
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(client.token_url, data=form, headers=headers, allow_redirects=False) as response,
            ):
                status, raw = response.status, await response.content.read(_MOST_BYTES)
                wait_s = retry_after_s(response.headers)
        except TimeoutError as error:
            raise self._error(ErrorKind.TIMEOUT, f"did not answer within {_TIMEOUT_S:g} s") from error
        except aiohttp.ClientResponseError as error:
            # Not chained: its repr holds the request's headers.
            raise self._error(ErrorKind.NETWORK, f"answered what is not HTTP: {error.message}") from None
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise self._error(ErrorKind.NETWORK, f"can't be reached: {reason}") from error
        body = _json_object(raw)
        if status == 200 and body is not None:
            return body
        if status == 200:
            raise self._error(ErrorKind.BAD_RESPONSE, "answered what is not a JSON object; check token_url")
        raise self._status_error(status, body or {}, wait_s)

    def _status_error(self, status: int, body: Mapping[str, Any], wait_s: float | None) -> CallError:
        # Only the fields that the standard gives to people: whatever else stands in the body may repeat the request.
        said = ", ".join(str(body[key])[:200] for key in ("error", "error_description") if body.get(key))
        said = f" ({said})" if said else ""
        if status in {408, 429} or status >= 500:
            return self._error(ErrorKind.SERVER_ERROR, f"answered {status}{said}", retry_after_s=wait_s)
        if status in _REFUSALS:
            mend = "check client_id, client_secret and scope"
            return self._error(
                ErrorKind.CREDENTIALS, f"refuses the client {self._client.client_id!r}: {status}{said}; {mend}"
            )
        return self._error(ErrorKind.CREDENTIALS, f"answered {status}{said}; check token_url")

    def _error(self, kind: ErrorKind, said: str, *, retry_after_s: float | None = None) -> CallError:
        message = f"the token server {self._client.token_url} {said}"
        for secret in (self._secret, quote_plus(self._secret)):
            message = message.replace(secret, "***") if secret else message
        return call_error(kind, message, retry_after_s=retry_after_s)


def _life_s(expires_in: Any) -> float:
    """Return the seconds that a token lives; without a number it holds until it is refused."""
    try:
        life_s = float(expires_in)
    except (TypeError, ValueError):
        return math.inf
    return life_s if life_s > 0 else math.inf


def _json_object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
