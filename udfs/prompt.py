"""Prompts as they are scored and deployed: parsing, components, and rendering into chat messages.

A prompt is one text or a list of chat messages with ``{{variable}}`` placeholders. The search works on its
*components* (name -> text); what is scored is exactly what :meth:`Prompt.deployed` returns.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from udfs.conversation import MESSAGES, Message, conversation_of, question_variable
from udfs.errors import InputError
from udfs.well_formed import well_formed

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")
_TURNS = ("user", "assistant")
_ROLES = ("system", *_TURNS)

# The component that holds few-shot turns of a chat prompt: a JSON list of messages, put before the last user message.
DEMOS = "demos"
TEMPLATE = "template"
# No message has this name.
_ROLES_KEY = "roles"


def variables(text: str) -> frozenset[str]:
    """Return the names of the placeholders in ``text``.

    >>> sorted(variables("Translate {{ text }} to {{lang}}; {this} stays"))
    ['lang', 'text']
    """
    return frozenset(_VARIABLE.findall(text))


def placeholders(text: str) -> list[str]:
    """Take ``text`` apart: what stands before, between and behind the placeholders, and in between their names.

    >>> placeholders("Say {{word}} {{ n }} times")
    ['Say ', 'word', ' ', 'n', ' times']
    """
    return _VARIABLE.split(text)


def render(text: str, inputs: Mapping[str, Any]) -> str:
    """Put ``inputs`` into ``text`` in a single pass: a value that itself holds ``{{x}}`` is not expanded again.

    Strings go in as they are, everything else as JSON.

    Raises:
        InputError: a placeholder has no value in ``inputs``.

    >>> render("Say {{word}} {{n}} times", {"word": "{{n}}", "n": 2})
    'Say {{n}} 2 times'
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in inputs:
            known = ", ".join(sorted(inputs)) or "none"
            raise InputError(f"the template's variable {{{{{name}}}}} is not among the row's inputs ({known})")
        found = inputs[name]
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _VARIABLE.sub(value, text)


def candidate_id(components: Mapping[str, str]) -> str:
    """Return the identity of a candidate: the sha256 of its components' texts.

    >>> candidate_id({"template": "a"})[:12]
    'b8aec2f5b54c'
    """
    text = json.dumps(dict(components), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(well_formed(text).encode()).hexdigest()


@dataclass(frozen=True)
class Prompt:
    """A prompt: the roles of its messages (``None`` for a plain text prompt) and its components' texts.

    ``components`` is never mutated. For a text prompt it is ``{"template": text}``; for a chat prompt it holds one
    text a message, named by role (``system``, ``user``, ``user_2``, …), and ``demos``.
    """

    roles: tuple[str, ...] | None
    components: Mapping[str, str]

    @classmethod
    def parse(cls, template: str | Sequence[Mapping[str, str]]) -> Prompt:
        """Make a prompt from a text or from a list of ``{"role", "content"}`` messages.

        Raises:
            InputError: a message has no role or content, or an unknown role.

        >>> Prompt.parse([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{q}}"}]).components
        {'system': 'Be brief.', 'user': '{{q}}', 'demos': ''}
        """
        if isinstance(template, str):
            return cls(None, {TEMPLATE: template})
        components: dict[str, str] = {}
        roles = []
        for number, message in enumerate(template, start=1):
            role, content = message.get("role"), message.get("content")
            if role not in _ROLES or not isinstance(content, str):
                raise InputError(
                    f"message {number} of the chat prompt is {dict(message)!r}; give a role "
                    f"({', '.join(_ROLES)}) and a content that is text"
                )
            roles.append(role)
            components[_component_name(roles)] = content
        if "user" not in roles:
            raise InputError("the chat prompt has no user message; add one that holds the variables")
        components[DEMOS] = ""
        return cls(tuple(roles), components)

    @property
    def candidate_id(self) -> str:
        """Identity of this candidate, see :func:`candidate_id`.

        The order of the roles is part of it where it is not the usual one, in which the system messages come first and
        users and assistants take turns: without it, another order of the same messages would be the same prompt.
        """
        if self.roles is None or list(self.roles) == _usual_order(self.roles):
            return candidate_id(self.components)
        return candidate_id({**self.components, _ROLES_KEY: " ".join(self.roles)})

    @property
    def is_chat(self) -> bool:
        """True for a chat prompt, False for a plain text prompt."""
        return self.roles is not None

    @property
    def variables(self) -> frozenset[str]:
        """All placeholders, over all messages."""
        return frozenset().union(*(variables(text) for name, text in self.components.items() if name != DEMOS))

    @property
    def needs(self) -> frozenset[str]:
        """What a row's inputs must have: the variables, or for a prompt without any a conversation to answer in."""
        return self.variables or frozenset({MESSAGES})

    def with_components(self, components: Mapping[str, str]) -> Prompt:
        """Return this prompt with other texts; roles and component names stay."""
        return Prompt(self.roles, dict(components))

    def deployed(self) -> str | list[Message]:
        """Return what the registry gets and the application loads: a text, or messages with the demos as turns."""
        if self.roles is None:
            return self.components[TEMPLATE]
        demos: list[Message] = json.loads(self.components.get(DEMOS) or "[]")
        messages = []
        seen: list[str] = []
        last_user = len(self.roles) - 1 - self.roles[::-1].index("user")
        for position, role in enumerate(self.roles):
            seen.append(role)
            if position == last_user:
                messages.extend(demos)
            messages.append({"role": role, "content": self.components[_component_name(seen)]})
        return messages

    def text(self) -> str:
        """Return the deployed prompt as one text, for people: diffs, reports and length estimates."""
        deployed = self.deployed()
        if isinstance(deployed, str):
            return deployed
        return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in deployed)

    def messages(self, inputs: Mapping[str, Any]) -> list[Message]:
        """Render into chat messages.

        Where ``inputs`` hold a conversation (``messages``) that the prompt does not name as a variable, it is asked
        within that conversation: the last user message is the value of ``{{question}}``, or of the only variable that
        has no other value, and the turns before it come first. A prompt that takes no question is followed by the
        whole conversation, as its system message.

        Raises:
            InputError: a placeholder has no value in ``inputs``.

        >>> Prompt.parse("Hello {{name}}").messages({"name": "Ada"})
        [{'role': 'user', 'content': 'Hello Ada'}]
        >>> Prompt.parse("Be kind.").messages({"messages": [{"role": "user", "content": "Hi"}]})
        [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'Hi'}]
        """
        turns = None if MESSAGES in self.variables else conversation_of(inputs)
        if turns is None:
            return self._rendered(inputs)
        question = question_variable(self.variables, inputs)
        if question is None:
            own = self._rendered(inputs)
            return [{**own[0], "role": "system"} if self.roles is None else own[0], *own[1:], *turns]
        own = self._rendered({**inputs, question: turns[-1]["content"]})
        last_user = max(place for place, message in enumerate(own) if message["role"] == "user")
        return [*own[:last_user], *turns[:-1], *own[last_user:]]

    def _rendered(self, inputs: Mapping[str, Any]) -> list[Message]:
        deployed = self.deployed()
        if isinstance(deployed, str):
            return [{"role": "user", "content": render(deployed, inputs)}]
        return [{"role": message["role"], "content": render(message["content"], inputs)} for message in deployed]


def _component_name(roles: Sequence[str]) -> str:
    """Name of the last message in ``roles``: its role, numbered from the second of that role on."""
    role = roles[-1]
    count = list(roles).count(role)
    return role if count == 1 else f"{role}_{count}"


def _usual_order(roles: Sequence[str]) -> list[str]:
    """The order that most chats with so many messages of each role have."""
    turns = [role for pair in zip_longest(*([r for r in roles if r == one] for one in _TURNS)) for role in pair if role]
    return [role for role in roles if role == "system"] + turns
