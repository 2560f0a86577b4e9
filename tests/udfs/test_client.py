"""Every way in which a call can fail, over real HTTP or a raw socket; time is injected."""

import asyncio
import contextlib
import gzip
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from fake_time import FakeTime

from engine.scripted_endpoint import Reply, ScriptedEndpoint
from udfs.client import ChatClient
from udfs.endpoint import Endpoint, Limits, Sampling
from udfs.errors import CallError, ErrorKind, InfrastructureError, InputError, PromptFailure
from udfs.flow import Permit
from udfs.health import Health
from udfs.keys import Secret, SecretFromEnv

HELLO = [{"role": "user", "content": "hello"}]
SECRET = "sk-0123456789abcdef"  # noqa: S105 - nobody's
GOOD = json.dumps(
    {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
).encode()


class Flow:
    """Lets everything through, and records what it is told."""

    window = 8

    def __init__(self, time, queue_s=0.0):
        self.open = 0
        self.settled = []
        self.cancelled = 0
        self._time, self._queue_s = time, queue_s

    async def acquire(self, tokens):
        self._time.now += self._queue_s
        self.open += 1
        return Permit(self._time.now, tokens)

    def settle(self, permit, **how):
        self.open -= 1
        self.settled.append(how)

    def cancel(self, permit):
        self.open -= 1
        self.cancelled += 1


def asked(endpoint, *, times=1, time=None, flow=None, health=None, **options):
    """Ask ``times`` in a row; return what each brought (an answer or an error), the time and the flow."""
    time = time or FakeTime()
    flow = flow or Flow(time)

    async def ask():
        async with aiohttp.ClientSession() as session:
            rng, clock = random.Random(1), time.clock
            client = ChatClient(endpoint, flow, session, clock=clock, sleep=time.sleep, rng=rng, health=health)
            found = []
            for _ in range(times):
                try:
                    found.append(await client.ask(HELLO, **options))
                except CallError as error:
                    found.append(error)
            return found

    found = asyncio.run(ask())
    assert flow.open == 0
    return found, time, flow


def scripted(script, **settings):
    """Ask a scripted endpoint once; return what came, the endpoint, the time and the flow."""
    limits, health = settings.pop("limits", Limits(max_attempts=3)), settings.pop("health", None)
    with ScriptedEndpoint(script) as server:
        found, time, flow = asked(Endpoint("m", base_url=server.base_url, limits=limits, **settings), health=health)
    return found[0], server, time, flow


@contextlib.contextmanager
def raw_server(answer):
    """Serve ``answer(number) -> bytes`` on a bare socket, whatever was asked, and close the connection."""
    loop, started, numbers = asyncio.new_event_loop(), threading.Event(), []
    port = []

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            numbers.append(head)
            writer.write(answer(len(numbers)))
            await writer.drain()
        writer.close()

    async def start():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        started.set()
        return server

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{port[0]}/v1", numbers
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def http(body, *, status="200 OK", headers="", length=None):
    """Write a response out by hand; ``length`` may lie."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize(
    ("status", "code", "kind", "calls"),
    [
        (400, None, ErrorKind.REJECTED, 1),
        (400, "context_length_exceeded", ErrorKind.CONTEXT_LENGTH, 1),
        (400, "exceed_context_size_error", ErrorKind.CONTEXT_LENGTH, 1),
        (400, "content_filter", ErrorKind.CONTENT_FILTER, 1),
        (401, None, ErrorKind.CREDENTIALS, 1),
        (403, None, ErrorKind.CREDENTIALS, 1),
        (404, None, ErrorKind.REJECTED, 1),
        (408, None, ErrorKind.TIMEOUT, 3),
        (413, None, ErrorKind.CONTEXT_LENGTH, 1),
        (422, None, ErrorKind.REJECTED, 1),
        (500, None, ErrorKind.SERVER_ERROR, 3),
        (500, "context_length_exceeded", ErrorKind.SERVER_ERROR, 3),
        (502, None, ErrorKind.SERVER_ERROR, 3),
        (503, None, ErrorKind.OVERLOADED, 3),
        (504, None, ErrorKind.TIMEOUT, 3),
        (529, None, ErrorKind.OVERLOADED, 3),
    ],
)
def test_each_status_is_a_kind_and_only_what_may_pass_is_tried_again(status, code, kind, calls):
    """The status and the body's code decide, never its wording; useless retries are not made."""
    error, server, _, flow = scripted(lambda _: Reply("maximum context length", status=status, error_code=code))
    assert error.kind is kind
    assert (len(server.calls), error.attempts, len(flow.settled)) == (calls, calls, calls)
    assert error.refused == 0
    assert isinstance(error, InfrastructureError if kind.is_infrastructure else PromptFailure)
    assert str(status) in str(error)
    assert server.base_url in str(error)


def test_refusals_are_heeded_until_the_deadline_however_many_they_are():
    """A 429 asks to wait and is no failure: it uses up no attempt, and only the deadline ends it."""
    error, server, _, _ = scripted(lambda _: Reply("slow down", status=429))
    assert error.kind is ErrorKind.RATE_LIMITED
    assert len(server.calls) == error.attempts == error.refused > 3


def test_an_answer_says_what_it_took():
    """Text, usage, attempts and refusals of the call stand in its answer."""

    def script(call):
        return (Reply(status=429), Reply(status=503), Reply("hi"))[call.number - 1]

    answer, server, _, flow = scripted(script)
    assert (answer.text, answer.attempts, answer.refused, answer.finish_reason) == ("hi", 3, 1, "stop")
    assert (answer.prompt_tokens, answer.completion_tokens) == (2, 1)
    assert answer.latency_ms >= 0.0
    assert [how["failure"] for how in flow.settled] == [ErrorKind.RATE_LIMITED, ErrorKind.OVERLOADED, None]
    assert flow.settled[-1]["tokens"] == 3
    assert server.calls[0].body == {"model": "m", "messages": HELLO}


def test_the_request_holds_the_sampling_and_what_the_call_adds():
    """Sampling parameters, extra fields, response format and the call's own seed are in the body."""
    sampling = Sampling(temperature=0.0, max_tokens=5, seed=1, extra={"top_k": 4})
    with ScriptedEndpoint(lambda _: "x") as server:
        endpoint = Endpoint("m", base_url=server.base_url, sampling=sampling)
        asked(endpoint, response_format={"type": "json_object"}, seed=7)
    expected = {"temperature": 0.0, "max_tokens": 5, "seed": 7, "top_k": 4, "response_format": {"type": "json_object"}}
    assert server.calls[0].body == expected | {"model": "m", "messages": HELLO}


def test_a_content_filter_that_answers_200_is_the_prompts_failure():
    """A withheld answer is told by its finish reason."""
    error, server, _, _ = scripted(lambda _: Reply("", finish_reason="content_filter"))
    assert error.kind is ErrorKind.CONTENT_FILTER
    assert len(server.calls) == 1


def test_a_hang_up_is_the_networks_failure():
    """A connection that closes without an answer is tried again, and never the prompt's fault."""
    error, server, _, _ = scripted(lambda _: Reply(hang_up=True))
    assert error.kind is ErrorKind.NETWORK
    assert len(server.calls) == 3


def test_nobody_there_is_the_networks_failure():
    """A refused connection names the place."""
    with ScriptedEndpoint(lambda _: "x") as server:
        place = server.base_url
    (error,), _, _ = asked(Endpoint("m", base_url=place, limits=Limits(max_attempts=2)))
    assert (error.kind, error.attempts) == (ErrorKind.NETWORK, 2)
    assert place in str(error)


@pytest.mark.parametrize("base_url", ["", "nowhere", "ftp://h", "http://h:99999999"])
def test_what_is_no_url_is_rejected_once(base_url):
    """A broken base_url is not tried again; the message says what to mend."""
    (error,), _, _ = asked(Endpoint("m", base_url=base_url))
    assert (error.kind, error.attempts) == (ErrorKind.REJECTED, 1)
    assert "base_url" in str(error)


def test_an_answer_that_does_not_come_is_a_timeout():
    """One attempt is bounded by ``timeout_s``."""
    error, server, _, _ = scripted(lambda _: Reply("x", delay_s=1), limits=Limits(timeout_s=0.05, max_attempts=2))
    assert (error.kind, error.attempts, len(server.calls)) == (ErrorKind.TIMEOUT, 2, 2)
    assert "0.05 s" in str(error)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (http(b'{"choices": [{"mess'), ErrorKind.BAD_RESPONSE),
        (http(b"<html>log in</html>", headers="Content-Type: text/html\r\n"), ErrorKind.BAD_RESPONSE),
        (http(b""), ErrorKind.BAD_RESPONSE),
        (http(b"null"), ErrorKind.BAD_RESPONSE),
        (http(b"[]"), ErrorKind.BAD_RESPONSE),
        (http(b'{"choices": []}'), ErrorKind.BAD_RESPONSE),
        (http(b'{"choices": [{"message": null}]}'), ErrorKind.BAD_RESPONSE),
        (http(b'{"error": {"message": "busy"}}'), ErrorKind.BAD_RESPONSE),
        (http(b"\xff\xfe\xfd"), ErrorKind.BAD_RESPONSE),
        (http(b"[" * 100_000), ErrorKind.BAD_RESPONSE),
        (http(GOOD.replace(b"3", b"1e999")), ErrorKind.BAD_RESPONSE),
        (http(GOOD.replace(b"3", b'"many"')), ErrorKind.BAD_RESPONSE),
        (http(GOOD.replace(b'"hi"', b'[{"type": "text", "text": 7}]')), ErrorKind.BAD_RESPONSE),
        (http(GOOD, length=1000), ErrorKind.NETWORK),
        (http(GOOD, headers="Content-Encoding: gzip\r\n"), ErrorKind.NETWORK),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ErrorKind.NETWORK),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ErrorKind.NETWORK),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ErrorKind.NETWORK),
        (b"", ErrorKind.NETWORK),
        (http(b"[" * 100_000, status="500 Oops"), ErrorKind.SERVER_ERROR),
        (http(b'"busy"', status="503 Busy"), ErrorKind.OVERLOADED),
        (http(b'{"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}', status="400 No"),
         ErrorKind.CONTENT_FILTER),
    ],
)  # fmt: skip
def test_no_body_however_broken_is_anything_but_a_kind(response, kind):
    """Whatever a server sends, the call ends in an error of ours that leaves the row unscored or says why."""
    with raw_server(lambda _: response) as (place, heads):
        (error,), _, _ = asked(Endpoint("m", base_url=place, limits=Limits(max_attempts=2)))
    assert error.kind is kind
    assert len(heads) == (2 if kind.is_retryable else 1)


@pytest.mark.parametrize(
    ("body", "text", "tokens"),
    [
        (GOOD, "hi", (3, 2)),
        (b'{"choices": [{"message": {"content": "hi"}}]}', "hi", None),
        (b'{"choices": [{"message": {"content": "hi"}}], "usage": null}', "hi", None),
        (b'{"choices": [{"message": {"content": ""}}]}', "", None),
        (b'{"choices": [{"message": {"content": null}}], "usage": {"completion_tokens": 4}}', "", (0, 4)),
        (b'{"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": null}, 1]}}]}', "a", None),
        (b'{"choices": [{"message": {"content": "cut \\ud83d"}}]}', "cut \ufffd", None),
    ],
)
def test_answers_as_servers_really_send_them(body, text, tokens):
    """Usage may be missing (then it is estimated), content in parts or cut in a character, and the type may lie."""
    with raw_server(lambda _: http(body, headers="Content-Type: text/plain\r\n")) as (place, _):
        (answer,), _, _ = asked(Endpoint("m", base_url=place))
    assert answer.text == text
    if tokens is None:
        assert answer.prompt_tokens > 0
    else:
        assert (answer.prompt_tokens, answer.completion_tokens) == tokens


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": ""}, "finish_reason": "error"}]}',
        b'{"choices": [{"message": {"content": "half an ans"}, "finish_reason": "abort"}], "usage": {}}',
    ],
)
def test_a_failure_behind_http_200_is_no_answer(body):
    """Gateways answer 200 when the model behind them failed: that is an outage, never an empty answer scored 0."""
    with raw_server(lambda _: http(body)) as (place, _):
        (error,), _, _ = asked(Endpoint("m", base_url=place, limits=Limits(max_attempts=1)))
    assert error.kind is ErrorKind.BAD_RESPONSE


def test_a_compressed_answer_is_read():
    """Gzip is what proxies put on."""
    with raw_server(lambda _: http(gzip.compress(GOOD), headers="Content-Encoding: gzip\r\n")) as (place, _):
        (answer,), _, _ = asked(Endpoint("m", base_url=place))
    assert answer.text == "hi"


def test_half_a_character_in_the_prompt_does_not_end_the_run():
    """An input that JSON spelt with half a surrogate pair is sent with a replacement."""
    with ScriptedEndpoint(lambda _: "x") as server:
        endpoint = Endpoint("m", base_url=server.base_url)

        async def ask():
            async with aiohttp.ClientSession() as session:
                return await ChatClient(endpoint, Flow(FakeTime()), session).ask(
                    [{"role": "user", "content": "a\ud83db"}]
                )

        asyncio.run(ask())
    assert server.calls[0].prompt == "a\ufffdb"


def test_retry_after_in_seconds_is_kept():
    """The refused request waits what was asked and up to a tenth more, not its own backoff."""

    def script(call):
        return Reply(status=429, headers={"Retry-After": "7.5"}) if call.number == 1 else "hi"

    answer, _, time, flow = scripted(script)
    assert (answer.attempts, answer.refused) == (2, 1)
    assert len(time.slept) == 1
    assert 7.5 <= time.slept[0] <= 8.25
    assert flow.settled[0]["retry_after_s"] == 7.5


def test_retry_after_as_a_date_is_kept():
    """HTTP allows a date, too; one in the past names no time to wait for."""

    def script(call):
        at = datetime.now(UTC) + timedelta(seconds=100 if call.number == 1 else -100)
        return Reply(status=503, headers={"Retry-After": format_datetime(at, usegmt=True)}) if call.number < 3 else "hi"

    answer, _, time, _ = scripted(script)
    assert answer.attempts == 3
    assert 90 <= time.slept[0] <= 115
    assert time.slept[1] <= 1.0  # the usual backoff, so that nothing is hammered


@pytest.mark.parametrize("asked_for", ["1e9", "inf"])
def test_a_wait_beyond_the_deadline_is_not_begun(asked_for):
    """When the next attempt could only come too late, the call fails now."""
    error, server, time, _ = scripted(lambda _: Reply(status=429, headers={"Retry-After": asked_for}))
    assert (error.kind, len(server.calls), time.slept) == (ErrorKind.RATE_LIMITED, 1, [])


@pytest.mark.parametrize("asked_for", ["soon", "nan", "-5", ""])
def test_a_retry_after_that_makes_no_sense_is_passed_over(asked_for):
    """Neither garbage nor a negative time breaks the retries."""

    def script(call):
        return Reply(status=429, headers={"Retry-After": asked_for}) if call.number == 1 else "hi"

    answer, _, time, _ = scripted(script)
    assert answer.text == "hi"
    assert 0 <= time.slept[0] <= 1


def test_backoff_doubles_with_jitter_up_to_its_longest():
    """Each wait lies between half its ceiling and its ceiling: 0.5 s, 1 s, 2 s, … 20 s."""
    alive = Health("m", clock=lambda: 0.0)
    _, server, time, _ = scripted(lambda _: Reply(status=500), limits=Limits(max_attempts=9), health=alive)
    assert len(server.calls) == 9
    ceilings = [0.5, 1, 2, 4, 8, 16, 20, 20]
    assert all(c / 2 <= s <= c for s, c in zip(time.slept, ceilings, strict=True))


def test_the_deadline_bounds_a_call_with_all_its_retries():
    """No attempt starts later than ``deadline_s`` after the first."""
    error, server, time, _ = scripted(lambda _: Reply(status=500), limits=Limits(deadline_s=10, max_attempts=99))
    assert sum(time.slept) <= 10
    assert 4 <= len(server.calls) <= 7
    assert error.attempts == len(server.calls)


def test_waiting_for_our_own_turn_is_not_taken_from_the_deadline():
    """Under a tight rate limit a call may queue for longer than the deadline, and still has all its retries."""
    time = FakeTime()
    with ScriptedEndpoint(lambda call: Reply(status=503) if call.number < 3 else "hi") as server:
        endpoint = Endpoint("m", base_url=server.base_url, limits=Limits(deadline_s=10))
        (answer,), _, _ = asked(endpoint, time=time, flow=Flow(time, queue_s=1000.0))
    assert answer.attempts == 3


def test_refused_credentials_are_not_asked_again_and_again():
    """After three refusals in a row nothing more is sent; the calls that were not made count no attempt."""
    with ScriptedEndpoint(lambda _: Reply(status=401)) as server:
        found, _, _ = asked(Endpoint("m", base_url=server.base_url), times=6)
    assert len(server.calls) == 3
    assert [error.kind for error in found] == [ErrorKind.CREDENTIALS] * 6
    assert [error.attempts for error in found] == [1, 1, 1, 0, 0, 0]


def test_an_answer_between_refusals_shows_that_the_credentials_are_good():
    """A gateway that refuses single requests with 403 does not stop the others."""
    with ScriptedEndpoint(lambda call: Reply(status=403) if call.number % 3 else "hi") as server:
        found, _, _ = asked(Endpoint("m", base_url=server.base_url), times=9)
    assert len(server.calls) == 9
    assert sum(isinstance(one, CallError) for one in found) == 6


def test_the_key_is_sent_and_never_told():
    """The key stands in the header only: not in an error, even where the endpoint repeats it, nor in a repr."""
    body = json.dumps({"error": {"message": f"bad key {SECRET}"}}).encode()
    with raw_server(lambda _: http(body, status="401 No")) as (place, heads):
        endpoint = Endpoint("m", base_url=place, api_key=Secret(f"{SECRET}\n"))
        (error,), _, _ = asked(endpoint)
    assert f"Authorization: Bearer {SECRET}\r\n".encode() in heads[0]
    assert SECRET not in f"{error} {error!r} {error.__cause__!r}"


def test_an_answer_that_is_not_http_does_not_bring_the_key_along():
    """The HTTP client's error for it holds the request's headers: neither its text nor it travels with ours."""
    with raw_server(lambda _: f"HTTP/1.1 2x0 {SECRET}\r\n\r\n".encode()) as (place, _):
        endpoint = Endpoint("m", base_url=place, api_key=Secret(SECRET), limits=Limits(max_attempts=1))
        (error,), _, _ = asked(endpoint)
    assert error.kind is ErrorKind.NETWORK
    assert SECRET not in f"{error} {error!r} {error.__cause__!r}"


def test_a_key_that_no_header_can_hold_stops_before_the_first_call(monkeypatch):
    """A key with a line break in the middle is bad input, and is not shown."""
    monkeypatch.setenv("PROMPTMILL_TEST_KEY", f"{SECRET}\nmore")
    with pytest.raises(InputError, match="control character") as raised:
        asked(Endpoint("m", base_url="http://127.0.0.1:1", api_key=SecretFromEnv("PROMPTMILL_TEST_KEY")))
    assert SECRET not in str(raised.value)


def test_a_redirect_is_rejected_and_named():
    """Prompts and keys go nowhere but to base_url; a page to log in is not taken for an answer."""
    error, server, _, _ = scripted(lambda _: Reply(status=302, headers={"Location": "http://elsewhere/login"}))
    assert (error.kind, len(server.calls)) == (ErrorKind.REJECTED, 1)
    assert "http://elsewhere/login" in str(error)


def test_databricks_endpoints_get_no_model_in_the_body():
    """A serving endpoint is named by its path."""
    time = FakeTime()

    async def body():
        async with aiohttp.ClientSession() as session:
            return ChatClient(Endpoint("m", provider="databricks"), Flow(time), session)._protocol.fixed

    assert asyncio.run(body()) == {}


def test_cancelling_a_call_gives_its_place_back():
    """Whoever stops a run in the middle of a call leaves the flow control as it was."""
    time = FakeTime()
    flow = Flow(time)

    async def cancelled(base_url):
        async with aiohttp.ClientSession() as session:
            client = ChatClient(Endpoint("m", base_url=base_url), flow, session, clock=time.clock, sleep=time.sleep)
            task = asyncio.create_task(client.ask(HELLO))
            while not flow.open:  # noqa: ASYNC110 - the flow has no event
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with ScriptedEndpoint(lambda _: Reply("x", delay_s=1)) as server:
        asyncio.run(cancelled(server.base_url))
    assert (flow.open, flow.settled, flow.cancelled, time.slept) == (0, [], 1, [])


def test_calls_of_one_client_do_not_wait_for_each_other():
    """Concurrent calls get their own answers."""
    with ScriptedEndpoint(lambda call: call.prompt.upper()) as server:

        async def ask():
            async with aiohttp.ClientSession() as session:
                client = ChatClient(Endpoint("m", base_url=server.base_url), Flow(FakeTime()), session)
                return await asyncio.gather(
                    *(client.ask([{"role": "user", "content": f"w{number}"}]) for number in range(40))
                )

        answers = asyncio.run(ask())
    assert [answer.text for answer in answers] == [f"W{number}" for number in range(40)]


def test_a_cold_endpoint_costs_a_call_none_of_its_tries(caplog):
    """Twelve minutes of 503 are more than the deadline and the tries allow; the call is answered all the same."""
    time = FakeTime()

    def script(_):
        return Reply(status=503) if time.now < 1720.0 else "hi"

    limits = Limits(max_attempts=3, deadline_s=60.0, warm_up_s=900.0)
    with ScriptedEndpoint(script) as server:
        (answer,), _, _ = asked(Endpoint("m", base_url=server.base_url, limits=limits), time=time)
    assert answer.text == "hi"
    assert answer.attempts == len(server.calls) > 30
    assert caplog.text.count("had scaled to zero and is warming up; waiting for it, up to 15 min") == 1


def test_a_cold_endpoint_that_does_not_start_is_given_up():
    """After its time it is as dead as any other."""
    limits = Limits(max_attempts=3, warm_up_s=300.0)
    error, _, time, _ = scripted(lambda _: Reply(status=503), limits=limits)
    assert error.kind is ErrorKind.OVERLOADED
    assert 300.0 <= time.now - 1000.0 < 330.0
