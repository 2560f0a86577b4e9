"""How fast a row gets from a DataFrame to the ledger: ``python -m benchmarks.throughput``, from the project's folder.

The endpoint answers everything after 200 ms, whatever the load, so the client is the limit. One run: the bare loop,
the evaluation, and the bare loop again, because other work on the machine would otherwise count for one side only.
``--sizes 10000 100000 1000000`` measures the same at growing sizes, each with its memory; ``--small`` a small stage.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys

import aiohttp
import pyspark

from benchmarks.throughput import measure
from benchmarks.throughput.endpoint import endpoint
from benchmarks.throughput.processes import DRIVER, ENDPOINT, JVM, WORKERS
from engine.session import SparkSettings, spark_session

LATENCY_S = 0.2


def main() -> None:
    """Run what was asked for and print it as tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8000, help="distinct rows (default 8000)")
    parser.add_argument("--candidates", type=int, default=5, help="prompts that each row is asked with (default 5)")
    parser.add_argument("--concurrency", type=int, default=1024, help="max_concurrency, of both sides (default 1024)")
    parser.add_argument("--master", default="local[2]", help="the Spark master (default local[2])")
    parser.add_argument("--sizes", type=int, nargs="*", default=[], help="also measure with so many pairs each")
    parser.add_argument("--small", action="store_true", help="also measure a stage of 15 items")
    parser.add_argument("--skip-bare", action="store_true", help="leave the bare loop out")
    chosen = parser.parse_args()
    spark = spark_session(SparkSettings(master=chosen.master))
    print(
        f"Python {platform.python_version()}, pyspark {pyspark.__version__}, aiohttp {aiohttp.__version__}, "
        f"{chosen.master}, {chosen.concurrency} calls at once, latency {LATENCY_S * 1000:g} ms"
    )
    with endpoint(LATENCY_S) as running:
        print(f"endpoint: {running.kind}\n")
        _rates(spark, running, chosen)
        _sizes(spark, running, chosen)
        if chosen.small:
            candidates, rows = measure.SMALL_STAGE
            print(f"\nA stage of {candidates} candidates on {rows} rows, beside the endpoint's latency:")
            for where, seconds in measure.small_stage(spark, running, latency_s=LATENCY_S, times=12):
                print(f"  {where:16} {seconds:6.3f} s")
    spark.stop()


def _rates(spark: measure.SparkSession, running: measure.RunningEndpoint, chosen: argparse.Namespace) -> None:
    pairs = chosen.rows * chosen.candidates
    # Once in small, unmeasured: workers started, code imported, the JVM's hot paths compiled.
    measure.evaluation(spark, running, rows=2000, candidates=2, concurrency=chosen.concurrency)
    bare: dict[str, list[float]] = {"body": [], "json": []}
    found = None
    for turn in range(2):
        for what, rates in bare.items() if not chosen.skip_bare else ():
            one = measure.bare_loop(running, min(pairs, 20_000), chosen.concurrency, parse=what == "json")
            rates.append(one["steady_per_s"])
            print(
                f"bare loop ({what}): {one['steady_per_s']:7.0f} requests/s steady, {one['all_in_per_s']:.0f} all in, "
                f"{one['cpu_us']:.0f} us of CPU each"
            )
        if turn == 0:
            found = measure.evaluation(
                spark, running, rows=chosen.rows, candidates=chosen.candidates, concurrency=chosen.concurrency
            )
            _print_rate(found)
    for what, rates in bare.items():
        if rates and found:
            mean = statistics.mean(rates)
            print(
                f"ratio to the bare loop ({what}): {found.steady_per_s / mean:.2f} steady, "
                f"{found.all_in_per_s / mean:.2f} all in"
            )


def _sizes(spark: measure.SparkSession, running: measure.RunningEndpoint, chosen: argparse.Namespace) -> None:
    for pairs in chosen.sizes:
        print()
        _print_rate(
            measure.evaluation(
                spark,
                running,
                rows=pairs // chosen.candidates,
                candidates=chosen.candidates,
                concurrency=chosen.concurrency,
            )
        )


def _print_rate(rate: measure.Rate) -> None:
    print(
        f"promptmill, {rate.pairs} pairs: {rate.steady_per_s:7.0f} rows/s steady, {rate.all_in_per_s:.0f} all in "
        f"({rate.seconds:.1f} s, {rate.calls} calls)"
    )
    total = sum(rate.cpu_us.values())
    shares = ", ".join(f"{role} {rate.cpu_us[role]:.0f}" for role in (WORKERS, JVM, DRIVER, ENDPOINT))
    print(f"  CPU a row, us: {total:.0f} = {shares}")
    memory = ", ".join(f"{role} {rate.peak_mb[role]:.0f}" for role in (WORKERS, JVM, DRIVER))
    print(f"  memory at most, MB: {memory}; JVM heap in use afterwards {rate.heap_mb:.0f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
