"""Scorers by name: what the ``scorers`` list of the configuration may hold, and their weighted mean."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from udfs.endpoint import Endpoint
from udfs.errors import InputError
from udfs.scorers.feedback import shorten
from udfs.scorers.judges import CorrectnessJudge, EquivalenceJudge, GuidelinesJudge
from udfs.scorers.options import make, nearest
from udfs.scorers.protocol import Judge, Score, Scorer, Weighted
from udfs.scorers.structured import JsonEquality, JsonSchema, NumericCloseness
from udfs.scorers.text import Contains, ExactMatch, ExpectedFacts, Regex, TokenF1

SCORERS: Mapping[str, type[Scorer]] = {
    "exact_match": ExactMatch,
    "contains": Contains,
    "regex": Regex,
    "expected_facts": ExpectedFacts,
    "token_f1": TokenF1,
    "json_equality": JsonEquality,
    "json_schema": JsonSchema,
    "numeric": NumericCloseness,
}
JUDGES: Mapping[str, type[Judge]] = {
    "equivalence": EquivalenceJudge,
    "correctness": CorrectnessJudge,
    "guidelines": GuidelinesJudge,
}


def build_scorer(spec: Any, judge_endpoint: Endpoint | None = None) -> Weighted:
    """Make one scorer from its configuration.

    ``spec`` is a name; a mapping ``{NAME: {OPTIONS}, weight: W, name: LABEL}``, ``{name: NAME, OPTIONS, weight: W}``
    or ``{judge: NAME, OPTIONS, weight: W, name: LABEL}``; or a scorer, a judge or a ``Weighted`` that is ready.
    Nothing in ``spec`` is mutated. Judges ask ``judge_endpoint``.

    Raises:
        InputError: an unknown name or option (with the nearest right one), a value of the wrong type, a weight that
            is not above 0, or a judge without an endpoint.

    >>> build_scorer({"exact_match": {"strict": True}, "weight": 2.0})
    Weighted(scorer=ExactMatch(strict=True, case_sensitive=False, keep_punctuation=False, name='exact_match'), \
weight=2.0)
    >>> build_scorer("exact_mach")
    Traceback (most recent call last):
    udfs.errors.InputError: scorers: there is no scorer 'exact_mach'; did you mean 'exact_match'? Scorers: contains, \
exact_match, expected_facts, json_equality, json_schema, numeric, regex, token_f1; judges, as {judge: NAME}: \
correctness, equivalence, guidelines
    """
    if isinstance(spec, Weighted):
        return Weighted(spec.scorer, _weight(spec.scorer.name, spec.weight))
    if isinstance(spec, Scorer | Judge):
        return Weighted(spec)
    if isinstance(spec, str):
        return Weighted(make(_kind(spec), spec, {}))
    if not isinstance(spec, Mapping):
        raise InputError(f"scorers: {shorten(repr(spec), 80)} is no scorer; give a name or a mapping. {_known()}")
    options = dict(spec)
    if "judge" in options:
        return _build_judge(options, judge_endpoint)
    name, options, weight = _scorer_options(options)
    return Weighted(make(_kind(name), name, options), _weight(name, weight))


def build_mix(specs: Iterable[Any], judge_endpoint: Endpoint | None = None) -> tuple[Weighted, ...]:
    """Make all scorers of a run, see :func:`build_scorer`.

    Raises:
        InputError: also when there is none, or when two have one name.

    >>> [weighted.scorer.name for weighted in build_mix(["exact_match", {"name": "regex", "pattern": "yes|no"}])]
    ['exact_match', 'regex']
    """
    if isinstance(specs, str | Mapping):
        raise InputError(f"scorers: {shorten(repr(specs), 80)} is not a list; write scorers: [...]")
    mix_ = tuple(build_scorer(spec, judge_endpoint) for spec in specs)
    if not mix_:
        raise InputError(f"scorers: the list is empty; give at least one. {_known()}")
    twice = [name for name, count in Counter(weighted.scorer.name for weighted in mix_).items() if count > 1]
    if twice:
        raise InputError(
            f"scorers: {twice[0]!r} stands more than once; give each a name of its own, "
            f"such as {{{twice[0]}: {{...}}, name: {twice[0]}_2}}"
        )
    return mix_


def mix(scores: Mapping[str, Score], weights: Mapping[str, float]) -> float:
    """Return the weighted mean of ``scores`` (scorer name to score), from 0 to 1.

    Raises:
        InputError: the names differ: a mean over a part of the scorers is another measure.

    >>> mix({"a": Score(1.0), "b": Score(0.5)}, {"a": 1.0, "b": 3.0})
    0.625
    """
    if not scores or set(scores) != set(weights):
        raise InputError(
            f"scores of {sorted(scores)} can't be mixed with weights of {sorted(weights)}; give both alike"
        )
    total = math.fsum(weights[name] for name in scores)
    mean = math.fsum(score.value * weights[name] for name, score in scores.items()) / total
    return min(1.0, max(0.0, mean))  # rounding may leave 1 by one unit in the last place


def _scorer_options(spec: dict[str, Any]) -> tuple[str, dict[str, Any], Any]:
    """Take a scorer's mapping apart into its name, its options and its weight."""
    weight = spec.pop("weight", 1.0)
    named = [key for key in spec if key in SCORERS]
    if not named and isinstance(spec.get("name"), str):
        return spec.pop("name"), spec, weight
    keys = [key for key in spec if key != "name"]
    if len(keys) != 1:
        raise InputError(
            f"scorers: {shorten(repr(spec), 120)} names {'no' if not keys else 'more than one'} scorer; "
            f"write {{NAME: {{OPTION: value}}, weight: 1.0}}. {_known()}"
        )
    name = keys[0]
    options = spec[name]
    if name in SCORERS and not (options is None or isinstance(options, Mapping)):
        raise InputError(
            f"scorer {name}: {shorten(repr(options), 80)} is no mapping of options; write {{{name}: {{OPTION: value}}}}"
        )
    merged = dict(options) if isinstance(options, Mapping) else {}
    if "weight" in merged:
        raise InputError(f"scorer {name}: weight stands among its options; put it beside {name}")
    return name, merged | ({"name": spec["name"]} if "name" in spec else {}), weight


def _build_judge(options: dict[str, Any], endpoint: Endpoint | None) -> Weighted:
    """Make a judge from its mapping."""
    name = options.pop("judge")
    weight = options.pop("weight", 1.0)
    if not isinstance(name, str) or name not in JUDGES:
        raise InputError(
            f"scorers: there is no judge {name!r}; {nearest(name, JUDGES)}Judges: {', '.join(sorted(JUDGES))}"
        )
    if endpoint is None:
        raise InputError(f"scorers: the judge {name!r} has no model to ask; set scorer_model of the optimization")
    return Weighted(make(JUDGES[name], name, options, endpoint=endpoint), _weight(name, weight))


def _kind(name: Any) -> type[Scorer]:
    """Return the scorer's class, or say what the name should have been."""
    if name in SCORERS:
        return SCORERS[name]
    hint = f"write {{judge: {name}}}. " if name in JUDGES else nearest(name, SCORERS)
    raise InputError(f"scorers: there is no scorer {name!r}; {hint}{_known()}")


def _weight(name: str, weight: Any) -> float:
    """Return a weight above 0."""
    if isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf:
        return float(weight)
    raise InputError(f"scorer {name}: weight is {weight!r}; give a number above 0, or leave the scorer out")


def _known() -> str:
    """List every name."""
    return f"Scorers: {', '.join(sorted(SCORERS))}; judges, as {{judge: NAME}}: {', '.join(sorted(JUDGES))}"
