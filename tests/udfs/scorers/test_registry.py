"""Scorers from configuration, and the weighted mean."""

import copy
import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark import cloudpickle

import udfs.scorers
from udfs.endpoint import Endpoint
from udfs.errors import InputError
from udfs.scorers.function import FunctionScorer
from udfs.scorers.judges import CorrectnessJudge, EquivalenceJudge, GuidelinesJudge
from udfs.scorers.protocol import Judge, Score, Scorer, Subject, Weighted
from udfs.scorers.registry import JUDGES, SCORERS, build_mix, build_scorer, mix
from udfs.scorers.structured import JsonSchema, NumericCloseness
from udfs.scorers.text import Contains, ExactMatch, ExpectedFacts, Regex, TokenF1

ENDPOINT = Endpoint("judge")
EVERY_SPEC = [
    "exact_match",
    {"contains": {"text": "x"}},
    {"name": "regex", "pattern": r"\d+"},
    "expected_facts",
    "token_f1",
    {"json_equality": {"partial": True}},
    {"json_schema": {"schema": {"type": "object"}}},
    "numeric",
    {"judge": "equivalence"},
    {"judge": "correctness", "against": "expected_facts"},
    {"judge": "guidelines", "guidelines": ["Is polite."]},
]


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("exact_match", Weighted(ExactMatch())),
        ("token_f1", Weighted(TokenF1())),
        ({"exact_match": {"strict": True}, "weight": 2.0}, Weighted(ExactMatch(strict=True), 2.0)),
        ({"exact_match": None}, Weighted(ExactMatch())),
        ({"name": "regex", "pattern": "a", "weight": 3}, Weighted(Regex("a"), 3.0)),
        ({"name": "exact_match"}, Weighted(ExactMatch())),
        ({"regex": {"pattern": "a"}, "name": "has_a"}, Weighted(Regex("a", name="has_a"))),
        ({"contains": {"text": "a", "name": "has_a"}}, Weighted(Contains("a", name="has_a"))),
        ({"name": "json_schema", "schema": {"type": "object"}}, Weighted(JsonSchema({"type": "object"}))),
        ({"numeric": {"abs_tolerance": 1}}, Weighted(NumericCloseness(abs_tolerance=1))),
        ({"judge": "equivalence", "weight": 2.0}, Weighted(EquivalenceJudge(ENDPOINT), 2.0)),
        ({"judge": "guidelines", "guidelines": ["a"]}, Weighted(GuidelinesJudge(ENDPOINT, ("a",)))),
        (
            {"judge": "guidelines", "guidelines": ["a"], "name": "tone"},
            Weighted(GuidelinesJudge(ENDPOINT, ("a",), "tone")),
        ),
        ({"judge": "correctness"}, Weighted(CorrectnessJudge(ENDPOINT))),
        (ExpectedFacts(), Weighted(ExpectedFacts())),
        (EquivalenceJudge(ENDPOINT), Weighted(EquivalenceJudge(ENDPOINT))),
        (Weighted(ExactMatch(), 2), Weighted(ExactMatch(), 2.0)),
    ],
)
def test_every_way_to_write_a_scorer(spec, made):
    """Names, both mappings, judges, and what is ready; the configuration stays as it was."""
    before = copy.deepcopy(spec)
    assert build_scorer(spec, ENDPOINT) == made
    assert spec == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "exact_mach",
            "no scorer 'exact_mach'; did you mean 'exact_match'\\? Scorers: contains, .*judges, .*guidelines",
        ),
        ("equivalence", "write {judge: equivalence}"),
        ({"judge": "equivalance"}, "no judge 'equivalance'; did you mean 'equivalence'\\? Judges: correctness"),
        ({"judge": ["x"]}, "no judge"),
        ({"judge": "guidelines"}, "needs the option 'guidelines'"),
        ({"judge": "equivalence", "guidelines": ["a"]}, "no option 'guidelines'"),
        ({"name": "regexp", "pattern": "a"}, "did you mean 'regex'"),
        ({"regex": {"pattern": "("}}, "is not a regular expression"),
        ({"regex": "a"}, "write {regex: {OPTION: value}}"),
        ({"regex": {"patern": "a"}}, "did you mean 'pattern'"),
        ({"exact_match": {}, "strict": True}, "names more than one scorer"),
        ({"exact_match": {}, "contains": {}}, "names more than one scorer"),
        ({"exact_mach": {"strict": True}}, "did you mean 'exact_match'"),
        ({"exact_match": {"weight": 2}}, "put it beside exact_match"),
        ({"weight": 2}, "names no scorer"),
        ({"exact_match": {}, "weight": 0}, "weight is 0; give a number above 0"),
        ({"exact_match": {}, "weight": -1}, "give a number above 0"),
        ({"exact_match": {}, "weight": True}, "give a number above 0"),
        ({"exact_match": {}, "weight": "2"}, "give a number above 0"),
        ({"exact_match": {}, "weight": float("nan")}, "give a number above 0"),
        ({"exact_match": {}, "weight": float("inf")}, "give a number above 0"),
        (Weighted(ExactMatch(), 0), "give a number above 0"),
        (5, "5 is no scorer"),
        (None, "None is no scorer"),
    ],
)
def test_mistakes_are_named_with_their_mend(spec, message):
    """The nearest right name, the list, or the right form."""
    with pytest.raises(InputError, match=message):
        build_scorer(spec, ENDPOINT)


@pytest.mark.parametrize("name", ["equivalence", "correctness", "guidelines"])
def test_a_judge_needs_a_model(name):
    """Without scorer_model the error says which setting is missing."""
    with pytest.raises(InputError, match="set scorer_model"):
        build_scorer({"judge": name, "guidelines": ["a"]}, None)


def test_a_mix_has_unique_names():
    """Two scorers of one name are refused until one is given another."""
    with pytest.raises(InputError, match="'regex' stands more than once"):
        build_mix([{"regex": {"pattern": "a"}}, {"regex": {"pattern": "b"}}])
    made = build_mix([{"regex": {"pattern": "a"}}, {"regex": {"pattern": "b"}, "name": "regex_2"}])
    assert [weighted.scorer.name for weighted in made] == ["regex", "regex_2"]


@pytest.mark.parametrize(
    ("specs", "message"), [([], "the list is empty"), ("exact_match", "is not a list"), ({}, "not a")]
)
def test_a_mix_is_a_list_of_at_least_one(specs, message):
    """A bare name or nothing at all is a mistake."""
    with pytest.raises(InputError, match=message):
        build_mix(specs)


def test_the_lists_are_complete():
    """Every registered kind has a spec here, and its default name is the name it is registered under."""
    made = build_mix(EVERY_SPEC, ENDPOINT)
    assert [weighted.scorer.name for weighted in made] == [*SCORERS, *JUDGES]
    assert all(isinstance(weighted.scorer, Scorer | Judge) for weighted in made)


def _use(scorer):
    subject = Subject({"q": 1}, "1", {"expected_response": "1", "expected_facts": ["1"]})
    return scorer.messages(subject) if isinstance(scorer, Judge) else scorer.score(subject)


@pytest.mark.parametrize("weighted", build_mix(EVERY_SPEC, ENDPOINT), ids=lambda weighted: weighted.scorer.name)
@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_every_scorer_travels(weighted, dumps):
    """Pickled and loaded it is equal, and still works after it has been used."""
    before = _use(weighted.scorer)
    loaded = pickle.loads(dumps(weighted))  # noqa: S301 - our own bytes
    assert loaded == weighted
    assert _use(loaded.scorer) == before


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.floats(0, 1), st.floats(1e-6, 1e6)), min_size=1, max_size=6))
def test_a_mean_lies_between_its_scores(pairs):
    """Weighted, within the lowest and the highest, and never out of 0 to 1 by rounding."""
    value = mix(
        {name: Score(score) for name, (score, _) in pairs.items()},
        {name: weight for name, (_, weight) in pairs.items()},
    )
    scores = [score for score, _ in pairs.values()]
    assert 0.0 <= value <= 1.0
    assert min(scores) - 1e-9 <= value <= max(scores) + 1e-9


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
def test_all_ones_mix_to_one(weights):
    """A perfect row is exactly 1, whatever the weights."""
    names = [str(number) for number in range(len(weights))]
    assert mix(dict.fromkeys(names, Score(1.0)), dict(zip(names, weights, strict=True))) == 1.0


@pytest.mark.parametrize(
    ("scores", "weights"), [({}, {}), ({"a": Score(1)}, {"b": 1.0}), ({"a": Score(1)}, {"a": 1.0, "b": 1.0})]
)
def test_a_mean_over_a_part_is_refused(scores, weights):
    """Leaving a scorer out would be another measure."""
    with pytest.raises(InputError, match="can't be mixed"):
        mix(scores, weights)


def test_function_scorers_join_a_mix():
    """A ready scorer stands in the list beside names."""
    made = build_mix(["exact_match", FunctionScorer("brief", lambda output: len(output) < 5)])
    assert [weighted.scorer.name for weighted in made] == ["exact_match", "brief"]


def test_exported_names_are_exactly_these():
    """The public names, each of them there."""
    assert all(hasattr(udfs.scorers, name) for name in udfs.scorers.__all__)
    assert sorted(udfs.scorers.__all__) == sorted(set(udfs.scorers.__all__))


def test_importing_is_cheap():
    """Workers import neither the driver's tools nor jsonschema until a schema is used."""
    heavy = "mlflow gepa pydantic yaml jsonschema referencing"
    code = f"import sys, udfs.scorers; print(*[name for name in {heavy!r}.split() if name in sys.modules])"
    root = str(udfs.scorers.__file__).rsplit("/udfs/", 1)[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == ""
