"""The promise about calls paid twice, answer by answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from engine.scripted_endpoint import CallTally
from udfs.ledger import SEGMENT_SECONDS

# A segment is written by a thread once its time has come; on a machine with more to do than cores that takes a while.
_WRITTEN_WITHIN_S = 2.0


def unexcused(tally: CallTally, killed_at: Sequence[float]) -> dict[str, list[float]]:
    """Return the requests that were answered again without a reason, with the times of their answers.

    The reason is a kill between the two answers that the first was in flight at, or younger than a segment's age.
    ``killed_at`` are times of the monotonic clock, as the tally's.
    """
    stored_s = SEGMENT_SECONDS + _WRITTEN_WITHIN_S
    return {
        key: times
        for key, times in tally.answered_at.items()
        if not all(any(first > at - stored_s and again > at for at in killed_at) for first, again in pairwise(times))
    }
