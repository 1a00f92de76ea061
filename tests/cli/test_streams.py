"""Closed or full stdout and stderr, and pipes that nobody reads: no traceback, and the run goes on."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from disco.__main__ import main
from disco.cli.streams import SafeStream, printable, safe_streams, unsaid
from disco.media.images import png_bytes
from disco.settings.load import dump_yaml, run_from_mapping
from tests.places import ROOT

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
LOSSES = [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "| true"]


def shell(words: str, redirection: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" "{ROOT / "run.py"}" {words} {redirection}; exit "${{PIPESTATUS[0]}}"'
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=folder, env=env)


@pytest.mark.parametrize("redirection", LOSSES)
@pytest.mark.parametrize("words", ["", "--help", "models list", "show nothing.png"])
def test_a_verb_that_prints(words: str, redirection: str, tmp_path: Path) -> None:
    done = shell(words, redirection, tmp_path)
    is_wrong = words.startswith("show")
    is_cut = ">/dev/full" in redirection and "2>/dev/full" not in redirection and not is_wrong
    assert done.returncode == (2 if is_wrong else 1 if is_cut else 0), done.stderr
    for word in ("Traceback", "Exception", "lost sys.std"):
        assert word not in done.stdout + done.stderr
    if is_cut and "2>" not in redirection:
        assert done.stderr == "stdout: No space left on device; not everything was printed\n"


@pytest.mark.parametrize("redirection", [">&- 2>&-", ">/dev/full"])
def test_a_run_goes_on(redirection: str, tmp_path: Path) -> None:
    """What could not be said stands in the report."""
    values = {
        "text_prompts": ["a red house"],
        "batch_name": "mute",
        "width_height": [64, 64],
        "steps": 2,
        "n_batches": 2,
        "cut_ic_pow": 1,
        "clip_models": ["pocket-conv"],
        "init_scale": 5000,
    }
    (tmp_path / "mute.yaml").write_text(dump_yaml(run_from_mapping(values)))
    done = shell("mute.yaml", redirection, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "images_out" / "mute"
    assert [path.name for path in sorted(folder.glob("*_000?.png"))] == [
        f"mute(0)_000{k}.png" for k in (0, 1)
    ]
    status = json.loads((folder / "mute(0)_status.json").read_text())
    assert status["state"] == "finished"
    if redirection == ">/dev/full":
        assert "stdout: No space left on device; the pictures are saved all the same\n" in done.stderr
        assert all(notice in done.stderr for notice in status["notices"])


@pytest.mark.skipif(sys.platform == "win32", reason="numbers of POSIX")
def test_a_closed_stream_gives_its_number_to_no_file(tmp_path: Path) -> None:
    code = (
        "from disco.cli.streams import safe_streams\n"
        "with safe_streams():\n"
        "    import os\n"
        f"    opened = os.open({str(tmp_path / 'picture')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "    os.write(1, b'a library prints'); os.write(2, b'a library prints')\n"
        "    assert opened > 2, opened\n"
    )
    command = f'"{sys.executable}" -c "{code}" <&- >&- 2>&-'
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(["bash", "-c", command], env=env).returncode == 0
    assert (tmp_path / "picture").read_bytes() == b""


class Failing(io.StringIO):
    """Every write fails with this error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.failure = error

    def write(self, text: str) -> int:
        raise self.failure


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "the disk is full"), "the disk is full"),
        (OSError(errno.EIO, "the line is cut"), "the line is cut"),
        (BrokenPipeError(errno.EPIPE, "nobody reads"), ""),
        (OSError(errno.EBADF, "closed"), ""),
        (ValueError("I/O operation on closed file"), ""),
    ],
)
def test_every_error_of_a_stream(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Failing(error))
    with safe_streams():
        print("one")
        print("two", flush=True)
        assert isinstance(sys.stdout, SafeStream)
        assert unsaid(sys.stdout) == said
        assert sys.stdout.error is not None and not sys.stdout.isatty()


def test_a_busy_terminal_is_written_to_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Failing(BlockingIOError(errno.EAGAIN, "busy"))
    monkeypatch.setattr(sys, "stdout", stream)
    with safe_streams():
        print("one")
        monkeypatch.setattr(stream, "write", lambda text: io.StringIO.write(stream, text))
        print("two")
    assert stream.getvalue().strip() == "two"


def test_no_streams_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw.exe."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with safe_streams():
        print("one", file=sys.stdout)
        print("two", file=sys.stderr)
    assert sys.stdout is None and sys.stderr is None


# texts from outside

STEERING = [*(chr(n) for n in (*range(9), *range(11, 32), *range(127, 160))), *"\u061c\u200e\u200f"]
STEERING += [chr(n) for n in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))]
HOSTILE = {
    "title": "\x1b]0;owned\x07",
    "colour": "\x1b[31mred\x1b[0m",
    "screen": "\x1b[2J\x1b[H",
    "up": "a\x1b[Agone",
    "overwritten": "bad\rgood",
    "c1": "\x9b31m",
    "bidi": "exe.\u202egnp",
    "backspace": "bad\b\b\bgood",
}


@pytest.mark.parametrize("character", STEERING, ids=lambda character: f"U+{ord(character):04X}")
def test_what_steers_a_terminal_is_escaped(character: str) -> None:
    shown = printable(f"a{character}b")
    assert shown.isprintable() and shown == f"a{printable('x' + character)[1:]}b"
    assert json.loads('"' + shown.replace("\\x", "\\u00") + '"') == f"a{character}b"


def test_words_of_every_language_stay() -> None:
    text = "caf\u00e9 \u706f\u5854 \U0001f469\u200d\U0001f680 \u0645\u06cc\u200c\u062e\n\ttab"
    assert printable(text) == text


@pytest.mark.parametrize(
    "moves", ["\r", "\n", "\x1b[A", "\n\n", "\x1b[A\x1b[A", "\x1b[A\r", "\r  50%|###  |", ""]
)
def test_progress_bars_find_their_line(moves: str) -> None:
    assert printable(moves) == moves
    assert "\x1b" not in printable(moves + "x\x1b[A")[len(moves) :]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "words",
    [
        ["{}.yaml"],
        ["{}.png"],
        ["show", "{}"],
        ["import", "{}"],
        ["video", "{}"],
        ["timelapse", "{}"],
        ["models", "fetch", "{}"],
        ["--prompt", "x", "--device", "{}", "--plan"],
        ["--prompt", "x", "--set", "{}=1", "--plan"],
        ["--prompt", "x", "--set", "init_image={}", "--plan"],
        ["--prompt", "x", "--set", "clip_models={}", "--plan"],
        ["--images", "{}"],
    ],
    ids=" ".join,
)
def test_no_verb_passes_it_on(name: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        main([word.format(HOSTILE[name]) for word in words])
    except SystemExit:
        pass
    out, err = capsys.readouterr()
    assert err and (out + err).replace("\n", "").isprintable()


def test_models_in_a_folder_with_a_hostile_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISCO_MODELS", str(tmp_path / "\x1b[31m"))
    assert main(["models", "list"]) == 0
    assert "\\x1b[31m\n" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["versions", "machine", "weights", "inputs"])
def test_what_a_picture_carries(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Texts inside the metadata of a picture that somebody sent."""
    path = tmp_path / "sent.png"
    for name, text in HOSTILE.items():
        settings = {"text_prompts": [text], "set_seed": 1, "batch_name": "sent"}
        metadata = {"settings": settings, "picture": 0, "seed": 1, "batch": [0], key: {"name": text}}
        path.write_bytes(png_bytes(np.zeros((16, 16, 3), np.uint8), metadata))
        for words in (["show", str(path)], [str(path), "--plan"]):
            main(words)
            out, err = capsys.readouterr()
            assert (out + err).replace("\n", "").isprintable(), (name, words)
