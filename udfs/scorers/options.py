"""Making a scorer from options read from YAML: checked against the fields of its dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from udfs.errors import InputError
from udfs.scorers.feedback import shorten

Made = TypeVar("Made")


def make(kind: type[Made], place: str, options: Mapping[str, Any], **given: Any) -> Made:
    """Make a ``kind`` (a dataclass) from ``options``; fields in ``given`` are not the user's to set.

    Raises:
        InputError: an unknown option (with the nearest right one), a missing one, or one of the wrong type.

    >>> from udfs.scorers.text import ExactMatch
    >>> make(ExactMatch, "exact_match", {"strict": True}).strict
    True
    >>> make(ExactMatch, "exact_match", {"strickt": True})
    Traceback (most recent call last):
    udfs.errors.InputError: scorer exact_match has no option 'strickt'; did you mean 'strict'? It has: \
case_sensitive, keep_punctuation, name, strict
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in given}  # type: ignore[arg-type]
    for option in options:
        if option not in fields:
            raise InputError(
                f"scorer {place} has no option {option!r}; {nearest(option, fields)}It has: {', '.join(sorted(fields))}"
            )
    missing = [
        name
        for name, field in fields.items()
        if name not in options and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"scorer {place} needs the option {missing[0]!r}; add it")
    return kind(**given, **{name: _read(place, name, value, hints[name]) for name, value in options.items()})


def nearest(word: object, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'? `` for the nearest known word, or nothing.

    >>> nearest("exact_mach", ["contains", "exact_match"]), nearest("zzz", ["contains"])
    ("did you mean 'exact_match'? ", '')
    """
    found = difflib.get_close_matches(str(word), list(known), n=1)
    return f"did you mean {found[0]!r}? " if found else ""


def _read(place: str, name: str, value: Any, hint: Any) -> Any:
    """Return an option's value as its field holds it, or refuse it."""
    if hint == tuple[str, ...] and isinstance(value, list):
        value = tuple(value)
    if not _fits(value, hint):
        raise InputError(
            f"scorer {place}: {name} is {shorten(repr(value), 80)} ({type(value).__name__}); give {_wanted(hint)}"
        )
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a YAML value is of the type that a scorer's field declares."""
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(hint))
    if hint == tuple[str, ...]:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, typing.get_origin(hint) or hint)


def _wanted(hint: Any) -> str:
    """Name the type of a field in words."""
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    if isinstance(hint, types.UnionType):
        return " or ".join(_wanted(one) for one in typing.get_args(hint) if one is not type(None))
    if hint == tuple[str, ...]:
        return "a list of texts"
    names = {bool: "true or false", str: "a text", float: "a number"}
    return names.get(hint, "a mapping")
