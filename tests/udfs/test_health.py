"""When a process gives an endpoint up, and what it survives."""

import pytest

from udfs.errors import ErrorKind
from udfs.health import DEAD_AFTER_S, Health


class Wall:
    """A clock set by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Wall()


@pytest.fixture
def health(clock):
    return Health("http://model", clock=clock, wall_clock=lambda: 1_000_000.0 + clock.now)


def outage(health, clock, seconds, *, kind=ErrorKind.SERVER_ERROR, every=1.0):
    for _ in range(int(seconds / every)):
        health.failed(kind, "HTTP 503")
        clock.now += every


@pytest.mark.parametrize("kind", [ErrorKind.SERVER_ERROR, ErrorKind.NETWORK, ErrorKind.BAD_RESPONSE])
def test_an_outage_that_passes_is_survived_and_one_that_stays_is_not(health, clock, kind):
    """Half the time proves nothing; an answer starts the count anew; the whole time does, and says for how long."""
    outage(health, clock, DEAD_AFTER_S / 2, kind=kind)
    assert health.verdict() is None
    health.answered()
    outage(health, clock, DEAD_AFTER_S - 1, kind=kind)
    assert health.verdict() is None
    outage(health, clock, 2, kind=kind)
    verdict = health.verdict()
    assert verdict is not None
    assert verdict.kind is kind
    assert "http://model has answered nothing for 41 s (HTTP 503)" in verdict.message


def test_a_few_failures_far_apart_prove_nothing(health, clock):
    """A task that asks seldom does not give up after two failures."""
    outage(health, clock, DEAD_AFTER_S * 2, every=DEAD_AFTER_S)
    assert health.verdict() is None


def test_calls_that_all_hang_count_from_when_they_were_sent(health, clock):
    """The first time-outs after a minute are a minute of nothing."""
    clock.now += 60.0
    for _ in range(5):
        health.failed(ErrorKind.TIMEOUT, "no answer within 60 s", took_s=60.0)
    assert health.verdict() is not None


def test_a_time_out_says_nothing_about_the_time_in_which_others_were_answered(health, clock):
    """Some calls hang while others are served: the endpoint lives."""
    clock.now += 59.0
    health.answered()
    clock.now += 1.0
    for _ in range(50):
        health.failed(ErrorKind.TIMEOUT, "no answer within 60 s", took_s=60.0)
    assert health.verdict() is None


def test_refusals_by_rate_are_signs_of_life(health, clock):
    """An endpoint that answers 429 for an hour is busy, not dead."""
    outage(health, clock, 3600, kind=ErrorKind.RATE_LIMITED)
    assert health.verdict() is None


def test_credentials_are_given_up_after_three_refusals_in_a_row(health):
    """One refusal may be a hiccup of a gateway."""
    for _ in range(2):
        health.failed(ErrorKind.CREDENTIALS, "HTTP 401")
    health.answered()
    for _ in range(2):
        health.failed(ErrorKind.CREDENTIALS, "HTTP 401")
    assert health.verdict() is None
    health.failed(ErrorKind.CREDENTIALS, "HTTP 401")
    verdict = health.verdict()
    assert verdict is not None
    assert verdict.kind is ErrorKind.CREDENTIALS


def test_an_endpoint_that_rejects_everything_is_given_up_only_if_it_never_answered(health):
    """A wrong model's name rejects every row; some rows may be rejected by a model that answers others."""
    for _ in range(49):
        health.failed(ErrorKind.REJECTED, "HTTP 404")
    assert health.verdict() is None
    health.failed(ErrorKind.REJECTED, "HTTP 404")
    assert health.verdict() is not None
    health.answered()
    for _ in range(500):
        health.failed(ErrorKind.REJECTED, "HTTP 422")
    assert health.verdict() is None


def test_an_endpoint_whose_answers_take_minutes_is_given_minutes(health, clock):
    """Failures while good calls are still under way are no end."""
    health.answered(took_s=50.0)
    outage(health, clock, 149, every=5.0)
    assert health.verdict() is None
    outage(health, clock, 15, every=5.0)
    assert health.verdict() is not None


def test_an_endpoint_that_scales_to_zero_is_given_time_to_start(clock):
    """Minutes of 503 and time-outs are a start, a lost connection among them is none; after its time it is dead."""
    health = Health("http://model", clock=clock, warm_up_s=600.0)
    outage(health, clock, 300, kind=ErrorKind.OVERLOADED)
    health.failed(ErrorKind.NETWORK, "connection reset")
    assert (health.is_warming_up, health.verdict()) == (True, None)
    outage(health, clock, 290, kind=ErrorKind.TIMEOUT)
    assert health.verdict() is None
    outage(health, clock, 20, kind=ErrorKind.OVERLOADED)
    assert not health.is_warming_up
    assert "has answered nothing for" in health.verdict().message


def test_what_a_starting_endpoint_does_not_answer_ends_a_run_as_ever(clock):
    """A connection that is refused for a minute, or plain 500s, are no start."""
    for kind in (ErrorKind.NETWORK, ErrorKind.SERVER_ERROR):
        health = Health("http://model", clock=clock, warm_up_s=600.0)
        outage(health, clock, 60, kind=kind)
        assert not health.is_warming_up
        assert health.verdict() is not None


def test_an_endpoint_that_is_up_is_short_of_places_not_cold(clock):
    """503 among answers counts as a try; only after ten seconds without any may it have gone to sleep."""
    health = Health("http://model", clock=clock, warm_up_s=600.0)
    health.answered()
    outage(health, clock, 8, kind=ErrorKind.OVERLOADED)
    assert not health.is_warming_up
    outage(health, clock, 4, kind=ErrorKind.OVERLOADED)
    assert health.is_warming_up
    health.answered()
    assert not health.is_warming_up
