"""What each kind of endpoint is asked and how its answer is read, over real HTTP and by MLflow's own definitions."""

import asyncio
import contextlib
import json
import warnings
from dataclasses import replace

import aiohttp
import pytest
from mlflow.types.agent import ChatAgentRequest, ChatAgentResponse
from workspace import PAT, Reply, ServedEndpoint, Workspace

from udfs.client import ChatClient
from udfs.endpoint import Endpoint, Limits, Sampling
from udfs.errors import CallError, ErrorKind, InputError, PromptFailure
from udfs.flow import flow_control
from udfs.keys import Secret
from udfs.protocols import protocol_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's, about the type hints of its own classes
    from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
SAMPLING = Sampling(temperature=0.5, max_tokens=7, stop=("END",), extra={"custom_inputs": {"k": 1}})


def asked(task, answer, *, inputs=None, seed=None, sampling=SAMPLING, served_task=None):
    """Ask an endpoint of ``task``; return the answer or the error, and the body that was sent."""
    served = ServedEndpoint("m", lambda _: answer, task=served_task or (task if "/" in task else None))
    with Workspace(served) as workspace:
        limits = Limits(max_attempts=1)
        endpoint = Endpoint("m", "databricks", workspace.host, Secret(PAT), sampling, limits, task=task)

        async def ask():
            async with aiohttp.ClientSession() as session:
                client = ChatClient(endpoint, flow_control(("d", workspace.host, "m"), limits, tasks=1), session)
                try:
                    return await client.ask(MESSAGES, inputs=inputs, response_format={"type": "text"}, seed=seed)
                except CallError as error:
                    return error

        found = asyncio.run(ask())
    (sent,) = [request for request in workspace.requests if request.path.endswith("/invocations")]
    assert sent.path == "/serving-endpoints/m/invocations"
    return found, sent.body


def test_chat_endpoints_get_every_parameter_and_no_model():
    """The workspace knows the model by the path; everything else is OpenAI's."""
    found, body = asked("llm/v1/chat", "hi", seed=3)
    assert (found.text, found.prompt_tokens > 0) == ("hi", True)
    expected = {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 7, "stop": ["END"], "seed": 3}
    assert body == expected | {"response_format": {"type": "text"}, "custom_inputs": {"k": 1}}


def test_completions_get_one_text():
    """The messages are one prompt, and the first choice's text is the answer."""
    found, body = asked("llm/v1/completions", "hi", seed=3)
    assert found.text == "hi"
    assert body["prompt"] == "Be brief.\n\nhello"
    assert {"messages", "response_format", "model"}.isdisjoint(body)


def test_a_responses_agent_s_last_words_are_the_answer():
    """MLflow's own classes take the request and the answer; thoughts, tools and small talk are passed over."""
    found, body = asked("agent/v1/responses", "the answer", seed=3)
    assert found.text == "the answer"
    request = ResponsesAgentRequest(**body)
    assert (request.temperature, request.max_output_tokens, request.custom_inputs) == (0.5, 7, {"k": 1})
    assert [item.role for item in request.input] == ["system", "user"]
    assert {"seed", "stop", "max_tokens", "response_format"}.isdisjoint(body)


@pytest.mark.parametrize("task", ["agent/v1/chat", "agent/v2/chat"])
def test_a_chat_agent_s_last_words_are_the_answer(task):
    """Of the messages that a ChatAgent adds, the assistant's last one with a text counts; no sampling is sent."""
    found, body = asked(task, "the answer")
    assert found.text == "the answer"
    assert [message.content for message in ChatAgentRequest(**body).messages] == ["Be brief.", "hello"]
    assert body.keys() == {"messages", "custom_inputs"}


def test_an_older_agent_may_answer_as_a_chat_model_does():
    """A ChatModel stands behind the same task and answers with choices."""
    found, _ = asked("agent/v1/chat", Reply(body={"choices": [{"message": {"role": "assistant", "content": "hi"}}]}))
    assert found.text == "hi"


def test_a_custom_model_gets_the_row_s_columns_and_the_prompt():
    """The inputs are columns with their types, the rendered prompt stands beside them, parameters go as params."""
    plain = Sampling(temperature=0.5)
    found, body = asked("dataframe_records", {"label": "ä", "p": 0.5}, inputs={"q": "hello", "n": 2}, sampling=plain)
    assert json.loads(found.text) == {"label": "ä", "p": 0.5}
    assert "ä" in found.text
    record = {"prompt": "Be brief.\n\nhello", "q": "hello", "n": 2}
    assert body == {"dataframe_records": [record], "params": {"temperature": 0.5}}
    _, body = asked("dataframe_records", "x", inputs={"prompt": "own"}, sampling=Sampling())
    assert body == {"dataframe_records": [{"prompt": "own"}]}
    found, body = asked("inputs", "as it is", sampling=Sampling())
    assert (found.text, body) == ("as it is", {"inputs": ["Be brief.\n\nhello"]})


def test_the_fake_s_answers_are_what_mlflow_s_agents_answer():
    """What these tests read is no invention: MLflow's response classes take the fake workspace's bodies."""
    from workspace.answers import wrapped

    assert ResponsesAgentResponse(**wrapped("agent/v1/responses", "m", "q", "hi")).output[-1].content[0]["text"] == "hi"
    assert ChatAgentResponse(**wrapped("agent/v2/chat", "m", "q", "hi")).messages[-1].content == "hi"


NO_ANSWER = {
    "llm/v1/completions": [{}, {"choices": []}, {"choices": [{}]}, []],
    "agent/v1/responses": [
        {},
        {"output": [{"type": "reasoning"}]},
        {"output": None},
        {"output": [], "error": {"x": 1}},
    ],
    "agent/v2/chat": [{}, {"messages": []}, {"messages": [{"role": "tool", "content": "x"}]}, "text"],
    "dataframe_records": [{}, {"predictions": []}, {"predictions": [None]}, None],
}


@pytest.mark.parametrize(("task", "body"), [(task, body) for task, bodies in NO_ANSWER.items() for body in bodies])
def test_what_holds_no_answer_is_a_bad_response(task, body):
    """HTTP 200 with anything else than an answer is an infrastructure failure, never an empty answer."""
    reading = protocol_of(Endpoint("m", "databricks", task=task))
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
        assert reading.read(body).text is None
    if body:
        found, _ = asked(task, Reply(body=body))
        assert found.kind is ErrorKind.BAD_RESPONSE, found


def test_how_an_agent_s_answer_ended_is_known():
    """An answer that was cut off or withheld says so as a chat model's does."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "begin"}]}
    body = {"output": [said], "usage": {"input_tokens": 5, "output_tokens": 2}}
    found, _ = asked("agent/v1/responses", Reply(body=body | {"incomplete_details": {"reason": "max_output_tokens"}}))
    assert (found.text, found.finish_reason, found.prompt_tokens, found.completion_tokens) == ("begin", "length", 5, 2)
    found, _ = asked("agent/v1/responses", Reply(body=body | {"incomplete_details": {"reason": "content_filter"}}))
    assert isinstance(found, PromptFailure)


def test_an_agent_that_is_asked_the_wrong_way_says_so():
    """A Responses agent taken for a chat model rejects the field by name; the message shows it."""
    found, _ = asked("llm/v1/chat", "hi", served_task="agent/v1/responses")
    assert found.kind is ErrorKind.REJECTED
    assert "'messages' field is not supported. Please use 'input' field instead." in found.message


def test_a_task_that_can_not_be_scored_is_refused():
    """An embedding is no answer, and an unknown task is not guessed at."""
    with pytest.raises(InputError, match="a vector is no answer that can be scored"):
        protocol_of(Endpoint("m", "databricks", task="llm/v1/embeddings"))
    with pytest.raises(InputError, match="set task to one of llm/v1/chat"):
        protocol_of(Endpoint("m", "databricks", task="llm/v2/mind"))


def test_the_task_is_no_part_of_an_endpoint_s_identity():
    """Ledgers that were written before the task was known, or said, stay valid."""
    endpoint = Endpoint("m", "databricks", "https://w", sampling=Sampling(temperature=0.0))
    assert endpoint.endpoint_id == "ea03476f8ac591973e90d986e93d6351"
    assert replace(endpoint, task="agent/v1/responses", base_url="https://v").endpoint_id == endpoint.endpoint_id
