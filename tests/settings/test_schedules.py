"""schedules: every form, the original's values, and the sentences for what is wrong."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.errors import ValueErrors
from disco.settings.schedules import LENGTH, Schedule
from tests.places import GOLDEN
from tests.settings.hostile_texts import HOSTILE

GOLD = json.loads((GOLDEN / "g_text_and_schedules.json").read_text())


@pytest.mark.parametrize("name", GOLD["schedules"])
def test_the_original_schedules(name: str) -> None:
    gold = GOLD["schedules"][name]
    schedule = Schedule.parse(gold["string"])
    assert len(schedule.values) == gold["len"]
    assert sum(schedule.values) == pytest.approx(gold["sum"], rel=1e-12)
    assert {index: schedule.at(int(index)) for index in gold["at"]} == gold["at"]
    assert Schedule.parse(schedule.to_yaml()) == schedule


@pytest.mark.parametrize(
    "value",
    [
        "[12]*400+[4]*600",
        " [12] * 400 + [4] * 600 ",
        "400*[12]+600*[4]",
        "([12]*2)*200+([4]*3+[4]*3)*100",
        "[12, 12]*200+[4]*600",
        {0: 12, 400: 4},
        {400: 4, 0: 12},
        {"0": 12, "400": 4},
        {7: 12, 400: 4},
        [12] * 400 + [4] * 600,
        (12,) * 400 + (4,) * 600,
        "[1.2e1]*400+[4.]*600",
        "[012]*0400+[4]*600",
        "[12]*400\n+\u00a0[4]*2*300",
        "+".join(["[12]*2"] * 200 + ["[4]*2"] * 300),
    ],
)
def test_every_form_of_one_schedule(value: Any) -> None:
    schedule = Schedule.parse(value)
    assert schedule == Schedule.parse("[12]*400+[4]*600")
    assert hash(schedule) == hash(Schedule.parse({0: 12, 400: 4}))
    assert (schedule.at(0), schedule.at(399), schedule.at(400), schedule.at(999)) == (12, 12, 4, 4)
    assert (schedule.max(), schedule.min(), schedule.constant) == (12, 4, False)
    assert str(schedule) == "[12]*400+[4]*600"


@pytest.mark.parametrize("value", [5000, 5000.0, "5000", "5e3", "[5000]*1000", {0: 5000}, {999: 5000}])
def test_constants(value: Any) -> None:
    schedule = Schedule.parse(value)
    assert schedule.constant
    assert schedule.to_yaml() == 5000
    assert schedule == Schedule.parse(5000)


def test_kinds() -> None:
    assert Schedule.parse("[2]*999+[3.0]", int).values[-1] == 3
    assert isinstance(Schedule.parse(2.0, int).at(0), int)
    flags = Schedule.parse("[True]*400+[False]*600", bool)
    assert (flags.at(399), flags.at(400)) == (True, False)
    assert flags.to_yaml() == "[True]*400+[False]*600"
    assert Schedule.parse("no", bool).to_yaml() is False
    assert Schedule.parse([True] * LENGTH, bool) == Schedule.parse("on", bool)
    assert Schedule.parse("[-0.5, +2]*500").at(0) == -0.5


def test_frames_are_for_animations_and_frame_zero_holds_in_a_still() -> None:
    schedule = Schedule.parse({"frames": {0: 5000, 40: "[1]*500+[2]*500"}})
    assert schedule.at(0) == 5000
    assert schedule.frames is not None
    assert [schedule.frames.at(frame).at(999) for frame in (0, 39, 40, 1000)] == [5000, 5000, 2, 2]
    assert schedule != Schedule.parse(5000)
    assert Schedule.parse(schedule.to_yaml()) == schedule
    late = Schedule.parse({"frames": {"7": 3, "3": 1}})
    assert late.at(0) == 1, "before the first key, the first holds"


def test_index_out_of_range() -> None:
    for index in (-1, 1000):
        with pytest.raises(IndexError, match="must be from 0 to 999"):
            Schedule.parse(1).at(index)


FORMS = 'write a number, "[12]*400+[4]*600" or {0: 12, 400: 4}'


@pytest.mark.parametrize(
    ("value", "kind", "sentence"),
    [
        ("[12]*400", float, "the schedule has 400 values, 600 too few; it needs exactly 1000"),
        ("[12]*1001", float, "the schedule has 1001 values, 1 too many; it needs exactly 1000"),
        ("[]", float, "the schedule has 0 values, 1000 too few; it needs exactly 1000"),
        ([1, 2], float, "the schedule has 2 values, 998 too few; it needs exactly 1000"),
        (
            "[1]*999999999",
            float,
            "the schedule has 999999999 values, 999998999 too many; it needs exactly 1000",
        ),
        (
            "[1]*1000000+[1]*9",
            float,
            "the schedule has 1000009 values, 999009 too many; it needs exactly 1000",
        ),
        (1.5, int, "1.5 is not a whole number"),
        ("[1.5]*1000", int, "1.5 is not a whole number (at index 0)"),
        (True, int, f"true is not a whole number; {FORMS}"),
        (None, float, f"nothing is not a number; {FORMS}"),
        (float("nan"), float, "nan is not a finite number"),
        (float("inf"), int, "inf is not a finite number"),
        (10**400, float, "the number is too large"),
        ("[1e999]*1000", float, "inf is not a finite number (at index 0)"),
        ("", float, f'"" is no schedule (at its end); {FORMS}'),
        ("[1,", float, f'"[1," is no schedule (at its end); {FORMS}'),
        ("[1]*1000 # no", float, f'"[1]*1000 # no" is no schedule (at "# no"); {FORMS}'),
        ("[1]*-5", float, f'"[1]*-5" is no schedule (at "-5"); {FORMS}'),
        ("[1]**1000", float, f'"[1]**1000" is no schedule (at "**1000"); {FORMS}'),
        ("[x]*1000", float, f'"[x]*1000" is no schedule (at "x]*1000"); {FORMS}'),
        ("(" * 50, float, f'"{"(" * 50}" is no schedule (at "{"(" * 10}"); {FORMS}'),
        ("[1]*400+[2", float, f'"[1]*400+[2" is no schedule (at its end); {FORMS}'),
        ("[1)", float, f'"[1)" is no schedule (at ")"); {FORMS}'),
        ("[1]*2.0", float, f'"[1]*2.0" is no schedule (at "2.0"); {FORMS}'),
        ("[1]*True", float, f'"[1]*True" is no schedule (at "True"); {FORMS}'),
        ("[1]-[2]", float, f'"[1]-[2]" is no schedule (at "-[2]"); {FORMS}'),
        ("[1+1]*1000", float, f'"[1+1]*1000" is no schedule (at "1+1]*1000"); {FORMS}'),
        ("[--1]*1000", float, f'"[--1]*1000" is no schedule (at "-1]*1000"); {FORMS}'),
        ("[-True]*1000", float, f'"[-True]*1000" is no schedule (at "True]*1000"); {FORMS}'),
        ("[[1]]*1000", float, f'"[[1]]*1000" is no schedule (at "[1]]*1000"); {FORMS}'),
        ("2*3*[1]", float, f'"2*3*[1]" is no schedule (at "3*[1]"); {FORMS}'),
        ({}, float, f"an empty map; {FORMS}"),
        ({1000: 1}, float, "1000 is no schedule index: a whole number from 0 to 999"),
        ({-1: 1}, float, "-1 is no schedule index: a whole number from 0 to 999"),
        ({0.5: 1}, float, "0.5 is no schedule index: a whole number from 0 to 999"),
        ({0: 1, "0": 2}, float, "schedule index 0 is written twice"),
        ({0: "x"}, float, '"x" is not a number (at index 0)'),
        ({"frames": 5}, float, "frames needs a map such as {0: 5000, 40: 8000}"),
        ({"frames": {}}, float, f"an empty map; {FORMS}"),
        ({"frames": {0: 1}, 5: 2}, float, "5 beside frames: put it under frames"),
        ({"frames": {0: {"frames": {0: 1}}}}, float, "frames inside frames"),
        ("maybe", bool, f'"maybe" is no schedule (at "maybe"); {FORMS}'),
        (2, bool, "2 is not true or false"),
    ],
)
def test_wrong_schedules(value: Any, kind: type, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Schedule.parse(value, kind)
    assert str(caught.value) == sentence


def test_faults_know_their_place() -> None:
    with pytest.raises(ValueErrors) as caught:
        Schedule.parse({"frames": {0: 1, 40: {0: 1, 500: "x"}, "y": 2}})
    assert [path for path, _ in caught.value.faults] == [("frames", "y")]
    with pytest.raises(ValueErrors) as caught:
        Schedule.parse({"frames": {0: "z", 40: {0: 1, 500: "x"}}})
    assert [path for path, _ in caught.value.faults] == [("frames", 0), ("frames", 40, 500)]


def test_a_schedule_is_shown_short() -> None:
    assert repr(Schedule.parse({0: 12, 400: 4})) == "Schedule.parse('[12]*400+[4]*600')"


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_RUNS = st.lists(st.tuples(_NUMBERS, st.integers(1, 400)), min_size=1, max_size=30)


@settings(deadline=None, derandomize=True)
@given(_RUNS)
def test_what_is_written_reads_back(runs: list[tuple[float, int]]) -> None:
    values = [value for value, count in runs for _ in range(count)]
    values = (values * LENGTH)[:LENGTH]
    schedule = Schedule.parse(values)
    assert Schedule.parse(schedule.to_yaml()) == schedule
    assert schedule.values == tuple(values)


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(0, 999), st.integers(-5, 5), min_size=1))
def test_maps_hold_until_the_next_key(keys: dict[int, int]) -> None:
    schedule = Schedule.parse(keys, int)
    for index in range(0, LENGTH, 37):
        before = [key for key in keys if key <= index]
        assert schedule.at(index) == keys[max(before) if before else min(keys)]


@settings(deadline=None, derandomize=True)
@given(st.text(alphabet="[]()+*-,.0123456789eE aTrue", max_size=40))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        assert len(Schedule.parse(text).values) == LENGTH
    except ValueError as error:
        assert str(error)


def test_hostile_texts_end_quickly_in_an_error() -> None:
    for text in HOSTILE:
        began = time.perf_counter()
        with pytest.raises(ValueError) as caught:
            Schedule.parse(text)
        assert time.perf_counter() - began < 5, text[:40]
        assert len(str(caught.value)) < 500
