"""disco/animation/depth*.py: the original's units, tiny networks in the published formats, mixing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from disco.__main__ import main
from disco.animation.camera3d import DD57_BRIGHTNESS, Lens, warp3d
from disco.animation.depth import MixedDepth, PlaneDepth, load_depth
from disco.animation.depth_dpt import DptDepth, load_dpt, midas_depth
from disco.animation.depth_onnx import load_onnx
from disco.errors import InputError, WeightsError
from disco.media.images import to_uint8
from disco.networks.load import Loader
from disco.networks.required import depth_factors, missing_packages, needed, required
from disco.settings.load import run_from_mapping
from disco.settings.model import Settings
from disco.weights.registry import Registry
from tests.animation_pictures import golden_frame, noise
from tests.conftest import relative
from tests.onnx_writer import mean_of_channels

UNUSED = "neck.fusion_stage.layers.0.residual_layer1."
TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 16,
    "image_size": 32,
    "patch_size": 8,
}
TINY_HYBRID: dict[str, Any] = TINY | {
    "is_hybrid": True,
    "patch_size": 16,
    "neck_hidden_sizes": [8, 16, 16, 16],
    "neck_ignore_stages": [0, 1],
    "reassemble_factors": [1, 1, 1, 0.5],
    "backbone_featmap_shape": [1, 32, 2, 2],
    "backbone_config": {
        "model_type": "bit",
        "global_padding": "same",
        "layer_type": "bottleneck",
        "depths": [1, 1, 1],
        "hidden_sizes": [8, 16, 32],
        "embedding_size": 8,
        "num_groups": 2,
        "out_features": ["stage1", "stage2", "stage3"],
        "embedding_dynamic_padding": True,
    },
}


def write_dpt(folder: Path, facts: dict[str, Any] = TINY) -> Path:
    """A random network as transformers saves it; the last bias is raised so that its ReLU lets it through."""
    from transformers import DPTConfig, DPTForDepthEstimation

    torch.manual_seed(0)
    network = DPTForDepthEstimation(DPTConfig(**facts))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        network.head.head[4].bias.add_(20)
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dpt(tmp_path_factory.mktemp("dpt"))


def loaded(folder: Path) -> DptDepth:
    return load_dpt(folder / "config.json", folder / "model.safetensors")


def write_onnx(path: Path, *shape: int, **how: int) -> Path:
    path.write_bytes(mean_of_channels(shape, **how))
    return path


def published(family: str, package: str, *files: str) -> dict[str, Any]:
    named = [{"name": name, "mirrors": [f"http://127.0.0.1:1/{name}"]} for name in files]
    return {"title": family, "architecture": {"family": family, "package": package}, "files": named}


def plane(near: float, far: float) -> dict[str, Any]:
    return {"title": "p", "architecture": {"family": "plane", "near": near, "far": far, "horizon": 0.5}}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A models folder and a registry of small depths. Returns the folder."""
    entries = {
        "flat": plane(2, 2),
        "flat3": plane(3, 3),
        "dpt": published("dpt", "transformers", "tiny.json", "tiny.safetensors"),
        "onnx": published("onnx", "onnxruntime", "tiny.onnx"),
    }
    fake = Registry({"clip_flags": {}, "architectures": {}, "defaults": {}, "depth": entries})
    monkeypatch.setattr("disco.networks.required.registry", lambda: fake)
    monkeypatch.setenv("DISCO_MODELS", str(tmp_path))
    return tmp_path


# ---- units ----


class GoldenNearness(nn.Module):
    """The closed form that stood in for MiDaS when the golden warps were made."""

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        height, width = pixels.shape[-2:]
        x, y = torch.arange(width), torch.arange(height)[:, None]
        red = (pixels[:, 0] + 1) / 2
        wave = torch.sin(3 * x / width) * torch.cos(2 * y / height)
        return SimpleNamespace(predicted_depth=18 + 8 * wave + 2 * red)


def test_midas_units_are_the_originals(golden: Any) -> None:
    depth = DptDepth(GoldenNearness(), (48, 64))(golden_frame())
    assert relative(depth[0, 0], golden("g_animation")["3d_depth_after"]) < 1e-5
    assert midas_depth(torch.tensor([0.0, 12.0, 31.0])).tolist() == pytest.approx([50 / 19, 2, 1])
    assert midas_depth(torch.tensor(60.0)) > 0


def test_depth_and_warp_together_are_the_originals(golden: Any) -> None:
    arrays = golden("g_animation")
    frame = golden_frame()
    depth = DptDepth(GoldenNearness(), (48, 64))(frame)
    x, y, z, *rotation = arrays["3d_all/args"].tolist()
    ours = warp3d(
        frame, depth, Lens(brightness_offset=DD57_BRIGHTNESS), translation=(x, y, z), rotation=rotation
    )
    assert abs(to_uint8(ours[0]).astype(int) - arrays["3d_all/out_rgb"]).max() <= 1


# ---- DPT ----


@pytest.mark.parametrize("shape", [(32, 32), (24, 40), (37, 51)])
def test_dpt_sees_what_transformers_sees(dpt: Path, shape: tuple[int, int]) -> None:
    from transformers import DPTForDepthEstimation

    frame = noise(*shape)
    pixels = F.interpolate(frame, (32, 32), mode="bicubic", align_corners=False, antialias=True).clamp(-1, 1)
    with torch.no_grad():
        nearness = DPTForDepthEstimation.from_pretrained(dpt)(pixels).predicted_depth[:, None]
    expected = (50 - F.interpolate(nearness, shape, mode="bicubic", align_corners=False)) / 19
    depth = loaded(dpt)(frame)
    assert depth.shape == (1, 1, *shape) and depth.dtype == torch.float32
    torch.testing.assert_close(depth, expected)
    assert depth.min() > 0 and depth.std() > 1e-4 and not depth.requires_grad


def test_a_hybrid_too(tmp_path: Path) -> None:
    depth = loaded(write_dpt(tmp_path, TINY_HYBRID))(noise(40, 24, batch=2))
    assert depth.shape == (2, 1, 40, 24)
    assert bool(depth.isfinite().all()) and depth.min() > 0 and not torch.equal(depth[0], depth[1])


def test_the_layer_that_published_files_lack_is_not_missed(dpt: Path, tmp_path: Path) -> None:
    state = load_file(dpt / "model.safetensors")
    torch.save({k: v for k, v in state.items() if not k.startswith(UNUSED)}, tmp_path / "pytorch_model.bin")
    without = load_dpt(dpt / "config.json", tmp_path / "pytorch_model.bin")
    assert torch.equal(without(noise()), loaded(dpt)(noise()))


def test_a_file_that_does_not_fit(dpt: Path, tmp_path: Path) -> None:
    state = load_file(dpt / "model.safetensors")
    del state["head.head.4.bias"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_dpt(dpt / "config.json", tmp_path / "short.safetensors")
    assert str(caught.value) == (
        f"{tmp_path / 'short.safetensors'}: does not fit the network: head.head.4.bias [1] is missing. "
        "config.json describes another network"
    )


def test_configs_that_are_none(dpt: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for text, told in (
        (json.dumps({"model_type": "vit"}), f"{config}: its model_type is vit, expected dpt"),
        ("[1]", f"{config}: its model_type is None, expected dpt"),
        ("{", f"{config}: cannot be read as the config.json of a network ("),
    ):
        config.write_text(text, encoding="utf-8")
        with pytest.raises(WeightsError) as caught:
            load_dpt(config, dpt / "model.safetensors")
        assert str(caught.value).startswith(told)


# ---- ONNX ----


@pytest.mark.parametrize("shape", [(20, 28), (37, 51)])
def test_onnx_gives_its_own_units(tmp_path: Path, shape: tuple[int, int]) -> None:
    network = load_onnx(write_onnx(tmp_path / "mean.onnx", 1, 3, 20, 28))
    grey = network(torch.full((2, 3, *shape), -0.5))
    assert grey.shape == (2, 1, *shape) and grey.dtype == torch.float32
    torch.testing.assert_close(grey, torch.full_like(grey, 0.25))
    brighter = torch.linspace(-1, 1, shape[1]).expand(1, 3, *shape)
    assert bool((network(brighter)[0, 0, 0].diff() > 0).all())
    assert network(torch.full((1, 3, *shape), -1.0)).min() > 0


def test_onnx_of_the_same_size_is_exact(tmp_path: Path) -> None:
    network = load_onnx(write_onnx(tmp_path / "mean.onnx", 1, 3, 24, 40))
    frame = noise(24, 40)
    torch.testing.assert_close(network(frame), ((frame + 1) / 2).mean(1, keepdim=True).clamp(min=1e-3))


def test_onnx_files_that_are_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    for path in (broken, tmp_path / "gone.onnx"):
        with pytest.raises(WeightsError) as caught:
            load_onnx(path)
        assert str(caught.value).startswith(f"{path}: no network that onnxruntime can read (")
    grey = write_onnx(tmp_path / "grey.onnx", 1, 1, 8, 8)
    with pytest.raises(WeightsError) as caught:
        load_onnx(grey)
    assert str(caught.value) == (
        f"{grey}: input and output are [[1, 1, 8, 8], [1, 1, 8, 8]], expected [1, 3, H, W] and [1, 1, h, w]"
    )


# ---- plane ----


@pytest.mark.parametrize("shape", [(64, 48), (37, 51), (1, 1)])
def test_the_plane_is_near_below_and_far_above(shape: tuple[int, int]) -> None:
    depth = PlaneDepth(near=1.5, far=4, horizon=0.45)(noise(*shape))
    assert depth.shape == (1, 1, *shape) and depth.dtype == torch.float32
    assert bool((depth.diff(dim=2) <= 0).all()) and bool((depth == depth[..., :1]).all())
    assert depth.min() >= 1.5 and depth.max() <= 4


def test_the_ground_is_a_plane() -> None:
    rows = PlaneDepth(near=1.5, far=4, horizon=0.45)(noise(200, 2))[0, 0, :, 0]
    assert rows[0].item() == pytest.approx(4, rel=1e-3)
    assert rows[-1].item() == pytest.approx(1.5, rel=1e-2)
    steps = (1 / rows[140:]).diff()  # even, as far as the softened horizon has died away
    assert steps.max() / steps.min() < 1.05


def test_going_forward_over_the_plane_moves_the_ground_most() -> None:
    frame = noise(64, 64)
    depth = PlaneDepth(near=1.5, far=4, horizon=0.45)(frame)
    ours = warp3d(frame, depth, Lens(), translation=(0, 0, 10), rotation=(0, 0, 0))
    change = (ours - frame).abs().mean((0, 1, 3))
    assert change[-16:].mean() > change[:16].mean() > 0


# ---- by name, and two of them ----


def load(name: str, weight: float = 1.0, second: str | None = None) -> MixedDepth:
    return load_depth(depth_factors(name, weight, second))


@pytest.mark.parametrize(("weight", "expected"), [(0.3, 0.3 * 2 + 0.7 * 3), (1, 2), (0, 3)])
def test_two_depths_are_mixed(shop: Path, weight: float, expected: float) -> None:
    depth = load("flat", weight, "flat3")(noise())
    torch.testing.assert_close(depth, torch.full((1, 1, 24, 40), float(expected)))


def test_one_depth_counts_fully(shop: Path) -> None:
    for second in (None, "flat"):
        assert load("flat", 0.3, second)(noise()).unique().tolist() == pytest.approx([2])


def test_a_batch_of_one_kind_with_a_single_one_of_another() -> None:
    depths = MixedDepth(((0.5, PlaneDepth(2, 2, 0.5)), (0.5, lambda frame: frame[:, :1] * 0 + 4)))(
        noise(batch=3)
    )
    torch.testing.assert_close(depths, torch.full((3, 1, 24, 40), 3.0))


def test_what_counts_nothing_is_not_needed(shop: Path) -> None:
    """Neither file of the networks is there, and no address answers."""
    for one in (load("flat", 1, "onnx"), load("dpt", 0, "flat")):
        assert [share for share, _ in one.parts] == [1.0]
    assert [(share, e.name) for share, e in depth_factors("dpt", 0.25, "onnx")] == [
        (0.25, "dpt"),
        (0.75, "onnx"),
    ]
    with pytest.raises(WeightsError, match=r"^tiny\.onnx: no source could deliver it"):
        load("flat", 0.5, "onnx")


def test_networks_by_name(shop: Path, dpt: Path) -> None:
    (shop / "tiny.json").write_bytes((dpt / "config.json").read_bytes())
    (shop / "tiny.safetensors").write_bytes((dpt / "model.safetensors").read_bytes())
    write_onnx(shop / "tiny.onnx", 1, 3, 16, 16)
    mixed = load("dpt", 0.25, "onnx")
    expected = 0.25 * loaded(dpt)(noise()) + 0.75 * load_onnx(shop / "tiny.onnx")(noise())
    torch.testing.assert_close(mixed(noise()), expected)
    loader = Loader(Settings(), torch.device("cpu"))
    load_depth(depth_factors("dpt", 0.25, "onnx"), loader.fetched)
    assert sorted(loader.hashes) == ["dpt/tiny.json", "dpt/tiny.safetensors", "onnx/tiny.onnx"]
    assert all(len(digest) == 64 for digest in loader.hashes.values())


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_a_missing_package_is_told_before_anything_is_made(
    plan: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("disco.networks.required.find_spec", lambda name: None)
    Path("a.yaml").write_text("text_prompts: [a lake]\nanimation_mode: 3D\nmidas_depth_model: dpt_large\n")
    assert main(["a.yaml", "--set", "second_depth_model=fastdepth", *plan]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{key} needs the Python package {package}, which is not installed. "
        f"Run `pip install -e '.[depth]'` in Disco's folder, or write {instead}"
        for key, package, instead in (
            ("a.yaml:3: midas_depth_model: dpt_large", "transformers", "plane"),
            ("--set: second_depth_model: fastdepth", "onnxruntime", "none"),
        )
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def missing(first: str, **values: Any) -> dict[str, str | None]:
    """Network -> package."""
    settings = Settings(animation_mode="3D", midas_depth_model=first, **values)
    return {need.name: need.package for need in missing_packages(required(settings))}


def test_only_the_packages_of_what_counts_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.networks.required.find_spec", lambda name: None)
    assert missing("plane") == {}
    assert missing("dpt_large", second_depth_model="plane", midas_weight=0) == {}
    half: dict[str, Any] = {"midas_weight": 0.5}
    assert missing("dpt_large", second_depth_model="plane", **half) == {"dpt_large": "transformers"}
    monkeypatch.setattr("disco.networks.required.find_spec", lambda name: name)
    assert missing("dpt_large", second_depth_model="fastdepth", **half) == {}


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ({"animation_mode": "2D"}, []),
        ({"animation_mode": "3D"}, ["plane"]),  # the pocket networks' default
        ({"animation_mode": "3D", "midas_depth_model": "dpt_large"}, ["dpt_large"]),
        (
            {"animation_mode": "3D", "midas_depth_model": "dpt_hybrid", "second_depth_model": "fastdepth"},
            ["dpt_hybrid", "fastdepth"],
        ),
        (
            {
                "animation_mode": "3D",
                "midas_depth_model": "dpt_hybrid",
                "second_depth_model": "fastdepth",
                "midas_weight": 0,
            },
            ["fastdepth"],
        ),
    ],
)
def test_the_plan_counts_the_depth_networks(written: dict[str, Any], names: list[str]) -> None:
    run = run_from_mapping({"text_prompts": ["a lake"], "max_frames": 3, **written})
    assert [entry.name for entry in needed(run) if entry.kind == "depth"] == names


def test_no_such_depth() -> None:
    with pytest.raises(InputError) as caught:
        load("dpt_larg")
    assert str(caught.value) == "no such depth network: dpt_larg. Did you mean dpt_large?"
