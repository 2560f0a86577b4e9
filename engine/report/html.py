"""The report as one HTML page. Prompts, outputs and messages are untrusted: everything written is escaped by jinja2,
the page holds no script, and its content policy forbids any request.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from engine.record import CandidateLine, PartLine, RunRecord
from engine.report import charts, diff, words
from engine.report.race_chart import race_chart
from engine.report.summary import section, summarize
from engine.report.tree import REFUSED, tree_chart
from engine.report.verdict import verdict_page

TEMPLATE, PARTS, INLINE, STYLE = "report.html.j2", "parts.html.j2", "inline.html.j2", "report.css"
# What the template asks of result.json beside the summary; a failed run may lack any of it.
RESULT_KEYS = ("holdout", "steps", "candidates", "ended", "ended_because", "proposers", "cost", "seconds")
# A few such texts are still a page that opens at once; record.json has them whole.
MAX_TEXT_CHARS = 20_000
MAX_OPEN_CHARS, MAX_OPEN_LINES, PREVIEW_CHARS = 320, 10, 160
# Above this, refused candidates go under a fold so that the accepted ones fit on a screen or two.
MAX_OPEN_CANDIDATES = 40


def write_report(record: RunRecord, path: str | Path) -> Path:
    """Write the report to ``path``, making its folder; return the path.

    Raises:
        OSError: the file can't be written.
    """
    found = Path(path)
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(render_report(record), encoding="utf-8", errors="replace")
    return found


def render_report(record: RunRecord) -> str:
    """Give the report as one self-contained HTML document; the same record gives the same text.

    Sections and numbers that the record lacks are left out or said to be missing. Fields have their declared types.
    """
    return environment().get_template(TEMPLATE).render(context_of(record))


def context_of(record: RunRecord, *, inline: bool = False) -> dict[str, Any]:
    """Give what the template asks for; ``inline`` where its sections stand on a page of somebody else's."""
    summary = summarize(record)
    result: dict[str, Any] = dict.fromkeys(RESULT_KEYS) | dict(record.result)
    winner = summary.winner.label if summary.winner else None
    shown, folded = _split_candidates(record.candidates, winner)
    return {
        "inline": inline,
        "record": record,
        "result": result,
        "summary": summary,
        "winner": winner,
        "style": style(),
        "interval": ""
        if summary.unchanged
        else charts.interval_chart(summary.difference, summary.interval, summary.needed),
        "verdict": verdict_page(record),
        "race": race_chart(record.looks, summary.needed),
        "scores": charts.score_chart(record.steps, record.candidates, winner),
        "tree": tree_chart(record.candidates, winner),
        "parts": _parts(record),
        "candidates": shown,
        "folded_candidates": folded,
        "row_tables": _row_tables(record),
        "calls": section(result, "calls"),
        "tokens": section(result, "tokens"),
        "settings": list(words.flat(record.settings)),
    }


def _split_candidates(
    candidates: tuple[CandidateLine, ...], winner: str | None
) -> tuple[list[CandidateLine], list[CandidateLine]]:
    """Give the candidates to show openly and those to fold away."""
    if len(candidates) <= MAX_OPEN_CANDIDATES:
        return list(candidates), []
    folded = [c for c in candidates if c.status in REFUSED and c.label != winner]
    hidden = {c.label for c in folded}
    return [c for c in candidates if c.label not in hidden], folded


def _parts(record: RunRecord) -> list[dict[str, Any]]:
    """Give each prompt before and after; one without a name where there is one only."""
    parts = record.parts or (PartLine("", record.seed_text, record.best_text),)
    found = []
    for part in parts:
        lines = diff.diff_lines(part.seed_text, part.best_text)
        found.append({"part": part, "runs": diff.fold(lines), "line_counts": diff.line_counts(lines)})
    return found


def _row_tables(record: RunRecord) -> list[dict[str, Any]]:
    """Give the holdout's tables in reading order: losses before wins."""
    return [
        {
            "title": "Lost rows",
            "rows": record.lost_rows,
            "total": record.lost_count,
            "about": "the seed prompt did better than the best one",
        },
        {
            "title": "Lowest-scored rows",
            "rows": record.worst_rows,
            "total": None,
            "about": "the best prompt is still furthest from the expected answer",
        },
        {
            "title": "Won rows",
            "rows": record.won_rows,
            "total": record.won_count,
            "about": "the best prompt did better than the seed prompt",
        },
    ]


def style() -> Markup:
    """Give the style sheet."""
    return Markup(_source(STYLE))  # noqa: S704 - our own file


def _source(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def environment() -> Environment:
    """Give the templates with their filters: everything written is escaped."""
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
        loader=DictLoader({name: _source(name) for name in (TEMPLATE, PARTS, INLINE)}),
    )
    made.filters |= {
        "change": words.change,
        "change_sign": words.change_sign,
        "count": words.count,
        "duration": words.duration,
        "json_fields": words.json_fields,
        "messages": words.messages,
        "money": words.money,
        "percent": words.percent,
        "score": words.score,
        "clip": _clip,
        "is_long": _is_long,
        "is_role": lambda text: words.ROLE_LINE.fullmatch(text) is not None,
    }
    made.globals |= {"preview_chars": PREVIEW_CHARS, "slice_chart": charts.slice_chart, "gap": words.gap}
    return made


def finalize(value: Any) -> Any:
    """Make hidden characters of every plain text that the template writes visible; markup of ours passes."""
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clip(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARS:
        return text
    return f"{text[:MAX_TEXT_CHARS]}\n… {len(text) - MAX_TEXT_CHARS:,} more characters stand in record.json"


def _is_long(text: str) -> bool:
    return len(text) > MAX_OPEN_CHARS or text.count("\n") >= MAX_OPEN_LINES
