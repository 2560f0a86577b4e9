"""A world with judges of known defects, over real HTTP: a target that is right on every second word."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import planted_world as world

from engine.config import AppConfig

RIGHT, WRONG = "same", "different"


def half_right(call):
    """A target that answers every second word as expected, whatever it was told."""
    word = re.findall(r"word\d{3,}", call.messages[-1]["content"])[-1]
    return word.upper() if int(word[4:]) % 2 == 0 else f"Sure! The word is {word}."


def block(call, name):
    return re.search(rf"<{name}-\w+>\n(.*?)\n</{name}-", call.prompt, re.DOTALL)


def truth(call):
    return RIGHT if block(call, "output").group(1) == block(call, "expected_response").group(1) else WRONG


def reply(verdict, rationale="scripted"):
    return json.dumps({"rationale": rationale, "verdict": verdict})


def perfect(call):
    return reply(truth(call))


def noisy(rate):
    """A judge that gives the other verdict at this rate, drawn anew each time that it is asked the same."""
    asked = Counter()

    def judge(call):
        asked[call.key] += 1
        flipped = random.Random(f"{call.key}-{asked[call.key]}").random() < rate
        return reply(truth(call) if not flipped else (WRONG if truth(call) == RIGHT else RIGHT))

    return judge


def biased(call):
    """A judge without noise that says "same" of every third word as soon as the output comes last."""
    number = int(re.search(r"word(\d+)", block(call, "input").group(1)).group(1))
    if number % 3 == 0 and block(call, "output").start() > block(call, "expected_response").start():
        return reply(RIGHT)
    return perfect(call)


def lenient(call):
    return reply(RIGHT)


def settings_of(tmp_path, target, judge, *, rows, scorers="[exact_match, {judge: equivalence}]", extra=""):
    path = tmp_path / "config.yaml"
    path.write_text(config_text(tmp_path, target, judge, rows=rows, scorers=scorers, extra=extra))
    app = AppConfig.from_file(path)
    return app, app.optimizations.prompt_optimizations["migrate_shout"]


def config_text(tmp_path, target, judge, *, rows, scorers="[exact_match, {judge: equivalence}]", extra=""):
    return world.config_text(
        tmp_path,
        target_url=target.base_url,
        reflection_url=judge.base_url,
        rows=rows,
        extra=f"scorers: {scorers}\n      scorer_model: *source\n      {extra}",
    )
