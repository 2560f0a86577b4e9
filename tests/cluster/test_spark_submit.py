"""Jobs as a cluster gets them: a script and the zip of ``make dist``, on machines that have never seen promptmill."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import planted_world as world
import pytest
from distribution import build, clean_python
from driver import CLUSTER_CONF
from spark_clusters import ROOT, standalone_cluster

from engine.java import prepare_java
from engine.scripted_endpoint import ScriptedEndpoint

pytestmark = pytest.mark.slow_cluster


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return clean_python(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def cluster():
    with standalone_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def endpoints():
    with ScriptedEndpoint(world.target) as target, ScriptedEndpoint(world.reflection) as reflection:
        yield target, reflection


@pytest.fixture
def job(tmp_path, endpoints, python, built):
    """Make a folder with the script and the configuration alone, and a command that runs it."""

    def submit(script, *words, before=(), root=None, spark="", environ=None):
        place = tmp_path / "container"
        place.mkdir()
        shutil.copy(ROOT / "jobs" / script, place)
        target, reflection = endpoints
        text = world.config_text(tmp_path, target_url=target.base_url, reflection_url=reflection.base_url)
        if root:
            text = text.replace(f"root: {tmp_path}/store", f"root: {root}")
        (place / "mine.yaml").write_text(text + spark)
        kept = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "SPARK_HOME"}}
        return subprocess.run(
            [*(before or [python]), script, "--config", "mine.yaml", *words],
            cwd=place,
            env={**kept, "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python), **(environ or {})},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return submit


@pytest.fixture
def spark_submit(cluster, built):
    prepare_java()
    conf = [word for key, value in CLUSTER_CONF.items() for word in ("--conf", f"{key}={value}")]
    return [str(cluster.home / "bin" / "spark-submit"), "--master", cluster.url, *conf, "--py-files", str(built[1])]


def test_the_zip_holds_code_data_and_metadata(built):
    """What is read at run time is in it, tests and dependencies are not."""
    names = zipfile.ZipFile(built[1]).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"udfs", "engine", "jobs", "conf", "promptmill"}
    for needed in ("engine/log4j2.properties", "engine/report/report.css", "engine/report/report.html.j2"):
        assert needed in names
    assert "conf/quickstart.yaml" in names
    assert any(name.endswith(".dist-info/METADATA") for name in names)


def test_the_wheel_installs_and_answers(built, python, tmp_path):
    """Both console scripts are there; --version is the wheel's."""
    wheel = built[0]
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True)
    environ = {**os.environ, "PYTHONPATH": str(target)}
    for script in ("promptmill", "promptmill-job"):
        command = [python, target / "bin" / script, "--version"]
        said = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout.split()[-1]) == (0, wheel.name.split("-")[1]), said


def test_a_migration_is_submitted_to_a_cluster_without_promptmill(job, spark_submit):
    """Client mode: the driver's code and the executors' come out of the zip, and the planted prompt is promoted."""
    ended = job("optimize.py", "--json", before=spark_submit)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout)
    assert found["status"] == "promoted"
    assert found["prompt"]["text"] == world.GOOD


def test_prompts_are_scored_by_a_submitted_job_that_gets_its_configuration_as_a_file(job, spark_submit, tmp_path):
    """--files mine.yaml: the name alone finds it in the working directory, as a cluster's driver has it."""
    (tmp_path / "good.txt").write_text(world.GOOD)
    words = ("--json", "--prompt", str(tmp_path / "good.txt"))
    ended = job("evaluate.py", *words, before=[*spark_submit, "--files", "mine.yaml"])
    assert ended.returncode == 0, ended.stderr[-3000:]
    (scored,) = json.loads(ended.stdout)["prompts"]
    assert (scored["score"], scored["scored"]) == (1.0, 120)


def test_storage_that_each_machine_has_for_itself_is_refused_before_a_call(job, spark_submit, endpoints):
    """A path that is another folder in every process stands for a machine's own disk; nothing was paid."""
    calls = [len(endpoint.calls) for endpoint in endpoints]
    ended = job("optimize.py", before=spark_submit, root="/proc/self/cwd/store")
    assert ended.returncode == 2, ended.stderr[-3000:]
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert said.startswith("error: storage.root /proc/self/cwd/store is not seen by the executors: "), said
    assert [len(endpoint.calls) for endpoint in endpoints] == calls


def test_the_zip_on_the_path_is_all_that_a_driver_needs(job, built):
    """As in cluster mode: a foreign folder with script and configuration, the zip on PYTHONPATH, nothing installed."""
    spark = 'spark: {master: "local[2]"}\n'
    ended = job("optimize.py", "--json", spark=spark, environ={"PYTHONPATH": str(built[1])})
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert json.loads(ended.stdout)["status"] == "promoted"
    assert "INFO" not in ended.stderr, "the log settings were not found in the zip"
