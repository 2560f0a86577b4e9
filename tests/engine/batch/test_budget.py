"""The budget of a batch. No Spark, and a clock of the test's own."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch import BatchLine
from engine.batch.budget import Amounts, BatchBudget
from engine.errors import NotBegun
from engine.settings import BudgetSettings


def line(name, tokens):
    return BatchLine(name, "kept", name, tokens=tokens)


@given(
    limit=st.integers(1, 1000),
    runs=st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1)), max_size=20),
)
def test_the_sum_stays_within_the_budget(limit, runs):
    """Whatever runs want and use of it: what is begun never adds up to more than the budget."""
    budget, used = BatchBudget(BudgetSettings(max_tokens=limit)), 0
    for number, (wanted, share) in enumerate(runs):
        try:
            budget.reserve(str(number), Amounts(tokens=wanted))
        except NotBegun:
            assert used + wanted > limit
            continue
        used += int(wanted * share)
        budget.settle(str(number), line(str(number), int(wanted * share)))
    assert used <= limit


def test_who_could_fit_waits_for_what_others_leave():
    """It begins as soon as another has ended that took less than it might have."""
    budget = BatchBudget(BudgetSettings(max_tokens=100))
    budget.reserve("first", Amounts(tokens=80))
    begun = threading.Event()
    thread = threading.Thread(target=lambda: (budget.reserve("second", Amounts(tokens=60)), begun.set()))
    thread.start()
    assert not begun.wait(0.1)
    budget.settle("first", line("first", 30))
    assert begun.wait(5)
    thread.join()


def test_what_was_spent_before_and_time_count():
    """An earlier start's spending counts; after max_duration_s nothing begins; an interruption ends the wait."""
    budget = BatchBudget(BudgetSettings(max_tokens=100), [line("before", 90)])
    with pytest.raises(NotBegun, match="may take 20 tokens, and 10 of the batch's are left"):
        budget.reserve("a", Amounts(tokens=20))
    now = [0.0]
    timed = BatchBudget(BudgetSettings(max_duration_s=60), clock=lambda: now[0])
    timed.reserve("a", Amounts())
    now[0] = 61.0
    with pytest.raises(NotBegun, match="60 s"):
        timed.reserve("b", Amounts())
    with pytest.raises(KeyboardInterrupt):
        budget.reserve("c", Amounts(), is_interrupted=lambda: True)
