"""The shapes of requests and answers, one pair a task: what is asked for, and how the text is wrapped."""

from __future__ import annotations

from .errors import ApiError

# Which field a task's request must have; the others are refused by name, as the real endpoints do.
FIELDS = {
    "llm/v1/chat": "messages",
    "llm/v1/completions": "prompt",
    "llm/v1/embeddings": "input",
    "agent/v1/responses": "input",
    "agent/v1/chat": "messages",
    "agent/v2/chat": "messages",
}
# Of custom models: a request has exactly one of them.
_CUSTOM_FIELDS = ("dataframe_records", "dataframe_split", "inputs", "instances")


def prompt_of(task, body):
    """Return all that was asked as one text.

    Raises:
        ApiError: the body is not what an endpoint of the task takes.
    """
    if task not in FIELDS:
        given = [field for field in _CUSTOM_FIELDS if field in body]
        if len(given) != 1:
            said = "Invalid input. The input must contain exactly one of " + ", ".join(_CUSTOM_FIELDS)
            raise ApiError(400, "BAD_REQUEST", said)
        rows = body[given[0]]
        return "\n".join(str(value) for row in rows for value in (row.values() if isinstance(row, dict) else [row]))
    field = FIELDS[task]
    if field not in body:
        wrong = next((name for name in ("messages", "input", "prompt") if name in body), "body")
        said = f"'{wrong}' field is not supported. Please use '{field}' field instead."
        raise ApiError(400, "BAD_REQUEST", said)
    asked = body[field]
    if isinstance(asked, str):
        return asked
    return "\n".join(item if isinstance(item, str) else _text(item["content"]) for item in asked)


def _text(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def wrapped(task, name, prompt, text):
    """Return the body of an answer of ``task`` that says ``text`` (an embedding: a list; a custom model: anything)."""
    words = len(str(prompt)) // 4 + 1, len(str(text)) // 4 + 1
    usage = {"prompt_tokens": words[0], "completion_tokens": words[1], "total_tokens": sum(words)}
    if task == "llm/v1/chat":
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "chatcmpl-1", "object": "chat.completion", "model": name, "choices": [choice], "usage": usage}
    if task == "llm/v1/completions":
        choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        return {"id": "cmpl-1", "object": "text_completion", "model": name, "choices": [choice], "usage": usage}
    if task == "llm/v1/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": text}]
        return {
            "object": "list",
            "data": data,
            "model": name,
            "usage": {"prompt_tokens": words[0], "total_tokens": words[0]},
        }
    if task == "agent/v1/responses":
        return {"object": "response", "id": "resp_1", "output": _items(text)}
    if task in {"agent/v1/chat", "agent/v2/chat"}:
        first = {"role": "assistant", "id": "m-1", "content": "", "tool_calls": [_TOOL_CALL]}
        found = {"role": "tool", "id": "m-2", "content": "found", "tool_call_id": "c-1", "name": "look_up"}
        return {"messages": [first, found, {"role": "assistant", "id": "m-3", "content": text}]}
    return {"predictions": [text]}


_TOOL_CALL = {"id": "c-1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def _items(text):
    """An agent's way: it thinks, calls a tool, says something on the way, and answers."""
    return [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "thinking"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c-1", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c-1", "output": "found"},
        _message("msg_1", "Let me see."),
        _message("msg_2", text),
    ]


def _message(name, text):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": name, "role": "assistant", "status": "completed", "content": [part]}
