"""A worker's ledger: what it was given, and the segments that it writes."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from udfs.errors import LedgerError
from udfs.ledger.entries import Entry, latest
from udfs.ledger.location import LedgerLocation
from udfs.ledger.segments import write_segment

log = logging.getLogger(__name__)

# A segment is closed after so many answers or seconds, whichever comes first: this bounds what a crash can lose.
SEGMENT_ANSWERS = 2000
SEGMENT_SECONDS = 5.0
# How long a failed write waits before it is tried again: an object store's hiccup or a mount that comes back is over by
# then, and with a disk that is full for good no more than these seconds' answers are paid for in vain.
RETRY_AFTER_S = (0.25, 0.5, 1.0, 2.0)
# So many segments may wait for storage (at most 200,000 answers, about 200 MB); with more of them it has stopped.
_MOST_HELD = 100
# So many of its own verdicts and reflections a writer remembers (about 1 kB each), because they may be wanted again.
# Answers it forgets: an evaluation asks for no pair twice, and those of a million rows would fill a worker's memory.
_REMEMBERED = 50_000


class Ledger(Protocol):
    """Where a worker finds and leaves answers."""

    def find(self, key: str) -> Entry | None:
        """Return what is known under ``key``."""
        ...

    def keep(self, entry: Entry) -> None:
        """Keep ``entry``; it is on storage within seconds."""
        ...


class SegmentLedger:
    """A worker's ledger: knows the entries it was given, and appends to segments of its own.

    Of what it keeps itself it finds the latest again, answers excepted. ``writer`` starts the names of its segments; no
    other writer may have the same. Used from one event loop; files are written on a thread beside it. A write that
    storage refuses is tried again after each of ``retry_after_s``; until it succeeds its entries are held.
    """

    def __init__(
        self,
        location: LedgerLocation,
        writer: str,
        *,
        known: Iterable[Entry] = (),
        answers: int = SEGMENT_ANSWERS,
        seconds: float = SEGMENT_SECONDS,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._location = location
        self._writer = f"{writer}-{uuid.uuid4().hex[:12]}"
        self._known = latest(known)
        self._recent: dict[str, Entry] = {}
        self._answers, self._seconds = answers, seconds
        self._retry_after_s, self._sleep = tuple(retry_after_s), sleep
        self._open: list[Entry] = []
        self._number = 0
        self._held: dict[str, list[Entry]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self._refused: set[str] = set()

    @property
    def is_stuttering(self) -> bool:
        """True while a segment that storage refused waits to be written again."""
        return bool(self._refused)

    def check(self) -> None:
        """Make sure that storage has not refused a segment for good.

        Raises:
            LedgerError: it has.
        """
        if self._failure is not None:
            raise self._error(self._failure) from self._failure

    def find(self, key: str) -> Entry | None:
        """Return what is known under ``key``."""
        return self._known.get(key) or self._recent.get(key)

    def keep(self, entry: Entry) -> None:
        """Keep ``entry``: at most ``seconds`` later, or with the ``answers``-th after it, it is on storage.

        Raises:
            LedgerError: an earlier segment could not be written; going on would risk paying twice.
        """
        self.check()
        if len(self._held) >= _MOST_HELD:
            raise self._error(f"{len(self._held)} segments wait to be written")
        if entry.kind != "answer":
            self._recent[entry.key] = entry
            if len(self._recent) > _REMEMBERED:
                del self._recent[next(iter(self._recent))]
        self._open.append(entry)
        if len(self._open) >= self._answers:
            self._close_segment()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._close_segment)

    async def close(self) -> None:
        """Close the open segment and wait until all are on storage; what failed before is tried once more.

        Raises:
            LedgerError: a segment could not be written; the others are.
        """
        self._close_segment()
        while self._writes:
            await asyncio.wait(self._writes)
        self._failure = None
        for name in tuple(self._held):
            await self._write(name, ())
        if self._failure is not None:
            raise self._error(self._failure) from self._failure

    def _close_segment(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._open:
            return
        self._number += 1
        name = f"{self._writer}-{self._number:06d}.parquet"
        self._held[name], self._open = self._open, []
        write = asyncio.get_running_loop().create_task(self._write(name, self._retry_after_s))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def _write(self, name: str, pauses: Sequence[float]) -> None:
        """Write a held segment and let go of it; after the last pause it stays held, and the failure is kept."""
        loop = asyncio.get_running_loop()
        filesystem, folder = self._location.filesystem()
        for pause in (*pauses, None):
            try:
                await loop.run_in_executor(None, write_segment, filesystem, folder, name, self._held[name])
            except Exception as error:
                # Only storage may change its mind; anything else is a defect, to be told at once.
                if pause is None or not isinstance(error, OSError):
                    self._failure = error
                    return
                self._refused.add(name)
                log.warning("the ledger's segment %s/%s will be written again in %g s: %s", folder, name, pause, error)
                await self._sleep(pause)
            else:
                del self._held[name]
                self._refused.discard(name)
                return

    def _error(self, reason: object) -> LedgerError:
        lost = sum(len(entries) for entries in self._held.values()) + len(self._open)
        return LedgerError(
            f"the ledger in {self._location.folder} can't be written: {reason}; {lost} answers are not kept; make room "
            "or mend the rights, then start the same command again"
        )
