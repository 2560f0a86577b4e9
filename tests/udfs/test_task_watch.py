"""Tasks of one evaluation over real HTTP: stopped from outside, by a refusal, by a spent budget, by lost storage."""

import json
import shutil
import threading
import time
from dataclasses import replace

import pytest

from engine.scripted_endpoint import Reply, ScriptedEndpoint
from udfs.allowance import Allowance
from udfs.endpoint import Endpoint, Limits, Price
from udfs.errors import ErrorKind, EvaluationStopped, InputError, LedgerError
from udfs.ledger import LedgerLocation
from udfs.plan import EvaluationPlan
from udfs.prompt import Prompt
from udfs.rollout import Item
from udfs.scorers import build_mix
from udfs.task import evaluate_stream
from udfs.task_status import Stop

PROMPT = Prompt.parse("Shout {{word}}")


def items(count, first=0):
    return [
        Item(PROMPT.candidate_id, f"row-{n}", json.dumps({"word": f"w{n}"}), json.dumps({"expected_response": f"W{n}"}))
        for n in range(first, first + count)
    ]


def plan_for(endpoint, root, **changes):
    limits = Limits(max_attempts=2, max_concurrency=changes.pop("max_concurrency", 8))
    target = Endpoint("target", base_url=endpoint.base_url, limits=limits, price=changes.pop("price", None))
    plan = EvaluationPlan(
        endpoint=target,
        prompts={PROMPT.candidate_id: PROMPT},
        mix=build_mix(["exact_match"], None),
        ledger=LedgerLocation(str(root)),
        evaluation_id="e1",
        run_id="run",
        watched=True,
    )
    plan.status_folder.begin()
    return replace(plan, **changes)


def rollouts(plan, wanted, *, partition=0):
    return [r for batch in evaluate_stream(plan, [wanted], partition=partition) for r in batch]


def shout(call):
    return call.prompt.split()[-1].upper()


def test_a_stop_from_outside_ends_a_task_with_its_answers_on_storage(tmp_path):
    """Calls in flight are given time; none is begun any more; what was answered is in the ledger."""
    with ScriptedEndpoint(lambda call: Reply(shout(call), delay_s=0.1)) as endpoint:
        plan = plan_for(endpoint, tmp_path, max_concurrency=2)
        stopper = threading.Timer(1.0, plan.status_folder.stop, args=(Stop("interrupted", "the run was interrupted"),))
        stopper.start()
        with pytest.raises(EvaluationStopped, match="interrupted"):
            rollouts(plan, items(5000))
        answered = len(endpoint.answered)
        assert 0 < answered < 5000
        assert len(list(plan.ledger.entries())) == answered
        with pytest.raises(EvaluationStopped):
            rollouts(plan, items(10, first=6000))  # Spark's own next attempt
        assert len(endpoint.answered) == answered


def test_refused_credentials_end_all_tasks(tmp_path):
    """The first task to find out stops the others; a handful of calls is all that is spent."""
    with ScriptedEndpoint(lambda _: Reply(status=401)) as endpoint:
        plan = plan_for(endpoint, tmp_path)
        with pytest.raises(EvaluationStopped, match="refuses the credentials"):
            rollouts(plan, items(3000))
        assert len(endpoint.calls) <= 20
        stop = plan.status_folder.stopped()
        assert stop is not None
        assert stop.kind == ErrorKind.CREDENTIALS


def test_answers_on_their_way_when_the_credentials_are_refused_are_kept(tmp_path):
    """What is in flight when a task gives up is paid for, so it is waited for."""
    asked = [0]

    def refuse_from_the_middle(call):
        asked[0] += 1
        if asked[0] <= 60:
            return Reply(shout(call))
        # A few slow answers among refusals that come at once.
        return Reply(shout(call), delay_s=0.8) if asked[0] <= 64 else Reply(status=401)

    with ScriptedEndpoint(refuse_from_the_middle) as endpoint:
        plan = plan_for(endpoint, tmp_path)
        with pytest.raises(EvaluationStopped, match="refuses the credentials"):
            rollouts(plan, items(3000))
        assert len(endpoint.answered) == 64
        assert len(list(plan.ledger.entries())) == 64


def test_a_task_whose_own_machine_is_cut_off_ends_alone(tmp_path, monkeypatch):
    """Another task has had answers a moment ago: the endpoint lives, so only this task ends, for Spark to move it."""
    monkeypatch.setattr("udfs.health.DEAD_AFTER_S", 1.0)
    with ScriptedEndpoint(lambda _: Reply(status=503)) as endpoint:
        plan = plan_for(endpoint, tmp_path, tasks=2)
        alive = replace(plan_status(), answered_at=time.time())
        plan.status_folder.report(1, alive)
        with pytest.raises(EvaluationStopped, match="has answered nothing"):
            rollouts(replace(plan, endpoint=patient(plan.endpoint)), items(40))
        assert plan.status_folder.stopped() is None
        plan.status_folder.report(1, replace(alive, answered_at=time.time() - 3600))
        with pytest.raises(EvaluationStopped, match="has answered nothing"):
            rollouts(replace(plan, endpoint=patient(plan.endpoint)), items(40))
        assert plan.status_folder.stopped() is not None


def plan_status():
    from udfs.task_status import TaskStatus

    return TaskStatus()


def patient(endpoint):
    return replace(endpoint, limits=replace(endpoint.limits, max_attempts=50))


@pytest.mark.parametrize("limit", ["tokens", "cost"])
def test_tokens_and_money_hold_within_a_task(tmp_path, limit):
    """What was asked stays within the allowance; the rest comes back unasked, and unscored."""
    price = Price(prompt_per_million=1e6, completion_per_million=1e6)  # a token costs 1
    with ScriptedEndpoint(lambda call: Reply(shout(call), delay_s=0.01)) as endpoint:
        plan = plan_for(endpoint, tmp_path, price=price, tasks=2, allowance=Allowance(**{limit: 400.0}))
        plan = replace(plan, endpoint=replace(plan.endpoint, sampling=replace(plan.endpoint.sampling, max_tokens=5)))
        found = rollouts(plan, items(300))
    asked = [r for r in found if r.error is None]
    unasked = [r for r in found if r.error is not None]
    spent = sum(r.prompt_tokens + r.completion_tokens for r in asked)
    assert 150 <= spent <= 200  # half of the allowance is this task's
    assert len(asked) == len(endpoint.calls)
    assert {(r.error.kind, r.score) for r in unasked} == {(ErrorKind.BUDGET, None)}


def test_the_end_of_the_time_holds_within_a_task(tmp_path):
    """At that moment no further call is begun; those in flight end."""
    with ScriptedEndpoint(lambda call: Reply(shout(call), delay_s=0.05)) as endpoint:
        until = time.time() + 1.0
        plan = plan_for(endpoint, tmp_path, max_concurrency=2, allowance=Allowance(until=until))
        found = rollouts(plan, items(2000))
    assert {r.error.kind for r in found if r.error} == {ErrorKind.BUDGET}
    assert 0 < sum(r.error is None for r in found) == len(endpoint.calls) < 2000


def test_a_worker_without_the_drivers_storage_calls_nothing(tmp_path):
    """It is told what to mend before anything is paid."""
    with ScriptedEndpoint(shout) as endpoint:
        plan = plan_for(endpoint, tmp_path / "driver")
        elsewhere = replace(plan, ledger=LedgerLocation(str(tmp_path / "worker")))
        with pytest.raises(InputError, match=r"storage\.root"):
            rollouts(elsewhere, items(3))
        assert endpoint.calls == []


def test_storage_that_can_not_be_written_costs_no_call(tmp_path):
    """A task that could keep nothing asks for nothing."""
    with ScriptedEndpoint(shout) as endpoint:
        plan = plan_for(endpoint, tmp_path)
        blocked = replace(plan, evaluation_id="e2")
        (tmp_path / "status" / "v1" / "e2").mkdir()
        (tmp_path / "status" / "v1" / "e2" / "begun.json").write_text("{}")
        (tmp_path / "status" / "v1" / "e2" / "p00000.json").mkdir()  # what can't be replaced, even by root
        with pytest.raises(LedgerError, match="can't be written"):
            rollouts(blocked, items(3))
        assert endpoint.calls == []


def test_limits_of_tasks_that_have_ended_pass_to_those_that_run(tmp_path):
    """Of four tasks three are done: the last may have all calls in flight."""
    most = [0]
    lock, now = threading.Lock(), [0]

    def count(call):
        with lock:
            most[0] = max(most[0], len(endpoint.calls) - len(endpoint.answered) - now[0])
        return Reply(shout(call), delay_s=0.2)

    with ScriptedEndpoint(count) as endpoint:
        plan = plan_for(endpoint, tmp_path, max_concurrency=16, tasks=4)
        for partition in (1, 2, 3):
            plan.status_folder.end(partition)
        rollouts(plan, items(150))
    assert 8 <= most[0] <= 16


def test_storage_that_is_lost_under_way_ends_the_task_soon_after(tmp_path):
    """While segments are refused nothing is asked; when they are refused for good, the task says so by itself."""
    with ScriptedEndpoint(lambda call: Reply(shout(call), delay_s=0.1)) as endpoint:
        plan = plan_for(endpoint, tmp_path, max_concurrency=4)

        def lose():
            shutil.rmtree(tmp_path / "ledger", ignore_errors=True)
            (tmp_path / "ledger").write_text("a file where the folder was")  # holds for root, too

        loser = threading.Timer(1.0, lose)
        loser.start()
        with pytest.raises(LedgerError, match="can't be written"):
            rollouts(plan, items(5000))
        assert len(endpoint.answered) < 1000
        stop = plan.status_folder.stopped()
        assert stop is not None
        assert stop.kind == "ledger"
