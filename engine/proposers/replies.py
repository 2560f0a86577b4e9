"""What reflection models are asked to reply, and what is taken from a reply: named texts of a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.proposers.protocol import Proposal
from udfs.errors import CallError, ErrorKind


def reply_format(name: str, fields: Sequence[str]) -> dict[str, Any]:
    """Return the ``response_format`` for a JSON object of these texts.

    >>> reply_format("rule", ["rule"])["json_schema"]["schema"]["required"]
    ['rule']
    """
    schema = {
        "type": "object",
        "properties": {field: {"type": "string"} for field in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def reply_object(reply: str) -> Mapping[str, Any] | None:
    r"""Return the JSON object in a reply: the reply itself, its one fenced block, or what stands in its braces.

    Line breaks inside strings are taken, as small models write them.

    >>> reply_object('Sure:\n```json\n{"rule": "be brief"}\n```')
    {'rule': 'be brief'}
    >>> reply_object("be brief") is None
    True
    """
    text = reply.strip()
    for candidate in (text, fenced_block(text), text[text.find("{") : text.rfind("}") + 1]):
        if not candidate:
            continue
        try:
            found = json.loads(candidate, strict=False)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def fenced_block(reply: str) -> str | None:
    r"""Return what stands in the one fenced block of a reply; ``None`` where there is none, or it is not closed.

    >>> fenced_block("So:\n```\nSort {{x}}\n```")
    'Sort {{x}}'
    >>> fenced_block("So:\n```\nSort {{x}}") is None
    True
    """
    parts = reply.split("```")
    return parts[1].partition("\n")[2].strip() if len(parts) == 3 else None


def reply_text(reply: str, field: str) -> str | None:
    r"""Return one text of the JSON object in a reply, ``None`` where it has none or an empty one.

    >>> reply_text('{"rule": " be brief "}', "rule")
    'be brief'
    """
    found = (reply_object(reply) or {}).get(field)
    return found.strip() or None if isinstance(found, str) else None


def new_prompt(reply: str) -> str | None:
    r"""Return the new prompt in a reply: ``new_prompt`` of the JSON object, or the one fenced block of a plain reply.

    A reply without either is not adopted: a monologue is no prompt, and neither is half of a JSON object.

    >>> new_prompt('{"diagnosis": "d", "new_prompt": "Sort {{x}}"}')
    'Sort {{x}}'
    >>> new_prompt("I would say:\n```\nSort {{x}}\n```")
    'Sort {{x}}'
    >>> new_prompt("Let me think about it") is None
    True
    """
    named = reply_text(reply, "new_prompt")
    if named is not None:
        return named
    block = fenced_block(reply.strip())
    # What looks like the object that was asked for, but is another or can't be read, is no template.
    return block if block and not block.startswith("{") and '"new_prompt"' not in block else None


def failure(error: CallError, *, calls: int = 1) -> Proposal:
    """Return the proposal without a prompt that a failed call to the reflection model comes to."""
    if error.kind is ErrorKind.BUDGET:
        return Proposal(None, error.message, unaffordable=True)
    return Proposal(
        None,
        f"the reflection model failed ({error.kind.value}): {error.message}",
        outage=error.kind.is_infrastructure,
        calls=calls,
    )
