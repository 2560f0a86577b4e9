"""Recorded chats as rows: no turn is lost, and a template's variables find their values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.conversation import conversation_of, flat_inputs
from udfs.errors import InputError
from udfs.prompt import Prompt
from udfs.records import normal_record

HISTORY = [
    {"role": "user", "content": "Do you have drills?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "In blue?"},
]
SYSTEM = {"role": "system", "content": "the old prompt"}


def test_a_chat_payload_becomes_variables_and_a_conversation():
    """What stands in custom_inputs goes by its own name; sessions' ids and the old system message are left out."""
    payload = {
        "messages": [SYSTEM, *HISTORY],
        "custom_inputs": {"configurable": {"user_id": "me", "conversation_id": "1"}, "store": 7},
    }
    assert flat_inputs(payload) == {"user_id": "me", "store": 7, "messages": HISTORY}
    assert normal_record({"inputs": payload}) == normal_record(
        {"inputs": {**payload, "custom_inputs": {"configurable": {"user_id": "me", "thread_id": "2"}, "store": 7}}}
    )


def test_input_is_another_name_of_messages_and_goes_first():
    """As in dao-ai: where both stand and differ, input is meant."""
    assert flat_inputs({"input": HISTORY}) == {"messages": HISTORY}
    assert flat_inputs({"input": HISTORY[:1], "messages": HISTORY})["messages"] == HISTORY[:1]


@pytest.mark.parametrize(
    "inputs",
    [
        {"text": "x"},
        {"messages": "a text"},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"input": "a text", "custom_inputs": {"a": 1}},
    ],
)
def test_other_inputs_stay_as_they_are(inputs):
    """Only lists of messages with texts are conversations."""
    assert flat_inputs(inputs) == inputs


def test_parts_of_a_message_are_one_text():
    """As OpenAI's clients send them."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert flat_inputs({"messages": [{"role": "user", "content": parts}]})["messages"][0]["content"] == "a\nb"


ROW = {"user_id": "me", "messages": HISTORY}


@pytest.mark.parametrize(
    ("template", "sent"),
    [
        ("You serve {{user_id}}.", [{"role": "system", "content": "You serve me."}, *HISTORY]),
        ("Be kind.", [{"role": "system", "content": "Be kind."}, *HISTORY]),
        ("{{user_id}} asks: {{question}}", [*HISTORY[:2], {"role": "user", "content": "me asks: In blue?"}]),
        ("Answer {{text}}", [*HISTORY[:2], {"role": "user", "content": "Answer In blue?"}]),
        (
            [{"role": "system", "content": "For {{user_id}}"}, {"role": "user", "content": "{{question}}"}],
            [{"role": "system", "content": "For me"}, *HISTORY],
        ),
        (
            [{"role": "system", "content": "a"}, {"role": "user", "content": "Hello from {{user_id}}"}],
            [{"role": "system", "content": "a"}, {"role": "user", "content": "Hello from me"}, *HISTORY],
        ),
    ],
)
def test_a_prompt_is_asked_within_the_rows_conversation(template, sent):
    """The last user message is the question; what the template does not take of the conversation is sent as turns."""
    assert Prompt.parse(template).messages(ROW) == sent


def test_a_template_may_name_the_messages_itself():
    """Then they stand where it says, and nowhere else."""
    sent = Prompt.parse("Read {{messages}}").messages(ROW)
    assert len(sent) == 1
    assert "In blue?" in sent[0]["content"]


def test_two_variables_without_a_value_are_an_error():
    """Which of them the question is can't be known."""
    with pytest.raises(InputError, match="is not among the row's inputs"):
        Prompt.parse("{{a}} {{b}}").messages(ROW)


TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=9)}), max_size=6
)


@given(TURNS, st.sampled_from(["Be kind.", "Answer {{question}}", "{{who}}: {{question}}"]))
def test_every_turn_up_to_the_last_question_is_sent_once_and_in_order(turns, template):
    """Whatever the conversation, nothing of it is lost or doubled."""
    inputs = {"who": "me", "messages": turns}
    asked = conversation_of(inputs)
    if asked is None:
        assert all(turn["role"] != "user" for turn in turns)
        return
    sent = Prompt.parse(template).messages(inputs)
    if "question" in template:
        assert sent[:-1] == asked[:-1]
        assert sent[-1]["content"].endswith(asked[-1]["content"])
    else:
        assert sent[1:] == asked
