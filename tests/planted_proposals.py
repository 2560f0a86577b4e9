"""A scripted reflection model for every proposer, in the planted world: each gets the planted edit in its own shape."""

from __future__ import annotations

import json
import re

import planted_world as world

from engine.scripted_endpoint import Call

RULE = "Answer in UPPER CASE and with nothing else."
# What tells the requests of the proposers apart: their own instructions to the model.
ASKED = {
    "gepa": "You improve prompts for a small language model",
    "metaprompt": "You write prompts for language models",
    "copro": "You are an instruction optimizer for large language models",
    "simba": "You help a small language model to learn from experience",
    "lessons": "You find out why answers of a small language model were wrong",
}
_REPLIES = {
    "gepa": {"diagnosis": "d", "new_prompt": world.GOOD},
    "metaprompt": {"template": world.GOOD},
    "copro": {"new_prompt": "Answer with the word in UPPER CASE and nothing else."},
    "simba": {"discussion": "d", "rule": RULE},
    "lessons": {"lessons": "- the answer is in upper case"},
}
_OUTPUT_FIELD = re.compile(
    r"Respond with the corresponding output fields, starting with the field `\[\[ ## (\w+) ## \]\]"
)


def asked_by(call: Call) -> str:
    """Return which proposer a request comes from; ``mipro`` where dspy wrote it."""
    return next((name for name, text in ASKED.items() if call.messages[0]["content"].startswith(text)), "mipro")


def reply(call: Call) -> str:
    """Return the planted edit to whoever asks."""
    name = asked_by(call)
    return grounded_reply(call) if name == "mipro" else json.dumps(_REPLIES[name])


def grounded_reply(call: Call) -> str:
    """Answer dspy in its own format: descriptions of data and program, and instructions of which one in two is good."""
    field = dspy_field(call)
    texts = {
        "observations": "Words, each with itself in upper case.",
        "summary": "Words in upper case.",
        "program_description": "It answers a word.",
        "module_description": "It answers a word.",
    }
    text = texts.get(field)
    if text is None:
        # Each instruction is asked for with a seed of its own.
        text = RULE if call.body["seed"] % 2 else f"Think about the word, {call.body['seed']} times."
    return f"[[ ## {field} ## ]]\n{text}\n\n[[ ## completed ## ]]"


def dspy_field(call: Call) -> str:
    """Return the output field that dspy asks for."""
    found = _OUTPUT_FIELD.search(call.prompt)
    assert found is not None, call.prompt
    return found.group(1)
