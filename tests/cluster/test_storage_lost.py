"""The run directory's disk is full, or can't be written any more: a clear error, and a ledger that stays readable.

The directory is a small file system of its own, mounted in a namespace of the test's, because a superuser, as whom
tests often run, is refused by no permission.
"""

import random
import subprocess
import textwrap
import time
from contextlib import ExitStack

import ladder_world as world
import pytest
from driver import drivers

from engine.scripted_endpoint import ScriptedEndpoint
from engine.scripted_faults import delayed
from udfs.ledger import SEGMENT_SECONDS, LedgerLocation

ROWS, CONCURRENCY, LATENCY_S = 1600, 8, 0.1
_NAMESPACE = ("unshare", "--map-root-user", "--mount")


def can_mount():
    probe = subprocess.run((*_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"), capture_output=True, check=False)
    return probe.returncode == 0


def wordy(call):
    """Answer with 300 bytes that no compression makes smaller, so that a small disk is full before the end."""
    return f"{world.target(call)} {random.Random(call.key).randbytes(300).hex()}"


# All rows' answers take about 800 kB: it is full about half way, when several segments are on it.
FULL = "size=500k"
ROOMY = "size=64m"


@pytest.mark.slow_cluster
@pytest.mark.skipif(not can_mount(), reason="this machine lets us mount nothing")
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_storage_that_fails_ends_the_run_clearly_and_keeps_the_ledger(fault, tmp_path, measured):
    """The error names the place and the mend; what is on storage can be read, and is not paid for again."""
    with ExitStack() as stack:
        target = stack.enter_context(ScriptedEndpoint(delayed(wordy, LATENCY_S), record=False))
        start = stack.enter_context(drivers(tmp_path)).start_under
        config = world.config(
            tmp_path, target_url=target.base_url, reflection_url=target.base_url, rows=ROWS, concurrency=CONCURRENCY
        )
        store, trigger, kept = tmp_path / "store", tmp_path / "trigger", tmp_path / "kept"
        store.mkdir()
        kept.mkdir()
        script = tmp_path / "twice.sh"
        script.write_text(
            textwrap.dedent(f"""\
            mount -t tmpfs -o {FULL if fault == "full" else ROOMY} none {store}
            (until [ -e {trigger} ]; do sleep 0.05; done; until mount -o remount,ro {store}; do sleep 0.02; done) &
            "$@" > {tmp_path}/first.out 2> {tmp_path}/first.err
            echo $? > {tmp_path}/first.status
            cp -r {store}/ledger {kept}/
            kill $!
            mount -o remount,rw,{ROOMY} {store}
            exec "$@"
            """)
        )
        words = ("evaluate", "--config", str(config), "--run-dir", str(store / "run"))
        driver = start((*_NAMESPACE, "sh", str(script)), *words)
        first, deadline = tmp_path / "first.status", time.monotonic() + 240
        before = failed_at = 0
        while not first.exists() and driver.running and time.monotonic() < deadline:
            time.sleep(0.05)
            before = target.tally.answers
            if fault == "read-only" and before >= 0.4 * ROWS and not trigger.exists():
                trigger.touch()
                failed_at = before
        assert first.exists(), driver.stderr
        error = (tmp_path / "first.err").read_text()
        ended = driver.wait()
        told = [line for line in error.splitlines() if line.startswith("failed: ")]
        stored = {entry.row_id for entry in LedgerLocation(str(kept)).entries()}
        measured(
            f"{before} answers (fault at {failed_at}), {len(stored)} kept; then {target.tally.answers} in all "
            f"for {ROWS} rows: {told}"
        )
        assert first.read_text().strip() == "1", error
        assert ended == 0, driver.stderr
        assert len(told) == 1, error
        assert str(store) in told[0]
        assert "make room" in told[0]
        assert "--run-dir" in told[0] or "same command" in told[0]
        assert not any(line.startswith("Traceback") for line in error.splitlines())
        assert stored
        # A segment that could not be written, and what was answered until the tasks had looked; not all that was left.
        assert before - len(stored) <= (SEGMENT_SECONDS + 5.0) * CONCURRENCY / LATENCY_S
        # What could not be kept was asked again, what was kept was not.
        assert target.tally.answers == before + ROWS - len(stored)
