"""An endpoint in trouble: whatever it does, every row is scored in the end, and none is scored 0 for it."""

import threading
import time

import planted_world as world

from engine.scripted_endpoint import ScriptedEndpoint
from engine.scripted_faults import Outage, Storm, delayed

ROWS, CONCURRENCY = 1500, 32
TIMEOUT_S = 3
# Ten seconds of 503s, then ten of refused connections: 20 s without an answer.
OUTAGE_AFTER_S, OUTAGE_HALF_S = 4.0, 10.0


def test_a_storm_scores_every_row_and_pays_for_none_twice(job, measured):
    """Errors, refusals, hung and cut connections, answers that are none, and an outage of 20 s."""
    storm = Storm(delayed(world.target, 0.1), seed=1)
    outage = Outage(storm, after_s=OUTAGE_AFTER_S, for_s=OUTAGE_HALF_S)
    with ScriptedEndpoint(outage) as server:
        running = job(server, rows=ROWS, concurrency=CONCURRENCY, timeout_s=TIMEOUT_S).start()
        running.wait_for(lambda: outage.met, "the outage")
        down = threading.Timer(OUTAGE_HALF_S, server.go_down)
        down.start()
        running.wait_for(lambda: not down.is_alive(), "the end of the 503s")
        time.sleep(1)  # what was on its way to be answered counts as answered, heard or not
        before = server.tally.answers
        time.sleep(OUTAGE_HALF_S - 1)
        assert server.tally.answers == before
        assert running.running
        server.come_up()
        running.wait()
        asked = server.tally.asked.total()
        measured(f"{asked} calls, {server.tally.answers} answers for {ROWS} rows; {outage.met} 503s; {dict(storm.met)}")
        assert all(storm.met[name] for name in vars(storm.shares)), storm.met
        running.check_every_row_scored_once()
        assert server.tally.answers == ROWS
        calls = running.evaluation.usage.calls()
        assert (calls["made"], calls["failed"]) == (ROWS, 0)
        assert calls["refused"] > 0
        # What the storm itself asks for, and a few dozen a task to find out that the endpoint is down: no hammering.
        assert asked < 3 * ROWS
