"""aliases, network_defaults: names from elsewhere, sizes by network, CLIP flags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from disco.settings.schedules import Schedule
from disco.weights.registry import registry
from tests.loading import BIG, SMALL, clips, load, problems, said, write
from tests.places import GOLDEN

B32, B16, RN50 = "ViT-B-32-quickgelu/openai", "ViT-B-16-quickgelu/openai", "RN50-quickgelu/openai"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


GOLD = json.loads((GOLDEN / "g_text_and_schedules.json").read_text())
FOLLOWS = "has no effect: it follows from steps"


@pytest.mark.parametrize(
    ("text", "key", "value", "name", "notice"),
    [
        ("seed: 5", "set_seed", 5, "seed", "read as set_seed"),
        ("seed: 5\nset_seed: 5", "set_seed", 5, "seed", "read as set_seed"),
        (
            "transformation_steps: 0.2\nuse_vertical_symmetry: true",
            "transformation_percent",
            (0.2,),
            "transformation_steps",
            "read as transformation_percent",
        ),
        (
            "sampling_mode: plms",
            "diffusion_sampling_mode",
            "plms",
            "sampling_mode",
            "read as diffusion_sampling_mode",
        ),
        (
            "sampling_mode: nearest",
            "sampling_mode",
            "nearest",
            "sampling_mode",
            "3D settings have no effect on a still",
        ),
        ("folder: x", "batch_name", "TimeToDisco", "folder", "has no effect: use run.py video FOLDER"),
        (
            "force_download: true",
            "steps",
            50,
            "force_download",
            "has no effect: every download is always checked",
        ),
        ("timestep_respacing: ddim100", "steps", 100, "timestep_respacing", "read as steps: 100"),
        ("timestep_respacing: ddim100\nsteps: 100", "steps", 100, "timestep_respacing", "read as steps: 100"),
        ("useCPU: true", "device", "cpu", "useCPU", "read as device: cpu"),
        ("useCPU: true\ndevice: cpu", "device", "cpu", "useCPU", "read as device: cpu"),
        (
            "useCPU: false",
            "device",
            "auto",
            "useCPU",
            "has no effect: device says where to compute, auto by default",
        ),
        (
            "steps: 40\ndiffusion_steps: 1000",
            "steps",
            40,
            "diffusion_steps",
            "has no effect: it follows from steps",
        ),
        (
            "steps: 150\ndiffusion_steps: 900",
            "steps",
            150,
            "diffusion_steps",
            "has no effect: it follows from steps",
        ),
        (
            "cutn: 16",
            "cut_overview",
            Schedule.parse("[12]*400+[4]*600"),
            "cutn",
            'read as cut_overview: "[12]*400+[4]*600", cut_innercut: "[4]*400+[12]*600"',
        ),
        ("cutn: 1", "cut_innercut", Schedule.parse("[0]*400+[1]*600"), "cutn", None),
    ],
)
def test_other_names(text: str, key: str, value: Any, name: str, notice: str | None) -> None:
    if text == "cutn: 1":  # 1 cut: all of it whole at first, all of it inner later
        text += "\nclip_guidance_scale: 0"
    run = load(text)
    assert getattr(run.settings, key) == value
    assert notice is None or said(run, name) == [notice]


def test_sizes_for_kinds_of_networks() -> None:
    sizes = "width_height_for_512x512_models: [640, 640]\nwidth_height_for_256x256_models: [320, 320]\n"
    big, small = load(f"diffusion_model: {BIG}\n{sizes}"), load(f"diffusion_model: {SMALL}\n{sizes}")
    assert (big.settings.width_height, small.settings.width_height) == ((640, 640), (320, 320))
    assert big.origins["width_height"] == "a.yaml:2"
    assert said(big, "width_height_for_512x512_models") == ["read as width_height"]
    assert said(big, "width_height_for_256x256_models") == [f"has no effect with {BIG}; write width_height"]
    pocket = load(sizes)
    assert pocket.settings.width_height == (128, 128)
    assert said(pocket, "width_height_for_512x512_models") == [
        "has no effect with pocket; write width_height"
    ]
    above = load(f"diffusion_model: {BIG}\n{sizes}", "width_height=[64, 64]")
    assert above.settings.width_height == (64, 64)
    assert said(above, "width_height_for_512x512_models") == ["is overruled by width_height"]
    write("w.pt", "")
    custom = load(f"diffusion_model: custom\ncustom_path: w.pt\n{sizes}")
    assert custom.settings.width_height == (640, 640)


@pytest.mark.parametrize(
    ("text", "overrides", "names"),
    [
        (f"diffusion_model: {BIG}\nViTL14: true\n", [], [B32, B16, "ViT-L-14-quickgelu/openai", RN50]),
        (f"diffusion_model: {BIG}\nViTB16: false\n", [], [B32, RN50]),
        (f"diffusion_model: {BIG}\nRN50: off\nViTB32: no\nViTB16: true\n", [], [B16]),
        ("ViTB32: true\n", [], [B32]),
        ("ViTB32: true\nclip_models: [pocket-vit]\n", [], ["pocket-vit", B32]),
        ("RN50: false\nViTB32: true\nclip_models: [ViT-B/32]\n", [], [B32]),
        (f"diffusion_model: {BIG}\nRN101: true\n", ["clip_models=[RN50]"], [RN50]),
        ("clip_models: [ViT-B/32, RN50]\n", ["RN50=false"], [B32]),
        ("clip_models: [{name: RN50, weight: 0.5}]\n", ["ViTB32=true"], [RN50, B32]),
        ("clip_models: 'ViT-B-32::openai'\n", [], [B32]),
        ("clip_models: [RN50]\n", [], [RN50]),
        ("clip_models: [ViTB16]\n", [], [B16]),
    ],
)
def test_clip_flags_and_lists(text: str, overrides: list[str], names: list[str]) -> None:
    assert clips(load(text, *overrides)) == names


def test_flags_are_explained() -> None:
    run = load(f"diffusion_model: {BIG}\nViTL14: true\nViTB16: false\n")
    assert run.notices == (
        "a.yaml:3: ViTB16, ViTL14: read as clip_models: ViT-B/32, ViT-L/14, RN50 "
        "(ViTB32, RN50 on, as Disco has them unless told otherwise)",
        "a.yaml:1: text_prompts: none given: the default prompts are painted",
    )


def test_quickgelu_is_set_right_unless_dd57() -> None:
    text = f"diffusion_model: {BIG}\nclip_models: [ViT-B-32/openai]\n"
    run = load(text)
    assert clips(run) == [B32]
    assert said(run, "clip_models")[0].startswith("ViT-B-32/openai: read as ViT-B-32-quickgelu/openai")
    plain = load(f"compat: dd57\n{text}ViTB32_laion400m_e31: true\n")
    assert clips(plain) == [B32, "ViT-B-32/laion400m_e31"]


@pytest.mark.parametrize(("steps", "diffusion_steps"), GOLD["diffusion_steps_rule"].items())
def test_diffusion_steps_as_the_original_derives_them(steps: str, diffusion_steps: int) -> None:
    text = f"skip_steps: 0\nsteps: {steps}\ndiffusion_steps: {diffusion_steps}\n"
    assert said(load(text), "diffusion_steps") == [FOLLOWS]


def test_any_network_that_open_clip_knows() -> None:
    run = load("clip_models: [ViT-B-16/datacomp_xl_s13b_b90k]\n")
    assert clips(run) == ["ViT-B-16/datacomp_xl_s13b_b90k"]
    assert problems("clip_models: [ViT-B-61/openai]\n")[0].startswith(
        "a.yaml:1: clip_models: no such CLIP architecture: ViT-B-61-quickgelu. Did you mean ViT-"
    )


def test_all_flags_of_disco_are_known() -> None:
    text = "".join(f"{flag}: true\n" for flag in registry().clip_flags)
    run = load(f"diffusion_model: {BIG}\ncompat: dd57\n{text}")
    assert len(run.settings.clip_models) == len(registry().clip_flags) == 22
    assert clips(run)[:5] == [
        B32,
        B16,
        "ViT-L-14-quickgelu/openai",
        "ViT-L-14-336-quickgelu/openai",
        RN50,
    ]
