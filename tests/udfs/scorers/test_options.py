"""Options from YAML, checked against a scorer's fields."""

import pytest

from udfs.endpoint import Endpoint
from udfs.errors import InputError
from udfs.scorers.judges import CorrectnessJudge, GuidelinesJudge
from udfs.scorers.options import make
from udfs.scorers.structured import JsonEquality, JsonSchema
from udfs.scorers.text import Contains, ExactMatch, Regex

ENDPOINT = Endpoint("judge")


@pytest.mark.parametrize(
    ("kind", "options", "given", "made"),
    [
        (ExactMatch, {}, {}, ExactMatch()),
        (Contains, {"text": None}, {}, Contains()),
        (Contains, {"text": "x", "name": "has_x"}, {}, Contains("x", name="has_x")),
        (JsonEquality, {"abs_tolerance": 1}, {}, JsonEquality(abs_tolerance=1)),
        (GuidelinesJudge, {"guidelines": ["a"]}, {"endpoint": ENDPOINT}, GuidelinesJudge(ENDPOINT, ("a",))),
        (
            CorrectnessJudge,
            {"against": "expected_facts"},
            {"endpoint": ENDPOINT},
            CorrectnessJudge(ENDPOINT, "expected_facts"),
        ),
    ],
)
def test_options_become_fields(kind, options, given, made):
    """YAML's lists become tuples, its integers floats."""
    assert make(kind, "s", options, **given) == made


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ExactMatch, {"strict": "yes"}, r"strict is 'yes' \(str\); give true or false"),
        (ExactMatch, {"strict": 1}, "give true or false"),
        (ExactMatch, {"case": True}, "no option 'case'; .*It has: case_sensitive, keep_punctuation, name, strict"),
        (ExactMatch, {3: True}, "no option 3"),
        (Regex, {}, "needs the option 'pattern'"),
        (Regex, {"pattern": 5}, "pattern is 5 .*give a text"),
        (Contains, {"text": 5}, "give a text"),
        (JsonEquality, {"abs_tolerance": True}, "give a number"),
        (JsonEquality, {"abs_tolerance": float("nan")}, "give a number"),
        (JsonSchema, {"schema": [1]}, "give a mapping"),
    ],
)
def test_wrong_options_are_named(kind, options, message):
    """Unknown, missing or of the wrong type: the message has the option and the mend."""
    with pytest.raises(InputError, match=message):
        make(kind, "s", options)


def test_what_is_given_is_not_the_users_to_set():
    """An endpoint in a scorer's mapping is an unknown option."""
    with pytest.raises(InputError, match="no option 'endpoint'"):
        make(GuidelinesJudge, "s", {"guidelines": ["a"], "endpoint": "x"}, endpoint=ENDPOINT)
    with pytest.raises(InputError, match="give expected_response or expected_facts"):
        make(CorrectnessJudge, "s", {"against": "labels"}, endpoint=ENDPOINT)
    with pytest.raises(InputError, match="give a list of texts"):
        make(GuidelinesJudge, "s", {"guidelines": "Is polite."}, endpoint=ENDPOINT)
