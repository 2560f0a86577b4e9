"""What a batch of many small optimizations takes: seconds and memory, and what dominates.

    python -m benchmarks.batch [--count 100] [--parallel 8] [--profile]

Each optimization is as small as one gets (30 rows, two demonstrations, one proposal), and a scripted endpoint in this
process answers at once: what is left is what promptmill itself takes for each. Local Spark on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from sys import _current_frames
from typing import Self

from engine.batch import BatchLine, run_batch
from engine.config import AppConfig
from engine.progress import Progress
from engine.scripted_endpoint import Call, ScriptedEndpoint
from engine.session import SparkSettings, spark_session

ROWS = 30
_SAMPLE_EVERY_S = 0.05
_TOLD_EVERY = 10


def answer(call: Call) -> str:
    """In upper case as soon as demonstrations show it."""
    word = re.findall(r"word\d{3,}", call.messages[-1]["content"])[-1]
    return word.upper() if "WORD" in call.prompt else f"Sure! {word}"


def config_text(folder: Path, url: str, count: int) -> str:
    """Write the rows, and return a configuration of so many optimizations on them."""
    words = [f"word{number:03d}" for number in range(ROWS)]
    records = [{"inputs": {"word": w}, "expectations": {"expected_response": w.upper()}} for w in words]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    each = {"dataset": {"path": f"{folder}/rows.jsonl"}, "scorers": ["exact_match"], "agent": "shouter"}
    each |= {"num_candidates": 1, "max_steps": 1, "minibatch_size": 4, "proposer": "demos", "num_demos": 2}
    names = [f"word_{number:04d}" for number in range(count)]
    small = {"name": "small", "provider": "openai", "base_url": url, "temperature": 0.0, "max_tokens": 16}
    seed = {"name": "p", "default_template": "{{word}}"}
    config = {
        "agents": {"shouter": {"name": "shouter", "model": small, "prompt": seed}},
        "optimizations": {
            "prompt_optimizations": {
                name: {
                    "name": name,
                    **each,
                    "prompt": {"name": name, "default_template": f"Say ({name}): {{{{word}}}}"},
                }
                for name in names
            }
        },
        "storage": {"root": f"{folder}/store"},
        "mlflow": {"tracking_uri": f"sqlite:///{folder}/mlflow.db", "experiment": "batch"},
    }
    return json.dumps(config)


class Watch:
    """Tells of each tenth end: seconds for each since the last, and the memory of this process."""

    def __init__(self) -> None:
        self._lock, self._ended, self._last = threading.Lock(), 0, time.monotonic()

    def begin(self, keys: Sequence[str], done: Sequence[BatchLine]) -> None:
        """Begin the clock."""
        del keys, done
        self._last = time.monotonic()

    def started(self, key: str) -> Progress:
        """Watch no stages."""
        del key
        return Progress()

    def ended(self, line: BatchLine) -> None:
        """Count, and tell."""
        with self._lock:
            self._ended += 1
            if self._ended % _TOLD_EVERY == 0:
                now = time.monotonic()
                each = (now - self._last) / _TOLD_EVERY
                self._last = now
                print(f"{self._ended:5d} ended ({line.status})  {each:6.2f} s each  {memory_mb():6.0f} MB", flush=True)

    def close(self) -> None:
        """Nothing is left to be told."""


def memory_mb() -> float:
    """Return what this process holds now."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


class Sampler:
    """Looks every 50 ms at what the batch's threads are in: the innermost line of ours, and what it calls."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_EVERY_S):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in _current_frames().items():
                if not names.get(ident, "").startswith("optimize "):
                    continue
                path = []
                at = frame
                while at is not None:
                    if "/engine/" in at.f_code.co_filename and "site-packages" not in at.f_code.co_filename:
                        path.append(f"{Path(at.f_code.co_filename).stem}.{at.f_code.co_name}")
                    at = at.f_back  # type: ignore[assignment]
                steps = [p for p in reversed(path) if not p.startswith(("schedule.", "run."))]
                self.seen[" > ".join(steps[:4])] += 1

    def table(self) -> str:
        """Return the shares, largest first."""
        total = sum(self.seen.values()) or 1
        return "\n".join(f"{count / total:6.1%}  {name}" for name, count in self.seen.most_common(25))


def main() -> None:
    """Run a batch and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as name, ScriptedEndpoint(answer, record=False) as endpoint, Sampler() as seen:
        folder = Path(name)
        (folder / "config.yaml").write_text(config_text(folder, endpoint.base_url, options.count))
        app = AppConfig.from_file(folder / "config.yaml")
        spark = spark_session(SparkSettings(master="local[2]"))
        began_at, before = time.monotonic(), memory_mb()
        result = run_batch(
            app,
            app.optimizations.prompt_optimizations,
            run_dir=f"{folder}/run",
            parallel=options.parallel,
            observer=Watch(),
            spark=spark,
        )
        took = time.monotonic() - began_at
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{options.count} optimizations, {options.parallel} at once: {took:.0f} s, "
            f"{took / options.count:.2f} s each"
        )
        print(f"memory {before:.0f} MB before, {memory_mb():.0f} MB after, {peak:.0f} MB at the most")
        print(
            f"{result.summary.counts}, {result.summary.total('calls'):,} calls, {len(list(folder.rglob('*'))):,} files"
        )
        if options.profile:
            print(seen.table())
        spark.stop()


if __name__ == "__main__":
    main()
