"""What a ledger holds and what it saved: the facts behind ``promptmill ledger show``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.ledger_uses import Use, recorded_uses
from udfs.endpoint import Endpoint
from udfs.ledger import LedgerLocation

_COLUMNS = ("kind", "endpoint_id", "error_kind", "prompt_tokens", "completion_tokens", "answered_at")


@dataclass
class EndpointContents:
    """What the ledger has of one endpoint. ``model`` is ``None`` where no run recorded its name; mutated by counting.

    ``failures`` are the prompts' own: content filter and context length. They are not among ``answers``.
    """

    endpoint_id: str
    model: str | None
    answers: int = 0
    failures: int = 0
    verdicts: int = 0
    reflections: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def count(self, kind: str, failed: int, number: int) -> None:
        """Add so many entries of a kind, ``failed`` of them failures."""
        if kind == "answer":
            self.answers += number - failed
            self.failures += failed
        elif kind == "verdict":
            self.verdicts += number
        else:
            self.reflections += number


@dataclass(frozen=True)
class Saved:
    """What all runs together had from the ledger instead of paying for it; ``cost`` is by currency."""

    runs: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: Mapping[str, float]


@dataclass(frozen=True)
class LedgerContents:
    """A ledger's contents. Times are in seconds since 1970, ``None`` in an empty ledger; ``damaged`` maps names to why.

    ``superseded`` segments have been merged into others; ``promptmill ledger compact`` removes them after a day.
    """

    folder: str
    endpoints: tuple[EndpointContents, ...]
    segments: int
    bytes: int
    superseded: int
    superseded_bytes: int
    damaged: Mapping[str, str]
    oldest: float | None
    newest: float | None
    saved: Saved

    def to_dict(self) -> dict[str, Any]:
        """Return it as it stands in the JSON of ``promptmill ledger show --json``."""
        return {"format": 1, **asdict(self)}


def ledger_contents(ledger: LedgerLocation, configured: Iterable[Endpoint] = ()) -> LedgerContents:
    """Count what the ledger holds; ``configured`` endpoints lend their names. A pair paid for twice counts twice.

    Raises:
        LedgerError: a later promptmill wrote into it.
    """
    uses = recorded_uses(ledger)
    names = {key: name for use in uses for key, name in use.endpoints.items()}
    names |= {endpoint.endpoint_id: endpoint.name for endpoint in configured}
    endpoints: dict[str, EndpointContents] = {}
    times: list[float] = []
    for table in ledger.tables(_COLUMNS):
        _count(table, endpoints, names)
        times += [value for value in pc.min_max(table["answered_at"]).as_py().values() if value is not None]
    listing = ledger.listing()
    old = [listing.present[name] for name in listing.superseded if name in listing.present]
    return LedgerContents(
        folder=ledger.folder,
        endpoints=tuple(sorted(endpoints.values(), key=lambda e: (e.model or "~", e.endpoint_id))),
        segments=len(listing.live),
        bytes=sum(segment.size for segment in listing.live),
        superseded=len(old),
        superseded_bytes=sum(segment.size for segment in old),
        damaged=dict(listing.damaged),
        oldest=min(times, default=None),
        newest=max(times, default=None),
        saved=_saved(uses),
    )


def _count(table: pa.Table, endpoints: dict[str, EndpointContents], names: Mapping[str, str]) -> None:
    sums = table.group_by(["endpoint_id", "kind"]).aggregate(
        [
            ("answered_at", "count"),
            ("error_kind", "count"),
            ("prompt_tokens", "sum"),
            ("completion_tokens", "sum"),
        ]
    )
    for line in sums.to_pylist():
        key = line["endpoint_id"]
        found = endpoints.setdefault(key, EndpointContents(key, names.get(key)))
        found.count(line["kind"], line["error_kind_count"], line["answered_at_count"])
        found.prompt_tokens += line["prompt_tokens_sum"] or 0
        found.completion_tokens += line["completion_tokens_sum"] or 0


def _saved(uses: Iterable[Use]) -> Saved:
    uses = list(uses)
    cost: dict[str, float] = {}
    for use in uses:
        if use.cost is not None and use.currency is not None:
            cost[use.currency] = round(cost.get(use.currency, 0.0) + use.cost, 6)
    return Saved(
        runs=len(uses),
        calls=sum(use.reused + use.resumed for use in uses),
        prompt_tokens=sum(use.prompt_tokens for use in uses),
        completion_tokens=sum(use.completion_tokens for use in uses),
        cost=cost,
    )
