"""Rows from whatever records: one a distinct input, duplicates weighed, defects told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as T  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.rows import defects, local_rows, rows_from_frame, rows_from_records
from udfs.records import canonical_json, normal_record, row_id

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
INPUTS = st.dictionaries(st.text(), VALUES, min_size=1, max_size=4)


@given(INPUTS, st.randoms(use_true_random=False))
def test_a_row_is_the_same_in_whatever_order_its_inputs_stand(inputs, random):
    """The id depends on names and values only, and survives the way through JSON."""
    keys = random.sample(list(inputs), len(inputs))
    assert row_id({key: inputs[key] for key in keys}) == row_id(inputs)
    assert row_id(json.loads(canonical_json(inputs))) == row_id(inputs)


@given(INPUTS, INPUTS)
def test_rows_differ_where_their_inputs_do(one, other):
    """Two inputs are one row only if they are written alike."""
    assert (row_id(one) == row_id(other)) == (canonical_json(one) == canonical_json(other))


def test_row_ids_are_pinned():
    """Answers are kept under these ids."""
    assert row_id({"text": "ä", "n": 1}) == "dc22481b05d50c519696c75db9a606e4fe8da0a31e0e9ac52332ca32e9403aa5"


@given(INPUTS)
def test_inputs_as_text_and_as_object_are_the_same(inputs):
    """A column of JSON text and a column of objects make the same rows."""
    assert normal_record({"inputs": inputs}) == normal_record({"inputs": json.dumps(inputs)})


@pytest.mark.parametrize("inputs", [None, "", "no json", "[1]", "{}", 5, [], {}])
def test_a_record_without_usable_inputs_has_a_defect(inputs):
    """It says what stands there and what should."""
    found = normal_record({"inputs": inputs})
    assert found["inputs"] is None
    assert "give an object" in found["defect"]


@pytest.mark.parametrize(
    ("weight", "found"),
    [(None, 1), ("", 1), (1, 1), (7, 7), ("3", 3), (2.0, 2), ("2.0", 2)],
)
def test_weights_are_whole_numbers_from_one(weight, found):
    """However they are written."""
    assert normal_record({"inputs": {"x": 1}, "weight": weight})["weight"] == found


@pytest.mark.parametrize("weight", [0, -1, 1.5, "many", [1], float("nan"), float("inf")])
def test_a_weight_that_is_none_is_a_defect(weight):
    """It would spoil every mean: 0 divides by zero, and -1 turns losses into gains."""
    found = normal_record({"inputs": {"x": 1}, "weight": weight})
    assert found["inputs"] is None
    assert "weight" in found["defect"]


def test_expectations_come_from_any_of_their_columns():
    """Own columns join the object; recorded outputs serve where nothing else is expected."""

    def expected(**record):
        text = normal_record({"inputs": {"x": 1}, **record})["expectations"]
        return json.loads(text) if text else None

    assert expected(expectations='{"a": 1}', expected_response="5") == {"a": 1, "expected_response": "5"}
    assert expected(expected_facts='["f"]') == {"expected_facts": ["f"]}
    assert expected(outputs="an answer") == {"expected_response": "an answer"}
    assert expected(outputs="an answer", expectations={"a": 1}) == {"a": 1}
    assert expected() is None


def test_half_a_character_does_not_break_a_row():
    """Traces may hold half a surrogate pair, as JSON can spell it; Arrow could not carry it."""
    found = normal_record({"inputs": '{"text": "cut \\ud83d"}', "outputs": "cut \ud83d"})
    assert found["inputs"] == '{"text":"cut \ufffd"}'
    canonical_json({"a": "\ud83d"}).encode()


def test_duplicates_are_one_row_that_weighs_by_its_count(spark):
    """Weights add up, the most frequent answer stands, and Spark's id is Python's."""
    records = [
        {"inputs": {"a": 1, "b": "x"}, "expected_response": "yes", "trace_id": "t2", "slices": {"lang": "de"}},
        {"inputs": {"b": "x", "a": 1}, "expected_response": "no"},
        {"inputs": {"a": 1, "b": "x"}, "expected_response": "yes", "weight": 4, "trace_id": "t1"},
        {"inputs": {"a": 2, "b": "ä"}},
    ]
    frame = rows_from_records(spark, records)
    assert frame.schema.simpleString() == (
        "struct<row_id:string,inputs:string,expectations:string,weight:bigint,slices:map<string,string>,trace_id:string>"
    )
    found = {row.inputs: row for row in local_rows(frame)}
    assert set(found) == {'{"a":1,"b":"x"}', '{"a":2,"b":"ä"}'}
    one, other = found['{"a":1,"b":"x"}'], found['{"a":2,"b":"ä"}']
    assert (one.weight, json.loads(one.expectations)) == (6, {"expected_response": "yes"})
    assert (other.weight, other.expectations, dict(other.slices)) == (1, None, {})
    assert one.row_id == row_id({"a": 1, "b": "x"})
    assert other.row_id == row_id({"a": 2, "b": "ä"})


def test_records_in_memory_name_the_first_that_is_broken(spark):
    """By its number, from one."""
    with pytest.raises(InputError, match="record 2 has inputs"):
        rows_from_records(spark, [{"inputs": {"x": 1}}, {"inputs": {}}])
    with pytest.raises(InputError, match="no records"):
        rows_from_records(spark, [])


def test_frames_of_any_shape_make_the_same_rows(spark):
    """Inputs as JSON text, as a struct, as a map, or as plain columns: one set of ids."""
    text = spark.createDataFrame([('{"text": "ä", "tone": "calm"}', "yes")], "inputs string, expected_response string")
    struct = spark.createDataFrame(
        [(("ä", "calm"), "yes")], "inputs struct<text:string,tone:string>, expected_response string"
    )
    mapped = spark.createDataFrame(
        [({"tone": "calm", "text": "ä"}, "yes")],
        T.StructType(
            [
                T.StructField("inputs", T.MapType(T.StringType(), T.StringType())),
                T.StructField("expected_response", T.StringType()),
            ]
        ),
    )
    plain = spark.createDataFrame([("ä", "calm", "yes")], "text string, tone string, expected_response string")
    rows = [local_rows(rows_from_frame(frame)) for frame in (text, struct, mapped, plain)]
    assert rows[0] == rows[1] == rows[2] == rows[3]
    assert rows[0][0].row_id == row_id({"text": "ä", "tone": "calm"})
    assert json.loads(rows[0][0].expectations) == {"expected_response": "yes"}


def test_broken_records_of_a_frame_are_told_and_lose_no_others(spark):
    """A defect stays a line without inputs, for the caller to refuse or to count."""
    frame = spark.createDataFrame(
        [('{"x": 1}', 1.0), ("broken", 1.0), ('{"x": 2}', 0.0), ('{"x": 3}', None)], "inputs string, weight double"
    )
    rows = rows_from_frame(frame)
    assert len(defects(rows)) == 2
    assert {row.inputs: row.weight for row in local_rows(rows.where("inputs is not null"))} == {
        '{"x":1}': 1,
        '{"x":3}': 1,
    }


def test_a_frame_without_inputs_names_its_columns(spark):
    """Only reserved columns are no inputs."""
    with pytest.raises(InputError, match="weight"):
        rows_from_frame(spark.createDataFrame([(1,)], "weight int"))
