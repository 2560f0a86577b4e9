"""Compaction: whatever happens when, every entry that was closed is found, the latest wins, and nothing else is."""

import asyncio
import contextlib
import logging
import uuid
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_entries import entry, keep

from engine import ledger_compaction
from engine.ledger_compaction import SparkMerge, compact, compact_if_worthwhile, remove_superseded
from engine.ledger_frame import read_segments
from engine.storage import Storage
from udfs.errors import LedgerError
from udfs.ledger import LedgerLocation, SegmentLedger, latest, to_entries, to_table
from udfs.ledger.listing import forget_checks

DAY = 24 * 3600


def arrow_merge(ledger, segments, folder):
    """Merge as Spark does, in 5 ms: the property below is about what is merged when, not about who does it."""
    filesystem, place = ledger.filesystem()
    paths = [f"{place}/{segment.name}" for segment in segments]
    tables = [pq.read_table(path, filesystem=filesystem, partitioning=None) for path in paths]
    entries = latest(one for table in tables for one in to_entries(table))
    target = f"{place}/{folder.rpartition('/')[2]}"
    filesystem.create_dir(target)
    pq.write_table(to_table(list(entries.values())), f"{target}/part-0.parquet", filesystem=filesystem)


class CrashError(Exception):
    """The driver died here."""


def crashing_merge(ledger, segments, folder):
    """Die when the merged segments are written and their manifest is not."""
    arrow_merge(ledger, segments, folder)
    raise CrashError


class Writer:
    """A driver's task: keeps entries, of which some are not closed yet."""

    def __init__(self, location, name):
        self.ledger = SegmentLedger(location, name, seconds=3600)
        self.kept = []


class Model:
    """What must be found, beside the real ledger."""

    def __init__(self, folder):
        self.location = LedgerLocation(str(folder))
        self.now = 1000.0
        self.closed = []
        self.loop = asyncio.new_event_loop()
        self.writers = [self.in_loop(self.writer(name)) for name in "ab"]
        self.listings = []

    async def writer(self, name):
        return Writer(self.location, name)

    def in_loop(self, work):
        return self.loop.run_until_complete(work)

    def keep(self, who, number, closes):
        self.now += 1

        async def work():
            one = entry(number, answered_at=self.now, output=f"{number} at {self.now}")
            self.writers[who].ledger.keep(one)
            self.writers[who].kept.append(one)

        self.in_loop(work())
        if closes:
            self.close(who)

    def close(self, who):
        self.in_loop(self.writers[who].ledger.close())
        self.closed += self.writers[who].kept
        self.writers[who].kept = []

    def crash(self, who):
        """A worker dies while it writes: what was not closed is lost, half a file stays, and another takes over."""
        folder = Path(self.location.folder)
        folder.mkdir(parents=True, exist_ok=True)
        lost = self.writers[who].kept or [entry(99)]
        half = folder / f"x-{uuid.uuid4().hex}.parquet"
        pq.write_table(to_table(lost), half)
        content = half.read_bytes()[:-9]
        half.write_bytes(content)
        (folder / f".{half.name}.tmp").write_bytes(content)
        self.writers[who] = self.in_loop(self.writer("ab"[who]))

    def compact(self):
        compact(self.location, arrow_merge, clock=lambda: self.now)

    def compact_while_another_does(self):
        def merge(ledger, segments, folder):
            arrow_merge(ledger, segments, folder)
            self.compact()

        compact(self.location, merge, clock=lambda: self.now)

    def compact_while_a_task_closes(self):
        def merge(ledger, segments, folder):
            arrow_merge(ledger, segments, folder)
            self.close(0)

        compact(self.location, merge, clock=lambda: self.now)

    def compact_and_crash(self):
        with contextlib.suppress(CrashError):
            compact(self.location, crashing_merge, clock=lambda: self.now)

    def remove(self):
        remove_superseded(self.location, clock=lambda: self.now)

    def a_day_goes_by(self):
        self.now += DAY + 1
        self.listings = []

    def damage(self):
        """A merged segment breaks while all that it superseded is still there."""
        listing = self.location.listing()
        for manifest in listing.manifests:
            whole = all(name in listing.present for name in (*manifest.supersedes, *manifest.segments))
            if whole and manifest.segments[0] not in listing.superseded:
                part = Path(self.location.folder, manifest.segments[0])
                part.write_bytes(part.read_bytes()[:-9])
                self.listings = []
                return

    def look(self):
        """A reader lists the ledger, and reads it later."""
        self.listings.append((self.location.listing(), list(self.closed)))

    def check(self):
        expected = latest(self.closed)
        assert latest(self.location.entries()) == expected
        forget_checks()
        assert latest(self.location.entries()) == expected
        for listing, closed in self.listings:
            read = (pq.read_table(f"{self.location.folder}/{segment.name}") for segment in listing.live)
            assert latest(one for table in read for one in to_entries(table)) == latest(closed)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.integers(0, 1), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("keep"), st.integers(0, 1), st.integers(0, 5), st.just(True)),
        st.tuples(st.sampled_from(["close", "crash"]), st.integers(0, 1)),
        st.tuples(
            st.sampled_from(
                [
                    "compact",
                    "compact_and_crash",
                    "compact_while_another_does",
                    "compact_while_a_task_closes",
                    "remove",
                    "a_day_goes_by",
                    "look",
                    "damage",
                ]
            )
        ),
    ),
    min_size=10,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_what_was_closed_is_found_whatever_happens(tmp_path_factory, steps):
    """Two drivers keep, close, crash and compact in any order: nothing closed is lost or hidden, and the latest wins.

    A reader that listed the ledger less than a day ago reads from its listing what it would have read then.
    """
    logging.disable(logging.WARNING)
    model = Model(tmp_path_factory.mktemp("ledger"))
    try:
        for name, *arguments in steps:
            getattr(model, name)(*arguments)
            model.check()
    finally:
        logging.disable(logging.NOTSET)
        model.loop.close()


def filled(tmp_path, segments=6, entries=5):
    """Make a ledger of small segments, in which each key was paid for twice."""
    location = LedgerLocation(str(tmp_path))
    for number in range(segments):
        paid = {"answered_at": float(number // 2), "output": f"ö{number}"}
        keep(
            location,
            [entry(f"{number % 2}-{n}", row_id=f"r{n}", candidate_id=f"c{n % 3}", **paid) for n in range(entries)],
            writer=f"w{number}",
        )
    return location


def test_spark_merges_the_latest_entry_of_each_key(spark, tmp_path):
    """Small segments become one, sorted by what evaluations ask for; what is found stays the same."""
    location = filled(tmp_path)
    before = latest(location.entries())
    done = compact(location, SparkMerge(spark), clock=lambda: 7.0)
    assert (done.merged, done.into) == (6, 1)
    assert latest(location.entries()) == before
    assert len(list(location.entries())) == len(before) == 10
    (segment,) = location.listing().live
    table = pq.read_table(f"{location.folder}/{segment.name}", partitioning=None)
    order = ["kind", "endpoint_id", "candidate_id", "row_id"]
    assert (
        table.select(order).to_pylist()
        == table.select(order).sort_by([(name, "ascending") for name in order]).to_pylist()
    )
    assert compact(location, SparkMerge(spark)) is None, "one segment is not worth another round"


def test_a_segment_broken_behind_its_footer_stops_no_compaction(spark, tmp_path, caplog):
    """It is found, named, left out and left where it is; all others are merged."""
    location = filled(tmp_path)
    broken = Path(location.segments()[0])
    content = bytearray(broken.read_bytes())
    content[4:600] = b"\xff" * 596
    broken.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        done = compact(location, SparkMerge(spark))
    assert done.merged == 5
    assert str(broken) in caplog.text
    assert broken.exists()
    assert len(latest(location.entries())) == 10


def test_many_segments_are_read_by_their_folder_and_only_those_that_are_meant(spark, tmp_path):
    """Listing hundreds of paths takes Spark seconds; superseded, damaged and later ones in the folder stay out."""
    location = filled(tmp_path, segments=40, entries=1)
    compact(location, SparkMerge(spark))
    for number in range(35):
        keep(location, [entry(f"new {number}")], writer=f"n{number}")
    (Path(location.folder) / "broken.parquet").write_bytes(b"PAR1")
    names = [segment.name for segment in location.listing().live]
    assert len(names) == 36
    frame = read_segments(spark, location, names, skip_corrupt=True)
    assert sorted(line["key"] for line in frame.collect()) == sorted(one.key for one in location.entries())
    assert frame.count() == 37
    done = compact(location, SparkMerge(spark))
    assert done.merged == 36
    assert len(list(location.entries())) == 37


def test_a_merge_that_fails_leaves_the_ledger_as_it_was(tmp_path):
    """The error is told, and everything is still read."""
    location = filled(tmp_path)

    def merge(ledger, segments, folder):
        raise LedgerError("the disk is full")

    before = latest(location.entries())
    with pytest.raises(LedgerError, match="the disk is full"):
        compact(location, merge)
    assert latest(location.entries()) == before


def test_the_compaction_at_the_end_of_a_run_waits_until_it_is_worth_it(spark, tmp_path, monkeypatch):
    """A few segments are left alone, many are merged, and a failure is no more than a warning."""
    location = filled(tmp_path)
    compact_if_worthwhile(spark, location)
    assert len(location.listing().live) == 6
    monkeypatch.setattr(ledger_compaction, "WORTHWHILE_SEGMENTS", 6)
    compact_if_worthwhile(spark, location)
    assert len(location.listing().live) == 1
    (tmp_path / "file").write_text("")
    compact_if_worthwhile(spark, LedgerLocation(str(tmp_path / "file")))


def test_superseded_segments_go_after_a_day_and_only_when_asked(tmp_path):
    """Before that a reader may have them in hand; what crashes left goes with them, what is fresh stays."""
    location = filled(tmp_path)
    folder = Path(location.folder)
    compact(location, arrow_merge, clock=lambda: 1000.0)
    assert remove_superseded(location, clock=lambda: 1000.0 + DAY - 1).files == 0
    assert len(list(folder.glob("w*.parquet"))) == 6
    (folder / ".w-left.parquet.tmp").write_bytes(b"half")
    removed = remove_superseded(location, clock=lambda: 1001.0 + DAY)
    assert removed.files == 6
    assert (folder / ".w-left.parquet.tmp").exists(), "it was written just now, by the clock of storage"
    assert len(latest(location.entries())) == 10
    keep(location, [entry("new")])
    compact(location, arrow_merge, clock=lambda: 2000.0 + DAY)
    remove_superseded(location, clock=lambda: 9e9)
    assert len(latest(location.entries())) == 11
    assert len(list(folder.iterdir())) == 2, "one merged segment's folder and its manifest"


def test_spark_reads_a_ledger_that_is_being_compacted(spark, tmp_path):
    """A frame planned before a compaction still reads what it was planned with."""
    location = filled(tmp_path)
    frame = read_segments(spark, location, [s.name for s in location.listing().live], skip_corrupt=True)
    compact(location, SparkMerge(spark))
    assert frame.count() == 30
    assert Storage.at(str(tmp_path), str(tmp_path)).ledger == location
