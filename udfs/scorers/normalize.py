"""When two texts count as the same: normal forms that forgive how a model dresses its answer, not what it says."""

from __future__ import annotations

import functools
import re
import unicodedata

# Typographic variants that models swap freely, and characters that nobody sees.
_VARIANTS = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u200b\u2060\ufeff\u00ad", "")
)
# Sentence ends only: "C#", "5%", "-5" and ".5" must not lose the character that makes them what they are.
_SENTENCE_END = ".,;:!?\u3002\u3001\u061f\u060c\u0964 "
_SENTENCE_START = "\u00bf\u00a1 "
_PAIRS = (
    ("***", "***"),
    ("**", "**"),
    ("*", "*"),
    ("```", "```"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("\u00ab", "\u00bb"),
    ("\u2039", "\u203a"),
    ("\u300c", "\u300d"),
    ("\u300e", "\u300f"),
)
_FENCES = ("```", "~~~")
# The excluded characters keep both patterns linear on any text.
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_CODE = re.compile(r"`([^`\n]+)`")
# Scripts written without spaces between words (or, as Korean, with endings glued on): no word borders to hold to.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def unfenced(text: str) -> str:
    r"""Return what stands inside a markdown fence that wraps the whole of ``text``, else ``text`` unchanged.

    >>> unfenced("```json\n{}\n```"), unfenced("see ```x```")
    ('{}', 'see ```x```')
    """
    opening, _, rest = text.strip().partition("\n")
    for fence in _FENCES:
        inner = rest.removesuffix(fence)
        one_block = fence[0] not in opening.removeprefix(fence) and f"\n{fence}" not in f"\n{inner}"
        if opening.startswith(fence) and inner != rest and one_block:
            return inner.removesuffix("\n")
    return text


def normalize(text: str, *, case_sensitive: bool = False, keep_punctuation: bool = False) -> str:
    """Return the normal form of an answer; normalising it again changes nothing.

    Unicode NFKC, typographic quotes and dashes as ASCII, casefolded, white space collapsed; then what surrounds the
    whole answer goes: markdown fences, bold, italics and code marks, quotes, sentence punctuation. An answer that is
    nothing but punctuation stays.

    >>> normalize("  **“Positive”.** ")
    'positive'
    >>> normalize("C#"), normalize("-5"), normalize("?!")
    ('c#', '-5', '?!')
    """
    find = _normalize_short if len(text) <= _SHORT else _normalize
    return find(text, case_sensitive=case_sensitive, keep_punctuation=keep_punctuation)


def _normalize(text: str, *, case_sensitive: bool, keep_punctuation: bool) -> str:
    while True:
        following = _step(text, case_sensitive=case_sensitive, keep_punctuation=keep_punctuation)
        if following == text:
            return text
        text = following


# Labels come again and again, for one row alone several times: worth remembering. Long answers are not.
_SHORT = 100
_normalize_short = functools.lru_cache(maxsize=4096)(_normalize)


def searchable(text: str, *, case_sensitive: bool = False) -> str:
    r"""Return ``text`` as it is searched for phrases: like :func:`normalize`, but only bold and code marks go.

    >>> searchable("The **capital**\n is `Paris`.")
    'the capital is paris.'
    """
    return _CODE.sub(r"\1", _BOLD.sub(r"\1", fold(text, case_sensitive=case_sensitive)))


def holds_phrase(text: str, phrase: str, *, whole_words: bool = True) -> bool:
    """Tell whether ``phrase`` stands in ``text`` (both normalised), by default on word borders only.

    Scripts written without spaces have no borders to hold to.

    >>> holds_phrase("built in 2012", "12"), holds_phrase("built in 2012", "12", whole_words=False)
    (False, True)
    >>> holds_phrase("答案是正面的", "正面")
    True
    """
    start = text.find(phrase)
    while start >= 0:
        end = start + len(phrase)
        if not whole_words or not (_glued(text, start) or _glued(text, end)):
            return True
        start = text.find(phrase, start + 1)
    return False


def fold(text: str, *, case_sensitive: bool = False) -> str:
    """Return ``text`` in NFKC with plain quotes and dashes, casefolded, white space collapsed."""
    text = unicodedata.normalize("NFKC", text).translate(_VARIANTS)
    if not case_sensitive:
        # Folding can leave a text that is no longer NFKC (Unicode 3.13, "identifier caseless match").
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split())


def _step(text: str, *, case_sensitive: bool, keep_punctuation: bool) -> str:
    """One round of :func:`normalize`."""
    text = fold(unfenced(text), case_sensitive=case_sensitive)
    if keep_punctuation:
        return text
    for opening, closing in _PAIRS:
        inner = text[len(opening) : -len(closing)]
        wrapped = len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        if wrapped and opening not in inner and closing not in inner:
            text = inner.strip() or text
    return text.rstrip(_SENTENCE_END).lstrip(_SENTENCE_START) or text


def _glued(text: str, border: int) -> bool:
    """Tell whether the characters on both sides of ``border`` belong to one word."""
    if border in {0, len(text)}:
        return False
    before, after = text[border - 1], text[border]
    return before.isalnum() and after.isalnum() and not _UNSPACED.match(before) and not _UNSPACED.match(after)
