"""How many tokens a text is worth, where no tokenizer is at hand."""

from __future__ import annotations

# English text has about four bytes a token; of the bytes of UTF-8, other scripts need fewer a token, never many more:
# counting bytes instead of characters keeps a Chinese text (three bytes a character) from looking four times shorter
# than it is.
BYTES_PER_TOKEN = 4


def tokens_in(text: str) -> int:
    """Return about how many tokens ``text`` has, rounded up.

    >>> tokens_in("four"), tokens_in("four more"), tokens_in("你好")
    (1, 3, 2)
    """
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
