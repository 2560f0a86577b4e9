"""The public names of ``udfs`` are exactly these: adding or losing one is a decision, not an accident."""

import udfs

NAMES = [
    "CallError",
    "Endpoint",
    "ErrorKind",
    "InputError",
    "Item",
    "Judge",
    "KeyFile",
    "LedgerLocation",
    "Limits",
    "OAuthClient",
    "Price",
    "Program",
    "Prompt",
    "PromptSet",
    "PromptmillError",
    "Rollout",
    "RowError",
    "Sampling",
    "Score",
    "Scorer",
    "Secret",
    "SecretFromEnv",
    "Subject",
    "Weighted",
    "current_prompt",
]


def test_the_public_names_are_exactly_these():
    """``__all__`` is sorted, complete and importable."""
    assert udfs.__all__ == NAMES
    assert all(getattr(udfs, name).__module__.startswith("udfs.") for name in NAMES)
