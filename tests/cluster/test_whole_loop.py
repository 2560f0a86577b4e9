"""The whole loop on real multi-process Spark: the same tests as on local[2]."""

import pytest
from spark_clusters import run_on


@pytest.mark.cluster
def test_a_planted_prompt_is_found_over_spark_connect():
    """Through a server process of its own, as clients of shared and serverless compute work."""
    run_loop("connect", "planted", "1 passed")


@pytest.mark.slow_cluster
@pytest.mark.parametrize("cluster", ["local-cluster[2,1,1024]", "connect"])
def test_whole_loop_runs_alike_on_every_spark(cluster):
    """A planted prompt is found and promoted, none is when there is none, and an outage scores nothing."""
    run_loop(cluster, "", "5 passed")


@pytest.mark.slow_cluster
def test_notebooks_run_over_spark_connect():
    """Every notebook, and the look at shared storage, with a client that has no JVM of its own."""
    outcome = run_on("connect", ["tests/jobs/test_notebooks.py", "tests/engine/test_shared_storage.py", "-q"])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def run_loop(cluster, chosen, told):
    outcome = run_on(cluster, ["tests/engine/test_migration.py", "-q", "-k", chosen])
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert told in outcome.stdout
