"""Settings files of other tools: recognised by content, every key accounted for, written as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from disco.errors import InputError
from disco.settings.importers.old_values import fold, ramp, tidy_schedule
from disco.settings.importers.reading import import_settings
from disco.settings.importers.writing import to_yaml
from disco.settings.load import load_runs, run_from_mapping
from disco.weights.registry import registry
from tests.import_samples import ALL, DISCO, SAMPLES, edited, read_old


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_the_yaml_loads_to_the_same_settings_without_a_word(path: Path, tmp_path: Path) -> None:
    imported = import_settings(path)
    new = tmp_path / "new.yaml"
    new.write_text(to_yaml(imported), encoding="utf-8")
    (run,) = load_runs([new])
    assert run.settings == run_from_mapping(imported.run).settings
    assert not [notice for notice in run.notices if "has no effect" in notice]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_every_key_is_accounted_for(path: Path) -> None:
    imported = import_settings(path)
    account = imported.report() + " ".join(registry().clip_flags)
    renamed = {"width", "height", "width_height_scale", "cut_ic_pow_final", "cutn_batches_final"}
    old = {key for key, value in read_old(path).items() if value not in (None, "None", {})}
    missing = sorted(key for key in old - renamed if key not in account)
    assert missing == []
    assert all("\n" not in line for line in (*imported.mapped, *imported.changed, *imported.dropped))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_missing_key_is_fatal(path: Path, tmp_path: Path) -> None:
    for key in read_old(path):
        if key not in ("seed", "width", "height"):  # they tell a Disco file from others
            assert edited(tmp_path, path, **{key: None}).run


def test_unknown_keys_are_listed_as_dropped() -> None:
    assert "smoke_machine: unknown to this program" in import_settings(DISCO).dropped


def test_report() -> None:
    lines = import_settings(SAMPLES / "progrock_steps.json").report().splitlines()
    assert lines[:4] == [
        "progrock_steps.json: progrockdiffusion settings",
        "mapped: 2",
        "  text_prompts",
        "  steps",
    ]
    assert lines[4] == "changed: 6"


def test_yaml_reads_well() -> None:
    text = to_yaml(import_settings(DISCO))
    assert text.startswith(
        "# Imported from evening(3)_settings.txt, a settings file of Disco Diffusion.\n# Left out:"
    )
    assert (
        'cut_innercut: "[4]*400+[12]*600"  # it held 1100 values; only the first 1000 were ever used' in text
    )
    assert "\n# Networks\ndiffusion_model: 512x512_diffusion_uncond_finetune_008100\n" in text
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert max(map(len, comments)) <= 110


# ---- which tool wrote it, and files that none did ----


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ('{"seed": 1, "width": 512, "height": 512}', "disco"),
        ("seed: 1\nsteps: 50\n", "discoart"),
        ("clip_models: ['RN50::openai']\n", "discoart"),
        ('{"steps": 100, "n_batches": 2}', "progrock"),
        ('{"eta": "auto"}', "progrock"),
        ('{"steps": 100, "text_prompts": {"0": ["a lake"]}}', "disco"),
        ('{"turbo_mode": true, "steps": 100}', "disco"),
        ("ViTL14_336: true\nwidth_height: [512, 512]\nconsole_preview: false\n", "disco"),
        ("ViTB32: true\nsteps: 20\n", "disco"),
        ('{"seed": 1, "sampling_mode": "plms", "gobig_scale": 2}', "progrock"),
        ('{"gobig_scale": 2, "symmetry_loss": true, "seed": 1, "diffusion_sampling_mode": "ddim"}', "disco"),
    ],
)
def test_recognised_by_content(text: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.whatever"
    path.write_text(text)
    assert import_settings(path).source == source


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            b"steps: 100\n",
            "no other tool's settings file was recognised. Looked for Disco Diffusion's _settings.txt",
        ),
        (b"steps: 100\n", "Found the keys: steps. A settings file of this program needs no import"),
        (b'{"seed": 1,\n "width" 2}', ":2: not readable as JSON: Expecting ':' delimiter"),
        (b"\xff\xfe\x00\x80\x81", "the file is not UTF-16 text (byte 0x81); save it as UTF-8"),
        (b"", "the file is empty"),
        (
            b'{"seed": 1, "width": 512, "height": 512, "steps": 10, "skip_steps": 10}',
            "its settings contradict each other:\nold.txt: skip_steps: 10 of 10 steps leaves none",
        ),
    ],
)
def test_wrong_files(content: bytes, error: str, tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        import_settings(path)
    assert str(caught.value).startswith(str(path)) and error in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.txt: no such file$"):
        import_settings(tmp_path / "gone.txt")


# ---- schedules ----


@pytest.mark.parametrize(
    ("old", "new", "remark"),
    [
        (5000, 5000, None),
        ("0.5", 0.5, None),
        ("[0.05]*1000", 0.05, None),
        ("[1]*500+[1.0]*500", 1, None),
        ([12] * 400 + [4] * 600, "[12]*400+[4]*600", None),
        (str([1, 1, 2, 2] * 250), None, None),
        ("[True]*400+[False]*600", "[True]*400+[False]*600", None),
        ("[1]*400", 1, "it held 400 of 1000 values; the last one is held to the end"),
        ("[1]*900+[2]*200", "[1]*900+[2]*100", "it held 1100 values; only the first 1000 were ever used"),
    ],
)
def test_schedules(old: Any, new: Any, remark: str | None) -> None:
    tidy, said = tidy_schedule(old)
    assert said == remark
    assert tidy == (fold([1, 1, 2, 2] * 250) if new is None else new)


def test_ramp() -> None:
    assert ramp(1, 5, whole=True, parts=4) == "[1]*250+[2]*250+[3]*250+[4]*250"
