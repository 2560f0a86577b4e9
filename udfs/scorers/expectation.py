"""Reading a row's expectations: present and not null, or an error that names the key."""

from __future__ import annotations

from typing import Any

from udfs.errors import InputError
from udfs.scorers.feedback import as_text, shorten
from udfs.scorers.protocol import Subject

EXPECTED_RESPONSE = "expected_response"
EXPECTED_FACTS = "expected_facts"


def required(scorer: str, subject: Subject, key: str) -> Any:
    """Return the expectation under ``key``; null counts as missing.

    Raises:
        InputError: the row has none.

    >>> required("exact_match", Subject({}, "x", {"expected_response": 4}), "expected_response")
    4
    """
    value = subject.expectations.get(key)
    if value is None:
        present = ", ".join(sorted(subject.expectations)) or "none"
        raise InputError(
            f"scorer {scorer}: the row's expectations have no {key} (present: {present}); "
            f"add it to the data set or leave the scorer out"
        )
    return value


def required_facts(scorer: str, subject: Subject) -> list[str]:
    """Return the expected facts as texts; one text instead of a list counts as one fact.

    Raises:
        InputError: there are none, or one is blank.

    >>> required_facts("expected_facts", Subject({}, "x", {"expected_facts": ["Paris", 1889]}))
    ['Paris', '1889']
    """
    value = required(scorer, subject, EXPECTED_FACTS)
    facts = [as_text(fact) for fact in (value if isinstance(value, list | tuple) else [value])]
    if not facts or not all(fact.strip() for fact in facts):
        raise InputError(
            f"scorer {scorer}: {EXPECTED_FACTS} is {shorten(value, 80)}; give a list of texts that are not blank"
        )
    return facts
