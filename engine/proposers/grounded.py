"""DSPy's grounded instruction proposer, asking our reflection client: through the ledger, the budget and the usage.

Needs the extra ``dspy``. DSPy runs on the driver, in threads beside the event loop; nothing of it is left in the texts
that are scored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.proposers.labels import answer_of
from engine.proposers.reflection_client import ReflectionClient
from engine.rows import Row
from engine.token_estimate import BYTES_PER_TOKEN
from udfs.conversation import Message
from udfs.errors import PromptmillError
from udfs.prompt import Prompt

# Rows that the data summary is made from, and how many DSPy looks at at a time (its own default).
SUMMARY_ROWS, SUMMARY_BATCH = 30, 10
_FIELD_CHARACTERS = 600
_ANSWER = "answer"


@dataclass(frozen=True)
class Grounding:
    """What instructions are grounded in: training rows, sets of demonstrations, and the seed of all choices."""

    train: Sequence[Row]
    demo_sets: Sequence[Sequence[Row]]
    max_tokens: int
    seed: int


async def propose_instructions(
    client: ReflectionClient, base: Prompt, grounding: Grounding, count: int
) -> tuple[list[str], int]:
    """Return up to ``count`` instructions for ``base`` and how many calls they took.

    As in MIPROv2 (Opsahl-Ong et al., arXiv 2406.11695): a summary of the data, a description of the program and of the
    prompt in it, demonstrations, and a tip, another for each instruction. All but the summary run at once. A reply that
    is cut off or can't be read gives no instruction.

    Raises:
        CallError: the reflection model could not be asked.
    """
    loop = asyncio.get_running_loop()
    fields = _field_names(base)
    examples = [_example(row, fields, grounding.max_tokens) for row in grounding.train if row.expectations]
    engine = _Engine(client, loop, sample=0)
    program = _program(base, fields)
    demo_sets = [[_example(row, fields, grounding.max_tokens) for row in rows] for rows in grounding.demo_sets]
    engines = [_Engine(client, loop, sample=1 + number) for number in range(count)]
    with _without_known_warnings():
        summary = await asyncio.to_thread(_summary, engine, examples[:SUMMARY_ROWS])
        # Made one after the other: each reads the program's source, and Python 3.11 can't parse in several threads.
        authors = [_Author.of(engines[number], program, summary, grounding.seed, number) for number in range(count)]
        found = await asyncio.gather(
            *(asyncio.to_thread(author.write, program, demo_sets, number) for number, author in enumerate(authors))
        )
    instructions = list(dict.fromkeys(text for text in found if text))
    return instructions, engine.calls + sum(one.calls for one in engines)


@contextlib.contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Its grounded proposer passes dspy's own signatures fields that they don't have, and dspy warns on every call."""

    def is_news(record: logging.LogRecord) -> bool:
        return "Input contains fields not in signature" not in record.getMessage()

    logger = logging.getLogger("dspy.predict.predict")
    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)


class _Engine:
    """An engine for a ``dspy.LM``: hands a request to our client, on the event loop that it lives on."""

    def __init__(self, client: ReflectionClient, loop: asyncio.AbstractEventLoop, *, sample: int) -> None:
        self._client = client
        self._loop = loop
        self._sample = sample
        self.calls = 0
        self.cut_off = False
        self.failure: PromptmillError | None = None

    def complete(self, request: Any) -> Any:
        """Return the reflection model's reply to a ``dspy.lm15.Request``, as a ``Response``."""
        from dspy.lm15 import Message as DspyMessage
        from dspy.lm15 import Response, TextPart, Usage

        self.calls += 1
        asked = self._client.ask(_messages(request), sample=self._sample)
        try:
            text, self.cut_off = asyncio.run_coroutine_threadsafe(asked, self._loop).result()
        except PromptmillError as error:
            # dspy takes some failures for a reason to go on without; the search does not.
            self.failure = error
            raise
        return Response(
            id=None,
            model=self._client.endpoint.name,
            message=DspyMessage.assistant([TextPart(text or " ")]),
            finish_reason="length" if self.cut_off else "stop",
            # Tokens are counted by the client.
            usage=Usage(input_tokens=0, output_tokens=0, total_tokens=0),
        )

    def stream(self, request: Any) -> Any:
        """Not asked for here."""
        raise NotImplementedError(request)

    def close(self) -> None:
        """Nothing is held open."""

    def model(self) -> Any:
        """Return the ``dspy.LM`` that asks through this engine; dspy's own cache and retries are off."""
        import dspy

        return dspy.LM(f"openai/{self._client.endpoint.name}", engine=self, cache=False, num_retries=0)


def _messages(request: Any) -> list[Message]:
    messages: list[Message] = []
    if request.system is not None:
        system = request.system if isinstance(request.system, str) else "".join(part.text for part in request.system)
        messages.append({"role": "system", "content": system})
    messages.extend({"role": message.role, "content": message.text or ""} for message in request.messages)
    return messages


def _summary(engine: _Engine, examples: Sequence[Any]) -> str | None:
    from dspy.propose.dataset_summary_generator import create_dataset_summary

    if not examples:
        return None
    try:
        return str(create_dataset_summary(list(examples), SUMMARY_BATCH, engine.model()))
    except Exception as error:
        if engine.failure is not None:
            raise engine.failure from error
        return None  # dspy could not read the reply: it goes on without a summary, too


@dataclass(frozen=True)
class _Author:
    """A grounded proposer of dspy for one instruction, with the tip that it is given."""

    engine: _Engine
    proposer: Any
    tip: str

    @classmethod
    def of(cls, engine: _Engine, program: Any, summary: str | None, seed: int, number: int) -> _Author:
        """Make one; the summary of the data was made before, for all instructions."""
        from dspy.propose.grounded_proposer import TIPS, GroundedProposer

        rng = random.Random(f"grounded-{seed}-{number}")  # noqa: S311 - reproducible, not secret
        tip = TIPS[rng.choice(sorted(TIPS))]
        proposer = GroundedProposer(
            engine.model(),
            program,
            [],
            use_dataset_summary=False,
            use_instruct_history=False,
            set_history_randomly=False,
            set_tip_randomly=False,
            use_tip=bool(tip),
            rng=rng,
        )
        proposer.data_summary, proposer.use_dataset_summary = summary, summary is not None
        return cls(engine, proposer, tip)

    def write(self, program: Any, demo_sets: Sequence[Any], number: int) -> str | None:
        """Return an instruction; ``None`` where the reply was cut off or can't be read."""
        try:
            text = self.proposer.propose_instruction_for_predictor(
                program=program,
                predictor=program.respond,
                pred_i=0,
                demo_candidates=[list(demo_sets)],
                demo_set_i=number % max(1, len(demo_sets)),
                trial_logs={},
                tip=self.tip,
            )
        except Exception as error:
            if self.engine.failure is not None:
                raise self.engine.failure from error
            return None
        if self.engine.failure is not None:
            raise self.engine.failure
        return None if self.engine.cut_off else str(text).strip() or None


def _field_names(prompt: Prompt) -> Mapping[str, str]:
    """The signature's name for each variable: Python names, no two alike."""
    names: dict[str, str] = {}
    for variable in sorted(prompt.variables):
        plain = re.sub(r"\W", "_", variable)
        while plain in {*names.values(), _ANSWER}:
            plain += "_"
        names[variable] = plain
    return names


def _program(base: Prompt, fields: Mapping[str, str]) -> Any:
    import dspy

    class PromptProgram(dspy.Module):  # type: ignore[misc]  # dspy is not typed
        """One call of a language model: the instruction and the inputs go in, the answer comes out."""

        def __init__(self, signature: Any) -> None:
            super().__init__()
            self.respond = dspy.Predict(signature)

        def forward(self, **inputs: Any) -> Any:
            return self.respond(**inputs)

    inputs = {name: (str, dspy.InputField()) for name in fields.values()}
    signature = dspy.Signature({**inputs, _ANSWER: (str, dspy.OutputField())}, instructions=base.text())
    return PromptProgram(signature)


def _example(row: Row, fields: Mapping[str, str], max_tokens: int) -> Any:
    import dspy

    # A batch of examples is one request of the summary's; each of their fields gets its share of the bound.
    most = min(_FIELD_CHARACTERS, max_tokens * BYTES_PER_TOKEN // (SUMMARY_BATCH * (len(fields) + 1)))
    inputs = json.loads(row.inputs)
    texts = {name: _cut(inputs.get(variable, ""), most) for variable, name in fields.items()}
    answer = answer_of(row) or row.expectations or ""
    return dspy.Example(**texts, answer=_cut(answer, most), augmented=True).with_inputs(*texts)


def _cut(value: Any, most: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[:most] + " …"
