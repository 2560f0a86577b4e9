"""The proposer of demonstrations."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.proposers.demos import DemosProposer, with_demos, without_demos
from engine.proposers.protocol import ProposalRequest
from engine.rows import Row
from udfs.prompt import Prompt
from udfs.rollout import Rollout

TRAIN = tuple(
    Row(f"r{n}", json.dumps({"x": f"input {n}"}), json.dumps({"expected_response": f"label {n % 4}"}))
    for n in range(20)
)
TEXT = Prompt.parse("Sort: {{x}}")
CHAT = Prompt.parse([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sort: {{x}}"}])


def propose(parent, *, sample=0, seed=0, rows=TRAIN, minibatch=TRAIN[:4]):
    request = ProposalRequest(parent, [(row, Rollout("c", row.row_id, score=0.0)) for row in minibatch], sample)
    return asyncio.run(DemosProposer(rows, 8, seed).propose(request))[0]


def test_rows_of_the_minibatch_are_not_shown():
    """The child is scored on its minibatch, so it must not have seen the answers."""
    for sample in range(20):
        text = propose(TEXT, sample=sample).prompt.text()
        assert not any(f"input {n}\n" in text for n in range(4))


def test_rows_that_are_tested_on_unseen_are_not_shown():
    """Rows that no proposer sees are not shown either, where the child is scored on them."""
    hidden = frozenset(row.row_id for row in TRAIN[4:12])
    request = ProposalRequest(
        TEXT, [(row, Rollout("c", row.row_id, score=0.0)) for row in TRAIN[:4]], 0, 20, (), hidden
    )
    for proposal in asyncio.run(DemosProposer(TRAIN, 8, 0).propose(request)):
        assert not any(f"input {n}\n" in proposal.prompt.text() for n in range(12))


def test_answers_take_turns():
    """Eight demonstrations of four answers show each answer twice."""
    deployed = propose(CHAT).prompt.deployed()
    answers = [message["content"] for message in deployed if message["role"] == "assistant"]
    assert sorted(answers) == sorted(f"label {n}" for n in range(4) for _ in range(2))


def test_the_same_request_gives_the_same_proposal_and_another_sample_another():
    """All randomness comes from seed and sample."""
    assert propose(TEXT, sample=3) == propose(TEXT, sample=3)
    assert len({propose(TEXT, sample=n).prompt.text() for n in range(6)}) > 1


def test_demonstrations_of_a_parent_are_replaced_not_stacked():
    """A child of a child has as many demonstrations as its parent."""
    child = propose(CHAT).prompt
    grandchild = propose(child, sample=1).prompt
    assert len(grandchild.deployed()) == len(child.deployed())
    assert without_demos(grandchild) == CHAT


def test_rows_without_an_answer_or_with_placeholders_are_not_shown():
    """What can't be shown leads to no proposal, with the reason."""
    rows = (Row("a", '{"x": "1"}', None), Row("b", '{"x": "{{x}}"}', '{"expected_response": "y"}'))
    proposal = propose(TEXT, rows=rows, minibatch=())
    assert proposal.prompt is None
    assert "no training row" in proposal.reason


@pytest.mark.parametrize(
    "prompt",
    [Prompt.parse("Sort: {{y}}"), Prompt(None, {"plan/template": "Plan {{x}}", "do/template": "Do {{x}}"})],
)
def test_prompts_that_a_program_fills_in_get_no_demonstrations(prompt):
    """Their rows are the program's inputs, not those of the prompt: the reason is told, and nothing breaks."""
    proposal = propose(prompt)
    assert proposal.prompt is None
    assert "a program" in proposal.reason


@given(st.lists(st.tuples(st.text(max_size=20), st.text(min_size=1, max_size=10)), min_size=1, max_size=5))
def test_the_last_message_is_still_the_row(demos):
    """Whatever is demonstrated, rendering puts the row's own input last."""
    shown = [({"x": x}, y) for x, y in demos if "{{" not in x + y]
    for prompt in (TEXT, CHAT):
        messages = with_demos(prompt, shown).messages({"x": "THE ROW"}) if shown else prompt.messages({"x": "THE ROW"})
        assert messages[-1]["role"] == "user"
        assert messages[-1]["content"].endswith("Sort: THE ROW")
