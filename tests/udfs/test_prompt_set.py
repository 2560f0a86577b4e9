"""Several prompts as one candidate, and chats whose messages stand in another order."""

import pytest

from engine.search.guards import Guards
from udfs.errors import InputError
from udfs.prompt import Prompt, candidate_id
from udfs.prompt_set import PromptSet

SYSTEM, USER, ANSWER = ({"role": role, "content": role} for role in ("system", "user", "assistant"))


def test_the_order_of_the_roles_is_part_of_a_chats_identity():
    """Two chats of the same messages in another order are two candidates; the usual order keeps its old identity."""
    usual, other = Prompt.parse([SYSTEM, USER]), Prompt.parse([USER, SYSTEM])
    assert dict(usual.components) == dict(other.components)
    assert usual.candidate_id != other.candidate_id
    assert usual.candidate_id == candidate_id(usual.components)
    turns = Prompt.parse([SYSTEM, USER, ANSWER, USER])
    assert turns.candidate_id == candidate_id(turns.components)
    assert turns.candidate_id != Prompt.parse([SYSTEM, USER, USER, ANSWER]).candidate_id


def test_prompts_keep_their_shapes_through_other_texts():
    """Each message is a component; what is deployed is each prompt as it was, with the new text."""
    both = PromptSet.of({"plan": Prompt.parse([SYSTEM, USER]), "act": Prompt.parse("Do {{plan}}")})
    assert list(both.components) == ["plan/system", "plan/user", "act/template"]
    changed = both.with_components({**both.components, "plan/system": "new"})
    assert changed.deployed() == {"plan": [{**SYSTEM, "content": "new"}, USER], "act": "Do {{plan}}"}
    assert changed.candidate_id != both.candidate_id
    assert changed.with_components(both.components) == both
    assert both.candidate_id != PromptSet.of({"act": both.prompts["plan"], "plan": both.prompts["act"]}).candidate_id


def test_a_variable_that_moves_to_another_prompt_is_refused():
    """It would be lost where its program fills it in."""
    both = PromptSet.of({"plan": Prompt.parse("Plan {{task}}"), "act": Prompt.parse("Do {{plan}}")})
    moved = both.with_components({"plan/template": "Plan", "act/template": "Do {{plan}} for {{task}}"})
    assert Guards.of(both, [], max_prompt_tokens=100).objection(moved) == "the variable {{plan/task}} is lost"


def test_a_set_is_not_one_prompt():
    """Only its program knows what to do with it."""
    with pytest.raises(InputError, match="belong to one program"):
        PromptSet.of({"plan": Prompt.parse("p")}).messages({})
    for bad in ({}, {"a/b": Prompt.parse("p")}):
        with pytest.raises(InputError):
            PromptSet.of(bad)
