"""A world in which prompts get better by degrees, over real HTTP: a prompt holds rules, each right for one kind of row.

The target is right about a row when the prompt has the rule for its kind, but for a share of (prompt, row) pairs drawn
by hash, in which it is as wrong as it would be right, and the other way round. The reflection model adds the rule of a
failing row, says the same in other words, or loses a rule, drawn by what it was asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field

from engine.rows import Row
from engine.scripted_endpoint import Call
from udfs.records import canonical_json, row_id

KINDS = 8
SEED = "Follow the rules [k0].\n{{item}}"


def share(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    return int(hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12], 16) / 16**12


def rows(count: int, *, part: str) -> list[Row]:
    """Rows of all kinds, the first kinds more often."""
    found = []
    for number in range(count):
        kind = int(KINDS * share(part, number) ** 1.3)
        inputs = {"item": f"{part} {number} is of kind k{kind}"}
        found.append(Row(row_id(inputs), canonical_json(inputs), canonical_json({"expected_response": "done"})))
    return found


def rules(prompt: str) -> frozenset[str]:
    return frozenset(re.findall(r"k\d", re.search(r"\[(.*?)\]", prompt)[1]))


def quality(prompt: str) -> float:
    """The true share of rows that a prompt is right about, but for noise."""
    return sum(len(rules(prompt) & {f"k{int(KINDS * (n / 1000) ** 1.3)}"}) for n in range(1000)) / 1000


@dataclass
class RulesWorld:
    """``noise`` is the share of pairs whose answer is turned round; edits come at rates ``good`` and ``useless``.

    What is asked twice in the same words is edited twice, in different ways.
    """

    seed: int = 0
    noise: float = 0.1
    good: float = 0.35
    useless: float = 0.35
    _asked: Counter[str] = field(default_factory=Counter)

    def target(self, call: Call) -> str:
        """Answer a row."""
        prompt, item = call.messages[-1]["content"].split("\n")
        right = item.rsplit(" ", 1)[1] in rules(prompt)
        return "done" if right != (share(self.seed, prompt, item) < self.noise) else "unsure"

    def reflection(self, call: Call) -> str:
        """Write the next prompt."""
        asked = call.messages[-1]["content"]
        current = re.search(r"<template>\n(.*?)\n\{\{item", asked, re.DOTALL)[1]
        known = set(rules(current))
        drawn = share(self.seed, "edit", asked, self._asked[asked])
        self._asked[asked] += 1
        failing = set(re.findall(r"kind (k\d)\"\}\n   model answered: unsure", asked)) - known
        if drawn < self.good and failing:
            known.add(sorted(failing)[int(drawn * 1e6) % len(failing)])
        elif drawn >= self.good + self.useless and known:
            known.discard(sorted(known)[int(drawn * 1e6) % len(known)])
        words = ("Follow", "Keep to", "Obey", "Mind")[int(drawn * 1e7) % 4]
        text = f"{words} the rules [{' '.join(sorted(known))}].\n{{{{item}}}}"
        return json.dumps({"diagnosis": "scripted", "new_prompt": text})
