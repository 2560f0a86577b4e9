"""Traces written in bulk into a real SQLite store, and read back as an application's own would be."""

import json
import tempfile
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest

from engine.config import DatasetModel, TracesModel
from engine.sources import load_rows
from engine.storage import Storage
from engine.trace_log import AnswerTrace, TraceLog
from engine.trace_pages import PageFolder
from engine.traces import read_traces
from udfs.trace_rows import TraceReading

# MLflow imports its type hints with the first span, and warns of one of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")

# Texts that MLflow's store, or a reader of JSON, might take for something else.
TRICKY = [
    "yes",
    "",
    "007",
    "1.0",
    "1e3",
    "null",
    "true",
    '"quoted"',
    '{"b": 1,  "a": 2}',
    "[1, 2]",
    "{broken",
    "ä €\n✓",
]


@pytest.fixture(scope="module")
def experiment(mlflow_database):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_database)
    yield mlflow.set_experiment("traces")
    mlflow.set_tracking_uri(before)


def trace(number, text="yes", **more):
    return AnswerTrace(f"run/{number}", {"text": f"input {number}", "n": number}, text, "big", 11, 3, 250.0, **more)


def read(experiment, **source):
    with tempfile.TemporaryDirectory() as folder:
        pages = PageFolder(Storage.at(folder, folder), "test")
        read_traces(TracesModel(experiment=experiment.name, **source), TraceReading(frozenset()), pages)
        files = sorted(Path(pages.path).glob("*.parquet"))
        read = [pq.read_table(file).to_pylist() for file in files]
    return {record["trace_id"]: record for page in read for record in page}, read


def rows_of(spark, tmp_path, experiment_name):
    dataset = DatasetModel(traces=TracesModel(experiment=experiment_name))
    return load_rows(spark, dataset, Storage.at(str(tmp_path), str(tmp_path / "run")), frozenset()).collect()


def test_traces_are_what_an_application_would_have_logged(experiment):
    """A trace has inputs by name, the answer, the model, tokens, its times, state OK and its tags."""
    log = TraceLog(experiment.experiment_id, name="classify")
    [trace_id] = log.write([trace(1, attributes={"promptmill.prompt_uri": "prompts:/p/1"}, tags={"language": "de"})])
    found = mlflow.get_trace(trace_id)
    [span] = found.data.spans
    assert span.name == "classify"
    assert span.parent_id is None
    assert span.inputs == {"text": "input 1", "n": 1}
    assert span.outputs == "yes"
    assert span.attributes["promptmill.prompt_uri"] == "prompts:/p/1"
    assert span.model_name == "big"
    assert found.info.token_usage == {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    assert found.info.state == "OK"
    assert found.info.execution_duration == 250
    assert found.info.tags["language"] == "de"
    table = mlflow.search_traces(locations=[experiment.experiment_id], filter_string="attributes.status = 'OK'")
    assert trace_id in set(table["trace_id"])


@pytest.mark.parametrize("way", ["_in_bulk", "_one_by_one"])
def test_answers_come_back_to_the_character(experiment, spark, tmp_path, way):
    """Whatever an answer looks like, the row that a trace becomes expects that very text."""
    log = TraceLog(experiment.experiment_id, name=way)
    log._write = getattr(log, way)
    ids = log.write([trace(f"{way}{n}", text) for n, text in enumerate(TRICKY)])
    records, _ = read(experiment)
    assert [json.loads(records[i]["expectations"])["expected_response"] for i in ids] == TRICKY
    by_id = {row["trace_id"]: row for row in rows_of(spark, tmp_path, experiment.name)}
    assert [json.loads(by_id[i]["expectations"])["expected_response"] for i in ids] == TRICKY
    assert [json.loads(by_id[i]["inputs"])["n"] for i in ids] == [f"{way}{n}" for n in range(len(TRICKY))]


def test_more_than_a_page_is_read_and_a_run_is_told_from_another(experiment):
    """1,200 traces take some pages, each trace once; those of another run are not among them."""
    client = mlflow.MlflowClient()
    ours, other = (client.create_run(experiment.experiment_id).info.run_id for _ in range(2))
    log = TraceLog(experiment.experiment_id, name="many", run_id=ours)
    ids = [i for start in (0, 600) for i in log.write([trace(f"many{n}") for n in range(start, start + 600)])]
    TraceLog(experiment.experiment_id, name="other", run_id=other).write([trace("other")])
    records, pages = read(experiment, run_id=ours)
    assert set(records) == set(ids)
    # Those of one millisecond are shown again at the next page's start, and left out there.
    assert sum(len(page) for page in pages) == 1200
    assert max(len(page) for page in pages) == 500
    assert len(read(experiment, run_id=ours, max_traces=700)[0]) == 700


def test_batch_written_again_changes_nothing(experiment):
    """The same key is the same trace, so a batch that a crash left half known is simply written again."""
    run_id = mlflow.MlflowClient().create_run(experiment.experiment_id).info.run_id
    batch = [trace(f"again{n}") for n in range(3)]
    first = TraceLog(experiment.experiment_id, name="again", run_id=run_id).write(batch)
    assert TraceLog(experiment.experiment_id, name="again", run_id=run_id).write(batch) == first
    assert len(read(experiment, run_id=run_id)[0]) == 3


class SilentlyDropping(TraceLog):
    """A store that takes a batch of many traces and keeps the first only, as an older one might."""

    def _in_bulk(self, traces):
        super()._in_bulk(traces[:1])
        return [t.trace_id for t in traces]


class Refusing(TraceLog):
    """A store without the bulk path."""

    def _in_bulk(self, traces):
        raise NotImplementedError("log_spans is not supported")


@pytest.mark.parametrize("kind", [SilentlyDropping, Refusing])
def test_without_the_bulk_path_traces_are_logged_one_by_one(experiment, caplog, kind):
    """Each trace is there once, linked, with its tags, and the log says why it is slow."""
    run_id = mlflow.MlflowClient().create_run(experiment.experiment_id).info.run_id
    log = kind(experiment.experiment_id, name="slow", run_id=run_id)
    batch = [trace(f"{kind.__name__}{n}", tags={"language": "fr", "promptmill.weight": "4"}) for n in range(3)]
    ids = log.write(batch) + log.write([trace(f"{kind.__name__}-later")])
    records, _ = read(experiment, run_id=run_id)
    assert set(records) == set(ids)
    assert len(ids) == 4
    assert records[ids[0]]["weight"] == "4"
    assert json.loads(records[ids[0]]["slices"]) == {"language": "fr"}
    with pytest.raises(mlflow.exceptions.MlflowException):
        mlflow.MlflowClient().get_trace(batch[0].trace_id)
    assert "can't take traces in bulk" in caplog.text


def test_traces_without_named_inputs_are_left_out_and_told(experiment, spark, tmp_path, caplog):
    """A failed trace is not read; one whose inputs are no object, or without outputs, is counted in a warning."""
    other = mlflow.MlflowClient().create_experiment("mixed")
    for inputs, outputs, status in (
        [{"q": 1}, "a", "OK"],
        ["text", "b", "OK"],
        [{"q": 2}, None, "OK"],
        [{"q": 3}, "", "ERROR"],
    ):
        span = mlflow.start_span_no_context(name="app", inputs=inputs, experiment_id=other)
        span.end(outputs=outputs, status=status)
    mlflow.flush_trace_async_logging()
    rows = rows_of(spark, tmp_path, "mixed")
    assert [(row["inputs"], row["expectations"]) for row in rows] == [('{"q":1}', '{"expected_response":"a"}')]
    assert "2 traces are left out, 1 calls are used" in caplog.text
