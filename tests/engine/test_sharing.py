"""One promise for all that run at once: whatever begins, changes hands and ends, it is never exceeded."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluate import Evaluation
from engine.interruption import Interrupted
from engine.rows import Row
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.sharing import Lease, Sharing
from engine.storage import Storage
from udfs.endpoint import Endpoint, Limits
from udfs.prompt import Prompt
from udfs.records import canonical_json
from udfs.scorers import build_mix

PLACE = ("openai", "http://127.0.0.1:1/v1", "m")


class Stage:
    """A stage whose tasks keep to what they were told only when they are asked to."""

    def __init__(self, sharing, limits, tasks):
        self.sharing, self.limits, self.tasks = sharing, limits, tasks
        self.stack = ExitStack()
        self.lease = self.stack.enter_context(sharing.lease({PLACE: limits}, tasks=tasks))
        self.told = self.kept = self.lease.parts

    @property
    def using(self):
        """The most calls that its tasks may have in flight: those of the larger of what they kept and keep."""
        each = [self.limits.share(max(1, self.tasks), part=one.of(PLACE)).max_concurrency for one in (self.kept,)]
        return max(each) * max(1, self.tasks)

    def obey(self):
        self.kept = self.told

    def refresh(self):
        if self.tasks:
            self.told = self.sharing.refresh(self.lease, self.kept.version) or self.told


@settings(max_examples=300, deadline=None)
@given(
    promise=st.integers(1, 200),
    parallel=st.integers(1, 12),
    moves=st.lists(st.tuples(st.sampled_from(["begin", "begin here", "refresh", "obey", "end"]), st.integers(0, 11))),
)
def test_parts_never_add_up_to_more_than_the_promise(promise, parallel, moves):
    """In any order of beginnings, changes, delays and ends, calls that tasks may have in flight stay in the promise."""
    limits = Limits(max_concurrency=promise)
    sharing = Sharing({PLACE: parallel}, parallel=parallel, slots=1000)
    stages = {}
    for move, who in moves:
        stage = stages.get(who)
        if move.startswith("begin") and stage is None and who < parallel:
            tasks = 0 if move == "begin here" else sharing.tasks({PLACE: limits}, cores=8)
            can_begin = _can_begin(sharing, limits, tasks)
            if can_begin:
                stages[who] = Stage(sharing, limits, tasks)
        elif move == "refresh" and stage:
            stage.refresh()
        elif move == "obey" and stage:
            stage.obey()
        elif move == "end" and stage:
            stages.pop(who).stack.close()
        assert sum(one.using for one in stages.values()) <= promise


def _can_begin(sharing, limits, tasks):
    lease = Lease({PLACE: limits}, tasks, adjusts=tasks > 0)
    sharing._waiting.append(lease)
    try:
        return sharing._can_begin(lease)
    finally:
        sharing._waiting.remove(lease)


def test_whoever_is_alone_has_more_than_half_and_makes_room_for_a_second():
    """One of two gets three quarters; when a second begins both come to a half as soon as the first has made room."""
    limits = Limits(max_concurrency=64)
    sharing = Sharing({PLACE: 2}, parallel=2, slots=8)
    first = Stage(sharing, limits, 1)
    assert first.using == 48
    second = Stage(sharing, limits, 1)
    assert second.using == 16
    first.refresh()
    second.refresh()
    assert second.told.of(PLACE) == 0.25  # the first has not said yet that it keeps to less
    first.obey()
    first.refresh()
    second.refresh()
    second.obey()
    assert (first.using, second.using) == (32, 32)
    first.stack.close()
    second.refresh()
    second.obey()
    assert second.using == 48
    sharing.leave([PLACE])
    second.refresh()
    second.obey()
    assert second.using == 64


def test_a_promise_of_one_call_is_used_by_one_after_the_other():
    """Where the promise is a single call, a second stage waits until the first has ended."""
    limits = Limits(max_concurrency=1)
    sharing = Sharing({PLACE: 3}, parallel=3, slots=8)
    first = Stage(sharing, limits, 1)
    begun = threading.Event()

    def second():
        with sharing.lease({PLACE: limits}):
            begun.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not begun.wait(0.3)
    first.stack.close()
    assert begun.wait(5)
    thread.join()


def test_a_stage_without_task_slots_takes_nothing_from_those_that_run():
    """A stage that waits for the cluster's slots is no reason for a running one to give calls away."""
    limits = Limits(max_concurrency=64)
    sharing = Sharing({PLACE: 2}, parallel=2, slots=1)
    first = Stage(sharing, limits, 1)

    def second():
        with sharing.lease({PLACE: limits}, tasks=1):
            pass

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.1)
    first.refresh()
    assert first.told.of(PLACE) == 0.75
    first.stack.close()
    thread.join(5)
    assert not thread.is_alive()


def test_an_interruption_ends_who_runs_and_who_waits():
    """Running stages are told to stop; who waits or comes later gets an Interrupted."""
    limits, stopped = Limits(max_concurrency=1), []
    sharing = Sharing({PLACE: 2}, parallel=2, slots=8)
    raised = []

    def waiting():
        try:
            with sharing.lease({PLACE: limits}):
                pass
        except Interrupted:
            raised.append(True)

    with sharing.lease({PLACE: limits}, tasks=1, stop=lambda: stopped.append(True)):
        thread = threading.Thread(target=waiting)
        thread.start()
        time.sleep(0.05)
        sharing.interrupt()
        thread.join(5)
    assert stopped == raised == [True]
    with pytest.raises(Interrupted), sharing.lease({PLACE: limits}):
        pass


def test_eight_optimizations_at_once_keep_one_promise_over_http(spark, tmp_path):
    """Small stages and Spark stages of eight at once never have more calls in flight than promised, and all get on."""
    with ScriptedEndpoint(lambda call: Reply(call.messages[-1]["content"], delay_s=0.05)) as served:
        limits = Limits(max_concurrency=12)
        endpoint = Endpoint("m", base_url=served.base_url, limits=limits)
        sharing = Sharing({endpoint.place: 8}, parallel=8, slots=2)
        finished = []

        def optimize(name):
            storage = Storage.at(str(tmp_path), str(tmp_path / name))
            mix = build_mix(["exact_match"], None)
            evaluation = Evaluation(spark, endpoint, mix, storage, name, small_stage_items=8, sharing=sharing)
            prompt = Prompt.parse(f"{name} {{{{word}}}}")
            for first, size in ((0, 8), (100, 60), (200, 8)):
                rows = [
                    Row(
                        f"{name}-{n}",
                        canonical_json({"word": f"w{n}"}),
                        canonical_json({"expected_response": f"{name} w{n}"}),
                    )
                    for n in range(first, first + size)
                ]
                scored = evaluation.rollouts([(prompt, rows)], stage="val")[0]
                assert [rollout.score for rollout in scored] == [1.0] * size
            sharing.leave([endpoint.place])
            finished.append(name)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(optimize, [f"o{number}" for number in range(8)]))
    assert len(finished) == 8
    assert served.tally.most_in_flight <= 12
    assert served.tally.most_in_flight >= 8
    assert served.tally.answers == 8 * 76
