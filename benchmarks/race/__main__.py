"""What a race on the holdout asks, against scoring everything, and how often it is right.

``python -m benchmarks.race [--races N] [--small]`` prints the tables of ``docs/benchmarks.md``. No endpoint and no
Spark: rows are drawn at known rates, and the engine's own race decides over them.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from engine.statistics import Differences
from engine.verdict.claims import Claim, Level
from engine.verdict.race import Answer, Look, Race, look_sizes

ALPHA = 0.05
WORTHWHILE = 0.01
VALUES = np.array([1.0, -1.0, 0.0])


@dataclass(frozen=True)
class World:
    """A holdout of so many rows, on which the new prompt differs on a share of rows and gains so much on the whole."""

    rows: int
    differing: float
    gain: float


@dataclass(frozen=True)
class Measured:
    """Shares: of rows asked, and of races by answer; ``fixed`` of tests over all rows that would have promoted."""

    asked: float
    answers: Counter[Answer]
    fixed: float


def measure(world: World, races: int) -> Measured:
    """Run so many races of one candidate, each beside one test over all rows; deterministic."""
    rng = np.random.default_rng([world.rows, int(1000 * world.differing), int(1000 * world.gain)])
    won, lost = (world.differing + world.gain) / 2, (world.differing - world.gain) / 2
    chances = np.array([won, lost, 1 - won - lost])
    asked, answers, fixed = 0, Counter[Answer](), 0
    sizes = look_sizes(world.rows)
    for seed in range(races):
        rounds = [rng.multinomial(size, chances) for size in np.diff(sizes, prepend=0)]
        answer, rows = _race(rounds, sizes, seed)
        asked += rows
        answers[answer] += 1
        whole = Claim(_differences(np.sum(rounds, axis=0)), 0.0)
        fixed += Level(ALPHA, seed=seed).p_value(whole, last=True) <= ALPHA
    return Measured(asked / races / world.rows, answers, fixed / races)


def least_asked(world: World, power: float) -> float:
    """Return the share of the rows that any test of this error and power asks at least, on average.

    Wald's bound (Sequential Analysis, 1947, appendix A.7): the information that the decision holds, over that of a row
    about the likeliest world without a gain, in which as many rows differ. It holds for tests that know both worlds.

    >>> round(least_asked(World(1000, 0.2, 0.05), 0.9), 2)
    0.38
    """
    won, lost = (world.differing + world.gain) / 2, (world.differing - world.gain) / 2
    information = rel_entr(won, world.differing / 2) + rel_entr(lost, world.differing / 2)
    decided = rel_entr(power, ALPHA) + rel_entr(1 - power, 1 - ALPHA)
    return min(1.0, float(decided / information / world.rows)) if information and power > ALPHA else 0.0


def _race(rounds: list[NDArray[np.int64]], sizes: list[int], seed: int) -> tuple[Answer, int]:
    race = Race(["c1"], Level(ALPHA, len(sizes), seed=seed), planned_rows=sizes[-1])
    counts = np.zeros(3, dtype=np.int64)
    for drawn, size in zip(rounds, sizes, strict=True):
        counts = counts + drawn
        claim = Claim(_differences(counts), 0.0, WORTHWHILE)
        standing = race.after(Look(size, {"c1": claim.differences.mean}, {"c1": [claim]}, last=size == sizes[-1]))
        if standing.answer is not None:
            return standing.answer, size
    raise AssertionError("a last look has an answer")


def _differences(counts: NDArray[np.int64]) -> Differences:
    return Differences(VALUES, np.ones(3), counts)


def worlds(*, small: bool) -> Iterator[World]:
    """The grid, in the order of the table."""
    for rows in (1000, 10_000) if small else (1000, 10_000, 100_000):
        for differing in (0.1, 0.2, 0.4):
            for gain in (0.0, 0.01, 0.02, 0.05, 0.1, 0.2):
                if gain <= differing:
                    yield World(rows, differing, gain)


def main() -> None:
    """Print the table, a line a holdout size and share of differing rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=400, help="races a cell")
    parser.add_argument("--small", action="store_true", help="leave out the largest holdouts")
    options = parser.parse_args()
    started = time.monotonic()
    print(f"{options.races} races a cell, alpha {ALPHA}: asked = calls made of those that scoring everything makes;")
    print("least = what any test of the same error and power asks, on average (Wald's bound);")
    print("promoted (by one test over all rows), kept, more data = shares of races\n")
    print(
        "| holdout | rows that differ | gain | asked | least | promoted | one test over all rows | kept | more data |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for world in worlds(small=options.small):
        found = measure(world, options.races)
        shares = {answer: found.answers[answer] / options.races for answer in Answer}
        print(
            f"| {world.rows:,} | {world.differing:.0%} | {100 * world.gain:g} | {found.asked:.1%} "
            f"| {least_asked(world, shares[Answer.PROMOTE]):.1%} "
            f"| {shares[Answer.PROMOTE]:.3f} | {found.fixed:.3f} | {shares[Answer.KEEP]:.3f} "
            f"| {shares[Answer.NEED_MORE_DATA]:.3f} |",
            flush=True,
        )
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
