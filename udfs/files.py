"""Small files on whatever storage a path names, written whole: a reader sees the old content or the new, never half."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow.fs as pafs


def filesystem_of(path: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a local path, ``/Volumes/…`` or an object-store URI, and the path on it.

    >>> filesystem_of("/data/run")[1], filesystem_of("file:///data/my%20run")[1]
    ('/data/run', '/data/my run')
    """
    if "://" not in path:
        return pafs.LocalFileSystem(), path
    scheme, _, place = path.partition("://")
    authority, _, below = place.partition("/")
    filesystem, root = _opened(f"{scheme}://{authority}/")
    return filesystem, f"{root.rstrip('/')}/{unquote(below)}"


# An object store's client keeps connections and credentials, so that each store has one in a process.
@functools.lru_cache(maxsize=16)
def _opened(store: str) -> tuple[pafs.FileSystem, str]:
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(store)
    return found


@contextlib.contextmanager
def written_whole(filesystem: pafs.FileSystem, target: str) -> Iterator[str]:
    """Yield the path of a temporary file beside ``target``, which becomes ``target`` when the block ends well.

    A rename on a file system, a copy and a deletion on an object store: there, too, the name appears whole. The folder
    is made; after an exception no half file stays behind.

    Raises:
        OSError: storage refuses it.
    """
    folder, _, name = target.rpartition("/")
    filesystem.create_dir(folder, recursive=True)
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        yield temporary
        filesystem.move(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.delete_file(temporary)
        raise


def write_whole(path: str, content: bytes) -> None:
    """Write ``content`` to ``path``, making its folder; see :func:`written_whole`.

    Raises:
        OSError: storage refuses it.
    """
    filesystem, target = filesystem_of(path)
    with written_whole(filesystem, target) as temporary, filesystem.open_output_stream(temporary) as stream:
        stream.write(content)


def read_whole(path: str) -> bytes | None:
    """Return the content of ``path``; ``None`` where there is none."""
    filesystem, target = filesystem_of(path)
    try:
        with filesystem.open_input_stream(target) as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        return None


def names_in(folder: str) -> list[str]:
    """Return the names of the files in ``folder``; none where it does not exist."""
    filesystem, path = filesystem_of(folder)
    selector = pafs.FileSelector(path, allow_not_found=True)
    try:
        return sorted(info.base_name for info in filesystem.get_file_info(selector) if info.is_file)
    except FileNotFoundError:
        return []  # a folder that somebody makes in this very moment: pyarrow looks twice, and sees it the second time
