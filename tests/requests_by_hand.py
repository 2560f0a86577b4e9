"""Requests to proposers, made by hand."""

import json

from engine.proposers.protocol import ProposalRequest
from engine.rows import Row
from udfs.prompt import Prompt
from udfs.rollout import Rollout

TEXT = Prompt.parse("Sort: {{x}}")
CHAT = Prompt.parse([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sort: {{x}}"}])


def row(number, expected="yes"):
    return Row(f"r{number:03d}", json.dumps({"x": f"input {number}"}), json.dumps({"expected_response": expected}))


def pair(number, *, score=0.0, output="no idea", expected="yes", feedback="another answer", error=None, scorer="exact"):
    found = row(number, expected)
    told = {} if score is not None and score >= 1 else {scorer: feedback}
    scores = {} if score is None else {scorer: score}
    return found, Rollout("c", found.row_id, output=output, score=score, scores=scores, feedback=told, error=error)


def request(pairs, *, parent=TEXT, sample=0, count=1, history=()):
    return ProposalRequest(parent, pairs, sample, count, tuple(history))
