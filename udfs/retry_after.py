"""How long a server asks to be left alone."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Read ``Retry-After`` as seconds, given either as seconds or as an HTTP date (RFC 9110, section 10.2.3).

    Returns ``None`` where there is none or it can't be read; never a negative number.

    >>> retry_after_s({"Retry-After": "1.5"})
    1.5
    >>> retry_after_s({"Retry-After": "Wed, 21 Oct 2026 07:28:10 GMT"}, now=datetime(2026, 10, 21, 7, 28, tzinfo=UTC))
    10.0
    >>> retry_after_s({"Retry-After": "soon"}) is None
    True
    """
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        seconds = (at - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None  # noqa: PLR0124 - false for NaN only
