"""Changing any one setting changes the picture, the file names or the report: there are no dead settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import disco
from disco.events import RunFinished
from disco.media.images import png_bytes, read_pixels
from disco.settings.animation import VideoOutSettings
from disco.settings.load import run_from_mapping
from disco.settings.methods import LOSSES
from disco.settings.model import KEYS, changes_pixels
from tests.animation_run import write_clip
from tests.conftest import GaussianDenoiser
from tests.small_run import SMALL, SmallClip, small_networks

MOVE = {"animation_mode": "2D", "max_frames": 2, "frames_skip_steps": 5, "angle": 3}
CAMERA = {
    "animation_mode": "3D",
    "max_frames": 2,
    "frames_skip_steps": 5,
    "midas_depth_model": "plane",
    "translation_x": 40,
}
TURBO = CAMERA | {"max_frames": 5, "turbo_mode": True, "turbo_steps": 3, "turbo_preroll": 1}
EYES = CAMERA | {"max_frames": 1, "vr_mode": True}
VIDEO = {
    "animation_mode": "Video Input",
    "max_frames": 2,
    "video_init_path": "clip",
    "extract_nth_frame": 1,
    "video_init_steps": 10,
    "video_init_skip_steps": 3,
    "video_init_frames_skip_steps": 5,
    "video_init_cutn_batches": 1,
    "video_init_flow_blend": 0.8,
}
# key -> (another value, what must be set for it to act)
OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "text_prompts": ("blue", {}),
    "image_prompts": (["red.png:2"], {}),
    "fuzzy_prompt": (True, {}),
    "rand_mag": (0.4, {"fuzzy_prompt": True}),
    "clip_guidance_scale": (900, {}),
    "tv_scale": (3000, {}),
    "range_scale": (9000, {}),
    "sat_scale": (9000, {}),
    "init_scale": (90000, {"init_image": "red.png"}),
    "clamp_grad": (False, {}),
    "clamp_max": (0.01, {}),
    "cutn_batches": (2, {}),
    "clip_batch": (1, {}),
    "cut_overview": (3, {}),
    "cut_innercut": (3, {}),
    "cut_ic_pow": (50, {}),
    "cut_icgray_p": (1, {}),
    "skip_augs": (True, {}),
    "hue_jitter_max": (0, {}),
    "steps": (20, {}),
    "skip_steps": (2, {}),
    "diffusion_sampling_mode": ("plms", {}),
    "eta": (0.2, {}),
    "clip_denoised": (True, {}),
    "set_seed": (6, {}),
    "use_vertical_symmetry": (True, {}),
    "use_horizontal_symmetry": (True, {}),
    "transformation_percent": ([0.9], {"use_horizontal_symmetry": True}),
    "compat": ("dd57", {}),
    "noise_by": ("step", {}),
    "noise_cast": (0.3, {}),
    "noise_size": ([16, 16], {}),
    "randomize_class": (False, {}),
    "init_image": ("red.png", {"init_scale": 500}),
    "perlin_init": (True, {"skip_steps": 4}),
    "perlin_mode": ("gray", {"perlin_init": True, "skip_steps": 4}),
    "mask_path": ("half.png", {"init_image": "red.png"}),
    "mask_blur": (9, {"init_image": "red.png", "mask_path": "half.png"}),
    "steps_to_repaint": ("50%", {"init_image": "red.png", "mask_path": "half.png"}),
    "use_secondary_model": (True, {}),
    "clip_models": ([{"name": "pocket-conv", "weight": 0.3}], {}),
    "deterministic": (True, {}),
    "check_model_SHA": (True, {}),
    "batch_name": ("other", {}),
    "n_batches": (2, {}),
    "batch_size": (2, {"n_batches": 2}),
    "width_height": ([64, 32], {}),
    "display_rate": (1, {}),
    "intermediate_saves": (2, {}),
    "intermediates_in_subfolder": (False, {"intermediate_saves": 2}),
    "checkpoint_every": (1, {}),
    "retain_overwritten_frames": (True, {}),
    "animation_mode": ("2D", {"max_frames": 2}),
    "key_frames": (False, {}),
    "max_frames": (2, MOVE | {"max_frames": 1}),
    "interp_spline": ("Cubic", MOVE | {"angle": "0: (0), 2: (20), 4: (0), 6: (50)"}),
    "angle": (20, MOVE),
    "zoom": (1.5, MOVE),
    "translation_x": (4, MOVE),
    "translation_y": (4, MOVE),
    "translation_z": (80, CAMERA),
    "rotation_3d_x": (9, CAMERA),
    "rotation_3d_y": (9, CAMERA),
    "rotation_3d_z": (9, CAMERA),
    "frames_scale": (90000, MOVE),
    "frames_skip_steps": ("20%", MOVE),
    "border_mode": ("wrap", MOVE | {"translation_x": 9}),
    "prompt_crossfade": (True, MOVE | {"text_prompts": {0: "red", 2: "blue"}}),
    "color_coherence": ("RGB", MOVE | {"zoom": 1.5}),
    "color_coherence_to": (
        "previous",
        MOVE | {"max_frames": 3, "color_coherence": "RGB", "zoom": 1.5},
    ),
    "near_plane": (3000, CAMERA),
    "far_plane": (1600, CAMERA),
    "fov": (90, CAMERA),
    "padding_mode": ("zeros", CAMERA),
    "sampling_mode": ("nearest", CAMERA),
    "turbo_mode": (True, CAMERA | {"max_frames": 3, "turbo_preroll": 1}),
    "turbo_steps": (2, TURBO),
    "turbo_preroll": (3, TURBO),
    "vr_mode": (True, CAMERA | {"max_frames": 1}),
    "vr_eye_angle": (9, EYES),
    "vr_ipd": (50, EYES),
    "video_init_path": ("clip2", VIDEO),
    "extract_nth_frame": (2, VIDEO),
    "video_init_seed_continuity": (True, VIDEO),
    "video_init_flow_warp": (False, VIDEO),
    "video_init_flow_blend": (0.2, VIDEO),
    "video_init_check_consistency": (True, VIDEO),
    "video_init_steady": (0, VIDEO | {"video_init_check_consistency": True}),
    "video_init_steps": (20, VIDEO),
    "video_init_clip_guidance_scale": (90, VIDEO),
    "video_init_tv_scale": (3000, VIDEO),
    "video_init_range_scale": (9000, VIDEO),
    "video_init_sat_scale": (9000, VIDEO),
    "video_init_cutn_batches": (2, VIDEO),
    "video_init_skip_steps": (6, VIDEO),
    "video_init_frames_scale": (90000, VIDEO),
    "video_init_frames_skip_steps": ("20%", VIDEO),
    "video_mask_path": ("masks", VIDEO | {"video_init_flow_warp": False}),
}
OTHER |= {key: (9000, {}) for key in LOSSES if key not in OTHER}
# Those that choose networks or a device act where these are loaded, those of resuming where a run goes on.
ELSEWHERE = {
    "diffusion_model": "tests/networks/test_load.py",
    "custom_path": "tests/networks/test_load.py",
    "custom_config": "tests/networks/test_load.py",
    "lpips_model": "tests/networks/test_load.py",
    "precision": "tests/memory/test_number_types.py",
    "device": "tests/memory/test_devices.py",
    "gpus_per_picture": "tests/rendering/test_driver.py",
    "use_checkpoint": "tests/networks/test_load.py",
    "compile": "tests/networks/test_compile.py",
    "upscale": "tests/rendering/test_upscale.py",
    "upscale_model": "tests/rendering/test_upscale.py",
    "resume_run": "tests/runs/test_resume.py",
    "run_to_resume": "tests/runs/test_resume.py",
    "resume_from_frame": "tests/runs/test_resume.py",
    "midas_depth_model": "tests/animation/test_animation_networks.py",
    "second_depth_model": "tests/animation/test_animation_networks.py",
    "midas_weight": "tests/animation/test_animation_networks.py",
    "flow_model": "tests/animation/test_animation_networks.py",
    **dict.fromkeys(VideoOutSettings.model_fields, "tests/settings/test_video_settings.py"),
}
BASE = {**SMALL, "n_batches": 1, "skip_augs": False, "clip_guidance_scale": 60000, "clamp_max": 0.05}


class WideClip(SmallClip):
    """Sees more than mean colours: where in the cutout they are, too."""

    def encode_image(self, cutouts):
        left, right = cutouts[..., :8].mean((2, 3)), cutouts[..., 8:].mean((2, 3))
        top = cutouts[..., :8, :].mean((2, 3))
        return (left + 0.5 * right - 0.3 * top) @ self.MATRIX.to(cutouts)


class SmallSecondary:
    """A guess of its own, so that using it shows."""

    def __call__(self, x_t, t):
        return type("Guess", (), {"pred_x0": x_t * 0.7})()


def outcome(out: Path, values: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """File name -> pixels (or nothing), and the report without its times."""
    networks = small_networks(secondary=SmallSecondary() if values.get("use_secondary_model") else None)
    networks.clips = [WideClip()]
    networks.denoiser = GaussianDenoiser(0.5, 0.9)  # its guesses leave the colour range now and then
    run = run_from_mapping({**BASE, **values})
    report = [e.report for e in disco.render(run, out=out, networks=networks) if isinstance(e, RunFinished)][
        -1
    ]
    files = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and not {".state", ".video_frames"} & set(path.parts):
            is_final = path.suffix == ".png" and not path.stem.endswith(("_progress", "_grid"))
            files[str(path.relative_to(out))] = read_pixels(path) if is_final else np.zeros(1)
    return files, {k: v for k, v in report.items() if not k.startswith("seconds")}


def test_every_setting_is_listed():
    assert sorted([*OTHER, *ELSEWHERE]) == sorted(KEYS)
    for file in ELSEWHERE.values():
        assert Path(file).is_file(), file


def test_the_listed_tests_name_their_settings():
    for key, file in ELSEWHERE.items():
        assert key in Path(file).read_text(encoding="utf-8"), (key, file)


@pytest.mark.parametrize("key", OTHER)
def test_another_value_shows(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    red = torch.tensor([1.0, -1, -1]).view(3, 1, 1).expand(3, 32, 32) * torch.linspace(0.2, 1, 32)
    Path("red.png").write_bytes(png_bytes(red))
    half = torch.ones(3, 32, 32)
    half[..., :12] = -1
    Path("half.png").write_bytes(png_bytes(half))
    write_clip(tmp_path / "clip")
    write_clip(tmp_path / "clip2", size=40)
    Path("masks").mkdir()
    Path("masks/0.png").write_bytes(png_bytes(half))
    value, needs = OTHER[key]
    files, report = outcome(tmp_path / "a", needs)
    new_files, new_report = outcome(tmp_path / "b", {**needs, key: value})
    same_files = files.keys() == new_files.keys() and all(
        np.array_equal(files[name], new_files[name]) for name in files
    )
    assert not same_files or json.dumps(report) != json.dumps(new_report)
    if changes_pixels(key):
        assert not same_files, "a setting that is marked as changing pixels must change them"


def test_the_same_settings_twice_show_nothing(tmp_path):
    """The control: the same settings twice give the same pictures, names and report."""
    a, b = outcome(tmp_path / "a", {}), outcome(tmp_path / "b", {})
    assert a[0].keys() == b[0].keys() and all(np.array_equal(a[0][n], b[0][n]) for n in a[0])
    assert a[1] == b[1]
