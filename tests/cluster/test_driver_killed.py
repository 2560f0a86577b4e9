"""``kill -9`` of the driver of an optimization, again and again: the same command goes on and pays nothing anew."""

import json
import random
import time
from contextlib import ExitStack

import ladder_world as world
import pytest
from bounds import unexcused
from driver import drivers

from engine.scripted_endpoint import ScriptedEndpoint
from engine.scripted_faults import delayed

ROWS, CONCURRENCY, LATENCY_S = 400, 8, 0.1
# What two runs of one optimization may differ in: names that MLflow and we make up, and how long it took.
_OWN = ("run_id", "mlflow_run_id", "seconds")


def outcome(run_dir):
    """Return the result, and the search's own decisions: each candidate with parents, scores and verdict, each step."""
    result = json.loads((run_dir / "result.json").read_text())
    record = json.loads((run_dir / "record.json").read_text())
    steps = [{key: value for key, value in step.items() if key != "seconds"} for step in record["steps"]]
    for name in _OWN:
        result.pop(name)
    for name in ("resumed", "retried"):
        result["calls"].pop(name)
    return result, record["candidates"], steps


@pytest.mark.slow_cluster
@pytest.mark.parametrize("kills", [1, 10])
def test_an_optimization_killed_again_and_again_comes_to_the_same_end(kills, tmp_path, measured):
    """Result, candidates, parents and scores are those of the uninterrupted run; what was stored is not paid again."""
    rng = random.Random(kills)
    with ExitStack() as stack:
        target = stack.enter_context(ScriptedEndpoint(delayed(world.target, LATENCY_S), record=False))
        reflection = stack.enter_context(ScriptedEndpoint(delayed(world.reflection, LATENCY_S), record=False))
        start = stack.enter_context(drivers(tmp_path)).start

        def command(folder):
            (tmp_path / folder).mkdir(exist_ok=True)
            urls = {"target_url": target.base_url, "reflection_url": reflection.base_url}
            config = world.config(tmp_path / folder, **urls, rows=ROWS, concurrency=CONCURRENCY)
            return start("optimize", "--config", str(config), "--run-dir", str(tmp_path / folder / "run"))

        whole = command("whole")
        assert whole.wait() == 0, whole.stderr
        asked, reflected = target.tally.answers, reflection.tally.answers
        measured(f"uninterrupted: {asked} answers of the target, {reflected} of the reflection model")
        target.reset()
        reflection.reset()

        killed_at, again = [], 0
        for number in range(kills):
            share = (number + rng.random()) / kills
            driver = command("killed")
            deadline = time.monotonic() + 400
            while target.tally.answers < share * asked and driver.running and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.random() * 2)
            assert driver.running, driver.stderr
            driver.kill()
            killed_at.append(time.monotonic())
            bound = target.tally.in_flight + target.tally.answers_since(5.0)
            measured(
                f"kill {number + 1} at {target.tally.answers} answers ({reflection.tally.answers} reflections): "
                f"since the last one {target.tally.answered_again - again} twice; this one's bound {bound}"
            )
            again = target.tally.answered_again
        last = command("killed")
        assert last.wait() == 0, last.stderr
        measured(
            f"answered twice {target.tally.answered_again} of {asked}, reflections {reflection.tally.answered_again}"
        )

    assert outcome(tmp_path / "killed" / "run") == outcome(tmp_path / "whole" / "run")
    assert len(target.tally.answered_at) == asked
    assert len(reflection.tally.answered_at) == reflected
    assert not unexcused(target.tally, killed_at)
    assert not unexcused(reflection.tally, killed_at)
