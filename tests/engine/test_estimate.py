"""What a search would cost, for every proposer, before anything is paid."""

import planted_world as world
import pytest
from search_bench import LIMITS, rows

from engine.estimate import estimate
from engine.proposers.mipro import MIPRO_CALLS
from engine.settings import BudgetSettings, SearchSettings
from engine.split import Split
from udfs.endpoint import Endpoint
from udfs.prompt import Prompt

ENDPOINT = Endpoint("m", base_url="http://127.0.0.1:1/v1", limits=LIMITS)


def reflection_calls(**settings):
    found = estimate(
        seed=Prompt.parse(world.SEED),
        split=Split(tuple(rows(0, 64)), tuple(rows(64, 12)), None, 100),
        search=SearchSettings(num_candidates=4, max_steps=3, **settings),
        target=ENDPOINT,
        reflection=ENDPOINT,
        judges=(),
        gate_rows=100,
        finalist_calls=0,
        budget=BudgetSettings(),
    )
    return next((part.calls_high for part in found.parts if part.name.startswith("reflection")), 0)


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({"proposer": "demos"}, 0),
        ({"proposer": "gepa"}, 12),
        ({"proposer": ("gepa", "demos")}, 6),
        ({"proposer": "copro"}, 12),
        ({"proposer": "auto"}, 12),
        ({"proposer": "mipro"}, MIPRO_CALLS),
        ({"proposer": ("mipro", "gepa")}, 6 + MIPRO_CALLS),
        ({"proposer": "gepa", "minibatch_size": 36, "reflection_map_reduce_from": 20}, 12 * 7),
        ({"proposer": "gepa", "minibatch_size": 8, "reflection_map_reduce_from": 20}, 12),
    ],
)
def test_calls_to_the_reflection_model_are_foreseen(settings, calls):
    """One a proposal that asks; more where many failures are summed up first, or where it asks once a search."""
    assert reflection_calls(**settings) == calls
