"""prompts: the weight after the colon, the ways to write prompts, and the sentences for what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disco.errors import ValueErrors
from disco.settings.prompts import (
    ImagePrompt,
    Prompt,
    dump_prompts,
    image_prompt,
    parse_image_prompts,
    parse_prompts,
    prompt_path,
    prompts_at,
    split_weight,
    text_prompt,
    unused_frames,
    weight_warning,
)
from disco.settings.schedules import Schedule
from tests.places import GOLDEN

GOLD = json.loads((GOLDEN / "g_text_and_schedules.json").read_text())
TWO = Schedule.parse(2)


@pytest.mark.parametrize(("text", "parts"), GOLD["parse_prompt"])
def test_weights_as_the_original_reads_them(text: str, parts: list[Any]) -> None:
    assert split_weight(text) == tuple(parts)


@pytest.mark.parametrize(
    "text",
    [
        "a castle: at night",
        "C:\\pictures\\a.png",
        "https://example.org:8080/i.png",
        "Rick and Morty: Infinity",
        "a cat:",
        "a cat:nan",
        "a cat:1_0",
        "a cat:--1",
        "a cat:1e999",
    ],
)
def test_what_is_no_number_belongs_to_the_text(text: str) -> None:
    assert split_weight(text) == (text, 1.0)


def test_frames_as_the_original_holds_them() -> None:
    for case in GOLD["split_prompts"]:
        prompts = parse_prompts(case["in"])
        for frame in range(case["max_frames"]):
            assert [prompt.raw for prompt in prompts_at(prompts, frame)] == case["out"][frame]


@pytest.mark.parametrize(
    "value",
    [
        "a cat:2",
        ["a cat:2"],
        {0: "a cat:2"},
        {0: ["a cat:2"]},
        {"0": ["a cat:2"]},
        [Prompt("a cat", TWO, raw="a cat:2")],
        {"text": "a cat", "weight": 2, "raw": "a cat:2"},
    ],
)
def test_every_form_of_one_prompt(value: Any) -> None:
    assert parse_prompts(value) == {0: (Prompt("a cat", TWO, raw="a cat:2"),)}


def test_entries() -> None:
    entry = {"text": "a cat: 2", "weight": {0: 1, 500: -1}, "clip_models": "pocket-vit"}
    (prompt,) = parse_prompts(entry)[0]
    assert (prompt.text, prompt.raw, prompt.clip_models) == ("a cat: 2", "a cat: 2", ("pocket-vit",))
    assert (prompt.weight.at(0), prompt.weight.at(500)) == (1, -1)


def test_image_prompts() -> None:
    value = {0: ["a.png:0.5", "https://x.org:80/b.png"], 9: {"image": "c: 5.png", "weight": -1}}
    assert parse_image_prompts(value) == {
        0: (ImagePrompt("a.png", Schedule.parse(0.5)), ImagePrompt("https://x.org:80/b.png")),
        9: (ImagePrompt("c: 5.png", Schedule.parse(-1)),),
    }


@pytest.mark.parametrize("nothing", [None, [], {}, {0: []}, {0: None}])
def test_nothing_is_no_prompt(nothing: Any) -> None:
    assert parse_prompts(nothing) == {}
    assert prompts_at({}, 0) == ()


def test_a_still_uses_the_first_frame() -> None:
    prompts = parse_prompts({100: "b", 30: "a"})
    assert list(prompts) == [30, 100]
    assert prompts_at(prompts, 0)[0].text == "a"
    assert unused_frames(prompts) == [100]
    assert unused_frames(parse_prompts("a")) == []
    assert unused_frames({}) == []


@pytest.mark.parametrize("text", ["Blade Runner: 2049", "time 12:30", "a cat : 2", "a cat:2049", "a cat: 2"])
def test_doubtful_weights_show_how_to_write_each(text: str) -> None:
    warning = weight_warning(text_prompt(text))
    assert warning is not None
    assert f'{{text: "{text}"}}' in warning


def test_the_warning_in_full() -> None:
    assert weight_warning(text_prompt("Blade Runner: 2049")) == (
        '"Blade Runner: 2049" is read as "Blade Runner" with weight 2049. Write {text: "Blade Runner", '
        'weight: 2049} to say so, or {text: "Blade Runner: 2049"} if the number belongs to the text'
    )


@pytest.mark.parametrize("text", ["a cat", "a cat:2", "a cat:-0.5", "a castle: at night", "weight five:5"])
def test_plain_weights_need_no_warning(text: str) -> None:
    assert weight_warning(text_prompt(text)) is None


def test_a_written_out_entry_needs_no_warning() -> None:
    (prompt,) = parse_prompts({"text": "Blade Runner: 2049"})[0]
    assert (prompt.text, prompt.weight) == ("Blade Runner: 2049", Schedule.parse(1))
    assert weight_warning(prompt) is None


NEEDS = "write a text or {text, weight, clip_models}"


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        (5, [((), f'5 is no prompt: {NEEDS}; a number as a text needs quotes: "5"')]),
        ("", [((), "an empty prompt: write some words")]),
        (":3", [((), "an empty prompt: write some words")]),
        ([["a"]], [((0,), f"['a'] is no prompt: {NEEDS}")]),
        (
            {"Blade Runner": 2049},
            [
                (
                    ("Blade Runner",),
                    '"Blade Runner" is no frame number. A text with ": " in it needs quotes: '
                    '"Blade Runner: 2049"',
                )
            ],
        ),
        (
            ["a", {"a castle": "at night"}],
            [((1,), 'a text with ": " in it needs quotes: "a castle: at night"')],
        ),
        ({-1: "a"}, [((-1,), "-1 is no frame number: a whole number from 0")]),
        ({0: "a", "0": "b"}, [(("0",), "frame 0 is written twice")]),
        ({"text": 5}, [(("text",), 'text: must be text; put it in quotes: "5"')]),
        (
            {"text": "a", "wieght": 2},
            [(("wieght",), '"wieght" is no part of a prompt: allowed are text, weight, clip_models')],
        ),
        ({"weight": 2}, [((), "a prompt needs text: write {text, weight, clip_models}")]),
        (
            {3: [{"text": "a", "weight": {0: 1, 5: "x"}}, ""]},
            [
                ((3, 0, "weight", 5), 'weight: "x" is not a number (at index 5)'),
                ((3, 1), "an empty prompt: write some words"),
            ],
        ),
        (
            {"text": "a", "clip_models": [5]},
            [(("clip_models",), "clip_models: write a list of names, each one of clip_models")],
        ),
    ],
)
def test_wrong_prompts(value: Any, faults: list[tuple[tuple[Any, ...], str]]) -> None:
    with pytest.raises(ValueError) as caught:
        parse_prompts(value)
    error = caught.value
    assert (list(error.faults) if isinstance(error, ValueErrors) else [((), str(error))]) == faults


def test_wrong_image_prompts() -> None:
    with pytest.raises(ValueError, match="an empty image prompt: write a path or an address"):
        parse_image_prompts([" :2"])
    with pytest.raises(ValueError, match="a prompt needs image"):
        parse_image_prompts({"weight": 1})


@pytest.mark.parametrize(
    ("value", "path"),
    [("a", ()), (["x", "a"], (1,)), ({0: ["x", "a"]}, (0, 1)), ({"0": "a"}, ("0",)), ({"text": "a"}, ())],
)
def test_the_place_of_a_prompt(value: Any, path: tuple[Any, ...]) -> None:
    assert prompt_path(value, 0, 1) == path


_WEIGHTS = st.floats(-1e6, 1e6) | st.just(1.0)
_TEXTS = st.text(min_size=1).filter(lambda text: bool(text.strip()))


def test_the_line_break_of_a_yaml_block_is_no_part_of_a_prompt() -> None:
    assert parse_prompts("a cat:2\n")[0][0] == text_prompt("a cat:2")
    written = parse_prompts({"text": "a cat\n"})
    assert parse_prompts(dump_prompts(written)) == written


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(_TEXTS, _WEIGHTS, st.booleans()), min_size=1, max_size=4))
def test_text_prompts_read_back(entries: list[tuple[str, float, bool]]) -> None:
    typed = [
        f"x{text}:{weight!r}" if plain else {"text": text, "weight": weight}
        for text, weight, plain in entries
    ]
    prompts = parse_prompts({0: typed, 7: typed[:1]})
    assert parse_prompts(dump_prompts(prompts)) == prompts
    assert parse_prompts(json.loads(json.dumps(dump_prompts(prompts)))) == prompts


@settings(deadline=None, derandomize=True)
@given(_TEXTS, _WEIGHTS)
def test_image_prompts_read_back(source: str, weight: float) -> None:
    for prompt in (
        ImagePrompt(source, Schedule.parse(weight), ("a",)),
        image_prompt(f"{source}x:{weight!r}"),
    ):
        assert parse_image_prompts(dump_prompts({0: [prompt]})) == {0: (prompt,)}
