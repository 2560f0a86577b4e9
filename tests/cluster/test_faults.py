"""The tests in ``faults``, on clusters of several processes; slow ones and a second cluster by make test-cluster."""

import re

import pytest
from spark_clusters import run_on

# Far above what it takes on a quiet machine: it bounds a hang.
_HANGS_S = 1500


def run_faults(cluster, selection, measured):
    outcome = run_on(cluster, ["tests/cluster/faults", "-q", "-m", selection], timeout_s=_HANGS_S)
    for line in re.findall("measured: (.*)", outcome.stdout):
        measured(line)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.cluster
def test_faults_on_a_standalone_cluster(measured):
    """A master and two workers as processes of their own, which stand for hosts."""
    run_faults("standalone", "not slow_cluster", measured)


@pytest.mark.slow_cluster
@pytest.mark.parametrize(
    ("cluster", "selection"),
    [("local-cluster[2,1,512]", "slow_cluster or not slow_cluster"), ("standalone", "slow_cluster")],
)
def test_slow_faults_and_faults_on_the_other_cluster(cluster, selection, measured):
    """All of them on local-cluster, and the slow ones on the standalone cluster."""
    run_faults(cluster, selection, measured)
