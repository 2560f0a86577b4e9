"""How much of an endpoint's capacity flow control uses, with nothing configured: one table, goals beside.

    python -m benchmarks.flow [PART_OF_A_NAME]

Each row starts a capacity-limited endpoint and two client processes, as two tasks on two cores; the endpoint counts.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TASKS = 2
# The share of capacity is measured from here on.
FROM_S = 5.0


@dataclass(frozen=True)
class Case:
    """One row: what the endpoint is limited to, its capacity in calls a second from several times on, and the goals."""

    name: str
    limit: dict[str, Any]
    capacity: tuple[tuple[float, float], ...]
    served_goal: float
    refused_goal: float | None = None
    seconds: float = 20.0


def _cases() -> Iterator[Case]:
    for queueing in (False, True):
        for places in (20, 50, 100, 200):
            name = f"{places} at once, {'queues' if queueing else 'refuses'}, 200 ms"
            limit = {"places": places, "queueing": queueing}
            yield Case(name, limit, ((0.0, places / 0.2),), 0.97)
    yield Case("50 at once, refuses, log-normal", {"places": 50, "sigma": 0.6}, ((0.0, 250.0),), 0.97)
    for per_s in (100, 300, 1000):
        limit = {"per_s": per_s, "burst": per_s / 10, "retry_after_s": 1}
        yield Case(f"{per_s}/s, token bucket, Retry-After 1", limit, ((0.0, float(per_s)),), 0.95, 0.02)
    for per_s in (100, 300, 1000):
        limit = {"per_s": per_s, "by_the_second": True}
        yield Case(f"{per_s}/s, counted by the second", limit, ((0.0, float(per_s)),), 0.95, 0.02)
    for places in (50, 100, 200):
        changes = [(10.0, places / 2), (20.0, places)]
        capacity = ((0.0, places / 0.2), (10.0, places / 0.4), (20.0, places / 0.2))
        limit = {"places": places, "changes": changes}
        yield Case(f"{places} at once, halves, doubles", limit, capacity, 0.9, seconds=30.0)
    limit = {"per_s": 300, "burst": 30, "changes": [(10.0, 150), (20.0, 300)]}
    yield Case("300/s, halves, doubles", limit, ((0.0, 300.0), (10.0, 150.0), (20.0, 300.0)), 0.9, seconds=30.0)


def measure(case: Case) -> dict[str, list[int]]:
    """Return the endpoint's counts by tenth of a second."""
    command = [sys.executable, "-m", "benchmarks.flow.endpoint", json.dumps(case.limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as endpoint:
        try:
            assert endpoint.stdout is not None  # noqa: S101 - it was asked for above
            base = f"http://127.0.0.1:{int(endpoint.stdout.readline())}"
            client = [sys.executable, "-m", "benchmarks.flow.client", f"{base}/v1", str(TASKS), str(case.seconds)]
            clients = [subprocess.Popen(client, stdout=subprocess.DEVNULL) for _ in range(TASKS)]
            for one in clients:
                one.wait(timeout=case.seconds + 60)
            with urllib.request.urlopen(f"{base}/counts", timeout=10) as response:  # noqa: S310 - our own endpoint
                counts: dict[str, list[int]] = json.load(response)
        finally:
            endpoint.terminate()
    return counts


def _sum(counts: list[int], since_s: float, until_s: float) -> int:
    return sum(counts[int(since_s * 10) : int(until_s * 10)])


def served_share(case: Case, served: list[int]) -> float:
    """The share of capacity that was served, from 5 s after the start and after each change on."""
    done = possible = 0.0
    ends = [since for since, _ in case.capacity[1:]] + [case.seconds - 0.5]
    for (since, per_s), until in zip(case.capacity, ends, strict=True):
        done += _sum(served, since + FROM_S, until)
        possible += per_s * (until - since - FROM_S)
    return done / possible


def recoveries(case: Case, served: list[int]) -> list[float]:
    """Seconds from each change until a whole second was served at 90 % of the capacity."""
    found = []
    for since, per_s in case.capacity[1:]:
        back = 0.0
        while back < 9.0 and _sum(served, since + back, since + back + 1) < 0.9 * per_s:
            back += 0.1
        found.append(back)
    return found


def main() -> None:
    """Measure and print."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    print("| endpoint | served | goal | refused | goal | above 90 % after each change |\n|---|---|---|---|---|---|")
    for case in _cases():
        if wanted not in case.name:
            continue
        counts = measure(case)
        served, refused = counts["served"], _sum(counts["refused"], FROM_S, case.seconds)
        share = refused / max(1, refused + _sum(served, FROM_S, case.seconds))
        goal = f"< {case.refused_goal:.0%}" if case.refused_goal else ""
        back = ", ".join(f"{seconds:.1f} s" for seconds in recoveries(case, served))
        print(
            f"| {case.name} | {served_share(case, served):.1%} | {case.served_goal:.0%} | {share:.2%} | {goal} | {back} |",
            flush=True,
        )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
