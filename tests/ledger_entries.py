"""Ledger entries for tests, and a worker that keeps them."""

import asyncio

from udfs.ledger import Entry, SegmentLedger


def entry(number=0, *, kind="answer", **changes):
    values = {
        "key": f"k{number}",
        "kind": kind,
        "endpoint_id": "e",
        "candidate_id": "c",
        "row_id": "r",
        "sample": 0,
        "output": f"answer {number}",
        "error_kind": None,
        "error_message": None,
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "latency_ms": 1.5,
        "attempts": 1,
        "run_id": "run",
        "answered_at": 1.0,
    }
    return Entry(**values | changes)


def keep(location, entries, *, writer="w", **options):
    """Keep entries as a worker does, and close."""

    async def work():
        ledger = SegmentLedger(location, writer, **options)
        for one in entries:
            ledger.keep(one)
        await ledger.close()

    asyncio.run(work())
