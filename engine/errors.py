"""Errors of the driver's side; those that travel with a row are in :mod:`udfs.errors`.

::

    PromptmillError                (udfs.errors)
    ├── InputError                 (udfs.errors) bad input: exit status 2, nothing paid
    │   ├── ConfigError            the configuration: names file, key, value and mend
    │   └── EnvironmentProblem     Java, Spark, a package or a model is missing or unusable
    └── EvaluationError            a run's failure: exit status 1, what was paid for is in the ledger
        ├── CoverageError          too few rows of a candidate could be scored
        └── BudgetSpent            the budget allows no further call (ends a search, never a run)
            └── NotBegun           of a batch's budget nothing is left for one more run
"""

from __future__ import annotations

from udfs.errors import InputError, PromptmillError

__all__ = [
    "BudgetSpent",
    "ConfigError",
    "CoverageError",
    "EnvironmentProblem",
    "EvaluationError",
    "InputError",
    "NotBegun",
    "PromptmillError",
]


class ConfigError(InputError):
    """The configuration can't be used; the message names file, key, value and mend."""


class EnvironmentProblem(InputError):  # noqa: N818 - it is the machine's problem, and "Error" would hide that
    """Java, Spark or a package that is needed is missing or unusable; the message says how to get it."""


class EvaluationError(PromptmillError):
    """An evaluation failed as a whole; answers that were paid for are in the ledger."""


class CoverageError(EvaluationError):
    """Too few rows of a candidate could be scored to say anything about it."""


class BudgetSpent(EvaluationError):  # noqa: N818 - an end, not a defect
    """The budget allows no further call."""


class NotBegun(BudgetSpent):
    """What is left of a batch's budget does not cover one more run; nothing of it was called."""
