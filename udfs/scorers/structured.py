"""Scorers for answers with a structure: JSON values, JSON schemas and numbers."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from udfs.errors import InputError
from udfs.scorers import json_text
from udfs.scorers.expectation import EXPECTED_RESPONSE, required
from udfs.scorers.feedback import as_text, expected_and_got, shorten
from udfs.scorers.numerals import Numeral, is_close, numerals
from udfs.scorers.protocol import Score, Subject

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

# A reflecting model needs the kind of mistake, not every instance of it.
_MAX_LISTED = 5


@dataclass(frozen=True)
class JsonEquality:
    r"""1 when the output is the expected JSON value, else 0; or a share of its leaves with ``partial``.

    The expected response is a JSON value, or a text that is one. Objects are compared without regard to order, arrays
    with it unless ``array_order`` is off; numbers within ``abs_tolerance`` or ``rel_tolerance``; strings to the
    character unless ``normalize_strings``. A fence round the whole output is allowed, prose is not: such an output is
    marked unparsable and scores 0.

    ``partial``: the score is the number of leaves (scalars and empty containers) that agree in place and value,
    divided by the number of leaves in the union of both values. A missing leaf and a surplus leaf cost the same.

    >>> subject = Subject({}, '{"b": 2, "a": 1, "c": 0}', {"expected_response": {"a": 1, "b": 2}})
    >>> score = JsonEquality(partial=True).score(subject)
    >>> round(score.value, 3), score.feedback
    (0.667, '1 of 3 values differ:\n- $.c is not expected: 0')
    """

    partial: bool = False
    abs_tolerance: float = 0.0
    rel_tolerance: float = 1e-9
    array_order: bool = True
    normalize_strings: bool = False
    name: str = "json_equality"

    def __post_init__(self) -> None:
        _check_tolerances(self.name, self.abs_tolerance, self.rel_tolerance)

    @property
    def needs(self) -> frozenset[str]:
        """The expected response."""
        return frozenset({EXPECTED_RESPONSE})

    def score(self, subject: Subject) -> Score:
        """Return the score; the feedback lists the paths that differ.

        Raises:
            InputError: the expected response is a text that is not JSON.
        """
        expected = required(self.name, subject, EXPECTED_RESPONSE)
        if isinstance(expected, str):
            try:
                expected = json_text.parse(expected)
            except ValueError as error:
                raise InputError(
                    f"scorer {self.name}: {EXPECTED_RESPONSE} is not JSON ({error}): {shorten(expected, 80)}; "
                    f"use exact_match for texts"
                ) from error
        try:
            actual = json_text.parse(subject.output)
        except ValueError as error:
            return _unparsable(f"JSON such as {shorten(expected)}", subject.output, error)
        leaves = list(self._comparison.leaves(expected, actual))
        differences = [leaf for leaf in leaves if leaf is not None]
        if not differences:
            return Score(1.0, "the same JSON as expected")
        value = 1.0 - len(differences) / len(leaves) if self.partial else 0.0
        said = f"{len(differences)} of {len(leaves)} values differ:\n"
        return Score(value, said + _listed(dict.fromkeys(differences)))

    @property
    def _comparison(self) -> json_text.Comparison:
        """The settings under which values are compared."""
        return json_text.Comparison(self.abs_tolerance, self.rel_tolerance, self.array_order, self.normalize_strings)


@dataclass(frozen=True)
class JsonSchema:
    r"""1 when the output is JSON that is valid against ``schema``, else 0; needs no expectations.

    The schema stands inline and complete: a reference to a place outside it is refused, nothing is ever fetched.
    Its ``$schema`` names the draft, 2020-12 without one. A fence round the whole output is allowed; an output that is
    not JSON is marked unparsable.

    >>> JsonSchema({"type": "object", "required": ["label"]}).score(Subject({}, '{"x": 1}')).feedback
    "the output is JSON, but breaks the schema in 1 place:\n- $: 'label' is a required property"
    """

    schema: Mapping[str, Any]
    name: str = "json_schema"

    def __post_init__(self) -> None:
        import jsonschema

        if not isinstance(self.schema, Mapping):
            raise InputError(f"scorer {self.name}: schema is {shorten(self.schema, 80)}; give a JSON schema's mapping")
        try:
            validator = _validator(self._schema_text)
            validator.check_schema(json.loads(self._schema_text))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"scorer {self.name}: the schema is not JSON: {error}") from error
        except jsonschema.SchemaError as error:
            place = "".join(f"[{key!r}]" for key in error.absolute_path)
            raise InputError(
                f"scorer {self.name}: schema{place} is not valid JSON schema: {shorten(error.message)}"
            ) from error
        self._check_references()

    @property
    def needs(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    @property
    def _schema_text(self) -> str:
        """The schema as JSON: what compiled validators are kept under."""
        return json.dumps(self.schema, sort_keys=True)

    def score(self, subject: Subject) -> Score:
        """Return 1 or 0; the feedback lists the places that break the schema.

        Raises:
            InputError: the schema refers to itself without end.
        """
        try:
            value = json_text.parse(subject.output)
        except ValueError as error:
            return _unparsable("JSON valid against the schema", subject.output, error)
        try:
            found = list(_validator(self._schema_text).iter_errors(value))
        except RecursionError as error:
            raise InputError(f"scorer {self.name}: the schema refers to itself without end; mend its $ref") from error
        errors = sorted(found, key=lambda error: error.json_path)
        if not errors:
            return Score(1.0, "valid against the schema")
        places = "1 place" if len(errors) == 1 else f"{len(errors)} places"
        listed = _listed(f"{error.json_path}: {shorten(error.message, 160)}" for error in errors)
        return Score(0.0, f"the output is JSON, but breaks the schema in {places}:\n{listed}")

    def _check_references(self) -> None:
        """Refuse references that the schema itself can't answer.

        Raises:
            InputError: one of them, by name.
        """
        from referencing import Registry, Resource
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012

        schema = json.loads(self._schema_text)
        resolver = Registry().resolver_with_root(Resource.from_contents(schema, default_specification=DRAFT202012))
        for reference in _references(schema):
            try:
                resolver.lookup(reference)
            except Unresolvable as error:
                raise InputError(
                    f"scorer {self.name}: the schema refers to {reference!r}, which it does not hold; "
                    f"put that part under $defs and refer to it as '#/$defs/NAME'"
                ) from error


@dataclass(frozen=True)
class NumericCloseness:
    """1 when the last number in the output is the expected one within a tolerance, else 0.

    Which texts are read as numbers, see :func:`udfs.scorers.numerals.numerals`. Equal are numbers that differ by at
    most ``abs_tolerance``, or by ``rel_tolerance`` times the expected one, whichever is more. An output without a
    number is marked unparsable.

    >>> NumericCloseness(rel_tolerance=0.01).score(Subject({}, "That is $1,234.5", {"expected_response": 1230})).value
    1.0
    """

    abs_tolerance: float = 0.0
    rel_tolerance: float = 1e-6
    name: str = "numeric"

    def __post_init__(self) -> None:
        _check_tolerances(self.name, self.abs_tolerance, self.rel_tolerance)

    @property
    def needs(self) -> frozenset[str]:
        """The expected response."""
        return frozenset({EXPECTED_RESPONSE})

    def score(self, subject: Subject) -> Score:
        """Return 1 or 0; the feedback gives both numbers and their distance.

        Raises:
            InputError: the expected response holds no number.
        """
        expected = self._expected(subject)
        found = numerals(subject.output)
        if not found:
            return _unparsable(f"the number {expected.value:g}", subject.output, "no number in the output")
        actual = found[-1]
        if is_close(expected, actual, abs_tolerance=self.abs_tolerance, rel_tolerance=self.rel_tolerance):
            return Score(1.0, "the expected number")
        how = f"the last number is {actual.value:g}, off by {actual.value - expected.value:+g}"
        return Score(0.0, expected_and_got(f"{expected.value:g}", subject.output, how))

    def _expected(self, subject: Subject) -> Numeral:
        """Read the expected number."""
        value = required(self.name, subject, EXPECTED_RESPONSE)
        found = numerals(as_text(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else []
        if not found:
            raise InputError(
                f"scorer {self.name}: {EXPECTED_RESPONSE} is {shorten(value, 80)}, which holds no number; "
                f"mend the row or score it otherwise"
            )
        return found[-1]


@functools.lru_cache(maxsize=32)
def _validator(schema_text: str) -> Validator:
    """Compile a schema, once in a process; its registry is empty so that no reference is ever fetched."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = json.loads(schema_text)
    made: Validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    return made


def _references(schema: Any) -> Iterator[str]:
    """Yield each ``$ref`` of a schema; parts with an identity of their own resolve theirs by themselves."""
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            pending.extend(child for child in part.values() if not (isinstance(child, Mapping) and "$id" in child))
        elif isinstance(part, list):
            pending.extend(part)


def _check_tolerances(scorer: str, abs_tolerance: float, rel_tolerance: float) -> None:
    """Refuse tolerances that are negative or not finite."""
    for name, value in (("abs_tolerance", abs_tolerance), ("rel_tolerance", rel_tolerance)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"scorer {scorer}: {name} is {value!r}; give a number from 0 on")


def _unparsable(expected: str, output: str, why: object) -> Score:
    """Score an output that could not be read."""
    return Score(0.0, expected_and_got(expected, output, f"can't be read: {why}"), unparsable=True)


def _listed(items: Iterable[str]) -> str:
    """List the first few items, and say how many more there are."""
    lines = list(items)
    more = [f"- and {len(lines) - _MAX_LISTED} more"] if len(lines) > _MAX_LISTED else []
    return "\n".join([*(f"- {line}" for line in lines[:_MAX_LISTED]), *more])
