"""Pieces of the report for a page of somebody else's: a notebook. Each is one element that brings its own style.

Like the report they hold no script and ask nothing of the network, and everything untrusted in them is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from markupsafe import Markup

from engine.comparison import Comparison
from engine.gate_record import Challenge
from engine.playground import Tried
from engine.record import RunRecord
from engine.report import charts, diff
from engine.report.html import INLINE, PARTS, TEMPLATE, context_of, environment, style
from engine.report.summary import summarize

# Notebooks style tables and headings, and old ones have pages in which tables inherit no colour.
_IN_A_NOTEBOOK = """:scope { padding: 4px 16px 16px; }
table { color: inherit; }
header h2 { margin: 4px 0 10px; }
"""

Section = Literal["top", "verdict", "prompt", "holdout", "search"]


def sections(record: RunRecord, *names: Section) -> str:
    """Give sections of a run's report: ``top`` is its outcome and interval, ``prompt`` the diff, ``search`` scores."""
    template = environment().get_template(TEMPLATE)
    # A block that is rendered alone does not see what the template imports at its top.
    macros = {key: value for key, value in vars(environment().get_template(PARTS).module).items() if key[0] != "_"}
    context = template.new_context({**macros, **context_of(record, inline=True)})
    return _element(Markup("").join(Markup("".join(template.blocks[name](context))) for name in names))  # noqa: S704


def overview(records: Iterable[RunRecord]) -> str:
    """Give one line an optimization: status, scores, difference with its interval, URI, cost."""
    return _macro("overview", [(record, summarize(record)) for record in records])


def compared(found: Comparison) -> str:
    """Give the prompts of an evaluation with their scores, the best first."""
    ranked = sorted(found.prompts, key=lambda one: -1.0 if one.score is None else one.score, reverse=True)
    return _macro("compared", found, ranked)


def challenged(found: Challenge, *, needed: float = 0.0) -> str:
    """Give each prompt's verdict with its interval; ``needed`` is ``gate.min_improvement``."""
    drawn = [(one, charts.interval_chart(one.difference, one.interval, needed)) for one in found.prompts]
    return _macro("challenged", found, drawn)


def tried(found: Tried) -> str:
    """Give the answers of the prompts that were tried, row by row."""
    return _macro("tried", found)


def changed(before: str, after: str) -> str:
    """Give the diff of two prompts."""
    lines = diff.diff_lines(before, after)
    return _macro("changed", diff.fold(lines), diff.line_counts(lines))


def facts(title: str, found: Mapping[str, Any]) -> str:
    """Give names with their values."""
    return _macro("facts", title, {name: str(value) for name, value in found.items()})


def _macro(name: str, *arguments: object) -> str:
    made: Markup = getattr(environment().get_template(INLINE).module, name)(*arguments)
    return _element(made)


def _element(body: Markup) -> str:
    """Wrap ``body`` so that its style reaches nothing else on the page, and the page's only its font sizes."""
    return f'<div class="promptmill"><style>{_scoped(str(style()))}</style>{body}</div>'


def _scoped(sheet: str) -> str:
    r"""Bring a sheet that was written for a page of its own to an element.

    >>> _scoped("body { margin: 0; }").splitlines()[:2]
    ['@scope (.promptmill) {', ':scope { margin: 0; }']
    """
    for whole in (":root {", "body {", "main {"):
        sheet = sheet.replace(whole, ":scope {")
    return f"@scope (.promptmill) {{\n{sheet}\n{_IN_A_NOTEBOOK}}}"


def as_text(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    r"""Give a table as text.

    >>> print(as_text(("name", "score"), [("a", "0.5"), ("longer", "1")]))
    name    score
    a       0.5
    longer  1
    """
    table = [tuple(columns), *(tuple(line) for line in lines)]
    widths = [max(len(line[column]) for line in table) for column in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )
