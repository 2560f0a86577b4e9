"""What is known of how models like to be prompted: short advice by the model's name, from its maker's own guide."""

from __future__ import annotations

import re

# First match counts. Each line: what the name says, the advice, and where it comes from.
_STYLES: tuple[tuple[str, str, str], ...] = (
    (
        r"deepseek.?r1|\bo[134](-|\b)|qwq|reason",
        (
            "It reasons by itself: keep the prompt simple and direct, do not ask it to think step by step, and give "
            "few or no worked examples. State the goal and the exact form of the answer."
        ),
        "OpenAI, reasoning best practices; DeepSeek-R1 model card, usage recommendations",
    ),
    (
        r"claude|anthropic",
        (
            "It likes parts of the prompt set apart by XML tags with telling names, explicit instructions with their "
            "reason, and to be told what to do rather than what not to do. Put long inputs before the instruction."
        ),
        "Anthropic, prompt engineering overview and Claude best practices",
    ),
    (
        r"gemini|gemma",
        (
            "It likes short and direct instructions, one consistent structure (headings or XML tags), constraints "
            "stated first, and the question behind long inputs."
        ),
        "Google, Gemini prompt design strategies",
    ),
    (
        r"gpt|openai|chatgpt",
        (
            "It follows instructions literally: say everything that matters once and clearly, under markdown headings, "
            "with the form of the answer spelled out. Of two instructions in conflict it follows the later one."
        ),
        "OpenAI, GPT-4.1 prompting guide",
    ),
    (
        r"llama|meta",
        (
            "It likes a role and plain, explicit restrictions, such as the allowed answers and 'no explanation', and "
            "the form of the answer said last."
        ),
        "Meta, Llama prompting how-to guides",
    ),
    (
        r"mi[sx]tral|ministral|codestral",
        "It likes a purpose in one sentence, a clear structure of headings, and no vague or contradictory words.",
        "Mistral, prompting capabilities",
    ),
)
_SMALL = (
    "It is a small model: use short sentences and one instruction each, name the allowed answers, avoid exceptions and "
    "long lists, and end the prompt with exactly what the answer must look like."
)
# Parameters in billions as names give them: 0.5b, 3B, 7b.
_SIZE = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d)?)b(?![a-z])")
_SMALL_UP_TO_BILLIONS = 9
_SMALL_NAMES = re.compile(r"\b(mini|nano|tiny|small|lite|flash-8b)\b")


def style_of(model_name: str) -> str:
    """Return advice on how to write for the model of this name; nothing where nothing is known.

    >>> style_of("databricks-claude-sonnet-4")[:37]
    'It likes parts of the prompt set apar'
    >>> style_of("qwen2.5-coder-0.5b")[:22]
    'It is a small model: u'
    >>> style_of("model-x")
    ''
    """
    name = model_name.casefold()
    advice = [next((text for pattern, text, _ in _STYLES if re.search(pattern, name)), "")]
    size = _SIZE.search(name)
    if (size and float(size.group(1)) <= _SMALL_UP_TO_BILLIONS) or _SMALL_NAMES.search(name):
        advice.append(_SMALL)
    return " ".join(text for text in advice if text)
