"""SIGTERM as an exception: the clean stop that Ctrl-C has, for jobs that a scheduler ends."""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the same clean stop as Ctrl-C, with an exit status of its own."""


class Interrupted(BaseException):
    """All that runs shall end, a thread is told. No KeyboardInterrupt, which would end an event loop that it passes."""


def raise_on_sigterm() -> None:
    """Have SIGTERM raise :class:`Terminated` in the main thread from now on, as Ctrl-C raises KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
