"""A judge's reply, read strictly: anything but the object that was asked for is no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from udfs.errors import CallError, ErrorKind, call_error
from udfs.scorers import json_text
from udfs.scorers.feedback import shorten
from udfs.scorers.judge_question import choices
from udfs.scorers.protocol import Score

# A rationale is what reflection learns from: it may be longer than a quoted answer.
_MAX_RATIONALE_CHARS = 600


def graded(judge: str, reply: str, values: Mapping[str, float]) -> Score:
    """Read a reply of one rationale and verdict."""
    rationale, verdict = read_entry(judge, _parsed(judge, reply), values, "")
    return Score(values[verdict], f"{verdict}: {rationale}" if rationale else verdict)


def read_entry(judge: str, entry: Any, values: Mapping[str, float], place: str) -> tuple[str, str]:
    """Return rationale and verdict of one object, or refuse it."""
    _check_keys(judge, entry, ("rationale", "verdict"), place)
    rationale, verdict = entry["rationale"], entry["verdict"]
    if not isinstance(rationale, str):
        raise _no_verdict(judge, f"{place}the rationale is not a text: {shorten(rationale, 80)}")
    if not isinstance(verdict, str) or verdict not in values:
        raise _no_verdict(judge, f"{place}the verdict is {shorten(verdict, 80)!r}, not {choices(values)}")
    return shorten(rationale.strip(), _MAX_RATIONALE_CHARS), verdict


def read_object(judge: str, reply: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Parse a reply that is an object with exactly these keys."""
    value: dict[str, Any] = _parsed(judge, reply)
    _check_keys(judge, value, keys, "")
    return value


def _parsed(judge: str, reply: str) -> Any:
    """Parse a reply as JSON."""
    try:
        return json_text.parse(reply)
    except ValueError as error:
        raise _no_verdict(judge, f"not JSON ({error}): {shorten(reply, 160)!r}") from error


def _check_keys(judge: str, value: Any, keys: tuple[str, ...], place: str) -> None:
    """Refuse anything but an object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        raise _no_verdict(judge, f"{place}not an object with exactly {', '.join(keys)}: {shorten(value, 160)}")


def _no_verdict(judge: str, why: str) -> CallError:
    """Return the error for a reply that is no verdict."""
    return call_error(ErrorKind.JUDGE, f"the reply of judge {judge} is no verdict: {why}")
