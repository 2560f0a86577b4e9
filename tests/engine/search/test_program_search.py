"""A program of two prompts is searched for like an endpoint with one, over real HTTP."""

import json
import urllib.request
from dataclasses import dataclass

import planted_world as world
from search_bench import run_search

from engine.scripted_endpoint import ScriptedEndpoint
from engine.search.ending import End
from udfs.in_place import current_prompt
from udfs.program import Program
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet

PROMPTS = {"think": "Think of {{word}}", "say": world.SEED}


@dataclass(frozen=True)
class Agent:
    """Asks the model twice; only the second prompt decides about the answer."""

    url: str

    def __call__(self, *, word):
        self.ask(current_prompt("think"), word)
        return {"said": self.ask(current_prompt("say"), word)}["said"]

    def ask(self, prompt, word):
        body = json.dumps({"model": "m", "messages": prompt.messages({"word": word})}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own endpoint
            f"{self.url}/chat/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
            return json.load(reply)["choices"][0]["message"]["content"]


def test_one_of_two_prompts_is_improved_and_the_other_stays(tmp_path):
    """Each prompt gets its turn; the planted edit helps in one of them."""

    def reflection(call):
        edits = {"Think of": "Think hard of {{word}}", "Say this": world.GOOD}
        asked = call.messages[-1]["content"]
        return json.dumps({"diagnosis": "", "new_prompt": next(new for old, new in edits.items() if old in asked)})

    with ScriptedEndpoint(world.target) as model, ScriptedEndpoint(reflection) as other:
        found, usage = run_search(
            tmp_path,
            model,
            other,
            seed_prompt=PromptSet.of({name: Prompt.parse(text) for name, text in PROMPTS.items()}),
            target_endpoint=Program("agent", function=Agent(model.base_url), version="1"),
        )
        assert len(model.answered) == 2 * usage.metric_calls
    assert found.ended == End.IMPROVED
    assert found.best.prompt.deployed() == {**PROMPTS, "say": world.GOOD}
