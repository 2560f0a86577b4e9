"""The Databricks bundle: valid by Databricks' own models, and every name in it is one that promptmill has."""

import re
import signal
import sys
from pathlib import Path

import pytest
import yaml

from jobs.cli import JobFailed, promptmill
from jobs.cli import job as job_entry_point

ROOT = Path(__file__).parent.parent.parent
PLACE = ROOT / "conf" / "databricks.yml"
BUNDLE = yaml.safe_load(PLACE.read_text())
COMMANDS = ["collect", "optimize", "evaluate", "gate"]


def by_key(base, over, key):
    """Merge two lists of mappings as the bundle does: entries of one key are one."""
    merged = {entry[key]: dict(entry) for entry in base}
    for entry in over:
        merged[entry[key]] = {**merged.get(entry[key], {}), **entry}
    return list(merged.values())


def job(target, name):
    base = BUNDLE["resources"]["jobs"][name]
    over = BUNDLE["targets"][target]["resources"]["jobs"][name]
    return {**base, **over, "tasks": by_key(base["tasks"], over["tasks"], "task_key")}


@pytest.mark.parametrize("target", list(BUNDLE["targets"]))
@pytest.mark.parametrize("name", COMMANDS)
def test_each_job_is_one_by_the_bundles_own_models(target, name):
    """No key is unknown, none is missing, each value has its type, in every target."""
    models = pytest.importorskip("databricks.bundles.jobs")
    made = models.Job.from_dict(job(target, name))
    (task,) = made.tasks
    assert task.python_wheel_task.package_name == "promptmill"
    if target == "serverless":
        assert task.environment_key == made.environments[0].environment_key
    else:
        assert task.job_cluster_key == made.job_clusters[0].job_cluster_key
        assert made.job_clusters[0].new_cluster.autoscale.max_workers > 1


def test_the_models_refuse_what_is_not_of_a_job():
    """The check above can fail: a misspelt key is no job."""
    models = pytest.importorskip("databricks.bundles.jobs")
    with pytest.raises((TypeError, ValueError)):
        models.Job.from_dict({**job("serverless", "gate"), "taskz": []})


def test_every_command_with_its_options_is_there():
    """The entry point is installed, and the command line of each task is one that the command takes."""
    declared = re.findall(r'"([\w-]+)=jobs\.cli:\w+"', (ROOT / "setup.py").read_text())
    assert list(BUNDLE["resources"]["jobs"]) == COMMANDS
    for name, found in BUNDLE["resources"]["jobs"].items():
        (task,) = found["tasks"]
        wheel = task["python_wheel_task"]
        assert wheel["entry_point"] in declared
        command, *words = wheel["parameters"]
        assert command == name == task["task_key"]
        promptmill.get_command(None, command).make_context(command, list(words))
        used = set(re.findall(r"\{\{job\.parameters\.(\w+)\}\}", str(words)))
        assert used == {parameter["name"] for parameter in found["parameters"]}
        config = (ROOT / BUNDLE["variables"]["config"]["default"].removeprefix("${workspace.file_path}/")).read_text()
        assert set(yaml.safe_load(config)["parameters"]) == set(re.findall(r"--param=(\w+)=", str(words)))


def test_every_variable_is_declared_and_every_path_is_there():
    """``${var.…}`` names a variable; what stands beside the bundle exists; the only schedule is paused."""
    text = PLACE.read_text()
    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) <= set(BUNDLE["variables"])
    assert {name for name in BUNDLE["variables"] if f"${{var.{name}}}" not in text} == set()
    assert (PLACE.parent / BUNDLE["artifacts"]["promptmill"]["path"] / "setup.py").is_file()
    assert (ROOT / BUNDLE["variables"]["config"]["default"].removeprefix("${workspace.file_path}/")).is_file()
    schedules = [found["schedule"] for found in BUNDLE["resources"]["jobs"].values() if "schedule" in found]
    assert [schedule["pause_status"] for schedule in schedules] == ["PAUSED"]


def test_secrets_are_references():
    """What a cluster gets as a key is a reference into a secret scope, never a value."""
    for found in BUNDLE["targets"]["cluster"]["resources"]["jobs"].values():
        for cluster in found["job_clusters"]:
            for value in cluster["new_cluster"]["spark_env_vars"].values():
                assert re.fullmatch(r"\{\{secrets/\$\{var\.secret_scope\}/[\w-]+\}\}", value)


def test_a_wheel_task_ends_without_system_exit(monkeypatch, capsys):
    """A command that ends well returns; one that does not raises, with the command and its status."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its handlers
    monkeypatch.setattr(sys, "argv", ["promptmill-job", "report", "--help"])
    assert job_entry_point() is None
    monkeypatch.setattr(sys, "argv", ["promptmill-job", "report", "/nowhere"])
    with pytest.raises(JobFailed, match="promptmill report ended with status 2"):
        job_entry_point()
    assert "/nowhere: holds no run" in capsys.readouterr().err
