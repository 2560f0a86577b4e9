"""From traces of whole applications to rows of one prompt: which span, which template, which answer, and what not."""

import json
from dataclasses import replace

import pytest

from udfs import trace_rows
from udfs.prompt import Prompt
from udfs.template_match import AMBIGUOUS, MISMATCH
from udfs.trace_rows import TraceReading
from udfs.traced import Trace

CHAT = Prompt.parse([{"role": "system", "content": "Sort."}, {"role": "user", "content": "Mail:\n{{text}}"}]).deployed()
READING = TraceReading(frozenset({"text"}), "main.default.sort", (("", CHAT),))
NO_TEXT = TraceReading(frozenset({"text"}), "p", (("", "{{text}}"),))


def span(name, kind="CHAIN", inputs=None, outputs=None, parent="root", **more):
    attributes = {"mlflow.spanType": kind, "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}
    attributes |= more.pop("attributes", {})
    told = {key: json.dumps(value) for key, value in attributes.items() if value is not None}
    made = {"span_id": name, "parent_span_id": None if name == parent else parent, "name": name, "attributes": told}
    return made | {"status": {"code": "STATUS_CODE_OK"}} | more


def call(text, answer="billing", name="llm", system="Sort.", **more):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    reply = {"choices": [{"message": {"content": answer}, "finish_reason": more.pop("finish", "stop")}]}
    return span(name, "CHAT_MODEL", {"messages": messages}, more.pop("outputs", reply), **more)


def trace(*spans, root_inputs=None, root_outputs="done", **info):
    root = span("root", "AGENT", root_inputs or {"request": "x"}, root_outputs)
    return Trace.of({"trace_id": "tr-1", "state": "OK", "request_time": 7, **info}, [root, *spans])


def values(reading, one):
    """Inputs and expectations of each record, or the reason."""
    records, reason = reading.records(one)
    found = [(json.loads(record["inputs"]), json.loads(record["expectations"])) for record in records]
    return found or reason


def expected(text, **expectations):
    return [({"text": text}, expectations)]


def test_the_prompt_is_found_in_a_span_inside_and_its_answer_is_expected():
    """Not the application's own inputs and answer."""
    one = trace(
        span("retrieve", "RETRIEVER", {"query": "q"}, []), call("Mail:\nHelp"), tags={"team": "a", "mlflow.x": "1"}
    )
    [record], reason = READING.records(one)
    assert reason is None
    assert json.loads(record["inputs"]) == {"text": "Help"}
    assert json.loads(record["expectations"]) == {"expected_response": "billing"}
    assert json.loads(record["slices"]) == {"team": "a"}
    assert (record["trace_id"], record["weight"], record["_by_person"], record["_recorded_ms"]) == ("tr-1", "1", 0, 7)


def test_a_conversation_is_a_row_of_the_application_or_of_the_call_inside():
    """An agent's own messages are one, a model's messages are read with the template: they hold the prompt."""
    asked = [{"role": "user", "content": "Hi"}]
    agent = TraceReading(frozenset({"messages"}), "p", (("", "Be kind."),))
    answer = {"messages": [{"role": "assistant", "content": "Hello"}]}
    sent = [{"role": "system", "content": "Be kind."}, *asked]
    inner = span("llm", "CHAT_MODEL", {"messages": sent}, "inner")
    whole = trace(inner, root_inputs={"messages": asked}, root_outputs=answer)
    assert values(agent, whole) == [({"messages": asked}, {"expected_response": "Hello"})]
    assert values(agent, trace(inner)) == [({"messages": asked}, {"expected_response": "inner"})]
    alone = Trace.of({"trace_id": "t"}, [inner | {"parent_span_id": None}])
    assert values(agent, alone) == [({"messages": asked}, {"expected_response": "inner"})]
    assert values(READING, Trace.of({"trace_id": "t"}, [call("Mail:\na") | {"parent_span_id": None}])) == expected(
        "a", expected_response="billing"
    )


def test_a_root_span_with_the_variables_goes_before_what_can_be_recovered():
    """As it always did; all of its inputs are the row's."""
    one = trace(call("Mail:\nHelp"), root_inputs={"text": "own", "id": 1}, root_outputs="root's")
    assert values(READING, one) == [({"text": "own", "id": 1}, {"expected_response": "root's"})]
    assert values(replace(READING, match="template"), one) == expected("Help", expected_response="billing")
    assert values(replace(READING, match="root"), trace(root_inputs={"x": 1})) == [
        ({"x": 1}, {"expected_response": "done"})
    ]
    assert values(replace(READING, match="root"), trace(root_inputs=["x"])) == trace_rows.NO_ROOT


def test_each_call_of_the_prompt_is_a_record_but_one_that_two_libraries_recorded_is_one():
    """A loop over documents calls it several times; a wrapper's span around the client's has the same messages."""
    twice = trace(call("Mail:\na", "x"), call("Mail:\nb", "y", name="llm2"))
    assert values(READING, twice) == [*expected("a", expected_response="x"), *expected("b", expected_response="y")]
    nested = trace(call("Mail:\na", "x"), call("Mail:\na", "x", name="inner", parent="llm"))
    assert values(READING, nested) == expected("a", expected_response="x")


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (trace(), trace_rows.NO_CALL),
        (trace(call("Other")), MISMATCH),
        (
            trace(call("Mail:\na", outputs={"choices": [{"message": {"content": None, "tool_calls": [1]}}]})),
            trace_rows.TOOLS,
        ),
        (trace(call("Mail:\na", finish="length")), trace_rows.CUT),
        (trace(call("Mail:\na", outputs={"what": 1})), trace_rows.NO_ANSWER),
        (trace(call("Mail:\na", status={"code": "STATUS_CODE_ERROR"})), trace_rows.FAILED),
        (trace(call("Mail:\na"), state="ERROR"), trace_rows.FAILED),
    ],
)
def test_what_gives_no_row_has_a_reason(one, reason):
    """It is counted by that."""
    assert values(READING, one) == reason


def test_the_nearest_reason_is_told_and_good_calls_are_used_all_the_same():
    """An ambiguous call says more than the calls of other prompts beside it."""
    reading = TraceReading(frozenset("ab"), "p", (("", "{{a}} in {{b}}"),))
    other = span("x", "LLM", "Hello", "yes")
    unsure = span("y", "LLM", "in in in in", "yes")
    assert values(reading, trace(other, unsure)) == AMBIGUOUS
    assert values(reading, trace(unsure, span("z", "LLM", "a in b", "yes"))) == [
        ({"a": "a", "b": "b"}, {"expected_response": "yes"})
    ]


def test_errors_truncated_and_rejected_answers_are_taken_when_asked_for():
    """Each by its own word."""
    down = [feedback(False)]
    for word, one in (
        ("errors", trace(call("Mail:\na"), state="ERROR")),
        ("truncated", trace(call("Mail:\na", finish="max_tokens"))),
        ("negative", trace(call("Mail:\na"), assessments=down)),
    ):
        assert isinstance(values(READING, one), str)
        assert values(replace(READING, include=frozenset({word})), one) == expected("a", expected_response="billing")


def feedback(value, *, name="helpful", source="HUMAN", who="ann", time="2", valid=True):
    source = {"source_type": source, "source_id": who}
    return {
        "assessment_name": name,
        "source": source,
        "feedback": {"value": value},
        "valid": valid,
        "last_update_time": time,
    }


def expectation(value, *, name="expected_response", source="HUMAN", time="1", span_id=None):
    held = {"value": value} if isinstance(value, str) else {"serialized_value": {"value": json.dumps(value)}}
    source = {"source_type": source, "source_id": "ann"}
    return {
        "assessment_name": name,
        "source": source,
        "expectation": held,
        "last_update_time": time,
        "span_id": span_id,
    }


@pytest.mark.parametrize("value", [False, "no", "No", 0, 0.0, "thumbs_down"])
def test_a_persons_thumbs_down_leaves_a_trace_out(value):
    """Not a judge's, not a withdrawn one, not one that the same person changed, not one of another name."""
    assert values(READING, trace(call("Mail:\na"), assessments=[feedback(value)])) == trace_rows.NEGATIVE
    for said in (
        [feedback(value, source="LLM_JUDGE")],
        [feedback(value, valid=False)],
        [feedback(value), feedback(True, time="3")],
        [feedback(True), feedback("a remark")],
    ):
        assert values(READING, trace(call("Mail:\na"), assessments=said)) == expected("a", expected_response="billing")
    named = replace(READING, feedback=("toxic",))
    assert isinstance(values(named, trace(call("Mail:\na"), assessments=[feedback(value)])), list)
    assert values(named, trace(call("Mail:\na"), assessments=[feedback(value, name="toxic")])) == trace_rows.NEGATIVE


def test_what_a_person_expects_stands_before_the_recorded_answer():
    """The latest of a person, before a program's, never a judge's; facts replace the answer, other names join it."""
    said = [expectation("old"), expectation("new", time="2"), expectation("code", source="CODE", time="3")]
    one = trace(call("Mail:\na"), assessments=said)
    assert values(READING, one) == expected("a", expected_response="new")
    assert READING.records(one)[0][0]["_by_person"] == 1
    judged = trace(call("Mail:\na"), assessments=[expectation("judge", source="LLM_JUDGE")])
    assert values(READING, judged) == expected("a", expected_response="billing")
    facts = trace(call("Mail:\na"), assessments=[expectation(["f"], name="expected_facts")])
    assert values(READING, facts) == expected("a", expected_facts=["f"])
    more = trace(call("Mail:\na"), assessments=[expectation("calm", name="tone")])
    assert values(READING, more) == expected("a", expected_response="billing", tone="calm")


def test_what_is_expected_of_a_whole_trace_is_not_given_to_each_of_several_calls():
    """What is said of one span is that call's."""
    said = [expectation("whole"), expectation("second", span_id="llm2")]
    one = trace(call("Mail:\na", "x"), call("Mail:\nb", "y", name="llm2"), assessments=said)
    assert values(READING, one) == [*expected("a", expected_response="x"), *expected("b", expected_response="second")]
    single = trace(call("Mail:\na"), assessments=[expectation("root's", span_id="root")])
    assert values(READING, single) == expected("a", expected_response="root's")


LINK = json.dumps([{"name": "main.default.sort", "version": "2"}, {"name": "other", "version": "1"}])


def test_a_linked_version_is_read_with_its_own_template():
    """By the trace's tag, its metadata, or a span's attribute; the configured template is another one by now."""
    old = [{"role": "system", "content": "Old."}, {"role": "user", "content": "{{text}}"}]
    reading = replace(READING, templates=(("2", old), ("", CHAT)))
    sent = call("Help", system="Old.")
    for one in (
        trace(sent, tags={"mlflow.linkedPrompts": LINK}),
        trace(sent, trace_metadata={"mlflow.linkedPrompts": LINK}),
        trace(sent, span("load", attributes={"mlflow.linkedPrompts": LINK})),
    ):
        assert values(reading, one) == expected("Help", expected_response="billing")
        assert values(replace(reading, match="linked"), one) == expected("Help", expected_response="billing")
        assert values(replace(reading, match="template"), one) == MISMATCH
    assert values(replace(reading, match="linked"), trace(call("Mail:\na"))) == trace_rows.NOT_LINKED
    gone = trace(call("Mail:\na"), tags={"mlflow.linkedPrompts": LINK})
    assert values(replace(READING, match="linked"), gone) == trace_rows.OTHER_VERSION
    assert values(READING, gone) == expected("a", expected_response="billing")
    lacking = replace(reading, variables=frozenset({"text", "lang"}))
    assert values(lacking, trace(sent, tags={"mlflow.linkedPrompts": LINK})) == trace_rows.LACKS
    broken = trace(call("Mail:\na"), tags={"mlflow.linkedPrompts": LINK[:-5]})
    assert values(READING, broken) == expected("a", expected_response="billing")


def test_a_template_of_variables_only_needs_a_link_or_a_spans_name():
    """Every other call would fit it as well."""
    one = trace(span("ask", "LLM", "Hello", "yes"), span("other", "LLM", "Bye", "no"))
    assert values(NO_TEXT, one) == trace_rows.NO_TEXT
    assert values(replace(NO_TEXT, span="ask*"), one) == expected("Hello", expected_response="yes")


def test_a_spans_name_stands_for_the_root_where_it_has_the_inputs():
    """A traced function inside the application, of whatever type."""
    one = trace(span("classify", "TOOL", {"text": "Help"}, {"label": "billing"}), call("Mail:\nHelp"))
    assert values(replace(READING, span="classify"), one) == expected("Help", expected_response={"label": "billing"})
    assert values(replace(READING, span="llm"), one) == expected("Help", expected_response="billing")
    assert values(replace(READING, span="nothing"), one) == trace_rows.NO_CALL


def test_a_span_that_a_table_holds_twice_is_one():
    """Such tables are written at least once."""
    assert values(READING, trace(call("Mail:\na"), call("Mail:\na"))) == expected("a", expected_response="billing")
