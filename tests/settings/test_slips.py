"""Everyday slips in a settings file: the line itself, and the slip by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.errors import SettingsError, closest
from disco.settings.load import load_runs, run_from_mapping
from disco.settings.model import KEYS
from disco.settings.prompts import lookalike_warning, parse_prompts, split_weight, text_prompt
from disco.weights.registry import registry
from tests.import_samples import SAMPLES

QUOTES = "needs quotes around all of it:"
BLANK = "a blank is missing after the colon: write"
SLIPS = [
    ("steps:50", '"steps:50" is no setting: it needs a blank after the colon: steps: 50'),
    ("steps\uff1a50", '"steps\uff1a50" is no setting: it needs a plain colon and a blank: steps: 50'),
    ("steps = 50", '"steps = 50" is no setting: it needs a colon in place of "=": steps: 50'),
    ("steps=50", '"steps=50" is no setting: it needs a colon in place of "=": steps: 50'),
    ("steps 50", '"steps 50" is no setting: it needs a colon after the name: steps: 50'),
    ("steps = 50\neta = 0.5", '"steps = 50" is no setting: it needs a colon in place of "=": steps: 50'),
    (
        "text_prompts: {castle|lake}",
        'text_prompts: "castle|lake" is no frame number. '
        'A text in curly brackets needs quotes: "{castle|lake}"',
    ),
    ('text_prompts: "castle" on a hill', f"a text that begins with \" {QUOTES} '\"castle\" on a hill'"),
    ("text_prompts: 'castle' on a hill", f"a text that begins with ' {QUOTES} \"'castle' on a hill\""),
    ("text_prompts: [castle] on a hill", f'a text that begins with [ {QUOTES} "[castle] on a hill"'),
    ("text_prompts: {castle} on a hill", f'a text that begins with {{ {QUOTES} "{{castle}} on a hill"'),
    ("eta: [1", '[ is not closed: write ] at the end of "eta: [1"'),
    ("eta: [1\nsteps: 50", '[ is not closed: write ] at the end of "eta: [1"'),
    ('text_prompts: ["a", "b"', '[ is not closed: write ] at the end of "text_prompts: ["a", "b""'),
    ('text_prompts: {0: ["x"]', '{ is not closed: write } at the end of "text_prompts: {0: ["x"]"'),
    ('text_prompts: "a cat', '" is not closed: write " at the end of "text_prompts: "a cat"'),
    ("text_prompts: 'a cat", "' is not closed: write ' at the end of \"text_prompts: 'a cat\""),
    ("text_prompts: @home", f'a text that begins with @ {QUOTES} "@home"'),
    ("text_prompts: *star", f'a text that begins with * {QUOTES} "*star"'),
    (
        "text_prompts: !cat",
        '!cat: tags are not allowed in settings; a text that begins with ! needs quotes: "!cat"',
    ),
    ("text_prompts: 'a cat's hat'", "' inside a text in such quotes: write \"a cat's hat\""),
    ("text_prompts: {0:'a cat', 16:'a dog'}", f"text_prompts: {BLANK} 0: 'a cat'"),
    ("eta: {0:0.5, 400:1}", f"eta: {BLANK} 0: 0.5"),
    ("zoom: {0:1, 10:1.05}", f"zoom: {BLANK} 0: 1"),
    ("  steps: 50", "indented further than the line above it: begin both at the same column"),
    ("text_prompts: a cat: a dog", 'a second ": " in the line: put a text that holds ": " in quotes'),
    ("init_image: .", "init_image: . is a folder; name a file in it"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), SLIPS, ids=[line for line, _ in SLIPS])
def test_a_slip_is_named_at_its_line(line: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(f"diffusion_model: pocket\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_runs([path])
    assert caught.value.problems[0] == f"{path}:2: {sentence}"


def test_a_list_that_is_indented_unevenly(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("text_prompts:\n  - a cat\n - a dog\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_runs([path])
    told = "indented otherwise than the lines it belongs to: begin them at the same column"
    assert caught.value.problems == (f"{path}:3: {told}",)


def test_the_slips_of_users_are_all_here() -> None:
    lines = (SAMPLES / "cases" / "F15_messages.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert set(lines) <= {line for line, _ in SLIPS}


@pytest.mark.parametrize("key", ["steps", "eta", "text_prompts", "width_height", "diffusion_model"])
@pytest.mark.parametrize("sign", [":", " =", "=", " ", "\uff1a"])
def test_a_slip_alone_in_the_file(key: str, sign: str, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(f"{key}{sign}50\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_runs([path])
    assert f'{path}:1: "{key}{sign}' in str(caught.value) and f": {key}: " in str(caught.value)


# ---- prompts ----


def test_a_frame_without_a_blank_is_no_prompt() -> None:
    with pytest.raises(SettingsError, match=r"write 0: \['a cat', 'fog:-0\.5'\]"):
        load_runs([SAMPLES / "cases" / "F9_no_blank.yaml"])


@pytest.mark.parametrize("text", ["0:['a cat']", '12:"a cat"', "0:'a cat'", "3:{text: a cat}", " 0:[a, b]"])
def test_every_frame_without_a_blank(text: str) -> None:
    with pytest.raises(ValueError, match=r"a blank is missing after the colon: write [0-9]+: "):
        parse_prompts(text)


@pytest.mark.parametrize("text", ["2001: a space odyssey", "12:30 at noon", "0:1", "a cat:2", "4:3 portrait"])
def test_texts_with_numbers_and_colons_stay_texts(text: str) -> None:
    assert parse_prompts(text)[0][0].raw == text
    assert parse_prompts([text]) == parse_prompts(text)


def test_a_unicode_minus_is_a_minus() -> None:
    (run,) = load_runs([SAMPLES / "cases" / "F10_minus.yaml"])
    assert [prompt.weight.at(0) for prompt in run.settings.text_prompts[0]] == [2, -1]


@pytest.mark.parametrize("sign", "\u2212\u2013\ufe63\uff0d-")
@pytest.mark.parametrize("number", ["1", "0.5", ".5", "1e-1", "2 "])
def test_every_minus_is_a_minus(sign: str, number: str) -> None:
    assert split_weight(f"fog:{sign}{number}") == ("fog", -float(number))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("fog:-1,5", "fog:-1.5"),
        ("fog\uff1a-1", "fog:-1"),
        ("fog\uff1a\u22121", "fog:-1"),
        ("fog:2x", "fog:2"),
        ("fog:x2", "fog:2"),
        ("fog:50%", "fog:0.5"),
        ("fog:~2", "fog:2"),
    ],
)
def test_what_looks_like_a_weight_and_is_none_is_said(text: str, written: str, tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(f"diffusion_model: pocket\ntext_prompts:\n  - a lake\n  - '{text}'\n", encoding="utf-8")
    (run,) = load_runs([path])
    (notice,) = [notice for notice in run.notices if "text_prompts" in notice]
    assert notice.startswith(f'{path}:4: text_prompts: "{text}" has the weight 1: ')
    assert f'Write "{written}" for a weight, or {{text: "{text}"}} if it belongs to the text' in notice
    path.write_text(f"diffusion_model: pocket\ntext_prompts:\n  - text: '{text}'\n", encoding="utf-8")
    assert not [notice for notice in load_runs([path])[0].notices if "text_prompts" in notice]


@pytest.mark.parametrize(
    "text", ["a cat", "a cat:2", "a castle: at night", "C:/a.png", "ratio 16\uff1a9", "part 1: 2 cats", "x:-"]
)
def test_texts_that_need_no_such_warning(text: str) -> None:
    assert lookalike_warning(text_prompt(text)) is None


# ---- did you mean ----


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("512x512_diffusion", "512x512_diffusion_uncond_finetune_008100"),
        ("256x256_diffusion", "256x256_diffusion_uncond"),
        ("watercolor", "watercolordiffusion"),
        ("finetune_008100", "512x512_diffusion_uncond_finetune_008100"),
        ("pockt", "pocket"),
    ],
)
def test_a_part_of_a_network_is_that_network(typed: str, meant: str) -> None:
    assert closest(typed, registry().names("diffusion")) == meant


@pytest.mark.parametrize("network", registry().names("diffusion"))
def test_the_first_half_of_every_network_gives_one_that_begins_so(network: str) -> None:
    half = network[: len(network) // 2 + 1]
    near = closest(half, registry().names("diffusion"))
    assert near is not None and (len(half) < 4 or half.lower() in near.lower())


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelled_key_is_still_found(key: str) -> None:
    assert closest(key[:2] + key[3:], KEYS) in KEYS


def test_a_sentence_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        load_runs(["a lighthouse at night"])
    assert str(caught.value).endswith('. A sentence? --prompt "a lighthouse at night"')


# ---- an idle setting ----


@pytest.mark.parametrize("sides", [(64, 64), (192, 512), (224, 256), (256, 256), (512, 192)])
def test_a_power_without_effect_at_the_size_is_said(sides: tuple[int, int]) -> None:
    size = [side // 64 * 64 for side in sides]
    run = run_from_mapping(
        {"diffusion_model": "256x256_diffusion_uncond", "width_height": size, "cut_ic_pow": 5}
    )
    told = f"settings: cut_ic_pow: has no effect at {size[0]}x{size[1]}: no inner cut is smaller than"
    assert any(notice.startswith(told) for notice in run.notices) == (min(size) <= 224)


def test_it_is_not_said_where_some_clip_sees_less() -> None:
    values = {"width_height": [128, 128], "cut_ic_pow": 5}
    assert not [notice for notice in run_from_mapping(values).notices if "cut_ic_pow" in notice]
    small = run_from_mapping({**values, "width_height": [96, 64]})
    assert [notice for notice in small.notices if "cut_ic_pow: has no effect at 96x64" in notice]
