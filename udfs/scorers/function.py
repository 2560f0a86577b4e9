"""A user's own Python function as a scorer."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from udfs.errors import InputError
from udfs.scorers.feedback import shorten
from udfs.scorers.protocol import Score, Subject

PARAMETERS = ("inputs", "outputs", "output", "expectations")
_WORDS = {"yes": 1.0, "no": 0.0}
_RETURNS = 'a bool, a number from 0 to 1, "yes" or "no", a Score, or a tuple of one of the first three and a rationale'


@dataclass(frozen=True)
class FunctionScorer:
    """Scores with ``function``, called with those of its parameters that are named in :data:`PARAMETERS`.

    ``inputs`` and ``expectations`` are dicts of its own, ``outputs`` and ``output`` the output's text. It returns a
    bool, a number from 0 to 1 (higher is better), "yes" or "no", a :class:`Score`, or a pair of one of the first
    three and a rationale. It must be deterministic, and travels to the workers by cloudpickle: lambdas and closures
    do, a module of your own must be importable there. ``needs`` names the expectations that a row must have.

    >>> scorer = FunctionScorer("brief", lambda output: (len(output) < 10, f"{len(output)} characters"))
    >>> scorer.score(Subject({}, "Yes."))
    Score(value=1.0, feedback='4 characters', unparsable=False)
    """

    name: str
    function: Callable[..., Any]
    needs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        given: object = self.needs
        if not callable(self.function) or isinstance(given, str):
            raise InputError(f"scorer {self.name}: give a function, and needs as a set of keys")
        object.__setattr__(self, "needs", frozenset(self.needs))
        if inspect.iscoroutinefunction(self.function):
            raise InputError(f"scorer {self.name}: an async function can't score; give a plain function")
        for parameter in self._parameters.values():
            required = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
            if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL}:
                raise InputError(f"scorer {self.name}: its parameter {parameter} can't be given by name")
            if required and parameter.name not in PARAMETERS:
                raise InputError(
                    f"scorer {self.name}: its parameter {parameter.name!r} is none that a scorer is given "
                    f"({', '.join(PARAMETERS)}); rename it or give it a default"
                )

    def score(self, subject: Subject) -> Score:
        """Call the function and read what it returns.

        Raises:
            InputError: the function raised, or returned what is no score.
        """
        try:
            value = self.function(**self._arguments(subject))
        except Exception as error:  # whatever a user's function raises, the row must say which scorer it was
            raise InputError(f"scorer {self.name} raised {type(error).__name__}: {shorten(str(error))}") from error
        if isinstance(value, Score):
            self._check(value.value, value)
            return value
        rationale: Any = ""
        if isinstance(value, tuple) and len(value) == 2:
            value, rationale = value
        if not isinstance(rationale, str):
            raise InputError(f"scorer {self.name}: the rationale is {shorten(repr(rationale), 80)}, not a text")
        return Score(self._number(value), shorten(rationale))

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        """The function's parameters."""
        try:
            return inspect.signature(self.function).parameters
        except (TypeError, ValueError) as error:
            raise InputError(
                f"scorer {self.name}: the parameters of {self.function!r} can't be read; wrap it in a function of "
                f"{', '.join(PARAMETERS)}"
            ) from error

    def _arguments(self, subject: Subject) -> dict[str, Any]:
        """Return the arguments that the function takes; copies, so that no scorer sees what another changed."""
        given = {
            "inputs": dict(subject.inputs),
            "outputs": subject.output,
            "output": subject.output,
            "expectations": dict(subject.expectations),
        }
        parameters = self._parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            given = {name: value for name, value in given.items() if name in parameters}
        return copy.deepcopy(given)

    def _number(self, value: Any) -> float:
        """Read a bool, a number or a word as a score."""
        if isinstance(value, str) and value.strip().casefold() in _WORDS:
            return _WORDS[value.strip().casefold()]
        if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:  # a NumPy scalar, without importing NumPy
            value = value.item()
        return self._check(value, value)

    def _check(self, number: Any, returned: Any) -> float:
        """Return a number from 0 to 1, or refuse what the function returned."""
        if isinstance(number, bool | int | float) and not math.isnan(number) and 0 <= number <= 1:
            return float(number)
        raise InputError(f"scorer {self.name} returned {shorten(repr(returned), 120)}; it must return {_RETURNS}")
