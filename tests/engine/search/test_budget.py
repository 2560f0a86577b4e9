"""The budget: what stages may evaluate and use, and what is kept back for the gate."""

from engine.search.budget import Budget
from engine.settings import BudgetSettings
from engine.usage import Usage
from udfs.rollout import Rollout


def budget(settings, *, usage=None, elapsed=lambda: 0.0, reserved=0, cost=lambda: 0.0, **options):
    started = []

    def clock():
        started.append(1)
        return 0.0 if len(started) == 1 else elapsed()

    return Budget(
        BudgetSettings(**settings),
        usage or Usage(),
        cost,
        clock,
        reserved_calls=reserved,
        wall_clock=lambda: 5000.0 + elapsed(),
        **options,
    )


def used(pairs, tokens_each=100):
    usage = Usage()
    usage.add(Rollout("c", f"r{n}", output="x", score=1.0, prompt_tokens=tokens_each, attempts=1) for n in range(pairs))
    usage.metric_calls = pairs
    return usage


def test_a_stage_may_use_what_is_left_without_the_gates_part():
    """By the mean of the pairs so far; the gate itself may use the rest."""
    found = budget({"max_tokens": 10_000}, usage=used(20), reserved=30)
    assert found.allowance().tokens == 10_000 - 2_000 - 30 * 100
    assert found.allowance(for_gate=True).tokens == 8_000
    assert found.affordable(1000) == 50


def test_money_is_kept_back_alike():
    """A fifth is spent on a tenth of the pairs: so much each."""
    found = budget({"max_cost": 10.0}, usage=used(20), reserved=30, cost=lambda: 2.0)
    assert found.allowance().cost == 10.0 - 2.0 - 30 * 0.1
    assert found.allowance().tokens is None


def test_the_search_ends_early_enough_for_the_gate():
    """At the pace so far the gate takes 30 s; the search may go on until then, the gate until the end."""
    found = budget({"max_duration_s": 100.0}, usage=used(20), elapsed=lambda: 20.0, reserved=30)
    assert found.allowance().until == 5020.0 + 100.0 - 20.0 - 30.0
    assert found.allowance(for_gate=True).until == 5020.0 + 80.0
    assert found.affordable(5) == 5


def test_at_most_half_the_time_is_kept_back():
    """A large holdout must not leave the search without any."""
    found = budget({"max_duration_s": 100.0}, usage=used(20), elapsed=lambda: 20.0, reserved=30_000)
    assert found.allowance().until == 5020.0 + 30.0


def test_nothing_is_limited_where_nothing_is_set():
    """No limit, no estimate, no end."""
    found = budget({})
    assert (found.allowance().tokens, found.allowance().cost, found.allowance().until) == (None, None, None)
    assert found.affordable(7) == 7


def test_a_budget_that_is_overspent_allows_nothing():
    """Never less than nothing."""
    found = budget({"max_tokens": 100}, usage=used(20))
    assert (found.allowance().tokens, found.affordable(7)) == (0.0, 0)
