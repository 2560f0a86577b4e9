"""What every command prints of a result: what it took, what is doubtful about its judges, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.terminal import out


def show_bill(
    calls: Mapping[str, int], tokens: Mapping[str, int], cost: Mapping[str, Any] | None, *, seconds: float
) -> None:
    """Print calls, tokens, money and time."""
    money = "" if cost is None else f", {cost['amount']:.4f} {cost['currency']}"
    out().print(
        f"  {calls['made']:,} calls ({calls['reused']:,} more answered by the ledger), "
        f"{tokens['prompt'] + tokens['completion']:,} tokens{money}, {seconds:.0f} s"
    )


def show_doubts(doubts: Sequence[str]) -> None:
    """Print what is not known, or known to be bad, of the judges."""
    from rich.text import Text

    for doubt in doubts:
        out().print(Text(f"  WARNING {doubt}", style="yellow"))


def json_text(found: Any) -> str:
    """Return a result as ``--json`` prints it."""
    return json.dumps(found, indent=2, ensure_ascii=False)
