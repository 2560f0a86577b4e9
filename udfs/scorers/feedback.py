"""What a scorer says: short texts from which a reflecting model can learn what to change."""

from __future__ import annotations

import json
from typing import Any

# Enough to show the shape of an answer; a reflection prompt holds the feedback of several scorers for many rows.
MAX_CHARS = 300


def as_text(value: Any) -> str:
    """Return a JSON value as text: strings as they are, everything else as JSON.

    >>> as_text("yes"), as_text(True), as_text({"a": 1})
    ('yes', 'true', '{"a": 1}')
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shorten(value: Any, limit: int = MAX_CHARS) -> str:
    """Return ``value`` as text that can be stored as UTF-8, at most ``limit`` characters, the middle left out.

    The ends stay because answers and reasons stand there.

    >>> shorten("a" * 30, 20)
    'aaaaaaaa […] aaaaaaa'
    """
    # JSON can spell lone surrogates, which neither Arrow nor a file takes.
    text = as_text(value).encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    kept = limit - len(" […] ")
    head = kept - kept // 2
    return f"{text[:head]} […] {text[len(text) - kept // 2 :]}"


def expected_and_got(expected: Any, output: str, how: str = "") -> str:
    r"""Say what was expected, what came, and how they differ.

    >>> expected_and_got("yes", "no", "another answer")
    'expected: yes\ngot: no\ndifference: another answer'
    """
    got = shorten(output) if output.strip() else "(nothing)"
    text = f"expected: {shorten(expected)}\ngot: {got}"
    return f"{text}\ndifference: {how}" if how else text
