"""The search benchmark's own parts: worlds whose true qualities are exact, a reflection model that all can ask."""

import json
import urllib.request

import pytest
from gepa.strategies.instruction_proposal import InstructionProposalSignature

from benchmarks.search.curves import Curve, first_reaching, mean_at
from benchmarks.search.edits import current_prompt, edited, reply_to
from benchmarks.search.measure import endpoint
from benchmarks.search.problem import of_file, of_world
from benchmarks.search.table import section
from benchmarks.search.world import (
    FAMILIES,
    SEED_INSTRUCTION,
    World,
    listed,
    note,
    right_answer,
    wrong_answer,
)
from engine.proposers.protocol import ProposalRequest
from engine.proposers.reflection import ReflectionProposer
from engine.proposers.replies import new_prompt
from engine.rows import Row
from udfs.prompt import Prompt
from udfs.rollout import Rollout

SEED_TEMPLATE = of_world("plain", 0).seed_template
DSPY_PROPOSAL = """Your input fields are:
1. `basic_instruction` (str): Basic instruction.
Your output fields are:
1. `proposed_instruction` (str): Propose an instruction.
All interactions will be structured in the following way."""


def world(number=3, family="plain"):
    return World(FAMILIES[family], number)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("named", [0, 2, 99])
def test_the_true_quality_is_the_share_of_right_answers(number, named):
    """The closed form is what many rows give, for the seed, a half-good and a spoilt prompt."""
    one = world(number)
    prompt = " ".join([SEED_INSTRUCTION, *one.rules[: named or None], *(sorted(one.traps)[:2] if named else ())])
    rows = 5_000
    measured = sum(one.is_right(prompt, row) for row in range(rows)) / rows
    assert measured == pytest.approx(one.quality(prompt), abs=0.025)  # 3.5 standard errors


def test_no_prompt_is_better_than_the_best():
    """All rules and nothing harmful is the best there is; naming rows makes nothing better."""
    one = world()
    assert one.quality(SEED_TEMPLATE) < one.quality(one.rules[0]) < one.best_quality == one.ceiling
    assert one.quality(" ".join((*one.rules, *one.traps))) < one.best_quality
    assert one.quality(listed(7)) == one.quality(SEED_TEMPLATE)


def test_edits_come_at_the_stated_rates():
    """Of many edits of one prompt with the same failures, good, harmful and narrow ones have their shares."""
    one = world()
    prompt = f"{SEED_TEMPLATE}\n- the {one.rules[0]} rule"
    failures = [row for row in range(60) if one.needs(row) and not one.is_right(prompt, row)][:8]
    texts = [edited(one, prompt, failures, one.draw(number)) for number in range(3000)]
    changes = [one.quality(text) - one.quality(prompt) for text in texts]
    assert sum(change > 0 for change in changes) / 3000 == pytest.approx(one.family.good, abs=0.03)
    assert sum(change < 0 for change in changes) / 3000 == pytest.approx(one.family.harmful, abs=0.03)
    assert sum("Seen before" in text for text in texts) / 3000 == pytest.approx(one.family.narrow, abs=0.02)
    assert all("{{note}}" in text for text in texts)


def test_a_narrow_edit_mends_the_shown_rows_alone():
    """It is what a reflection model does that copies its records: right on them, no better elsewhere."""
    one = world()
    needy = [row for row in range(400) if one.needs(row) and not one.is_right(SEED_TEMPLATE, row)]
    shown, others = needy[:50], needy[50:100]
    text = next(t for n in range(500) if "Seen" in (t := edited(one, SEED_TEMPLATE, shown, one.draw(n))))
    assert sum(one.is_right(text, row) for row in shown) > 40
    assert sum(one.is_right(text, row) for row in others) < 10
    assert one.quality(text) == one.quality(SEED_TEMPLATE)


def gepa_request(instruction, row):
    records = [{"Inputs": note(row), "Generated Outputs": wrong_answer(row), "Feedback": "wrong"}]
    text = InstructionProposalSignature.prompt_renderer(
        {"current_instruction_doc": instruction, "dataset_with_feedback": records, "prompt_template": None}
    )
    return {"model": "reflection", "messages": [{"role": "user", "content": text}]}


def promptmill_request(template, row):
    proposer = ReflectionProposer(client=None, max_tokens=4000)
    rollout = Rollout("c", "r", output=wrong_answer(row), score=0.0, feedback={"exact_match": "wrong"})
    known = Row("r", json.dumps({"note": note(row)}), json.dumps({"expected_response": right_answer(row)}))
    request = ProposalRequest(Prompt.parse(template), [(known, rollout)], 0)
    return {"model": "reflection", "messages": proposer.messages(request, "template")}


def needy_row(one):
    return next(row for row in range(1000) if len(one.needs(row)) == 1)


@pytest.mark.parametrize("system", ["gepa", "promptmill"])
def test_each_system_gets_its_current_prompt_edited_by_its_failures(system):
    """The current prompt comes back whole, in the system's own form; its good edits add the rule that the row needs."""
    one = world()
    row = needy_row(one)
    if system == "gepa":
        body, current = gepa_request(SEED_INSTRUCTION, row), SEED_INSTRUCTION
    else:
        body, current = promptmill_request(SEED_TEMPLATE, row), SEED_TEMPLATE
    assert current_prompt(body["messages"][-1]["content"]) == current
    added = set()
    for sample in range(60):
        reply = reply_to(one, body, sample)
        if system == "gepa":
            text = InstructionProposalSignature.output_extractor(reply)["new_instruction"]
        else:
            text = new_prompt(reply)
        assert text.startswith(SEED_INSTRUCTION)
        added |= one.features(text) & set(one.rules)
    assert added == one.needs(row)


def test_dspy_gets_instructions_without_failures():
    """MIPROv2's proposer shows no failures: any rule may come up, in the field that it asks for."""
    one = world()
    asked = f"[[ ## basic_instruction ## ]]\n{SEED_INSTRUCTION}\n\nRespond with the corresponding output fields."
    messages = [{"role": "system", "content": DSPY_PROPOSAL}, {"role": "user", "content": asked}]
    replies = [reply_to(one, {"messages": messages}, sample) for sample in range(200)]
    assert all(reply.startswith(f"[[ ## proposed_instruction ## ]]\n{SEED_INSTRUCTION}") for reply in replies)
    assert set.union(*(set(one.features(reply)) for reply in replies)) >= set(one.rules)


def test_the_worlds_answer_over_http_and_count():
    """The target answers by the world's rules, a judge judges, and a run's calls are counted apart from others'."""
    one = world(5, "noisy")
    with endpoint() as root:
        place = f"{root}/noisy/5/0/mine"
        best = " ".join(one.rules)
        for row in range(20):
            answer = ask(place, "target", f"{best}\n{note(row)}")
            assert answer.startswith(right_answer(row)) == one.is_right(f"{best}\n{note(row)}", row)
        ask(place, "target", f"{best}\n{note(0)}")
        verdict = ask(place, "judge", f"<output-0>\n{right_answer(1)}\n</output-0>")
        assert json.loads(verdict)["verdict"] in {"same", "different"}
        with urllib.request.urlopen(f"{place}/counters", timeout=10) as answer:  # noqa: S310 - our own
            counted = json.load(answer)
        assert (counted["metric_calls"], counted["repeated"], counted["judgements"]) == (21, 1, 1)


def ask(place, model, text):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(f"{place}/v1/chat/completions", body, {"Content-Type": "application/json"})  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own
        return json.load(answer)["choices"][0]["message"]["content"]


def line(system, number, events, **more):
    return {
        "system": system,
        "family": "plain",
        "number": number,
        "budget": 2000,
        "train": 120,
        "val": 100,
        "median_ms": 0.0,
        "versions": {},
        "measured_at": "2026-01-01T00:00:00+00:00",
        "first": world(number).quality(SEED_TEMPLATE),
        "events": events,
        "seconds": 1.0,
        **more,
    }


def test_a_real_task_keeps_its_holdout_apart(tmp_path):
    """Another number deals the rows anew; train, val and holdout never share one."""
    path = tmp_path / "task.json"
    rows = [{"text": f"t{n}", "expected": f"e{n}"} for n in range(50)]
    path.write_text(json.dumps({"seed_instruction": "Do.", "holdout": 20, "rows": rows}))
    one, other = (of_file(path, number, 10, 5) for number in (0, 1))
    assert one.holdout == range(15, 35)
    dealt = [[problem.text(row) for row in range(50)] for problem in (one, other)]
    assert dealt[0] != dealt[1]
    assert sorted(dealt[0]) == sorted(row["text"] for row in rows)
    assert one.expected(7)[1:] == one.text(7)[1:]
    with pytest.raises(ValueError, match="50 rows, too few"):
        of_file(path, 0, 40, 10)


def test_a_curve_holds_what_would_have_been_returned():
    """Between its steps a search would return what it had; a share is reached when it is kept."""
    one = world(0)
    best, seed = one.best_quality, one.quality(SEED_TEMPLATE)
    half = (best + seed) / 2
    curve = Curve.of(line("gepa", 0, [[100, 1.0, seed, ""], [200, 2.0, half, ""], [400, 4.0, best, ""]]))
    assert [curve.at_calls(calls) for calls in (0, 199, 200, 5000)] == pytest.approx([0.0, 0.0, 0.5, 1.0])
    assert curve.at_seconds(3.0) == pytest.approx(0.5)
    falling = Curve.of(line("gepa", 0, [[200, 2.0, best, ""], [300, 3.0, seed, ""], [400, 4.0, half, ""]]))
    assert first_reaching([falling], 0.4, 1000) == 400
    assert mean_at([curve, falling], 200) == pytest.approx(0.75)


def test_the_section_compares_by_world():
    """A system that is better in every world by a tenth of the gain is shown as just that."""
    lines = []
    for number in range(4):
        one = world(number)
        seed, gain = one.quality(SEED_TEMPLATE), one.best_quality - one.quality(SEED_TEMPLATE)
        lines.append(line("gepa", number, [[500, 1.0, seed + 0.8 * gain, ""]]))
        lines.append(line("promptmill", number, [[250, 1.0, seed + 0.9 * gain, ""]]))
    text = section(lines, 2000)
    assert "ours less stock gepa's, both after 2000 calls: +0.100" in text
    assert "| promptmill | 4 |" in text
    assert "250 (2.0)" in text
