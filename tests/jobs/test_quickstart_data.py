"""The quickstart's data set."""

from collections import Counter

import pytest

from jobs import quickstart_data


@pytest.fixture
def records():
    pytest.importorskip("yaml")
    return quickstart_data.load_records()


def test_records_are_distinct_and_many_enough(records):
    """There are at least 120 distinct utterances, and none stands twice."""
    texts = [record["inputs"]["text"] for record in records]
    assert len(texts) == len(set(texts)) >= 120


def test_topics_follow_the_stated_rules(records):
    """Small talk, the catch-all and tiny topics are out, large ones are cut."""
    counts = Counter(record["expectations"]["expected_response"] for record in records)
    assert not {"trivia", "greetings", "botprofile", "psychology", "ai", "emotion"} & set(counts)
    assert min(counts.values()) >= 8
    assert max(counts.values()) == 40
    assert len(counts) >= 8


def test_records_are_the_same_every_time(records):
    """The order is fixed, so that a seed means the same split everywhere."""
    assert records == quickstart_data.load_records()
