"""The window against endpoints of many kinds, in a world of events: what it serves and costs, and who gets what."""

import math
import random

import pytest
from flow_world import ANSWERED, FAILED, REFUSED, Concurrency, Endpoint, Faulty, Outages, TokenBucket, Windows, World

from udfs.capacity import Capacity
from udfs.places import Places

SPREAD = {"latency_s": 0.2 / math.exp(0.6**2 / 2), "sigma": 0.6}  # the mean stays 0.2 s


def back_above(world, since, calls_per_s, share=0.9):
    """Seconds from ``since`` until a whole second was served at ``share`` of the capacity."""
    tenths = (tenth / 10 for tenth in range(200))
    return next(t for t in tenths if world.answered_per_s(since + t, since + t + 1) >= share * calls_per_s)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("places", [20, 50, 100])
@pytest.mark.parametrize(("queueing", "latency"), [(False, {}), (True, {}), (False, SPREAD), (True, SPREAD)])
def test_what_serves_so_many_at_once_is_used_to_the_full(places, queueing, latency, seed):
    """From 5 s after the start on, whether it refuses or queues the rest; and nearly nothing is refused."""
    world = World(Concurrency(places, queueing=queueing, **latency), seed=seed).run(20)
    assert world.answered_per_s(5, 20) >= (0.94 if latency else 0.97) * places / 0.2
    assert world.refused_share(5, 20) < 0.02


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("per_s", [100, 300])
def test_a_rate_is_used_to_the_full_with_few_refusals(per_s, seed):
    """With a bucket that holds a tenth of a second."""
    world = World(TokenBucket(per_s, burst=per_s / 10, retry_after_s=1.0), seed=seed).run(20)
    assert world.answered_per_s(5, 20) >= 0.95 * per_s
    assert world.refused_share(5, 20) < 0.02


@pytest.mark.parametrize("per_s", [100, 300])
def test_a_rate_that_is_counted_by_the_second_is_found(per_s):
    """What is too much shows at the end of a second only, so it costs some more refusals."""
    world = World(Windows(per_s, 1.0)).run(25)
    assert world.answered_per_s(5, 25) >= 0.9 * per_s
    assert world.refused_share(5, 25) < 0.08


def test_a_minute_that_is_used_up_is_waited_for_without_hammering():
    """Refused until the next minute, the endpoint is asked by single calls; each minute is used to the full."""
    world = World(Windows(3000, 60.0, retry_after_s=30.0)).run(240)
    assert world.answered_per_s(60, 240) >= 0.98 * 50
    refused = [at for at in world.refusals if 150 <= at < 175]
    assert len(refused) <= 25


@pytest.mark.parametrize("queueing", [False, True])
@pytest.mark.parametrize("places", [50, 100])
def test_capacity_that_halves_and_doubles_is_followed(places, queueing):
    """Back above 90 % within 5 s of each change."""
    endpoint = Concurrency(places, queueing=queueing)
    world = World(endpoint).run(10)
    endpoint.change(world, places // 2)
    world.run(20)
    endpoint.change(world, places)
    world.run(30)
    assert back_above(world, 10, places / 0.4) < 5
    assert back_above(world, 20, places / 0.2) < 5


@pytest.mark.parametrize("places", [50, 100])
def test_a_capacity_that_halves_for_good_is_not_taken_for_noise(places):
    """Over 20 seeds: refusals that end when less is sent are load, and not borne."""
    for seed in range(1, 21):
        endpoint = Concurrency(places)
        world = World(endpoint, seed=seed).run(10)
        endpoint.change(world, places // 2)
        world.run(60)
        assert world.refused_share(0, 60) < 0.045
        assert world.answered_per_s(20, 60) > 0.95 * places / 0.4


@pytest.mark.parametrize("how", [FAILED, REFUSED])
@pytest.mark.parametrize("tasks", [2, 8])
def test_after_an_outage_all_is_as_before_within_seconds(how, tasks):
    """While nothing is served, each task asks once in a while; when it is over, the old window is found fast."""
    world = World(Outages(Concurrency(100), 10, 20, how=how), tasks=tasks).run(30)
    assert sum(11 <= at < 20 for at in world.sends) <= 9 * tasks
    assert back_above(world, 20, 500) < 5


@pytest.mark.parametrize(("tasks", "until"), [(1, 10), (2, 10), (8, 20), (50, 40), (200, 40)])
def test_any_number_of_tasks_shares_an_endpoint(tasks, until):
    """Together they use it, and never have more in flight than the cluster may; tasks with less than a call, too."""
    world = World(Concurrency(100), tasks=tasks).run(until)
    assert world.answered_per_s(until / 2, until) >= 0.9 * 500
    assert world.refused_share(until / 2, until) < 0.1
    assert world.most_in_flight <= 512


@pytest.mark.parametrize("tasks", [1, 2, 8, 50, 200])
def test_the_cluster_starts_with_about_eight_calls(tasks):
    """However many tasks: an endpoint that serves a team bears that at once."""
    world = World(Endpoint(latency_s=0.25), tasks=tasks).run(0.24)
    assert world.most_in_flight <= 16


@pytest.mark.parametrize("tasks", [1, 2, 8, 50, 200])
def test_a_configured_share_is_never_exceeded(tasks):
    """Not by an endpoint that would serve anything."""
    world = World(Endpoint(), tasks=tasks, most=1).run(15)
    assert 0.9 * tasks <= world.most_in_flight <= tasks


@pytest.mark.parametrize(("tasks", "least"), [(2, 0.6), (4, 0.45), (8, 0.3)])
def test_shares_are_comparable(tasks, least):
    """Jain's index of what the tasks were given; all of it to one would be 1 / tasks."""
    world = World(Concurrency(50), tasks=tasks).run(10)
    before = {task.number: task.answered for task in world.tasks}
    assert world.run(25).jain(before) >= least


def test_a_task_that_comes_late_gets_in_and_one_that_ends_leaves_its_share():
    """The newcomer gets in, if slowly, at a full endpoint; what a task leaves is used by the others within seconds."""
    world = World(Concurrency(100), tasks=2)
    world.add(2, 3, 170)
    late = world.tasks[2]
    late.working = False
    world.run(10)
    late.working = True
    world.after(0, world.pump, late)
    world.run(40)
    assert late.answered / 30 >= 5
    world.tasks[0].working = False
    world.run(50)
    assert world.answered_per_s(46, 50) > 0.9 * 500


def test_a_newcomer_does_not_hammer_a_full_endpoint():
    """Before its first answer it knows no latency; a refused place still rests as long as a usual call takes."""
    for seed in range(1, 6):
        world = World(Concurrency(50), tasks=1, most=256, seed=seed).run(10)
        world.add(1, 2, 256)
        assert sum(at >= 10 for at in world.run(11).refusals) < 40


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("tasks", [2, 8])
def test_random_refusals_take_no_more_than_half(tasks, seed):
    """A tenth of the calls is refused whatever the load: that says nothing about the window."""
    world = World(Faulty(Concurrency(50), share=0.1, how=REFUSED), tasks=tasks, seed=seed).run(40)
    assert world.answered_per_s(20, 40) >= 0.5 * 250


@pytest.mark.parametrize("seed", [1])
def test_random_failures_take_only_themselves(seed):
    """A tenth of the calls ends in a 500: no reason to send fewer."""
    world = World(Faulty(Concurrency(50), share=0.1, how=FAILED), seed=seed).run(20)
    assert world.answered_per_s(5, 20) >= 0.85 * 250


@pytest.mark.parametrize("seed", [1, 2])
def test_long_tails_of_latency_are_no_congestion(seed):
    """An endpoint that does not queue is used up to the limit, however much its latency varies."""
    world = World(Endpoint(latency_s=0.2 / math.exp(0.5), sigma=1.0), seed=seed, most=64).run(20)
    assert world.answered_per_s(5, 20) >= 0.7 * 128 / 0.2


def test_longer_answers_are_no_congestion():
    """A new candidate's answers take three times as long: after a moment's trial, the window is what it was."""
    endpoint = Endpoint()
    world = World(endpoint, most=50).run(10)
    endpoint.latency_s = 0.6
    world.run(40)
    assert world.answered_per_s(30, 40) >= 0.95 * 100 / 0.6


def test_a_queue_does_not_grow_for_ever():
    """An endpoint that queues is not filled to the cluster's limit: latency tells."""
    world = World(Concurrency(20, queueing=True)).run(40)
    assert world.most_in_flight < 400


def test_a_window_is_kept_on_average_though_it_is_no_whole_number():
    """2.5 calls are three places that rest; a quarter of a call is one place that rests most of the time."""
    for window in (0.25, 0.9, 2.5, 7.1):
        places, now, used, ends = Places(window), 0.0, 0.0, []
        while now < 200:
            while places.wait_s(now) == 0:
                places.start(now)
                ends.append(now + 0.2)
                used += 0.2
            now = min([now + places.wait_s(now), *ends])
            while ends and ends[0] <= now:
                ends.pop(0)
                places.end(now, 0.2)
        assert used / 200 == pytest.approx(window, rel=0.02)


def test_the_same_seed_gives_the_same_world():
    """Nothing but clock and rng decides."""
    runs = [World(Concurrency(50, **SPREAD), seed=3).run(5).answers for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_share_that_shrinks_is_kept_at_once():
    """The next call waits until the window is below it."""
    capacity = Capacity(most=100, tasks=1, now=0.0, rng=random.Random(1), wall=lambda: 0.0)
    for _ in range(8):
        capacity.started(0.0)
    capacity.limit(3)
    assert capacity.places.wait_s(0.0) > 0
    for call in range(6):
        capacity.answered(0.2, 0.0)
        assert (capacity.places.wait_s(0.2) == 0) == (8 - call - 1 < 3)


def test_the_world_counts_what_it_says():
    """The simulation itself: a bucket lets its rate and its burst through, and answers come after the latency."""
    world = World(TokenBucket(10, burst=5), tasks=1).run(10)
    assert len(world.answers) <= 5 + 10 * 10
    assert ANSWERED != REFUSED
    assert min(world.answers) >= 0.2
