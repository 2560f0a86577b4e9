"""Text that can be encoded: models, users and JSON escapes can all bring half a surrogate pair."""

from __future__ import annotations


def well_formed(text: str) -> str:
    r"""Return ``text`` with surrogate pairs joined and lone halves replaced, so that it encodes as UTF-8.

    JSON may spell half a character (``"\ud83d"``), as a server does that cuts an answer at a token; Arrow, hashing
    and HTTP refuse it, and one such answer would otherwise end a whole job.

    >>> well_formed("ok \ud83d\ude00") == "ok \N{GRINNING FACE}", well_formed("cut \ud83d") == "cut \ufffd"
    (True, True)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
