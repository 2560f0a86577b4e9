"""Values as the report writes them: scores, money, durations, JSON and untrusted text. Pure functions."""

# ruff: noqa: RUF002 - the examples show the minus sign and the dash that the report writes

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
ROLE_LINE = re.compile(r"\[(system|developer|user|assistant|tool)\]\s*")

# Bidirectional and invisible format characters can make a prompt read differently from what a model gets.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Show what a browser would hide: control, bidirectional and zero-width characters become their code points.

    Tab, newline, direction marks and the joiners that Indic scripts and emojis need stay as they are.

    >>> visible("a\x00b\u202ec\n")
    'a⟨U+0000⟩b⟨U+202E⟩c\n'
    """
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def finite(value: object) -> float | None:
    """Give a number that can be drawn, or None for anything else.

    >>> finite(0.5), finite(None), finite(float("nan")), finite("0.5")
    (0.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def score(value: object) -> str:
    """Write a score with three decimals.

    >>> score(0.8), score(None)
    ('0.800', '–')
    """
    number = finite(value)
    return NONE if number is None else f"{number:.3f}".replace("-", MINUS)


def change(value: object) -> str:
    """Write a difference with its sign; a difference that rounds to nothing has none.

    >>> change(0.46), change(-0.0125), change(-0.0001), change(None)
    ('+0.460', '−0.013', '0.000', '–')
    """
    number = finite(value)
    if number is None:
        return NONE
    text = f"{abs(number):.3f}"
    if text == "0.000":
        return text
    return ("+" if number > 0 else MINUS) + text


def gap(before: object, after: object) -> float | None:
    """Give how much a score changed, None unless both are there.

    >>> gap(0.25, 0.5), gap(None, 0.5)
    (0.25, None)
    """
    a, b = finite(before), finite(after)
    return None if a is None or b is None else b - a


def change_sign(value: object) -> int:
    """Give the sign of a difference, 0 where there is none.

    >>> change_sign(0.2), change_sign(-0.2), change_sign(None)
    (1, -1, 0)
    """
    number = finite(value) or 0.0
    return (number > 0) - (number < 0)


def count(value: object) -> str:
    """Write a whole number with thousands separated; numbers with a fraction keep at most three decimals.

    >>> count(812345), count(0.5), count(None)
    ('812,345', '0.5', '–')
    """
    number = finite(value)
    return NONE if number is None else f"{number:,.3f}".rstrip("0").rstrip(".")


def money(cost: object) -> str:
    """Write ``result.json``'s ``cost``.

    >>> money({"amount": 0.13, "currency": "USD"}), money({"amount": 0.00042, "currency": "EUR"}), money(None)
    ('0.13 USD', '0.00042 EUR', 'Not known')
    """
    amount = finite(cost.get("amount")) if isinstance(cost, Mapping) else None
    if amount is None or not isinstance(cost, Mapping):
        return "Not known"
    # Below a cent, two decimals would call a paid run free.
    text = f"{amount:,.2f}" if amount == 0 or amount >= 0.01 else f"{amount:.2g}"
    return f"{text} {cost.get('currency') or ''}".strip()


def duration(seconds: object) -> str:
    """Write seconds as people say them.

    >>> duration(4.25), duration(194.2), duration(7322), duration(None)
    ('4.2 s', '3 min 14 s', '2 h 2 min', '–')
    """
    number = finite(seconds)
    if number is None:
        return NONE
    if number < 60:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(alpha: object) -> str:
    """Write the confidence that belongs to an error rate.

    >>> percent(0.05), percent(0.001)
    ('95%', '99.9%')
    """
    number = finite(alpha)
    return NONE if number is None else f"{100 * (1 - number):.4g}%"


def json_fields(text: str | None) -> list[tuple[str, str]]:
    """Read a JSON object as names and readable values; anything else is one value without a name.

    >>> json_fields('{"text": "Größe", "n": [1]}'), json_fields("not json"), json_fields(None)
    ([('text', 'Größe'), ('n', '[1]')], [('', 'not json')], [])
    """
    if text is None:
        return []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return [("", text)]
    if not isinstance(value, dict):
        return [("", plain(value))]
    return [(str(name), plain(part)) for name, part in value.items()]


def plain(value: Any) -> str:
    """Write any value: strings as they are, the rest as JSON.

    >>> plain("a"), plain(None), plain(True), plain({"a": 1})
    ('a', '–', 'true', '{"a": 1}')
    """
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give nested settings as dotted names and values.

    >>> list(flat({"gate": {"alpha": 0.05}, "slices": ["language"], "budget": {}}))
    [('gate.alpha', '0.05'), ('slices', '["language"]'), ('budget', '{}')]
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain(value)


def messages(text: str) -> list[tuple[str, str]]:
    r"""Split a prompt into its messages: (role, text); a prompt without role lines is one message without a role.

    >>> messages("[system]\nBe brief.\n[user]\n{{text}}")
    [('system', 'Be brief.'), ('user', '{{text}}')]
    >>> messages("Classify: {{text}}")
    [('', 'Classify: {{text}}')]
    """
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in text.split("\n"):
        role = ROLE_LINE.fullmatch(line)
        if role:
            found.append((role[1], []))
        else:
            found[-1][1].append(line)
    if len(found) > 1 and not any(part.strip() for part in found[0][1]):
        del found[0]
    return [(role, "\n".join(lines)) for role, lines in found]
