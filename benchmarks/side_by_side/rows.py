"""The rows that every system evaluates: numbered messages of about 500 characters, and what is right for each.

Nothing but the standard library is imported here, because every system's environment runs this.
"""

from __future__ import annotations

import re

LABELS = ("billing", "delivery", "returns", "account", "praise")
INSTRUCTION = f"Sort the customer's message into one of: {', '.join(LABELS)}. Answer with that one word."

_SENTENCES = (
    "I have been a customer for several years and never had a reason to write before.",
    "The person on the telephone was friendly, but could not find anything under my name.",
    "Your page says three to five days, and it has been a good deal longer than that now.",
    "Please tell me what you need from me, and I will send it the same evening.",
    "My neighbour ordered the same thing a week after me and has it standing in the kitchen.",
    "I would rather settle this in one go than write to a different address every time.",
    "Attached is what I was sent, together with the number that is printed on the label.",
)
# The answers that the endpoint gets wrong: every tenth, so that a correct mean is 0.9 and neither a failed call that
# is scored 0 nor one that is left out can hide.
_WRONG_EVERY = 10
_NUMBER = re.compile(rb"Ticket (\d{8})")


def text(row: int) -> str:
    """Return the message of one row; its number is in it, so that the endpoint can tell rows apart."""
    first = row % len(_SENTENCES)
    body = " ".join(_SENTENCES[(first + n) % len(_SENTENCES)] for n in range(6))
    return f"Ticket {row:08d}. {body}"


def prompt(row_text: str) -> str:
    """Return the whole prompt of a row, as every system sends it."""
    return f"{INSTRUCTION}\n\n{row_text}"


def number(request: bytes) -> int:
    """Return the row that a request is about.

    >>> number(prompt(text(17)).encode())
    17
    """
    found = _NUMBER.search(request)
    return int(found[1]) if found else -1


def expected(row: int) -> str:
    """Return the right answer."""
    return LABELS[row * 7919 % len(LABELS)]


def answer(row: int) -> str:
    """Return what the endpoint's model says."""
    wrong = row % _WRONG_EVERY == _WRONG_EVERY - 1
    return LABELS[(LABELS.index(expected(row)) + wrong) % len(LABELS)]


def score(output: str | None, row: int) -> float:
    """Score one answer: exact match."""
    return float(output is not None and output.strip() == expected(row))


def mean_score(rows: range) -> float:
    """Return the mean score of a correct evaluation."""
    return sum(answer(row) == expected(row) for row in rows) / len(rows)
