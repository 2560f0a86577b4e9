"""Python's cyclic garbage collector, while thousands of calls are under way."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

# With a thousand calls under way some fifty thousand objects live at any time and come and go all the time. Python's
# default looks through the young ones whenever 700 have been added (2,000 from 3.14 on), and found nothing to free:
# that was a fifth of a bare aiohttp loop's time. Once in 50,000 still frees what exceptions leave in cycles: at some
# 200 bytes each, 10 MB.
_YOUNG = 50_000

_lock = threading.Lock()
_users = 0
_before: tuple[int, int, int] = (0, 0, 0)


@contextlib.contextmanager
def seldom_collecting() -> Iterator[None]:
    """Have the collector of this process run seldom while the block runs; several threads may do so at once.

    A process whose collector is switched off, or runs even more seldom, is left as it is.

    >>> before = gc.get_threshold()
    >>> with seldom_collecting(), seldom_collecting():
    ...     gc.get_threshold()[0] >= 50_000
    True
    >>> gc.get_threshold() == before
    True
    """
    global _users, _before
    with _lock:
        if _users == 0:
            _before = gc.get_threshold()
            if 0 < _before[0] < _YOUNG:
                gc.set_threshold(_YOUNG, *_before[1:])
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                gc.set_threshold(*_before)
