"""The page of a batch: counts, costs, and one line for each optimization, with links to their reports.

It sorts and filters without a script: radio buttons, and ranks that the style sheet orders the lines by.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from engine.report import words
from engine.report.html import STYLE, finalize
from engine.report.summary import STATUS_WORDS

if TYPE_CHECKING:
    from engine.batch.line import BatchLine
    from engine.batch.summary import BatchSummary

TEMPLATE, BATCH_STYLE = "batch.html.j2", "batch.css"
_WORDS = {status: word for status, (word, _) in STATUS_WORDS.items()} | {
    "interrupted": "Interrupted",
    "not_started": "Not started",
}
# Reasons are sentences; a failure's message may be a page long.
_REASON_CHARACTERS = 400


def write_batch_page(summary: BatchSummary, path: str | Path) -> Path:
    """Write the page to ``path``; return the path.

    Raises:
        OSError: the file can't be written.
    """
    found = Path(path)
    found.write_text(render_batch_page(summary), encoding="utf-8", errors="replace")
    return found


def render_batch_page(summary: BatchSummary) -> str:
    """Give the page as one self-contained HTML document; the same summary gives the same text."""
    lines = summary.lines
    statuses = list(summary.counts)
    ranks = {
        "name": _ranks(lines, lambda line: line.name.casefold()),
        "status": _ranks(lines, lambda line: (statuses.index(line.status), -(line.difference or 0.0))),
        "gain": _ranks(lines, lambda line: (line.difference is None, -(line.difference or 0.0))),
        "cost": _ranks(lines, lambda line: (line.cost is None, -(line.cost or 0.0), -line.calls)),
    }
    context: dict[str, Any] = {
        "summary": summary,
        "style": Markup(_source(STYLE) + _source(BATCH_STYLE)),  # noqa: S704 - our own style sheets
        "statuses": [(status, _WORDS[status], count) for status, count in summary.counts.items()],
        "words": _WORDS,
        "lines": [(line, {name: found[line.name] for name, found in ranks.items()}) for line in lines],
        "costs": _money(summary.costs),
        "saved": _money(summary.saved),
        "verdict": "failed" if summary.failed else "promoted" if summary.counts.get("promoted") else "",
    }
    return _environment().get_template(TEMPLATE).render(context)


def _ranks(lines: tuple[BatchLine, ...], key: Callable[[BatchLine], Any]) -> dict[str, int]:
    return {line.name: number for number, line in enumerate(sorted(lines, key=key))}


def _money(amounts: dict[str, float]) -> str:
    return ", ".join(words.money({"amount": value, "currency": name}) for name, value in amounts.items())


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
        loader=DictLoader({TEMPLATE: _source(TEMPLATE)}),
    )
    environment.filters |= {
        "change": words.change,
        "change_sign": words.change_sign,
        "count": words.count,
        "duration": words.duration,
        "money": words.money,
        "score": words.score,
        "link": lambda text: quote(text, safe=""),
        "brief": lambda text: text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]}…",
    }
    return environment
