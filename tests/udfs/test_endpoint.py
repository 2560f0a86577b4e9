"""Identity, shares of the limits, and that keys never show."""

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.endpoint import Endpoint, Limits, Price, Sampling, tightest
from udfs.errors import InputError
from udfs.keys import Secret, SecretFromEnv
from udfs.ledger import LedgerLocation
from udfs.plan import EvaluationPlan
from udfs.prompt import Prompt
from udfs.scorers import build_mix

SECRET = "sk-very-secret-0123456789"  # noqa: S105 - nobody's
ENDPOINT = Endpoint("m", base_url="http://127.0.0.1:1/v1", api_key=Secret(SECRET), price=Price())


def test_identities_are_pinned():
    """Answers are kept under these ids: a change would pay for everything again."""
    assert Endpoint("m").endpoint_id == "d9ffbbb972a159d709e1b98e0fbe96bd"
    assert (
        Endpoint("m", sampling=Sampling(temperature=0.0, max_tokens=64)).endpoint_id
        == "27e56b2dec718c947d1f446e92ba6a52"
    )


@pytest.mark.parametrize(
    "other",
    [
        replace(ENDPOINT, base_url="https://elsewhere"),
        replace(ENDPOINT, api_key=SecretFromEnv("OTHER")),
        replace(ENDPOINT, limits=Limits(max_concurrency=1)),
        replace(ENDPOINT, price=None),
    ],
)
def test_where_and_how_an_endpoint_is_reached_is_no_part_of_its_identity(other):
    """Moving an endpoint, another key, limit or price asks nothing again."""
    assert other.endpoint_id == ENDPOINT.endpoint_id


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.5),
        Sampling(temperature=0.0),
        Sampling(max_tokens=1),
        Sampling(top_p=0.5),
        Sampling(seed=0),
        Sampling(stop=("x",)),
        Sampling(extra={"reasoning_effort": "low"}),
    ],
)
def test_every_sampling_parameter_is_part_of_the_identity(sampling):
    """What may change the answer changes the id, and so do model and provider."""
    ids = {replace(ENDPOINT, sampling=sampling).endpoint_id, ENDPOINT.endpoint_id}
    ids |= {replace(ENDPOINT, name="n").endpoint_id, replace(ENDPOINT, provider="databricks").endpoint_id}
    assert len(ids) == 4


def test_one_request_has_one_identity_however_its_numbers_are_written():
    """0 and 0.0 are sent as one and kept as one."""
    assert Sampling(temperature=0, top_p=1) == Sampling(temperature=0.0, top_p=1.0)
    one, other = (Endpoint("m", sampling=Sampling(temperature=t)) for t in (0, 0.0))
    assert one.endpoint_id == other.endpoint_id


@given(st.integers(1, 5000), st.integers(1, 600), st.floats(0.1, 1e6))
def test_the_shares_of_all_tasks_together_keep_the_limit(concurrency, tasks, rate):
    """Summed over tasks, neither calls in flight nor rates exceed what was promised, unless it is one call each."""
    limits = Limits(max_concurrency=concurrency, requests_per_minute=rate, tokens_per_minute=rate)
    share = limits.share(tasks)
    assert share.max_concurrency >= 1
    assert share.max_concurrency * tasks <= max(concurrency, tasks)
    assert share.requests_per_minute * tasks == pytest.approx(rate)
    assert share.tokens_per_minute * tasks == pytest.approx(rate)
    assert (share.timeout_s, share.deadline_s, share.max_attempts) == (60.0, 300.0, 10)


def test_without_limits_the_whole_cluster_still_has_one():
    """Nobody's shared endpoint is knocked over by a first try."""
    assert Limits().share(8).max_concurrency * 8 == 512
    assert Limits().share(8).requests_per_minute is None


def test_endpoints_in_one_place_keep_the_tightest_of_their_limits():
    """A judge without limits at the target's endpoint does not lift the target's."""
    found = tightest([Limits(timeout_s=5), Limits(max_concurrency=4), Limits(max_concurrency=9, tokens_per_minute=7)])
    assert found == Limits(max_concurrency=4, tokens_per_minute=7, timeout_s=5)


@pytest.mark.parametrize("name", ["max_concurrency", "requests_per_minute", "timeout_s", "deadline_s", "max_attempts"])
def test_a_limit_that_is_none_at_all_is_refused_by_name(name):
    """Zero would wait for ever; the message names the setting."""
    with pytest.raises(InputError, match=rf"limits\.{name}"):
        Limits(**{name: 0})


def test_a_secret_never_shows():
    """Neither repr, str nor formatting shows a key, before or after it travelled."""
    travelled = pickle.loads(pickle.dumps(ENDPOINT))  # noqa: S301 - our own
    for shown in (ENDPOINT, travelled, ENDPOINT.api_key, [travelled]):
        assert SECRET not in f"{shown} {shown!r} {shown!s}"
    assert travelled.api_key.value == SECRET


def test_a_key_named_by_variable_is_not_read_before_it_is_needed(monkeypatch):
    """Making and pickling a descriptor reads nothing; the pickle holds the name, not the key."""
    monkeypatch.setenv("PROMPTMILL_TEST_KEY", SECRET)
    key = SecretFromEnv("PROMPTMILL_TEST_KEY")
    assert SECRET.encode() not in pickle.dumps(replace(ENDPOINT, api_key=key))
    assert key.resolve().value == SECRET
    with pytest.raises(InputError, match="PROMPTMILL_TEST_KEY is not set"):
        key.resolve({})


def test_every_descriptor_pickles():
    """What a UDF closes over is plain data: it comes back equal from a pickle."""
    judge = replace(ENDPOINT, name="judge")
    mix = build_mix(["exact_match", "token_f1", {"judge": "equivalence", "weight": 2.0}], judge)
    plan = EvaluationPlan(ENDPOINT, {"c": Prompt.parse("Say {{x}}")}, mix, LedgerLocation("/data"), "e1", "r1")
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("provider", "base", "url"),
    [
        ("openai", "http://h/v1/", "http://h/v1/chat/completions"),
        ("databricks", "https://w/", "https://w/serving-endpoints/m/invocations"),
    ],
)
def test_where_requests_go(provider, base, url):
    """Each provider has its own path; a slash at the end of base_url does no harm."""
    assert Endpoint("m", provider=provider, base_url=base).url == url
