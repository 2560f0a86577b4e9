"""What the reflection model writes: it reads the current prompt and the failures in a request, and edits the prompt.

It takes a request in whatever form a system asks (gepa's template, MLflow's, promptmill's, DSPy's fields) and answers
in the form asked for. All systems get good, useless and harmful edits at the world's rates.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.search.world import World, listed

_FAILURE = re.compile(r"miss-(\d{6})")
_TEMPLATE = re.compile(r"<template>\n(.*?)\n</template>", re.DOTALL)
_FENCED = re.compile(r"```[^\n]*\n(.*?)\n```", re.DOTALL)
_DSPY_BASIC = re.compile(r"\[\[ ## basic_instruction ## \]\]\n(.*?)\n\n(?:\[\[|Respond)", re.DOTALL)
_DSPY_OUTPUTS = re.compile(r"Your output fields are:\n(.*?)\nAll interactions", re.DOTALL)
_DSPY_FIELD = re.compile(r"^\d+\. `(\w+)`", re.MULTILINE)
_PLACEHOLDER = "{{note}}"
_STYLE = "Tone:"


def reply_to(world: World, body: Mapping[str, Any], sample: int) -> str:
    """Return the reflection model's answer; ``sample`` tells repeated requests apart."""
    messages: Sequence[Mapping[str, str]] = body["messages"]
    whole = "\n".join(message["content"] for message in messages)
    asked = messages[-1]["content"]
    draw = world.draw("edit", whole, sample)
    fields = _dspy_fields(whole)
    if fields:
        return _dspy_reply(world, fields, asked, draw)
    current = current_prompt(asked)
    failures = [int(number) for number in dict.fromkeys(_FAILURE.findall(asked.replace(current, "", 1)))]
    text = edited(world, current, failures, draw)
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
    if schema.get("properties") or "new_prompt" in whole:
        names = list(schema.get("properties", {})) or ["diagnosis", "new_prompt"]
        return json.dumps({name: text if _is_prompt(name) else "seen in the records" for name in names})
    return f"The failures have causes in common.\n\n```\n{text}\n```"


def current_prompt(asked: str) -> str:
    r"""Return the prompt that a request asks to improve.

    >>> current_prompt("I provided these instructions:\n```\nSort it.\n```\nExamples:\n```\n# Example 1\n```")
    'Sort it.'
    """
    for pattern in (_TEMPLATE, _FENCED):
        found = pattern.findall(asked)
        if found:
            return str(found[0])
    raise ValueError(f"this request names no current prompt in a form that is known: {asked[:500]}")


def edited(world: World, current: str, failures: Sequence[int] | None, draw: random.Random) -> str:
    """Return an edit of ``current``: good, harmful, narrow or useless at the world's rates.

    A good one mends causes of the ``failures``, the more frequent the likelier; with None, for a system that shows no
    failures, of all rows there are. Where they have no cause that an edit could mend, it is a useless one.
    """
    present = world.features(current)
    rates = world.family
    kind = draw.random()
    add: list[str] = []
    drop: list[str] = []
    if kind < rates.good:
        causes = _causes(world, present, failures)
        while causes:
            cause = draw.choices(list(causes), list(causes.values()))[0]
            (drop if cause in present else add).append(cause)
            del causes[cause]
            if draw.random() >= rates.further:
                break
    elif kind < rates.good + rates.harmful:
        rules = sorted(present & set(world.rules))
        traps = sorted(set(world.traps) - present)
        if rules and (draw.random() < 0.5 or not traps):
            drop.append(draw.choice(rules))
        elif traps:
            add.append(draw.choice(traps))
    elif kind < rates.good + rates.harmful + rates.narrow and failures:
        return _rewritten(current, (), (), draw, rows=failures)
    return _rewritten(current, add, drop, draw)


def _causes(world: World, present: frozenset[str], failures: Sequence[int] | None) -> dict[str, float]:
    """What would mend something: rules to add, harmful instructions to drop; by how often."""
    if failures is None:
        known = {rule: weight for rule, weight in zip(world.rules, world.weights, strict=True) if rule not in present}
        return known | {trap: world.traps[trap] for trap in sorted(world.traps) if trap in present}
    found: Counter[str] = Counter()
    for row in failures:
        found.update(sorted(world.needs(row) - present))
        found.update(sorted(world.broken_by(row) & present))
    return {cause: float(count) for cause, count in found.items()}


def _rewritten(
    current: str, add: Sequence[str], drop: Sequence[str], draw: random.Random, rows: Sequence[int] = ()
) -> str:
    kept = [
        line
        for line in current.splitlines()
        if not line.startswith(_STYLE) and not any(line.startswith("- ") and word in line for word in drop)
    ]
    fresh = [f"- When it is a matter of {word}, keep to the {word} rule." for word in add]
    if rows:
        fresh.append(f"Seen before: {', '.join(map(listed, rows))}.")
    fresh.append(
        f"{_STYLE} {draw.choice(('calm', 'brief', 'kind', 'plain', 'exact'))}, variant {draw.randrange(10**6)}."
    )
    at = next((number for number, line in enumerate(kept) if _PLACEHOLDER in line), len(kept))
    while at > 0 and not kept[at - 1].strip():
        at -= 1
    return "\n".join([*kept[:at], *fresh, *kept[at:]])


def _is_prompt(name: str) -> bool:
    return any(part in name for part in ("prompt", "instruction", "template"))


def _dspy_fields(whole: str) -> list[str]:
    found = _DSPY_OUTPUTS.search(whole)
    return _DSPY_FIELD.findall(found.group(1)) if found else []


def _dspy_reply(world: World, fields: Sequence[str], asked: str, draw: random.Random) -> str:
    """Fill DSPy's output fields; only its instruction proposer asks for a ``proposed_instruction``."""
    basic = _DSPY_BASIC.search(asked + "\n\n[[")
    parts = []
    for name in fields:
        value = "Notes that are to be answered with their references."
        if name == "proposed_instruction":
            if basic is None:
                raise ValueError(f"DSPy's proposer shows no basic instruction: {asked[:500]}")
            value = edited(world, basic.group(1).strip(), None, draw)
        parts.append(f"[[ ## {name} ## ]]\n{value}\n")
    return "\n".join([*parts, "[[ ## completed ## ]]"])
