"""What the workspace tells of an endpoint, and what a run does with it."""

import logging
from dataclasses import replace

import pytest
from workspace import PAT, ApiError, ServedEndpoint, Workspace

from engine.serving import ready
from engine.serving.description import read
from udfs.endpoint import Endpoint, Limits
from udfs.errors import InputError
from udfs.keys import Secret

GATEWAY = [
    {"calls": 600, "renewal_period": "minute", "key": "endpoint"},
    {"calls": 90, "tokens": 5000, "renewal_period": "minute", "key": "user"},
    {"calls": 1, "renewal_period": "minute", "key": "user", "principal": "somebody@else"},
    {"calls": 2, "renewal_period": "minute", "key": "user_group", "principal": "others"},
]


def endpoint_at(workspace, name="m", **settings):
    return Endpoint(name, "databricks", workspace.host, Secret(PAT), **settings)


def asked_about(workspace):
    return sum(path.startswith("GET /api/2.0/serving-endpoints/") for path in workspace.paths())


@pytest.mark.parametrize(
    ("task", "entity", "becomes"),
    [
        ("llm/v1/chat", {}, "llm/v1/chat"),
        ("agent/v1/responses", {}, "agent/v1/responses"),
        (None, {}, "dataframe_records"),
        (None, {"external_model": {"provider": "openai", "task": "llm/v1/completions"}}, "llm/v1/completions"),
        (None, {"foundation_model": {"name": "llama"}}, "llm/v1/chat"),
    ],
)
def test_the_task_is_asked_for_once(task, entity, becomes):
    """However many stages and judges use an endpoint; its identity stays what it was."""
    with Workspace(ServedEndpoint("m", task=task, entity=entity)) as workspace:
        endpoint = endpoint_at(workspace)
        found = [ready(endpoint) for _ in range(3)]
    assert {one.task for one in found} == {becomes}
    assert found[0].endpoint_id == endpoint.endpoint_id
    assert asked_about(workspace) == 1


def test_a_task_that_the_configuration_says_is_not_asked_for():
    """Nothing is asked before the first call then; limits stay what is configured."""
    with Workspace(ServedEndpoint("m", rate_limits=GATEWAY)) as workspace:
        found = ready(endpoint_at(workspace, task="agent/v2/chat"))
    assert (found.task, found.limits) == ("agent/v2/chat", Limits())
    assert workspace.requests == []


def test_limits_of_the_gateway_are_kept_where_none_are_configured():
    """The tightest that holds for everybody; somebody else's are not ours, and what is configured goes before all."""
    with Workspace(ServedEndpoint("m", rate_limits=GATEWAY)) as workspace:
        found = ready(endpoint_at(workspace)).limits
        own = ready(endpoint_at(workspace, limits=Limits(requests_per_minute=300.0))).limits
    assert (found.requests_per_minute, found.tokens_per_minute, found.warm_up_s) == (90.0, 5000.0, None)
    assert (own.requests_per_minute, own.tokens_per_minute) == (300.0, 5000.0)


def test_an_endpoint_that_scales_to_zero_gets_time_to_start(caplog):
    """A quarter of an hour, unless the configuration says otherwise; that it sleeps now is told."""
    with Workspace(ServedEndpoint("m", cold_s=60.0)) as workspace, caplog.at_level(logging.WARNING):
        assert ready(endpoint_at(workspace)).limits.warm_up_s == 900.0
        assert ready(endpoint_at(workspace, limits=Limits(warm_up_s=30.0))).limits.warm_up_s == 30.0
    assert "has scaled to zero: its first answers may take minutes" in caplog.text


@pytest.mark.parametrize(
    ("served", "name", "said"),
    [
        (ServedEndpoint("m"), "mm", "Endpoint with name 'mm' does not exist"),
        (ServedEndpoint("m", task="llm/v1/embeddings"), "m", "a vector is no answer that can be scored"),
        (ServedEndpoint("m", rate_limits=[{"calls": 0, "key": "endpoint"}]), "m", "allows 0 calls a minute"),
    ],
)
def test_what_can_not_be_scored_is_refused_before_the_first_call(served, name, said):
    """No such endpoint, an embedding, a gateway that lets nothing through."""
    with Workspace(served) as workspace, pytest.raises(InputError, match=said):
        ready(endpoint_at(workspace, name))


def test_a_token_that_is_none_is_refused_before_the_first_call():
    """The workspace's own words stand in the message, the token does not."""
    with Workspace(ServedEndpoint("m")) as workspace, pytest.raises(InputError, match="Invalid access token") as raised:
        ready(replace(endpoint_at(workspace), api_key=Secret("dapi-wrong")))
    assert "dapi-wrong" not in str(raised.value)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_an_endpoint_that_can_not_be_looked_at_is_taken_for_a_chat_model(caplog, status):
    """Who may query it need not be let look at it, and an outage passes: the run goes on, and says so."""

    def hook(request):
        if request.method == "GET":
            raise ApiError(status, "PERMISSION_DENIED" if status == 403 else "INTERNAL_ERROR", "not now")

    with Workspace(ServedEndpoint("m"), hook=hook) as workspace, caplog.at_level(logging.WARNING):
        assert ready(endpoint_at(workspace)).task == "llm/v1/chat"
    assert f"answers {status}: not now. Say its task to have no doubt" in caplog.text


@pytest.mark.parametrize(
    ("entity", "kind"),
    [
        ({"foundation_model": {"name": "llama"}}, "pay-per-token"),
        ({"foundation_model": {}, "max_provisioned_throughput": 980}, "provisioned throughput"),
        ({"external_model": {"provider": "anthropic", "task": "llm/v1/chat"}}, "external model of anthropic"),
        ({"workload_size": "Small", "workload_type": "GPU_SMALL"}, "GPU_SMALL Small"),
        ({"workload_size": "Large"}, "CPU Large"),
        ({}, ""),
    ],
)
def test_what_is_paid_for_is_told_as_far_as_a_description_has_it(entity, kind):
    """There are no prices in a description, but it says what kind of endpoint is billed."""
    assert read({"name": "m", "config": {"served_entities": [entity]}}).kind == kind
