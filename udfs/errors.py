"""Every error that can travel with a row, and the kinds it is recorded under.

::

    PromptmillError
    ├── InputError            bad input of the user's: the message names place, value and mend (exit status 2)
    ├── CallError             one call to an endpoint failed; ``.kind`` says how
    │   ├── InfrastructureError   not the prompt's fault: the row stays unscored
    │   └── PromptFailure         the prompt's own fault: the row scores 0, with feedback that says so
    ├── LedgerError           the ledger can't be read or written
    └── EvaluationStopped     all tasks of an evaluation end: a dead endpoint, refused credentials, Ctrl-C

A row's failure is data (:class:`RowError`), a run's failure is an exception.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ErrorKind(enum.StrEnum):
    """How a call failed.

    >>> ErrorKind.TIMEOUT.is_infrastructure, ErrorKind.CONTENT_FILTER.is_infrastructure
    (True, False)
    """

    NETWORK = "network"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    CREDENTIALS = "credentials"
    REJECTED = "rejected"
    JUDGE = "judge"
    SCORER = "scorer"
    PROGRAM = "program"
    NOT_IN_LEDGER = "not_in_ledger"
    BUDGET = "budget"
    CONTENT_FILTER = "content_filter"
    CONTEXT_LENGTH = "context_length"
    UNPARSABLE = "unparsable"

    @property
    def is_infrastructure(self) -> bool:
        """True when the failure says nothing about the prompt, so that the row must stay unscored."""
        return self not in _PROMPT_KINDS

    @property
    def is_retryable(self) -> bool:
        """True when the same call may succeed later."""
        return self in _RETRYABLE_KINDS


_PROMPT_KINDS = frozenset({ErrorKind.CONTENT_FILTER, ErrorKind.CONTEXT_LENGTH, ErrorKind.UNPARSABLE})
_RETRYABLE_KINDS = frozenset(
    {
        ErrorKind.NETWORK,
        ErrorKind.TIMEOUT,
        ErrorKind.RATE_LIMITED,
        ErrorKind.OVERLOADED,
        ErrorKind.SERVER_ERROR,
        ErrorKind.BAD_RESPONSE,
    }
)


class PromptmillError(Exception):
    """Root of all errors that promptmill raises on purpose."""


class InputError(PromptmillError):
    """Something the user gave can't be used; the message says where, what and how to mend it."""


class LedgerError(PromptmillError):
    """The ledger can't be read or written."""


class EvaluationStopped(PromptmillError):  # noqa: N818 - an end, not always a defect
    """An evaluation ends before all its rows were asked; ``kind`` is a kind of failure, or ``interrupted``."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class CallError(PromptmillError):
    """One call to an endpoint failed.

    ``retry_after_s`` is what the endpoint asked for, ``None`` when it asked for nothing. ``attempts`` and
    ``refused`` are filled in when the retries are used up: how often the call was sent, and how often it was
    answered 429.
    """

    def __init__(self, kind: ErrorKind, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after_s = retry_after_s
        self.attempts = 1
        self.refused = 0


class InfrastructureError(CallError):
    """Network, timeout, refusal, outage or credentials: says nothing about the prompt."""


class PromptFailure(CallError):  # noqa: N818 - it is the prompt that failed, not the program
    """The prompt's own failure: content filter, context length, or an output that can't be parsed."""


def call_error(kind: ErrorKind, message: str, *, retry_after_s: float | None = None) -> CallError:
    """Return the error class that belongs to ``kind``.

    >>> type(call_error(ErrorKind.CONTEXT_LENGTH, "too long")).__name__
    'PromptFailure'
    """
    cls = InfrastructureError if kind.is_infrastructure else PromptFailure
    return cls(kind, message, retry_after_s=retry_after_s)


@dataclass(frozen=True)
class RowError:
    """A failure as data: what stands in the ``error`` column."""

    kind: ErrorKind
    message: str
