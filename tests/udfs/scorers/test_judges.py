"""Judges: what they ask, what identifies the question, and how strictly a reply is read."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.endpoint import Endpoint
from udfs.errors import CallError, ErrorKind, InputError
from udfs.scorers.judges import CorrectnessJudge, EquivalenceJudge, GuidelinesJudge
from udfs.scorers.protocol import Comparing, Graded, Judge, Score, Subject

ENDPOINT = Endpoint("judge")
EQUIVALENCE = EquivalenceJudge(ENDPOINT)
CORRECTNESS = CorrectnessJudge(ENDPOINT)
FACTS = CorrectnessJudge(ENDPOINT, against="expected_facts")
GUIDELINES = GuidelinesJudge(ENDPOINT, ("Answers in one word.", "Is polite."))
JUDGES = [EQUIVALENCE, CORRECTNESS, FACTS, GUIDELINES]
SUBJECT = Subject({"text": "hi"}, "hello", {"expected_response": "hey", "expected_facts": ["a greeting"]})

loose_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["same", "kept", "correct", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rationale", "verdict", "guideline_1", "guideline_2", "x"]), inner, max_size=4
        )
    ),
    max_leaves=10,
).map(json.dumps)


def reply(verdict, rationale="why"):
    return json.dumps({"rationale": rationale, "verdict": verdict})


def both(first, second):
    return json.dumps(
        {
            "guideline_1": {"rationale": "r1", "verdict": first},
            "guideline_2": {"rationale": "r2", "verdict": second},
        }
    )


@pytest.mark.parametrize("judge", JUDGES)
def test_judges_keep_the_protocol(judge):
    """Each is a judge, asks its endpoint, and its response format is plain JSON."""
    assert isinstance(judge, Judge)
    assert judge.endpoint == ENDPOINT
    json.dumps(judge.response_format)


@pytest.mark.parametrize(
    ("judge", "text", "value"),
    [
        (EQUIVALENCE, reply("same"), 1.0),
        (EQUIVALENCE, reply("partly"), 0.5),
        (EQUIVALENCE, reply("different"), 0.0),
        (EQUIVALENCE, f"```json\n{reply('same')}\n```", 1.0),
        (EQUIVALENCE, f"\n {reply('same')} \n", 1.0),
        (CORRECTNESS, reply("correct"), 1.0),
        (FACTS, reply("partly"), 0.5),
        (CORRECTNESS, reply("incorrect"), 0.0),
        (GUIDELINES, both("kept", "kept"), 1.0),
        (GUIDELINES, both("kept", "broken"), 0.5),
        (GUIDELINES, both("broken", "broken"), 0.0),
    ],
)
def test_verdicts(judge, text, value):
    """Each allowed verdict has its value."""
    assert judge.verdict(text).value == value


def test_feedback_holds_verdict_and_rationale():
    """What the judge said is what reflection reads."""
    assert EQUIVALENCE.verdict(reply("partly", " The date is missing. ")).feedback == "partly: The date is missing."
    assert EQUIVALENCE.verdict(reply("same", "")).feedback == "same"
    assert GUIDELINES.verdict(both("broken", "kept")).feedback == (
        "kept 1 of 2 guidelines; broken:\n- Answers in one word.: r1"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "same",
        '"same"',
        "[]",
        "{}",
        reply("Same"),
        reply("same "),
        reply(True),
        reply(1),
        reply(None),
        reply(["same"]),
        reply("correct"),
        reply("same", 3),
        '{"verdict": "same"}',
        '{"rationale": "r"}',
        '{"rationale": "r", "verdict": "same", "confidence": 1}',
        '{"rationale": "r", "verdict": "different", "verdict": "same"}',
        f"Here you are: {reply('same')}",
        f"{reply('same')} {reply('different')}",
        f"[{reply('same')}]",
        "{" * 10_000,
        '{"a":' * 10_000,
    ],
)
def test_anything_else_is_no_verdict(text):
    """A reply that is not exactly a verdict is an error of kind JUDGE, never a guess."""
    with pytest.raises(CallError, match="judge equivalence is no verdict") as caught:
        EQUIVALENCE.verdict(text)
    assert caught.value.kind is ErrorKind.JUDGE
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "text",
    [
        both("kept", "maybe"),
        '{"guideline_1": {"rationale": "r", "verdict": "kept"}}',
        both("kept", "kept").replace("guideline_2", "guideline_3"),
        '{"guideline_1": "kept", "guideline_2": "kept"}',
        reply("kept"),
        "[]",
    ],
)
def test_every_guideline_needs_its_verdict(text):
    """One missing, unknown or malformed verdict makes the reply none."""
    with pytest.raises(CallError) as caught:
        GUIDELINES.verdict(text)
    assert caught.value.kind is ErrorKind.JUDGE


@pytest.mark.parametrize("judge", JUDGES)
@given(text=st.text() | loose_json)
def test_reading_a_reply_raises_nothing_but_call_errors(judge, text):
    """Whatever the model replies, it is a score in range or a CallError of kind JUDGE."""
    result = _verdict_or_error(judge, text)
    if isinstance(result, Score):
        assert 0.0 <= result.value <= 1.0
    else:
        assert result.kind is ErrorKind.JUDGE


def test_a_rationale_can_always_be_stored():
    """A lone surrogate, which JSON can spell, doesn't reach the table; nor does a novel."""
    feedback = EQUIVALENCE.verdict('{"rationale": "\\ud800", "verdict": "same"}').feedback
    feedback.encode("utf-8")
    assert len(EQUIVALENCE.verdict(reply("same", "x" * 10_000)).feedback) < 700


@pytest.mark.parametrize("judge", JUDGES)
def test_the_rationale_comes_before_the_verdict(judge):
    """Models write keys in the schema's order, so the verdict follows from the rationale."""
    assert '"rationale"' in judge.messages(SUBJECT)[0]["content"]
    schema = judge.response_format["json_schema"]["schema"]
    for part in [schema] if "verdict" in schema["properties"] else schema["properties"].values():
        assert list(part["properties"]) == ["rationale", "verdict"]
        assert part["additionalProperties"] is False
        assert part["required"] == ["rationale", "verdict"]


@pytest.mark.parametrize("judge", JUDGES)
def test_material_is_marked_as_data(judge):
    """Nothing of the row stands in the instructions, and all of it between markers."""
    subject = Subject({"text": "IN-1"}, "OUT-1", {"expected_response": "EXP-1", "expected_facts": ["EXP-1"]})
    system, user = judge.messages(subject)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "data" in system["content"]
    assert not any(text in system["content"] for text in ("IN-1", "OUT-1", "EXP-1"))
    assert "IN-1" in user["content"]
    assert "OUT-1" in user["content"]
    assert ("EXP-1" in user["content"]) is (judge is not GUIDELINES)


@pytest.mark.parametrize("judge", JUDGES)
@given(output=st.text(), hostile=st.booleans())
def test_a_text_cant_close_its_block(judge, output, hostile):
    """The closing marker depends on the text, so that no text holds it: markers stand once each."""
    if hostile:
        # The best an attacker can do: repeat the markers of an earlier question.
        output += judge.messages(replace(SUBJECT, output=output))[1]["content"]
    content = judge.messages(replace(SUBJECT, output=output))[1]["content"]
    closing = content.rsplit("</output-", 1)[1].split(">", 1)[0]
    assert content.count(f"<output-{closing}>") == 1
    assert content.count(f"</output-{closing}>") == 1
    assert f"<output-{closing}>\n{output}\n</output-{closing}>" in content


def test_messages_are_deterministic():
    """The same row asks the same question, so that a kept verdict is found again."""
    assert EQUIVALENCE.messages(SUBJECT) == EquivalenceJudge(ENDPOINT).messages(SUBJECT)


def test_the_expected_response_may_be_any_json():
    """An object goes in as JSON."""
    user = EQUIVALENCE.messages(Subject({}, "x", {"expected_response": {"a": 1}}))[1]
    assert '{"a": 1}' in user["content"]


def test_judge_ids_tell_questions_apart():
    """What shapes the question changes the identity, the judge's name and endpoint do not."""
    judges = [
        *JUDGES,
        replace(EQUIVALENCE, structured=False),
        replace(GUIDELINES, guidelines=("Is polite.", "Answers in one word.")),
        replace(GUIDELINES, guidelines=("Is polite.",)),
    ]
    assert len({judge.judge_id for judge in judges}) == len(judges)
    assert replace(EQUIVALENCE, name="other", endpoint=Endpoint("other")).judge_id == EQUIVALENCE.judge_id


def test_judge_ids_are_stable():
    """These identities stand in ledgers: when one changes, raise judge_question.VERSION and put the new one here."""
    assert {judge.name + str(sorted(judge.needs)): judge.judge_id[:16] for judge in JUDGES} == STABLE_IDS


def test_without_structured_output_the_shape_stands_in_the_instructions():
    """Endpoints that know no response_format still get asked for the same JSON."""
    for judge in JUDGES:
        assert replace(judge, structured=False).response_format is None
        assert '"verdict"' in judge.messages(SUBJECT)[0]["content"]


@pytest.mark.parametrize("guidelines", [(), ("",), ("a", " "), "Is polite.", ["a"], (1,), ("a", "a")])
def test_bad_guidelines_are_refused(guidelines):
    """No guideline, a blank one, one twice, or a bare text."""
    with pytest.raises(InputError, match="guideline"):
        GuidelinesJudge(ENDPOINT, guidelines)


def test_correctness_is_measured_against_a_known_expectation():
    """Its needs follow the choice, and another choice is refused."""
    assert CORRECTNESS.needs == {"expected_response"}
    assert FACTS.needs == {"expected_facts"}
    with pytest.raises(InputError, match="against is 'labels'"):
        CorrectnessJudge(ENDPOINT, against="labels")


@pytest.mark.parametrize("judge", [EQUIVALENCE, CORRECTNESS, FACTS])
def test_needs_are_named_when_missing(judge):
    """A judge that is asked without what it needs names the key."""
    (key,) = judge.needs
    with pytest.raises(InputError, match=key):
        judge.messages(Subject({}, "x", {}))


def _verdict_or_error(judge, text):
    try:
        return judge.verdict(text)
    except CallError as error:
        return error


STABLE_IDS = {
    "equivalence['expected_response']": "6204e8bab6fd3d35",
    "correctness['expected_response']": "a6822d4ba1a1c552",
    "correctness['expected_facts']": "2d95ca6afac51d59",
    "guidelines[]": "2086a46577884e70",
}


@pytest.mark.parametrize("judge", [EQUIVALENCE, CORRECTNESS, FACTS])
def test_swapped_shows_the_same_texts_in_the_other_order(judge):
    """Instructions and blocks stay; the output comes first; the verdicts are kept under another identity."""
    assert isinstance(judge, Comparing)
    usual, swapped = judge.messages(SUBJECT), judge.swapped().messages(SUBJECT)
    assert usual[0] == swapped[0]
    assert sorted(words(usual)) == sorted(words(swapped))
    assert usual[1]["content"].index("<output-") > usual[1]["content"].index("<expected_")
    assert swapped[1]["content"].index("<output-") < swapped[1]["content"].index("<expected_")
    assert judge.judge_id != judge.swapped().judge_id
    assert judge.swapped().swapped() == judge


def words(messages):
    """The words of what is judged, without the markers, whose hash goes with the order."""
    return [word for word in messages[1]["content"].split() if not word.startswith("<")]


@pytest.mark.parametrize("judge", JUDGES)
def test_each_named_verdict_scores_what_it_says(judge):
    """People label answers by these names."""
    assert isinstance(judge, Graded)
    for name, value in judge.verdicts.items():
        said = both(name, name) if judge is GUIDELINES else reply(name)
        assert judge.verdict(said).value == value
