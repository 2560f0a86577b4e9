"""Judges asked more than once: with which seed, and under which key."""

import pytest

from udfs.endpoint import Endpoint, Sampling
from udfs.judging import _seed
from udfs.ledger import verdict_key

PLAIN, SEEDED = Endpoint("judge"), Endpoint("judge", sampling=Sampling(seed=3))


@pytest.mark.parametrize("endpoint", [PLAIN, SEEDED])
def test_another_attempt_has_another_seed(endpoint):
    """No two requests for verdicts on one answer are alike, but a further sample of an endpoint without a seed."""
    seeds = [_seed(endpoint, sample, attempt) for sample in range(3) for attempt in range(3)]
    assert seeds[0] is None, "the first is the endpoint's own request"
    given = [seed for seed in seeds if seed is not None]
    assert len(set(given)) == len(given)
    assert endpoint.sampling.seed not in given
    assert seeds.count(None) == (3 if endpoint is PLAIN else 1)


def test_a_further_sample_has_a_key_of_its_own():
    """And the first one has the key that it always had, so that no kept verdict is lost."""
    asked = ("e", "j", "r", "{}", "out")
    assert verdict_key(*asked, 0) == verdict_key(*asked)
    assert len({verdict_key(*asked, sample) for sample in range(4)}) == 4
