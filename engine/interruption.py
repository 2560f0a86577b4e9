"""SIGTERM as an exception: the clean stop that Ctrl-C has, for jobs that a scheduler ends."""

from __future__ import annotations

import signal
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the same clean stop as Ctrl-C, with an exit status of its own."""


def raise_on_sigterm() -> None:
    """Have SIGTERM raise :class:`Terminated` in the main thread from now on, as Ctrl-C raises KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
