"""What the reflection model is asked: bounded, whatever the rows hold."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests_by_hand import CHAT, TEXT, pair, request

from engine.proposers.copro import CoproProposer
from engine.proposers.instructions import instruction_component, rules_of, with_rule
from engine.proposers.map_reduce import chunks
from engine.proposers.metaprompt import MetapromptProposer
from engine.proposers.model_styles import style_of
from engine.proposers.protocol import Attempt
from engine.proposers.reflection import ReflectionProposer
from engine.proposers.simba import SimbaProposer, contrasts
from engine.token_estimate import tokens_in
from udfs.prompt import Prompt

LONG = [
    pair(n, output=f"答え {n} " * 400, feedback="far too long " * 90, expected=f"word {n} " * 300) for n in range(60)
]


def asked(messages):
    return sum(tokens_in(message["content"]) for message in messages)


@pytest.mark.parametrize("most", [1500, 3000, 6000])
@pytest.mark.parametrize("parent", [TEXT, CHAT])
def test_no_request_is_longer_than_its_bound(most, parent):
    """Sixty rows of long text, in a script that takes three bytes a character: every proposer keeps to its bound."""
    component = next(iter(parent.components))
    asking = request(LONG, parent=parent, history=[Attempt(parent, "p", n / 99, True) for n in range(99)])
    assert asked(ReflectionProposer(None, most).messages(asking, component)) <= most
    assert asked(CoproProposer(None, most).messages(asking, component)) <= most
    assert asked(MetapromptProposer(None, most, tuple(row for row, _ in LONG), 0).messages(parent, 0)) <= most
    assert asked(SimbaProposer(None, most).messages(parent, contrasts(asking)[0])) <= most


def test_the_current_prompt_is_always_whole():
    """A prompt can't be improved that was not read to its end; one record is shown beside it at the least."""
    parent = Prompt.parse("word " * 3000 + "{{x}}")
    messages = ReflectionProposer(None, 1000).messages(request(LONG, parent=parent), "template")
    assert parent.text() in messages[-1]["content"]
    assert "model answered:" in messages[-1]["content"].partition("Records:")[2]


@given(count=st.integers(1, 80), seed=st.integers(0, 5))
def test_chunks_hold_every_failure_twice_and_none_twice_in_one(count, seed):
    """As many chunks as the root of the failures' number, of nearly the same size."""
    pairs = [pair(n) for n in range(count)] + [pair(99, score=1.0)]
    dealt = chunks(pairs, random.Random(seed))
    assert len(dealt) == max(1, int(count**0.5))
    ids = [[row.row_id for row, _ in chunk] for chunk in dealt]
    assert all(len(set(chunk)) == len(chunk) for chunk in ids)
    copies = 2 if len(dealt) > 1 else 1
    assert sorted(row_id for chunk in ids for row_id in chunk) == sorted([f"r{n:03d}" for n in range(count)] * copies)
    assert dealt == chunks(random.Random(1).sample(pairs, len(pairs)), random.Random(seed))


def test_contrasts_come_from_the_widest_gap_down():
    """The best answer of any prompt to the row counts; where all are as bad, the recorded one does."""
    bad, half = pair(1, output="bad"), pair(2, score=0.5, output="half")
    better = {"r001": pair(1, score=0.4, output="better")[1], "r002": pair(2, score=0.9, output="good")[1]}
    told = contrasts(request([half, bad, pair(3, score=1.0)], history=[Attempt(TEXT, "p", 0.5, True, better)]))
    assert [(c.worse, c.better) for c in told] == [("bad", "better"), ("half", "good")]
    alone = contrasts(request([half, bad]))
    assert [(c.worse, c.better, c.gap) for c in alone] == [("bad", "yes", 1.0), ("half", "yes", 0.5)]


def test_several_prompts_of_one_program_take_turns():
    """A rule goes to one prompt after the other, to where that prompt instructs."""
    texts = {"plan/system": "Plan.", "plan/user": "{{x}}", "do/template": "Do {{x}}"}
    prompt = Prompt(None, texts)
    assert [instruction_component(prompt, turn) for turn in range(3)] == ["plan/system", "do/template", "plan/system"]
    ruled = with_rule(prompt, "Be brief.", 1)
    assert ruled.components["do/template"] == "Rules:\n- Be brief.\n\nDo {{x}}"
    assert (rules_of(ruled, 0), rules_of(ruled, 1)) == ((), ("Be brief.",))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("databricks-claude-sonnet-4", "XML"),
        ("gpt-4.1", "markdown"),
        ("gpt-4o-mini", "small model"),
        ("databricks-meta-llama-3-3-70b-instruct", "role"),
        ("llama-3.1-8b", "small model"),
        ("gemini-2.5-pro", "constraints stated first"),
        ("o3", "step by step"),
        ("deepseek-r1", "step by step"),
    ],
)
def test_styles_are_known_by_name(name, word):
    """Names as providers spell them."""
    assert word in style_of(name)
    assert ("small model" in style_of(name)) == (word == "small model")
