"""Learns how many calls an endpoint serves at once, from how the calls end. Pure: no waiting, time is passed in.

One number is steered, the window: how many calls this task keeps in flight, on average; it may be below one. It

- starts small and doubles every round trip until a call is refused (slow start, RFC 5681 section 3.1);
- comes down in proportion to the share that was refused (DCTCP, RFC 8257 section 3.3, with a gain of one), and not below
  what was really served, because halving it would give a quarter of the endpoint away;
- stays there for a while, then feels its way up in steps that double while nothing is refused (the convex phase of
  CUBIC, RFC 9438 section 4.2), so that it hovers at the limit, and finds a doubled one within seconds;
- when latency doubles, tries half the window for a moment: an endpoint that queues serves as much with half of it
  (:mod:`udfs.trial`);
- when nothing is served any more, asks with single calls ever further apart, and comes back by slow start.

Steps up are absolute, in proportion to the square root of the window, steps down are in proportion to it: so tasks that
share an endpoint converge to equal shares (binomial congestion control, Bansal and Balakrishnan 2001, section 3).
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from udfs.places import Places
from udfs.trial import LatencyWatch, Trial

# A whole cluster starts with so many calls: what any endpoint that serves a team bears at once.
FIRST_CALLS = 8.0
# The latency that is assumed until the first answer; only spreads out the first calls of tasks with less than one call.
_ASSUMED_LATENCY_S = 0.25
# After a refusal the window rests for so many calls, so that steps up cost about 1 % refused calls, but at most so long.
_HOLD_CALLS, _LEAST_HOLD_S, _LONGEST_HOLD_S = 100, 1.0, 20.0
# Refusals in a round of a few calls count as if there were so many: one refusal is weak evidence.
_FEWEST_STARTS = 8
# Steps above this share of the window are not taken at once.
_LARGEST_STEP = 0.5
# Nothing is served any more: so many failures in a row and no answer for this many round trips.
_DOWN_FAILURES, _DOWN_ROUND_TRIPS = 8, 2.0
# Single calls to an endpoint that serves nothing: the first and the longest wait of a task.
_FIRST_PROBE_S, _LONGEST_PROBE_S, _LONGEST_KEPT_S = 0.25, 2.0, 5.0
# Refusals that go on after so many cuts may have nothing to do with load.
_CUTS_IN_VAIN = 4
_SPACING = 1.1


@dataclass(frozen=True)
class Learnt:
    """What one task knew of a place: the window times the tasks, the latency in seconds, and when."""

    calls: float
    latency_s: float
    at: float


class Capacity:
    """The window of one task at one endpoint. Times are seconds of any steady clock, ``wall`` those since the epoch."""

    def __init__(
        self,
        *,
        most: int,
        tasks: int,
        now: float,
        rng: random.Random,
        wall: Callable[[], float],
        learnt: Learnt | None = None,
    ) -> None:
        self._wall = wall
        self.most = float(most)
        self._tasks = tasks
        self._rng = rng
        self._first = min(self.most, FIRST_CALLS / tasks)
        self.latency_s = learnt.latency_s if learnt else 0.0
        self.window = min(self.most, max(self._first, learnt.calls / tasks / 2)) if learnt else self._first
        self.places = Places(self.window)
        if self.window < 1:
            cycle_s = (self.latency_s or _ASSUMED_LATENCY_S) / self.window
            self.places.delay(now + rng.uniform(0.0, cycle_s))
        self._threshold = math.inf  # slow start goes up to here
        self._step = 0.0
        # The round.
        self._round_ends = now
        self._starts = self._refused = 0
        self._was_full = False
        self._cut_at = -math.inf
        # Since the last refusal.
        self._calls_held = 0
        self._held_since = now
        self._hold_calls = float(_HOLD_CALLS)
        # Failures in a row.
        self._failures = 0
        self._window_before = self.window
        self._answered_at = now
        self._down_at = math.inf
        self._probe_s = _FIRST_PROBE_S
        self._retry_after_s = math.inf
        # What was served: totals at some times of the last second.
        self._served = 0
        self._snaps: deque[tuple[float, int]] = deque([(now, 0)], maxlen=11)
        self._last_snap, self._last_served = now, 0
        self._watch = LatencyWatch()
        self._trial: Trial | None = None
        self._cuts = 0
        self._cut_refused = self._cut_starts = 0
        self._window_before_cuts = self.window
        self._noise = 0.0
        self._noise_checked = 0.0

    # -- what calls do

    def started(self, now: float) -> None:
        """A call starts."""
        self._starts += 1
        self.places.start(now)
        if self._trial:
            self._trial.starts += 1

    def cancelled(self, now: float) -> None:
        """A call was not sent or its answer is not waited for: nothing is learnt."""
        self.places.end(now, self.latency_s)

    def answered(self, now: float, started_at: float) -> None:
        """A call was answered, be it with a rejection of this one request."""
        latency_s = now - started_at
        places = self.places
        if self.latency_s:
            self.latency_s += (latency_s - self.latency_s) / max(8.0, min(64.0, self.window))
        else:
            self.latency_s = latency_s
        places.end(now, self.latency_s)
        self._served += 1
        self._calls_held += 1
        self._answered_at = now
        self._failures = 0
        if (
            now - self._last_snap > 0.1
            and self._served - self._last_served >= 2
            and now - self._last_snap > self.latency_s / 5
        ):
            self._snaps.append((now, self._served))
            self._last_snap, self._last_served = now, self._served
        if self._down_at != math.inf:
            if started_at >= self._down_at:
                self._up(now)
        elif self._trial and self._trial.running:
            if started_at >= self._trial.began_at:
                self._trial.answered(latency_s)
        elif self._watch.answered(latency_s, self.window):
            self._latency_seen()
        if self.window < self._threshold and (places.full or self._was_full) and not self._frozen:
            self._resize(min(self.most, self.window + min(1.0, self.window)))
        if now >= self._round_ends:
            self._round(now)

    def refused(self, now: float, started_at: float, retry_after_s: float | None) -> None:
        """A call was refused, or not answered in time: the endpoint has too much to do."""
        self.places.refuse(now, started_at + self.latency_s * self.places.limit / self.window)
        if retry_after_s:
            self._retry_after_s = min(self._retry_after_s, retry_after_s)
        if self._fails(now, started_at):
            return
        if self._trial and self._trial.running:
            if started_at >= self._trial.began_at:
                self._trial.refused += 1
        elif started_at >= self._cut_at:
            self._refused += 1
            self._hold(now)
            growing = self._step > 0 or self.window < self._threshold
            if growing and not self._noise:
                self._threshold = self.window
                self._cut(now, max(self.window * 0.7, min(self.window, self.places.in_flight)))
        if now >= self._round_ends:
            self._round(now)

    def failed(self, now: float, started_at: float) -> None:
        """A call failed for a reason that says nothing about load, unless nothing else happens."""
        self.places.refuse(now, started_at + self.latency_s * self.places.limit / self.window)
        if not self._fails(now, started_at) and now >= self._round_ends:
            self._round(now)

    def limit(self, most: int) -> None:
        """Another share of the cluster's limit."""
        self.most = float(most)
        if self.window > self.most:
            self._resize(self.most)

    def learnt(self, now: float) -> Learnt:
        """What another task may start from."""
        down = self._down_at != math.inf
        return Learnt((self._window_before / 2 if down else self.window) * self._tasks, self.latency_s, now)

    # -- rounds

    @property
    def _frozen(self) -> bool:
        """The window is not to grow now."""
        return self._watch.suspicious or (self._trial is not None and self._trial.running) or self._down_at != math.inf

    def _round(self, now: float) -> None:
        if self._down_at != math.inf:
            return
        starts, refused = max(self._starts, _FEWEST_STARTS), self._refused
        full = self.places.full
        self._new_round(now)
        if self._trial:
            self._try(now, self._trial)
            if not self._trial or self._trial.running:
                return
        share = refused / starts
        if self._cuts:
            self._cut_refused += refused
            self._cut_starts += starts
        if share > 2 * self._noise:
            if not self._cuts:
                self._window_before_cuts = self.window
                self._cut_refused, self._cut_starts = refused, starts
            self._cuts += 1
            served = min(self.window, self._served_per_s(now) * self.latency_s)
            self._threshold = self.window
            self._cut(now, max(self.window * (1 - share + self._noise), served))
            if self._cuts >= _CUTS_IN_VAIN and self._cut_refused >= 8 and self._cut_refused > 0.04 * self._cut_starts:
                share = self._cut_refused / self._cut_starts
                self._trial = Trial("refusals", share, int(min(400, 3 / share)), self._wall())
        elif full and not self._frozen and self._held(now):
            self._cuts = 0
            self._grow()

    def _new_round(self, now: float) -> None:
        self._starts = self._refused = 0
        self._was_full, self.places.full = self.places.full, False
        self._round_ends = now + max(self.latency_s * max(1.0, 1.0 / self.window), 0.02)

    def _held(self, now: float) -> bool:
        held_s = now - self._held_since
        return held_s >= _LONGEST_HOLD_S or (self._calls_held >= self._hold_calls and held_s >= _LEAST_HOLD_S)

    def _hold(self, now: float) -> None:
        self._calls_held = 0
        self._held_since = now

    def _grow(self) -> None:
        if self.window < self._threshold:
            return
        first = 0.1 * math.sqrt(self.window / self._tasks)
        self._step = min(max(first, 2 * self._step), _LARGEST_STEP * self.window)
        self._resize(min(self.most, self.window + self._step))

    def _cut(self, now: float, window: float) -> None:
        self._step = 0.0
        self._cut_at = now
        self._threshold = min(self._threshold, window)
        self._resize(window * 0.995)
        self._new_round(now)

    def _resize(self, window: float) -> None:
        self.window = window
        self.places.resize(window)
        # No pace until something was refused: an endpoint that never refuses needs none, and a pace costs timers.
        self.places.spacing_s = self.latency_s / (window * _SPACING) if self._cut_at > -math.inf else 0.0

    def _served_per_s(self, now: float) -> float:
        at, served = self._snaps[0]
        return (self._served - served) / max(now - at, 0.1)

    # -- trials

    def _latency_seen(self) -> None:
        if self._watch.suspicious and not self._trial:
            self._trial = Trial("latency", self._watch.latest_s, 20, self._wall())

    def _try(self, now: float, trial: Trial) -> None:
        if not trial.running:
            if self._wall() < trial.slot:
                return
            trial.begin(now, self.window)
            self._resize(max(self.window / 2, 1e-3))
            self._cut_at = now if self._cut_at > -math.inf else self._cut_at
            return
        if not trial.over(now):
            return
        self._trial = None
        if trial.reason == "latency":
            if trial.is_queueing:
                self._watch.confirmed()
                self._resize(min(self.most, max(trial.window / 2, 1.3 * trial.window * trial.latency_s / trial.before)))
                self._threshold = self.window
            else:
                self._watch.rebase(trial.before)
                self._resize(trial.window)
        else:
            self._cuts = 0
            share = trial.refused / max(1, trial.starts)
            if share > trial.before / 2:
                self._noise = min(0.3, share)
                self._resize(self._window_before_cuts)
            else:
                self._noise = 0.0
                self._resize(trial.window)
        self._new_round(now)

    # -- outages

    def _fails(self, now: float, started_at: float) -> bool:
        """Count a failure; true when the endpoint is down."""
        if self._down_at != math.inf:
            if started_at >= self._down_at:
                self._probe_s = min(2 * self._probe_s, self._longest_probe_s)
                self.places.delay(now + self._probe_s * self._rng.uniform(0.75, 1.25))
            return True
        if not self._failures:
            self._window_before = self.window
        self._failures += 1
        silent_s = now - self._answered_at
        if self._failures < _DOWN_FAILURES or silent_s < max(_DOWN_ROUND_TRIPS * self.latency_s, 0.1):
            return False
        self._down_at = now
        self._probe_s = _FIRST_PROBE_S
        self._step = 0.0
        self._trial = None
        self.window = self._first
        self.places.resize(min(1.0, self._first))
        self.places.wake()
        self.places.delay(now + self._probe_s * self._rng.uniform(0.75, 1.25))
        return True

    @property
    def _longest_probe_s(self) -> float:
        longest = min(10.0, _LONGEST_PROBE_S * max(1.0, self._tasks / FIRST_CALLS))
        kept = min(self._retry_after_s, _LONGEST_KEPT_S) if self._retry_after_s < math.inf else 0.0
        return max(longest, kept)

    def _up(self, now: float) -> None:
        self._down_at = math.inf
        self._retry_after_s = math.inf
        self.places.wake()
        self._threshold = 0.9 * self._window_before
        self._cut_at = now
        self._resize(max(self._first, self._window_before / 8))
        self._new_round(now)
