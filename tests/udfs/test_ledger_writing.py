"""Writing a ledger: what storage refuses is tried again, held meanwhile, and never lost without a word."""

import asyncio
import logging
from pathlib import Path

import pyarrow as pa
import pytest
from ledger_entries import entry

from udfs.errors import LedgerError
from udfs.ledger import LedgerLocation, SegmentLedger, write_segment


def blocked(tmp_path):
    """Make a ledger that can't be written: a file stands where its folder should be."""
    obstacle = tmp_path / "ledger"
    obstacle.write_text("in the way")
    return LedgerLocation(str(tmp_path)), obstacle


class Pauses:
    """Sleeps not at all, but notes how long it should have, and does something at one of them."""

    def __init__(self, mend=None, at=1):
        self.taken, self._mend, self._at = [], mend, at

    async def __call__(self, seconds):
        self.taken.append(seconds)
        if self._mend and len(self.taken) == self._at:
            self._mend()


def test_a_write_that_storage_refuses_is_tried_again(tmp_path, caplog):
    """Its entries are held meanwhile; each failure is a warning, and nothing else notices."""
    location, obstacle = blocked(tmp_path)
    pauses = Pauses(obstacle.unlink, at=2)

    async def work():
        ledger = SegmentLedger(location, "w", answers=2, sleep=pauses)
        for number in range(4):
            ledger.keep(entry(number))
        await ledger.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert sorted(one.key for one in location.entries()) == ["k0", "k1", "k2", "k3"]
    assert sorted(pauses.taken)[0] == 0.25
    assert "will be written again in 0.25 s" in caplog.text


def test_a_ledger_that_cannot_be_written_stops_the_run(tmp_path):
    """After the last pause the next answer and the close both say so: folder, reason, what is lost, the mend."""
    location, _ = blocked(tmp_path)
    pauses = Pauses()

    async def work():
        ledger = SegmentLedger(location, "w", answers=1, sleep=pauses)
        ledger.keep(entry())
        await asyncio.wait(ledger._writes)
        with pytest.raises(LedgerError, match="make room or mend the rights"):
            ledger.keep(entry(1))
        with pytest.raises(LedgerError, match=rf"{tmp_path}.*; 1 answers are not kept"):
            await ledger.close()

    asyncio.run(work())
    assert pauses.taken == [0.25, 0.5, 1.0, 2.0]


def test_what_failed_for_good_is_written_by_the_close_where_storage_has_come_back(tmp_path):
    """Nothing that is still in memory is given up while it can be written; then it is no failure at all."""
    location, obstacle = blocked(tmp_path)

    async def work():
        ledger = SegmentLedger(location, "w", answers=1, retry_after_s=())
        ledger.keep(entry(0))
        await asyncio.wait(ledger._writes)
        obstacle.unlink()
        await ledger.close()

    asyncio.run(work())
    assert [one.key for one in location.entries()] == ["k0"]


def test_a_defective_segment_takes_no_other_with_it(tmp_path):
    """Later segments are written all the same, and the failure is told."""
    location = LedgerLocation(str(tmp_path))

    async def work():
        ledger = SegmentLedger(location, "w", answers=1, seconds=3600)
        ledger.keep(entry(0, prompt_tokens="no number"))
        ledger.keep(entry(1))
        await asyncio.wait(ledger._writes)
        with pytest.raises(LedgerError, match="no number"):
            await ledger.close()

    asyncio.run(work())
    assert [one.key for one in location.entries()] == ["k1"]


def test_storage_that_stopped_is_not_waited_for_with_open_arms(tmp_path, monkeypatch):
    """A bounded number of answers is held: beyond it the run stops instead of paying for what may be lost."""
    location, _ = blocked(tmp_path)
    monkeypatch.setattr("udfs.ledger.writer._MOST_HELD", 3)

    async def never(_):
        await asyncio.Event().wait()

    async def work():
        ledger = SegmentLedger(location, "w", answers=1, sleep=never)
        for number in range(3):
            ledger.keep(entry(number))
        with pytest.raises(LedgerError, match="3 segments wait"):
            ledger.keep(entry(3))

    asyncio.run(work())


def test_a_failed_write_leaves_no_half_file(tmp_path):
    """What could not be written is removed again."""
    filesystem, folder = LedgerLocation(str(tmp_path)).filesystem()
    with pytest.raises(pa.ArrowException):
        write_segment(filesystem, folder, "w-000001.parquet", [entry(prompt_tokens="no number")])
    assert list(Path(folder).iterdir()) == []


def test_half_a_character_does_not_cost_the_segment(tmp_path):
    """Text that can't be encoded is replaced, in that entry alone."""
    location = LedgerLocation(str(tmp_path))
    filesystem, folder = location.filesystem()
    write_segment(filesystem, folder, "w-1.parquet", [entry(0, output="cut \ud83d"), entry(1, output="ö\U0001f600")])
    assert [one.output for one in location.entries()] == ["cut �", "ö\U0001f600"]
