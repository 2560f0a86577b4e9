"""Tokens that expire: when they are renewed, by how many requests, and what is told when there is none."""

import asyncio
import math
import random

import pytest
from fake_time import FakeTime
from token_world import CLIENT_SECRET, TOKEN_MARK, TokenWorld, trouble

from udfs.errors import CallError, ErrorKind
from udfs.keys import OAuthClient, Secret
from udfs.oauth import OAuthCredentials


def over(world, steps, *, seed=1, **options):
    """Run ``steps(credentials, time)`` against a world's token server, on a clock that only the steps move."""

    async def run():
        time = FakeTime()
        chance = random.Random(seed)
        return await steps(
            OAuthCredentials(world.client, clock=time.clock, sleep=time.sleep, rng=chance, **options), time
        )

    with world:
        return asyncio.run(run())


async def settled(credentials):
    """Wait for the renewal that runs beside the calls, if one does."""
    if credentials._renewal is not None:
        await asyncio.wait([credentials._renewal])


def test_a_token_is_asked_for_as_the_standard_says():
    """Grant type and scope in the form, id and secret in the header; the server of these tests checks the header."""

    async def steps(credentials, _):
        return await credentials.header()

    world = TokenWorld()
    assert over(world, steps).startswith(f"Bearer {TOKEN_MARK}")
    assert world.forms == [{"grant_type": "client_credentials", "scope": "all-apis"}]


@pytest.mark.parametrize(("life_s", "margin_s", "spread_s"), [(1, 0.2, 0.1), (30, 6, 3), (3600, 60, 360)])
def test_a_token_is_renewed_before_it_ends_and_nobody_waits(life_s, margin_s, spread_s):
    """A fifth of its life before the end, a minute at most, and some earlier; calls go on with the old one."""

    async def steps(credentials, time):
        first, start = await credentials.header(), time.now
        time.now = start + life_s - margin_s - spread_s - 0.001
        assert (await credentials.header(), credentials._renewal, len(world.forms)) == (first, None, 1)
        time.now = start + life_s - margin_s + 0.001
        assert await credentials.header() == first
        await settled(credentials)
        second = await credentials.header()
        assert (second != first, len(world.forms)) == (True, 2)
        time.now += life_s
        assert await credentials.header() not in {first, second}

    world = TokenWorld(life_s)
    over(world, steps)


def test_tasks_that_start_together_do_not_renew_together():
    """Two hundred tokens of one moment are renewed all over a tenth of their life."""

    async def steps(credentials, time):
        at = []
        for seed in range(200):
            credentials._rng = random.Random(seed)
            at.append((await credentials._renewed()).renew_at - time.now)
        return at

    at = over(TokenWorld(30.0), steps)
    assert 21.0 <= min(at) < 21.3
    assert 23.7 < max(at) <= 24.0
    tenths = [sum(21.0 + n * 0.3 <= one < 21.3 + n * 0.3 for one in at) for n in range(10)]
    assert max(tenths) < 50


def test_one_renewal_serves_all_who_wait():
    """A hundred calls without a token make one request; one that is cancelled takes nothing from the others."""

    async def steps(credentials, _):
        waiting = [asyncio.create_task(credentials.header()) for _ in range(100)]
        await asyncio.sleep(0.02)
        waiting[0].cancel()
        return await asyncio.gather(*waiting, return_exceptions=True)

    world = TokenWorld(delay_s=0.2)
    first, *others = over(world, steps)
    assert isinstance(first, asyncio.CancelledError)
    assert (len(set(others)), len(world.forms)) == (1, 1)


def test_a_token_server_that_is_down_for_a_while_is_asked_again():
    """Outages, refusals to serve, gateways' pages and broken answers pass; waits grow and heed what is asked for."""

    async def steps(credentials, time):
        return await credentials.header(), time.slept

    troubles = [
        trouble(503),
        trouble(429, {"Retry-After": "7"}),
        trouble(500, error="server_error"),
        trouble(200, nothing="of use"),
        trouble(408),
    ]
    world = TokenWorld(troubles=troubles)
    header, slept = over(world, steps)
    assert header.startswith("Bearer ")
    bounds = [(0.25, 0.5), (7.5, 8.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0)]
    assert all(low <= wait <= high for wait, (low, high) in zip(slept, bounds, strict=True))


def test_calls_go_on_with_a_token_that_holds_while_its_server_is_down():
    """A server that fails is no reason to wait before the token ends, nor to ask it for every call."""

    async def steps(credentials, time):
        first, start = await credentials.header(), time.now
        time.now = start + 24.5
        world.troubles = [trouble(503)] * 3 + [trouble(401, error="invalid_client")]
        for _ in range(50):
            assert await credentials.header() == first
        await settled(credentials)
        time.now = start + 26.9  # it was refused now, and is left alone for a while
        for _ in range(50):
            assert await credentials.header() == first
            await asyncio.sleep(0)
        assert len(world.forms) == 5
        time.now = start + 60
        assert await credentials.header() != first

    world = TokenWorld()
    over(world, steps)


def test_a_token_server_that_stays_down_is_told_as_an_outage():
    """After half a minute the calls that wait fail with what a retry may mend; then the server is left alone."""

    async def steps(credentials, time):
        start = time.now
        with pytest.raises(CallError) as raised:
            await credentials.header()
        asked, spent_s = len(world.forms), time.now - start
        with pytest.raises(CallError, match="answered 503"):
            await credentials.header()
        assert len(world.forms) == asked
        time.now += 5.1
        with pytest.raises(CallError):
            await credentials.header()
        assert len(world.forms) > asked
        return raised.value, spent_s

    world = TokenWorld(troubles=[trouble(503, error_description="in maintenance")] * 99)
    error, spent_s = over(world, steps)
    assert (error.kind, error.kind.is_retryable) == (ErrorKind.SERVER_ERROR, True)
    assert 20 < spent_s <= 30
    assert "/token answered 503 (in maintenance)" in error.message


def test_a_token_server_that_is_not_there_is_told_as_an_outage():
    """Nobody listens: the message names the address, and that it is the token server's."""
    client = OAuthClient("http://127.0.0.1:9/token", "me", Secret(CLIENT_SECRET))
    with pytest.raises(CallError, match=r"the token server http://127.0.0.1:9/token can't be reached") as raised:
        asyncio.run(OAuthCredentials(client, give_up_s=0).header())
    assert raised.value.kind is ErrorKind.NETWORK


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "invalid_scope"), (401, "invalid_client"), (403, "access_denied"), (404, "token_url"), (302, "token_url")],
)
def test_a_refusal_is_told_at_once_and_without_the_secret(status, said):
    """A server that says no is asked once; what it repeats of the secret is masked."""

    async def steps(credentials, time):
        with pytest.raises(CallError) as raised:
            await credentials.header()
        return raised.value, time.slept

    body = {"error": said, "error_description": f"secret {CLIENT_SECRET} is not it", "request": CLIENT_SECRET}
    world = TokenWorld(troubles=[trouble(status, {"Location": "/login"}, **body)])
    error, slept = over(world, steps)
    assert (error.kind, slept, len(world.forms)) == (ErrorKind.CREDENTIALS, [], 1)
    assert (str(status) in error.message, said in error.message, "***" in error.message) == (True, True, True)
    assert CLIENT_SECRET not in f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"access_token": "x", "token_type": "mac"}, ErrorKind.CREDENTIALS),
        ({"access_token": "", "token_type": "bearer"}, ErrorKind.BAD_RESPONSE),
        ({"access_token": "x\r\nX-Evil: 1"}, ErrorKind.BAD_RESPONSE),
        ({"token": "x"}, ErrorKind.BAD_RESPONSE),
    ],
)
def test_an_answer_that_is_no_bearer_token_is_not_used(body, kind):
    """Another type of token, none, or one that no header can hold."""

    async def steps(credentials, _):
        with pytest.raises(CallError) as raised:
            await credentials.header()
        return raised.value

    assert over(TokenWorld(troubles=[trouble(200, **body)]), steps, give_up_s=0).kind is kind


@pytest.mark.parametrize("life", [None, 0, -1, "soon", "NaN"])
def test_a_token_without_a_life_that_is_a_time_holds_until_it_is_refused(life):
    """RFC 6749 lets ``expires_in`` be left out."""

    async def steps(credentials, time):
        first = await credentials.header()
        time.now += 1e9
        assert await credentials.header() == first == "Bearer x"
        return await credentials.refused(first)

    given = {} if life is None else {"expires_in": life}
    world = TokenWorld(troubles=[trouble(200, **{"access_token": "x"} | given)])
    assert over(world, steps) == f"Bearer {TOKEN_MARK}000001"


def test_a_life_may_be_written_as_text():
    """Some servers quote the number."""

    async def steps(credentials, _):
        await credentials.header()
        return credentials._token.renew_at

    world = TokenWorld(
        troubles=[trouble(200, **{"access_token": "x"} | {"token_type": "BEARER", "expires_in": "3600"})]
    )
    assert math.isfinite(over(world, steps))


def test_a_refused_token_is_renewed_once_for_all_calls_that_showed_it():
    """The first of them fetches another, the rest get that one."""

    async def steps(credentials, _):
        first = await credentials.header()
        found = await asyncio.gather(*(credentials.refused(first) for _ in range(50)))
        return first, found

    world = TokenWorld(delay_s=0.05)
    first, found = over(world, steps)
    assert (len(set(found)), first in found, len(world.forms)) == (1, False, 2)


def test_an_endpoint_that_refuses_for_other_reasons_fetches_no_token_a_call():
    """However many calls it refuses, at most one token in five seconds is fetched for it."""

    async def steps(credentials, time):
        found = []
        for _ in range(100):
            found.append(await credentials.refused(await credentials.header()))
            time.now += 0.1
        return [one for one in found if one is not None]

    world = TokenWorld(3600.0)
    assert len(over(world, steps)) == 2
    assert len(world.forms) == 3
