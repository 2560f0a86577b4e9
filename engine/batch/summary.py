"""A batch in numbers: ``summary.json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.batch.line import STATUSES, BatchLine

FORMAT_VERSION = 1
FILE_NAME, PAGE_NAME = "summary.json", "summary.html"


@dataclass(frozen=True)
class BatchSummary:
    """All lines of a batch, in the order of the configuration, and the seconds that this start of it took."""

    batch_id: str
    run_dir: str
    lines: tuple[BatchLine, ...]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """How many came to which status; statuses that none came to are left out."""
        found = Counter(line.status for line in self.lines)
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def costs(self) -> dict[str, float]:
        """What was paid, by currency; empty where no endpoint has a price."""
        return money(self.lines, "cost")

    @property
    def saved(self) -> dict[str, float]:
        """What the ledger saved, by currency."""
        return money(self.lines, "saved_cost")

    @property
    def failed(self) -> list[BatchLine]:
        """Those that failed."""
        return [line for line in self.lines if line.status == "failed"]

    @property
    def unfinished(self) -> list[BatchLine]:
        """Those that the same command with the same run directory would run: without a verdict."""
        return [line for line in self.lines if not line.is_done]

    def as_dict(self) -> dict[str, Any]:
        """Return what stands in ``summary.json``."""
        return {
            "format": FORMAT_VERSION,
            "batch_id": self.batch_id,
            "counts": self.counts,
            "calls": {"made": self.total("calls"), "reused": self.total("reused")},
            "tokens": self.total("tokens"),
            "costs": _amounts(self.costs),
            "saved": _amounts(self.saved),
            "seconds": round(self.seconds, 3),
            "optimizations": [asdict(line) for line in self.lines],
        }

    def total(self, name: str) -> int:
        """Return the sum of a count over all lines."""
        return sum(getattr(line, name) for line in self.lines)

    def write(self) -> Path:
        """Write ``summary.json`` into the batch's folder; return its path."""
        path = Path(self.run_dir) / FILE_NAME
        path.write_text(json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return path


def money(lines: Iterable[BatchLine], name: str) -> dict[str, float]:
    """Add up the amounts under ``name``, by currency.

    >>> priced = [BatchLine("a", "kept", "a", cost=0.1, currency="USD"), BatchLine("b", "kept", "b")]
    >>> money(priced, "cost")
    {'USD': 0.1}
    """
    found: dict[str, float] = {}
    for line in lines:
        amount = getattr(line, name)
        if amount is not None and line.currency:
            found[line.currency] = round(found.get(line.currency, 0.0) + amount, 6)
    return found


def by_name(lines: Iterable[BatchLine], order: Sequence[str]) -> tuple[BatchLine, ...]:
    """Return the lines in the order of their names in ``order``."""
    place = {name: number for number, name in enumerate(order)}
    return tuple(sorted(lines, key=lambda line: place[line.name]))


def _amounts(costs: dict[str, float]) -> list[dict[str, Any]]:
    return [{"amount": amount, "currency": currency} for currency, amount in costs.items()]
