"""Train, val and holdout: disjoint, complete, stratified, and the same whenever they are made."""

from collections import Counter

import pytest
from pyspark.sql import functions as F  # noqa: N812 - Spark's own convention

from engine.errors import InputError
from engine.rows import ROWS_DDL
from engine.settings import SplitSettings
from engine.split import split_rows


def frame(spark, count, answer="case when id % 10 = 0 then 'rare' else 'common' end", partitions=3):
    rows = spark.range(0, count, 1, partitions).selectExpr(
        "sha2(cast(id as string), 256) as row_id",
        "concat('{\"n\":', id, '}') as inputs",
        f"concat('{{\"expected_response\":\"', {answer}, '\"}}') as expectations",
        "1L as weight",
        "map('parity', cast(id % 2 as string)) as slices",
        "cast(null as string) as trace_id",
    )
    return rows.select(*[column.split()[0] for column in ROWS_DDL.replace("map<string,string>", "map").split(", ")])


def ids(rows):
    return [row.row_id for row in rows]


def holdout_ids(split):
    return [line["row_id"] for line in split.holdout.select("row_id").collect()]


def test_the_parts_are_disjoint_complete_and_of_the_right_size(spark):
    """Every row is in exactly one part; the shares are exact to one row a label; no helper column is left."""
    split = split_rows(frame(spark, 200), SplitSettings(), seed=0)
    held = holdout_ids(split)
    everything = ids(split.train) + ids(split.val) + held
    assert len(everything) == len(set(everything)) == 200
    assert split.holdout_rows == len(held)
    for size, share in ((len(split.train), 0.4), (len(split.val), 0.2), (len(held), 0.4)):
        assert abs(size - 200 * share) <= 2
    assert split.holdout.columns == ["row_id", "inputs", "expectations", "weight", "slices", "trace_id"]


def test_rare_answers_stand_in_every_part(spark):
    """Each label is split by the same shares."""
    split = split_rows(frame(spark, 200), SplitSettings(), seed=3)
    rare = {name: sum("rare" in row.expectations for row in part) for name, part in _local(split).items()}
    assert abs(rare["train"] - 8) <= 1
    assert abs(rare["val"] - 4) <= 1
    assert split.holdout.where(F.col("expectations").contains("rare")).count() == 20 - rare["train"] - rare["val"]


def _local(split):
    return {"train": split.train, "val": split.val}


def test_the_split_is_the_same_whatever_the_partitions_and_differs_by_seed(spark):
    """It depends on rows and seed alone."""
    one = split_rows(frame(spark, 90, partitions=1), SplitSettings(), seed=1)
    again = split_rows(frame(spark, 90, partitions=5).orderBy(F.desc("inputs")), SplitSettings(), seed=1)
    other = split_rows(frame(spark, 90), SplitSettings(), seed=2)
    assert (one.train, one.val) == (again.train, again.val)
    assert sorted(holdout_ids(one)) == sorted(holdout_ids(again))
    assert ids(one.train) != ids(other.train)


def test_what_the_driver_may_not_hold_goes_to_the_holdout(spark):
    """``max_train`` and ``max_val`` bound the driver; no row is lost, and the labels keep their shares."""
    split = split_rows(frame(spark, 200), SplitSettings(max_train=20, max_val=10), seed=0)
    assert (len(split.train), len(split.val), split.holdout_rows) == (20, 10, 170)
    assert len(set(holdout_ids(split)) | set(ids(split.train)) | set(ids(split.val))) == 200
    assert 1 <= Counter("rare" in row.expectations for row in split.train)[True] <= 3


def test_answers_that_are_no_labels_are_split_evenly_all_the_same(spark):
    """Where every row expects another text there is nothing to stratify by."""
    split = split_rows(frame(spark, 100, answer="concat('text ', id)"), SplitSettings(), seed=0)
    assert (len(split.train), len(split.val), split.holdout_rows) == (40, 20, 40)


def test_labels_of_one_row_each_do_not_all_fall_into_one_part(spark):
    """Forty labels of one row: the parts still have about their shares."""
    split = split_rows(frame(spark, 40, answer="concat('label ', id)"), SplitSettings(), seed=0)
    assert min(len(split.train), len(split.val), split.holdout_rows) >= 3


@pytest.mark.parametrize(("count", "named"), [(2, "2 distinct rows"), (3, "none fall into")])
def test_too_few_rows_are_refused_with_their_number(spark, count, named):
    """The message says how many there are and what is empty."""
    with pytest.raises(InputError, match=named):
        split_rows(frame(spark, count, answer="'x'"), SplitSettings(train=0.01, val=0.01, holdout=0.98), seed=0)
