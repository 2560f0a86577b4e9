"""The notebooks, from top to bottom: as plain Python and as on Databricks, on models that a workspace serves."""

import ast
import asyncio
import os
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import mlflow
import planted_world as world
import pytest
from spark_clusters import run_on
from workspace import ServedEndpoint, Workspace
from workspace.errors import ApiError

from engine.errors import EvaluationError

FOLDER = Path(__file__).parent.parent.parent / "jobs" / "notebooks"
AUTOLOG = "PROMPTMILL_TEST_AUTOLOG"
NAMES = ["01_collect", "02_optimize", "03_evaluate", "04_playground"]


def refuse(call):
    raise ApiError(400, "BAD_REQUEST", "this endpoint takes no such request")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Serve the planted world's models from a workspace, and configure them by the endpoints' names alone."""
    text = world.config_text(tmp_path, target_url="TARGET", reflection_url="SOURCE", rows=60)
    for url in ("TARGET", "SOURCE"):
        text = text.replace(f"provider: openai, base_url: {url}", "provider: databricks")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    (tmp_path / "good.txt").write_text(world.GOOD)
    monkeypatch.chdir(tmp_path)
    answers = {"small": world.target, "big": world.reflection, "refusing": refuse}
    served = (ServedEndpoint(name, answer) for name, answer in answers.items())
    with Workspace(*served) as workspace, workspace.environment():
        yield path
    mlflow.set_tracking_uri(None)


def run_cells(name, monkeypatch, **given):
    """Run a notebook as a kernel does: while an event loop of somebody else's runs on the thread."""
    monkeypatch.setattr(sys, "argv", [name, *(f"{key}={value}" for key, value in given.items())])

    async def cells():
        return runpy.run_path(str(FOLDER / f"{name}.py"), run_name="notebook")

    return asyncio.run(cells())


@pytest.mark.parametrize("name", NAMES)
def test_each_notebook_is_in_databricks_source_format(name):
    """First line, cells and magic are as Databricks writes them, so that a Git folder opens it as a notebook."""
    text = (FOLDER / f"{name}.py").read_text()
    assert text.startswith("# Databricks notebook source\n# MAGIC %md\n")
    cells = text.split("\n# COMMAND ----------\n")
    assert len(cells) > 3
    for cell in cells[1:]:
        lines = [line for line in cell.splitlines() if line]
        assert all(line.startswith("# MAGIC") for line in lines) or not any(
            line.startswith("# MAGIC") for line in lines
        )
        ast.parse(cell)
    for linked in re.findall(r"\(\$\./(\w+)\)", text):
        assert linked in NAMES


def a_run_of_the_users(config, experiment):
    """Begin a run in the configured store, without leaving an experiment set in this process."""
    mlflow.set_tracking_uri(f"sqlite:///{config.parent}/mlflow.db")
    made = mlflow.create_experiment(experiment, artifact_location=(config.parent / "artifacts").as_uri())
    return mlflow.start_run(experiment_id=made)


def test_optimize_leaves_the_users_session_and_run_alone(spark, config, monkeypatch, capsys):
    """A migration runs in a notebook that has an active MLflow run, and nests its own run there."""
    if AUTOLOG in os.environ:
        mlflow.autolog()
    with a_run_of_the_users(config, "tests") as active:
        left = run_cells("02_optimize", monkeypatch, config=config, run_dir=config.parent / "runs")
        assert mlflow.active_run().info.run_id == active.info.run_id
        mlflow.log_metric("still_mine", 1.0)
    runs = {run.info.run_id: run for run in mlflow.MlflowClient().search_runs([active.info.experiment_id])}
    mine = runs.pop(active.info.run_id)
    assert (mine.info.status, dict(mine.data.metrics), dict(mine.data.params)) == ("FINISHED", {"still_mine": 1.0}, {})
    assert "mlflow.linkedPrompts" not in mine.data.tags
    (ours,) = runs.values()
    assert (ours.info.status, ours.data.tags["mlflow.parentRunId"]) == ("FINISHED", active.info.run_id)
    assert mlflow.search_traces(locations=[active.info.experiment_id]).empty
    assert spark.range(3).count() == 3
    assert left["prompts"]["migrate_shout"].uri.startswith("prompts:/shout/")
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("migrate_shout") and "promoted" in line)
    assert re.search(r"0\.000 +1\.000 .*prompts:/shout/\d", line), line
    assert "+Answer with the word in UPPER CASE" in said


@pytest.mark.slow_cluster
def test_autologging_adds_nothing_to_a_migration():
    """The same with mlflow.autolog() on; in a process of its own, because its import hooks stay for good."""
    chosen = ["-k", "users_session", "-W", "ignore::ImportWarning"]
    outcome = run_on("local[2]", ["tests/jobs/test_notebooks.py", "-q", *chosen], environ={AUTOLOG: "1"})
    assert outcome.returncode == 0, outcome.stdout
    assert "1 passed" in outcome.stdout


def test_a_failed_optimization_is_told_in_the_overview_and_fails_the_notebook(spark, config, monkeypatch, capsys):
    """The overview still comes, with the status; a job that runs the notebook fails."""
    config.write_text(config.read_text().replace("{name: small,", "{name: refusing,"))
    with pytest.raises(EvaluationError, match="migrate_shout: "):
        run_cells("02_optimize", monkeypatch, config=config, run_dir=config.parent / "runs")
    assert re.search("^migrate_shout +failed", capsys.readouterr().out, re.MULTILINE)


class Widgets:
    """Databricks' widgets, as its documentation has them: texts by name, which a job may have set."""

    def __init__(self, **set_by_job):
        self.values = dict(set_by_job)

    def text(self, name, default):
        self.values.setdefault(name, default)

    def get(self, name):
        return self.values[name]


class Tags(HTMLParser):
    """Every element of a piece of HTML, and whether all are closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_on_databricks_widgets_are_the_parameters_and_the_page_gets_html(spark, config, monkeypatch, capsys):
    """The playground reads widgets and shows diff and answers by displayHTML, all closed, without a script."""
    pages = []

    class DbUtils:
        widgets = Widgets(config=str(config), prompt=world.GOOD, rows="3")

    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "dbutils", DbUtils(), raising=False)
    monkeypatch.setattr(main, "displayHTML", pages.append, raising=False)
    left = run_cells("04_playground", monkeypatch, config="not-this-one.yaml")
    assert DbUtils.widgets.values["only"] == ""
    assert [prompt.score for prompt in left["found"].prompts] == [0.0, 1.0]
    current, diff, answers = pages
    assert world.SEED in current
    assert re.search(r'class="line added".*UPPER CASE', diff)
    assert answers.count("<tr>") == 4
    assert "Sure! The word is" in answers
    assert re.search("WORD0", answers)
    for page in pages:
        tags = Tags(page)
        assert not tags.open
        assert not tags.found & {"script", "link", "img", "iframe"}
        assert page.startswith('<div class="promptmill"><style>@scope (.promptmill)')
    assert "expected:" not in capsys.readouterr().out


@pytest.mark.slow_cluster
def test_collect_makes_the_data_set_that_is_named(spark, config, monkeypatch, capsys):
    """Inputs are answered by the source model and become traces and a data set; the user's run gets none of them."""
    config.write_text(re.sub(r"dataset: \{data: .*\}\n", "dataset: {name: said}\n", config.read_text()))
    inputs = config.parent / "inputs.jsonl"
    inputs.write_text("".join(f'{{"word": "{word}"}}\n' for word in world.words(12)))
    with a_run_of_the_users(config, "mine") as active:
        left = run_cells("01_collect", monkeypatch, config=config, inputs=inputs, model="small")
    assert left["found"].answered == 12
    assert re.search(r"inputs answered +12 of 12", capsys.readouterr().out)
    assert mlflow.search_traces(run_id=active.info.run_id, locations=[active.info.experiment_id]).empty


@pytest.mark.slow_cluster
def test_evaluate_scores_and_judges_without_paying_twice(spark, config, monkeypatch, capsys):
    """Scores of a new prompt, its diff and its verdict; the gate takes the answers of the evaluation."""
    left = run_cells("03_evaluate", monkeypatch, config=config, prompts=config.parent / "good.txt")
    said = capsys.readouterr().out
    assert re.search(r"1\.000 +60/60 rows scored .*good\.txt", said)
    assert re.search("^promoted", said, re.MULTILINE)
    assert left["verdict"].calls["reused"] > 0
    assert left["verdict"].calls["made"] + left["verdict"].calls["reused"] <= 120
