"""A user's function as the target: each call with its own candidate, beside many others, over real HTTP."""

import json
import threading
import time
import urllib.request
from dataclasses import dataclass, replace

import pytest
from program_runs import items, run

from engine.scripted_endpoint import Reply, ScriptedEndpoint
from udfs.endpoint import Limits
from udfs.errors import ErrorKind, InputError, PromptFailure
from udfs.in_place import current_prompt, in_place
from udfs.ledger import LedgerLocation
from udfs.plan import EvaluationPlan
from udfs.program import Program
from udfs.prompt import Prompt
from udfs.prompt_set import PromptSet
from udfs.scorers import build_mix
from udfs.task import evaluate_stream

LIMITS = Limits(max_concurrency=16, timeout_s=10)


def chat(url, messages):
    body = json.dumps({"model": "m", "messages": messages}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - our own endpoint
        return json.load(reply)["choices"][0]["message"]["content"]


@dataclass(frozen=True)
class Agent:
    """Two calls with two prompts, between which other candidates get their turn."""

    url: str

    def __call__(self, *, word):
        plan = chat(self.url, current_prompt("plan").messages({"word": word}))
        return chat(self.url, current_prompt("act").messages({"plan": plan}))


def candidate(number):
    return PromptSet.of(
        {
            "plan": Prompt.parse(
                [{"role": "system", "content": f"p{number}"}, {"role": "user", "content": "{{word}}"}]
            ),
            "act": Prompt.parse(f"a{number} {{{{plan}}}}"),
        }
    )


def echo(call):
    """Says what it was asked, after a while, so that calls of all candidates are under way at once."""
    return Reply("|".join(m["content"] for m in call.messages), delay_s=0.02)


def test_each_call_works_with_its_own_candidate_while_others_run(tmp_path):
    """Twelve candidates on four rows, up to sixteen at once: no call sees a prompt of another candidate."""
    prompts = [candidate(number) for number in range(12)]
    words = ["one", "two", "three", "four"]
    with ScriptedEndpoint(echo) as server:
        program = Program("agent", function=Agent(server.base_url), version="1", limits=LIMITS)
        found = run(tmp_path, program, prompts, words)
        assert server.tally.most_in_flight > 8
    expected = [f"a{number} p{number}|{word}" for word in words for number in range(12)]
    assert [rollout.output for rollout in found] == expected


def test_what_a_program_answered_is_kept_and_not_asked_again(tmp_path):
    """The ledger serves programs as it serves endpoints, under name and version."""
    prompts = [candidate(1)]
    with ScriptedEndpoint(echo) as server:
        program = Program("agent", function=Agent(server.base_url), version="1", limits=LIMITS)
        first = run(tmp_path, program, prompts, ["one"])
        again = run(tmp_path, program, prompts, ["one"])
        assert len(server.calls) == 2
        run(tmp_path, replace(program, version="2"), prompts, ["one"], evaluation_id="e2")
        assert len(server.calls) == 4
    assert again[0].output == first[0].output
    assert again[0].reused


@pytest.mark.parametrize(
    ("output", "text"), [("plain", "plain"), ({"a": [1, None]}, '{"a": [1, null]}'), (LIMITS, '"max_concurrency": 16')]
)
def test_outputs_are_scored_as_text_or_json(tmp_path, output, text):
    """Whatever JSON can hold is an output; dataclasses, too."""
    program = Program("agent", function=lambda word: output, version="1", limits=LIMITS)
    assert text in run(tmp_path, program, [Prompt.parse("p")], ["one"])[0].output


def test_what_a_program_raises_is_no_score_and_a_prompts_failure_is_zero(tmp_path):
    """An outage of what it calls says nothing about the prompt; a prompt that can't work does."""

    def failing(word):
        if word == "long":
            raise PromptFailure(ErrorKind.CONTEXT_LENGTH, "too long")
        if word == "odd":
            return object()
        raise ConnectionError("the tool is down")

    program = Program("agent", function=failing, version="1", limits=LIMITS)
    down, long, odd = run(tmp_path, program, [Prompt.parse("p")], ["down", "long", "odd"])
    assert (down.score, down.error.kind) == (None, ErrorKind.PROGRAM)
    assert "ConnectionError: the tool is down" in down.error.message
    assert (long.score, long.error.kind) == (0.0, ErrorKind.CONTEXT_LENGTH)
    assert (odd.score, odd.error.kind) == (None, ErrorKind.PROGRAM)


def test_a_program_that_does_not_answer_in_time_leaves_its_row_unscored(tmp_path):
    """The others go on."""
    release = threading.Event()

    def slow(word):
        return "done" if word == "quick" else release.wait(20)

    program = Program("agent", function=slow, version="1", limits=replace(LIMITS, timeout_s=0.3))
    plan = EvaluationPlan(
        endpoint=program,
        prompts={Prompt.parse("p").candidate_id: Prompt.parse("p")},
        mix=build_mix(["exact_match"], None),
        ledger=LedgerLocation(str(tmp_path)),
        evaluation_id="e1",
        run_id="run",
    )
    batches = evaluate_stream(plan, [items([Prompt.parse("p")], ["quick", "stuck"])])
    quick, stuck = (rollout for batch in batches for rollout in batch)
    release.set()
    assert quick.output == "done"
    assert stuck.error.kind == ErrorKind.TIMEOUT


def test_a_single_prompt_goes_by_the_name_that_the_program_gives_it(tmp_path):
    """And one that it asks for by another name is an error that names what there is."""
    asked = Program("agent", function=lambda word: current_prompt("greet").text(), prompt_name="greet", version="1")
    other = Program("agent", function=lambda word: current_prompt("mine").text(), prompt_name="greet", version="2")
    assert run(tmp_path, asked, [Prompt.parse("Hello")], ["one"])[0].output == "Hello"
    assert "there are: greet" in run(tmp_path, other, [Prompt.parse("Hello")], ["one"])[0].error.message


def test_outside_an_evaluation_the_program_loads_its_own_prompt():
    """In its daily work nothing is in place, on this thread or on others."""
    with pytest.raises(InputError, match="otherwise"):
        current_prompt("plan")
    assert current_prompt("plan", otherwise=lambda: Prompt.parse("own")).text() == "own"
    seen = []

    def look():
        time.sleep(0.01)
        seen.append(current_prompt("plan", otherwise=lambda: Prompt.parse("own")).text())

    thread = threading.Thread(target=look)
    with in_place({"plan": Prompt.parse("placed")}):
        thread.start()
        thread.join()
        assert current_prompt("plan").text() == "placed"
    assert seen == ["own"]


@pytest.mark.parametrize(("function", "said"), [(None, "no function"), (len, "version=")])
def test_a_program_that_can_t_be_run_or_known_again_is_refused(function, said):
    """With the mend, before anything runs."""
    with pytest.raises(InputError, match=said):
        Program("agent", function=function)


def test_the_version_follows_the_functions_source():
    """The same function is the same program in the next process; another one is not."""

    def one(word):
        return word

    def other(word):
        return word.upper()

    assert Program("agent", function=one).endpoint_id == Program("agent", function=one).endpoint_id
    assert Program("agent", function=one).endpoint_id != Program("agent", function=other).endpoint_id
