"""Collecting over real HTTP into a real MLflow store, on real Spark; on every cluster by PROMPTMILL_TEST_CLUSTER."""

import json
import shutil
from pathlib import Path

import mlflow
import planted_world as world
import pytest

from engine.collect import collect
from engine.collect_estimate import estimate_collect
from engine.collected import CollectedRows
from engine.config import AppConfig
from engine.errors import ConfigError, CoverageError, EvaluationError, InputError
from engine.migration import optimize
from engine.scripted_endpoint import Reply, ScriptedEndpoint
from engine.sources import load_rows
from engine.storage import Storage
from engine.token_estimate import tokens_in
from engine.trace_log import TraceLog

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")


def old_model(call):
    """The source model knows by itself what the target has to be told: it answers in upper case."""
    return world.target(call).upper().rpartition(" ")[2].strip(".")


def configured(tmp_path, source_url, *, target_url="http://127.0.0.1:9/v1", extra="", change=lambda text: text):
    text = world.config_text(tmp_path, target_url=target_url, reflection_url=source_url, rows=1, extra=extra)
    before, _, after = text.partition("      dataset: ")
    text = f"{before}      dataset_name: recorded\n{after.partition(chr(10))[2]}"
    path = tmp_path / "config.yaml"
    path.write_text(change(text.replace("name: big,", "name: big, max_tokens: 5, price: {prompt_per_million: 1.0},")))
    app = AppConfig.from_file(path)
    return app, app.optimizations.prompt_optimizations["migrate_shout"]


def inputs_file(tmp_path, count=40, name="inputs.jsonl"):
    """Words, each of the first ten twice, with a column that is no input and one to report by."""
    lines = [
        {"word": w, "id": number, "language": "de" if int(w[4:]) % 2 else "en"}
        for number, w in enumerate(world.words(count) + world.words(min(10, count)))
    ]
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def dataset():
    records = mlflow.genai.datasets.get_dataset(name="recorded").to_df()
    return {record["inputs"]["word"]: record for record in records.to_dict("records")}


def traces(app):
    experiment = mlflow.get_experiment_by_name(app.mlflow.experiment).experiment_id
    return mlflow.search_traces(locations=[experiment], return_type="list")


def test_answers_become_traces_and_a_data_set(spark, tmp_path):
    """Each distinct input is asked once; its answer is a trace of the run and a record with weight and slices."""
    with ScriptedEndpoint(old_model) as source:
        app, settings = configured(tmp_path, source.base_url, extra="slices: [language]")
        result = collect(app, settings, inputs_file(tmp_path), spark=spark, run_dir=str(tmp_path / "run"))
    assert (result.rows, result.answered, result.written) == (40, 40, 40)
    assert len(source.calls) == result.calls["made"] == 40
    assert result.calls["failed"] == 0
    assert result.cost["amount"] > 0
    found = dataset()
    assert len(found) == 40
    assert {w: r["expectations"] for w, r in found.items()} == {w: {"expected_response": w.upper()} for w in found}
    assert [found[f"word{n:03d}"]["tags"]["promptmill.weight"] for n in (0, 9, 10)] == ["2", "2", "1"]
    assert found["word003"]["tags"]["language"] == "de"
    logged = {trace.info.trace_id: trace for trace in traces(app)}
    assert len(logged) == 40
    one = logged[found["word003"]["source"].source_data["trace_id"]]
    assert one.data.spans[0].inputs == {"word": "word003"}
    assert one.data.spans[0].outputs == "WORD003"
    assert one.data.spans[0].attributes["promptmill.prompt_uri"] == "prompts:/shout/1"
    assert one.info.token_usage["output_tokens"] == 2
    client = mlflow.MlflowClient()
    assert len(client.search_traces(locations=[one.info.experiment_id], run_id=result.mlflow_run_id)) == 40
    run = client.get_run(result.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["answered"] == 40


def test_optimize_reads_back_what_was_collected(spark, tmp_path):
    """Inputs, expected answers, weights and slices come back by the data set's name, and a migration runs on it."""
    with (
        ScriptedEndpoint(world.target) as target,
        ScriptedEndpoint(either) as big,
    ):
        app, settings = configured(tmp_path, big.base_url, target_url=target.base_url, extra="slices: [language]")
        collect(app, settings, inputs_file(tmp_path, 120), spark=spark, run_dir=str(tmp_path / "collect"))
        storage = Storage.at(app.storage.root, str(tmp_path / "read"))
        rows = {
            json.loads(r["inputs"])["word"]: r
            for r in load_rows(spark, settings.dataset, storage, frozenset({"word"})).collect()
        }
        result = optimize(app, settings, spark=spark, run_dir=str(tmp_path / "run"))
    assert sorted(rows) == world.words(120)
    assert all(json.loads(row["expectations"]) == {"expected_response": word.upper()} for word, row in rows.items())
    assert [rows[f"word{n:03d}"]["weight"] for n in (0, 9, 10, 119)] == [2, 2, 1, 1]
    assert dict(rows["word003"]["slices"]) == {"language": "de"}
    assert all(row["trace_id"].startswith("tr-") for row in rows.values())
    assert result.record.result["status"] == "promoted", result.record.verdict
    assert result.record.result["best"]["holdout_score"] == 1.0


def either(call):
    """One model in both roles: it answers the application's prompt, and reflects on anything longer."""
    return old_model(call) if call.prompt.startswith("Say this word") else world.reflection(call)


def test_same_run_dir_pays_and_writes_nothing_twice(spark, tmp_path):
    """Started again, a finished run calls nothing, and neither traces nor records are doubled."""
    with ScriptedEndpoint(old_model) as source:
        app, settings = configured(tmp_path, source.base_url)
        path, run_dir = inputs_file(tmp_path), str(tmp_path / "run")
        first = collect(app, settings, path, spark=spark, run_dir=run_dir)
        again = collect(app, settings, path, spark=spark, run_dir=run_dir)
    assert len(source.calls) == 40
    assert (again.written, again.answered) == (0, 40)
    assert again.calls == first.calls | {"resumed": 40}
    assert again.mlflow_run_id == first.mlflow_run_id
    assert len(traces(app)) == len(dataset()) == 40


def test_run_that_dies_while_writing_goes_on_where_it_was(spark, tmp_path, monkeypatch):
    """A batch whose traces stand but were not noted is written over itself; nothing is paid for again."""
    monkeypatch.setattr("engine.collect._BATCH", 10)
    written = []

    class Dying(TraceLog):
        def write(self, some):
            ids = super().write(some)
            written.append(ids)
            if len(written) == 3:
                raise mlflow.exceptions.MlflowException("the server is gone")
            return ids

    with ScriptedEndpoint(old_model) as source:
        app, settings = configured(tmp_path, source.base_url)
        path, run_dir = inputs_file(tmp_path), str(tmp_path / "run")
        with monkeypatch.context() as patched:
            patched.setattr("engine.collect.TraceLog", Dying)
            with pytest.raises(EvaluationError, match=r"the server is gone.*--run-dir"):
                collect(app, settings, path, spark=spark, run_dir=run_dir)
        assert len(traces(app)) == 30
        assert len(dataset()) == 20
        result = collect(app, settings, path, spark=spark, run_dir=run_dir)
    assert len(source.calls) == 40
    assert result.written == 20
    assert len(traces(app)) == len(dataset()) == 40


def test_failed_rows_are_left_out_and_asked_again(spark, tmp_path):
    """An outage of a few rows leaves them out and is told; the next start asks for these alone and adds them."""
    down = True

    def script(call):
        return Reply(status=400, text="no") if down and "word007" in call.prompt else old_model(call)

    with ScriptedEndpoint(script) as source:
        app, settings = configured(tmp_path, source.base_url)
        path, run_dir = inputs_file(tmp_path), str(tmp_path / "run")
        first = collect(app, settings, path, spark=spark, run_dir=run_dir)
        assert (first.answered, first.written, sum(first.left_out.values())) == (39, 39, 1)
        assert "word007" not in dataset()
        down = False
        second = collect(app, settings, path, spark=spark, run_dir=run_dir)
    assert (second.answered, second.written, dict(second.left_out)) == (40, 1, {})
    assert dataset()["word007"]["expectations"] == {"expected_response": "WORD007"}
    assert len([c for c in source.calls if "word006" in c.prompt]) == 1


def test_outage_fails_the_run_and_keeps_what_was_paid_for(spark, tmp_path):
    """With too many failures nothing is written; mended, the same run asks for the missing ones only."""
    down = True

    def script(call):
        return Reply(status=400, text="no") if down and int(call.prompt[-3:]) % 2 else old_model(call)

    with ScriptedEndpoint(script) as source:
        app, settings = configured(tmp_path, source.base_url)
        path, run_dir = inputs_file(tmp_path), str(tmp_path / "run")
        with pytest.raises(CoverageError, match="big: 20 of 40 rows were not answered"):
            collect(app, settings, path, spark=spark, run_dir=run_dir)
        assert not dataset()
        assert traces(app) == []
        assert mlflow.search_runs(experiment_names=["tests"])["status"].tolist() == ["FAILED"]
        down = False
        result = collect(app, settings, path, spark=spark, run_dir=run_dir)
    assert result.written == len(dataset()) == 40
    assert len(source.answered) == 40


def test_source_models_own_refusals_do_not_fail_the_run(spark, tmp_path):
    """What the source model's content filter refuses has no answer to learn from: left out, and no outage."""

    def script(call):
        refused = int(call.prompt[-3:]) % 4 == 0
        return Reply(status=400, text="filtered", error_code="content_filter") if refused else old_model(call)

    with ScriptedEndpoint(script) as source:
        app, settings = configured(tmp_path, source.base_url)
        result = collect(app, settings, inputs_file(tmp_path), spark=spark, run_dir=str(tmp_path / "run"))
    assert dict(result.left_out) == {"content_filter": 10}
    assert result.written == len(dataset()) == 30


def test_answers_at_max_tokens_are_told(spark, tmp_path):
    """An answer as long as max_tokens allows probably lacks its end, and the result says how many there are."""
    with ScriptedEndpoint(lambda call: "a long answer of more tokens") as source:
        app, settings = configured(tmp_path, source.base_url)
        result = collect(app, settings, inputs_file(tmp_path, 5), spark=spark, run_dir=str(tmp_path / "run"))
    assert result.cut_off == 5


def test_data_set_is_extended_by_other_inputs(spark, tmp_path):
    """A second file adds its rows; of an input that is there already, answer and weight are replaced."""
    with ScriptedEndpoint(old_model) as source:
        app, settings = configured(tmp_path, source.base_url)
        collect(app, settings, inputs_file(tmp_path, 5), spark=spark, run_dir=str(tmp_path / "a"))
        (tmp_path / "more.csv").write_text("word\nword004\nword005\n")
        result = collect(app, settings, str(tmp_path / "more.csv"), spark=spark, run_dir=str(tmp_path / "b"))
    assert (result.rows, result.calls["reused"], len(source.calls)) == (2, 1, 6)
    assert sorted(dataset()) == world.words(6)
    assert [dataset()[f"word{n:03d}"]["tags"]["promptmill.weight"] for n in (3, 4, 5)] == ["2", "1", "1"]


def test_source_model_is_found_where_it_is_named(spark, tmp_path):
    """`source_model` goes before reflection_model, also by name; the argument goes before both."""
    with ScriptedEndpoint(old_model) as source, ScriptedEndpoint(old_model) as other:
        app, settings = configured(
            tmp_path,
            "http://127.0.0.1:9/v1",
            extra="source_model: old",
            change=lambda text: text.replace(
                "prompts:\n",
                f"    old: {{name: older, provider: openai, base_url: {source.base_url}}}\n"
                f"    other: {{name: another, provider: openai, base_url: {other.base_url}}}\nprompts:\n",
                1,
            ),
        )
        path = inputs_file(tmp_path, 3)
        collect(app, settings, path, spark=spark, run_dir=str(tmp_path / "a"))
        assert (len(source.calls), len(other.calls)) == (3, 0)
        collect(app, settings, path, spark=spark, run_dir=str(tmp_path / "b"), model="other")
        assert (len(source.calls), len(other.calls)) == (3, 3)
    with pytest.raises(ConfigError, match=r"'nobody' is none of resources.llms \(target, source, old, other\)"):
        collect(app, settings, path, spark=spark, model="nobody")


def test_wrong_configuration_is_told_before_the_first_call(spark, tmp_path):
    """No model, no name for the data set, a missing column and an input that MLflow refuses: each names its mend."""
    app, settings = configured(tmp_path, "http://127.0.0.1:9/v1")
    path = inputs_file(tmp_path, 3)
    nobody = settings.model_copy(update={"reflection_model": None})
    with pytest.raises(ConfigError, match="has no source_model, and no reflection_model"):
        collect(app, nobody, path, spark=spark)
    nameless = settings.model_copy(update={"dataset": settings.dataset.model_copy(update={"name": None})})
    with pytest.raises(ConfigError, match=r"its dataset has no name.*set dataset_name"):
        collect(app, nameless, path, spark=spark)
    (tmp_path / "other.csv").write_text("text\nhello\n")
    with pytest.raises(InputError, match=r"variable \{\{word\}\} is none of its columns \(text\)"):
        collect(app, settings, str(tmp_path / "other.csv"), spark=spark, run_dir=str(tmp_path / "b"))
    (tmp_path / "goal.jsonl").write_text(json.dumps({"inputs": {"word": "word001", "goal": "x"}}))
    with pytest.raises(InputError, match="an input is called 'goal'"):
        collect(app, settings, str(tmp_path / "goal.jsonl"), spark=spark, run_dir=str(tmp_path / "c"))


def test_estimate_calls_nothing(spark, tmp_path):
    """The dry run counts distinct rows and foresees tokens and money; nothing is called, nothing written."""
    with ScriptedEndpoint(old_model) as source:
        app, settings = configured(tmp_path, source.base_url)
        found = estimate_collect(app, settings, inputs_file(tmp_path), spark=spark)
    assert source.calls == []
    assert (found.rows, found.calls, found.completion_tokens) == (40, 40, 200)
    assert found.prompt_tokens == 40 * tokens_in("Say this word: word001")
    assert found.cost == pytest.approx(found.prompt_tokens / 1e6)
    assert not (tmp_path / "store" / "runs").exists()


def test_notes_of_format_1_are_still_read(spark, tmp_path):
    """The notes of a run that an earlier promptmill began are understood; those of a later one are refused."""
    storage = Storage.at(str(tmp_path), str(tmp_path / "run"))
    folder = tmp_path / "run" / "collected"
    folder.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "collected-v1.parquet", folder)
    answers = spark.createDataFrame([("row-a",), ("row-b",), ("row-c",)], "row_id string")
    assert [r["row_id"] for r in CollectedRows(storage).missing_from(answers, spark).collect()] == ["row-c"]
    later = spark.createDataFrame([(2, "row-a", "tr-1")], "format int, row_id string, trace_id string")
    later.write.mode("append").parquet(str(folder))
    with pytest.raises(ConfigError, match="has format 2, this promptmill reads 1"):
        CollectedRows(storage).missing_from(answers, spark)
