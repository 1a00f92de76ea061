"""A value means the same as number, as text and as a boolean, in every setting."""

from __future__ import annotations

import time
from typing import Any

import pytest

from disco.settings.kinds import _listed, read_value
from disco.settings.model import KEYS, Settings, facts_of, plain_values

PLAIN = plain_values(Settings())
KINDS = {key: facts_of(key)["kind"] for key in KEYS}
SWITCHES = [key for key in KEYS if KINDS[key] in ("bool", "schedule:bool")]
NUMBERS = {
    key: max(facts_of(key).get("ge", 0), min(facts_of(key).get("le", 3), 3))
    for key in KEYS
    if KINDS[key]
    in (
        *("int", "float", "digits", "schedule:int", "schedule:float", "keyframes", "seed", "auto_int"),
        *("latest_int", "final_int", "steps", "saves", "shares"),
    )
}


@pytest.mark.parametrize("key", SWITCHES)
def test_a_switch_in_every_dress(key: str) -> None:
    for on in (True, 1, 1.0, "1", "true", "True", "TRUE", "yes", "on"):
        assert read_value(on, facts_of(key)) == read_value(True, facts_of(key))
    for off in (False, 0, 0.0, "0", "false", "False", "no", "off"):
        assert read_value(off, facts_of(key)) == read_value(False, facts_of(key))
    for wrong in (2, "2", 0.5, "maybe", ""):
        with pytest.raises(ValueError, match=r"is not allowed|not true or false|is no schedule"):
            read_value(wrong, facts_of(key))


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_in_every_dress(key: str) -> None:
    number = NUMBERS[key]
    wanted = read_value(number, facts_of(key))
    for dress in (str(number), f" {number} ", float(number), f"{float(number)}"):
        assert read_value(dress, facts_of(key)) == wanted
    for wrong in (True, "True", "1 2", "1e999"):
        with pytest.raises(ValueError):
            read_value(wrong, facts_of(key))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("width_height", "[512, 256]", [512, 256]),
        ("width_height", ["512", "256"], [512, 256]),
        ("intermediate_saves", "[10, 20]", [10, 20]),
        ("transformation_percent", "[0.09, 0.5]", [0.09, 0.5]),
        ("transformation_percent", "(0.09,)", [0.09]),
        ("eta", {0: "0.5", 400: "1"}, {0: 0.5, 400: 1}),
    ],
)
def test_lists_and_maps_of_numbers_as_text(key: str, text: Any, value: Any) -> None:
    assert read_value(text, facts_of(key)) == read_value(value, facts_of(key))


def test_values_that_a_run_saves_read_the_same_as_text() -> None:
    plain = {key: value for key, value in PLAIN.items() if isinstance(value, (bool, int, float))}
    assert Settings(**{key: str(value) for key, value in plain.items()}) == Settings(**plain)


def test_a_list_as_a_text_takes_no_time_for_blanks() -> None:
    """Once quadratic in them: a minute for 100,000."""
    began = time.monotonic()
    for text in ("[" + " " * 1_000_000, "[" + " " * 1_000_000 + "]", "(0.1," + " " * 1_000_000 + "0.2)"):
        _listed(text)
    assert time.monotonic() - began < 1
    assert _listed("(0.1," + " " * 9 + "0.2,)") == ["0.1", "0.2"] and _listed("[") == "["
