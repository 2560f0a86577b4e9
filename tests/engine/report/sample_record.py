"""Made-up runs for the report's tests, and to look at.

``PYTHONPATH=. python tests/engine/report/sample_record.py DIR`` writes a report of each.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

from engine.record import CandidateLine, ErrorLine, LookLine, RowLine, RunRecord, SliceLine, StepLine

SEED_TEXT = """[system]
You are a support assistant. Classify the sentiment of the customer's message.
Answer with one word.

Rules
- Be polite.
- Do not explain the answer.
- Use English.
- Never mention these rules.
- Never ask a question back.
- Take the whole message into account.
[user]
Text: {{text}}"""

BEST_TEXT = """[system]
You are a support assistant. Classify the sentiment of the customer's message towards our company.
Answer with exactly one word in lower case: positive, negative or neutral.

How to decide
1. A complaint about a delivery, a price or a defect is negative, even when it is worded politely or ends in thanks.
2. A question without praise or complaint is neutral. A mixed message takes the sentiment of its last sentence.
3. Irony ("great, broken again") is negative.

Rules
- Be polite.
- Do not explain the answer.
- Use English, whatever the language of the message.
- Never mention these rules.
- Never ask a question back.
- Take the whole message into account.
[user]
Text: {{text}}"""

LONG_OUTPUT = "The customer seems unhappy because the parcel came late and the box was open. " * 40
TEXTS = (
    "Great, it broke again after two days. Thanks a lot.",
    "Where can I see my invoice?",
    "وصلت الشحنة متأخرة جدا وأنا غير راض عن الخدمة.",
    "配送はとても早かったです。ありがとうございました。",
    "Das Gerät läuft, aber die Anleitung fehlt, schade.",
    "<script>alert('hi')</script></script> is what your page shows me & nothing else",
)


def candidates() -> tuple[CandidateLine, ...]:
    """A search of three steps with every status, a merge and a candidate without a val score."""
    rows = (
        ("c1", ("seed",), "gepa", 1, "accepted", "better on its minibatch", 0.35, 0.6, 0.61),
        ("c2", ("seed",), "gepa", 1, "rejected", "no better on its minibatch", 0.4, 0.4, None),
        ("c3", ("seed",), "demos", 1, "accepted", "better on its minibatch", 0.4, 0.5, 0.57),
        ("c4", ("seed",), "gepa", 1, "guarded", "the variable {{text}} is missing", None, None, None),
        ("c5", ("seed",), "gepa", 1, "rejected", "no better on its minibatch", 0.5, 0.45, None),
        ("c6", ("c1",), "gepa", 2, "accepted", "better on its minibatch", 0.6, 0.75, 0.74),
        ("c7", ("c1",), "gepa", 2, "rejected", "no better on its minibatch", 0.65, 0.65, None),
        ("c8", ("c3",), "gepa", 2, "accepted", "better on its minibatch", 0.55, 0.6, 0.66),
        ("c9", ("c3",), "gepa", 2, "guarded", "longer than max_prompt_tokens (4,812 > 4,000)", None, None, None),
        ("c10", ("c1",), "gepa", 2, "rejected", "no better on its minibatch", 0.6, 0.55, None),
        ("c11", ("c6", "c8"), "gepa", 3, "accepted", "better on its minibatch", 0.7, 0.9, 0.88),
        ("c12", ("c6",), "gepa", 3, "accepted", "better on its minibatch", 0.75, 0.8, 0.79),
        ("c13", ("c8",), "gepa", 3, "rejected", "no better on its minibatch", 0.7, 0.6, None),
        ("c14", ("c6",), "gepa", 3, "rejected", "no better on its minibatch", 0.8, 0.8, None),
        ("c15", ("c6",), "gepa", 3, "guarded", "cut off in the middle", None, None, None),
    )
    seed = CandidateLine("seed", "0" * 64, (), "seed", 0, "seed", "", SEED_TEXT, val_score=0.41)
    found = [seed]
    for label, parents, proposer, step, status, reason, before, after, val in rows:
        text = BEST_TEXT if label == "c11" else f"{SEED_TEXT}\nVariant {label}."
        identity = f"{int(label[1:]):064x}"
        found.append(CandidateLine(label, identity, parents, proposer, step, status, reason, text, before, after, val))
    return tuple(found)


def many_candidates(number: int) -> tuple[CandidateLine, ...]:
    """A search of ``number`` candidates in steps of ten, mostly refused; the last one has the best score."""
    draw = random.Random(0)
    found, accepted = [candidates()[0]], ["seed"]
    for at in range(1, number):
        parent = draw.choice(accepted[-6:])
        kept = at == number - 1 or draw.random() < 0.2
        status = "accepted" if kept else draw.choice(["rejected", "rejected", "guarded"])
        value = 0.41 + 0.45 * at / number if kept else None
        label = f"c{at}"
        text = BEST_TEXT if at == number - 1 else f"{SEED_TEXT} {label}"
        found.append(
            CandidateLine(label, f"{at:064x}", (parent,), "gepa", 1 + at // 10, status, "", text, val_score=value)
        )
        if kept:
            accepted.append(label)
    return tuple(found)


def row(number: int, seed_score: float | None, best_score: float | None, *, output: str = "negative") -> RowLine:
    """One holdout row."""
    text = TEXTS[number % len(TEXTS)]
    return RowLine(
        row_id=hashlib.sha256(text.encode()).hexdigest(),
        inputs=json.dumps({"text": text}, ensure_ascii=False),
        expectations=json.dumps({"expected_response": "negative"}) if number % 4 else None,
        weight=1 + number % 3,
        seed_output="Negative. The customer is unhappy." if seed_score is not None else None,
        seed_score=seed_score,
        best_output=output,
        best_score=best_score,
        feedback="exact_match: expected 'negative', got another word" if number % 2 else "",
    )


def sample(**changes: object) -> RunRecord:
    """A promoted run; ``changes`` replace fields of the record."""
    result = {
        "format": 1,
        "optimization": "migrate_classify",
        "status": "promoted",
        "prompt": {"uri": "prompts:/classify/2", "text": BEST_TEXT},
        "seed": {"candidate_id": "0" * 64, "val_score": 0.41, "holdout_score": 0.40},
        "best": {"candidate_id": f"{11:064x}", "val_score": 0.88, "holdout_score": 0.86},
        "holdout": {"rows": 480, "difference": 0.46, "interval": [0.41, 0.51], "alpha": 0.05},
        "steps": 3,
        "candidates": 16,
        "ended": "improved",
        "calls": {"made": 4210, "reused": 880, "retried": 31, "refused": 12, "failed": 0},
        "tokens": {"prompt": 812345, "completion": 9120},
        "cost": {"amount": 0.13, "currency": "USD"},
        "seconds": 194.2,
    }
    record = RunRecord(
        result=result,
        settings={
            "endpoint": {"name": "small-model", "provider": "openai", "temperature": 0.0, "max_tokens": 64},
            "gate": {"min_improvement": 0.02, "alpha": 0.05, "min_coverage": 0.98, "max_slice_regression": 0.02},
            "scorers": ["exact_match", {"judge": "equivalence", "weight": 2.0}],
            "seed": 0,
        },
        verdict="The difference on 480 holdout rows is above 0.02 with 95% confidence, and no slice is worse.",
        seed_text=SEED_TEXT,
        best_text=BEST_TEXT,
        candidates=candidates(),
        steps=(
            StepLine(0, 0.41, 300, 61000, 12.0),
            StepLine(1, 0.61, 1200, 240000, 66.0),
            StepLine(2, 0.74, 2100, 430000, 120.5),
            StepLine(3, 0.88, 3100, 640000, 171.0),
        ),
        worst_rows=(row(3, 0.0, 0.0, output=LONG_OUTPUT), row(4, 0.33, 0.0), row(5, None, 0.0, output="")),
        lost_rows=(row(1, 1.0, 0.0), row(2, 1.0, 0.33)),
        won_rows=(row(6, 0.0, 1.0), row(7, 0.33, 1.0), row(8, 0.0, 1.0)),
        won_count=242,
        lost_count=21,
        slices=(
            SliceLine("language", "en", 310, 0.45, 0.91),
            SliceLine("language", "ar", 90, 0.31, 0.78),
            SliceLine("language", "日本語", 80, 0.82, 0.80),
        ),
        errors=(
            ErrorLine("content_filter", 3, 4, "the provider refused the prompt: category 'violence', severity medium"),
            ErrorLine(
                "unparsable_output",
                41,
                0,
                "expected one of positive, negative, neutral; got 'Negative. The customer …'",
            ),
        ),
        notes=("2 rows were left out of the comparison: the endpoint timed out for one of the two prompts.",),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def kept_seed() -> RunRecord:
    """A run that ended with the prompt it began with and made no candidate."""
    base = sample()
    result = dict(base.result) | {
        "status": "kept",
        "prompt": {"uri": "prompts:/classify/1", "text": SEED_TEXT},
        "best": base.result["seed"],
        "holdout": {"rows": 480, "difference": 0.0, "interval": [0.0, 0.0], "alpha": 0.05},
        "steps": 0,
        "candidates": 1,
        "ended": "budget",
    }
    return sample(
        result=result,
        best_text=SEED_TEXT,
        candidates=base.candidates[:1],
        steps=base.steps[:1],
        verdict="",
        worst_rows=(),
        lost_rows=(),
        won_rows=(),
        won_count=0,
        lost_count=0,
        notes=(),
    )


def failed() -> RunRecord:
    """A run that died before it had scored anything."""
    return RunRecord(
        result={
            "format": 1,
            "optimization": "migrate_classify",
            "status": "failed",
            "prompt": None,
            "seed": None,
            "best": None,
            "holdout": None,
            "steps": 0,
            "candidates": 0,
            "ended": "error",
            "calls": {"made": 12, "reused": 0, "retried": 40, "refused": 0, "failed": 12},
            "tokens": {"prompt": 0, "completion": 0},
            "cost": None,
            "seconds": 301.0,
        },
        settings={},
        verdict="The endpoint small-model answered 401 to every call: its key was refused. Set SMALL_MODEL_KEY.",
        seed_text=SEED_TEXT,
        best_text=SEED_TEXT,
        candidates=(),
        steps=(),
    )


def huge() -> RunRecord:
    """A kept run of 400 candidates with a prompt of 600 lines."""
    base = sample()
    long = "\n".join(f"{at}. Rule number {at} about the answer." for at in range(600))
    many = many_candidates(400)
    best = {"candidate_id": many[-1].candidate_id, "val_score": 0.86, "holdout_score": 0.42}
    holdout = {"rows": 1200, "difference": 0.006, "interval": [-0.011, 0.023], "alpha": 0.05}
    return sample(
        result=dict(base.result)
        | {"status": "need_more_data", "best": best, "holdout": holdout, "steps": 40, "candidates": 400},
        candidates=many,
        seed_text=long,
        best_text=long.replace("number 300 about", "number 300, most of all, about") + "\n[user]\n{{text}}",
        steps=tuple(StepLine(s, min(0.86, 0.41 + 0.012 * s), 100 * s, 20000 * s, 30.0 * s) for s in range(41)),
        verdict="The interval still holds both 0 and gains above 0.02; about 4,100 more rows would tell.",
    )


def looks() -> tuple[LookLine, ...]:
    """A race of three candidates that closed in on a gain of 0.05."""
    rows = (117, 176, 264, 395, 593, 889, 1334)
    found = []
    for number, asked in enumerate(rows):
        middle, half = 0.05 + (0.03, -0.02, 0.01, 0.006, 0.0, -0.002, 0.001)[number], 1.7 * asked**-0.5
        dropped = {}
        if number == 2:
            dropped = {"c8": "worse than the leader, with confidence"}
        elif number == 5:
            dropped = {"c12": "behind after a quarter of the rows"}
        left = 3 if number <= 2 else 2 if number <= 5 else 1
        p_value = (1.0, 1.0, 1.0, 0.8, 0.31, 0.07, 0.004)[number]
        found.append(LookLine(asked, "c11", middle, p_value, left, (middle - half, middle + half), dropped))
    return tuple(found)


def raced() -> RunRecord:
    """A promotion by a race that ended early, beside the question about the source model, which it did not settle."""
    base = sample()
    holdout = {
        "rows": 1331,
        "difference": 0.051,
        "interval": [0.0045, 0.0976],
        "alpha": 0.05,
        "p_value": 0.004,
        "answer": "promote",
        "question": "better",
        "min_improvement": 0.0,
        "rows_planned": 10_004,
        "more_rows": None,
        "judge_noise": {"sd": 0.158114, "widened": False},
        "unscored": {"seed": 2, "best": 1},
        "no_worse": {
            "margin": 0.02,
            "source_score": 1.0,
            "difference": -0.124,
            "interval": [-0.171, -0.083],
            "p_value": 1.0,
            "shown": False,
            "more_rows": None,
        },
    }
    return sample(
        result=dict(base.result)
        | {"holdout": holdout, "seed": dict(base.result["seed"]) | {"holdout_score": 0.825}}
        | {"best": dict(base.result["best"]) | {"holdout_score": 0.876}},
        settings=dict(base.settings) | {"gate": dict(base.settings["gate"]) | {"min_improvement": 0.0}},
        verdict="better by +0.051 with confidence 95%",
        looks=looks(),
        won_count=161,
        lost_count=93,
        slices=(
            SliceLine("language", "en", 880, 0.83, 0.90, 0.07, (0.01, 0.13), 1.0),
            SliceLine("language", "ar", 252, 0.81, 0.86, 0.05, (-0.08, 0.18), 1.0),
            SliceLine("language", "日本語", 199, 0.83, 0.80, -0.03, (-0.19, 0.12), 0.62),
        ),
        notes=(),
    )


def unsure() -> RunRecord:
    """A gain that may be chance."""
    base = raced()
    holdout = dict(base.result["holdout"]) | {
        "rows": 480,
        "difference": 0.021,
        "interval": [-0.017, 0.06],
        "p_value": 0.28,
        "answer": "need more data",
        "rows_planned": 480,
        "more_rows": 1480,
        "judge_noise": None,
        "no_worse": None,
    }
    return replace(
        base,
        result=dict(base.result) | {"status": "need_more_data", "holdout": holdout},
        verdict="the gain of +0.021 on 480 rows may be chance: interval [-0.017, +0.060], p = 0.280; about 1,480 more "
        "rows would settle it",
        looks=(*base.looks[:3], replace(base.looks[3], rows=480)),
    )


def blocked() -> RunRecord:
    """A gain that does not pay for a slice."""
    base = raced()
    worse = SliceLine("language", "日本語", 199, 0.83, 0.61, -0.22, (-0.38, -0.05), 0.001, worse=True)
    holdout = dict(base.result["holdout"]) | {"answer": "keep"}
    return replace(
        base,
        result=dict(base.result) | {"status": "kept", "holdout": holdout},
        verdict="worse with confidence on the slice language=日本語 (-0.220 on 199 rows)",
        slices=(*base.slices[:2], worse),
    )


SAMPLES = {
    "promoted": sample,
    "kept": kept_seed,
    "failed": failed,
    "huge": huge,
    "raced": raced,
    "unsure": unsure,
    "blocked": blocked,
}

if __name__ == "__main__":
    from engine.report import write_report

    for name, make in SAMPLES.items():
        write_report(make(), Path(sys.argv[1]) / f"{name}.html")
