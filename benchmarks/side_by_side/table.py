"""The section of docs/benchmarks.md: tables made of the lines that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.systems import BARE, PROMPTMILL, QUOTA, SPARK_LLM_EVAL

BEGIN = "<!-- BEGIN side by side: written by `python -m benchmarks.side_by_side`, do not edit -->"
END = "<!-- END side by side -->"

Line = Mapping[str, Any]


def write_section(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put ``text`` between the markers in the file at ``path``; all else stays. Without markers it goes to the end."""
    before = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    if begin in before and end in before:
        head, rest = before.split(begin, 1)
        tail = rest.split(end, 1)[1]
    else:
        head, tail = f"{before.rstrip()}\n\n", "\n"
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def section(lines: Sequence[Line]) -> str:
    """Return the whole section."""
    speed = [line for line in lines if line["table"] == "speed"]
    parts = [_goals(speed), _speed(speed)]
    parts += [_quota([line for line in lines if line["table"] == "quota"])]
    parts += [_loss([line for line in lines if line["table"] == "loss"])]
    parts += [_about(lines)]
    return "\n\n".join(part for part in parts if part)


def _goals(speed: Sequence[Line]) -> str:
    """Say how the goals stand, as far as what they need was measured."""
    ours, bare = _best(speed, PROMPTMILL.name), _best(speed, BARE.name)
    if ours is None:
        return ""
    said = []
    peers = [line for line in speed if line["system"] not in {PROMPTMILL.name, BARE.name} and _counts(line)]
    if peers:
        best = max(peers, key=_rate)
        said.append(
            f"{_times(ours, best)} times the best peer at its best setting ({best['system']}, {best['setting']}); "
            "goal: 5"
        )
    other = [line for line in peers if line["system"] == SPARK_LLM_EVAL.name]
    if other:
        first, best = min(other, key=_rate), max(other, key=_rate)
        said.append(
            f"{_times(ours, first)} times the only other Spark evaluator as it comes, {_times(ours, best)} times at "
            "its best setting; goal: 100"
        )
    single = [line for line in speed if line["system"] == BARE.name and line["default"] and _counts(line)]
    if bare and single:
        said.append(f"{_rate(ours) / _rate(single[0]):.2f} of one bare aiohttp loop; goal: 0.75")
    return f"promptmill at its best setting ({_rate(ours):,.0f} rows/s) is\n" + "\n".join(f"- {one}" for one in said)


def _speed(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    ours = _best(lines, PROMPTMILL.name)
    head = (
        "### As fast as it goes\n\n"
        "| system | setting | rows | s | rows/s | promptmill's best is | calls a row | start-up, s |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|\n"
    )
    return head + "\n".join(
        _failed(line, 8)
        or "| {} | {} | {:,} | {:.1f} | {:,.1f} | {} | {:.2f} | {:.1f} |".format(
            line["system"],
            line["setting"] + _default(line),
            line["run"]["rows"],
            line["run"]["seconds"],
            _rate(line),
            f"{_times(ours, line)} x" if ours and line["system"] != BARE.name else "",
            line["run"]["counters"]["calls"] / line["run"]["rows"],
            line["run"]["start_up_s"],
        )
        + _wrong(line)
        for line in lines
    )


def _quota(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    head = (
        f"### Under a quota of {QUOTA} requests/s, refused with 429 above it\n\n"
        "| system | setting | rows | s | of the quota | from 5 s on | refused | of calls | wasted | unscored |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    return head + "\n".join(
        _failed(line, 10)
        or "| {} | {} | {:,} | {:.1f} | {:.0%} | {} | {:,} | {:.1%} | {} | {} |".format(
            line["system"],
            line["setting"] + _default(line),
            line["run"]["rows"],
            line["run"]["seconds"],
            line["run"]["scored"] / line["run"]["seconds"] / QUOTA,
            _settled(line["run"]["counters"]["begun_by_second"]),
            line["run"]["counters"]["refused"],
            line["run"]["counters"]["refused"] / line["run"]["counters"]["calls"],
            line["run"]["counters"]["wasted"],
            line["run"]["rows"] - line["run"]["scored"],
        )
        for line in lines
    )


def _loss(lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    head = (
        "### With a loss half way: `kill -9`\n\n"
        "| system | setting | killed | went on | s | calls paid twice | answered twice | of its rows | scores |\n"
        "|---|---|---|---|--:|--:|--:|--:|---|\n"
    )
    return head + "\n".join(
        _failed(line, 9)
        or "| {} | {} | {} | {} | {:.1f} | {:,} | {:,} | {:.1%} | {} |".format(
            line["system"],
            line["setting"],
            line["run"]["killed"] or "nothing: it ended before",
            "started again by hand" if line["run"]["restarts"] else "by itself",
            line["run"]["seconds"],
            line["run"]["counters"]["paid_twice"],
            line["run"]["counters"]["answered_twice"],
            line["run"]["counters"]["paid_twice"] / line["run"]["rows"],
            "right" if line["right"] else f"{line['run']['rows'] - line['run']['scored']} rows unscored",
        )
        for line in lines
    )


def _about(lines: Sequence[Line]) -> str:
    """Say with what and when it was measured."""
    versions: dict[str, str] = {}
    for line in lines:
        found = {name: version for name, version in line["run"]["versions"].items() if version != "none"}
        if found:
            versions[line["system"]] = ", ".join(f"{name} {version}" for name, version in found.items())
    dates = sorted({line["measured_at"][:10] for line in lines})
    loads = [line["load_average"] for line in lines if line["run"]["seconds"]]
    notes = {line["system"]: line["note"] for line in lines if line["note"]}
    calls = sum(line["run"]["counters"].get("calls", 0) for line in lines)
    cpu_s = sum(line["run"]["counters"].get("cpu_s", 0.0) for line in lines)
    said = [f"Measured {dates[0]}{' to ' + dates[-1] if len(dates) > 1 else ''}"] if dates else []
    if loads:
        said.append(f"load average before a run {min(loads):.1f} to {max(loads):.1f}")
    if calls:
        said.append(f"the endpoint used {cpu_s / calls * 1e6:.0f} µs of CPU a call")
    listed = [f"- {system}: {found}" for system, found in versions.items()]
    listed += [f"- {system}: {note}" for system, note in notes.items()]
    return "; ".join(said) + ".\n\n" + "\n".join(listed)


def _best(lines: Sequence[Line], system: str) -> Line | None:
    found = [line for line in lines if line["system"] == system and _counts(line)]
    return max(found, key=_rate) if found else None


def _counts(line: Line) -> bool:
    return not line["run"]["error"] and bool(line["right"])


def _rate(line: Line) -> float:
    rate: float = line["rows_per_s"]
    return rate


def _times(ours: Line, other: Line) -> str:
    times = _rate(ours) / _rate(other) if _rate(other) else float("inf")
    return f"{times:.0f}" if times >= 20 else f"{times:.1f}"


def _default(line: Line) -> str:
    return " (default)" if line["default"] else ""


def _settled(begun: Sequence[int]) -> str:
    """Return the share of the quota that was used from 5 s on to the last whole second."""
    settled = begun[5:-1]
    return f"{sum(settled) / len(settled) / QUOTA:.0%}" if settled else "too short"


def _failed(line: Line, columns: int) -> str:
    """Return the line of a run that has no result, empty for one that has."""
    error = line["run"]["error"]
    if not error:
        return ""
    answered = line["run"]["counters"].get("answered", 0)
    done = f"; {answered:,} of {line['run']['rows']:,} calls were answered by then" if answered else ""
    cells = [line["system"], line["setting"] + _default(line), f"{error}{done}".replace("|", "/")]
    return "| " + " | ".join(cells) + " |" + " |" * (columns - len(cells))


def _wrong(line: Line) -> str:
    if line["right"]:
        return ""
    missing = line["run"]["rows"] - line["run"]["scored"]
    return f" {missing} rows unscored: does not count |" if missing else " scores are wrong: does not count |"
