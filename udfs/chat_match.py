"""A prompt found again in the messages of a call, and the values of its variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from udfs.prompt import Message, placeholders
from udfs.template_match import AMBIGUOUS, MISMATCH, Unmatched, recover, together

OTHER_MESSAGES = "other messages than the prompt's"
HISTORY = "earlier turns that the template has no variable for"
CONTINUED = "a later step of a call with tools"
# A message that is nothing but one of these variables stands for all the earlier turns of a conversation.
HISTORY_NAMES = frozenset({"history", "chat_history", "conversation", "messages"})


def recover_from_messages(
    template: str | Sequence[Message], messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | Unmatched:
    """Return the values of ``template``'s variables out of the ``messages`` of a call.

    ``template`` is as :meth:`udfs.prompt.Prompt.deployed` gives it; a text must have been sent as the only message, a
    user's. Roles must be the same. Earlier turns that stand between the template's beginning and its last user message
    become the value of a message that is only ``{{history}}`` (a list of messages), else there is no row in it. What
    comes after the answer of a tool is no call of the prompt's own.

    >>> chat = [{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{q}}"}]
    >>> recover_from_messages(chat, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}])
    {'tone': 'kind', 'q': 'Why?'}
    """
    wanted = [{"role": "user", "content": template}] if isinstance(template, str) else list(template)
    held = [number for number, message in enumerate(wanted) if _history_variable(message)]
    if len(messages) == len(wanted):
        found = _one_by_one(wanted, messages)
        if not held or found != Unmatched(OTHER_MESSAGES):
            return found
    if messages and messages[-1].get("role") != "user" and wanted[-1]["role"] == "user":
        return Unmatched(CONTINUED)
    if held:
        name = _history_variable(wanted[held[0]])
        return _around(wanted, messages, held[0], name) if len(held) == 1 else Unmatched(AMBIGUOUS)
    return Unmatched(_beside(wanted, messages))


def _beside(wanted: Sequence[Message], messages: Sequence[Mapping[str, Any]]) -> str:
    """Why a call with another number of messages is no row, though the prompt may be in it."""
    if len(messages) < len(wanted):
        return OTHER_MESSAGES
    last_user = max(number for number, message in enumerate(wanted) if message["role"] == "user")
    found = _around([*wanted[:last_user], {}, *wanted[last_user:]], messages, last_user, None)
    if isinstance(found, Unmatched) and found.reason != AMBIGUOUS:
        return found.reason
    between = messages[last_user : len(messages) - (len(wanted) - last_user)]
    turns = all(message.get("role") in {"user", "assistant", "tool"} for message in between)
    return HISTORY if turns else OTHER_MESSAGES


def _around(
    wanted: Sequence[Message], messages: Sequence[Mapping[str, Any]], place: int, name: str | None
) -> dict[str, Any] | Unmatched:
    """Match what stands before and behind ``place``; what the call has in between is the value of ``name``."""
    behind = len(wanted) - place - 1
    if len(messages) < place + behind:
        return Unmatched(OTHER_MESSAGES)
    end = len(messages) - behind
    values = _one_by_one([*wanted[:place], *wanted[place + 1 :]], [*messages[:place], *messages[end:]])
    if isinstance(values, Unmatched) or name is None:
        return values
    history = [dict(message) for message in messages[place:end]]
    if any(not isinstance(message.get("content"), str) for message in history):
        return Unmatched(OTHER_MESSAGES)
    if values.get(name, json.dumps(history, ensure_ascii=False)) != json.dumps(history, ensure_ascii=False):
        return Unmatched(MISMATCH)
    return {**values, name: history}


def _one_by_one(wanted: Sequence[Message], messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | Unmatched:
    parts: list[Mapping[str, str] | Unmatched] = []
    for one, message in zip(wanted, messages, strict=True):
        if one["role"] != message.get("role"):
            return Unmatched(OTHER_MESSAGES)
        content = message.get("content")
        parts.append(recover(one["content"], content) if isinstance(content, str) else Unmatched(MISMATCH))
    return together(parts)


def _history_variable(message: Message) -> str | None:
    pieces = placeholders(message["content"].strip())
    alone = len(pieces) == 3 and not pieces[0] and not pieces[2]
    return pieces[1] if alone and pieces[1] in HISTORY_NAMES else None
