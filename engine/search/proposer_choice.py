"""Which proposers get a step's slots: in turn, or those that have been paying off."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from engine.search.history import History
from engine.search.proposer_statistics import ProposerStatistics, proposer_statistics


class ProposerChoice(Protocol):
    """Chooses proposers. Depends on the search's seed and history alone, so that a search can be walked again."""

    def choose(self, history: History, *, first: int, count: int) -> list[int]:
        """Return the position of a proposer for each of ``count`` slots; ``first`` is the number of the first slot."""
        ...


class InTurn:
    """All proposers in the configured order, over and over.

    >>> InTurn(3).choose(None, first=4, count=4)
    [1, 2, 0, 1]
    """

    def __init__(self, proposers: int) -> None:
        self._proposers = proposers

    def choose(self, history: History, *, first: int, count: int) -> list[int]:
        """Return the positions."""
        del history
        return [(first + slot) % self._proposers for slot in range(count)]


class PayingOff:
    """A bandit over accepted gain per call: Thompson sampling on rates.

    The gain that a proposer brings is taken for a stream of events whose rate, in events a call, is not known: with a
    Gamma prior the posterior is again a Gamma (the conjugate of the Poisson rate). Each slot draws a rate for every
    proposer and goes to the highest draw (Thompson, 1933; Chapelle & Li, NIPS 2011, for why several slots may be drawn
    from one posterior, as in a step whose proposals are scored together). An event is the mean gain of those seen so
    far, so that the scale of the scores does not matter; the prior is one event at the rate of all proposers together.
    Whoever has not been tried comes first.
    """

    def __init__(self, names: Sequence[str], *, seed: int) -> None:
        self._names = list(names)
        self._seed = seed

    def choose(self, history: History, *, first: int, count: int) -> list[int]:
        """Return the positions."""
        accounts = proposer_statistics(history, self._names)[: len(self._names)]
        rng = random.Random(f"proposers-{self._seed}-{first}")  # noqa: S311 - reproducible, not secret
        untried = [position for position, account in enumerate(accounts) if not account.proposals]
        chosen = untried[:count]
        while len(chosen) < count:
            rates = _draws(accounts, rng)
            chosen.append(max(range(len(rates)), key=lambda position: rates[position]))
        return chosen


def _draws(accounts: Sequence[ProposerStatistics], rng: random.Random) -> list[float]:
    """Draw a rate for each proposer from what is known of it."""
    gains = [account.gain for account in accounts if account.gain > 0]
    accepted = sum(account.accepted for account in accounts if account.gain > 0)
    event = sum(gains) / accepted if gains else 1.0
    events, calls = sum(gains) / event, sum(account.calls for account in accounts)
    prior_calls = (calls + 1) / (events + 1)
    return [rng.gammavariate(1.0 + account.gain / event, 1.0 / (prior_calls + account.calls)) for account in accounts]
