"""expression: the values of Python's own arithmetic, and the sentence for everything else."""

from __future__ import annotations

import math
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.settings.expression import Expression
from tests.settings.hostile_texts import HOSTILE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5e1", 15),
        (".5", 0.5),
        ("t", 7),
        ("2*pi", 2 * math.pi),
        ("007 + 00.5e01 + 0", 12),
        (" 1\n+\t1 ", 2),
        ("1\u00a0+ 1", 2),
        ("-(-(3))", 3),
        ("2*-3**2", -18),
        ("1 + 0.02*sin(2*pi*t/24)", 1 + 0.02 * math.sin(2 * math.pi * 7 / 24)),
        ("10-3-2", 5),
        ("16/4/2", 2),
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("2**3**2", 512),
        ("-2**2", -4),
        ("2**-1", 0.5),
        ("--3", 3),
        ("+-+3", -3),
        ("-t*2", -14),
        ("3*-2", -6),
        ("abs(-4)", 4),
        ("cos(0)", 1),
        ("min(t, 3, 5)", 3),
        ("max(t, 3)", 7),
        ("clip(t, 0, 5)", 5),
        ("clip(-t, 0, 5)", 0),
        ("floor(t/2)", 3),
        ("floor(-0.5)", -1),
        ("t - 4*floor(t/4)", 3),
        ("max(0, min(1, (t-3)/(10-3)))", 4 / 7),
    ],
)
def test_values(text: str, value: float) -> None:
    assert Expression.parse(text).at(7) == pytest.approx(value, rel=1e-12)


@given(st.recursive(
    st.sampled_from(["t", "2", "0.5", "pi", "3"]),
    lambda inner: st.builds("({}){}({})".format, inner, st.sampled_from(["+", "-", "*"]), inner)
    | st.builds("{}({})".format, st.sampled_from(["-", "sin", "cos", "abs"]), inner),
    max_leaves=12,
))  # fmt: skip
def test_it_counts_as_python_does(text: str) -> None:
    expected = eval(text, {"t": 5.0, "pi": math.pi, "sin": math.sin, "cos": math.cos, "abs": abs})
    assert Expression.parse(text).at(5) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_it_moves_only_with_t() -> None:
    assert Expression.parse("1 + 2*sin(t/3)").moves
    assert Expression.parse("2 - t*0").moves
    assert not Expression.parse("2*sin(pi/3)").moves


def test_the_text_is_kept_without_needless_parts() -> None:
    assert Expression.parse("  (( 1  +\n t ))").text == "1 + t"
    assert Expression.parse("(1) + (t)").text == "(1) + (t)"
    assert Expression.parse("(1+t)") == Expression.parse("1+t")
    assert pickle.loads(pickle.dumps(Expression.parse("1+t"))).at(2) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "at its end"),
        ("1 +", "at its end"),
        ("(1", '"\\)" is missing'),
        ("1)", 'at "\\)"'),
        ("10t", 'at "t"'),
        ("2^3", "write \\*\\* for a power"),
        ("t % 3", "% is not known"),
        ("7 // 2", 'at "// 2"'),
        ("7 7", 'at "7": an operator such as \\* is missing before it'),
        ("(1 + 2)(3)", 'at "\\(3\\)": an operator'),
        ("pi(3)", 'at "\\(3\\)": an operator'),
        ("1 + * 2", 'at "\\* 2"'),
        ("* 2", 'at "\\* 2"'),
        ("max(1, , 2)", 'at ", 2\\)"'),
        ("1, 2", 'at ", 2": commas stand between the values of min, max and clip only'),
        ("sin()", "sin takes 1 values in its brackets, not 0"),
        ("max(*t, t)", 'at "\\*t, t\\)"'),
        ("max(**t)", "cannot be read"),
        ("foo", 'no such name "foo"'),
        ("sin", "is missing"),
        ("sin t", "is missing"),
        ("tan(t)", 'no such name "tan"'),
        ("sin(1, 2)", "sin takes 1 values in its brackets, not 2"),
        ("clip(t, 1)", "clip takes 3 values in its brackets, not 2"),
        ("max(t)", "max takes 2 to 20 values"),
        ("__import__('os')", 'no such name "__import__"'),
        ("t.real", 'at ".real"'),
        ("[1]", 'at "\\[1\\]"'),
        ("1 if t else 2", 'at "if t else 2"'),
        ("lambda: 1", 'no such name "lambda"'),
        ('"a"', "cannot be read"),
        ("1e999", "the number is too large"),
        ("1+" * 1500 + "1", "too long: 2000 characters are allowed"),
        ("(" * 500 + "1" + ")" * 500, "too many brackets inside brackets"),
        ("2" + "**2" * 500, "too many powers of powers"),
    ],
)
def test_what_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Expression.parse(text)


@pytest.mark.parametrize(
    ("text", "frame", "sentence"),
    [
        ("1/(t-3)", 3, '"1/\\(t-3\\)" has no value at frame 3: division by 0'),
        ("1/0", 3, '"1/0" has no value: division by 0'),
        ("(t-3)**-1", 3, "division by 0"),
        ("9**9**9**9", 0, "a number too large"),
        ("1e300*1e300", 0, "a number too large"),
        ("1e308+1e308", 0, "a number too large"),
        ("10**t", 400, "at frame 400: a number too large"),
        ("(-2)**0.5", 0, "a negative number to a power that is not whole"),
    ],
)
def test_what_has_no_value(text: str, frame: int, sentence: str) -> None:
    expression = Expression.parse(text)
    with pytest.raises(ValueError, match=sentence):
        expression.at(frame)


def test_no_text_takes_long() -> None:
    began = time.perf_counter()
    for text in ("9**" * 30 + "9", "-" * 1990 + "1", "1+" * 900 + "t", "max(" * 30 + "1" + ", t)" * 30):
        try:
            Expression.parse(text).at(3)
        except ValueError:
            pass
    assert time.perf_counter() - began < 2


def test_hostile_texts_end_quickly_in_an_error() -> None:
    for text in HOSTILE:
        began = time.perf_counter()
        with pytest.raises(ValueError) as caught:
            Expression.parse(text)
        assert time.perf_counter() - began < 5, text[:40]
        assert len(str(caught.value)) < 500


def test_sums_are_exact_and_brackets_round() -> None:
    """As math.fsum: a picture must not change by the reader of its motion."""
    assert Expression.parse("1e16 + 1 - 1e16").at(0) == 1
    assert Expression.parse("(1e16 + 1) - 1e16").at(0) == 0
    assert Expression.parse("0.1 + 0.2 - 0.3").at(0) == math.fsum([0.1, 0.2, -0.3])
