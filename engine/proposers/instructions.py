"""Where an instruction stands in a prompt, and how another is put there or a rule is added."""

from __future__ import annotations

import re

from udfs.prompt import DEMOS, TEMPLATE, Prompt, variables

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")
_RULES = "Rules:"


def placeholders(text: str) -> tuple[str, ...]:
    """Return the placeholders of ``text`` as written without blanks, in the order they first come up.

    >>> placeholders("From {{ a }} to {{b}}, {{a}}")
    ('{{a}}', '{{b}}')
    """
    return tuple(dict.fromkeys(f"{{{{{name}}}}}" for name in _PLACEHOLDER.findall(text)))


def components_in_turn(prompt: Prompt, turn: int) -> str:
    """Return the name of the component whose turn it is: all but the demonstrations take turns."""
    names = [name for name in prompt.components if name != DEMOS]
    return names[turn % len(names)]


def instruction_component(prompt: Prompt, turn: int = 0) -> str:
    """Return the component that instructs: the first system message without variables, else the last user message.

    Where components belong to several prompts, as in ``plan/system``, the prompts take turns.

    >>> chat = [{"role": "system", "content": "Sort."}, {"role": "user", "content": "{{x}}"}]
    >>> instruction_component(Prompt.parse(chat))
    'system'
    """
    by_prompt: dict[str, list[str]] = {}
    for name in prompt.components:
        if name != DEMOS:
            by_prompt.setdefault(name.rpartition("/")[0], []).append(name)
    owners = list(by_prompt)
    names = by_prompt[owners[turn % len(owners)]]
    bare = [name for name in names if _role(name) == "system" and not variables(prompt.components[name])]
    return bare[0] if bare else [name for name in names if _role(name) in {"user", TEMPLATE}][-1]


def _role(component: str) -> str:
    """``system`` of ``plan/system_2``."""
    return component.rpartition("/")[2].partition("_")[0]


def with_instruction(prompt: Prompt, component: str, instruction: str) -> Prompt:
    r"""Return ``prompt`` with ``instruction`` as the text of ``component``.

    An instruction that holds none of the component's placeholders is taken to speak about the inputs, as instructions
    do in DSPy: the inputs are put below it, each under its name. One that holds some is taken as it is.

    >>> with_instruction(Prompt.parse("Sort: {{x}}"), "template", "Sort the word.").text()
    'Sort the word.\n\nx: {{x}}'
    """
    wanted = placeholders(prompt.components[component])
    text = instruction
    if wanted and not placeholders(instruction):
        text = instruction.rstrip() + "\n\n" + "\n".join(f"{field.strip('{}')}: {field}" for field in wanted)
    return prompt.with_components({**prompt.components, component: text})


def with_rule(prompt: Prompt, rule: str, turn: int = 0) -> Prompt:
    r"""Return ``prompt`` with one rule more, in a list of rules at the head of its instruction.

    At the head, and not behind the inputs, so that the end stays what it was: models answer to what stands last.

    >>> once = with_rule(Prompt.parse("Sort: {{x}}"), "Answer in one word.")
    >>> once.text()
    'Rules:\n- Answer in one word.\n\nSort: {{x}}'
    >>> with_rule(once, "No full stop.").text()
    'Rules:\n- Answer in one word.\n- No full stop.\n\nSort: {{x}}'
    """
    component = instruction_component(prompt, turn)
    text = prompt.components[component]
    head, rest = _split_rules(text)
    listed = [*head, f"- {' '.join(rule.split())}"]
    return prompt.with_components({**prompt.components, component: "\n".join([_RULES, *listed]) + "\n\n" + rest})


def rules_of(prompt: Prompt, turn: int = 0) -> tuple[str, ...]:
    """Return the rules that :func:`with_rule` has put into ``prompt``.

    >>> rules_of(with_rule(Prompt.parse("Sort: {{x}}"), "Answer in one word."))
    ('Answer in one word.',)
    """
    head, _ = _split_rules(prompt.components[instruction_component(prompt, turn)])
    return tuple(line.removeprefix("- ") for line in head)


def _split_rules(text: str) -> tuple[list[str], str]:
    """Return the lines of the rules at the head, and the rest."""
    head, blank, rest = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != _RULES or not all(line.startswith("- ") for line in lines[1:]):
        return [], text
    return lines[1:], rest
