"""Small files on whatever storage a path names, written whole: a reader sees the old content or the new, never half."""

from __future__ import annotations

import contextlib
import uuid

import pyarrow.fs as pafs


def filesystem_of(path: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a local path, ``/Volumes/…`` or an object-store URI, and the path on it."""
    if "://" in path:
        found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(path)
        return found
    return pafs.LocalFileSystem(), path


def write_whole(path: str, content: bytes) -> None:
    """Write ``content`` to ``path``, making its folder: a temporary file beside it first, then a rename.

    Raises:
        OSError: storage refuses it.
    """
    filesystem, target = filesystem_of(path)
    folder, _, name = target.rpartition("/")
    filesystem.create_dir(folder, recursive=True)
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with filesystem.open_output_stream(temporary) as stream:
            stream.write(content)
        filesystem.move(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            filesystem.delete_file(temporary)
        raise


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
    return sorted(info.base_name for info in filesystem.get_file_info(selector) if info.is_file)
