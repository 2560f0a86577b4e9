"""The pandas UDF: what leaves a worker arrives in Spark as it was, and null stays null."""

import json

from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.scripted_endpoint import Reply, ScriptedEndpoint
from udfs.endpoint import Endpoint, Limits
from udfs.evaluation_udf import ITEM_COLUMNS, evaluation_udf, to_items
from udfs.ledger import LedgerLocation
from udfs.plan import EvaluationPlan
from udfs.prompt import Prompt
from udfs.rollout import RECORD_COLUMNS, Rollout, to_columns
from udfs.scorers import build_mix

PROMPT = Prompt.parse("Shout {{n}}")


def script(call):
    number = int(call.prompt.split()[-1])
    if number % 3 == 0:
        return Reply(status=503)
    return Reply(finish_reason="content_filter") if number % 3 == 1 else str(number)


def test_records_have_exactly_the_columns_of_the_schema():
    """The flat form and Spark's schema name the same columns."""
    assert tuple(to_columns([Rollout("c", "r")])) == RECORD_COLUMNS
    assert {name: len(column) for name, column in to_columns([]).items()} == dict.fromkeys(RECORD_COLUMNS, 0)


def test_unscored_rows_stay_null_through_arrow(spark, tmp_path):
    """In one batch with scored rows an outage is null, not NaN and not 0; every row comes back once, as itself."""
    rows = [
        (PROMPT.candidate_id, f"r{n}", json.dumps({"n": n}), json.dumps({"expected_response": str(n)}), None)
        for n in range(24)
    ]
    with ScriptedEndpoint(script) as server:
        plan = EvaluationPlan(
            endpoint=Endpoint("m", base_url=server.base_url, limits=Limits(max_attempts=1)),
            prompts={PROMPT.candidate_id: PROMPT},
            mix=build_mix(["exact_match"], None),
            ledger=LedgerLocation(str(tmp_path)),
            evaluation_id="e1",
            run_id="run",
            tasks=3,
        )
        frame = spark.createDataFrame(rows, ", ".join(f"{name} string" for name in ITEM_COLUMNS)).repartition(3)
        records = frame.select(evaluation_udf(plan)(F.struct(*ITEM_COLUMNS)).alias("r")).select("r.*")
        found = {line["row_id"]: line for line in records.collect()}
        assert len(server.calls) == 24
    assert sorted(found) == sorted(row[1] for row in rows)
    for n in range(24):
        line = found[f"r{n}"]
        kinds = ("overloaded", "content_filter", None)
        scores = (None, 0.0, 1.0)
        assert (line["error_kind"], line["score"]) == (kinds[n % 3], scores[n % 3])
        assert line["output"] == (str(n) if n % 3 == 2 else None)
    kept = list(plan.ledger.entries())
    assert len(kept) == 16
    assert len({entry.key for entry in kept}) == 16


def test_items_carry_what_the_ledger_knows():
    """The column ``known`` is a JSON array of entries, in which nulls may be left out."""
    import pandas as pd

    known = json.dumps([{"key": "k", "kind": "answer", "output": "x", "attempts": 1}])
    columns = dict(zip(ITEM_COLUMNS, (["c", "c"], ["a", "b"], ["{}", "{}"], [None, "{}"], [known, None]), strict=True))
    one, other = to_items(pd.DataFrame(columns))
    assert (one.known[0].key, one.known[0].error_kind, other.known) == ("k", None, ())
    assert (one.expectations, other.expectations) == (None, "{}")
