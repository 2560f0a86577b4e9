"""Lines of trace tables and inference tables as traces; one bad line ends nothing."""

import json

import pandas as pd
import pytest

from udfs import trace_rows
from udfs.prompt import Prompt
from udfs.trace_rows import TraceReading
from udfs.trace_tables import READ_DDL, request_trace, trace_reader, whole_trace

CHAT = Prompt.parse([{"role": "system", "content": "Sort."}, {"role": "user", "content": "Mail:\n{{text}}"}]).deployed()
READING = TraceReading(frozenset({"text"}), "sort", (("", CHAT),))
REQUEST = {"messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "Mail:\nHelp"}]}
REPLY = {"choices": [{"message": {"role": "assistant", "content": "billing"}, "finish_reason": "stop"}]}


def line(request=REQUEST, response=REPLY, status=200.0, time_ms=5.0):
    texts = [json.dumps(one) if not isinstance(one, str) else one for one in (request, response)]
    return {"id": "r1", "request": texts[0], "response": texts[1], "status_code": status, "time_ms": time_ms}


def read(one):
    records, reason = READING.records(request_trace(one))
    return [(json.loads(record["inputs"]), json.loads(record["expectations"])) for record in records] or reason


HELP = [({"text": "Help"}, {"expected_response": "billing"})]
CHUNKS = [{"choices": [{"delta": {"content": part}}]} for part in ("bill", "ing")]


@pytest.mark.parametrize(
    ("one", "found"),
    [
        (line(), HELP),
        (line(response=CHUNKS), HELP),
        (line(response="".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS) + "data: [DONE]\n\n"), HELP),
        (line({"inputs": {"text": "Help"}}, {"predictions": ["billing"]}), HELP),
        (line({"dataframe_records": [{"text": "Help"}]}, {"predictions": ["billing"]}), HELP),
        (line(status=429.0), trace_rows.FAILED),
        (line(status=float("nan")), HELP),
        (line(response={"choices": [{"message": {"content": "bi"}, "finish_reason": "length"}]}), trace_rows.CUT),
        (line({"messages": [{"role": "user", "content": "x"}]}), trace_rows.OTHER_MESSAGES),
        (line("no json", "nothing"), trace_rows.OTHER_MESSAGES),
    ],
)
def test_a_request_is_a_call_of_its_own(one, found):
    """Chat completions, streams of them, and models that take inputs by name."""
    assert read(one) == found


def test_an_agents_own_trace_in_the_response_is_read_instead():
    """The request is then the application's, and the prompt's call is inside."""
    attributes = {"mlflow.spanType": "CHAT_MODEL", "mlflow.spanInputs": REQUEST, "mlflow.spanOutputs": REPLY}
    spans = [
        {"span_id": "a", "name": "agent", "attributes": {"mlflow.spanInputs": '"x"', "mlflow.spanOutputs": '"y"'}},
        {"span_id": "b", "parent_id": "a", "attributes": {key: json.dumps(value) for key, value in attributes.items()}},
    ]
    trace = {"info": {"trace_id": "tr-1", "status": "OK"}, "data": {"spans": spans}}
    agents = line({"messages": []}, {"messages": [], "databricks_output": {"trace": trace}})
    assert read(agents) == HELP
    assert request_trace(agents).trace_id == "tr-1"


def test_spans_may_be_text_objects_or_a_list_in_an_object():
    """Archives, views and hand-made tables differ."""
    span = {"span_id": "b", "parent_span_id": None, "name": "llm", "start_time_unix_nano": 5, "attributes": "{}"}
    info = json.dumps({"trace_id": "tr-1", "tags": '{"team": "a"}', "request_time": "2026-01-01T00:00:00.000Z"})
    for spans in ([span], [json.dumps(span)], {"spans": [span]}):
        made = whole_trace({"info": info, "spans": json.dumps(spans)})
        assert (made.trace_id, made.spans[0].name, made.tags) == ("tr-1", "llm", {"team": "a"})
        assert made.time_ms == 1767225600000


def test_one_line_that_is_no_trace_ends_nothing():
    """It is counted like what gives no row, and the columns stay those of the schema."""
    lines = pd.DataFrame([{"info": "{", "spans": "[]"}, {"info": "{}", "spans": "[5]"}, {"info": "{}", "spans": "[]"}])
    [frame] = list(trace_reader(READING, whole_trace)(iter([lines])))
    assert [column.split()[0] for column in READ_DDL.split(", ")] == list(frame.columns)
    assert list(frame["reason"]) == [
        "no trace that can be read (JSONDecodeError)",
        "no trace that can be read (AttributeError)",
        trace_rows.NO_CALL,
    ]
