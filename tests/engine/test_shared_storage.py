"""Whether driver and executors see the same storage, asked on whichever Spark this run stands on."""

import pytest

from engine import shared_storage
from engine.errors import EnvironmentProblem, InputError
from engine.session import is_one_machine
from engine.shared_storage import check_shared, judge
from engine.storage import Storage
from udfs.storage_probe import StorageProbe


def storage(tmp_path):
    return Storage.at(str(tmp_path / "store"), str(tmp_path / "elsewhere" / "run"))


@pytest.fixture
def cluster(monkeypatch):
    """Have the session of this run taken for a cluster, which it is only where PROMPTMILL_TEST_CLUSTER says so."""
    monkeypatch.setattr(shared_storage, "is_one_machine", lambda spark: False)
    monkeypatch.setattr(shared_storage, "_TASKS", 4)


def test_shared_storage_passes_and_nothing_of_the_look_is_left(spark, tmp_path, cluster):
    """Root and run directory are both looked at by real tasks, and both are empty afterwards."""
    check_shared(spark, storage(tmp_path))
    assert list((tmp_path / "store").iterdir()) == []
    assert list((tmp_path / "elsewhere" / "run").iterdir()) == []


def test_a_place_is_looked_at_once_a_session(spark, tmp_path, cluster):
    """The second time nothing is asked of storage, which by then is gone."""
    check_shared(spark, storage(tmp_path))
    for folder in (tmp_path / "store", tmp_path / "elsewhere" / "run"):
        folder.rmdir()
        folder.write_text("a file in its place can't hold a mark")
    check_shared(spark, storage(tmp_path))


def test_a_storage_that_the_driver_cannot_write_is_told_first(spark, tmp_path, cluster):
    """The message names the setting and the folder."""
    (tmp_path / "store").write_text("a file")
    with pytest.raises(InputError, match=r"storage\.root .*/store can't be written by the driver"):
        check_shared(spark, storage(tmp_path))


def test_workers_that_lack_a_package_are_told_as_such(spark, tmp_path, cluster, monkeypatch):
    """What a worker's Python says is in the message, without Spark's stack, and what is needed is named."""

    class NoPandas:
        def __init__(self, probes):
            del probes

        def __call__(self, batches):
            raise ModuleNotFoundError("No module named 'pandas'")

    monkeypatch.setattr(shared_storage, "WorkerLook", NoPandas)
    with pytest.raises(EnvironmentProblem, match=r"No module named 'pandas'.*aiohttp") as caught:
        check_shared(spark, storage(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "answers", "told"),
    [
        ([(0, "a1", "worker-0", False, None)], {"worker-0"}, "is not seen by the executors: a1 did not find"),
        ([(0, "a1", "worker-0", True, None)], set(), "what a1 wrote there is not seen by the driver"),
        (
            [(0, "b2", "worker-0", False, "OSError: denied")],
            set(),
            "can't be read and written by the executors (b2: OS",
        ),
    ],
)
def test_each_way_of_not_being_shared_has_its_message(lines, answers, told):
    """Blind executors, a blind driver and a refusing storage are told apart, each with the mend."""
    said = judge("storage.root", "/data", lines, frozenset(answers))
    assert told in said
    assert "a shared mount, /Volumes/…, or an object-store URI" in said


def test_a_worker_finds_only_the_mark_of_this_very_look(tmp_path):
    """A folder of the same name with another mark is another machine's."""
    ours, theirs = StorageProbe(str(tmp_path), "a"), StorageProbe(str(tmp_path), "b")
    ours.begin()
    assert ours.answer("worker-0") == (True, None)
    assert theirs.answer("worker-1") == (False, None)
    assert ours.answers() == {"worker-0", "worker-1"}


def test_a_session_of_one_process_needs_no_look(spark, tmp_path):
    """Only a local master is this machine alone; a Connect server may stand anywhere."""
    if is_one_machine(spark):
        check_shared(spark, Storage.at(str(tmp_path / "never"), str(tmp_path / "never" / "run")))
        assert not (tmp_path / "never").exists()
    else:
        assert "local[" not in spark.conf.get("spark.master", "") or ".connect." in type(spark).__module__
