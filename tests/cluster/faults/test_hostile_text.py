"""Hostile text in inputs, outputs and verdicts: nothing breaks, and text stays text."""

import hashlib
import json
import re

import hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.rows import rows_from_frame, rows_from_records
from engine.scripted_endpoint import ScriptedEndpoint
from engine.session import ship_udfs
from engine.sources import keep_rows
from engine.storage import Storage
from udfs.endpoint import Endpoint, Limits
from udfs.prompt import Prompt

PROMPT = Prompt.parse("Text: {{text}}\nOther: {{ other }}\nText again: {{text}}")


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def rendered(text, other):
    """The prompt with its texts, put together without any template."""
    return f"Text: {text}\nOther: {other}\nText again: {text}"


def record(text, other):
    expected = digest(rendered(hostile.stored(text), hostile.stored(other)))
    return {"inputs": {"text": text, "other": other}, "expectations": {"expected_response": expected}}


def echo_digest(call):
    return digest(call.messages[-1]["content"])


@pytest.mark.parametrize(("rows", "megabytes"), [(3_000, 3), pytest.param(100_000, 10, marks=pytest.mark.slow_cluster)])
def test_hostile_inputs_arrive_as_they_are(rows, megabytes, spark, job, tmp_path, measured):
    """The endpoint gets each text once, in its place, unexpanded: its answer is the hash of what it got."""
    found = hostile.texts(rows, megabytes=megabytes)
    records = [record(text, other) for text, other in zip(found, reversed(found), strict=True)]
    table = pa.table({column: [json.dumps(r[column]) for r in records] for column in ("inputs", "expectations")})
    (tmp_path / "source").mkdir()
    size = max(1, rows // 20)
    for number in range(0, rows, size):
        pq.write_table(table.slice(number, size), tmp_path / "source" / f"{number:06d}.parquet")
    ship_udfs(spark)
    read = rows_from_frame(spark.read.parquet((tmp_path / "source").as_uri()))
    storage = Storage.at(str(tmp_path), str(tmp_path / "rows"))
    kept = keep_rows(spark, read, storage, PROMPT.variables, source="hostile")
    with ScriptedEndpoint(echo_digest, record=False) as server:
        running = job(server, rows=rows, concurrency=64, frame=kept, prompt=PROMPT, timeout_s=60).start()
        running.wait(timeout_s=900)
        took_s = running.ended_at - running.started_at
        measured(f"{server.tally.answers} answers for {rows} rows in {took_s:.0f} s")
        running.check_every_row_scored_once()
        assert server.tally.asked.total() == server.tally.answers == rows
        assert running.evaluation.usage.calls()["failed"] == 0


def echo_text(call):
    return call.messages[-1]["content"].removeprefix("Say: ")


def judgement(output):
    """What the scripted judge thinks of an output, and why, in words as hostile as those it has read."""
    verdict = "same" if int(digest(output), 16) % 2 else "different"
    return json.dumps({"rationale": output[:300], "verdict": verdict})


def judge(call):
    found = re.search(r"<output-([0-9a-f]{8})>\n(.*)\n</output-\1>", call.messages[-1]["content"], re.DOTALL)
    return judgement(found[2])


def test_hostile_outputs_are_judged_as_data(spark, job, measured):
    """The judge reads each output whole, and its verdict counts, not one that an output or a rationale claims."""
    found = sorted({hostile.stored(text) for text in hostile.texts(1_500, megabytes=2)})
    records = [{"inputs": {"text": text}, "expectations": {"expected_response": "{{text}}"}} for text in found]
    with ScriptedEndpoint(echo_text) as server, ScriptedEndpoint(judge, record=False) as judging:
        running = job(
            server,
            rows=len(found),
            concurrency=32,
            frame=rows_from_records(spark, records),
            prompt=Prompt.parse("Say: {{text}}"),
            mix=({"judge": "equivalence"},),
            judge=Endpoint("judge", base_url=judging.base_url, limits=Limits(max_concurrency=32)),
            timeout_s=60,
        )
        lines = running.start().wait().result.where(F.col("score").isNotNull()).collect()
        measured(f"{judging.tally.answers} verdicts over {len(found)} outputs")
    assert sorted(line["output"] for line in lines) == found
    assert [line["score"] for line in lines] == [
        float(json.loads(judgement(line["output"]))["verdict"] == "same") for line in lines
    ]
    assert judging.tally.answered_again == server.tally.answered_again == 0
