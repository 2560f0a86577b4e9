"""A prompt found again in the messages of a call, and the values of its variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from udfs.conversation import MESSAGES, Message
from udfs.prompt import placeholders
from udfs.template_match import AMBIGUOUS, MISMATCH, Unmatched, recover, together

OTHER_MESSAGES = "other messages than the prompt's"
HISTORY = "earlier turns that no row can hold"
CONTINUED = "a later step of a call with tools"
# A message that is nothing but one of these variables stands for all the earlier turns of a conversation.
HISTORY_NAMES = frozenset({"history", "chat_history", "conversation", "messages"})
# Names that mean something else in a row that is a conversation, see udfs.conversation.
_TAKEN = frozenset({"input", "custom_inputs", "thread_id", "conversation_id"})


def recover_from_messages(
    template: str | Sequence[Message], messages: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | Unmatched:
    """Return the values of ``template``'s variables out of the ``messages`` of a call.

    ``template`` is as :meth:`udfs.prompt.Prompt.deployed` gives it; a text must have been sent as the only message, a
    user's. Roles must be the same. Where there are more messages than that, what comes back holds a conversation, as
    :meth:`udfs.prompt.Prompt.messages` asks it: earlier turns between the template's beginning and its last user
    message, whose variable is then left out; or, for a text that was sent as the system message, all that follows. A
    message that is only ``{{history}}`` takes the turns itself. What comes after the answer of a tool is no call of the
    prompt's own.

    >>> chat = [{"role": "system", "content": "Be {{tone}}."}, {"role": "user", "content": "{{q}}"}]
    >>> recover_from_messages(chat, [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}])
    {'tone': 'kind', 'q': 'Why?'}
    >>> recover_from_messages("Be {{tone}}.", [{"role": "system", "content": "Be kind."}, *chat[1:]])
    {'tone': 'kind', 'messages': [{'role': 'user', 'content': '{{q}}'}]}
    """
    wanted = [{"role": "user", "content": template}] if isinstance(template, str) else list(template)
    held = [(number, name) for number, message in enumerate(wanted) if (name := _history_variable(message))]
    if len(messages) == len(wanted):
        found = _one_by_one(wanted, messages)
        if not held or found != Unmatched(OTHER_MESSAGES):
            return found
    if messages and messages[-1].get("role") != "user" and wanted[-1]["role"] == "user":
        return Unmatched(CONTINUED)
    if held:
        return _around(wanted, messages, *held[0]) if len(held) == 1 else Unmatched(AMBIGUOUS)
    if isinstance(template, str) and messages and messages[0].get("role") == "system":
        found = _followed([{"role": "system", "content": template}], messages)
    else:
        found = _within(wanted, messages)
    if not isinstance(found, Unmatched) and found.keys() & _TAKEN:
        return Unmatched(HISTORY)
    return found


def _within(wanted: Sequence[Message], messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | Unmatched:
    """The prompt around earlier turns: its last user message asks the conversation's last question."""
    last_user = max(number for number, message in enumerate(wanted) if message["role"] == "user")
    asked = placeholders(wanted[last_user]["content"])[1::2]
    if not asked:
        return _followed(wanted, messages)
    behind = len(wanted) - last_user
    if len(messages) < len(wanted):
        return Unmatched(OTHER_MESSAGES)
    place = len(messages) - behind
    values = _one_by_one(wanted, [*messages[:last_user], *messages[place:]])
    if isinstance(values, Unmatched):
        return values
    before = _turns(messages[last_user:place])
    # The question is the value that the row has under no name of its own: one variable, or the one of that name.
    question = "question" if "question" in asked else asked[0] if len(set(asked)) == 1 else None
    if before is None or question is None or MESSAGES in values:
        return Unmatched(HISTORY)
    turns = [*before, {"role": "user", "content": values.pop(question)}]
    return {**values, MESSAGES: turns}


def _followed(wanted: Sequence[Message], messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | Unmatched:
    """The prompt and then a whole conversation, for a prompt that asks nothing itself."""
    if len(messages) <= len(wanted):
        return Unmatched(OTHER_MESSAGES)
    values = _one_by_one(wanted, messages[: len(wanted)])
    turns = _turns(messages[len(wanted) :])
    if isinstance(values, Unmatched):
        return values
    if turns is None or turns[-1]["role"] != "user" or MESSAGES in values:
        return Unmatched(HISTORY)
    return {**values, MESSAGES: turns}


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[Message] | None:
    """The messages as turns of users and assistants; ``None`` where there is anything else among them."""
    turns = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in {"user", "assistant"} or not isinstance(content, str):
            return None
        turns.append({"role": str(role), "content": content})
    return turns


def _around(
    wanted: Sequence[Message], messages: Sequence[Mapping[str, Any]], place: int, name: str
) -> dict[str, Any] | Unmatched:
    """Match what stands before and behind ``place``; what the call has in between is the value of ``name``."""
    behind = len(wanted) - place - 1
    if len(messages) < place + behind:
        return Unmatched(OTHER_MESSAGES)
    end = len(messages) - behind
    values = _one_by_one([*wanted[:place], *wanted[place + 1 :]], [*messages[:place], *messages[end:]])
    if isinstance(values, Unmatched):
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
