"""Feedback texts and reading expectations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.errors import InputError
from udfs.scorers.expectation import required, required_facts
from udfs.scorers.feedback import as_text, expected_and_got, shorten
from udfs.scorers.protocol import Subject


@given(st.text(st.characters(codec=None, exclude_categories=())), st.integers(10, 400))
def test_shortened_texts_fit_and_can_be_stored(text, limit):
    """Never longer than the limit, and always UTF-8, lone surrogates or not."""
    short = shorten(text, limit)
    assert len(short) <= limit
    short.encode("utf-8")


def test_the_ends_of_a_long_text_stay():
    """What is left out is the middle."""
    short = shorten("start" + "x" * 1000 + "end")
    assert short.startswith("start")
    assert short.endswith("end")


def test_an_empty_output_is_shown_as_nothing():
    """A reader sees that nothing came, not an empty line."""
    assert expected_and_got("a", " ") == "expected: a\ngot: (nothing)"


@pytest.mark.parametrize(("value", "text"), [("é", "é"), (1.5, "1.5"), (None, "null"), (["é"], '["é"]')])
def test_values_as_text(value, text):
    """Strings stay bare, everything else is JSON with its letters readable."""
    assert as_text(value) == text


@pytest.mark.parametrize("expectations", [{}, {"expected_response": None}, {"other": 1}])
def test_a_missing_expectation_is_named(expectations):
    """Absent or null, the error names scorer and key."""
    with pytest.raises(InputError, match=r"scorer s: .* no expected_response"):
        required("s", Subject({}, "x", expectations), "expected_response")


def test_false_and_zero_are_expectations():
    """Only null counts as missing."""
    assert required("s", Subject({}, "x", {"k": 0}), "k") == 0
    assert required("s", Subject({}, "x", {"k": False}), "k") is False


@pytest.mark.parametrize("facts", [[], [""], ["a", "  "]])
def test_blank_facts_are_refused(facts):
    """A list that every output would satisfy is a mistake in the data."""
    with pytest.raises(InputError, match="expected_facts is"):
        required_facts("s", Subject({}, "x", {"expected_facts": facts}))


def test_one_text_is_one_fact():
    """A fact needs no list round it."""
    assert required_facts("s", Subject({}, "x", {"expected_facts": "a fact"})) == ["a fact"]
