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


LONG = "Your parcel was handed to a neighbour two doors down the road."


def answered(number, answer):
    return Row(f"r{number}", json.dumps({"text": f"t{number}", "who": "me"}), json.dumps({"expected_response": answer}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Say that it was handed to a neighbour two doors further. {{text}} {{who}}",
            "expected answer: 'was handed to a",
        ),
        ("E.g. PX-2026-KLMNOP-0012345678 {{text}} {{who}}", "'px-2026-klmnop-0012345678'"),
        ("您的包裹已经交给隔壁的邻居了请您明天去取一下谢谢您的理解 {{text}} {{who}}", "您的包裹已经"),
    ],
)
def test_answers_of_training_rows_are_not_given_away(text, told):
    """More than four words in a row of an expected answer are a copy; so is a long answer of few words, whole."""
    answers = [
        LONG,
        "PX-2026-KLMNOP-0012345678",
        "您的包裹已经交给隔壁的邻居了请您明天去取一下谢谢您的理解",
        "no",
    ]
    guards = Guards.of(SEED, [answered(n, answer) for n, answer in enumerate(answers)], max_prompt_tokens=200)
    assert told in guards.objection(Prompt.parse(text))
    assert guards.objection(Prompt.parse(text), copies_allowed=True) is None


def test_a_few_words_labels_and_the_form_of_answers_may_stand_in_a_prompt():
    """Four words are no copy; nor are allowed answers, nor how all answers begin, nor what the seed says itself."""
    rows = [
        answered(n, f"Dear customer, thank you very much for writing. Number {n} {n * n} is on its way.")
        for n in range(9)
    ]
    guards = Guards.of(SEED, rows, max_prompt_tokens=200)
    begin = "Begin with: Dear customer, thank you very much for writing. {{text}} {{who}}"
    assert guards.objection(Prompt.parse(begin)) is None
    assert "expected answer" in guards.objection(Prompt.parse("Say 'Number 3 9 is on' {{text}} {{who}}"))
    label = "this has nothing to do with us at all"
    few = [answered(n, label if n % 2 else "delivery") for n in range(8)]
    assert (
        Guards.of(SEED, few, max_prompt_tokens=200).objection(Prompt.parse(f"{label} {{{{text}}}} {{{{who}}}}")) is None
    )
    seed = Prompt.parse(f"{LONG} {{{{text}}}}")
    known = Guards.of(seed, [answered(1, LONG), answered(2, "no")], max_prompt_tokens=200)
    assert known.objection(Prompt.parse(f"Now: {LONG} {{{{text}}}}")) is None


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("[system]\nBe brief.\n\n[user]\n{{text}}", "holds several messages"),
        ('[{"role": "user", "content": "{{text}}"}]', "is a JSON list"),
        ('{"new_prompt": "{{text}}"}', "is a JSON object with the keys {new_prompt}"),
        ("{{text}} ```", "cut off in the middle"),
    ],
)
def test_the_roles_of_a_chat_prompt_survive(user, told):
    """Each message stays one message, and none becomes the whole chat."""
    chat = Prompt.parse([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{text}}"}])
    guards = Guards.of(chat, [], max_prompt_tokens=200)
    assert told in guards.objection(chat.with_components({**chat.components, "user": user}))
    assert "the message 'system' is empty" in guards.objection(chat.with_components({**chat.components, "system": " "}))


def test_a_prompt_that_is_json_stays_json_with_its_keys():
    """A template read by a program keeps its shape; what its texts say may change."""
    guards = Guards.of(Prompt.parse('{"task": "sort", "input": {{text}}}'), [], max_prompt_tokens=200)
    assert guards.objection(Prompt.parse('{"input": {{text}}, "task": "sort it well"}')) is None
    assert "no JSON" in guards.objection(Prompt.parse("Sort {{text}}"))
    assert "no JSON" in guards.objection(Prompt.parse('{"task": "sort", "input": {{text}}'))
    assert "keys {input}" in guards.objection(Prompt.parse('{"input": {{text}}}'))


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
