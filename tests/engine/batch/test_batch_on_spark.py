"""Many optimizations on one Spark session, over real HTTP and a real MLflow store."""

import json
import re
import threading
from pathlib import Path

import batch_world
import mlflow
import pytest

from engine.batch import run_batch
from engine.errors import PromptmillError
from engine.scripted_endpoint import Reply, ScriptedEndpoint

COUNT, BROKEN, REFUSED = 6, 2, 3


def answer(call):
    """In upper case as soon as demonstrations show it."""
    word = re.findall(r"word\d{3,}", call.messages[-1]["content"])[-1]
    return word.upper() if "WORD" in call.prompt else f"Sure! {word}"


def test_a_batch_fails_in_parts_and_goes_on_without_paying_twice(spark, tmp_path):
    """Two of six fail, alone. Started again, mended, only those two run, and nothing is paid twice."""
    refuse = threading.Event()
    refuse.set()

    def script(call):
        return Reply(status=400) if refuse.is_set() and f"({REFUSED})" in call.prompt else answer(call)

    with ScriptedEndpoint(script) as target:
        app = batch_world.app(tmp_path, target.base_url, count=COUNT, broken=(BROKEN,))
        run_dir = tmp_path / "run"
        first = run_batch(app, app.optimizations.prompt_optimizations, run_dir=str(run_dir), parallel=4, spark=spark)
        assert set(first.failures) == {f"word_{BROKEN:02d}", f"word_{REFUSED:02d}"}
        by_name = {line.name: line for line in first.summary.lines}
        assert list(by_name) == [f"word_{number:02d}" for number in range(COUNT)]
        assert "wrod" in by_name["word_02"].reason
        assert first.summary.counts == {"promoted": COUNT - 2, "failed": 2}
        assert first.summary.total("calls") == len(target.answered)
        written = json.loads((run_dir / "summary.json").read_text())
        assert written["format"] == 1
        assert written["counts"] == first.summary.counts
        assert (run_dir / "word_00" / "report.html").exists()
        paid = len(target.answered)

        refuse.clear()
        mended = batch_world.app(tmp_path, target.base_url, count=COUNT)
        prompts = mended.optimizations.optimize(run_dir=str(run_dir), parallel=4, spark=spark)
        assert target.tally.answered_again == 0
        assert len(target.answered) > paid
        done = json.loads((run_dir / "summary.json").read_text())
        again = mended.optimizations.optimize(run_dir=str(run_dir), spark=spark)
    assert [line["name"] for line in done["optimizations"] if not line["earlier"]] == ["word_02", "word_03"]
    assert done["counts"] == {"promoted": COUNT}
    assert prompts == again
    assert "WORD" in prompts["word_03"].template
    assert len(list((run_dir / "datasets").iterdir())) == 1, "the rows are the same ones, so they are read once"
    runs = mlflow.search_runs(experiment_names=["tests"], output_format="list")
    assert {run.data.tags["promptmill.batch"] for run in runs} == {done["batch_id"]}


def test_an_interrupted_batch_says_how_far_each_is_and_goes_on(spark, tmp_path, monkeypatch):
    """On Ctrl-C all threads end; what was answered is kept, and the same folder goes on without paying it again."""
    from engine.batch import run as batch_run_module
    from engine.batch import schedule

    with ScriptedEndpoint(answer) as target:
        app = batch_world.app(tmp_path, target.base_url, count=4)
        run_dir = str(tmp_path / "run")
        real_wait = threading.Thread.join

        def join(thread, timeout=None):
            if timeout == schedule._LOOK_EVERY_S and len(target.answered) > 20:
                raise KeyboardInterrupt
            real_wait(thread, timeout)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "join", join)
            with pytest.raises(KeyboardInterrupt):
                run_batch(app, app.optimizations.prompt_optimizations, run_dir=run_dir, parallel=2, spark=spark)
        summary = json.loads(Path(run_dir, "summary.json").read_text())
        assert summary["counts"].get("not_started", 0) >= 1
        assert summary["counts"].get("interrupted", 0) >= 1
        for thread in threading.enumerate():
            if thread.name.startswith(schedule.THREAD_NAME):
                thread.join(60)  # on a busy machine its last Spark job may take longer than the batch waits
                assert not thread.is_alive()
        result = batch_run_module.run_batch(
            app, app.optimizations.prompt_optimizations, run_dir=run_dir, parallel=4, spark=spark
        )
        assert target.tally.answered_again == 0
    assert result.summary.counts == {"promoted": 4}


def test_a_verdict_is_not_handed_to_other_settings(spark, tmp_path):
    """A folder whose optimizations have verdicts refuses changed settings of one of them, and names it."""
    with ScriptedEndpoint(answer) as target:
        app = batch_world.app(tmp_path, target.base_url, count=2)
        app.optimizations.optimize(run_dir=str(tmp_path / "run"), spark=spark)
        path = tmp_path / "config.yaml"
        path.write_text(path.read_text().replace("(1): {{word}}", "(one): {{word}}"))
        changed = type(app).from_file(path)
        with pytest.raises(PromptmillError, match="word_01 had a verdict there with other settings"):
            changed.optimizations.optimize(run_dir=str(tmp_path / "run"), spark=spark)
