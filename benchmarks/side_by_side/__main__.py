"""Run promptmill and its peers side by side: ``python -m benchmarks.side_by_side``.

Every run is kept in a JSON file, where a later run of the same system and setting takes the place of the earlier; the
section of docs/benchmarks.md is made of all that the file holds. So a part can be measured again by itself.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.measure import TABLES, Measured, Plan, install, measure
from benchmarks.side_by_side.systems import SYSTEMS
from benchmarks.side_by_side.table import section, write_section
from benchmarks.system_process import ROOT


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side_by_side", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a system, by part of its name; may be repeated")
    parser.add_argument("--table", action="append", choices=TABLES, help="only this table; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: to try things out, not to publish")
    parser.add_argument("--minutes", type=float, default=25.0, help="start no run that may end later (default 25)")
    parser.add_argument("--timeout", type=float, default=75.0, help="seconds for a run (default 75)")
    parser.add_argument("--cache", type=Path, default=ROOT / ".benchmarks", help="environments and working folders")
    parser.add_argument("--results", type=Path, help="the JSON file (default: side_by_side.json in the cache)")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "benchmarks.md", help="the page to write into")
    parser.add_argument("--fresh", action="store_true", help="forget what the JSON file holds")
    parser.add_argument("--no-docs", action="store_true", help="print the section instead of writing it")
    parser.add_argument("--install", action="store_true", help="make the environments and measure nothing")
    asked = parser.parse_args()
    chosen = [s for s in SYSTEMS if not asked.only or any(part.lower() in s.name.lower() for part in asked.only)]
    if not chosen:
        parser.error(f"no system has any of {asked.only} in its name; there are {', '.join(s.name for s in SYSTEMS)}")
    cache = asked.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    kept = asked.results or cache / ("side_by_side_quick.json" if asked.quick else "side_by_side.json")
    lines: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() and not asked.fresh else []
    # A run that starts just before the deadline may still need its start-up and its time.
    deadline = time.monotonic() + asked.minutes * 60 - 2 * asked.timeout
    plan = Plan(chosen, asked.table or TABLES, cache, asked.quick, deadline, asked.timeout)
    # Ended politely, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.install:
        install(plan)
        return
    for line in measure(plan):
        lines = _with(lines, line)
        kept.write_text(json.dumps(lines, indent=1))
    text = section(lines)
    if asked.no_docs or asked.quick:
        print(f"\n{text}")
    else:
        write_section(asked.docs, text)
        print(f"wrote {asked.docs}; every run is in {kept}")


def _with(lines: list[dict[str, Any]], line: Measured) -> list[dict[str, Any]]:
    """Put a line in the place of its forerunner, and lines in the order of the systems."""
    new = line.as_data()
    key = ("table", "system", "setting", "loss")
    known = {tuple(old[name] for name in key): old for old in lines}
    known[tuple(new[name] for name in key)] = new
    order = {system.name: number for number, system in enumerate(SYSTEMS)}
    return sorted(known.values(), key=lambda one: (TABLES.index(one["table"]), order.get(one["system"], len(order))))


if __name__ == "__main__":
    main()
