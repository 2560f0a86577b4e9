"""Faults for a :class:`engine.scripted_endpoint.ScriptedEndpoint`: scripts put round the script that answers.

Each is called as the script is, and passes on to it what it does not fail itself.
"""

from __future__ import annotations

import email.utils
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from engine.scripted_endpoint import Call, Reply, Script

Clock = Callable[[], float]

_LOGIN_PAGE = "<!doctype html><title>Sign in</title><p>Your session has ended.</p>"


def delayed(script: Script, delay_s: float) -> Script:
    """Answer as ``script`` does, ``delay_s`` later."""

    def answer(call: Call) -> Reply:
        found = script(call)
        reply = found if isinstance(found, Reply) else Reply(found)
        return Reply(**{**vars(reply), "delay_s": reply.delay_s + delay_s})

    return answer


@dataclass(frozen=True)
class StormShares:
    """How many of the calls meet each fault; what is left is answered."""

    server_error: float = 0.10
    refused: float = 0.10
    hung: float = 0.05
    cut_off: float = 0.03
    malformed: float = 0.02
    wrong_type: float = 0.01


@dataclass
class Storm:
    """Fails calls at random in six ways; which ones depends on ``seed`` and the call's number only.

    Of the refusals a third says nothing about when to come back, a third names seconds and a third a date.
    ``met`` counts the faults by name. Not thread-safe: one endpoint's.
    """

    script: Script
    seed: int = 0
    shares: StormShares = field(default_factory=StormShares)
    met: Counter[str] = field(default_factory=Counter)

    def __call__(self, call: Call) -> Reply | str:
        """Return the fault that strikes, else the script's answer."""
        drawn = random.Random(self.seed * 1_000_003 + call.number).random()  # noqa: S311 - a script, no secret
        for name, share in vars(self.shares).items():
            if drawn < share:
                self.met[name] += 1
                return self._fault(name, call)
            drawn -= share
        return self.script(call)

    def _fault(self, name: str, call: Call) -> Reply:
        if name == "refused":
            at = datetime.now(UTC) + timedelta(seconds=2)
            asked: tuple[dict[str, str], ...] = (
                {},
                {"Retry-After": "1"},
                {"Retry-After": email.utils.format_datetime(at, usegmt=True)},
            )
            return Reply(status=429, headers=asked[call.number % 3])
        faults = {
            "server_error": Reply(status=500),
            "hung": Reply(hang=True),
            "cut_off": Reply(str(self.script(call)), cut_off=True),
            "malformed": Reply(raw='{"choices": [{"message": {"content": "UPPER'),
            "wrong_type": Reply(raw=_LOGIN_PAGE, content_type="text/html"),
        }
        return faults[name]


@dataclass
class Outage:
    """Answers 503 for ``for_s`` seconds, beginning ``after_s`` seconds after the first call; then all is well again."""

    script: Script
    after_s: float
    for_s: float
    clock: Clock = time.monotonic
    met: int = 0
    _began: float | None = None

    def __call__(self, call: Call) -> Reply | str:
        """Return a 503 during the outage, else the script's answer."""
        now = self.clock()
        if self._began is None:
            self._began = now
        if 0 <= now - self._began - self.after_s < self.for_s:
            self.met += 1
            return Reply(status=503)
        return self.script(call)
