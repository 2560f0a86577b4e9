"""Parents and minibatches of a step: who is drawn, what they share, and which rows cost nothing."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from rules_world import rows

from engine.search.history import History
from engine.search.sampling import MinibatchCursor, PopulationSampling, RowLoader
from udfs.prompt import Prompt
from udfs.rollout import Rollout

TRAIN, VAL = rows(24, part="train"), rows(4, part="val")


class State:
    """As much of gepa's state as a sampler reads."""

    def __init__(self, history):
        self.program_candidates = [dict(c.prompt.components) for c in history.candidates]


def prompts(count):
    """A history whose n-th candidate alone is right about the n-th val row, and where all are asked for all."""
    history = History(Prompt.parse("p0 {{item}}"), VAL)
    for number in range(1, count):
        history.add(Prompt.parse(f"p{number} {{{{item}}}}"), parents=["seed"], proposer="x", step=1, status="accepted")
    for number, candidate in enumerate(history.candidates):
        history.note(
            candidate.candidate_id,
            [Rollout("", row.row_id, score=float(at == number)) for at, row in enumerate(history.val)],
        )
    return history


def sampler(history, *, num_candidates=6, num_parents=3, size=4, seed=0):
    cursor = MinibatchCursor([row.row_id for row in TRAIN], size=size, seed=seed)
    return PopulationSampling(history, num_candidates=num_candidates, num_parents=num_parents, cursor=cursor, seed=seed)


def draw(sampling, history):
    return sampling.sample_tasks(State(history), None, None, RowLoader(TRAIN))


def test_a_step_has_distinct_parents_whose_mutations_share_a_minibatch():
    """Three parents and seven proposals: three, two and two of each, on a minibatch a parent, without a common row."""
    history = prompts(4)
    tasks = draw(sampler(history, num_candidates=7), history)
    batches = {task.parent_idx: tuple(task.minibatch_ids) for task in tasks}
    assert sorted(Counter(task.parent_idx for task in tasks).values()) == [2, 2, 3]
    assert all(tuple(task.minibatch_ids) == batches[task.parent_idx] for task in tasks)
    assert len({row for batch in batches.values() for row in batch}) == 3 * 4


def test_a_lone_parent_gets_several_minibatches():
    """In the first step there is only the seed: it is shown other rows each time."""
    history = prompts(1)
    tasks = draw(sampler(history), history)
    assert {task.parent_idx for task in tasks} == {0}
    assert len({row for task in tasks for row in task.minibatch_ids}) == 3 * 4


def test_a_dominated_candidate_is_no_parent():
    """One that is best nowhere alone, and whose rows the others cover, is not drawn."""
    history = prompts(3)
    copy = history.add(Prompt.parse("copy {{item}}"), parents=["seed"], proposer="x", step=1, status="accepted")
    history.note(
        copy.candidate_id, [Rollout("", row.row_id, score=float(at == 1)) for at, row in enumerate(history.val)]
    )
    counts = history.pareto_counts(history.candidates)
    assert counts[:3] == [2, 2, 2]  # the fourth row is everybody's
    assert counts[3] == 0


def test_rows_that_only_an_earlier_leader_was_asked_for_make_no_parent():
    """What the leader was not asked for compares nobody."""
    history = prompts(2)
    history.leader = history.candidates[1]
    for row in history.val[2:]:
        del history.leader.val[row.row_id]
    assert history.pareto_counts(history.candidates) == [1, 1]


def test_a_minibatch_begins_with_known_failures_and_known_rows_are_shown_once():
    """What a parent has answered as a child costs nothing, if it failed somewhere; next time it sees other rows."""
    history = prompts(1)
    known = TRAIN[:3]
    scores = [0.0, 1.0, 1.0]
    seed = history.seed
    history.note(seed.candidate_id, [Rollout("", r.row_id, score=s) for r, s in zip(known, scores, strict=True)])
    sampling = sampler(history, num_candidates=1, num_parents=1)
    first, second = (draw(sampling, history)[0].minibatch_ids for _ in range(2))
    assert first[:3] == [row.row_id for row in known]
    assert not set(first) & set(second)


def test_known_rows_without_a_failure_are_not_preferred():
    """There is nothing to learn from them, at any price."""
    history = prompts(1)
    history.note(history.seed.candidate_id, [Rollout("", row.row_id, score=1.0) for row in TRAIN[:4]])
    fresh = MinibatchCursor([row.row_id for row in TRAIN], size=4, seed=0).deal()
    assert draw(sampler(history), history)[0].minibatch_ids == fresh


@given(
    deals=st.lists(st.lists(st.integers(0, 11), unique=True, max_size=6), min_size=1, max_size=25),
    size=st.integers(1, 14),
)
@settings(max_examples=80, deadline=None)
def test_chosen_rows_leave_the_epochs_order_alone(deals, size):
    """Whatever rows are chosen beforehand: no row twice in a minibatch, and the others still come in turn."""
    ids = [f"r{n}" for n in range(12)]
    cursor = MinibatchCursor(ids, size=size, seed=1)
    dealt = Counter()
    for chosen in deals:
        named = [f"r{n}" for n in chosen]
        batch = cursor.deal(named)
        assert len(batch) == len(set(batch)) == min(size, 12)
        assert batch[: len(named)] == named[: len(batch)]
        dealt.update(batch[len(named) :])
    assert max(dealt.values(), default=0) - min(dealt[row] for row in ids) <= 2 + len(deals)
