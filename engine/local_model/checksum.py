"""Is this file the one that the catalogue names? Asked before every use, answered cheaply when nothing changed.

Reading 1.1 GB to hash it takes seconds. So the answer is kept in a sidecar next to the file, together with the size and
the modification time that the file had; any change of either makes the sidecar void and the file is hashed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

_FORMAT = "promptmill-verified-1"


def sha256_of(path: Path) -> str:
    """Return the file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sidecar_of(path: Path) -> Path:
    """Return where the answer for ``path`` is kept."""
    return path.with_name(path.name + ".sha256")


def known_sha256(path: Path) -> str:
    """Return the file's sha256 in hex, from its sidecar while that is valid, by reading the file otherwise.

    Writes a fresh sidecar after reading. A sidecar that can't be read or written costs time, nothing else.
    """
    with contextlib.suppress(OSError, ValueError):
        form, digest, size, modified_ns = sidecar_of(path).read_text(encoding="ascii").split()
        if (form, int(size), int(modified_ns)) == (_FORMAT, *_stamp(path)):
            return digest
    stamp = _stamp(path)
    digest = sha256_of(path)
    write_sidecar(path, digest, stamp)
    return digest


def write_sidecar(path: Path, digest: str, stamp: tuple[int, int] | None = None) -> None:
    """Keep ``digest`` as the answer for the file with this (size, modification time); None: as it is now."""
    size, modified_ns = stamp or _stamp(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.sha256")
    with contextlib.suppress(OSError):  # a cache on a read-only disk is hashed at every use
        draft.write_text(f"{_FORMAT} {digest} {size} {modified_ns}\n", encoding="ascii")
        draft.replace(sidecar_of(path))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
