"""Strict JSON parsing and leaf-by-leaf comparison."""

import contextlib
import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.scorers.json_text import MAX_DEPTH, Comparison, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("```json\n\n```", "empty"),
        ("{", "Expecting"),
        ('{"a": 1} and more', "Extra data"),
        ('Sure: {"a": 1}', "Expecting value"),
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("1e999", "too large"),
        ("9" * 5000, "digit"),
        ('{"a": 1, "a": 1}', "twice"),
        ("[" * 100_000, "nested"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested"),
    ],
)
def test_what_is_not_json_is_refused(text, message):
    """Every refusal is a ValueError that says why, even where Python would run out of stack."""
    with pytest.raises(ValueError, match=message):
        parse(text)


@given(st.text())
def test_parsing_raises_nothing_but_value_errors(text):
    """Whatever the text, it is a value or a ValueError."""
    with contextlib.suppress(ValueError):
        parse(text)


@given(json_values)
def test_what_was_written_is_read(value):
    """A value survives writing and reading, bare or fenced."""
    text = json.dumps(value)
    assert parse(text) == value
    assert parse(f"```json\n{text}\n```") == value


@pytest.mark.parametrize(
    ("expected", "actual", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (None, None, True),
        (None, 0, False),
        ("1", 1, False),
        ("a", "A", False),
        ([], {}, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": None}, {}, False),
        (10**400, 10**400, True),
        (10**400, 1.5, False),
        (0.1 + 0.2, 0.3, True),
    ],
)
def test_equality_is_jsons_not_pythons(expected, actual, equal):
    """Numbers are numbers, booleans are not."""
    assert Comparison().equal(expected, actual) is equal


@given(json_values, st.randoms())
def test_objects_are_compared_without_regard_to_order(value, random):
    """Shuffling keys at every level changes nothing."""
    assert Comparison().equal(value, _shuffled(value, random))


@given(st.lists(json_values, max_size=6), st.randoms())
def test_arrays_may_be_compared_without_order(values, random):
    """With array_order off, any permutation is equal."""
    assert Comparison(array_order=False).equal(values, random.sample(values, len(values)))


@given(json_values, json_values, st.booleans())
def test_differences_are_symmetric_in_number(left, right, array_order):
    """Swapping the sides changes neither the number of leaves nor of differences."""
    comparison = Comparison(array_order=array_order)
    one, other = list(comparison.leaves(left, right)), list(comparison.leaves(right, left))
    assert (len(one), one.count(None)) == (len(other), other.count(None))


@pytest.mark.parametrize(
    ("expected", "actual", "agreeing", "differences"),
    [
        (["a", "b", "c"], ["x", "b", "c", "a"], 3, ["$[3] is not expected: x"]),
        (["x", "b", "c"], ["c", "b"], 2, ["$[0] is missing, expected x"]),
        ([{"id": 1}, {"id": 2}], [{"id": 2}, {"id": 3}], 1, ["$[0].id is 3, expected 1"]),
        ([[1, 2], [3]], [[3.0], [2, 1]], 3, []),
        ([1.0, 2.0, 3.0], [3.0000000001, 1.0000000001, 2], 3, []),
    ],
)
def test_unordered_arrays_pair_equal_elements_first(expected, actual, agreeing, differences):
    """One surplus or missing element costs one leaf, not the alignment of all that follow."""
    leaves = list(Comparison(array_order=False).leaves(expected, actual))
    assert leaves.count(None) == agreeing
    assert [leaf for leaf in leaves if leaf] == differences


def test_long_unordered_arrays_take_no_quadratic_time():
    """Two arrays of thousands with nothing in common are compared at once."""
    start = time.perf_counter()
    leaves = list(Comparison(array_order=False).leaves([[n] for n in range(5000)], [[-n] for n in range(1, 5001)]))
    assert leaves.count(None) == 0
    # Trying every pair takes minutes; sorting about 0.2 s.
    assert time.perf_counter() - start < 10


def test_a_value_of_another_kind_costs_all_its_leaves():
    """A string where an object was expected loses every leaf of the object."""
    leaves = list(Comparison().leaves({"a": {"x": 1, "y": 2}}, {"a": "x"}))
    assert len(leaves) == 2
    assert leaves[0] == '$.a is x, expected {"x": 1, "y": 2} (string instead of object)'


def test_tolerances():
    """Numbers within either tolerance are equal."""
    assert Comparison(abs_tolerance=0.5).equal([1.0], [1.5])
    assert Comparison(rel_tolerance=0.1).equal(100, 91)
    assert not Comparison(rel_tolerance=0.0).equal(1.0, math.nextafter(1.0, 2))


def _shuffled(value, random):
    if isinstance(value, list):
        return [_shuffled(item, random) for item in value]
    if isinstance(value, dict):
        keys = random.sample(list(value), len(value))
        return {key: _shuffled(value[key], random) for key in keys}
    return value
