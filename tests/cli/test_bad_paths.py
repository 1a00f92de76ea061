"""Every setting and argument that takes a path, with paths that no file can have: one sentence, exit 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from disco.__main__ import main
from disco.files.paths import path_fault
from tests.places import ROOT

BAD = {
    "a long name": "b" * 256,
    "a long path": "/".join(["c" * 200] * 30),
    "nobody's home": "~nosuch/x",
    "NUL": "a\0b",
    "half a character": "a\ud83d",
    "below a file": "file/x",
}
KEYS = ("init_image", "mask_path", "custom_path", "video_init_path", "video_mask_path", "image_prompts")


def commands(path: str) -> Iterator[list[str]]:
    yield [path + ".yaml", "--plan"]
    yield [path + ".png", "--plan"]
    yield ["show", path]
    yield ["import", path]
    yield ["video", path]
    yield ["video", "folder", "--out", path + ".mp4"]
    yield ["timelapse", path]
    yield ["--resume", "--out", path]
    for key in KEYS:
        yield ["--prompt", "x", "--plan", "--set", f"{key}={path}", "--set", "animation_mode=Video Input"]


@pytest.mark.parametrize("bad", BAD)
def test_every_path_of_the_command_line(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("folder").mkdir()
    for words in commands(BAD[bad]):
        assert main(words) == 2, words
        said = capsys.readouterr().err
        assert said.count("\n") <= 2 and len(said) < 1000, words
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize(
    "name, fault",
    [
        ("a" * 255, ""),
        ("a" * 256, "a name in it has 256 bytes, 255 at most are allowed"),
        ("é" * 128, "a name in it has 256 bytes, 255 at most are allowed"),
        ("/".join(["c" * 99] * 41), "it has 4099 bytes, a path at most 4095"),
        ("a\0b", "it holds a NUL character, which no file's name can"),
        ("a\ud83d", "it holds half a character (a lone surrogate), which no file's name can"),
        ("a\udcff", ""),  # a byte that is no UTF-8, as the system hands it over
    ],
)
def test_why_no_file_can_have_a_path(name: str, fault: str) -> None:
    assert path_fault(name) == fault


def test_settings_files_name_the_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(f"init_image: {'a' * 300}.png\nextends: {'b' * 300}.yaml\n")
    assert main([str(tmp_path / "a.yaml")]) == 2
    said = capsys.readouterr().err
    assert "a.yaml:1: init_image: no such file: aaa" in said
    assert "...: a name in it has 304 bytes, 255 at most are allowed" in said
    assert f"{'b' * 300}" not in said and "a name in it has 305 bytes" in said


@pytest.mark.parametrize("words", [["--plan", "--prompt", "x"], ["--prompt", "x"]])
def test_a_batch_name_is_refused_before_anything_is_made(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--set", f"batch_name={'b' * 250}"]) == 2
    assert "has 250 bytes: a name may have 100" in capsys.readouterr().err and not os.listdir(tmp_path)


@pytest.mark.parametrize("digits, allowed", [(300, True), (301, False), (5000, False)])
def test_numbers_of_very_many_digits(
    digits: int, allowed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"text_prompts": {"0": ["a"]}, "clip_guidance_scale": 5000, "width": 512, "height": 512, "seed": 1}
    text = json.dumps(old, indent=1).replace("5000", "9" * digits)
    (tmp_path / "old.txt").write_text(text)
    assert main(["import", str(tmp_path / "old.txt")]) == (0 if allowed else 2)
    said = capsys.readouterr().err
    if not allowed:
        assert said == f"{tmp_path / 'old.txt'}:7: a number of {digits} digits, 300 at most are allowed\n"


@pytest.mark.parametrize("option", ["--images", "--resume"])
def test_numbers_of_very_many_digits_as_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--prompt", "x", f"{option}={'9' * 5000}"])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and f"argument {option}: '999" in said and "9" * 99 not in said


@pytest.mark.skipif(sys.platform == "win32", reason="there it cannot be deleted")
@pytest.mark.parametrize("words", ["", "--prompt x --plan", "models list", "show a.png", "import a.txt"])
def test_a_deleted_current_folder(words: str, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    command = f'cd "{folder}"; rmdir "{folder}"; "{sys.executable}" "{ROOT / "run.py"}" {words}'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "the current folder is gone or cannot be entered (No such file or directory): change to another one "
        "with cd\n"
    )


@pytest.mark.parametrize("folder", ["b" * 300, "~nosuch/models", "file/models", "\udcff"])
def test_models_folders_that_cannot_be(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    for name in ("DISCO_MODELS", "TORCH_HOME"):
        monkeypatch.setenv(name, folder)
    assert main(["models", "list"]) == 0
    assert main(["--prompt", "x", "--plan"]) == 0
