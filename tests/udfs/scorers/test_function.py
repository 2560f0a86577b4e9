"""A user's own function as a scorer."""

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark import cloudpickle

from udfs.errors import InputError
from udfs.scorers.function import FunctionScorer
from udfs.scorers.protocol import Score, Scorer, Subject

SUBJECT = Subject({"q": "1+1"}, "2", {"expected_response": "2"})


def constant(value):
    return FunctionScorer("mine", lambda: value)


def is_short(output):
    return len(output) < 10


@pytest.mark.parametrize(
    ("returned", "value", "feedback"),
    [
        (True, 1.0, ""),
        (False, 0.0, ""),
        (1, 1.0, ""),
        (0.25, 0.25, ""),
        ("yes", 1.0, ""),
        ("No", 0.0, ""),
        ((0.5, "half"), 0.5, "half"),
        ((True, "ok"), 1.0, "ok"),
        (("no", "why"), 0.0, "why"),
        (Score(0.5, "f"), 0.5, "f"),
        (np.float32(0.5), 0.5, ""),
        (np.bool_(True), 1.0, ""),
        (np.int64(0), 0.0, ""),
    ],
)
def test_what_a_function_may_return(returned, value, feedback):
    """Bools, numbers, words, scores and pairs."""
    assert constant(returned).score(SUBJECT) == Score(value, feedback)


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "maybe",
        1.5,
        -0.1,
        2,
        float("nan"),
        float("inf"),
        Score(2.0),
        Score(float("nan")),
        (0.5, None),
        (0.5, "a", "b"),
        (None, "why"),
        (Score(1.0), "why"),
        [1],
        {"score": 1},
        np.array([1.0]),
        1j,
    ],
)
def test_anything_else_is_an_error_that_names_the_scorer(returned):
    """No score is guessed from what is none."""
    with pytest.raises(InputError, match="scorer mine"):
        constant(returned).score(SUBJECT)


@given(st.floats() | st.integers() | st.text() | st.none() | st.tuples(st.floats(), st.text()))
def test_a_score_is_in_range_or_an_error(returned):
    """Whatever comes back, nothing out of range gets through."""
    try:
        score = constant(returned).score(SUBJECT)
    except InputError:
        return
    assert 0.0 <= score.value <= 1.0


@pytest.mark.parametrize(
    "function",
    [
        lambda output: output == "2",
        lambda outputs: outputs == "2",
        lambda inputs, outputs, expectations: (
            (inputs, outputs, expectations) == ({"q": "1+1"}, "2", SUBJECT.expectations)
        ),
        lambda *, expectations, output: output == expectations["expected_response"],
        lambda output, threshold=5: len(output) < threshold,
        lambda **given: set(given) == {"inputs", "outputs", "output", "expectations"},
        lambda output, **rest: output == "2" and "output" not in rest,
        partial(lambda length, output: len(output) == length, 1),
    ],
)
def test_a_function_is_given_what_it_declares(function):
    """By name, in any order, with defaults left alone."""
    assert FunctionScorer("mine", function).score(SUBJECT).value == 1.0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda answer: True, "'answer' is none that a scorer is given"),
        (lambda output, trace: True, "'trace'"),
        (lambda output, /: True, "can't be given by name"),
        (lambda *parts: True, "can't be given by name"),
        ("len", "give a function"),
        (max, "can't be"),
    ],
)
def test_a_function_that_cant_be_called_is_refused_where_it_is_made(function, message):
    """Before the first call, naming the parameter."""
    with pytest.raises(InputError, match=message):
        FunctionScorer("mine", function)


def test_async_functions_and_bare_needs_are_refused():
    """A coroutine is no score, and a text is no set of keys."""

    async def later(output):
        return True

    with pytest.raises(InputError, match="async"):
        FunctionScorer("mine", later)
    with pytest.raises(InputError, match="needs as a set"):
        FunctionScorer("mine", is_short, needs="expected_response")


def test_what_a_function_raises_is_chained():
    """The error names scorer and exception, and keeps the cause."""
    with pytest.raises(InputError, match="scorer mine raised KeyError: 'label'") as caught:
        FunctionScorer("mine", lambda expectations: expectations["label"]).score(SUBJECT)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_function_cant_change_the_row():
    """It gets copies, all the way down."""
    subject = Subject({"a": [1]}, "x", {"b": [1]})

    def rude(inputs, expectations):
        inputs["a"].append(2)
        expectations["b"].clear()
        return 1

    FunctionScorer("mine", rude).score(subject)
    assert subject == Subject({"a": [1]}, "x", {"b": [1]})


def test_it_keeps_the_protocol():
    """It is a scorer, with its needs as a frozen set."""
    scorer = FunctionScorer("mine", is_short, needs={"expected_response"})
    assert isinstance(scorer, Scorer)
    assert scorer.needs == frozenset({"expected_response"})


def test_closures_travel_by_cloudpickle():
    """A lambda that closes over local state scores the same on the other side."""
    limit = 3
    scorer = FunctionScorer("mine", lambda output: (len(output) < limit, f"limit {limit}"))
    loaded = pickle.loads(cloudpickle.dumps(scorer))  # noqa: S301 - our own bytes
    assert loaded.score(SUBJECT) == scorer.score(SUBJECT)


def test_module_level_functions_travel_by_pickle():
    """A function that can be imported by name needs no cloudpickle."""
    scorer = FunctionScorer("mine", is_short)
    assert pickle.loads(pickle.dumps(scorer)) == scorer  # noqa: S301 - our own bytes
