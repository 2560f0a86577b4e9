"""What libraries record of a call to a model: requests as messages, replies as answers.

Known are OpenAI's Chat Completions and Responses, Anthropic's Messages, Bedrock's Converse, Gemini's contents,
LangChain's messages and results (as objects dumped in any of its three ways), and OpenTelemetry's messages with parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ROLES = {"human": "user", "ai": "assistant", "developer": "system", "model": "assistant", "function": "tool"}
# What the various APIs call an answer that a limit of tokens cut short, in lower case.
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "incomplete"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


@dataclass(frozen=True)
class Answer:
    """A reply: its text (``None`` where there is none), whether it is cut short, and whether it asks for tools."""

    text: str | None
    cut: bool = False
    calls_tools: bool = False


def messages_of(inputs: Any) -> list[dict[str, Any]] | None:
    """Return the request's messages, each with ``role`` and ``content``; ``None`` where ``inputs`` are no request.

    A ``content`` that is not one text (pictures, several parts) is ``None``.

    >>> messages_of({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    [{'role': 'user', 'content': 'Hi'}]
    >>> messages_of({"instructions": "Be brief.", "input": "Hi"})
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Hi'}]
    """
    if isinstance(inputs, str):
        return [{"role": "user", "content": inputs}]
    if isinstance(inputs, Mapping):
        return _of_mapping(inputs)
    if not isinstance(inputs, Sequence) or not inputs:
        return None
    if len(inputs) == 1 and isinstance(inputs[0], str | list) and not _is_pair(inputs[0]):
        return messages_of(inputs[0])  # LangChain records batches, mostly of one
    found = [_message(item) for item in inputs]
    return None if any(message is None for message in found) else [message for message in found if message]


def _of_mapping(inputs: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    for key in ("messages", "input", "contents", "prompt", "prompts"):
        if key not in inputs or inputs[key] is None:
            continue
        found = messages_of(inputs[key])
        if found is None:
            return None
        config = inputs.get("config")
        system = inputs.get("instructions") or inputs.get("system") or inputs.get("system_instruction")
        if system is None and isinstance(config, Mapping):
            system = config.get("system_instruction") or config.get("systemInstruction")
        return [*([{"role": "system", "content": _text(system)}] if system else []), *found]
    return None


def _message(item: Any) -> dict[str, Any] | None:
    if _is_pair(item):
        return {"role": _ROLES.get(item[0], item[0]), "content": _text(item[1])}
    if not isinstance(item, Mapping):
        return None
    body = next((item[key] for key in ("kwargs", "data") if isinstance(item.get(key), Mapping)), item)
    role = body.get("role") or body.get("type") or item.get("type")
    if role == "constructor" and isinstance(item.get("id"), list) and item["id"]:
        role = str(item["id"][-1]).removesuffix("Chunk").removesuffix("Message").lower()
    if str(role).startswith(("function_call", "reasoning")) or role == "item_reference":
        return {"role": "tool", "content": None}
    if role == "message" and "role" not in body:
        return None
    if not isinstance(role, str) or not ("content" in body or "parts" in body or body.get("tool_calls")):
        return None
    return {"role": _ROLES.get(role.lower(), role.lower()), "content": _text(body.get("content", body.get("parts")))}


def _is_pair(item: Any) -> bool:
    """LangChain's short form of a message: role and text."""
    return isinstance(item, list | tuple) and len(item) == 2 and item[0] in (*_ROLES, *_ROLES.values(), "user")


def _text(content: Any) -> str | None:
    """The one text of a content: as it is, or the only part of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = content.get("parts", [content])
    if not isinstance(content, Sequence) or len(content) != 1:
        return None
    part = content[0]
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type", "text") not in _TEXT_PARTS:
        return None
    found = part.get("text", part.get("content"))
    return found if isinstance(found, str) else None


def answer_of(outputs: Any) -> Answer | None:
    """Return the reply in a span's outputs; ``None`` where they are nothing that is known.

    >>> answer_of({"choices": [{"message": {"content": "hello"}, "finish_reason": "length"}]})
    Answer(text='hello', cut=True, calls_tools=False)
    """
    if isinstance(outputs, str):
        return Answer(outputs)
    if isinstance(outputs, list) and outputs:
        return _streamed(outputs) or answer_of(outputs[-1])
    if not isinstance(outputs, Mapping):
        return None
    for key, found in (
        ("choices", _choice),
        ("generations", _generation),
        ("candidates", _candidate),
        ("messages", _last_message),
        ("output", _responses),
    ):
        if outputs.get(key):
            return found(outputs, outputs[key])
    return _spoken(outputs)


def _choice(_: Mapping[str, Any], choices: Any) -> Answer | None:
    first = _first(choices)
    if not isinstance(first, Mapping):
        return None
    spoken = _spoken(first["message"]) if isinstance(first.get("message"), Mapping) else _spoken(first)
    return _with(spoken, cut=_is_cut(first))


def _streamed(chunks: Sequence[Any]) -> Answer | None:
    """A chat completion that came in parts, each a list of choices with a ``delta``."""
    choices = [_first(chunk["choices"]) for chunk in chunks if isinstance(chunk, Mapping) and chunk.get("choices")]
    deltas = [c["delta"] for c in choices if isinstance(c, Mapping) and isinstance(c.get("delta"), Mapping)]
    if not deltas:
        return None
    text = "".join(delta["content"] for delta in deltas if isinstance(delta.get("content"), str))
    tools = any(delta.get("tool_calls") for delta in deltas)
    return Answer(text or None if tools else text, any(_is_cut(choice) for choice in choices), tools)


def _generation(_: Mapping[str, Any], generations: Any) -> Answer | None:
    first = _first(generations)
    first = _first(first) if isinstance(first, list) else first
    if not isinstance(first, Mapping):
        return None
    message = first.get("message")
    spoken = _spoken(message) if isinstance(message, Mapping) else None
    if spoken is None and isinstance(first.get("text"), str):
        spoken = Answer(first["text"])
    info = first.get("generation_info")
    return _with(spoken, cut=isinstance(info, Mapping) and _is_cut(info))


def _candidate(_: Mapping[str, Any], candidates: Any) -> Answer | None:
    first = _first(candidates)
    if not isinstance(first, Mapping) or not isinstance(first.get("content"), Mapping):
        return None
    parts = first["content"].get("parts") or []
    return _with(_of_parts(parts), cut=_is_cut(first))


def _last_message(_: Mapping[str, Any], messages: Any) -> Answer | None:
    last = messages[-1] if isinstance(messages, list) else None
    message = _message(last) or {}
    return _spoken(last) if isinstance(last, Mapping) and message.get("role") == "assistant" else None


def _responses(outputs: Mapping[str, Any], output: Any) -> Answer | None:
    """OpenAI's Responses: a list of items; Bedrock's Converse: one message under ``output``."""
    if isinstance(output, Mapping) and isinstance(output.get("message"), Mapping):
        return _with(_spoken(output["message"]), cut=_is_cut(outputs))
    if not isinstance(output, list):
        return _spoken(outputs)
    said = [item for item in output if isinstance(item, Mapping) and item.get("type", "message") == "message"]
    tools = any(isinstance(item, Mapping) and str(item.get("type", "")).endswith("_call") for item in output)
    spoken = _spoken(said[-1]) if said else None
    if spoken is None:
        return Answer(None, calls_tools=True) if tools else None
    return _with(spoken, cut=_is_cut(outputs))


def _spoken(message: Mapping[str, Any]) -> Answer | None:
    """One message of the model, or a result that looks like one."""
    body = next((message[key] for key in ("kwargs", "data") if isinstance(message.get(key), Mapping)), message)
    meta = body.get("response_metadata")
    cut = _is_cut(body) or (isinstance(meta, Mapping) and _is_cut(meta))
    more = body.get("additional_kwargs")
    tools = bool(body.get("tool_calls") or body.get("function_call"))
    tools = tools or (isinstance(more, Mapping) and bool(more.get("tool_calls")))
    content = body.get("content", body.get("parts", body.get("text", body.get("output_text"))))
    if isinstance(content, str):
        return Answer(None if tools and not content else content, cut, tools)
    if isinstance(content, list):
        found = _of_parts(content)
        return _with(found, cut=cut, tools=tools)
    return Answer(None, cut, calls_tools=True) if tools else None


def _of_parts(parts: Sequence[Any]) -> Answer | None:
    texts, tools = [], False
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            kind = str(part.get("type", "text"))
            text = part.get("text", part.get("content"))
            if kind in _TEXT_PARTS and isinstance(text, str):
                texts.append(text)
            tools = tools or kind in {"tool_use", "tool_call"} or "functionCall" in part or "toolUse" in part
    if not texts:
        return Answer(None, calls_tools=True) if tools else None
    return Answer("".join(texts), calls_tools=tools)


def _with(answer: Answer | None, *, cut: bool = False, tools: bool = False) -> Answer | None:
    if answer is None:
        return Answer(None, cut, calls_tools=True) if tools else None
    return Answer(answer.text, answer.cut or cut, answer.calls_tools or tools)


def _is_cut(found: Mapping[str, Any]) -> bool:
    reasons = (found.get(k) for k in ("finish_reason", "finishReason", "stop_reason", "stopReason", "status"))
    return any(isinstance(reason, str) and reason.rsplit(".", 1)[-1].lower() in _CUT for reason in reasons)


def _first(items: Any) -> Any:
    return items[0] if isinstance(items, list) and items else None
