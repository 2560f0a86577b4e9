"""Guards on proposals."""

import json

import pytest

from engine.rows import Row
from engine.search.guards import Guards
from udfs.prompt import DEMOS, Prompt

SEED = Prompt.parse("Sort {{text}} for {{who}}")
ROW = Row(
    "r",
    json.dumps({"text": "the parcel that I ordered nine days ago has still not arrived", "who": "me"}),
    json.dumps({"expected_response": "delivery"}),
)
GUARDS = Guards.of(SEED, [ROW], max_prompt_tokens=200)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Sort {{text}}", "{{who}} is lost"),
        ("Sort {{text}} for {{who}} and {{why}}", "{{why}} is new"),
        ("", "is empty"),
        ("{{text}} {{who}} " + "word " * 400, "above max_prompt_tokens"),
        ("{{text}} {{who}} ```json", "cut off in the middle"),
        ("{{text}} {{who}} e.g. The parcel that I ordered nine days ago has vanished", "copies a training row"),
    ],
)
def test_unfit_proposals_are_refused_with_the_reason(text, told):
    """Each defect is named; nothing is repaired."""
    assert told in GUARDS.objection(Prompt.parse(text))


def test_fit_proposals_pass():
    """A rewritten prompt with all its variables passes, a single expected label in it is no copy."""
    assert GUARDS.objection(Prompt.parse("Is {{text}} about delivery? Answer {{who}}.")) is None


def test_truncated_replies_are_refused():
    """A reply that hit the token limit is not adopted, however good it looks."""
    assert "cut off" in GUARDS.objection(SEED, truncated=True)


def test_demonstrations_may_show_training_rows():
    """Proposers of demonstrations are allowed what others are not."""
    shown = Prompt.parse("the parcel that I ordered nine days ago has still not arrived: delivery\n{{text}} {{who}}")
    assert GUARDS.objection(shown) is not None
    assert GUARDS.objection(shown, copies_allowed=True) is None


def test_broken_demonstrations_are_refused():
    """Demos that are no JSON, or that hold a placeholder, never reach the endpoint."""
    chat = Prompt.parse([{"role": "user", "content": "{{text}}"}])
    guards = Guards.of(chat, [], max_prompt_tokens=200)
    broken = chat.with_components({**chat.components, DEMOS: "[{"})
    with pytest.raises(ValueError):
        broken.deployed()
    assert "demonstrations" in guards.objection(broken)
    holding = chat.with_components({**chat.components, DEMOS: '[{"role": "user", "content": "{{text}}"}]'})
    assert "placeholder" in guards.objection(holding)
