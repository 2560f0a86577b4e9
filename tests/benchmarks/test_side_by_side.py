"""The benchmark's own parts: what the endpoint counts and refuses, how runs are judged, where tables are written."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks.side_by_side import rows
from benchmarks.side_by_side.endpoint import Behaviour, Model
from benchmarks.side_by_side.measure import Measured
from benchmarks.side_by_side.process import EndpointProcess, Run
from benchmarks.side_by_side.systems import PROMPTMILL, SPARK_LLM_EVAL
from benchmarks.side_by_side.table import BEGIN, END, section, write_section


def test_an_answered_row_that_is_asked_again_is_paid_twice():
    """Begun calls are what is billed: repeated ones count, also when nobody waits for their answer any more."""
    model = Model(clock=lambda: 0.0)
    for row, answered in ((1, True), (1, True), (2, False), (2, True)):
        assert model.begin(row)
        model.end(row, answered=answered)
    found = model.read()
    assert (found["begun"], found["rows"], found["paid_twice"], found["answered_twice"], found["wasted"]) == (
        4,
        2,
        2,
        1,
        1,
    )


def test_a_quota_lets_in_what_it_says_and_counts_the_rest():
    """At 10 requests/s, of 100 calls spread over 2 s, 20 are let in."""
    now = [0.0]
    model = Model(clock=lambda: now[0])
    model.reset(Behaviour(requests_per_s=10))
    for _ in range(100):
        now[0] += 0.02
        if model.begin(1):
            model.end(1, answered=True)
    assert (model.counters.begun, model.counters.refused) == (20, 80)
    assert sum(model.counters.begun_by_second) == 20


def test_all_systems_meet_the_same_latencies():
    """A row's latency is the same in every run; half of the rows are above the median."""
    one, other = Model(), Model()
    latencies = [one.latency_s(row) for row in range(5000)]
    assert latencies == [other.latency_s(row) for row in range(5000)]
    assert 0.45 < sum(latency > 0.2 for latency in latencies) / 5000 < 0.55
    assert max(latencies) > 0.6


def test_the_endpoint_answers_over_http_and_refuses_with_retry_after():
    """A row's answer is the one that the scores are checked against; above its limit it says when to come again."""
    with EndpointProcess(Path(sys.executable)) as endpoint:
        endpoint.reset(Behaviour(median_s=0.001))
        for row in (0, 9):
            assert _ask(endpoint.base_url, row) == rows.answer(row)
        endpoint.reset(Behaviour(requests_per_s=0.001))
        with pytest.raises(urllib.error.HTTPError) as refused:
            _ask(endpoint.base_url, 0)
        assert (refused.value.code, refused.value.headers["Retry-After"]) == (429, "1")
        assert endpoint.counters()["refused"] == 1


def test_a_caller_that_hangs_up_wasted_its_call():
    """What was begun and nobody waited for is counted as wasted."""

    async def hang_up(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"messages": [{"role": "user", "content": rows.text(3)}]}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        while endpoint.counters()["begun"] == 0:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        while endpoint.counters()["wasted"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    with EndpointProcess(Path(sys.executable)) as endpoint:
        endpoint.reset(Behaviour(median_s=60.0, sigma=0.0))
        asyncio.run(asyncio.wait_for(hang_up(int(endpoint.base_url.split(":")[2].split("/")[0])), 30))
        assert endpoint.counters()["answered"] == 0


def test_the_right_mean_is_nine_tenths():
    """Neither calls that are scored 0 nor rows that are left out can give the mean that is asked for."""
    assert rows.mean_score(range(300)) == pytest.approx(0.9)
    assert {len(rows.text(row)) > 400 for row in range(100)} == {True}
    assert not _measured(PROMPTMILL.name, rows_per_s=10, total=81.0, scored=90).right
    assert not _measured(PROMPTMILL.name, rows_per_s=10, total=89.0).right
    assert _measured(PROMPTMILL.name, rows_per_s=10).right


def test_the_section_takes_only_its_own_place(tmp_path):
    """What others wrote into the page stays, before and behind the markers, however often it is written."""
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Benchmarks\n\nflow\n\n{BEGIN}\nold\n{END}\n\nthroughput\n")
    for text in ("first", "second"):
        write_section(page, text)
    assert page.read_text() == f"# Benchmarks\n\nflow\n\n{BEGIN}\nsecond\n{END}\n\nthroughput\n"


def test_ratios_are_to_the_best_run_that_counts():
    """A run whose scores are wrong is shown, but is nobody's best; a failed one says why."""
    lines = [
        _measured(PROMPTMILL.name, rows_per_s=1000),
        _measured(PROMPTMILL.name, rows_per_s=5000, total=1.0),
        _measured(SPARK_LLM_EVAL.name, rows_per_s=10),
        _measured("other", rows_per_s=0, error="no wheel | here"),
    ]
    text = section([line.as_data() for line in lines])
    assert "100 times the only other Spark evaluator as it comes" in text
    assert "no wheel / here" in text
    assert "scores are wrong: does not count" in text


def _ask(base_url: str, row: int) -> str:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": rows.prompt(rows.text(row))}]}).encode()
    with urllib.request.urlopen(f"{base_url}/chat/completions", body, timeout=30) as answer:  # noqa: S310 - our own, on 127.0.0.1
        return json.load(answer)["choices"][0]["message"]["content"]


def _measured(system: str, *, rows_per_s: float, total: float = 90.0, scored: int = 100, error: str = "") -> Measured:
    counters = {"calls": 100, "begun": 100, "answered": 100, "cpu_s": 0.1, "begun_by_second": [100]}
    seconds = scored / rows_per_s if rows_per_s else 0.0
    run = Run(rows=100, seconds=seconds, total=total, scored=scored, counters=counters, error=error)
    return Measured("speed", system, f"{rows_per_s} {total}", True, run, 0.9, "2026-01-01T00:00:00+00:00", 0.1)
