"""Learns how many calls an endpoint serves at once, from how the calls end. Pure: no waiting, time is passed in.

One number is steered, the window: how many calls this task keeps in flight, on average; it may be below one. It

- starts small and doubles every round trip until a call is refused (slow start, RFC 5681 section 3.1);
- comes down in proportion to the share that was refused (DCTCP, RFC 8257 section 3.3, with a gain of one), and not
  below what was really served, because halving it would give a quarter of the endpoint away;
- stays there for a while, then grows with the third power of time (CUBIC, RFC 9438 section 4.2), so that it hovers at
  the limit, and finds a doubled one within seconds;
- when latency doubles, or refusals go on however far it comes down, tries less for a moment (:mod:`udfs.trial`);
- when nothing is served any more, asks with single calls (:mod:`udfs.outage`), and comes back by slow start.

A refusal makes a large window give back more than a small one, and get it back later: so tasks that share an endpoint
drift towards equal shares (binomial congestion control, Bansal and Balakrishnan 2001, section 3).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from udfs.outage import Outage
from udfs.places import Places
from udfs.served import Served
from udfs.trial import HALF, LatencyWatch, Trial

# A whole cluster starts with so many calls: what any endpoint that serves a team bears at once.
FIRST_CALLS = 8.0
# The latency that is assumed until the first answer; only spreads out the first calls of tasks with less than a call.
_ASSUMED_LATENCY_S = 0.25
# After a refusal the window stays for a while: at 50 calls/s for 2 s, so that feeling for the limit costs about 1 % of
# the calls; with the root of the rate, so that a task with few calls feels for more, relative to what it has.
_HOLD_S, _HOLD_RATE, _LEAST_HOLD_S, _LONGEST_HOLD_S = 2.0, 50.0, 1.0, 20.0
# Then it grows with the third power of time: hardly for half a second, to the double of a usual window in 4 s.
_DOUBLES_S, _DOUBLES_ROUND_TRIPS, _USUAL_CALLS = 4.0, 6.0, 100.0
# Refusals in a round of a few calls count as if there were so many: one refusal is weak evidence.
_FEWEST_STARTS = 8
# Refusals that go on although the window came down to this share may have nothing to do with load: a trial tells.
_IN_VAIN, _REFUSED_IN_VAIN, _SHARE_IN_VAIN, _LARGEST_NOISE = 0.7, 6, 0.01, 0.3
# A refused task gives so much of its window back, and gets it again within a second.
_GIVEN_BACK, _BACK_S = 0.02, 1.0
# Whoever has much gives more back and gets less of it at once, by the root of what it has to this usual share.
_LEAST_SCALE, _LEAST_GIVEN, _MOST_GIVEN = 0.6, 0.5, 2.0
# The least a cluster keeps trying with: at a full endpoint, a latecomer with less would find no place.
_LEAST_CALLS = 4.0
# The place of a lone refusal comes back sooner: there was a place too few, and not for long.
_LONE_REST = 0.25
# With a call or two, a refusal is all that is seen of an overload for a while.
_FEW_CALLS, _FEW_CALLS_CUT = 2.0, 0.9
# Slow start ends here, should a trial be long in coming: so many times the usual latency.
_FAR = 3.0
# Up to so many tasks each changes the load enough by itself for a trial; more must do it together, on more evidence.
_FEW_TASKS, _IN_VAIN_AMONG_MANY = 4, 0.25
# Whether refusals still have nothing to do with load; soon after the first time, which may have been others' overload.
_FIRST_NOISE_CHECK_S, _NOISE_CHECK_S = 1.0, 10.0
# With refusals that have nothing to do with load, a round has at least so many calls: fewer tell nothing.
_NOISY_STARTS = 60
# Starts are spread out a little, so that they come in no bunches: at most twice as dense as the window asks for.
_SPACING = 2.0


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
        self._first = min(self.most, FIRST_CALLS / tasks)
        self.latency_s = learnt.latency_s if learnt else 0.0
        self.window = min(self.most, max(self._first, learnt.calls / tasks / 2)) if learnt else self._first
        self.places = Places(self.window)
        if self.window < 1:
            cycle_s = (self.latency_s or _ASSUMED_LATENCY_S) / self.window
            self.places.delay(now + rng.uniform(0.0, cycle_s))
        self._slow_start_to = math.inf
        # The window that was left by the last cut, and since when nothing was refused.
        self._level = self.window
        self._given = 0.0
        self._held_since = now
        # The round.
        self._round_began = self._round_ends = now
        self._starts = self._refused = 0
        self._was_full = False
        self._cut_at = -math.inf
        self._outage = Outage(tasks=tasks, rng=rng)
        self._window_before = self.window
        self._served = Served(now)
        self._watch = LatencyWatch()
        self._trial: Trial | None = None
        # Cuts since the window last grew.
        self._cuts = self._cut_starts = self._cut_refused = 0
        self._window_before_cuts = self.window
        # The share of refusals that have nothing to do with load.
        self._noise = 0.0
        self._noise_known_at = -math.inf
        self._noise_check_s = _FIRST_NOISE_CHECK_S

    # -- what calls do

    def started(self, now: float) -> None:
        """A call starts."""
        self._starts += 1
        self.places.start(now)
        if self._trial:
            self._trial.start(now)

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
        self._served.one_more(now, self.latency_s)
        if self._outage.answered(started_at):
            self._up(now)
        elif self._trial and self._trial.running:
            self._trial.answered(started_at, latency_s)
        elif (
            not self._outage.is_down
            and self._watch.answered(latency_s, self.window)
            and self._watch.suspicious
            and not self._trial
        ):
            self._trial = Trial("latency", self._watch.latest_s, 20, self._wall())
        if self.window < self._slow_start_to and (places.full or self._was_full) and not self._frozen:
            self._resize(min(self.most, self._slow_start_to, self.window + min(1.0, self.window)))
            self._level, self._held_since = self.window, now
        if now >= self._round_ends or (self._trial and not self._trial.running):
            self._round(now)

    def refused(self, now: float, started_at: float, retry_after_s: float | None) -> None:
        """A call was refused, or not answered in time: the endpoint has too much to do."""
        rest_s = (self.latency_s or _ASSUMED_LATENCY_S) * self.places.limit / self.window
        if self.window >= 1 and now - self._held_since > 2 * self.latency_s:
            rest_s *= _LONE_REST
        self.places.refuse(now, started_at + rest_s)
        if retry_after_s:
            self._outage.retry_after_s = min(self._outage.retry_after_s, retry_after_s)
        if self._fails(now, started_at):
            return
        if self._trial and self._trial.running:
            self._trial.refuse(started_at)
        elif started_at >= self._cut_at:
            self._refused += 1
            if not self._noise:
                quiet_s, self._held_since = now - self._held_since, now
                if quiet_s > 2 * self.latency_s * max(1.0, 1.0 / self.window) or self.window < self._slow_start_to:
                    self._step_back(now)
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
        window = self._window_before / 2 if self._outage.is_down else self.window
        return Learnt(window * self._tasks, self.latency_s, now)

    # -- rounds

    @property
    def _frozen(self) -> bool:
        """The window is not to grow now."""
        return (
            self._watch.suspicious
            or self.latency_s > _FAR * self._watch.base_s > 0
            or (self._trial is not None and self._trial.running)
            or self._outage.is_down
        )

    def _round(self, now: float) -> None:
        if self._outage.is_down:
            return
        if self._trial and not self._trial.running:
            self._try(now, self._trial)  # all tasks at the same moment, whatever their rounds
        if now < self._round_ends:
            return
        if self._noise and self._starts < _NOISY_STARTS and now - self._round_began < 5.0:
            self._round_ends = now + self.latency_s
            return
        starts, refused = max(self._starts, _FEWEST_STARTS), self._refused
        full = self.places.full
        idle_s = 0.0 if full or self._was_full else now - self._round_began
        self._new_round(now)
        if self._trial and self._trial.running:
            self._try(now, self._trial)
        elif self._is_excess(now, refused, starts):
            self._refuse_round(now, refused, starts)
        elif full and not self._frozen:
            self._grow(now)
        else:
            # Whoever does not use its window learns nothing by waiting.
            self._held_since += idle_s

    def _is_excess(self, now: float, refused: int, starts: int) -> bool:
        """More was refused than what is refused whatever the load."""
        if self._noise and not self._trial and now - self._noise_known_at > self._noise_check_s:
            self._trial = self._noise_trial(self._noise)
        if self._cuts:
            self._cut_refused += refused
            self._cut_starts += starts
        usual = self._noise * starts
        return refused > 1.5 * usual + 2 * math.sqrt(usual)

    def _refuse_round(self, now: float, refused: int, starts: int) -> None:
        """Come down by the share that was refused, but not below what was served."""
        if not self._cuts:
            self._window_before_cuts = self.window
            self._cut_refused, self._cut_starts = refused, starts
        self._cuts += 1
        share = refused / starts
        if self._trial and share < _LARGEST_NOISE:
            return  # the trial will tell
        served = min(self.window, self._served.per_s(now) * self.latency_s)
        self._cut(now, max(self.window * (1 - share + self._noise), served))
        self._suspect_noise()

    def _suspect_noise(self) -> None:
        """Plan a trial when the refusals go on although the window came down a good deal."""
        share = self._cut_refused / self._cut_starts
        few = self._tasks <= _FEW_TASKS
        before = self._window_before_cuts
        came_down = before >= 1.0 and self.window < (_IN_VAIN if few else _IN_VAIN_AMONG_MANY) * before
        if (
            came_down
            and self._cut_refused >= (_REFUSED_IN_VAIN if few else 2 * _REFUSED_IN_VAIN)
            and _SHARE_IN_VAIN < share < _LARGEST_NOISE
        ):
            self._trial = self._noise_trial(share)

    def _noise_trial(self, share: float) -> Trial:
        # A few tasks change the load enough one by one; many must do it together.
        slot = 0.0 if self._tasks <= _FEW_TASKS else self._wall()
        return Trial("refusals", share, int(min(400, max(40, 4 / share))), slot)

    def _new_round(self, now: float) -> None:
        self._starts = self._refused = 0
        self._was_full, self.places.full = self.places.full, False
        self._round_began = now
        self._round_ends = now + max(self.latency_s * max(1.0, 1.0 / self.window), 0.02)

    def _grow(self, now: float) -> None:
        if self.window < self._slow_start_to:
            return
        rate = max(self._served.per_s(now), 0.1)
        hold_s = min(_LONGEST_HOLD_S, max(_LEAST_HOLD_S, _HOLD_S * math.sqrt(_HOLD_RATE / rate)))
        slowness = max(1.0, _DOUBLES_ROUND_TRIPS / _DOUBLES_S * self.latency_s * max(1.0, 1.0 / self.window))
        since_s = now - self._held_since
        scale = self._level * min(1.0, max(_LEAST_SCALE, math.sqrt(_USUAL_CALLS / self._tasks / self._level)))
        back = self._given * scale * (1 - max(0.0, 1 - since_s / (_BACK_S * slowness)) ** 3)
        grown_s = since_s - max(hold_s, _BACK_S * slowness)
        if grown_s > 0:
            self._cuts = 0
            back += scale * (grown_s / (_DOUBLES_S * slowness)) ** 3
        self._resize(min(self.most, max(self.window, self._level + back)))

    def _step_back(self, now: float) -> None:
        """The first refusal in a while: half of what was grown since the last one was too much."""
        if self.window < self._slow_start_to:
            # The calls in flight are what is served at once, but one refusal of a few calls is weak evidence.
            served = min(self.window, max(self.places.in_flight, (1 - 1 / _FEWEST_STARTS) * self.window))
        else:
            served = min(self.window, max(self.places.in_flight, (self._level + self.window) / 2))
            if self.window < _FEW_CALLS:
                served *= _FEW_CALLS_CUT
        if not self._cuts:
            self._window_before_cuts = self.window
            self._cut_refused = self._cut_starts = 0
        self._cuts += 1
        self._cut_refused += self._refused
        self._cut_starts += max(self._starts, 1)
        self._cut(now, served)
        if not self._trial:
            self._suspect_noise()

    def _cut(self, now: float, window: float) -> None:
        self._cut_at = self._held_since = now
        # Who has much gives more back.
        much = min(_MOST_GIVEN, max(_LEAST_GIVEN, math.sqrt(self.window * self._tasks / _USUAL_CALLS)))
        self._given = _GIVEN_BACK * much
        self._level = self._slow_start_to = max(window * (1 - self._given), _LEAST_CALLS / self._tasks)
        self._resize(self._level)
        self._new_round(now)

    def _resize(self, window: float) -> None:
        self.window = window
        self.places.resize(window)
        # No pace until something was refused: an endpoint that never refuses needs none, and a pace costs timers.
        self.places.spacing_s = self.latency_s / (window * _SPACING) if self._cut_at > -math.inf else 0.0

    # -- trials

    def _try(self, now: float, trial: Trial) -> None:
        if not trial.running:
            if self._wall() < trial.slot:
                return
            if trial.reason == "latency":
                trial.before = self._watch.latest_s  # it may have risen since
            trial.begin(now, self.window, 0.0 if trial.reason == "latency" else 2 * self.latency_s)
            self._resize(HALF * self.window)
            self._cut_at = now if self._cut_at > -math.inf else self._cut_at
            return
        if not trial.over(now):
            return
        self._trial = None
        if trial.reason == "latency":
            if trial.is_queueing:
                self._watch.confirmed()
                served = trial.window * self._watch.base_s / trial.before
                self._slow_start_to = self._level = min(self.most, max(trial.window / 2, 1.5 * served))
                self._resize(self._level)
            else:
                self._watch.rebase(trial.before)
                self._resize(trial.window)
                self._slow_start_to = self._level = self.window
        else:
            self._cuts = 0
            self._noise_known_at = now
            # Found for the first time, it may have been somebody else's overload: looked at again soon.
            self._noise_check_s = _NOISE_CHECK_S if self._noise else _FIRST_NOISE_CHECK_S
            share = trial.refused / max(1.0, trial.starts)
            window = trial.window
            if trial.is_noise:
                if not self._noise:
                    window = max(window, self._window_before_cuts)
                    self._slow_start_to = math.inf
                self._noise = min(_LARGEST_NOISE, share)
            else:
                self._noise = 0.0
            self._resize(window)
            self._level = window
        self._held_since = now
        self._new_round(now)

    # -- outages

    def _fails(self, now: float, started_at: float) -> bool:
        """Count a failure; true when the endpoint is down."""
        outage, was_down = self._outage, self._outage.is_down
        is_down = outage.failed(now, started_at, self.latency_s)
        if outage.begins:
            self._window_before = min(self.window, 1.25 * self._served.per_s(now) * self.latency_s)
        if not is_down:
            return False
        if not was_down:
            self._trial = None
            self.window = self._first
            self.places.resize(min(1.0, self._first))
            self.places.wake()
        if not was_down or started_at >= outage.down_at:
            self.places.delay(now + outage.next_probe_s())
        return True

    def _up(self, now: float) -> None:
        self.places.wake()
        self._slow_start_to = self._level = max(self._first, 0.9 * self._window_before)
        self._cut_at = self._held_since = now
        self._resize(max(self._first, min(self._slow_start_to, self._window_before / 8)))
        self._new_round(now)
