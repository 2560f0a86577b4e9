"""What runs saved: each leaves a small record of what it reused, which ``promptmill ledger show`` adds up."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.usage import Usage
from udfs.endpoint import Endpoint, Price
from udfs.files import names_in, read_whole, write_whole
from udfs.ledger import LedgerLocation

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Use:
    """What one run had from the ledger: ``<root>/ledger/uses/<run_id>.json``.

    ``reused`` counts calls that other runs had paid for, ``resumed`` those that this run had before it was interrupted;
    tokens and ``cost`` are what all of them would have taken. ``cost`` is ``None`` where no endpoint has a price.
    ``endpoints`` maps the ids that its entries stand under to models' names; ``ended_at`` is in seconds since 1970.
    """

    run_id: str
    name: str
    reused: int
    resumed: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    currency: str | None
    ended_at: float
    endpoints: Mapping[str, str] = field(default_factory=dict)


def record_use(
    ledger: LedgerLocation,
    *,
    run_id: str,
    name: str,
    calls: Mapping[str, int],
    tokens: Mapping[str, int],
    cost: Mapping[str, Any] | None,
    endpoints: Mapping[str, str],
    clock: Callable[[], float] = time.time,
) -> None:
    """Leave what the run ``run_id`` reused; a record of the same run's is replaced.

    ``calls`` has ``reused`` and ``resumed``, ``tokens`` has ``prompt`` and ``completion``, ``cost`` has ``amount`` and
    ``currency``: the saved ones, all. ``endpoints`` maps endpoint ids to models' names. A record that can't be written
    is a warning: it is no more than a record.
    """
    use = Use(
        run_id=run_id,
        name=name,
        reused=calls.get("reused", 0),
        resumed=calls.get("resumed", 0),
        prompt_tokens=tokens.get("prompt", 0),
        completion_tokens=tokens.get("completion", 0),
        cost=float(cost["amount"]) if cost else None,
        currency=str(cost["currency"]) if cost else None,
        ended_at=clock(),
        endpoints=dict(endpoints),
    )
    try:
        record = json.dumps({"format": FORMAT_VERSION, **asdict(use)})
        write_whole(f"{ledger.uses}/{_file_name(run_id)}", record.encode())
    except (OSError, ValueError):
        log.warning("what the ledger saved could not be recorded in %s", ledger.uses, exc_info=True)


def record_savings(
    ledger: LedgerLocation,
    *,
    run_id: str,
    name: str,
    usage: Usage,
    prices: tuple[Price | None, Price | None, Price | None],
    endpoints: Iterable[Endpoint | None],
) -> None:
    """Leave what ``usage`` says that the run ``run_id`` had from the ledger; see :func:`record_use`.

    ``prices`` are those of the target, the judge and the reflection model, ``endpoints`` all that were asked.
    """
    record_use(
        ledger,
        run_id=run_id,
        name=name,
        calls=usage.calls(),
        tokens=usage.saved_token_counts(),
        cost=usage.saved(*prices)["cost"],
        endpoints={endpoint.endpoint_id: endpoint.name for endpoint in endpoints if endpoint},
    )


def recorded_uses(ledger: LedgerLocation) -> list[Use]:
    """Return what runs recorded, oldest first; a record that can't be read is passed over with a warning."""
    found = []
    for name in names_in(ledger.uses):
        if not name.endswith(".json") or name.startswith("."):
            continue
        path = f"{ledger.uses}/{name}"
        try:
            values = json.loads(read_whole(path) or b"")
            if values.pop("format") != FORMAT_VERSION:
                log.warning("%s was written by a later promptmill and is left out", path)
                continue
            found.append(Use(**values))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s can't be read and is left out: %s", path, error)
    return sorted(found, key=lambda use: (use.ended_at, use.run_id))


def _file_name(run_id: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', run_id).lstrip('.')}.json"
