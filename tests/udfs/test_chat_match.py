"""Prompts found again in calls: roles, history, steps with tools, and what libraries make of messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.chat_match import CONTINUED, HISTORY, OTHER_MESSAGES, recover_from_messages
from udfs.chat_shapes import Answer, answer_of, messages_of
from udfs.prompt import Prompt, variables
from udfs.template_match import AMBIGUOUS, MISMATCH, Unmatched

SYSTEM = {"role": "system", "content": "Be {{tone}}."}
USER = {"role": "user", "content": "Q: {{q}}"}
TEXT = st.text(alphabet="ab: ", max_size=5)


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def found(template, messages):
    got = recover_from_messages(template, messages)
    return got.reason if isinstance(got, Unmatched) else got


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT, st.sampled_from("xyz"), TEXT), max_size=3),
    st.fixed_dictionaries({"x": TEXT, "y": TEXT, "z": TEXT}),
)
def test_a_rendered_chat_gives_its_values_or_none(turns, values):
    """For any chat prompt, what Prompt.messages renders is recovered, or ambiguous; never other values."""
    template = [*({"role": r, "content": f"{a}{{{{{n}}}}}{b}"} for r, a, n, b in turns), USER]
    prompt = Prompt.parse(template)
    inputs = values | {"q": "why"}
    got = recover_from_messages(prompt.deployed(), prompt.messages(inputs))
    names = frozenset().union(*(variables(message["content"]) for message in template))
    if isinstance(got, Unmatched):
        assert got.reason == AMBIGUOUS
    else:
        assert got == {name: inputs[name] for name in names}


@pytest.mark.parametrize(
    ("template", "messages", "expected"),
    [
        ("Q: {{q}}", said(("user", "Q: why")), {"q": "why"}),
        ("Q: {{q}}", said(("system", "Be kind."), ("user", "Q: why")), MISMATCH),
        ("Q: {{q}}", said(("assistant", "Q: why")), OTHER_MESSAGES),
        ([SYSTEM, USER], said(("user", "Q: why"), ("system", "Be kind.")), OTHER_MESSAGES),
        ([SYSTEM, USER], said(("user", "Q: why")), OTHER_MESSAGES),
        ([SYSTEM, USER], said(("system", "Be kind."), ("user", "Hello")), MISMATCH),
        ([SYSTEM, USER], said(("system", "Be kind."), ("user", "a"), ("tool", "b"), ("user", "Q: c")), HISTORY),
        ("Q: {{input}} {{x}}", said(("user", "a"), ("assistant", "b"), ("user", "Q: c d")), HISTORY),
        ([SYSTEM, USER], said(("system", "Be"), ("user", "a"), ("assistant", "b"), ("user", "Q: c")), MISMATCH),
        ([SYSTEM, USER], said(("system", "Be kind."), ("user", "Q: c"), ("assistant", None), ("tool", "1")), CONTINUED),
        ([SYSTEM, USER], [{"role": "system", "content": "Be kind."}, {"role": "user", "content": None}], MISMATCH),
        ([SYSTEM, SYSTEM, USER], said(("system", "Be a."), ("system", "Be b."), ("user", "Q: c")), MISMATCH),
    ],
)
def test_roles_and_numbers_of_messages_must_be_the_prompts(template, messages, expected):
    """Anything beside the prompt's own messages shaped the answer, so there is no row in it."""
    assert found(template, messages) == expected


CHATS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXT), max_size=3)


@settings(max_examples=300)
@given(
    st.sampled_from(["Q: {{q}}", "Be {{tone}}.", [SYSTEM, USER], [USER, SYSTEM], [SYSTEM, {**USER, "content": "Go."}]]),
    st.fixed_dictionaries({"tone": TEXT, "q": TEXT}),
    CHATS,
    TEXT,
    st.sampled_from(["none", "question", "all"]),
)
def test_a_conversation_is_asked_again_as_it_was_sent(template, values, turns, last, left_out):
    """Whatever is recovered of a call, rendering it gives the very messages of that call."""
    prompt = Prompt.parse(template)
    inputs = values | {"messages": said(*turns, ("user", last))}
    inputs = {key: value for key, value in inputs.items() if left_out != "question" or key != "q"}
    if left_out == "all":
        inputs = values
    sent = prompt.messages(inputs)
    got = recover_from_messages(prompt.deployed(), sent)
    if isinstance(got, Unmatched):
        assert got.reason in {AMBIGUOUS, HISTORY, MISMATCH, OTHER_MESSAGES, CONTINUED}
    else:
        assert prompt.messages(got) == sent


def test_earlier_turns_make_a_row_that_is_a_conversation():
    """For a chat prompt, a text sent as the last user message, and a text sent as the system message."""
    turns = said(("user", "a"), ("assistant", "b"))
    asked = [*turns, {"role": "user", "content": "c"}]
    end = said(("user", "Q: c"))
    assert found([SYSTEM, USER], [*said(("system", "Be kind.")), *turns, *end]) == {"tone": "kind", "messages": asked}
    assert found("Q: {{q}}", [*turns, *end]) == {"messages": asked}
    assert found("Be {{tone}}.", [*said(("system", "Be kind.")), *asked]) == {"tone": "kind", "messages": asked}
    assert found("Be kind.", [*said(("system", "Be kind.")), *asked]) == {"messages": asked}


def test_earlier_turns_become_the_value_of_a_history_variable():
    """None, one or several; a single user's turn is the text that stands there."""
    template = [SYSTEM, {"role": "user", "content": "{{history}}"}, USER]
    turns = said(("user", "a"), ("assistant", "b"))
    ends = said(("system", "Be kind.")), said(("user", "Q: c"))
    assert found(template, [*ends[0], *turns, *ends[1]]) == {"tone": "kind", "q": "c", "history": turns}
    assert found(template, [*ends[0], *ends[1]])["history"] == []
    assert found(template, [*ends[0], *turns[:1], *ends[1]])["history"] == "a"
    assert found(template, [*ends[0], *turns[1:], *ends[1]])["history"] == turns[1:]


HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "inputs",
    [
        {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        [[{"content": "Hi", "type": "human", "additional_kwargs": {}, "id": None}]],
        {"messages": [[{"lc": 1, "type": "constructor", "id": ["x", "HumanMessage"], "kwargs": {"content": "Hi"}}]]},
        [[{"type": "human", "data": {"content": "Hi", "type": "human"}}]],
        [["human", "Hi"]],
        ["Hi"],
        "Hi",
        {"prompt": "Hi"},
        {"prompts": ["Hi"]},
        {"input": "Hi"},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]},
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "modelId": "m"},
        [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}],
    ],
)
def test_requests_of_many_libraries_are_the_same_messages(inputs):
    """OpenAI, LangChain in its three dumps, Responses, Gemini, Bedrock and OpenTelemetry."""
    assert messages_of(inputs) == HI


def test_system_texts_beside_the_messages_come_first():
    """Anthropic's, Responses' and Gemini's stand in keys of their own."""
    with_system = [{"role": "system", "content": "S"}, *HI]
    assert messages_of({"system": [{"type": "text", "text": "S"}], "messages": HI}) == with_system
    assert messages_of({"instructions": "S", "input": "Hi"}) == with_system
    assert messages_of({"contents": "Hi", "config": {"system_instruction": "S"}}) == with_system
    assert messages_of({"messages": [{"role": "developer", "content": "S"}, *HI]}) == with_system


@pytest.mark.parametrize("inputs", [None, 5, {}, [], {"query": "Hi"}, [1, 2], {"messages": [5]}, [{"a": 1}]])
def test_what_is_no_request_is_none(inputs):
    """No call of a prompt is made up of a retriever's query."""
    assert messages_of(inputs) is None


def test_pictures_and_several_parts_are_no_text():
    """A template is one text."""
    content = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert messages_of({"messages": [{"role": "user", "content": content}]}) == [{"role": "user", "content": None}]


CALLS = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ("yes", Answer("yes")),
        ('{"a": 1}', Answer('{"a": 1}')),
        ({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}, Answer("yes")),
        ({"choices": [{"message": {"content": "ye"}, "finish_reason": "length"}]}, Answer("ye", cut=True)),
        ({"choices": [{"text": "yes"}]}, Answer("yes")),
        ({"choices": [{"message": {"content": None, "tool_calls": CALLS}}]}, Answer(None, calls_tools=True)),
        ({"choices": [{"message": {"content": "I look", "tool_calls": CALLS}}]}, Answer("I look", calls_tools=True)),
        ({"content": [{"type": "text", "text": "yes"}], "stop_reason": "max_tokens"}, Answer("yes", cut=True)),
        ({"content": [{"type": "tool_use", "name": "f"}]}, Answer(None, calls_tools=True)),
        ({"generations": [[{"text": "yes", "generation_info": {"finish_reason": "length"}}]]}, Answer("yes", cut=True)),
        ({"generations": [[{"text": "", "message": {"content": "", "tool_calls": CALLS}}]]}, Answer(None, False, True)),
        ({"content": "yes", "type": "ai", "response_metadata": {"finish_reason": "stop"}}, Answer("yes")),
        ({"candidates": [{"content": {"parts": [{"text": "ye"}]}, "finishReason": "MAX_TOKENS"}]}, Answer("ye", True)),
        ({"output": {"message": {"content": [{"text": "yes"}]}}, "stopReason": "end_turn"}, Answer("yes")),
        (
            {
                "status": "incomplete",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "y"}]}],
            },
            Answer("y", cut=True),
        ),
        ({"output": [{"type": "reasoning"}, {"type": "function_call", "name": "f"}]}, Answer(None, calls_tools=True)),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "yes"}]}, Answer("yes")),
        (
            [{"choices": [{"delta": {"content": "y"}}]}, {"choices": [{"delta": {}, "finish_reason": "length"}]}],
            Answer("y", cut=True),
        ),
        ({"label": "billing"}, None),
        (None, None),
        (5, None),
    ],
)
def test_replies_of_many_libraries_are_the_same_answer(outputs, answer):
    """Its text, whether it is cut short, and whether it only asks for tools."""
    assert answer_of(outputs) == answer
