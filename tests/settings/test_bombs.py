"""Files that are small and ask for much: refused in moments, with the limit in numbers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from disco.errors import InputError, SettingsError
from disco.settings.importers.reading import import_settings
from disco.settings.load import load_runs

LONG = "more than 100000 values or 50 levels"


@pytest.fixture(autouse=True)
def in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    yield
    assert time.process_time() - began < 10


def problems(text: str | bytes, name: str = "a.yaml") -> list[str]:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as error:
        load_runs([name])
    return list(error.value.problems)


@pytest.mark.parametrize(
    "text, line",
    [
        ("a: " + "[" * 3000, 1),
        ("a: " + "[" * 60 + "]" * 60, 1),
        ("a:\n" + "".join(" " * n + "b:\n" for n in range(1, 400)), 51),
        ("a: [" + "1," * 200_000 + "]", 1),
        ("- " * 100_000, 1),
        ("a: &a [*a]", 1),
        ("a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), 1),
    ],
)
def test_what_nests_or_repeats_too_much(text: str, line: int) -> None:
    (problem,) = problems(text)
    assert problem == f"a.yaml:{line}: the file nests or repeats too much: {LONG}"


def test_a_large_file_is_not_read() -> None:
    most = "it has over 1048576 bytes, the most that is read of such a file"
    assert problems("a" * (1 << 20) + "\n") == [f"a.yaml: cannot be read: {most}"]
    with pytest.raises(InputError, match=f"a.yaml: cannot be read: {most}"):
        import_settings("a.yaml")


def test_pipes_and_devices_are_not_waited_for() -> None:
    os.mkfifo("pipe")
    for path, kind in (("pipe", "a named pipe"), ("/dev/zero", "a device")):
        with pytest.raises(SettingsError, match=f"{path}: cannot be read: {kind}, not a regular file"):
            load_runs([path])
        with pytest.raises(InputError, match=f"{path}: cannot be read: {kind}, not a regular file"):
            import_settings(path)
    text = "pipe: a named pipe, socket or device; only regular files are read"
    assert problems("init_image: pipe\nimage_prompts: pipe\nskip_steps: 9\nsteps: 20") == [
        f"a.yaml:1: init_image: {text}",
        f"a.yaml:2: image_prompts: {text}",
    ]


def test_suggestions_only_for_the_first_unknown_keys() -> None:
    told = problems("".join(f"stepz{n}: 1\n" for n in range(40_000)))
    assert len(told) == 21 and told[0] == "a.yaml:1: stepz0: no such setting. Did you mean steps?"
    assert told[20] == "a.yaml:21: stepz20: no such setting; 39980 in all from here on"


def test_of_many_slips_the_first_hundred() -> None:
    told = problems("steps: 3\n" * 30_000)
    assert len(told) == 101 and told[0] == "a.yaml:2: steps: written twice (first on line 1)"
    last = "more problems, of which the first is: steps: written twice (first on line 1)"
    assert told[100] == f"a.yaml:102: {last}"


def test_files_that_are_extended_twice_are_read_once() -> None:
    for n in range(30):
        Path(f"d{n}.yaml").write_text(f"extends: [d{n + 1}.yaml, d{n + 1}.yaml]\nsteps: {n + 2}\n")
    Path("d30.yaml").write_text("text_prompts: a lake\nsteps: 90\nskip_steps: 1\n")
    (run,) = load_runs(["d0.yaml"])
    assert (run.settings.steps, run.settings.skip_steps) == (2, 1)
    assert run.origins["skip_steps"] == "d30.yaml:3"


def test_of_a_file_that_is_extended_twice_the_later_place_counts() -> None:
    Path("base.yaml").write_text("steps: 30\nskip_steps: 3\n")
    Path("a.yaml").write_text("extends: base.yaml\nsteps: 40\n")
    Path("b.yaml").write_text("extends: base.yaml\nskip_steps: 5\n")
    Path("both.yaml").write_text("extends: [a.yaml, b.yaml]\n")
    settings = load_runs(["both.yaml"])[0].settings
    assert (settings.steps, settings.skip_steps) == (30, 5), "base.yaml comes again with b.yaml, after a.yaml"


def test_a_chain_of_too_many_files() -> None:
    for n in range(150):
        Path(f"c{n}.yaml").write_text(f"extends: c{n + 1}.yaml\n")
    Path("c150.yaml").write_text("steps: 3\n")
    assert problems("extends: c0.yaml") == ["c99.yaml:1: extends: more than 100 files in all"]


@pytest.mark.parametrize("text", ['{"a":' + "[" * 200_000, '{"a":' * 50_000])
def test_deep_json_of_another_tool(text: str) -> None:
    Path("old.txt").write_text(text)
    with pytest.raises(InputError) as error:
        import_settings("old.txt")
    assert str(error.value) == "old.txt: not readable as JSON: its lists and maps nest too deeply"


def test_many_keys_of_another_tool() -> None:
    keys = ",".join(f'"zz{n}":1' for n in range(40_000))
    Path("old.txt").write_text(
        '{"text_prompts": {"0": ["x"]}, "seed": 1, "width": 64, "height": 64, ' + keys + "}"
    )
    with pytest.raises(InputError, match="Found the keys: text_prompts, seed, width, height, zz0, zz1, zz2"):
        import_settings("old.txt")
