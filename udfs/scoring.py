"""Where a scorer computes: a quick one on the event loop, any other on a thread beside it, so that calls go on."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from udfs.errors import ErrorKind, PromptmillError, call_error
from udfs.scorers.protocol import Score, Scorer, Subject
from udfs.scorers.registry import SCORERS

# A hop to the thread and back costs about 0.1 ms, so a score that takes ten times as long may pay for it. What takes
# less holds up nobody: answers take a hundred times as long.
_QUICK_S = 0.001
# A user's scorer computes so many scores on the thread; then their median says where it goes on. The first ones may
# load what it needs, and any may have waited for Python's lock.
_TRIALS = 20
# A score that held the loop up for so long sends its scorer to the thread for good.
_TOO_LONG_S = 0.05
_OURS = frozenset(SCORERS.values())


@dataclass
class _Record:
    """What is known of one scorer."""

    is_inline: bool
    trials: list[float] = field(default_factory=list)
    pending: int = 0


class Scoring:
    """Runs the scorers of one task; used from one event loop.

    The built-in scorers compare texts and are quick. A scorer is never called twice at the same time, wherever it runs:
    a user's function need not be thread-safe.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        self._thread: ThreadPoolExecutor | None = None

    async def score(self, scorer: Scorer, subject: Subject) -> Score:
        """Return the scorer's score.

        Raises:
            CallError: of kind ``SCORER``: it raised.
        """
        record = self._records.get(scorer.name)
        if record is None:
            record = self._records[scorer.name] = _Record(is_inline=type(scorer) in _OURS)
        if record.is_inline:
            started = self._clock()
            try:
                return _compute(scorer, subject)
            finally:
                if self._clock() - started > _TOO_LONG_S:
                    record.is_inline, record.trials = False, [_TOO_LONG_S] * _TRIALS
        return await self._beside(record, scorer, subject)

    def close(self) -> None:
        """Let the thread go; what waits for it is dropped."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _beside(self, record: _Record, scorer: Scorer, subject: Subject) -> Score:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="promptmill-scorers")
        took_s = 0.0

        def compute() -> Score:
            nonlocal took_s
            started = self._clock()
            try:
                return _compute(scorer, subject)
            finally:
                took_s = self._clock() - started

        record.pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, compute)
        finally:
            record.pending -= 1
            if len(record.trials) < _TRIALS:
                record.trials.append(took_s)
            elif not record.pending:  # else one would run there while the next one runs here
                record.is_inline = statistics.median(record.trials) < _QUICK_S


def _compute(scorer: Scorer, subject: Subject) -> Score:
    try:
        return scorer.score(subject)
    except PromptmillError as error:
        raise call_error(ErrorKind.SCORER, str(error)) from error
    except Exception as error:
        # A user's scorer may raise anything; that is no verdict on the prompt, so the row stays unscored.
        raise call_error(ErrorKind.SCORER, f"{type(error).__name__}: {error}") from error
