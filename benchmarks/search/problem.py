"""What is to be solved: a synthetic world, or a real task whose rows stand in a file.

Only the standard library is used, because every system's environment runs this.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.search.world import FAMILIES, SEED_INSTRUCTION, World, note, right_answer


@dataclass(frozen=True)
class Problem:
    """Rows by number, each with a ``text`` and the answer that is ``expected``; and the prompt to begin with.

    ``quality`` is a prompt's true quality, exact in a world; None where it has to be measured on ``holdout`` rows.
    """

    seed_instruction: str
    text: Callable[[int], str]
    expected: Callable[[int], str]
    judged: bool = False
    quality: Callable[[str], float] | None = None
    holdout: range = range(0)

    @property
    def seed_template(self) -> str:
        """The seed prompt with the row's place in it."""
        return f"{self.seed_instruction}\n\nNote: {{{{note}}}}"


def of_world(family: str, number: int) -> Problem:
    """Return a world as a problem."""
    world = World(FAMILIES[family], number)
    return Problem(SEED_INSTRUCTION, note, right_answer, world.family.judge_errors is not None, world.quality)


def of_file(path: Path, number: int, train: int, val: int) -> Problem:
    """Return a real task; ``number`` shuffles its rows, and what comes after train and val is the holdout."""
    found = json.loads(path.read_text("utf-8"))
    rows = list(found["rows"])
    random.Random(f"rows-{number}").shuffle(rows)
    if len(rows) <= train + val:
        raise ValueError(f"{path} has {len(rows)} rows, too few for {train} training and {val} val rows and a holdout")
    last = min(len(rows), train + val + found["holdout"])
    return Problem(
        found["seed_instruction"],
        functools.partial(_cell, rows, "text"),
        functools.partial(_cell, rows, "expected"),
        holdout=range(train + val, last),
    )


def _cell(rows: list[dict[str, str]], key: str, row: int) -> str:
    return rows[row][key]
