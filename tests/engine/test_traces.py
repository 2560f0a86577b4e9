"""Traces of an application in a real MLflow store, read page by page, with what people said of them."""

import json
import threading
from collections import Counter

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow.entities.span import Span
from mlflow.tracing.client import TracingClient

from benchmarks.traces.application import TEMPLATE, spans
from engine import trace_worker
from engine import traces as engine_traces
from engine.config import TracesModel
from engine.errors import InputError
from engine.storage import Storage
from engine.trace_pages import PageFolder
from engine.traces import read_traces
from udfs import trace_rows
from udfs.trace_rows import TraceReading

# MLflow imports its type hints with the first span, and warns of one of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")

COUNT = 60
READING = TraceReading(frozenset({"company", "text"}), "sort", (("", TEMPLATE),))


@pytest.fixture(scope="module")
def experiment(mlflow_database):
    """Sixty traces of four to six spans, of which the first twenty began at the same millisecond."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_database)
    found = mlflow.set_experiment("application")
    written = []
    for number in range(COUNT):
        for span in spans(number):
            at_once = number * 864_000_000 if number < 20 else 0
            moved = {key: span[key] - at_once for key in ("start_time_unix_nano", "end_time_unix_nano")}
            written.append(Span.from_dict(span | moved))
    TracingClient().log_spans(found.experiment_id, written)
    yield found
    mlflow.set_tracking_uri(before)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_traces, "PAGE", 7)
    monkeypatch.setattr(engine_traces, "_PAGES_FOR_PROCESSES", 100)
    return PageFolder(Storage.at(str(tmp_path), str(tmp_path / "run")), "test")


def read(pages, reading=READING, **settings):
    left = read_traces(TracesModel(experiment="application", **settings), reading, pages)
    return pq.read_table(pages.path).to_pylist(), left


def ids_of(records):
    return [record["trace_id"] for record in records]


def test_every_trace_is_read_once_in_pages_by_time(experiment, pages):
    """Also where more of them began at the same millisecond than a page holds; the prompt is in a span inside."""
    records, left = read(pages)
    assert len(set(ids_of(records))) == len(records) == COUNT
    assert not left
    [last] = [record for record in records if "#59" in record["inputs"]]
    inputs = json.loads(last["inputs"])
    assert inputs["company"] == "Lantern & Sons"
    assert inputs["text"].endswith(" #59")
    assert json.loads(last["expectations"])["expected_response"] in {"billing", "delivery", "other"}


def test_a_process_of_its_own_reads_what_this_one_reads(experiment, pages):
    """From some thousand traces on; an error of its is the reading's, and so is its end."""
    here, _ = read(pages, max_traces=14)
    other = PageFolder(pages.storage, "process")
    settings = TracesModel(experiment="application", max_traces=14)
    reader = trace_worker.PageReaderProcess(READING, other)
    try:
        for page in engine_traces._pages(settings, experiment.experiment_id, other.resume()):
            reader.read(page)
        assert pq.read_table(other.path).to_pylist() == here
        with pytest.raises(mlflow.exceptions.MlflowException, match="AttributeError"):
            reader.read(None)
        reader._process.kill()
        with pytest.raises(mlflow.exceptions.MlflowException, match="ended"):
            reader.read(None)
    finally:
        reader.close()


def test_max_traces_takes_the_newest(experiment, pages):
    """Whatever the size of a page."""
    records, _ = read(pages, max_traces=10)
    assert {json.loads(record["inputs"])["text"].rsplit("#")[-1] for record in records} == {
        str(n) for n in range(50, 60)
    }


def test_pages_that_were_written_are_not_read_again(experiment, pages, monkeypatch):
    """An interrupted reading goes on behind the last page before a gap, and a finished one reads nothing."""
    fetched = Counter()
    whole = trace_worker._with_spans
    lock = threading.Lock()

    def watched(page):
        with lock:
            fetched.update(page.trace_ids)
            if sum(fetched.values()) > 40:
                raise mlflow.exceptions.MlflowException("the server went away")
        return whole(page)

    monkeypatch.setattr(trace_worker, "_with_spans", watched)
    with pytest.raises(InputError, match="the server went away"):
        read(pages)
    kept = ids_of(pq.read_table(pages.path).to_pylist())
    assert 0 < len(kept) <= 40
    again = Counter()
    monkeypatch.setattr(trace_worker, "_with_spans", lambda page: again.update(page.trace_ids) or whole(page))
    records, _ = read(pages)
    assert len(set(ids_of(records))) == len(records) == COUNT
    assert sum(again.values()) <= COUNT - 7
    again.clear()
    assert len(read(pages)[0]) == COUNT
    assert not again


def test_another_way_to_read_has_pages_of_its_own(tmp_path):
    """What was recovered with one template says nothing of another."""
    storage = Storage.at(str(tmp_path), str(tmp_path / "run"))
    assert PageFolder(storage, "one").path != PageFolder(storage, "other").path


def test_a_page_counts_what_it_leaves_out(experiment, pages):
    """The counts outlive the process, because a resumed reading tells them, too."""
    other = TraceReading(frozenset({"text"}), "sort", (("", "Something else: {{text}}"),))
    records, left = read(pages, other)
    assert records == []
    assert left == {"other text than the template's": COUNT}
    assert pages.left_out() == left


def test_people_are_heard(experiment, pages):
    """MLflow's own assessments: an expectation goes before the answer, a thumbs down leaves the trace out."""
    [first, second, *_] = ids_of(read(pages, max_traces=7)[0])
    person = mlflow.entities.AssessmentSource(source_type="HUMAN", source_id="ann")
    mlflow.log_expectation(trace_id=first, name="expected_response", value="escalate", source=person)
    mlflow.log_expectation(trace_id=first, name="expected", value={"queue": ["a"]}, source=person)
    mlflow.log_feedback(trace_id=second, name="helpful", value=False, source=person)
    fresh = PageFolder(pages.storage, "fresh")
    records, left = read(fresh, max_traces=7)
    [corrected] = [record for record in records if record["trace_id"] == first]
    assert json.loads(corrected["expectations"]) == {"expected_response": "escalate", "expected": {"queue": ["a"]}}
    assert corrected["_by_person"] == 1
    assert second not in ids_of(records)
    assert left == {trace_rows.NEGATIVE: 1}


def test_a_filter_that_mlflow_refuses_is_named(experiment, pages):
    """With the tracking URI, which may be the wrong one."""
    with pytest.raises(InputError, match=r"sqlite.*check the filter 'nonsense'"):
        read(pages, filter="nonsense")
    with pytest.raises(InputError, match="'nobody' is not known"):
        read_traces(TracesModel(experiment="nobody"), READING, pages)
