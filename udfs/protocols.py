"""How a request is written and its answer read: one class a protocol, chosen by the endpoint's task.

The tasks are those that Databricks gives its serving endpoints, and two of ours for custom models, which have none:

================================= ============================== ==========================================
task                              request                        answer
================================= ============================== ==========================================
``llm/v1/chat`` (also unsaid)     ``messages``                   ``choices[0].message``
``llm/v1/completions``            ``prompt``                     ``choices[0].text``
``agent/v1/responses``            ``input``                      the last assistant message of ``output``
``agent/v1/chat``, ``agent/v2/…`` ``messages``                   the last assistant message of ``messages``
``dataframe_records``             one record: the row's inputs   ``predictions[0]``, a text or JSON
``inputs``                        one text: the rendered prompt  ``predictions[0]``, a text or JSON
================================= ============================== ==========================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from udfs.conversation import Message
from udfs.endpoint import Endpoint
from udfs.errors import InputError

CHAT, RECORDS, INPUTS = "llm/v1/chat", "dataframe_records", "inputs"
# The column of a record that holds the rendered prompt, where the row has no input of that name.
PROMPT_COLUMN = "prompt"


class Reading(NamedTuple):
    """What an answer's body says: its text (``None``: it holds no answer), the tokens, and how it ended."""

    text: str | None
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None


class WireProtocol(Protocol):
    """Writes requests to one endpoint, and reads what it answers; ``answer_name`` is what that is called."""

    @property
    def answer_name(self) -> str:
        """What it should have answered with, for people."""
        ...

    def body(
        self,
        messages: Sequence[Message],
        inputs: Mapping[str, Any] | None,
        *,
        response_format: Mapping[str, Any] | None,
        seed: int | None,
    ) -> dict[str, Any]:
        """Return the request's body. ``inputs`` are the row's, ``None`` where nothing but messages is asked.

        What the protocol has no field for (a seed, a response format) is left out.
        """
        ...

    def read(self, body: Any) -> Reading:
        """Read an answer's body.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: it is no answer of this protocol.
        """
        ...


class ChatCompletions:
    """OpenAI's chat completions, which Databricks' foundation and external models speak, too."""

    answer_name = "a chat completion"

    def __init__(self, endpoint: Endpoint) -> None:
        named: dict[str, Any] = {"model": endpoint.name} if endpoint.provider != "databricks" else {}
        self.fixed = named | endpoint.sampling.body()

    def body(
        self,
        messages: Sequence[Message],
        inputs: Mapping[str, Any] | None,  # noqa: ARG002 - they are in the messages
        *,
        response_format: Mapping[str, Any] | None,
        seed: int | None,
    ) -> dict[str, Any]:
        """Return the messages and every parameter."""
        body = self.fixed | {"messages": list(messages)}
        if response_format is not None:
            body["response_format"] = dict(response_format)
        if seed is not None:
            body["seed"] = seed
        return body

    def read(self, body: Any) -> Reading:
        """Read the first choice."""
        choice = body["choices"][0]
        message = choice["message"]
        content = message.get("content")
        if isinstance(content, list):  # typed parts, as some models behind a gateway answer
            content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
        prompt, completion = _tokens(body)
        if content is None and (message.get("tool_calls") or completion):
            content = ""
        return Reading(content, prompt, completion, choice.get("finish_reason"))


class Completions:
    """Text completions: the messages go as one text."""

    answer_name = "a completion"

    def __init__(self, endpoint: Endpoint) -> None:
        named: dict[str, Any] = {"model": endpoint.name} if endpoint.provider != "databricks" else {}
        self._fixed = named | endpoint.sampling.body()

    def body(
        self,
        messages: Sequence[Message],
        inputs: Mapping[str, Any] | None,  # noqa: ARG002 - they are in the messages
        *,
        response_format: Mapping[str, Any] | None,  # noqa: ARG002 - unknown to this protocol
        seed: int | None,
    ) -> dict[str, Any]:
        """Return the text and every parameter."""
        return self._fixed | {"prompt": _text_of(messages)} | ({} if seed is None else {"seed": seed})

    def read(self, body: Any) -> Reading:
        """Read the first choice."""
        choice = body["choices"][0]
        return Reading(choice["text"], *_tokens(body), choice.get("finish_reason"))


class ResponsesAgent:
    """An MLflow ``ResponsesAgent``: OpenAI's Responses protocol, without a seed, stop words or a response format."""

    answer_name = "an agent's response"

    def __init__(self, endpoint: Endpoint) -> None:
        sampling = endpoint.sampling
        named = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_output_tokens": sampling.max_tokens,
        }
        self._fixed = {key: value for key, value in named.items() if value is not None} | dict(sampling.extra)

    def body(
        self,
        messages: Sequence[Message],
        inputs: Mapping[str, Any] | None,  # noqa: ARG002 - they are in the messages
        *,
        response_format: Mapping[str, Any] | None,  # noqa: ARG002 - unknown to this protocol
        seed: int | None,  # noqa: ARG002 - unknown to this protocol
    ) -> dict[str, Any]:
        """Return the messages as input items."""
        return self._fixed | {"input": [dict(message) for message in messages]}

    def read(self, body: Any) -> Reading:
        """Read the last assistant message that has a text: what came before is thought, tools and small talk."""
        said = [_parts(item["content"]) for item in body["output"] if _is_said(item)]
        incomplete = (body.get("incomplete_details") or {}).get("reason")
        reason = "length" if incomplete == "max_output_tokens" else incomplete
        failed = bool(body.get("error")) and not said
        usage = body.get("usage") or {}
        tokens = _int(usage.get("input_tokens")), _int(usage.get("output_tokens"))
        return Reading(_last(said), *tokens, "error" if failed else reason)


class ChatAgent:
    """An MLflow ``ChatAgent`` (or a ``ChatModel`` behind the same task): no sampling but what ``extra`` says."""

    answer_name = "an agent's messages"

    def __init__(self, endpoint: Endpoint) -> None:
        self._fixed = dict(endpoint.sampling.extra)

    def body(
        self,
        messages: Sequence[Message],
        inputs: Mapping[str, Any] | None,  # noqa: ARG002 - they are in the messages
        *,
        response_format: Mapping[str, Any] | None,  # noqa: ARG002 - unknown to this protocol
        seed: int | None,  # noqa: ARG002 - unknown to this protocol
    ) -> dict[str, Any]:
        """Return the messages."""
        return self._fixed | {"messages": [dict(message) for message in messages]}

    def read(self, body: Any) -> Reading:
        """Read the last assistant message that has a text; older agents answer with ``choices``."""
        if "messages" not in body:
            message = body["choices"][0]["message"]
            return Reading(message["content"], *_tokens(body), body["choices"][0].get("finish_reason"))
        said = [_parts(m.get("content")) for m in body["messages"] if m.get("role") == "assistant"]
        return Reading(_last(said), *_tokens(body), body.get("finish_reason"))


class CustomModel:
    """A model of one's own behind MLflow's scoring protocol; sampling parameters go as its ``params``."""

    answer_name = "predictions"

    def __init__(self, endpoint: Endpoint, *, field: str) -> None:
        self._field = field
        self._params = endpoint.sampling.body()

    def body(
        self,
        messages: Sequence[Message],
        inputs: Mapping[str, Any] | None,
        *,
        response_format: Mapping[str, Any] | None,  # noqa: ARG002 - unknown to this protocol
        seed: int | None,
    ) -> dict[str, Any]:
        """Return one record: the row's inputs as columns and the rendered prompt beside them; or the prompt alone."""
        text = _text_of(messages)
        row: Any = {PROMPT_COLUMN: text} | dict(inputs or {}) if self._field == RECORDS else text
        params = self._params | ({} if seed is None else {"seed": seed})
        return {self._field: [row]} | ({"params": params} if params else {})

    def read(self, body: Any) -> Reading:
        """Read the first prediction: a text as it is, anything else as JSON."""
        found = body["predictions"]
        if isinstance(found, list):
            found = found[0]
        text = found if isinstance(found, str) or found is None else json.dumps(found, ensure_ascii=False)
        return Reading(text, *_tokens(body), None)


_TASKS = (CHAT, "llm/v1/completions", "agent/v1/responses", "agent/v1/chat", "agent/v2/chat", RECORDS, INPUTS)


def protocol_of(endpoint: Endpoint) -> WireProtocol:
    """Return how ``endpoint`` is spoken to.

    Raises:
        InputError: its task has no answer that can be scored, or is not known.
    """
    task = endpoint.task or CHAT
    if task == CHAT:
        return ChatCompletions(endpoint)
    if task == "llm/v1/completions":
        return Completions(endpoint)
    if task == "agent/v1/responses":
        return ResponsesAgent(endpoint)
    if task in {"agent/v1/chat", "agent/v2/chat"}:
        return ChatAgent(endpoint)
    if task in {RECORDS, INPUTS}:
        return CustomModel(endpoint, field=task)
    where = f"endpoint {endpoint.name!r} has the task {task!r}"
    if task == "llm/v1/embeddings":
        raise InputError(f"{where}: a vector is no answer that can be scored; name an endpoint that answers with text")
    raise InputError(f"{where}, which is not known here; set task to one of {', '.join(_TASKS)}")


def _text_of(messages: Sequence[Message]) -> str:
    return "\n\n".join(message["content"] for message in messages)


def _is_said(item: Any) -> bool:
    return bool(item.get("type", "message") == "message" and item.get("role", "assistant") == "assistant")


def _parts(content: Any) -> str:
    """Return the text of a message, which may come in typed parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in content)
    return content or ""


def _last(said: Sequence[str]) -> str | None:
    return next((text for text in reversed(said) if text), said[-1] if said else None)


def _tokens(body: Any) -> tuple[int, int]:
    usage = body.get("usage") or {}
    return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)


def _int(value: Any) -> int:
    return int(value or 0)
