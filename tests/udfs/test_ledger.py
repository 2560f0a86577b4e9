"""Segments: written whole, read back, passed over when broken; and keys that never change."""

import asyncio
import logging
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_entries import entry, keep
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from udfs.ledger import (
    DDL,
    Entry,
    LedgerLocation,
    SegmentLedger,
    answer_key,
    reflection_key,
    verdict_key,
)
from udfs.ledger import writer as writer_module


def test_keys_are_pinned():
    """A changed key would pay for every answer again: these values stay for ever."""
    assert answer_key("e", "c", "r") == "30742d36501161438f0a5589b0b937d65dc9c16e279249623c6e7d486248c8e2"
    assert answer_key("e", "c", "r", 1) == "8155e3f5e3b943faf438af9a5b2e4f901eb6b534cd927651d8c9e0783ff99db1"
    assert verdict_key("e", "j", "r", "{}", "out") == "fe9a0fe3c344f9c499b942f126f4eebdae44794bf9983bf09f5f9423988a5fae"
    assert verdict_key("e", "j", "r", "{}", "out", 1) == (
        "e73099597e446c05a8d4910a0fe565ab156b99d636365dfb292a259cd15bdf27"
    )
    assert reflection_key("e", "[]", 0) == "993ae74d2134ac4c714547aabed35a9628c477afa9a0bea4596abce7084f988d"


def test_spark_computes_the_same_keys(spark):
    """An evaluation finds by a join in Spark what a worker kept."""
    frame = spark.createDataFrame([("e", "c", "r", "ä", "öut|put")], "e string, c string, r string, x string, o string")

    def sha2(*parts):
        return F.sha2(F.concat_ws("|", *parts), 256)

    line = frame.select(
        sha2(F.lit("answer"), "e", "c", "r", F.lit("0")).alias("answer"),
        sha2(F.lit("verdict"), "e", "c", "r", F.sha2("x", 256), F.sha2("o", 256)).alias("verdict"),
    ).collect()[0]
    assert line["answer"] == answer_key("e", "c", "r")
    assert line["verdict"] == verdict_key("e", "c", "r", "ä", "öut|put")


def test_spark_reads_what_a_worker_wrote(spark, tmp_path):
    """The schema for Spark's reader is the segments' own, and an entry survives the way through its JSON."""
    location = LedgerLocation(str(tmp_path))
    kept = [entry(1), entry(2, output=None, error_kind="content_filter", error_message="ö")]
    keep(location, kept)
    frame = spark.read.schema(DDL).parquet(location.folder)
    texts = [line["j"] for line in frame.orderBy("key").select(F.to_json(F.struct("*")).alias("j")).collect()]
    assert [Entry.from_json(text) for text in texts] == kept


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            entry,
            st.integers(0, 1000),
            output=st.none() | st.text(),
            error_message=st.none() | st.text(),
            prompt_tokens=st.integers(0, 2**40),
            latency_ms=st.floats(0, 1e9),
        ),
        max_size=20,
    ),
    st.integers(1, 7),
)
def test_what_is_kept_is_read_back(tmp_path_factory, entries, answers):
    """Nothing is lost, added or changed, however many segments it takes; JSON loses nothing either."""
    location = LedgerLocation(str(tmp_path_factory.mktemp("ledger")))
    keep(location, entries, answers=answers)
    assert sorted(location.entries(), key=str) == sorted(entries, key=str)
    assert len(location.segments()) == -(-len(entries) // answers)
    assert [Entry.from_json(one.to_json()) for one in entries] == entries


def test_an_empty_or_missing_ledger_has_nothing(tmp_path):
    """A first run finds no folder, and a run without answers leaves no file."""
    location = LedgerLocation(str(tmp_path / "none"))
    assert list(location.entries()) == []
    keep(location, [])
    assert not Path(location.folder).exists()


def test_a_damaged_segment_is_skipped_with_a_warning(tmp_path, caplog):
    """Its rows are called again; the others are still there."""
    location = LedgerLocation(str(tmp_path))
    for number in range(4):
        keep(location, [entry(number)], writer=f"w{number}")
    cut, empty, garbage, _ = (Path(path) for path in location.segments())
    cut.write_bytes(cut.read_bytes()[:-20])
    empty.write_bytes(b"")
    garbage.write_bytes(b"PAR1" + b"\0" * 500 + b"PAR1")
    with caplog.at_level(logging.WARNING):
        assert [one.key for one in location.entries()] == ["k3"]
    assert len(caplog.records) == 3
    assert str(cut) in caplog.text


def test_temporary_and_foreign_files_are_passed_over(tmp_path):
    """What a crash left half written is no segment, nor is anything that somebody else put there."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry()])
    folder = Path(location.folder)
    (folder / ".w-1-000001.parquet.tmp").write_bytes(b"half")
    (folder / "_SUCCESS").touch()
    (folder / "x.parquet").mkdir()
    assert len(location.segments()) == 1
    assert [one.key for one in location.entries()] == ["k0"]


def test_no_temporary_file_stays_behind(tmp_path):
    """Segments appear whole, by rename."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(n) for n in range(5)], answers=2)
    assert all(path.suffix == ".parquet" for path in Path(location.folder).iterdir())


def test_the_format_version_stands_in_file_and_folder(tmp_path):
    """A later version can tell what it reads."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry()])
    (path,) = location.segments()
    assert pq.read_schema(path).metadata[b"promptmill.ledger.format"] == b"1"
    assert location.folder.endswith("/ledger/v1")


def test_a_folder_that_looks_like_a_partition_adds_nothing(tmp_path):
    """A root such as /data/run_id=7 is a place, not a column."""
    location = LedgerLocation(str(tmp_path / "run_id=7" / "attempts=x"))
    keep(location, [entry()])
    assert list(location.entries()) == [entry()]


def test_a_segment_closes_by_number(tmp_path):
    """The N-th answer is on storage without waiting for the clock."""

    async def work():
        ledger = SegmentLedger(LedgerLocation(str(tmp_path)), "w", answers=3, seconds=3600)
        for number in range(7):
            ledger.keep(entry(number))
        await asyncio.wait(ledger._writes)
        before = [one.key for one in LedgerLocation(str(tmp_path)).entries()]
        await ledger.close()
        return before

    assert asyncio.run(work()) == [f"k{n}" for n in range(6)]
    assert len(list(LedgerLocation(str(tmp_path)).entries())) == 7


def test_a_segment_closes_by_time(tmp_path):
    """A few answers are on storage after the given seconds, without more of them and without a close."""
    location = LedgerLocation(str(tmp_path))

    async def work():
        ledger = SegmentLedger(location, "w", seconds=0.01)
        for number in range(2):
            ledger.keep(entry(number))
            while len(location.segments()) <= number:  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.005)
        await ledger.close()

    asyncio.run(asyncio.wait_for(work(), 30))
    assert [one.key for one in location.entries()] == ["k0", "k1"]


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    """A retried task has its earlier attempt's name, and still overwrites nothing."""
    location = LedgerLocation(str(tmp_path))
    keep(location, [entry(1)], writer="e1-p00001")
    keep(location, [entry(2)], writer="e1-p00001")
    keep(location, [entry(3)], writer="e1-p00002")
    assert {one.key for one in location.closed_by("e1-p00001-")} == {"k1", "k2"}


def test_a_worker_finds_what_it_was_given_and_its_verdicts(tmp_path, monkeypatch):
    """Known entries and its own verdicts are found; the verdicts remembered are bounded, all are on storage."""
    monkeypatch.setattr(writer_module, "_REMEMBERED", 2)
    location = LedgerLocation(str(tmp_path))

    async def work():
        ledger = SegmentLedger(location, "w", known=[entry(0)])
        for number in range(1, 5):
            ledger.keep(entry(number, kind="verdict"))
        found = [ledger.find(f"k{number}") is not None for number in range(5)]
        await ledger.close()
        return found

    assert asyncio.run(work()) == [True, False, False, True, True]
    assert len(list(location.entries())) == 4
