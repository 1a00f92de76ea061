"""warnings: what has no effect, and what may mean something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from disco.settings.load import dump_yaml
from disco.settings.schedules import Schedule
from tests.loading import load, said, write


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_animation_settings_are_known_and_idle() -> None:
    run = load("animation_mode: None\nmax_frames: 100\nangle: '0: (1)'\nturbo_mode: true\nfps: 24\n")
    assert [notice for notice in run.notices if "still" in notice] == [
        "a.yaml:2: max_frames, angle: animation settings have no effect on a still",
        "a.yaml:4: turbo_mode: 3D settings have no effect on a still",
        "a.yaml:5: fps: video file settings have no effect on a still",
    ]


@pytest.mark.parametrize(
    ("text", "key", "notice"),
    [
        (
            "randomize_class: false",
            "randomize_class",
            "has no effect here: the networks have no classes, in the original too",
        ),
        ("check_model_SHA: true", "check_model_SHA", "has no effect here: every download is always checked"),
        (
            "compat: dd57\nrange_scale: 200",
            "range_scale",
            "has no effect with compat: dd57, as in the original",
        ),
        ("diffusion_sampling_mode: plms\neta: 0.5", "eta", "has no effect with plms"),
        ("rand_mag: 0.1", "rand_mag", "has no effect without fuzzy_prompt: true"),
        ("perlin_mode: gray", "perlin_mode", "has no effect without perlin_init: true"),
        ("clamp_grad: false\nclamp_max: 1", "clamp_max", "has no effect with clamp_grad: false"),
        ("init_scale: 500", "init_scale", "has no effect without an init_image"),
        ("transformation_percent: [0.5]", "transformation_percent", "has no effect without a symmetry"),
        ("custom_config: {patch: 1}", "custom_config", "has no effect without diffusion_model: custom"),
        (
            "compat: dd57\ndiffusion_sampling_mode: plms\nuse_vertical_symmetry: true",
            "use_vertical_symmetry",
            "has no effect with plms, as in the original",
        ),
        (
            "compat: dd57\nuse_vertical_symmetry: true\ntransformation_percent: [0, 0.5]",
            "transformation_percent",
            "0 has no effect with compat: dd57, as in the original",
        ),
        ("use_checkpoint: false", "use_checkpoint", "has no effect with use_secondary_model: true"),
        (
            "tv_scale: {frames: {0: 1, 40: 2}}",
            "tv_scale",
            "a still uses the schedule of frame 0; the others are for animations",
        ),
        (
            "text_prompts: {0: [a], 100: [b], 200: [c]}",
            "text_prompts",
            "a still uses the prompts of 0; those of 100, 200 are for animations",
        ),
        (
            "watercolor_cut_ic_pow: '[12]*1000'",
            "watercolor_cut_ic_pow",
            "has no effect: presets are defaults of their networks; write cut_ic_pow to change it",
        ),
        (
            "animation_mode: 2D\ntranslation_z: 4",
            "translation_z",
            "has no effect without animation_mode: 3D",
        ),
        ("animation_mode: 3D\nzoom: 2", "zoom", "has no effect without animation_mode: 2D"),
        (
            "animation_mode: 3D\ncompat: dd57\nfar_plane: 5000",
            "far_plane",
            "has no effect with compat: dd57, as in the original",
        ),
        ("animation_mode: 3D\nvr_ipd: 2", "vr_ipd", "has no effect without vr_mode: true"),
        (
            "animation_mode: 2D\nn_batches: 3",
            "n_batches",
            "has no effect in an animation; use max_frames",
        ),
        (
            "animation_mode: Video Input\nvideo_init_path: .\nsteps: 30",
            "steps",
            "has no effect with Video Input; use video_init_steps",
        ),
        (
            "animation_mode: Video Input\nvideo_init_path: .\n"
            "video_init_flow_warp: false\nflow_model: raft_small",
            "flow_model",
            "has no effect without video_init_flow_warp: true",
        ),
        (
            "animation_mode: Video Input\nvideo_init_path: .\nvideo_init_steady: 0.3",
            "video_init_steady",
            "has no effect without video_init_check_consistency: true",
        ),
        (
            "animation_mode: Video Input\nvideo_init_path: .\ncompat: dd57\n"
            "video_init_check_consistency: true\nvideo_init_steady: 0.3",
            "video_init_steady",
            "has no effect with compat: dd57, as in the original",
        ),
        (
            "animation_mode: Video Input\nvideo_init_path: .\ninterp_spline: Cubic",
            "interp_spline",
            "has no effect with Video Input",
        ),
        (
            "animation_mode: 2D\nzoom: 1.1\ninterp_spline: Cubic\n"
            "angle: '0: (1), 5: (2)'\ntranslation_x: {0: 1, 5: 2, 9: 0}\ntranslation_y: 't'",
            "interp_spline",
            "Cubic needs 4 key frames: angle has 2 and is Linear, translation_x has 3 and is Quadratic",
        ),
        (
            "animation_mode: 3D\ninterp_spline: Quadratic\nrotation_3d_x: {0: 1, 5: 2}\n"
            "translation_z: '0: (5), 9: (sin(t))'\nrotation_3d_y: '0: (sin(t)), 9: (cos(t))'",
            "interp_spline",
            "Quadratic needs 3 key frames: translation_z has 2 and is Linear, "
            "rotation_3d_x has 2 and is Linear",
        ),
        ("steps: 40", "text_prompts", "none given: the default prompts are painted"),
    ],
)
def test_notices(text: str, key: str, notice: str) -> None:
    assert said(load(text), key) == [notice]


def test_enough_keys_need_no_notice() -> None:
    """The default of zoom has two, and three are not moved in 3D; a constant needs no spline."""
    quadratic = "interp_spline: Quadratic\n"
    assert not said(load(f"animation_mode: 2D\n{quadratic}zoom: {{0: 1, 3: 2, 5: 1}}\n"), "interp_spline")
    assert not said(load(f"animation_mode: 3D\n{quadratic}"), "interp_spline")
    assert said(load(f"animation_mode: 2D\n{quadratic}"), "interp_spline") == [
        "Quadratic needs 3 key frames: zoom has 2 and is Linear"
    ]


def test_defaults_written_out_need_no_notice() -> None:
    run = load(dump_yaml(load("text_prompts: a cat\n")))
    assert run.notices == ()


def test_doubtful_weights_are_warned_of_at_their_line() -> None:
    run = load('text_prompts:\n  0:\n    - a cat\n    - "Blade Runner: 2049"\n')
    assert run.notices[0].startswith(
        'a.yaml:4: text_prompts: "Blade Runner: 2049" is read as "Blade Runner" with'
    )


def test_perlin_wins_over_an_init_image() -> None:
    write("a.png", "")
    run = load("init_image: a.png\nperlin_init: true\n")
    assert said(run, "init_image") == ["has no effect as the start: perlin_init wins"]


def test_dd57_lets_some_networks_force_their_cuts() -> None:
    text = "diffusion_model: watercolordiffusion\ncut_overview: 3\n"
    fixed, old = load(text), load(text + "compat: dd57\n")
    assert fixed.settings.cut_overview == Schedule.parse(3)
    assert old.settings.cut_overview == Schedule.parse("[14]*200+[12]*200+[4]*400+[0]*200")
    assert said(old, "cut_overview") == [
        "has no effect: compat dd57 takes the preset of watercolordiffusion, as the original did"
    ]


def test_unguided_needs_no_prompt() -> None:
    run = load("text_prompts: []\nclip_guidance_scale: 0\ncut_overview: 0\ncut_innercut: 0\n")
    assert run.settings.text_prompts == {}


def test_weights_may_cancel_where_nothing_guides() -> None:
    load("text_prompts: [{text: a, weight: {0: 1, 500: 0}}]\nclip_guidance_scale: {0: 5, 500: 0}\n")
    load(
        "clip_models: [pocket-conv, {name: pocket-vit, weight: 0}]\n"
        "text_prompts: [{text: a}, {text: b, weight: -1, clip_models: pocket-vit}]\n"
    )
