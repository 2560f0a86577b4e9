"""What a check of ``promptmill doctor`` tells: a finding, with its mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from engine.reachability import without_userinfo

Status = Literal["ok", "missing", "warning"]
# So long a check waits for whom it asks.
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``missing`` stops a run, ``warning`` may, or concerns an extra; ``mend`` is then said."""

    what: str
    status: Status
    detail: str
    mend: str = ""


# What is looked at, and how.
Check = tuple[str, Callable[[], Iterable[Finding]]]


def checked(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The check's findings, and a warning for whatever it raises: what can't be looked at must not hide the rest."""
    try:
        for found in check():
            yield replace(found, detail=without_userinfo(found.detail), mend=without_userinfo(found.mend))
    except Exception as error:
        why = without_userinfo(f"{type(error).__name__}: {error}")
        yield Finding(what, "warning", f"could not be looked at: {why}", "mend what is named, or ask with a bug report")
