"""Scorers for JSON and numbers."""

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.errors import InputError
from udfs.scorers.protocol import Scorer, Subject
from udfs.scorers.structured import JsonEquality, JsonSchema, NumericCloseness

json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def response(output, expected):
    return Subject({}, output, {"expected_response": expected})


@pytest.mark.parametrize(
    ("scorer", "output", "expected", "value"),
    [
        (JsonEquality(), '{"b": 2, "a": 1}', {"a": 1, "b": 2}, 1.0),
        (JsonEquality(), '```json\n{"a": 1}\n```', '{"a": 1.0}', 1.0),
        (JsonEquality(), '{"a": 1}', "```\n{'a': 1}\n```".replace("'", '"'), 1.0),
        (JsonEquality(), '{"a": 1, "b": 0}', {"a": 1}, 0.0),
        (JsonEquality(), "[2, 1]", [1, 2], 0.0),
        (JsonEquality(array_order=False), "[2, 1]", [1, 2], 1.0),
        (JsonEquality(abs_tolerance=0.1), "1.05", 1, 1.0),
        (JsonEquality(), '"Yes."', '"yes"', 0.0),
        (JsonEquality(normalize_strings=True), '"Yes."', '"yes"', 1.0),
        (JsonEquality(partial=True), '{"a": 1, "b": 3}', {"a": 1, "b": 2}, 0.5),
        (JsonEquality(partial=True), '{"a": 1}', {"a": 1, "b": {"c": 1, "d": 2}}, 1 / 3),
        (JsonEquality(partial=True), '{"a": 1, "x": 1}', {"a": 1}, 0.5),
        (JsonEquality(partial=True), "[]", {}, 0.0),
        (JsonEquality(partial=True), "nothing", {"a": 1}, 0.0),
    ],
)
def test_json_equality(scorer, output, expected, value):
    """The same value, or the share of leaves that agree."""
    assert scorer.score(response(output, expected)).value == pytest.approx(value)


def test_json_equality_lists_paths():
    """The feedback names each place, and stops after a few."""
    expected = {"items": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2}]}
    output = '{"items": [{"sku": "a", "count": "1"}, {"sku": "c"}]}'
    feedback = JsonEquality().score(response(output, expected)).feedback
    assert feedback == (
        "3 of 4 values differ:\n"
        "- $.items[0].count is 1, expected 1 (string instead of number)\n"
        "- $.items[1].sku is c, expected b\n"
        "- $.items[1].count is missing, expected 2"
    )
    many = JsonEquality().score(response(json.dumps(list(range(20))), [0] * 20)).feedback
    assert many.endswith("- and 14 more")


@pytest.mark.parametrize("scorer", [JsonEquality(), JsonSchema({"type": "object"})])
@pytest.mark.parametrize("output", ["", "Sure!", '{"a": 1', 'Here: {"a": 1}', "[" * 5000])
def test_broken_json_is_marked_unparsable(scorer, output):
    """An output that is no JSON scores 0 and says why."""
    score = scorer.score(response(output, {"a": 1}))
    assert score.unparsable
    assert score.value == 0.0
    assert "can't be read" in score.feedback


def test_an_expectation_that_is_no_json_is_the_rows_fault():
    """Prose as the expected JSON is an error, never a zero for the prompt."""
    with pytest.raises(InputError, match="expected_response is not JSON"):
        JsonEquality().score(response("{}", "Sure, here you are"))


@given(json_values, st.sampled_from([JsonEquality(), JsonEquality(partial=True, array_order=False)]))
def test_json_equality_is_reflexive(value, scorer):
    """A value equals its own JSON, whether given as a value or as text."""
    assert scorer.score(response(json.dumps(value), json.dumps(value))).value == 1.0


@given(json_values, json_values, st.booleans())
def test_partial_credit_is_in_range(expected, actual, array_order):
    """From 0 to 1, and 1 only when nothing differs."""
    scorer = JsonEquality(partial=True, array_order=array_order)
    score = scorer.score(response(json.dumps(actual), json.dumps(expected)))
    assert 0.0 <= score.value <= 1.0
    assert (score.value == 1.0) == (
        JsonEquality(array_order=array_order).score(response(json.dumps(actual), json.dumps(expected))).value == 1.0
    )


SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["pos", "neg"]}, "score": {"$ref": "#/$defs/share"}},
    "required": ["label"],
    "additionalProperties": False,
    "$defs": {"share": {"type": "number", "minimum": 0, "maximum": 1}},
}


@pytest.mark.parametrize(
    ("output", "value", "said"),
    [
        ('{"label": "pos"}', 1.0, "valid"),
        ('```json\n{"label": "pos", "score": 0.5}\n```', 1.0, "valid"),
        ('{"label": "good"}', 0.0, "$.label: 'good' is not one of"),
        ('{"label": "pos", "score": 2}', 0.0, "$.score: 2 is greater than the maximum of 1"),
        ('{"score": 0.5}', 0.0, "'label' is a required property"),
        ('{"label": "good", "score": 2}', 0.0, "in 2 places"),
        ("[]", 0.0, "is not of type 'object'"),
    ],
)
def test_json_schema(output, value, said):
    """Valid or not, and where not."""
    score = JsonSchema(SCHEMA).score(Subject({}, output))
    assert score.value == value
    assert said in score.feedback
    assert not score.unparsable


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, r"schema\['type'\] is not valid JSON schema"),
        ({"properties": {"a": {"minimum": "1"}}}, r"schema\['properties'\]\['a'\]\['minimum'\]"),
        ({"pattern": "("}, "is not valid JSON schema"),
        ({"$ref": "#/$defs/missing"}, "refers to '#/\\$defs/missing', which it does not hold"),
        ({"items": [{"$ref": "x"}], "$schema": "http://json-schema.org/draft-07/schema#"}, "refers to 'x'"),
        ({"a": {1, 2}}, "the schema is not JSON"),
        ("object", "give a JSON schema's mapping"),
    ],
)
def test_an_invalid_schema_is_refused_where_it_is_made(schema, message):
    """Before the first call, with the place in the schema."""
    with pytest.raises(InputError, match=message):
        JsonSchema(schema)


def test_a_reference_to_elsewhere_is_refused_and_never_fetched(monkeypatch):
    """A schema at a URL is an error, not a download on every worker."""

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(InputError, match=r"https://example\.com/schema\.json"):
        JsonSchema({"items": {"$ref": "https://example.com/schema.json"}})


def test_references_to_parts_with_an_identity_work():
    """A schema that names itself, and parts of older drafts, resolve within."""
    named = JsonSchema(
        {"$id": "https://example.com/a", "items": {"$ref": "a#/$defs/n"}, "$defs": {"n": {"type": "null"}}}
    )
    assert named.score(Subject({}, "[null]")).value == 1.0
    old = JsonSchema(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "items": {"$ref": "#/definitions/n"},
            "definitions": {"n": {"type": "number"}},
        }
    )
    assert old.score(Subject({}, '["1"]')).value == 0.0


def test_a_schema_that_never_ends_is_an_error():
    """A reference to itself is the user's mistake, not a crash of the task."""
    with pytest.raises(InputError, match="refers to itself"):
        JsonSchema({"$ref": "#"}).score(Subject({}, "{}"))


@pytest.mark.parametrize(
    ("scorer", "output", "expected", "value"),
    [
        (NumericCloseness(), "So 3 + 4 = 7.", 7, 1.0),
        (NumericCloseness(), "7 apples and 3 pears", 7, 0.0),
        (NumericCloseness(), "$1,234.50", "1234.5", 1.0),
        (NumericCloseness(), "12 %", 0.12, 1.0),
        (NumericCloseness(), "-7", 7, 0.0),
        (NumericCloseness(), "0", 0, 1.0),
        (NumericCloseness(abs_tolerance=0.5), "7.4", 7, 1.0),
        (NumericCloseness(rel_tolerance=0.01), "101", 100, 1.0),
        (NumericCloseness(rel_tolerance=0.01), "102", 100, 0.0),
    ],
)
def test_numeric_closeness(scorer, output, expected, value):
    """The last number counts."""
    assert scorer.score(response(output, expected)).value == value


def test_numeric_closeness_says_the_distance():
    """The feedback gives both numbers and how far they are apart."""
    feedback = NumericCloseness().score(response("about 9", 7)).feedback
    assert "expected: 7" in feedback
    assert "the last number is 9, off by +2" in feedback


def test_an_output_without_a_number_is_unparsable():
    """Words alone score 0 and are marked."""
    assert NumericCloseness().score(response("seven", 7)).unparsable


@pytest.mark.parametrize("expected", ["seven", True, [7], {"a": 7}])
def test_an_expectation_without_a_number_is_the_rows_fault(expected):
    """The error names the value."""
    with pytest.raises(InputError, match="holds no number"):
        NumericCloseness().score(response("7", expected))


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_numeric_scores_are_in_range(output, expected):
    """From 0 to 1 whatever the output, and 1 for the number itself."""
    assert NumericCloseness().score(response(output, expected)).value in {0.0, 1.0}
    assert NumericCloseness().score(response(f"It is {expected!r}.", expected)).value == 1.0


@pytest.mark.parametrize("kind", [JsonEquality, NumericCloseness])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_tolerances_are_checked(kind, value):
    """Negative or endless tolerances are refused."""
    with pytest.raises(InputError, match="abs_tolerance"):
        kind(abs_tolerance=value)


@pytest.mark.parametrize("scorer", [JsonEquality(), NumericCloseness()])
def test_needs_are_named_when_missing(scorer):
    """A scorer that is called without what it needs names the key."""
    assert isinstance(scorer, Scorer)
    with pytest.raises(InputError, match="expected_response"):
        scorer.score(Subject({}, "1", {}))
