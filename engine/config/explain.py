"""Turns what is wrong with a configuration into lines that name file, key, value and mend."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from engine.config.datasets import DATASET_SOURCES
from engine.config.yaml_source import YamlSource

_CREDENTIALS = {"api_key", "pat", "client_secret", "service_principal", "client_id"}
# Returns the keys that may stand under a key path.
KnownKeys = Callable[[tuple[Any, ...]], list[str]]


def explain(error: ValidationError, source: YamlSource, known_keys: KnownKeys) -> list[str]:
    """One line a defect: an anchor's defect shows wherever it is used, but is told once."""
    told: dict[str, str] = {}
    for found in error.errors():
        where, key, text = _explain(found, source, known_keys)
        told.setdefault(f"{where} {key.rpartition('.')[2]} {text}", f"{where}: {key}{text}")
    return list(told.values())


def _explain(error: Any, source: YamlSource, known_keys: KnownKeys) -> tuple[str, str, str]:
    """Turn one of pydantic's errors into file and line, key, and what is wrong with its value and how to mend it."""
    location = _written(tuple(part for part in error["loc"] if part not in {"search", "schema_"}), source)
    # Branches of a union stand in the location as type names; they are no keys of the file.
    while location and source.node is not None and not source.has(location) and source.has(location[:-1]):
        if error["type"] in {"missing", "extra_forbidden"}:
            break
        location = location[:-1]
    key = ".".join(str(part) for part in location) or "the configuration"
    where = source.where(location)
    if error["type"] == "extra_forbidden":
        known = known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return where, key, f" is not a known key; {hint}"
    if error["type"] == "missing":
        mend = f"give one of {DATASET_SOURCES}" if location[-1] == "dataset" else "add it"
        return where, key, f" is missing; {mend}"
    value = error.get("input")
    if error["type"] == "string_type" and isinstance(value, bool | int | float | dt.date):
        return where, key, f" is {value!r} to YAML, and a text is wanted; put it in quotes"
    # A literal key is a mistake, but it may well be a real key: it is never repeated.
    secret = bool(_CREDENTIALS & set(error["loc"]))
    shown = f" is {value!r}:" if not secret and (value is None or isinstance(value, str | int | float)) else ":"
    return where, key, f"{shown} {error['msg'].removeprefix('Value error, ')}"


def _written(location: tuple[Any, ...], source: YamlSource) -> tuple[Any, ...]:
    """Drop the number of an item that stands in the file without a list around it."""
    kept: tuple[Any, ...] = ()
    for part in location:
        if not (isinstance(part, int) and kept and source.has(kept) and not source.has((*kept, part))):
            kept = (*kept, part)
    return kept
