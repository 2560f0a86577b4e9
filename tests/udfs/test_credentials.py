"""Credentials under calls: over real HTTP, to an endpoint that takes nothing but live tokens."""

import asyncio
import os
import pickle
import random
import time
from dataclasses import replace

import aiohttp
import pytest
from fake_time import FakeTime
from token_world import CLIENT_SECRET, TOKEN_MARK, TokenWorld, trouble

from udfs.client import ChatClient
from udfs.credentials import RereadKey, credentials_of
from udfs.endpoint import Endpoint, Limits
from udfs.errors import CallError, ErrorKind, InputError
from udfs.flow import flow_control
from udfs.keys import KeyFile, OAuthClient, Secret, SecretFromEnv

SECRET = "sk-0123456789abcdef"  # noqa: S105 - nobody's


def hello(number=0):
    return [{"role": "user", "content": f"hello {number}"}]


def calling(endpoint, steps):
    """Run ``steps(client)`` with a client of the endpoint, in real time."""

    async def run():
        async with aiohttp.ClientSession() as session:
            flow = flow_control(("openai", endpoint.base_url, "m"), endpoint.limits.share(1), tasks=1)
            return await steps(ChatClient(endpoint, flow, session, rng=random.Random(1)))

    return asyncio.run(run())


def test_tokens_that_live_a_second_never_cost_a_call():
    """Hundreds of calls over three lives are all answered at the first attempt, with a token a life or little more."""

    async def steps(client):
        started = time.monotonic()

        async def caller():
            done = []
            while time.monotonic() - started < 3.0:
                done.append(await client.ask(hello()))
                await asyncio.sleep(0.02)
            return done

        found = await asyncio.gather(*(caller() for _ in range(40)))
        return [answer for one in found for answer in one], time.monotonic() - started

    with TokenWorld(1.0) as world:
        answers, spent_s = calling(world.endpoint(limits=Limits(max_concurrency=40)), steps)
    assert len(answers) == len(world.answered) > 400
    assert {answer.attempts for answer in answers} == {1}
    # Renewed after 0.7 s of its life at the earliest, or once more where the endpoint was first to find it ended.
    assert 3 <= len(world.forms) <= 2 * spent_s / 0.7 + 1


def test_a_revoked_token_is_replaced_within_the_call():
    """Calls that meet a 401 go out again with another token: no attempt is spent, and nobody counts a refusal."""

    async def steps(client):
        before = await client.ask(hello())
        world.revoke_all()
        found = await asyncio.gather(*(client.ask(hello(number)) for number in range(30)))
        return [before, *found], client.health.verdict()

    with TokenWorld(3600.0) as world:
        answers, refusals = calling(world.endpoint(limits=Limits(max_attempts=1)), steps)
    assert [answer.text for answer in answers] == [hello()[0]["content"], *(f"hello {n}" for n in range(30))]
    assert ({answer.attempts for answer in answers}, refusals, len(world.forms)) == ({1}, None, 2)
    assert world.refused > 0


def test_an_endpoint_that_refuses_fresh_tokens_is_not_asked_on():
    """A second 401, with a token just fetched, is a refusal; after three the rest of the calls are not sent."""

    async def steps(client):
        found = []
        for number in range(10):
            with pytest.raises(CallError) as raised:
                await client.ask(hello(number))
            found.append(raised.value)
        return found

    with TokenWorld(3600.0, echo=True) as world:
        stranger = TokenWorld(3600.0)
        with stranger:
            endpoint = replace(world.endpoint(), api_key=stranger.client)
            found = calling(endpoint, steps)
    assert {error.kind for error in found} == {ErrorKind.CREDENTIALS}
    assert [error.attempts for error in found] == [1, 1, 1] + [0] * 7
    assert (world.refused, len(stranger.forms)) == (4, 2)
    assert all(TOKEN_MARK not in f"{error} {error!r} {error.__cause__!r}" for error in found)
    assert "bad header Bearer ***" in found[0].message


def test_a_refused_client_fails_its_calls_with_one_clear_error():
    """The token server's word reaches the row; the endpoint is never asked, and the secret is nowhere."""

    async def steps(client):
        found = []
        for number in range(10):
            with pytest.raises(CallError) as raised:
                await client.ask(hello(number))
            found.append(raised.value)
        return found

    with TokenWorld() as world:
        wrong = replace(world.client, client_secret=Secret(f"{CLIENT_SECRET}-wrong"))
        found = calling(world.endpoint(api_key=wrong), steps)
    assert {error.kind for error in found} == {ErrorKind.CREDENTIALS}
    assert "refuses the client 'mill': 401 (invalid_client" in found[0].message
    assert (len(world.forms), world.refused, world.answered) == (1, 0, [])
    assert all(CLIENT_SECRET not in f"{error} {error!r}" for error in found)


def test_an_outage_of_the_token_server_costs_no_attempt():
    """Calls wait for the token, however often it had to be asked for."""

    async def steps(client):
        return await asyncio.gather(*(client.ask(hello(number)) for number in range(20)))

    with TokenWorld(troubles=[trouble(503), trouble(502)]) as world:
        answers = calling(world.endpoint(limits=Limits(max_attempts=1)), steps)
    assert ({answer.attempts for answer in answers}, len(world.forms)) == ({1}, 3)


def test_tasks_of_a_process_share_their_tokens():
    """Clients that come after each other on one loop use one token; another descriptor has its own."""

    async def steps(_):
        one, other = credentials_of(world.endpoint()), credentials_of(world.endpoint(name="other"))
        assert one is other
        assert credentials_of(world.endpoint(api_key=replace(world.client, scope=None))) is not one
        return await one.header() == await other.header()

    with TokenWorld() as world:
        assert calling(world.endpoint(), steps)
        assert len(world.forms) == 1


def test_descriptors_travel_and_show_no_secret():
    """They come back equal from a pickle; repr and str are masked; the variable is read on the driver only."""
    client = OAuthClient("https://id.example/token", "me", SecretFromEnv("MILL_SECRET"), "all-apis")
    unread = Endpoint("m", base_url="http://127.0.0.1:1", api_key=client)
    assert CLIENT_SECRET.encode() not in pickle.dumps(unread)
    read = unread.with_secret({"MILL_SECRET": CLIENT_SECRET})
    travelled = pickle.loads(pickle.dumps(read))  # noqa: S301 - our own
    assert travelled == read
    assert travelled.api_key.client_secret.value == CLIENT_SECRET
    assert CLIENT_SECRET not in f"{read} {read!r} {travelled.api_key!r} {travelled.api_key.origin}"
    assert read.endpoint_id == unread.endpoint_id == replace(read, api_key=None).endpoint_id
    file = Endpoint("m", api_key=KeyFile("/keys/m"))
    assert pickle.loads(pickle.dumps(file)).with_secret({}) == file  # noqa: S301 - our own
    with pytest.raises(InputError, match="MILL_SECRET is not set"):
        unread.with_secret({})


@pytest.mark.parametrize("url", ["id.example/token", "ftp://id.example/token", "https:///token", ""])
def test_a_token_url_that_is_none_is_refused(url):
    """It names what it should look like."""
    with pytest.raises(InputError, match="give a URL such as"):
        OAuthClient(url, "me", Secret("x"))


def test_a_password_in_the_token_url_is_refused_and_not_repeated():
    """It would stand in every message about the token server."""
    with pytest.raises(InputError, match="client_secret") as raised:
        OAuthClient(f"https://me:{SECRET}@id.example/token", "me", Secret("x"))
    assert SECRET not in str(raised.value)


def reading(path, steps):
    async def run():
        clock = FakeTime()
        return await steps(RereadKey(KeyFile(str(path)), clock=clock.clock), clock)

    return asyncio.run(run())


def test_a_key_file_is_read_again_when_it_changes(tmp_path):
    """Within a second of the clock, and not for every call; a file that is gone for a moment does no harm."""
    path = tmp_path / "key"
    path.write_text("one\n")

    async def steps(key, clock):
        found = [await key.header()]
        path.write_text("second\n")
        found.append(await key.header())
        clock.now += 1.1
        found.append(await key.header())
        path.unlink()
        clock.now += 1.1
        found.append(await key.header())
        path.write_text(" \n")
        clock.now += 1.1
        found.append(await key.header())
        (tmp_path / "next").write_text("third")
        (tmp_path / "next").replace(path)
        clock.now += 1.1
        found.append(await key.header())
        return [one.removeprefix("Bearer ") for one in found]

    assert reading(path, steps) == ["one", "one", "second", "second", "second", "third"]


def test_a_key_file_is_read_again_after_a_refusal(tmp_path):
    """At once, and even where neither its size nor its time tells that it changed."""
    path = tmp_path / "key"
    path.write_text("one")

    async def steps(key, _):
        first = await key.header()
        assert await key.refused(first) is None
        found = path.stat()
        path.write_text("two")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        renewed = await key.refused(first)
        return renewed, await key.refused(first), await key.header()

    assert reading(path, steps) == ("Bearer two",) * 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "it is empty"),
        (b"sk\xff\xfe", "not UTF-8"),
        (b"hunter2\nmore", "control character"),
    ],
)
def test_a_key_file_that_holds_no_key_is_told(tmp_path, content, reason):
    """The message names path, machine and reason, and nothing of what the file holds."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    async def steps(key, _):
        with pytest.raises(CallError) as raised:
            await key.header()
        return raised.value

    error = reading(path, steps)
    assert error.kind is ErrorKind.CREDENTIALS
    assert str(path) in error.message
    assert reason in error.message
    assert "hunter2" not in f"{error} {error!r} {error.__context__!r}"


def test_a_rotated_key_file_serves_calls_without_a_failure(tmp_path):
    """The endpoint takes the new key alone from one call to the next."""
    path = tmp_path / "key"

    async def steps(client):
        found = []
        for number in range(5):
            world.revoke_all()
            world.issued[f"{SECRET}-{number}"] = float("inf")
            path.write_text(f"{SECRET}-{number}")
            found.append(await client.ask(hello(number)))
        return found

    with TokenWorld() as world:
        found = calling(world.endpoint(api_key=KeyFile(str(path)), limits=Limits(max_attempts=1)), steps)
    assert [answer.attempts for answer in found] == [1] * 5
    assert world.forms == []
