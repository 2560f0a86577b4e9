"""What can go wrong between a model's name and its first answer.

::

    LocalModelError         (an EnvironmentProblem of engine.errors)
    ├── UnknownModel        no model of this name in the catalogue
    ├── RuntimeMissing      the package that serves models is not installed
    ├── ModelRefused        the runtime can't load the file
    ├── HashMismatch        a file is not the one that the catalogue names
    ├── SourceFailed        one source could not give the file; the next one is asked
    ├── WeightsUnavailable  no source could
    └── ServerNotReady      the server's process ended, or did not answer in time
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import EnvironmentProblem


class LocalModelError(EnvironmentProblem):
    """Root of this package's errors; the message names the value, the place and the mend."""


class UnknownModel(LocalModelError):  # noqa: N818 - reads as what it is
    """No model of this name in the catalogue."""


class RuntimeMissing(LocalModelError):  # noqa: N818 - reads as what it is
    """The package that serves models is not installed."""


class ModelRefused(LocalModelError):  # noqa: N818 - reads as what it is
    """The runtime can't load the model file."""


class SourceFailed(LocalModelError):  # noqa: N818 - reads as what it is
    """One source could not give the file; the message says why."""


class HashMismatch(LocalModelError):  # noqa: N818 - reads as what it is
    """A file is not the one that the catalogue names.

    ``path`` is where it stands or was to stand, ``expected`` and ``actual`` are sha256 in hex.
    """

    def __init__(self, path: Path, *, expected: str, actual: str, origin: str, mend: str) -> None:
        super().__init__(
            f"{path} is not the expected file: sha256 is {actual}, must be {expected} (from {origin}). {mend}"
        )
        self.path = path
        self.expected = expected
        self.actual = actual


class WeightsUnavailable(LocalModelError):  # noqa: N818 - reads as what it is
    """No source could give the file; ``failures`` holds each one's reason, in the order they were asked."""

    def __init__(self, model_name: str, failures: Sequence[LocalModelError], mend: str) -> None:
        reasons = "".join(f"\n  - {failure}" for failure in failures)
        super().__init__(f"the weights of {model_name} could not be obtained:{reasons}\n{mend}")
        self.failures = tuple(failures)


class ServerNotReady(LocalModelError):  # noqa: N818 - reads as what it is
    """The server's process ended, or did not answer in time; the message ends with the tail of its log."""
