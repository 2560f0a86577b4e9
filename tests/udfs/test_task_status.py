"""Status files: what tasks and driver tell each other, without a word of Spark."""

from dataclasses import replace
from pathlib import Path

import pytest

from udfs.errors import InputError
from udfs.task_status import Look, StatusFolder, Stop, TaskStatus, total


@pytest.fixture
def folder(tmp_path):
    made = StatusFolder(str(tmp_path), "e1")
    made.begin()
    return made


def test_what_tasks_report_is_read_back_and_added_up(folder):
    """The last report of each partition counts, once."""
    status = TaskStatus(done=3, tokens=50, cost=0.5, answered_at=9.0, in_flight=2)
    folder.report(0, TaskStatus(done=1))
    folder.report(0, status)
    folder.report(11, replace(status, answered_at=4.0))
    assert folder.statuses() == {0: status, 11: replace(status, answered_at=4.0)}
    summed = total(folder.statuses().values())
    assert (summed.done, summed.tokens, summed.cost, summed.in_flight, summed.answered_at) == (6, 100, 1.0, 4, 9.0)


def test_the_first_reason_to_stop_stays(folder):
    """Whoever stops an evaluation that is stopped already changes nothing."""
    assert (folder.stopped(), folder.look()) == (None, Look(stopped=False, ended=frozenset()))
    folder.stop(Stop("credentials", "refused"))
    folder.stop(Stop("interrupted", "later"))
    assert folder.stopped() == Stop("credentials", "refused")
    folder.end(3)
    assert folder.look() == Look(stopped=True, ended=frozenset({3}))


def test_a_worker_that_does_not_share_the_storage_is_told_before_it_calls(tmp_path):
    """On its own disk the driver's folder is not there."""
    StatusFolder(str(tmp_path / "driver"), "e1").begin()
    with pytest.raises(InputError, match="not the same folder on this worker"):
        StatusFolder(str(tmp_path / "worker"), "e1").check_shared()


def test_a_status_of_a_later_version_is_read_as_far_as_it_is_known(folder):
    """An executor with newer code must not break an older driver's progress."""
    Path(folder.folder, "p00004.json").write_text('{"done": 2, "moods": 1}')
    assert folder.statuses()[4].done == 2


def test_nothing_is_left_when_it_is_removed(folder, tmp_path):
    """The folder goes, and reading it then finds nothing."""
    folder.report(0, TaskStatus(done=1))
    folder.remove()
    assert (folder.statuses(), list((tmp_path / "status" / "v1").iterdir())) == ({}, [])
