"""Telling how far a fetch is, without ever being able to spoil it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Fetched:
    """How far a file is: ``done_bytes`` of ``total_bytes`` have come from ``source``."""

    file_name: str
    source: str
    done_bytes: int
    total_bytes: int


Progress = Callable[[Fetched], None]
"""Called from time to time while a file is fetched, often: it must be quick."""


class LogProgress:
    """Log a line for each further tenth of a file."""

    def __init__(self) -> None:
        self._told: tuple[str, str, int] | None = None

    def __call__(self, fetched: Fetched) -> None:
        """Log, if a tenth has been completed since the last line."""
        tenths = 10 * fetched.done_bytes // max(1, fetched.total_bytes)
        now = (fetched.file_name, fetched.source, tenths)
        if now == self._told:
            return
        self._told = now
        done, total = fetched.done_bytes // _MIB, fetched.total_bytes // _MIB
        logger.info("%s from %s: %d of %d MiB", fetched.file_name, fetched.source, done, total)


def harmless(progress: Progress) -> Progress:
    """Wrap an observer so that its failure is logged once and the fetch goes on."""
    broken = False

    def guarded(fetched: Fetched) -> None:
        nonlocal broken
        if broken:
            return
        try:
            progress(fetched)
        except Exception:  # an observer must not break the fetch
            broken = True
            logger.warning("showing progress failed; it is off for the rest of this fetch", exc_info=True)

    return guarded
