"""Parents and minibatches of a step: who is drawn, what is asked for, and what a minibatch is made of."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from rules_world import rows

from engine.search.history import History
from engine.search.sampling import MinibatchCursor, PopulationSampling, RowLoader
from engine.settings import SearchSettings
from udfs.prompt import Prompt
from udfs.rollout import Rollout

TRAIN, VAL = rows(60, part="train"), rows(4, part="val")


class State:
    """As much of gepa's state as a sampler reads."""

    def __init__(self, history):
        self.program_candidates = [dict(c.prompt.components) for c in history.candidates]


class Asking:
    """Answers as the adapter does, from a list of the rows that every candidate has right; keeps what it was asked."""

    def __init__(self, history, right):
        self.history, self.right, self.asked = history, right, []

    def ask(self, pairs, *, stage):
        for prompt, asked in pairs:
            self.asked.append((prompt.candidate_id, [row.row_id for row in asked]))
            found = [Rollout("", row.row_id, score=float(row.row_id in self.right)) for row in asked]
            self.history.note(prompt.candidate_id, found)


def prompts(count):
    """A history whose n-th candidate alone is right about the n-th val row, and where all are asked for all."""
    history = History(Prompt.parse("p0 {{item}}"), VAL)
    for number in range(1, count):
        history.add(Prompt.parse(f"p{number} {{{{item}}}}"), parents=["seed"], proposer="x", step=1, status="accepted")
    for number, candidate in enumerate(history.candidates):
        scored = [Rollout("", row.row_id, score=float(at == number)) for at, row in enumerate(history.val)]
        history.note(candidate.candidate_id, scored)
    return history


def sampler(history, *, share_right=0.5, **options):
    right = {row.row_id for row in TRAIN[: int(len(TRAIN) * share_right)]}
    asking = Asking(history, right)
    chosen = SearchSettings(**{"num_candidates": 6, "num_parents": 3, "minibatch_size": 8, **options})
    return PopulationSampling(history, asking, TRAIN, chosen), asking


def draw(sampling, history):
    return sampling.sample_tasks(State(history), None, None, RowLoader(TRAIN))


def test_the_leader_gets_most_tasks_and_each_other_parent_one():
    """Three parents and six proposals: four of the leader, one each of two others, which are not the same."""
    history = prompts(4)
    history.leader = history.candidates[2]
    sampling, _ = sampler(history)
    counts = Counter(task.parent_idx for task in draw(sampling, history))
    assert counts[2] == 4
    assert sorted(counts.values()) == [1, 1, 4]


def test_a_lone_parent_gets_all_tasks_on_different_rows():
    """In the first step there is only the seed: its tasks show different failures."""
    history = prompts(1)
    sampling, _ = sampler(history)
    tasks = draw(sampling, history)
    assert {task.parent_idx for task in tasks} == {0}
    assert len({tuple(sorted(task.minibatch_ids[:8])) for task in tasks}) > 3


def test_a_dominated_candidate_is_no_parent():
    """One that is best nowhere alone, and whose rows the others cover, is not drawn."""
    history = prompts(3)
    copy = history.add(Prompt.parse("copy {{item}}"), parents=["seed"], proposer="x", step=1, status="accepted")
    scored = [Rollout("", row.row_id, score=float(at == 1)) for at, row in enumerate(history.val)]
    history.note(copy.candidate_id, scored)
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


def test_a_minibatch_shows_mostly_failures_and_tests_on_others():
    """Of eight shown rows six failed; behind them come two failures that are not shown, and rows that were right."""
    history = prompts(1)
    sampling, asking = sampler(history)
    for task in draw(sampling, history):
        right = [row_id in asking.right for row_id in task.minibatch_ids]
        assert right[:8] == [False] * 6 + [True] * 2
        assert right[8:10] == [False] * 2
        assert all(right[10:])
        assert 0 < len(right[10:]) <= 6
        assert len(set(task.minibatch_ids)) == len(right)


def test_a_parent_is_asked_until_enough_failures_are_known_and_then_no_more():
    """Eight failures and sixteen rows are enough; the next step asks for nothing, whatever it shows."""
    history = prompts(1)
    sampling, asking = sampler(history)
    draw(sampling, history)
    known = history.seed.train.values()
    assert sum(r.score == 0 for r in known) >= 8
    assert len(known) >= 16
    asked = sum(len(ids) for _, ids in asking.asked)
    assert asked == len(known)  # none twice
    draw(sampling, history)
    assert sum(len(ids) for _, ids in asking.asked) == asked


def test_what_a_parent_answered_as_a_child_costs_nothing():
    """With enough failures known from its own test it is asked for the few rows that are missing."""
    history = prompts(1)
    sampling, asking = sampler(history)
    known = [Rollout("", row.row_id, score=float(at >= 9)) for at, row in enumerate(TRAIN[20:34])]
    history.note(history.seed.candidate_id, known)
    draw(sampling, history)
    fresh = [row_id for _, ids in asking.asked for row_id in ids]
    assert len(fresh) == 2
    assert not set(fresh) & {r.row_id for r in known}


def test_a_parent_that_hardly_fails_is_not_asked_for_everything_at_once():
    """Failures that are rare are gathered over the steps, three minibatches each at most."""
    history = prompts(1)
    sampling, asking = sampler(history, share_right=1.0)
    draw(sampling, history)
    assert [len(ids) for _, ids in asking.asked] == [8, 8, 8]
    draw(sampling, history)
    assert sum(len(ids) for _, ids in asking.asked) == 48
    draw(sampling, history)
    draw(sampling, history)
    assert sum(len(ids) for _, ids in asking.asked) == len(TRAIN)


def test_graded_scores_are_failures_where_they_are_below_the_usual():
    """A judge that never says 1.0: what is shown and probed first are the rows where the parent did badly."""
    candidate = History(Prompt.parse("p {{item}}"), VAL).seed
    candidate.train = {f"r{n}": Rollout("", f"r{n}", score=score) for n, score in enumerate([0.2, 0.9, 0.4, 0.8, None])}
    assert candidate.failures == {"r0", "r2"}
    candidate.train = {f"r{n}": Rollout("", f"r{n}", score=0.5) for n in range(3)}
    assert candidate.failures == {"r0", "r1", "r2"}


@given(
    deals=st.lists(st.tuples(st.integers(1, 14), st.sets(st.integers(0, 11), max_size=8)), min_size=1, max_size=25),
)
@settings(max_examples=80, deadline=None)
def test_a_deal_gives_as_many_rows_as_there_are(deals):
    """Without those that are not wanted, none twice."""
    ids = [f"r{n}" for n in range(12)]
    cursor = MinibatchCursor(ids, seed=1)
    for count, unwanted in deals:
        without = {f"r{n}" for n in unwanted}
        dealt = cursor.deal(count, without=without)
        assert len(dealt) == len(set(dealt)) == min(count, 12 - len(without))
        assert not set(dealt) & without
