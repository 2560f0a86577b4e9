"""What a command would cost, as it is shown before anything is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs.results import json_text, show_doubts
from jobs.terminal import out

if TYPE_CHECKING:
    from engine.estimate import Estimate


def show_estimate(name: str, estimate: Estimate, *, capped: bool = True, doubts: Sequence[str] = ()) -> None:
    """Print what a run of the optimization ``name`` would cost; ``capped``: the configured budget bounds it.

    ``doubts`` are of the judges: better known before the verdict is paid for.
    """
    from rich.table import Table

    table = Table(title=f"{name}: nothing was called; at the most this would be used", title_justify="left")
    for column in ("endpoint", "calls", "prompt tokens", "completion tokens", "cost"):
        table.add_column(column, justify="left" if column == "endpoint" else "right")
    for part in estimate.parts:
        cost = "no price set" if part.cost_high is None else f"{part.cost_high:,.4f} {estimate.currency}"
        table.add_row(
            part.name,
            f"{part.calls_low:,} to {part.calls_high:,}",
            f"{part.prompt_tokens_high:,}",
            f"{part.completion_tokens_high:,}",
            cost,
        )
    out().print(table)
    if estimate.cost_high is not None:
        hint = "; a budget in the configuration caps it" if capped else ""
        out().print(f"at the most {estimate.cost_high:,.4f} {estimate.currency}{hint}")
    show_doubts(doubts)


def estimate_json(name: str, estimate: Estimate, *, doubts: Sequence[str] = ()) -> dict[str, Any]:
    """Return the estimate as ``--json`` prints it."""
    return {
        "optimization": name,
        "dry_run": True,
        "calls_at_most": estimate.calls_high,
        "tokens_at_most": estimate.tokens_high,
        "cost_at_most": estimate.cost_high,
        "currency": estimate.currency,
        "doubts": list(doubts),
    }


def tell_estimate(
    name: str, estimate: Estimate, *, as_json: bool, capped: bool = True, doubts: Sequence[str] = ()
) -> None:
    """Print the estimate for people or as JSON; see :func:`show_estimate`."""
    if as_json:
        print(json_text(estimate_json(name, estimate, doubts=doubts)))
    else:
        show_estimate(name, estimate, capped=capped, doubts=doubts)
