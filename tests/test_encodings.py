"""Every encoding by every reader of text, and every console by every verb."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disco.__main__ import main
from disco.errors import DiscoError, InputError, SettingsError
from disco.settings.importers.reading import import_settings
from disco.settings.load import load_runs, run_from_mapping
from tests.import_samples import SAMPLES

CASES = SAMPLES / "cases"
WORDS = "caf\u00e9 \U0001f600 \u706f\u5854"
READ = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-16-be-mark")
REFUSED = ("utf-16-le", "utf-16-be", "utf-32")


def encoded(text: str, encoding: str) -> bytes:
    if encoding.endswith("-mark"):
        return ("\ufeff" + text).encode(encoding.removesuffix("-mark"))
    return text.encode(encoding)


def native(folder: Path, encoding: str) -> Any:
    file = folder / "new.yaml"
    file.write_bytes(encoded(f"text_prompts: [{WORDS}]\nn_batches: 1\n", encoding))
    return load_runs([file])[0].settings.text_prompts[0][0].text


def extended(folder: Path, encoding: str) -> Any:
    (folder / "base.yaml").write_bytes(encoded(f"text_prompts: [{WORDS}]\n", encoding))
    (folder / "new.yaml").write_text("extends: base.yaml\n", encoding="utf-8")
    return load_runs([folder / "new.yaml"])[0].settings.text_prompts[0][0].text


def imported_json(folder: Path, encoding: str) -> Any:
    file = folder / "old(0)_settings.txt"
    old = {"text_prompts": {"0": [WORDS]}, "seed": 1, "width": 512, "height": 512}
    file.write_bytes(encoded(json.dumps(old, ensure_ascii=False), encoding))
    return import_settings(file).run["text_prompts"][0]


def imported_yaml(folder: Path, encoding: str) -> Any:
    file = folder / "old.yml"
    file.write_bytes(encoded(f"text_prompts: [{WORDS}]\nseed: 1\ngif_fps: 20\n", encoding))
    return import_settings(file).run["text_prompts"][0]


READERS: tuple[Callable[[Path, str], Any], ...] = (native, extended, imported_json, imported_yaml)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("encoding", READ)
def test_every_reader_reads_the_same_encodings(
    read: Callable[[Path, str], Any], encoding: str, tmp_path: Path
) -> None:
    assert read(tmp_path, encoding) == WORDS


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("encoding", REFUSED)
def test_every_reader_refuses_the_same_encodings(
    read: Callable[[Path, str], Any], encoding: str, tmp_path: Path
) -> None:
    with pytest.raises(DiscoError, match="save it as UTF-8"):
        read(tmp_path, encoding)


@pytest.mark.parametrize("read", READERS[:2], ids=lambda read: read.__name__)
@pytest.mark.parametrize("encoding", ["gb18030", "utf-7"])
def test_our_own_settings_are_never_guessed_at(
    read: Callable[[Path, str], Any], encoding: str, tmp_path: Path
) -> None:
    if encoding == "gb18030":
        with pytest.raises(SettingsError, match=r":1: the file is not UTF-8 text \(byte 0x[0-9a-f]{2}\)"):
            read(tmp_path, encoding)
    else:  # ASCII, whatever it was meant to be
        assert read(tmp_path, encoding) != WORDS


@pytest.mark.parametrize("read", READERS[2:], ids=lambda read: read.__name__)
@pytest.mark.parametrize("encoding", ["gb18030", "cp1252", "cp1251", "gbk"])
def test_a_guess_is_always_said(
    read: Callable[[Path, str], Any], encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"cp1252": "caf\u00e9", "cp1251": "\u043c\u043e\u0440\u0435"}.get(encoding, "\u706f\u5854")
    monkeypatch.setattr(sys.modules[__name__], "WORDS", words)
    read(tmp_path, encoding)
    (old,) = tmp_path.iterdir()
    assert "the file is not UTF-8: read as " in import_settings(old).report().splitlines()[1]


def test_a_chinese_windows_file_is_read_and_said() -> None:
    imported = import_settings(CASES / "F8_gbk(0)_settings.txt")
    assert imported.run["text_prompts"] == ["\u706f\u5854"]
    told = "the file is not UTF-8: read as GBK. Are the prompts right? If not, save it as UTF-8"
    assert imported.warnings == [told]


@pytest.mark.parametrize(
    "words", ["caf\u00e9", "gr\u00fcne Stra\u00dfe", "\u00c0 la p\u00eache", "na\u00efve \u20ac5"]
)
def test_a_western_windows_file_is_not_taken_for_a_chinese_one(words: str, tmp_path: Path) -> None:
    path = tmp_path / "old(0)_settings.txt"
    old = {"seed": 1, "width": 512, "height": 512, "text_prompts": {"0": [words]}}
    path.write_bytes(json.dumps(old, ensure_ascii=False).encode("cp1252"))
    imported = import_settings(path)
    assert imported.run["text_prompts"] == [words]
    assert "read as Windows-1252" in imported.warnings[0]


def test_an_utf_16_file_is_imported() -> None:
    assert import_settings(CASES / "F19_utf16(0)_settings.txt").run["text_prompts"] == [
        "a lake:2",
        "fog:-0.5",
    ]


# ---- halves of characters ----


def test_emoji_as_json_escapes_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    path = CASES / "F6_emoji.json"
    assert load_runs([path])[0].settings.text_prompts[0][0].text == "a lake \U0001f600"
    assert main([str(path), "--plan"]) == 0
    assert "\U0001f600" in capsys.readouterr().out


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ude00\\ud83d"])
def test_half_a_character_is_an_error_with_its_line(half: str, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(f'n_batches: 1\ntext_prompts: "a {half} b"\n')
    with pytest.raises(SettingsError) as caught:
        load_runs([new])
    assert str(caught.value).startswith(f"{new}:2: half a character (U+D")
    old = tmp_path / "old.txt"
    old.write_text(
        f'{{"seed": 1,\n"width": 512, "height": 512,\n"text_prompts": {{"0": ["\\ud83d\\ude00 {half} b"]}}}}'
    )
    with pytest.raises(InputError) as refused:
        import_settings(old)
    assert str(refused.value).startswith(f"{old}:3: half a character (U+D")
    assert str(refused.value).endswith("without its other half: write the character itself")


def test_half_a_character_from_python() -> None:
    with pytest.raises(SettingsError, match="settings: half a character"):
        run_from_mapping({"text_prompts": "a \ud83d"})
    assert run_from_mapping({"text_prompts": "\ud83d\ude00"}).settings.text_prompts[0][0].text == "\U0001f600"


# ---- consoles ----

CONSOLES = ("ascii", "latin-1", "cp437", "cp850", "cp1252", "cp932", "gbk", "koi8-r", "utf-8", "utf-16")


@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize("verb", ["plan", "import", "models", "help", "error"])
def test_every_printed_line_survives_every_console(
    console: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = tmp_path / "\U0001f600.yaml", tmp_path / "\u706f(0)_settings.txt"
    new.write_text(f"text_prompts: ['{WORDS}:\u22121', a:2]\nn_batches: 1\nsteps: 60\n", encoding="utf-8")
    old.write_text(json.dumps({"seed": 1, "width": 512, "height": 512, "text_prompts": {"0": [WORDS]}}))
    words = {
        "plan": [str(new), "--plan", "--set", f"batch_name={WORDS}"],
        "import": ["import", str(old)],
        "models": ["models", "list"],
        "help": [],
        "error": [str(new), "--set", f"{WORDS}=1"],
    }[verb]
    out, err = (io.TextIOWrapper(io.BytesIO(), console, errors="strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(words) == (2 if verb == "error" else 0)
    out.flush()
    if verb == "import":
        assert WORDS in out.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
