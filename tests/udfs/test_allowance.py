"""A task's purse: what was allowed is never overspent by more than the estimates were short."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.allowance import Allowance, Purse


def test_time_is_the_same_for_all_tasks_and_the_rest_is_shared():
    """Tokens and money are split, the end is not."""
    assert Allowance(tokens=100, cost=2.0, until=7.0).share(4) == Allowance(tokens=25, cost=0.5, until=7.0)
    assert Allowance().share(4) == Allowance()


@given(
    calls=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=40),
    limit=st.integers(0, 400),
    seed=st.integers(0, 99),
)
def test_calls_in_any_order_spend_at_most_what_was_allowed_and_what_was_not_foreseen(calls, limit, seed):
    """Each call (estimate, what it took) runs concurrently; none that fits is turned away while money is left."""
    purse, rng = Purse(Allowance(tokens=limit), clock=lambda: 0.0), random.Random(seed)
    spent, short, refused = [], [], []

    async def call(estimate, took):
        if not await purse.reserve(estimate, 0.0):
            refused.append(estimate)
            return
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        purse.settle(estimate, 0.0, tokens=took, cost=0.0)
        spent.append(took)
        short.append(max(0, took - estimate))

    async def everything():
        await asyncio.gather(*(call(*one) for one in calls))

    asyncio.run(everything())
    assert len(spent) + len(refused) == len(calls)
    assert sum(spent) <= limit + sum(short)
    assert all(sum(spent) + estimate > limit for estimate in refused)


@pytest.mark.parametrize("limits", [{"cost": 1.0}, {"until": 50.0}])
def test_money_and_time_end_it_too(limits):
    """The first call is covered, the next is not."""
    now = [0.0]

    async def spend():
        purse = Purse(Allowance(**limits), clock=lambda: now[0])
        first = await purse.reserve(10, 0.9)
        purse.settle(10, 0.9, tokens=10, cost=0.9)
        now[0] = 60.0
        return first, await purse.reserve(10, 0.9)

    assert asyncio.run(spend()) == (True, False)
