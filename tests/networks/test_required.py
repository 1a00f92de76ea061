"""disco.networks.required: the networks of a run, and that all who ask for them read one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from disco.cli.plan import describe
from disco.errors import InputError
from disco.memory.policy import Stage
from disco.memory.retry import OomRetry, bytes_of
from disco.memory.stages import listening
from disco.networks.clip_configs import clip_configs
from disco.networks.load import LOADERS, load_networks
from disco.networks.required import ROLES, Asked, Need, Role, downloads, networks_key, required
from disco.rendering.memory import memory_lines
from disco.settings.load import Run, run_from_mapping
from disco.weights.registry import Entry, registry
from tests.networks.test_compile import Pair
from tests.places import SETTINGS

CLIP = SETTINGS / "clips" / "sunrise.gif"
PUBLISHED = "512x512_diffusion_uncond_finetune_008100"
SECONDARY = "secondary_model_imagenet_2"
POCKET = [
    ("diffusion", "pocket", "fp32", Stage.UNET, False),
    ("secondary", "pocket_secondary", "fp32", Stage.SECONDARY, True),
    ("clip", "pocket-conv", "fp32", Stage.CLIP, True),
    ("clip", "pocket-vit", "fp32", Stage.CLIP, True),
]
Row = tuple[str, str, str, Stage, bool]


def run_of(**values: Any) -> Run:
    return run_from_mapping({"text_prompts": ["a lake"], "width_height": [64, 64], "device": "cpu", **values})


def rows(run: Run, device: str = "cpu") -> list[Row]:
    needs = required(run.settings, run.base_dirs, device=device)
    return [(need.role, need.name, need.dtype, need.stage, need.sees_gradient) for need in needs]


def test_the_default_run_needs_the_bundled_networks() -> None:
    assert rows(run_of()) == POCKET
    assert [row[2] for row in rows(run_of(), "cuda")] == ["fp32", "fp32", "fp16", "fp16"]
    assert all(need.entry is not None and need.path is None for need in required(run_of().settings))


def test_without_the_secondary_network_the_gradient_passes_the_unet() -> None:
    needs = rows(run_of(use_secondary_model=False))
    assert needs == [("diffusion", "pocket", "fp32", Stage.UNET, True), *POCKET[2:]]


def test_the_published_networks_of_dd57() -> None:
    clips = ["ViT-B-32-quickgelu/openai", "ViT-B-32-quickgelu/laion400m_e32"]
    run = run_of(diffusion_model=PUBLISHED, compat="dd57", clip_models=clips, perlin_init=True)
    assert rows(run, "cuda") == [
        ("diffusion", PUBLISHED, "fp16", Stage.UNET, False),
        ("secondary", SECONDARY, "fp32", Stage.SECONDARY, True),
        ("clip", clips[0], "fp16", Stage.CLIP, True),
        ("clip", clips[1], "fp32", Stage.CLIP, True),  # in the original only OpenAI's ran in half precision
        ("perceptual", "vgg", "fp32", Stage.PERCEPTUAL, True),  # quirk Q9
    ]


def test_the_users_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.pt").touch()
    (tmp_path / "my_clip").mkdir()
    (tmp_path / "my_clip" / "open_clip_config.json").touch()
    run = run_of(diffusion_model="custom", custom_path=str(tmp_path / "mine.pt"), custom_config={"patch": 2})
    own_clip = replace(run.settings.clip_models[0], name="my_clip")
    settings = run.settings.model_copy(update={"clip_models": (own_clip,)})
    unet, secondary, clip = required(settings, (tmp_path,))
    assert (unet.entry, unet.path) == (None, tmp_path / "mine.pt")
    assert (unet.architecture["patch"], unet.architecture["num_channels"]) == (2, 128)
    assert secondary.name == SECONDARY
    assert (clip.entry, clip.path, clip.name) == (None, tmp_path / "my_clip", "my_clip")
    assert networks_key(settings, (tmp_path,)) != networks_key(run.settings, (tmp_path,))
    other = settings.model_copy(update={"custom_config": {"patch": 4}})
    assert networks_key(settings, (tmp_path,)) != networks_key(other, (tmp_path,))
    with pytest.raises(InputError, match="no such CLIP: my_clip"):
        required(settings)


def test_depth_and_its_shares() -> None:
    run = run_of(
        animation_mode="3D", max_frames=1, midas_depth_model="dpt_large", second_depth_model="fastdepth"
    )
    *_, first, second = required(run.settings)
    assert [(need.role, need.stage, need.sees_gradient) for need in (first, second)] == [
        ("depth", Stage.MOVING, False)
    ] * 2
    assert [(need.name, need.factor, need.package, need.setting) for need in (first, second)] == [
        ("dpt_large", 0.3, "transformers", "midas_depth_model"),
        ("fastdepth", 0.7, "onnxruntime", "second_depth_model"),
    ]
    (alone,) = (need for need in required(run_of(animation_mode="3D").settings) if need.role == "depth")
    assert (alone.name, alone.factor, alone.package) == ("plane", 1.0, None)


@pytest.mark.parametrize(("flow", "has_files"), [("dis", False), ("raft_small", True)])
def test_motion_of_a_video(flow: str, has_files: bool) -> None:
    video = {"animation_mode": "Video Input", "video_init_path": str(CLIP), "flow_model": flow}
    *_, motion = required(run_of(**video).settings)
    assert (motion.role, motion.name, motion.stage) == ("flow", flow, Stage.MOVING)
    assert (motion.entry is not None) == has_files
    assert rows(run_of(**video, video_init_flow_warp=False)) == POCKET
    *_, perceptual, _ = required(run_of(**video, video_init_frames_scale=10).settings)
    assert perceptual.role == "perceptual"


@pytest.mark.parametrize("model", ["pocket", "vgg"])
def test_an_init_picture_needs_the_perceptual_network(model: str) -> None:
    init = {"init_image": str(CLIP), "lpips_model": model}
    assert rows(run_of(**init)) == [*POCKET, ("perceptual", model, "fp32", Stage.PERCEPTUAL, True)]
    assert rows(run_of(**init, init_scale=0)) == POCKET
    assert rows(run_of(perlin_init=True)) == POCKET


# ---- a row more ----


@pytest.fixture
def upscaler(monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A network of a new role, which runs with more than 30 steps need."""
    like = registry().get("secondary", SECONDARY)
    entry = like.model_copy(update={"name": "upscaler", "parameters": 2**28})

    def needs(asked: Asked) -> Iterator[Need]:
        if asked.settings.steps > 30:
            yield Need("upscaler", "upscaler", entry, "fp16", Stage.PICTURE, False)

    monkeypatch.setitem(ROLES, "upscaler", Role(Stage.PICTURE, needs, compiled=True))
    monkeypatch.setitem(LOADERS, "upscaler", lambda loader, needs: [Pair().requires_grad_(False)])
    return entry


def test_all_readers_see_a_new_row(upscaler: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without, run = run_of(steps=30), run_of(steps=40)
    monkeypatch.setenv("DISCO_MODELS", str(tmp_path))
    assert list(downloads([without])) == ["nothing: all weights are here"]
    assert [line.split(":")[0] for line in downloads([run])][:-1] == ["upscaler"]
    assert "upscaler: " in describe([run], tmp_path)
    assert networks_key(run.settings) != networks_key(without.settings)
    assert networks_key(run_of(steps=20).settings) == networks_key(without.settings)

    (plain,), (more,) = (list(memory_lines(each, dict(clip_configs(each)))) for each in (without, run))
    assert "weights 0.0," in plain and "weights 0.5," in more  # 2^28 numbers of two bytes

    networks = load_networks(run.settings, device="cpu")
    (loaded,) = networks.of("upscaler")
    assert networks.at(Stage.PICTURE) == [loaded] and networks.more == {"upscaler": [loaded]}
    assert load_networks(without.settings, device="cpu").more == {}


def test_a_new_row_is_offloaded_and_compiled(upscaler: Entry) -> None:
    from disco.networks.compile import prepare

    networks = load_networks(run_of(steps=40).settings, device="cpu")
    (loaded,) = networks.more["upscaler"]
    assert isinstance(loaded, Pair)
    size = bytes_of(networks)
    networks.more.clear()
    assert bytes_of(networks) == size - sum(tensor.nbytes for tensor in loaded.parameters())
    networks.more["upscaler"] = [loaded]
    oom_retry = OomRetry(networks)
    assert oom_retry.possible.grad_checkpoint
    seen: list[tuple[Any, ...]] = []
    with listening(lambda *noted, cutouts: seen.append(noted)):
        loaded(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    assert seen == [(Stage.PICTURE, loaded)]
    oom_retry.close()
    prepare(networks, True, lambda text: None, backend=lambda graph, inputs: graph.forward)
    assert loaded._compiled_call_impl is not None
