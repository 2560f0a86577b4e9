"""What is rendered, what a candidate is called, and that what is scored is what is deployed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.errors import InputError
from udfs.prompt import DEMOS, Prompt, candidate_id, render, variables
from udfs.well_formed import well_formed

CHAT = [
    {"role": "system", "content": "You sort {{kind}}."},
    {"role": "user", "content": "First {{a}}"},
    {"role": "assistant", "content": "ok"},
    {"role": "user", "content": "Then {{b}}"},
]


@given(st.text(), st.text())
def test_a_value_is_never_expanded_again(first, second):
    """Rendering is one pass: whatever stands in a value, placeholders included, arrives as it is."""
    inputs = {"x": f"{first}{{{{y}}}}", "y": second}
    assert render("<{{x}}|{{ y }}>", inputs) == f"<{first}{{{{y}}}}|{second}>"


@given(st.text())
def test_a_text_without_placeholders_is_rendered_to_itself(text):
    """Single braces, percent signs and backslashes mean nothing."""
    if not variables(text):
        assert render(text, {}) == text


def test_other_values_than_text_go_in_as_json():
    """A list or a number is written as JSON, without escapes for other alphabets."""
    assert render("{{a}} {{b}}", {"a": ["ä", 1], "b": None}) == '["ä", 1] null'


def test_a_missing_value_is_named_with_what_there_is():
    """The message names the variable and the inputs that the row has."""
    with pytest.raises(InputError, match=r"\{\{text\}\}.*\(body, lang\)"):
        render("{{text}}", {"lang": "de", "body": ""})


def test_candidate_ids_are_pinned():
    """Answers are kept under these ids: they must be the same in every version, whatever the order of components."""
    assert candidate_id({"template": "Say {{x}}"}) == "c1c883ce24119b3b9c4973021ba60aa499a8d9995d211cb0ef7497dca164e589"
    assert candidate_id({"a": "1", "b": "2"}) == candidate_id({"b": "2", "a": "1"})
    assert candidate_id({"a": "ä"}) == Prompt(None, {"a": "ä"}).candidate_id


@given(st.text(), st.text())
def test_candidates_differ_where_their_texts_do(one, other):
    """Two prompts have one id only if they have one text."""
    same = Prompt.parse(one).candidate_id == Prompt.parse(other).candidate_id
    assert same == (one == other)


def test_half_a_character_neither_breaks_the_id_nor_the_request():
    """A proposal may hold half a surrogate pair, as JSON can spell it; it is a candidate like others."""
    assert len(Prompt.parse("cut \ud83d {{x}}").candidate_id) == 64


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_well_formed_text_can_be_encoded_and_keeps_what_could(text):
    """Any text comes out encodable; one that was is untouched."""
    found = well_formed(text)
    found.encode()
    assert found == text or any("\ud800" <= character <= "\udfff" for character in text)


def test_only_the_lone_half_is_replaced():
    """What stands beside half a character stays."""
    assert well_formed("a\ud83db\udc00c") == "a\ufffdb\ufffdc"


def test_chat_components_are_named_by_role_and_number():
    """Messages of one role are told apart by number; the few-shot turns are a component of their own."""
    prompt = Prompt.parse(CHAT)
    assert list(prompt.components) == ["system", "user", "assistant", "user_2", DEMOS]
    assert prompt.variables == {"kind", "a", "b"}
    assert prompt.deployed() == CHAT


def test_demos_become_turns_before_the_last_user_message():
    """Demonstrations stand where the conversation would have had them, and are deployed with the prompt."""
    turns = [{"role": "user", "content": "Then 1"}, {"role": "assistant", "content": "one"}]
    prompt = Prompt.parse(CHAT)
    shown = prompt.with_components({**prompt.components, DEMOS: json.dumps(turns)})
    assert shown.deployed() == [*CHAT[:3], *turns, CHAT[3]]
    assert prompt.components[DEMOS] == ""
    assert shown.candidate_id != prompt.candidate_id


@given(st.text(), st.text(), st.text())
def test_what_is_sent_is_what_is_deployed_with_the_values_put_in(before, after, value):
    """No message is added, dropped or changed between the registry's prompt and the request."""
    for template in (f"{before}{{{{x}}}}{after}", [{"role": "system", "content": before}, *_user(after)]):
        prompt = Prompt.parse(template)
        inputs = dict.fromkeys(prompt.variables, value)
        deployed = prompt.deployed()
        messages = [{"role": "user", "content": deployed}] if isinstance(deployed, str) else deployed
        expected = [{"role": m["role"], "content": render(m["content"], inputs)} for m in messages]
        assert prompt.messages(inputs) == expected


def _user(text):
    return [{"role": "user", "content": f"{{{{x}}}}{text}"}]


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([{"role": "tool", "content": "x"}], "message 1"),
        ([{"role": "user", "content": "x"}, {"role": "user"}], "message 2"),
        ([{"role": "system", "content": "x"}], "no user message"),
    ],
)
def test_a_broken_chat_prompt_is_refused_by_message(messages, named):
    """The error says which message, and what it must be."""
    with pytest.raises(InputError, match=named):
        Prompt.parse(messages)
