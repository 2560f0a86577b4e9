"""Tokens that expire during a job: executors get new ones by themselves."""

import planted_world as world
import pytest
from token_world import TokenWorld

from udfs.endpoint import Limits


@pytest.mark.parametrize(("life_s", "rows"), [(3.0, 300), pytest.param(30.0, 3000, marks=pytest.mark.slow_cluster)])
def test_tokens_that_expire_are_renewed_where_they_are_used(life_s, rows, job, measured):
    """A job of three token lives scores every row; the driver's process asks for no token."""
    with TokenWorld(life_s, answer=world.target, watch=True) as tokens:
        tokens.answer_delay_s = 0.1
        # Three calls at once, 0.1 s each: 30 rows/s at the most.
        endpoint = tokens.endpoint(name="target", limits=Limits(max_concurrency=3))
        running = job(None, rows=rows, endpoint=endpoint).start().wait()
        took_s = running.ended_at - running.started_at
        measured(f"{len(tokens.from_here)} tokens of {life_s:g} s for {took_s:.0f} s, {tokens.refused} calls refused")
        running.check_every_row_scored_once()
        assert took_s > 3 * life_s
        assert len(tokens.from_here) >= 3
        assert set(tokens.from_here) == {False}
        assert len(tokens.answered) == rows
        assert running.evaluation.usage.calls()["failed"] == 0
