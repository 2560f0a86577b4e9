"""A world of events in which tasks with the real window call endpoints of many kinds; no time passes, none is sent."""

import heapq
import itertools
import random
from collections import deque

from udfs.capacity import Capacity

REFUSED, FAILED, ANSWERED = "refused", "failed", "answered"


class Endpoint:
    """Serves everything with a latency; the others serve less. ``rng`` draws latencies."""

    def __init__(self, latency_s=0.2, sigma=0.0):
        self.latency_s, self.sigma = latency_s, sigma
        self.busy = 0

    def draw(self, world):
        return self.latency_s * (world.rng.lognormvariate(0.0, self.sigma) if self.sigma else 1.0)

    def arrive(self, world, call):
        self.busy += 1
        world.after(self.draw(world), self.leave, world, call)

    def leave(self, world, call):
        self.busy -= 1
        world.settle(call, ANSWERED)

    def capacity_per_s(self, now):
        raise NotImplementedError


class Concurrency(Endpoint):
    """So many calls at once; others are refused, or wait their turn where it queues."""

    def __init__(self, places, *, queueing=False, **latency):
        super().__init__(**latency)
        self.places, self.queueing = places, queueing
        self.queue = deque()

    def arrive(self, world, call):
        if self.busy < self.places:
            super().arrive(world, call)
        elif self.queueing:
            self.queue.append(call)
        else:
            world.after(0.001, world.settle, call, REFUSED)

    def leave(self, world, call):
        if self.queue and self.busy <= self.places:
            self.busy -= 1
            super().arrive(world, self.queue.popleft())
            world.settle(call, ANSWERED)
        else:
            super().leave(world, call)

    def change(self, world, places):
        self.places = places
        while self.queue and self.busy < self.places:
            super().arrive(world, self.queue.popleft())


class TokenBucket(Endpoint):
    """So many requests a second, with a burst of some."""

    def __init__(self, per_s, *, burst, retry_after_s=None, **latency):
        super().__init__(**latency)
        self.per_s, self.burst, self.retry_after_s = per_s, burst, retry_after_s
        self.tokens, self.at = burst, 0.0

    def arrive(self, world, call):
        self.tokens = min(self.burst, self.tokens + (world.now - self.at) * self.per_s)
        self.at = world.now
        if self.tokens >= 1:
            self.tokens -= 1
            super().arrive(world, call)
        else:
            world.after(0.001, world.settle, call, REFUSED, self.retry_after_s)


class Windows(Endpoint):
    """So many requests in each window of some seconds."""

    def __init__(self, per_window, window_s, *, retry_after_s=None, **latency):
        super().__init__(**latency)
        self.per_window, self.window_s, self.retry_after_s = per_window, window_s, retry_after_s
        self.window, self.used = -1, 0

    def arrive(self, world, call):
        window = int(world.now // self.window_s)
        if window != self.window:
            self.window, self.used = window, 0
        if self.used < self.per_window:
            self.used += 1
            super().arrive(world, call)
        else:
            world.after(0.001, world.settle, call, REFUSED, self.retry_after_s)


class Faulty:
    """Refuses or fails a share of calls before they reach the endpoint behind it."""

    def __init__(self, endpoint, *, share, how):
        self.endpoint, self.share, self.how = endpoint, share, how

    def arrive(self, world, call):
        if world.rng.random() < self.share:
            world.after(0.002, world.settle, call, self.how)
        else:
            self.endpoint.arrive(world, call)


class Outages:
    """Serves nothing from one time to another."""

    def __init__(self, endpoint, begins, ends, *, how=FAILED):
        self.endpoint, self.begins, self.ends, self.how = endpoint, begins, ends, how

    def arrive(self, world, call):
        if self.begins <= world.now < self.ends:
            world.after(0.002, world.settle, call, self.how)
        else:
            self.endpoint.arrive(world, call)


class Task:
    def __init__(self, world, number, tasks, most):
        self.number = number
        self.rng = random.Random(world.rng.random())
        self.capacity = Capacity(most=most, tasks=tasks, now=world.now, rng=self.rng, wall=lambda: world.now + 1e9)
        self.timer = None
        self.working = True
        self.answered = self.refused = self.sent = 0


class World:
    """``run`` lets ``tasks`` tasks, each with as many rows as it can take, call ``endpoint``."""

    def __init__(self, endpoint, *, tasks=2, most=None, seed=1):
        self.rng = random.Random(seed)
        self.now = 0.0
        self.endpoint = endpoint
        self.most_in_flight = self.in_flight = 0
        self.answers, self.refusals, self.sends = [], [], []
        self._events, self._order = [], itertools.count()
        self.tasks = []
        for number in range(tasks):
            self.add(number, tasks, most or max(1, 512 // tasks))

    def add(self, number, tasks, most):
        task = Task(self, number, tasks, most)
        self.tasks.append(task)
        self.after(self.rng.uniform(0.0, 0.05), self.pump, task)

    def after(self, seconds, do, *what):
        heapq.heappush(self._events, (self.now + seconds, next(self._order), do, what))

    def at(self, when, do, *what):
        heapq.heappush(self._events, (when, next(self._order), do, what))

    def run(self, until):
        while self._events and self._events[0][0] <= until:
            self.now, _, do, what = heapq.heappop(self._events)
            do(*what)
        self.now = until
        return self

    def wake(self, task):
        task.timer = None
        self.pump(task)

    def pump(self, task):
        places = task.capacity.places
        while task.working:
            wait_s = places.wait_s(self.now)
            if wait_s > 0:
                when = self.now + wait_s
                if wait_s != float("inf") and (task.timer is None or when < task.timer - 1e-9):
                    task.timer = when
                    self.at(when + self.rng.uniform(0, 0.001), self.wake, task)
                return
            task.capacity.started(self.now)
            task.sent += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.sends.append(self.now)
            self.endpoint.arrive(self, (task, self.now))

    def settle(self, call, how, retry_after_s=None):
        task, started = call
        self.in_flight -= 1
        if how == ANSWERED:
            task.answered += 1
            self.answers.append(self.now)
            task.capacity.answered(self.now, started)
        elif how == REFUSED:
            task.refused += 1
            self.refusals.append(self.now)
            task.capacity.refused(self.now, started, retry_after_s)
        else:
            task.capacity.failed(self.now, started)
        self.pump(task)

    # -- what came of it

    def answered_per_s(self, since, until):
        return sum(since <= at < until for at in self.answers) / (until - since)

    def refused_share(self, since, until):
        refused = sum(since <= at < until for at in self.refusals)
        sent = sum(since <= at < until for at in self.sends)
        return refused / max(1, sent)

    def jain(self, since):
        """Jain's index of what each task was given: 1 is equal shares."""
        counts = [task.answered - since.get(task.number, 0) for task in self.tasks]
        return sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts))
