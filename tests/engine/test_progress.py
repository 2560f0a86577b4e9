"""Progress: what a person is told of a running stage."""

import time

import pytest

from engine.progress import Progress, Snapshot, watch_tasks
from jobs.terminal import facts
from udfs.rollout import Rollout
from udfs.task_status import StatusFolder, TaskStatus


@pytest.fixture
def shown():
    return []


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def progress(shown, now):
    return Progress(show=shown.append, clock=lambda: now[0])


def test_the_rate_and_the_time_left_are_those_of_the_last_seconds(progress, shown, now):
    """A slow hour at the start does not make the end look far."""
    progress.stage("holdout", 10_000, currency="EUR")
    for second in range(3600):
        now[0] = float(second)
        progress.seen(TaskStatus(done=second // 10))
    for second in range(30):
        now[0] = 3600.0 + second
        progress.seen(TaskStatus(done=360 + 100 * second))
    last = shown[-1]
    assert last.per_s == pytest.approx(100, rel=0.05)
    assert last.left_s == pytest.approx((10_000 - last.done) / 100, rel=0.05)


def test_one_line_says_it_all():
    """Score, rate, calls in flight, refused, retried, failed, reused, tokens, money, time taken and left."""
    tasks = TaskStatus(
        done=500,
        reused=20,
        failed=1,
        retried=4,
        refused=3,
        in_flight=64,
        tokens=12_345,
        cost=0.25,
        score_sum=250.0,
        scored=500,
    )
    line = facts(Snapshot("holdout", 1000, tasks, elapsed_s=125.0, per_s=4.0, currency="EUR"))
    assert line == (
        "score 0.500 · 4 rows/s · 64 in flight · 3 refused · 4 retried · 1 failed · 20 from the ledger · "
        "12,345 tokens · 0.2500 EUR · 2 min 5 s · about 2 min 5 s left"
    )


def test_rows_of_an_attempt_that_is_made_again_never_exceed_the_total(progress, shown):
    """A lost executor's rows are counted again by the next attempt."""
    progress.stage("holdout", 100)
    progress.seen(TaskStatus(done=140))
    assert shown[-1].done == 100


def test_a_stage_on_the_driver_ends_with_its_score(progress, shown):
    """Its rollouts are its outcome."""
    progress.stage("step 1: parents", 2)
    progress.ended([Rollout("c", "r1", output="x", score=1.0), Rollout("c", "r2", output="x", score=0.0)])
    assert (shown[-1].score, shown[-1].done, shown[-1].total) == (0.5, 2, 2)


def test_an_observer_that_fails_is_left_alone():
    """A progress bar can't break a run."""
    calls = []

    def broken(snapshot):
        calls.append(snapshot)
        raise RuntimeError("no terminal")

    progress = Progress(show=broken)
    progress.stage("a", 1)
    progress.stage("b", 1)
    assert len(calls) == 1


def test_tasks_that_report_are_seen_while_the_job_runs(progress, shown, tmp_path):
    """The driver reads the status files; half a file or none is no harm."""
    folder = StatusFolder(str(tmp_path), "e1")
    folder.begin()
    progress.stage("holdout", 10)
    with watch_tasks(folder, progress):
        folder.report(0, TaskStatus(done=4, in_flight=2))
        until = time.monotonic() + 30
        while not any(s.done == 4 for s in shown) and time.monotonic() < until:
            time.sleep(0.05)
    assert any((s.done, s.tasks.in_flight) == (4, 2) for s in shown)


def test_an_endpoint_that_warms_up_is_told():
    """A line that stands still for minutes says why; tasks that wait are counted together."""
    waiting = TaskStatus(warming_up=1) + TaskStatus(warming_up=1)
    assert waiting.warming_up == 2
    line = facts(Snapshot("val", 40, waiting, elapsed_s=95.0))
    assert line == "the endpoint had scaled to zero and is warming up · 95 s"
