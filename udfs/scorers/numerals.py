"""Finding numbers in prose: digits with separators, percent, currencies and powers of ten."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# Spaces that typographers put between groups of three; a plain space also separates two numbers, so it does not count.
_GROUP_SPACES = "\u00a0\u2009\u202f"
_NUMERAL = re.compile(
    rf"""
    (?<![^\W\d_])(?<![^\W\d_]-)(?<!\d)(?<!\d[.,])      # not glued to a word, as in "m2" or "GPT-4"
    (?P<sign>(?<!\d)[-+\u2212])?
    (?:[$\u20ac\u00a3\u00a5\u20b9]\s?|(?:USD|EUR|GBP|JPY|CHF|INR)\s?)?
    (?P<late_sign>[-+\u2212])?
    (?P<digits>\d+(?:[.,'\u2019{_GROUP_SPACES}]\d+)*|\.\d+)
    (?:[eE](?P<exponent>[-+\u2212]?\d{{1,4}})(?!\w)
      |\s?[x\u00d7*\u00b7]\s?10\s?(?:\^|\*\*)\s?\{{?(?P<power>[-+\u2212]?\d{{1,4}})\}}?)?
    (?P<percent>\s?[%\uff05])?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Numeral:
    """A number as it stood in a text: ``value`` as written (12 for "12 %"), and whether a percent sign followed."""

    value: float
    percent: bool = False

    def readings(self, other: Numeral) -> tuple[float, ...]:
        """Return the values this may mean beside ``other``.

        With a percent sign on one side only, both readings count: "12%" is 12 and 0.12, since data sets write either.

        >>> Numeral(12, percent=True).readings(Numeral(0.12)), Numeral(12).readings(Numeral(12))
        ((12, 0.12), (12,))
        """
        return (self.value, self.value / 100) if self.percent and not other.percent else (self.value,)


def numerals(text: str) -> list[Numeral]:
    """Return the numbers of a text in order.

    Read are ``1,234.5``, ``1.234,5``, ``1'234``, ``$5``, ``-5 EUR``, ``12 %``, ``1.2e-3`` and ``1.2 x 10^-3``. One
    separator followed by three digits groups them when it is a comma (``1,234``), and is a decimal point when it is
    a point (``1.234``). Number words, fractions and "k" or "million" are not read.

    >>> [numeral.value for numeral in numerals("From 1,234.5 to $-5 in m2, or 2e3.")]
    [1234.5, -5.0, 2000.0]
    """
    return [_numeral(match) for match in _NUMERAL.finditer(text)]


def _numeral(match: re.Match[str]) -> Numeral:
    """Make the number of a match."""
    negative = _is_minus(match["sign"]) != _is_minus(match["late_sign"])
    exponent = (match["exponent"] or match["power"] or "0").replace("\u2212", "-")
    value = float(f"{_plain(match['digits'])}e{exponent}")
    return Numeral(-value if negative else value, percent=match["percent"] is not None)


def _is_minus(sign: str | None) -> bool:
    """Tell minus from plus and nothing."""
    return sign in {"-", "\u2212"}


def _plain(digits: str) -> str:
    """Return digits with separators as Python reads them.

    >>> _plain("1.234.567,8"), _plain("1,234"), _plain("12,5"), _plain("1.234")
    ('1234567.8', '1234.', '12.5', '1.234')
    """
    decimal = _decimal_mark(digits)
    whole, _, fraction = digits.rpartition(decimal) if decimal else (digits, "", "")
    return ".".join("".join(filter(str.isdecimal, part)) for part in (whole, fraction))


def _decimal_mark(digits: str) -> str | None:
    """Return the separator that is the decimal mark, if any is: the last kind where there are two."""
    comma, point = digits.rfind(","), digits.rfind(".")
    if comma >= 0 and point >= 0:
        return "," if comma > point else "."
    if point >= 0:
        return "." if digits.count(".") == 1 else None
    grouped = comma >= 0 and re.fullmatch(r"\d{1,3}(?:,\d{3})+", digits) is not None
    return "," if comma >= 0 and not grouped and digits.count(",") == 1 else None


def is_close(expected: Numeral, actual: Numeral, *, abs_tolerance: float, rel_tolerance: float) -> bool:
    """Tell whether any reading of two numbers lies within the tolerances.

    >>> is_close(Numeral(0.12), Numeral(12, percent=True), abs_tolerance=0, rel_tolerance=0)
    True
    """
    return any(
        abs(left - right) <= max(abs_tolerance, rel_tolerance * abs(left)) or math.isclose(left, right, rel_tol=1e-12)
        for left in expected.readings(actual)
        for right in actual.readings(expected)
    )
