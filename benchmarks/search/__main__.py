"""Compare searches in synthetic worlds whose best prompts are known: ``python -m benchmarks.search``.

Every search is kept in a JSON file, where a later one of the same system, world and budget takes the place of the
earlier; the tables and plots are made of all that the file holds.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.search.measure import Line, Plan, measure, tasks_folder
from benchmarks.search.plots import plot_calls, plot_seconds
from benchmarks.search.real import TASKS, write_tasks
from benchmarks.search.systems import BASELINE, PROMPTMILL, SYSTEMS
from benchmarks.search.table import PLACES, section, split
from benchmarks.search.world import FAMILIES
from benchmarks.side_by_side.table import write_section
from benchmarks.system_process import ROOT
from engine.local_model import LocalModelProcess

_SYNTHETIC = {"seeds": 20, "budget": 2000, "train": 120, "val": 100}
# The 0.5B model answers about two requests a second on two cores, so that such a search takes some ten minutes.
_REAL = {"seeds": 2, "budget": 400, "train": 50, "val": 40, "timeout": 7200.0}
_REAL_SYSTEMS = (PROMPTMILL.name, BASELINE.name)
_MODELS = {"target": "qwen2.5-coder-0.5b", "reflection": "qwen2.5-coder-1.5b"}
_KEY = ("system", "family", "number", "budget", "train", "val", "median_ms")


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="a system, by its name; may be repeated")
    parser.add_argument(
        "--family", action="append", choices=[*FAMILIES, *TASKS], help="only this family; may be repeated"
    )
    parser.add_argument("--real", action="store_true", help="two real tasks on local models instead of worlds")
    parser.add_argument("--seeds", type=int, help="worlds of each family (default 20; real tasks: 2)")
    parser.add_argument("--first", type=int, default=0, help="number of the first world (default 0)")
    parser.add_argument("--budget", type=int, help="metric calls a search (default 2000; real tasks: 400)")
    parser.add_argument("--train", type=int, help="training rows (default 120; real tasks: 50)")
    parser.add_argument("--val", type=int, help="val rows (default 100; real tasks: 40)")
    parser.add_argument(
        "--latency", type=float, default=0.0, help="median latency, ms; above 0 the time of single searches is measured"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a search setting of promptmill"
    )
    parser.add_argument("--timeout", type=float, default=900.0, help="longest wait for a search, seconds")
    parser.add_argument("--cache", type=Path, default=ROOT / ".benchmarks", help="environments and working folders")
    parser.add_argument("--results", type=Path, help="the JSON file (default: search.json in the cache)")
    parser.add_argument("--docs", type=Path, help="write the section into this page, and plots beside it")
    parser.add_argument("--show", action="store_true", help="measure nothing, make the tables of what is kept")
    parser.add_argument("--label", default="", help="keep promptmill's searches under this name beside the others")
    asked = parser.parse_args()
    parser.set_defaults(**_REAL if asked.real else _SYNTHETIC)
    asked = parser.parse_args()
    names = [system.name for system in SYSTEMS]
    if unknown := [name for name in asked.only if name not in names]:
        parser.error(f"no system is called {unknown[0]!r}; there are: {'; '.join(names)}")
    cache = asked.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    kept = asked.results or cache / "search.json"
    lines: list[Line] = json.loads(kept.read_text()) if kept.exists() else []
    plan = Plan(
        [system for system in SYSTEMS if system.name in (asked.only or (_REAL_SYSTEMS if asked.real else names))],
        asked.family or list(TASKS if asked.real else FAMILIES),
        range(asked.first, asked.first + asked.seeds),
        asked.budget,
        asked.train,
        asked.val,
        asked.latency,
        cache,
        asked.timeout,
        {"search": {key: json.loads(value) for key, _, value in (one.partition("=") for one in asked.set)}},
    )
    # Ended politely, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for line in () if asked.show else _measured(plan, real=asked.real):
        if asked.label and line["system"] == "promptmill":
            line["system"] = f"promptmill, {asked.label}"
        lines = [old for old in lines if _key(old) != _key(line)] + [line]
        kept.write_text(json.dumps(lines))
    shown = [line for line in lines if (line["family"] in TASKS) == asked.real]
    text = section(shown, asked.budget)
    if asked.docs is None:
        print(f"\n{text}")
        return
    write_section(asked.docs, text, *PLACES[asked.real])
    quality, timed = split([line for line in shown if line["budget"] == asked.budget])
    plot_calls(quality, asked.budget, asked.docs.with_name(f"search-{'real' if asked.real else 'calls'}.svg"))
    if timed:
        plot_seconds(timed, asked.docs.with_name("search-seconds.svg"))
    print(f"wrote {asked.docs} and plots beside it; every search is in {kept}")


def _measured(plan: Plan, *, real: bool) -> Iterator[Line]:
    """Measure; for real tasks with the local models running (0.5B answers, 1.5B reflects; fetched on first use)."""
    if not real:
        yield from measure(plan)
        return
    write_tasks(tasks_folder(plan.cache))
    with ExitStack() as stack:
        upstream = {
            name: (stack.enter_context(LocalModelProcess(model, parallel=1, context_tokens=4096)).base_url, model)
            for name, model in _MODELS.items()
        }
        yield from measure(replace(plan, upstream=upstream))


def _key(line: Line) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in _KEY)


if __name__ == "__main__":
    main()
