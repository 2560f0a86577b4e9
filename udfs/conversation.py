"""Rows that are conversations: recorded chats, with what was handed beside the messages.

dao-ai and MLflow's agents record ``{"messages": [{"role", "content"}, …], "custom_inputs": {"configurable": {…}}}``.
As a row's inputs, ``messages`` stays whole, and what stands in ``custom_inputs`` becomes variables of its own names.
How a prompt is asked within a conversation, see :meth:`udfs.prompt.Prompt.messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MESSAGES = "messages"
_INPUT, _CUSTOM, _CONFIGURABLE = "input", "custom_inputs", "configurable"
_QUESTION = "question"
# They tell sessions apart, and would make two equal inputs differ.
_SESSIONS = ("thread_id", "conversation_id")
_ROLES = ("system", "user", "assistant")

Message = dict[str, str]


def flat_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Bring recorded chats to a row's inputs; any other inputs stay as they are.

    A system message is left out, because the prompt that is scored takes its place.

    >>> flat_inputs({"messages": [{"role": "user", "content": "Hi"}],
    ...              "custom_inputs": {"configurable": {"user_id": "me", "thread_id": "1"}}})
    {'user_id': 'me', 'messages': [{'role': 'user', 'content': 'Hi'}]}
    """
    found = _turns(inputs.get(_INPUT)) or _turns(inputs.get(MESSAGES))
    if found is None:
        return dict(inputs)
    custom = inputs.get(_CUSTOM)
    custom = dict(custom) if isinstance(custom, Mapping) else {}
    configurable = custom.pop(_CONFIGURABLE, None)
    named = {**custom, **(configurable if isinstance(configurable, Mapping) else {})}
    beside = {key: value for key, value in inputs.items() if key not in {_INPUT, MESSAGES, _CUSTOM}}
    named = {str(key): value for key, value in {**named, **beside}.items() if key not in _SESSIONS}
    return {**named, MESSAGES: [turn for turn in found if turn["role"] != "system"]}


def conversation_of(inputs: Mapping[str, Any]) -> list[Message] | None:
    """Return a row's conversation up to its last user message; ``None`` where the row is none."""
    turns = _turns(inputs.get(MESSAGES))
    while turns and turns[-1]["role"] != "user":
        turns.pop()
    return turns or None


def question_variable(variables: frozenset[str], inputs: Mapping[str, Any]) -> str | None:
    """Return which of a template's variables the last user message is the value of; ``None`` where none is.

    It is ``question``, or the only one that the row has no value for.

    >>> question_variable(frozenset({"text", "user_id"}), {"user_id": "me", "messages": []})
    'text'
    """
    missing = sorted(variables - inputs.keys())
    if _QUESTION in missing:
        return _QUESTION
    return missing[0] if len(missing) == 1 else None


def _turns(value: Any) -> list[Message] | None:
    """Return chat messages of roles and texts; ``None`` for anything else."""
    if not isinstance(value, list) or not value:
        return None
    turns = []
    for message in value:
        if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
            return None
        content = _text(message.get("content"))
        if content is None:
            return None
        turns.append({"role": str(message["role"]), "content": content})
    return turns


def _text(content: Any) -> str | None:
    """Return a message's text, also where it comes in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if texts and len(texts) == len(parts) else None
