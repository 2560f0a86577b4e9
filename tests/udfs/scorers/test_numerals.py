"""Reading numbers from prose."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.scorers.numerals import Numeral, is_close, numerals


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("42", [42]),
        ("It is 42.", [42]),
        ("1,234.5", [1234.5]),
        ("1.234,5", [1234.5]),
        ("1,234,567", [1234567]),
        ("1.234.567", [1234567]),
        ("1'234'567.8", [1234567.8]),
        ("1\u202f234,5", [1234.5]),
        ("12,5", [12.5]),
        ("1.234", [1.234]),
        ("0.5 and .25", [0.5, 0.25]),
        ("$1,200", [1200]),
        ("-$5", [-5]),
        ("$-5", [-5]),
        ("€ 3.50", [3.5]),
        ("USD 7", [7]),
        ("USD7", [7]),
        ("\u22123", [-3]),
        ("+3", [3]),
        ("1.2e-3", [0.0012]),
        ("6.02E23", [6.02e23]),
        ("1.2 x 10^-3", [0.0012]),
        ("1.2 \u00d7 10^{3}", [1200]),
        ("5e", [5]),
        ("5em", [5]),
        ("from 10-20", [10, 20]),
        ("10 - 20", [10, 20]),
        ("x=-3", [-3]),
        ("12 m2", [12]),
        ("GPT-4 says 7", [7]),
        ("GPT-4", []),
        ("1, 2, 3", [1, 2, 3]),
        ("**18**", [18]),
        ("\\boxed{18}", [18]),
        ("m² of 3", [3]),
        ("0.0'0", [0]),
        ("none", []),
        ("", []),
    ],
)
def test_numbers_are_read_as_people_write_them(text, values):
    """Separators, signs, currencies and powers of ten."""
    assert [numeral.value for numeral in numerals(text)] == pytest.approx(values)


@pytest.mark.parametrize(
    ("expected", "actual", "close"),
    [
        ("12%", "12 %", True),
        ("0.12", "12%", True),
        ("12", "12%", True),
        ("12%", "0.12", True),
        ("12%", "13%", False),
        ("12%", "1200%", False),
    ],
)
def test_a_percent_sign_on_one_side_leaves_both_readings(expected, actual, close):
    """12% is 0.12 and 12 beside a bare number, and only 12% beside another percentage."""
    left, right = numerals(expected)[0], numerals(actual)[0]
    assert is_close(left, right, abs_tolerance=0.0, rel_tolerance=1e-9) is close


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_pythons_own_notation_is_read(value):
    """A float's repr reads back as the float."""
    assert [numeral.value for numeral in numerals(repr(value))] == [value]


@given(st.integers(-(10**15), 10**15))
def test_grouped_digits_are_read(value):
    """Commas between groups of three don't matter."""
    assert [numeral.value for numeral in numerals(f"That makes {value:,} in all.")] == [value]


@given(st.text(st.sampled_from("0123456789.,eE-+$% x^'*\u2212٣")))
def test_any_text_is_read_without_error(text):
    """Whatever stands there, numbers come out, or nothing."""
    assert not any(math.isnan(numeral.value) for numeral in numerals(text))


@given(st.floats(allow_nan=False))
def test_a_number_is_close_to_itself(value):
    """Also with no tolerance at all."""
    assert is_close(Numeral(value), Numeral(value), abs_tolerance=0.0, rel_tolerance=0.0)


@pytest.mark.parametrize("text", ["1" * 100_000, "1," * 50_000, "-" * 100_000, "1.2e" * 25_000, "$ " * 50_000])
def test_degenerate_outputs_take_linear_time(text):
    """A model that repeats itself for ever doesn't hold up the task."""
    start = time.perf_counter()
    numerals(text)
    # A quadratic step over so many characters takes minutes; a linear one well under a second.
    assert time.perf_counter() - start < 5
