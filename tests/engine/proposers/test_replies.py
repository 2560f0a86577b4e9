"""What is taken from a reply, and what is not."""

import json

import pytest

from engine.proposers.replies import new_prompt

GOOD = "Sort {{x}}.\nAnswer in one word."


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps({"diagnosis": "d", "new_prompt": GOOD}),
        "Here it is: " + json.dumps({"new_prompt": GOOD}) + " I hope it helps.",
        f"```json\n{json.dumps({'new_prompt': GOOD})}\n```",
        '{"diagnosis": "d", "new_prompt": "Sort {{x}}.\nAnswer in one word."}',
        f"I would write:\n```\n{GOOD}\n```",
    ],
)
def test_prompts_are_taken_in_every_shape_that_models_give_them(reply):
    """JSON, JSON with words around it, fenced, with raw line breaks; or one fenced block."""
    assert new_prompt(reply) == GOOD


@pytest.mark.parametrize(
    "reply",
    [
        "Let me think. The prompt should name the labels, so I would write: Sort {{x}}",
        "```\nSort {{x}}",
        '{"diagnosis": "d", "new_prompt": "Sort {{x}} and',
        '```json\n{"diagnosis": "d", "new_prompt": "Sort {{x}} "and"}\n```',
        '```json\n{"prompt": "Sort {{x}}"}\n```',
        "```\nSort {{x}}\n```\nor rather\n```\nOrder {{x}}\n```",
        '{"new_prompt": ""}',
        '{"new_prompt": ["Sort {{x}}"]}',
        "",
    ],
)
def test_monologues_and_fragments_are_not_adopted(reply):
    """Unfenced, cut off, broken or ambiguous replies hold no prompt."""
    assert new_prompt(reply) is None
