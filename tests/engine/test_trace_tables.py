"""Tables of traces and of requests as rows, with the columns that Databricks gives them; Spark does all of it."""

import json

import mlflow
import pytest
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.config import DatasetModel
from engine.errors import InputError
from engine.rows import local_rows
from engine.sources import _dataset_table, load_rows
from engine.storage import Storage
from udfs.prompt import Prompt

PROMPT = Prompt.parse([{"role": "system", "content": "Sort."}, {"role": "user", "content": "Mail:\n{{text}}"}])
REPLY = {"choices": [{"message": {"content": "billing"}, "finish_reason": "stop"}]}
SPANS_DDL = (
    "trace_id string, span_id string, trace_state string, parent_span_id string, flags int, name string, kind string, "
    "start_time_unix_nano bigint, end_time_unix_nano bigint, attributes map<string,string>, "
    "status struct<message:string,code:string>"
)
GATEWAY_DDL = (
    "request_date date, databricks_request_id string, request_time timestamp, status_code int, "
    "sampling_fraction double, execution_duration_ms bigint, request string, response string, "
    "served_entity_id string, logging_error_codes array<string>, requester string"
)
OLDER_DDL = (
    "client_request_id string, databricks_request_id string, date date, timestamp_ms bigint, status_code int, "
    "sampling_fraction double, execution_time_ms bigint, request string, response string, "
    "request_metadata map<string,string>"
)


def request(text):
    return {"messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": f"Mail:\n{text}"}]}


def span_lines(number, text, answer="billing"):
    reply = {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}
    attributes = {"mlflow.spanType": "CHAT_MODEL", "mlflow.spanInputs": request(text), "mlflow.spanOutputs": reply}
    told = {key: json.dumps(value) for key, value in attributes.items()}
    ok = ("", "STATUS_CODE_OK")
    began = number * 1_000_000_000
    root = {"mlflow.spanInputs": json.dumps({"mail": text}), "mlflow.spanOutputs": '"done"'}
    return [
        (f"t{number}", f"b{number}", "", f"a{number}", 0, "llm", "x", began + 5, began + 9, told, ok),
        (f"t{number}", f"a{number}", "", None, 0, "agent", "x", began, began + 9, root, ok),
    ]


def rows(spark, tmp_path, view, kind, **settings):
    dataset = DatasetModel(**{kind: {"name": view, **settings}})
    told = []
    storage = Storage.at(str(tmp_path), str(tmp_path / "run"))
    found = load_rows(spark, dataset, storage, frozenset({"text"}), prompt=PROMPT, tell=told.append)
    return {json.loads(row.inputs)["text"]: json.loads(row.expectations) for row in local_rows(found)}, told


def test_spans_of_opentelemetry_are_put_together_to_traces(spark, tmp_path):
    """With attributes as texts or as VARIANT; of an input that came twice the latest of two answers stands."""
    lines = [*span_lines(1, "a", "old"), *span_lines(2, "a", "new"), *span_lines(3, "b")]
    lines += [("t4", "x", "", None, 0, "other", "x", 1, 2, {"mlflow.spanInputs": '"hm"'}, ("", "STATUS_CODE_OK"))]
    spans = spark.createDataFrame(lines, SPANS_DDL).repartition(3)
    spans.createOrReplaceTempView("spans_of_texts")
    found, told = rows(spark, tmp_path / "1", "spans_of_texts", "trace_table")
    assert found == {"a": {"expected_response": "new"}, "b": {"expected_response": "billing"}}
    assert told == [
        "table spans_of_texts: 1 traces are left out, 3 calls are used. Left out: 1 x no call to a model in them"
    ]
    as_variant = spans.withColumn("attributes", F.expr("parse_json(to_json(attributes))"))
    as_variant.createOrReplaceTempView("spans_of_variants")
    newest, _ = rows(spark, tmp_path / "2", "spans_of_variants", "trace_table", max_traces=1)
    assert newest == {"b": {"expected_response": "billing"}}


def test_a_line_a_trace_brings_what_people_said(spark, tmp_path):
    """As Databricks' unified view and its archive have it: spans, tags and assessments in one line; also as files."""
    root, llm = (
        {"span_id": line[1], "parent_span_id": line[3], "name": line[5], "attributes": line[9]}
        for line in span_lines(1, "a")[::-1]
    )
    said = '[{"name": "expected_response", "source": {"source_type": "HUMAN"}, "expectation": {"value": "other"}}]'
    ddl = "trace_id string, state string, request_time timestamp, tags map<string,string>, spans string, said string"
    frame = spark.createDataFrame([("t1", "OK", None, {"team": "x"}, json.dumps([root, llm]), said)], ddl)
    shape = "array<struct<name:string,source:struct<source_type:string>,expectation:struct<value:string>>>"
    path = str(tmp_path / "archive")
    frame.withColumn("assessments", F.from_json("said", shape)).drop("said").write.parquet(path)
    found, told = rows(spark, tmp_path, path, "trace_table")
    assert found == {"a": {"expected_response": "other"}}
    assert told == []


def test_inference_tables_of_both_generations_are_rows(spark, tmp_path):
    """AI Gateway's and the older ones; refused requests are counted, and the filter is a condition in SQL."""
    texts = [(json.dumps(request(text)), json.dumps(REPLY)) for text in "abc"]
    gateway = [
        (None, f"r{n}", None, code, 1.0, 9, *texts[n], "e", None, "ann") for n, code in enumerate((200, 200, 429))
    ]
    spark.createDataFrame(gateway, GATEWAY_DDL).createOrReplaceTempView("gateway_payload")
    found, told = rows(spark, tmp_path / "1", "gateway_payload", "inference_table")
    assert set(found) == {"a", "b"}
    assert "1 x failed" in told[0]
    older = [(None, f"r{n}", None, n, 200, 1.0, 9, *texts[n], {}) for n in range(3)]
    spark.createDataFrame(older, OLDER_DDL).createOrReplaceTempView("older_payload")
    found, _ = rows(spark, tmp_path / "2", "older_payload", "inference_table", filter="timestamp_ms >= 1", max_traces=1)
    assert set(found) == {"c"}


def test_a_table_of_another_kind_is_told_where_it_belongs(spark, tmp_path):
    """By the key that reads it."""
    spark.createDataFrame([("x", "y")], "request string, response string").createOrReplaceTempView("requests_only")
    with pytest.raises(InputError, match="use inference_table"):
        rows(spark, tmp_path, "requests_only", "trace_table")
    spark.createDataFrame(span_lines(1, "a"), SPANS_DDL).createOrReplaceTempView("spans_only")
    with pytest.raises(InputError, match="use trace_table"):
        rows(spark, tmp_path, "spans_only", "inference_table")
    with pytest.raises(InputError, match="filter 'nothing = 1' can't be used"):
        rows(spark, tmp_path, "spans_only", "trace_table", filter="nothing = 1")
    with pytest.raises(InputError, match="no call of the prompt was found"):
        rows(spark, tmp_path, "spans_only", "trace_table", filter="name = 'agent'")


def test_the_table_behind_a_data_set_is_read_by_spark(spark, tmp_path):
    """By its three-level name, on Databricks; tags become slices and the weight; anything else is MLflow's to read."""
    name = "spark_catalog.default.promptmill_evals"
    ddl = "dataset_record_id string, inputs string, expectations string, tags map<string,string>"
    tags = {"team": "a", "promptmill.weight": "3", "mlflow.x": "1"}
    before = mlflow.get_tracking_uri()
    spark.sql(f"DROP TABLE IF EXISTS {name}")
    line = ("dr-1", '{"text": "a"}', '{"expected_response": "b"}', tags)
    location = f"{tmp_path}/table"
    spark.createDataFrame([line], ddl).write.option("path", location).saveAsTable(name)
    try:
        mlflow.set_tracking_uri("databricks")
        storage = Storage.at(str(tmp_path), str(tmp_path / "run"))
        [row] = local_rows(load_rows(spark, DatasetModel(name=name), storage, frozenset({"text"})))
        assert (row.inputs, row.expectations, row.weight) == ('{"text":"a"}', '{"expected_response":"b"}', 3)
        assert row.slices == {"team": "a"}
        assert _dataset_table(spark, "a.b.c") is None
        mlflow.set_tracking_uri(before)
        assert _dataset_table(spark, name) is None
    finally:
        mlflow.set_tracking_uri(before)
        spark.sql(f"DROP TABLE IF EXISTS {name}")
