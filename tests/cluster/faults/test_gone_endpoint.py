"""An endpoint that is dead or refuses us: one clear error soon, and the same evaluation goes on when it is mended."""

import re
import time

import planted_world as world
import pytest

from engine.errors import EvaluationError
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.scripted_faults import delayed

ROWS, CONCURRENCY, LATENCY_S = 1000, 8, 0.1
# The promise is a minute; a machine with more to do than cores gets half as much again.
ENDS_WITHIN_S = 90


class Gate:
    """Answers until it is shut; from then on every call meets ``fault``."""

    def __init__(self, fault):
        self.fault = fault
        self.shut = False
        self.met = 0
        self._answer = delayed(world.target, LATENCY_S)

    def __call__(self, call):
        if not self.shut:
            return self._answer(call)
        self.met += 1
        return self.fault


DEAD = Reply(status=503)
REFUSING = Reply("invalid token", status=401)
HUNG = Reply(hang=True)
SLOW = pytest.mark.slow_cluster


@pytest.mark.parametrize(
    ("fault", "answers"),
    [
        pytest.param(DEAD, 0.4, id="dead-from-the-middle", marks=SLOW),
        pytest.param(REFUSING, 0.4, id="refusing-from-the-middle"),
        pytest.param(REFUSING, 0, id="refusing-from-the-first-call", marks=SLOW),
        pytest.param(DEAD, 0, id="dead-from-the-first-call", marks=SLOW),
        pytest.param(HUNG, 0.4, id="hung-from-the-middle", marks=SLOW),
        pytest.param(None, 0, id="unreachable-from-the-first-call", marks=SLOW),
        pytest.param(None, 0.4, id="unreachable-from-the-middle", marks=SLOW),
    ],
)
def test_a_gone_endpoint_ends_the_job_with_one_error(fault, answers, job, measured):
    """Within a minute, with how many rows are done and how to go on; going on pays for nothing again."""
    gate = Gate(fault)
    with ScriptedEndpoint(gate) as server:
        running = job(server, rows=ROWS, concurrency=CONCURRENCY)
        if not answers:
            go(gate, server)
        running.start()
        running.wait_for(lambda: server.tally.answers >= answers * ROWS, "the moment the endpoint goes")
        if answers:
            go(gate, server)
        gone_at, asked_before = time.monotonic(), server.tally.asked.total()
        with pytest.raises(EvaluationError) as failed:
            running.wait()
        took_s, before = running.ended_at - gone_at, server.tally.answers
        in_vain = server.tally.asked.total() - asked_before
        measured(f"ended after {took_s:.0f} s and {in_vain} calls in vain, with: {failed.value}")
        assert took_s < ENDS_WITHIN_S
        message = str(failed.value)
        assert message.count("\n") == 0
        assert "--run-dir" in message
        told = re.search(r"([\d,]+) of 1,000 rows", message)
        assert told, message
        # Attempts of rows in flight, spread by backoff: never every row's retries, never Spark's retries times ours.
        assert in_vain <= 12 * CONCURRENCY
        gate.shut = False
        if fault is None:
            server.come_up()
        again = job(server, rows=ROWS, concurrency=CONCURRENCY).start().wait()
        again.check_every_row_scored_once()
        # The tasks that are cut off with the first to end may have told last two seconds before.
        assert before - 2.5 * CONCURRENCY / LATENCY_S <= int(told[1].replace(",", "")) <= before
        # Calls in flight are waited for; but who breaks their connections breaks off answers that count as given.
        assert server.tally.answered_again <= (CONCURRENCY if fault is None else 0)


def go(gate, server):
    gate.shut = True
    if gate.fault is None:
        server.go_down()
