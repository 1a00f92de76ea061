"""keyframes: the original's numbers, scipy's splines, expressions, cross-fades, and every error."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.errors import ValueErrors
from disco.settings.keyframes import KeyFrames, crossfade
from disco.settings.splines import spline_through
from tests.places import GOLDEN
from tests.settings.hostile_texts import HOSTILE

GOLD = json.loads((GOLDEN / "g_text_and_schedules.json").read_text())


@pytest.mark.parametrize("gold", GOLD["key_frames"], ids=lambda gold: gold["string"])
def test_the_original(gold: dict[str, Any]) -> None:
    if "error" in gold:
        with pytest.raises(ValueError):
            KeyFrames.parse(gold["string"])
        return
    keys, frames = KeyFrames.parse(gold["string"]), gold["max_frames"]
    assert keys.as_original(frames).check(frames) == pytest.approx(gold["inbetweens"][:frames], abs=1e-6)
    assert KeyFrames.parse(keys.to_yaml()) == keys
    if max(map(int, gold["parsed"])) < frames:
        assert keys.check(frames) == pytest.approx(gold["inbetweens"][:frames], abs=1e-6)


def test_a_key_past_the_end_keeps_its_place() -> None:
    keys = KeyFrames.parse("0: (10.0), 20: (30)")
    assert keys.check(12) == pytest.approx([10 + frame for frame in range(12)])
    assert keys.as_original(12).at(11) == 30


@pytest.mark.parametrize(
    "value",
    [
        "0: (1), 10: (1.05)",
        "0:(1),10:(1.05)",
        "10: (1.05), 0: (1)",
        "0 : ( 1 ) 10 : ( 1.05 )",
        "0: 1, 10: 1.05",
        "0: (2-1); 10: ((1 + (0.05))),",
        {0: 1, 10: 1.05},
        {"10": "1.05", "0": 1},
        {0: "3 - 2", 10: 1.05},
    ],
)
def test_every_form_of_the_same_keys(value: Any) -> None:
    keys = KeyFrames.parse(value)
    assert keys == KeyFrames.parse("0: (1), 10: (1.05)")
    assert keys.to_yaml() == "0: (1), 10: (1.05)" == str(keys)
    assert [keys.at(frame) for frame in (0, 5, 10, 999)] == pytest.approx([1, 1.025, 1.05, 1.05])
    assert KeyFrames.parse(keys) is keys


@pytest.mark.parametrize("value", [3, 3.0, "3", "0: (3)", "0:(3)", {0: 3}, {7: 3}, "5:(3)", "9/3"])
def test_one_number(value: Any) -> None:
    keys = KeyFrames.parse(value)
    assert keys == KeyFrames.parse(3) and keys.constant
    assert keys.to_yaml() == 3
    assert {keys.at(frame, "Cubic") for frame in (0, 1, 10_000)} == {3}


def test_an_expression_moves_every_frame() -> None:
    keys = KeyFrames.parse("1 + 0.5*t")
    assert [keys.at(frame) for frame in (0, 1, 100)] == [1, 1.5, 51]
    assert keys.to_yaml() == "1 + 0.5*t" and not keys.constant
    assert KeyFrames.parse("0: (1 + 0.5*t)") == keys == KeyFrames.parse({0: "(1 + 0.5*t)"})


def test_an_expression_rules_until_the_next_key() -> None:
    keys = KeyFrames.parse("2: (10*t), 4: (100), 8: (t**2), 10: (5)")
    assert keys.check(12) == [20, 20, 20, 30, 100, 91, 82, 73, 64, 81, 5, 5]
    assert KeyFrames.parse(keys.to_yaml()) == keys


# what scipy.interpolate.interp1d gave
SPLINES = [
    ("Quadratic", {0: 1, 4: 3, 9: -2}, {0: 1, 2: 2.666666667, 4: 3, 6: 2, 8: -0.333333333}),
    (
        "Quadratic",
        {0: 0, 3: 5, 7: 1, 12: 2},
        {2: 4.292198582, 4: 4.74893617, 6: 2.059574468, 8: 0.360283688, 10: 0.340425532},
    ),
    (
        "Cubic",
        {0: 0, 3: 5, 7: 1, 12: 2},
        {2: 4.523809524, 4: 4.628571429, 6: 2.371428571, 8: -0.19047619, 10: -1},
    ),
    (
        "Cubic",
        {2: 1, 5: -1.5, 6: 4, 11: 0, 15: 2},
        {2: 1, 4: -6.470027679, 8: 7.104270463, 10: 2.875049427, 12: -2.320877817, 14: -2.116725979},
    ),
]


@pytest.mark.parametrize(("spline", "keys", "expected"), SPLINES)
def test_splines(spline: str, keys: dict[int, float], expected: dict[int, float]) -> None:
    frames = KeyFrames.parse(keys)
    assert frames.usable(spline) == spline
    assert {k: frames.at(k, spline) for k in expected} == pytest.approx(expected, abs=1e-6)
    assert [frames.at(k, spline) for k in keys] == pytest.approx(list(keys.values()))
    assert frames.at(0, spline) == pytest.approx(frames.at(min(keys), spline)), "held before the first"
    assert frames.at(99, spline) == pytest.approx(frames.at(max(keys), spline)), "held after the last"


def test_splines_as_the_original_draws_them() -> None:
    """It sets the first number at frame 0 and the last at the end, and draws the spline through these too."""
    quadratic = [1, 1.506666667, 1.86, 2.06, 2.106666667, 2, 1.74, 1.326666667, 0.793333333, 0.34, 0]
    quadratic += [-0.226666667, -0.34, -0.34, -0.226666667, 0]
    keys = KeyFrames.parse("0:(1), 5:(2), 10:(0)").as_original(16)
    assert keys.check(16, "Quadratic") == pytest.approx(quadratic, abs=1e-6)
    assert keys.check(16, "Cubic") == pytest.approx(quadratic, abs=1e-6), "written with 3 keys, not 4"
    cubic = [1, 0.669753086, 1, 1.59537037, 2.060493827, 2, 1.178433642, 0, -0.971180556, -1.170987654]
    keys = KeyFrames.parse("2:(1), 5:(2), 7:(0), 11:(3)").as_original(12)
    assert keys.check(12, "Cubic") == pytest.approx([*cubic, -0.035300926, 3], abs=1e-6)
    moving = KeyFrames.parse("0: (t), 20: (3)")
    assert moving.as_original(12) == moving, "the original has no expressions"


@pytest.mark.parametrize(
    ("keys", "cubic", "quadratic"),
    [
        ("0:(1)", "Linear", "Linear"),
        ("0:(1), 5:(2)", "Linear", "Linear"),
        ("0:(1), 5:(2), 9:(0)", "Quadratic", "Quadratic"),
        ("0:(1), 5:(2), 9:(0), 11:(4)", "Cubic", "Quadratic"),
    ],
)
def test_few_keys_lower_the_spline(keys: str, cubic: str, quadratic: str) -> None:
    frames = KeyFrames.parse(keys)
    assert (frames.usable("Cubic"), frames.usable("Quadratic")) == (cubic, quadratic)
    assert frames.usable("Linear") == "Linear"
    assert frames.check(12, "Cubic") == frames.check(12, cubic)


@given(st.lists(st.floats(-9, 9), min_size=4, max_size=4), st.integers(5, 60), st.sampled_from([2, 3]))
def test_a_spline_repeats_what_it_can_say_exactly(c: list[float], n: int, degree: int) -> None:
    """A polynomial of its degree goes through any points of it."""

    def polynomial(x: float) -> float:
        return sum(c[power] * (x / n) ** power for power in range(degree + 1))

    spline = spline_through(tuple((x, polynomial(x)) for x in range(0, 3 * n, 3)), degree)
    for x in (0.0, 1.5, n / 2, n, 3 * n - 3.1):
        assert spline.at(x) == pytest.approx(polynomial(x), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "an empty text; write a number"),
        ({}, "an empty map; write a number"),
        ("-3:(2)", 'no frame number at "-3:\\(2\\)": write a whole number from 0'),
        ("0: (1), -3: (2)", "no frame number"),
        ("0.5: (1)", 'no frame number at "0.5: \\(1\\)"'),
        ("zoom: (1)", "no frame number"),
        ("0: (1), 0: (2)", "frame 0 is written twice"),
        ("0: (1), 10:", "at its end"),
        ("0: (1), 10", '":" is missing'),
        ("0: (1), 10.5", 'at ", 10.5"'),
        ("0: (1) 10", 'at "10": an operator such as \\* is missing before it'),
        ("0: (1) (2)", 'at "\\(2\\)": an operator such as \\* is missing before it'),
        ("0: (1, 2)", 'at ", 2\\)": commas stand between'),
        ("0: (1),, 10: (2)", 'at ","'),
        (": (1)", 'no frame number at ": \\(1\\)"'),
        ("x 0: (1)", 'no frame number at "x 0: \\(1\\)"'),
        ("0: 1: 2", "at its end"),
        ("0: ()", "cannot be read"),
        ("nonsense", 'no such name "nonsense"'),
        ("0: (1/0)", '"1/0" has no value: division by 0'),
        ("5: (1/(t-5))", "no value at frame 5: division by 0"),
        (True, "true is no number; write a number"),
        (None, "nothing is no number"),
        ([1, 2], "is no number"),
        (float("nan"), "not a finite number"),
        (10**400, "not a finite number"),
        ({-1: 2}, "-1 is no frame number: a whole number from 0"),
        ({0: 1, "0": 2}, "frame 0 is written twice"),
        ({0: "foo"}, 'no such name "foo"'),
    ],
)
def test_what_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        KeyFrames.parse(value)


def test_hostile_texts_end_quickly_in_an_error() -> None:
    for text in HOSTILE:
        began = time.perf_counter()
        with pytest.raises(ValueError) as caught:
            KeyFrames.parse(text)
        assert time.perf_counter() - began < 5, text[:40]
        assert len(str(caught.value)) < 500


def test_many_keys() -> None:
    keys = KeyFrames.parse({frame: frame / 7 for frame in range(2000)})
    assert KeyFrames.parse(keys.to_yaml()) == keys


def test_every_fault_of_a_map_with_its_place() -> None:
    with pytest.raises(ValueErrors) as caught:
        KeyFrames.parse({0: "foo", 1.5: 2, 10: True, 20: 1})
    assert [path for path, _ in caught.value.faults] == [(0,), (1.5,), (10,)]


def test_check_names_the_frame_without_a_value() -> None:
    keys = KeyFrames.parse("0: (1/(t-7)), 9: (2)")
    assert len(keys.check(7)) == 7
    with pytest.raises(ValueError, match=r'"1/\(t-7\)" has no value at frame 7: division by 0'):
        keys.check(8)
    assert len(KeyFrames.parse("0: (1/(t-7)), 7: (2)").check(20)) == 20, "from frame 7 on another key rules"


def test_crossfade() -> None:
    assert crossfade([0, 10], 0) == ((0, 1.0),)
    assert crossfade([10, 0], 4) == ((0, 0.6), (10, 0.4))
    assert crossfade([0, 10], 10) == ((10, 1.0),)
    assert crossfade([3, 10], 1) == ((3, 1.0),)
    assert crossfade([3, 10], 99) == ((10, 1.0),)
    assert crossfade([0, 10, 20], 15) == ((10, 0.5), (20, 0.5))
    with pytest.raises(ValueError):
        crossfade([], 0)
