"""Runs programs through the stream that a task of an evaluation runs them in, pickled as they travel to workers."""

import cloudpickle

from udfs.ledger import LedgerLocation
from udfs.plan import EvaluationPlan
from udfs.records import canonical_json, row_id
from udfs.rollout import Item
from udfs.scorers import build_mix
from udfs.task import evaluate_stream


def items(prompts, words):
    return [
        Item(prompt.candidate_id, row_id({"word": word}), canonical_json({"word": word}), '{"expected_response": "x"}')
        for word in words
        for prompt in prompts
    ]


def run(folder, program, prompts, words, *, evaluation_id="e1", travels=True):
    plan = EvaluationPlan(
        endpoint=program,
        prompts={prompt.candidate_id: prompt for prompt in prompts},
        mix=build_mix(["exact_match"], None),
        ledger=LedgerLocation(str(folder)),
        evaluation_id=evaluation_id,
        run_id="run",
    )
    plan = cloudpickle.loads(cloudpickle.dumps(plan)) if travels else plan
    return [rollout for batch in evaluate_stream(plan, [items(prompts, words)]) for rollout in batch]
