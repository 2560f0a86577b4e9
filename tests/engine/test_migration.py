"""The whole loop over real HTTP, a real MLflow store and real Spark; on every cluster by PROMPTMILL_TEST_CLUSTER."""

import json
import urllib.request
from pathlib import Path

import mlflow
import planted_world as world
import pytest

from engine.config import AppConfig
from engine.scripted_endpoint import ScriptedEndpoint
from udfs.in_place import current_prompt
from udfs.scorers import FunctionScorer


def configure(tmp_path, target, reflection, **options):
    path = tmp_path / "config.yaml"
    path.write_text(
        world.config_text(tmp_path, target_url=target.base_url, reflection_url=reflection.base_url, **options)
    )
    return AppConfig.from_file(path).optimizations.prompt_optimizations["migrate_shout"]


def test_planted_better_prompt_is_found_promoted_and_registered(spark, tmp_path):
    """The planted prompt wins on the holdout, its text reached the endpoint, and the registry gives it back."""
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        result = configure(tmp_path, target, reflection).optimize(spark=spark, run_dir=str(tmp_path / "run"))
    assert result.record.result["status"] == "promoted", result.record.verdict
    assert result.prompt.template == world.GOOD
    assert any(call.prompt.startswith(world.GOOD.partition("{{")[0]) for call in target.calls)
    written = json.loads(Path(result.run_dir, "result.json").read_text())
    assert written["seed"]["holdout_score"] == 0.0
    assert written["best"]["holdout_score"] == 1.0
    assert written["holdout"]["rows"] == 48
    assert written["holdout"]["interval"] == [1.0, 1.0]
    assert written["calls"]["failed"] == 0
    (account,) = written["proposers"]
    assert account["name"] == "gepa"
    assert account["accepted"] >= 1
    assert account["gain"] > 0.9
    champion = mlflow.genai.load_prompt("prompts:/shout@champion")
    assert champion.template == world.GOOD
    assert f"prompts:/shout/{champion.version}" == result.prompt.uri == written["prompt"]["uri"]
    assert "<html" in Path(result.run_dir, "report.html").read_text()
    run = mlflow.get_run(written["mlflow_run_id"])
    assert run.data.metrics["final_eval_score"] == 1.0
    assert run.data.metrics["initial_eval_score"] == 0.0
    assert run.info.status == "FINISHED"


def test_without_a_better_prompt_the_old_one_is_kept(spark, tmp_path):
    """When no proposal helps, the seed stays, and nothing is registered as champion."""
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.useless_reflection) as reflection:
        result = configure(tmp_path, target, reflection).optimize(spark=spark, run_dir=str(tmp_path / "run"))
    assert result.record.result["status"] == "kept"
    assert result.record.result["ended"] == "no improvement found"
    assert result.prompt.template == world.SEED
    with pytest.raises(mlflow.exceptions.MlflowException):
        mlflow.genai.load_prompt("prompts:/shout@champion")


def test_outage_of_a_third_of_the_calls_scores_no_row_zero(spark, tmp_path):
    """Refusals, outages and broken connections are retried; the result is the same as without them."""
    with ScriptedEndpoint(world.failing_a_third) as target, ScriptedEndpoint(world.reflection) as reflection:
        result = configure(tmp_path, target, reflection).optimize(spark=spark, run_dir=str(tmp_path / "run"))
    written = result.record.result
    assert written["status"] == "promoted"
    assert written["best"]["holdout_score"] == 1.0
    assert written["calls"]["failed"] == 0
    assert written["calls"]["retried"] > 0
    assert written["calls"]["refused"] > 0
    assert len(target.answered) == written["calls"]["made"] - len(reflection.answered)


def test_a_scorer_of_the_users_own_is_taken(spark, tmp_path):
    """A plain function scores beside the built-in scorers, on executors, with its feedback for reflection."""

    def shouted(outputs):
        return float(outputs.isupper())

    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        settings = configure(tmp_path, target, reflection, rows=40)
        own = settings.model_copy(update={"scorers": ("exact_match", FunctionScorer("shouted", shouted))})
        result = own.optimize(spark=spark, run_dir=str(tmp_path / "run"))
    assert result.record.result["status"] == "promoted"
    assert "shouted x 1" in result.record.settings["scorers"]


def test_a_python_function_is_migrated_like_an_endpoint(spark, tmp_path):
    """It runs on executors, each call with its own candidate in place, and its better prompt goes through the gate."""
    with ScriptedEndpoint(world.target) as model, ScriptedEndpoint(world.reflection) as reflection:
        url = f"{model.base_url}/chat/completions"

        def agent(word):
            messages = current_prompt("shout").messages({"word": word})
            body = json.dumps({"model": "m", "messages": messages}).encode()
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own
            with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
                return json.load(reply)["choices"][0]["message"]["content"]

        settings = configure(tmp_path, model, reflection)
        result = settings.optimize(spark=spark, run_dir=str(tmp_path / "run"), predict_fn=agent)
        calls = len(model.calls)
        again = settings.optimize(spark=spark, run_dir=str(tmp_path / "run"), predict_fn=agent)
        assert len(model.calls) == calls == result.record.result["metric_calls"]
    assert result.record.result["status"] == again.record.result["status"] == "promoted"
    assert result.prompt.template == world.GOOD
