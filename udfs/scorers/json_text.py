"""JSON as models write it: strict parsing of a whole text, and leaf-by-leaf comparison of two values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from udfs.scorers.feedback import shorten
from udfs.scorers.normalize import normalize, unfenced

# No answer or verdict comes near this depth; past it Python's own recursion would be the next to fail.
MAX_DEPTH = 100


def parse(text: str) -> Any:
    r"""Return the one JSON value that ``text`` is; a markdown fence round the whole text is allowed.

    Stricter than :func:`json.loads`: no ``NaN`` or ``Infinity``, no number beyond a double's range, no key twice in
    an object, no more than :data:`MAX_DEPTH` levels.

    Raises:
        ValueError: anything else; the message says what is wrong and where.

    >>> parse('```json\n{"a": 1}\n```')
    {'a': 1}
    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key "a" stands twice in one object
    """
    body = unfenced(text).strip().removeprefix("\ufeff")
    if not body:
        raise ValueError("the text is empty")
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return value


@dataclass(frozen=True)
class Comparison:
    """How JSON values are compared: ``tolerance`` for numbers, and what is forgiven.

    Objects are always compared without regard to order; ``true`` is not ``1``, and ``1`` is ``1.0``. Two numbers are
    equal when they differ by at most ``abs_tolerance``, or by ``rel_tolerance`` times the larger one.
    """

    abs_tolerance: float = 0.0
    rel_tolerance: float = 1e-9
    array_order: bool = True
    normalize_strings: bool = False

    def leaf_equal(self, expected: Any, actual: Any) -> bool:
        """Tell whether two leaves (scalars or empty containers) are equal."""
        if isinstance(expected, bool) or isinstance(actual, bool):
            return expected is actual
        if isinstance(expected, int | float) and isinstance(actual, int | float):
            return self._close(expected, actual)
        if self.normalize_strings and isinstance(expected, str) and isinstance(actual, str):
            return normalize(expected) == normalize(actual)
        return type(expected) is type(actual) and bool(expected == actual)

    def _close(self, expected: float, actual: float) -> bool:
        """Tell whether two numbers are equal within the tolerances."""
        if expected == actual:
            return True
        try:
            return math.isclose(expected, actual, rel_tol=self.rel_tolerance, abs_tol=self.abs_tolerance)
        except OverflowError:  # an integer beyond a double's range: only exact equality counts
            return False

    def leaves(self, expected: Any, actual: Any, path: str = "$") -> Iterator[str | None]:
        """Yield one item for each leaf of either value: ``None`` where they agree, else what differs, in words.

        The number of items is the number of leaves in the union of both, so the share of ``None`` is the partial
        credit. Without ``array_order`` equal elements are paired first, and the rest in sorted order.

        >>> list(Comparison().leaves({"a": 1, "b": 2}, {"b": 3, "a": 1}))
        [None, '$.b is 3, expected 2']
        """
        if isinstance(expected, Mapping) and isinstance(actual, Mapping) and (expected or actual):
            for key in [*expected, *(key for key in actual if key not in expected)]:
                yield from self._child(expected, actual, key, f"{path}.{key}")
        elif isinstance(expected, list) and isinstance(actual, list) and (expected or actual):
            wanted = dict(enumerate(expected))
            given = dict(enumerate(actual)) if self.array_order else self._aligned(expected, actual)
            for index in sorted({*wanted, *given}):
                yield from self._child(wanted, given, index, f"{path}[{index}]")
        elif _is_container(expected) or _is_container(actual):
            differing = max(_count_leaves(expected), _count_leaves(actual))
            yield from [_differs(path, expected, actual)] * differing
        else:
            yield None if self.leaf_equal(expected, actual) else _differs(path, expected, actual)

    def equal(self, expected: Any, actual: Any) -> bool:
        """Tell whether two values agree in every leaf."""
        return all(difference is None for difference in self.leaves(expected, actual))

    def _child(
        self, expected: Mapping[Any, Any], actual: Mapping[Any, Any], key: Any, path: str
    ) -> Iterator[str | None]:
        """Yield the leaves under one key or index, which may stand on one side only."""
        if key not in actual:
            missing = f"{path} is missing, expected {shorten(expected[key], 80)}"
            yield from [missing] * _count_leaves(expected[key])
        elif key not in expected:
            yield from [f"{path} is not expected: {shorten(actual[key], 80)}"] * _count_leaves(actual[key])
        else:
            yield from self.leaves(expected[key], actual[key], path)

    def _aligned(self, expected: list[Any], actual: list[Any]) -> dict[int, Any]:
        """Give each element of ``actual`` the index of its partner in ``expected``; surplus ones come after.

        Equal elements are partners. The rest are paired in sorted order, which finds numbers that are equal within
        the tolerances; trying every pair would take a minute for two arrays of 1,500.
        """
        waiting: dict[str, list[Any]] = {}
        for item in reversed(actual):
            waiting.setdefault(self._key(item), []).append(item)
        placed, free = {}, []
        for index, wanted in enumerate(expected):
            equal = waiting.get(self._key(wanted))
            if equal:
                placed[index] = equal.pop()
            else:
                free.append(index)
        free.sort(key=lambda index: self._rank(expected[index]))
        left = sorted((item for items in waiting.values() for item in items), key=self._rank)
        return placed | dict(zip([*free, *range(len(expected), len(expected) + len(left))], left, strict=False))

    def _rank(self, value: Any) -> tuple[str, float, str]:
        """Return what values are sorted by: numbers by size, everything else by its key."""
        kind = _kind(value)
        return kind, value if kind == "number" else 0, self._key(value)

    def _key(self, value: Any) -> str:
        """Return a text that equal values share, tolerances aside, whatever the order of their elements."""
        if isinstance(value, Mapping):
            return f"{{{','.join(f'{json.dumps(key)}:{self._key(value[key])}' for key in sorted(value))}}}"
        if isinstance(value, list):
            return f"[{','.join(sorted(map(self._key, value)))}]"
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return json.dumps(normalize(value) if self.normalize_strings and isinstance(value, str) else value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object, refusing keys that stand twice."""
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f'the key "{shorten(key, 80)}" stands twice in one object')
        made[key] = value
    return made


def _no_constant(name: str) -> Any:
    """Refuse what Python reads but JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """Read a number, refusing one that a double can't hold."""
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {shorten(digits, 40)} is too large")
    return value


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Tell whether containers are nested more than ``limit`` deep, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [child for item in level if _is_container(item) for child in _children(item)]
    return any(isinstance(item, Mapping | list) for item in level)


def _children(value: Any) -> list[Any]:
    """Return the values directly inside a container."""
    return list(value.values()) if isinstance(value, Mapping) else list(value)


def _is_container(value: Any) -> bool:
    """Tell a non-empty object or array from a leaf."""
    return isinstance(value, Mapping | list) and bool(value)


def _count_leaves(value: Any) -> int:
    """Count scalars and empty containers."""
    return sum(map(_count_leaves, _children(value))) if _is_container(value) else 1


def _differs(path: str, expected: Any, actual: Any) -> str:
    """Say how one leaf differs."""
    kinds = "" if type(expected) is type(actual) else f" ({_kind(actual)} instead of {_kind(expected)})"
    return f"{path} is {shorten(actual, 80)}, expected {shorten(expected, 80)}{kinds}"


def _kind(value: Any) -> str:
    """JSON's name for the type of ``value``."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    return "object" if isinstance(value, Mapping) else "array"
