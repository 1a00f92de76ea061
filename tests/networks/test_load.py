"""disco.networks.load: each kind of file becomes its network through the registry; a misfit is explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.factory import _MODEL_CONFIGS
from open_clip.model import CLIP
from open_clip.pretrained import _PRETRAINED
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file
from torch import Tensor, nn

from disco.errors import InputError, SettingsError, WeightsError
from disco.networks.architectures import custom_architecture
from disco.networks.denoiser import build_unet, facts_of
from disco.networks.load import (
    Networks,
    load_clip,
    load_denoiser,
    load_networks,
    load_secondary,
    recognised,
    with_open_clip_files,
)
from disco.networks.perceptual import PerceptualModel, load_perceptual
from disco.networks.required import in_loading_order, required
from disco.secondary_model import SecondaryModel
from disco.settings.kinds import ClipChoice
from disco.settings.model import Settings
from disco.weights.fetch import sha256_of
from disco.weights.registry import Registry, registry

SIZES = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2"}
TINY = {**SIZES, "family": "guided_diffusion", "attention_resolutions": "8", "learn_sigma": True}
POCKET = {**SIZES, "attention_resolutions": "16", "patch": 2, "prediction": "x0", "size_multiple": 4}
VGG = {"family": "lpips", "net": "vgg"}
SMALL_LPIPS = {"family": "pocket_perceptual", "widths": [4, 6]}
CLIP_CFG = {
    "embed_dim": 8,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def published(architecture: dict[str, Any], *files: str, **more: Any) -> dict[str, Any]:
    return {"title": "a test", "architecture": architecture, "files": [{"name": f} for f in files], **more}


def clip_entry(model: str, pretrained: str, file: str) -> dict[str, Any]:
    return published(
        {"family": "open_clip", "model": model, "pretrained": pretrained, "quick_gelu": True}, file
    )


REGISTRY = {
    "architectures": {},
    "defaults": {},
    "clip_flags": {"Big": "tiny/openai", "Loose": "tiny/laion"},
    "diffusion": {
        "tiny": published({**TINY, "secondary": "second"}, "tiny.pt"),
        "pocket": published({**TINY, "secondary": "second"}, "pocket.safetensors", "pocket.json"),
        "custom": published({**TINY, "secondary": "second", "image_size": 256, "channel_mult": ""}),
    },
    "secondary": {"second": published({"family": "secondary", "channels": 4}, "second.safetensors")},
    "lpips": {
        "vgg": published(VGG, "vgg.pth"),
        "small": published(SMALL_LPIPS, "small.safetensors", aliases=["pocket"]),
    },
    "clip": {
        "tiny-quickgelu/openai": clip_entry("tiny-quickgelu", "openai", "openai.pt"),
        "tiny-quickgelu/laion": clip_entry("tiny-quickgelu", "laion", "laion.pt"),
        "boxed": published(
            {"family": "open_clip_dir", "directory": "boxed"},
            "boxed/open_clip_config.json",
            "boxed/open_clip_model.safetensors",
        ),
    },
}


PICTURE = torch.zeros(1, 3, 32, 32)


def full(network: nn.Module) -> dict[str, Tensor]:
    """A state dict without the zeros that a fresh UNet ends in."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: tensor if tensor.any() else 0.05 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in network.state_dict().items()
    }


def write_vgg(path: Path) -> None:
    sizes = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256)}
    sizes |= {14: (256, 256), 17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512)}
    sizes |= {26: (512, 512), 28: (512, 512)}
    state = {"classifier.6.bias": torch.zeros(1000)}
    for index, (before, after) in sizes.items():
        state[f"features.{index}.weight"] = torch.randn(after, before, 3, 3) * (2 / (9 * before)) ** 0.5
        state[f"features.{index}.bias"] = torch.zeros(after)
    torch.save(state, path)


class Traceable(CLIP):
    """A CLIP that is easily written as OpenAI wrote theirs: as a program with all weights in it."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x * self.logit_scale


def write_clips(folder: Path) -> None:
    network = Traceable(**CLIP_CFG, quick_gelu=True)
    torch.save(
        {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}},
        folder / "laion.pt",
    )
    boxed = folder / "boxed"
    boxed.mkdir()
    config = {"model_cfg": CLIP_CFG, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (boxed / "open_clip_config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), boxed / "open_clip_model.safetensors")
    traced = torch.jit.trace(network, torch.zeros(1))
    traced.visual.half()  # OpenAI's archives hold half-precision weights in part
    torch.jit.save(traced, folder / "openai.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    torch.save(full(build_unet(TINY)), folder / "tiny.pt")
    small = {
        k: v.to(torch.float8_e4m3fn if v.ndim > 1 else torch.float16)
        for k, v in full(build_unet(POCKET)).items()
    }
    save_file(small, folder / "pocket.safetensors")
    (folder / "pocket.json").write_text(json.dumps(POCKET | {"learn_sigma": False}))
    save_file({k: v.half() for k, v in SecondaryModel(4).state_dict().items()}, folder / "second.safetensors")
    write_vgg(folder / "vgg.pth")
    save_file(PerceptualModel([4, 6]).state_dict(), folder / "small.safetensors")
    write_clips(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def installed(folder: Path) -> Iterator[None]:
    """Our registry in place of the real one, its files in the models folder, its CLIPs known to open_clip."""
    fake = Registry(REGISTRY)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("load", "required", "architectures"):
            patch.setattr(f"disco.networks.{module}.registry", lambda: fake)
        patch.setenv("DISCO_MODELS", str(folder))
        for name, quick in (("tiny", False), ("tiny-quickgelu", True)):
            patch.setitem(_MODEL_CONFIGS, name, {**CLIP_CFG, "quick_gelu": quick})
            patch.setitem(
                _PRETRAINED,
                name,
                {tag: {"quick_gelu": True, "mean": MEAN, "std": STD} for tag in ("openai", "laion")},
            )
        yield


def settings_of(*clips: str, **values: Any) -> Settings:
    given = {"diffusion_model": "tiny", "use_secondary_model": False, **values}
    return Settings.model_construct(
        **{name: field.default for name, field in Settings.model_fields.items()}
        | given
        | {"clip_models": tuple(ClipChoice(name) for name in clips)}
    )


def load(*clips: str, **values: Any) -> Networks:
    options = {key: values.pop(key) for key in ("base_dirs",) if key in values}
    return load_networks(settings_of(*clips, **values), device="cpu", **options)


def frozen(network: nn.Module) -> bool:
    return not network.training and not any(p.requires_grad for p in network.parameters())


def test_all_networks_of_a_run(folder: Path) -> None:
    networks = load("boxed", "tiny-quickgelu/openai", use_secondary_model=True, init_image="a.png")
    assert networks.device == torch.device("cpu")
    x_t = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    eps = networks.denoiser(x_t, 500.0)
    assert eps.shape == x_t.shape and eps.abs().sum() > 0 and frozen(networks.denoiser.network)
    assert networks.secondary is not None and frozen(networks.secondary)
    assert networks.secondary(x_t, torch.tensor([0.2, 0.8])).pred_x0.shape == x_t.shape
    assert [clip.name for clip in networks.clips] == ["boxed", "tiny-quickgelu/openai"]
    assert networks.lpips is not None
    assert networks.lpips.prepare(x_t[:1])(x_t).shape == (2,)
    assert networks.notices == ()
    files = {
        "tiny/tiny.pt": "tiny.pt",
        "second/second.safetensors": "second.safetensors",
        "boxed/boxed/open_clip_config.json": "boxed/open_clip_config.json",
        "boxed/boxed/open_clip_model.safetensors": "boxed/open_clip_model.safetensors",
        "tiny-quickgelu/openai/openai.pt": "openai.pt",
        "vgg/vgg.pth": "vgg.pth",
    }
    assert networks.hashes == {name: sha256_of(folder / file) for name, file in files.items()}


def test_only_what_is_needed_is_loaded() -> None:
    networks = load()
    assert networks.secondary is None and networks.lpips is None and networks.clips == []
    assert list(networks.hashes) == ["tiny/tiny.pt"]


def test_what_the_training_wrote_beside_the_weights_wins() -> None:
    denoiser = load(diffusion_model="pocket").denoiser
    assert (denoiser.patch, denoiser.prediction, denoiser.size_multiple) == (2, "x0", 4)
    assert all(p.dtype == torch.float32 for p in denoiser.network.parameters())
    assert denoiser(torch.zeros(1, 3, 32, 32), 10).shape == (1, 3, 32, 32)


def test_the_same_clip_in_every_format_gives_the_same_embeddings(folder: Path) -> None:
    cutouts = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    openai, laion = load("tiny-quickgelu/openai", "tiny-quickgelu/laion").clips
    torch.testing.assert_close(
        openai.encode_image(cutouts), laion.encode_image(cutouts), atol=1e-2, rtol=1e-2
    )
    torch.testing.assert_close(openai.encode_text(["a cat"]), laion.encode_text(["a cat"]))
    assert (openai.image_size, openai.mean, openai.std) == (16, tuple(MEAN), tuple(STD))
    assert openai.tokenizer(["a cat"]).shape == (1, 20)
    for clip in (openai, laion):
        assert any(isinstance(m, QuickGELU) for m in clip.network.modules())
        assert frozen(clip.network)


def test_plain_names_get_the_quick_gelu_of_their_weights_with_a_notice() -> None:
    networks = load("tiny/laion", "tiny/openai")
    for clip in networks.clips:
        assert any(isinstance(m, QuickGELU) for m in clip.network.modules())
    assert networks.notices == (
        "tiny/laion: read as tiny-quickgelu/laion, because its weights were trained with QuickGELU",
        "tiny/openai: read as tiny-quickgelu/openai, because its weights were trained with QuickGELU",
    )
    assert [clip.name for clip in networks.clips] == ["tiny/laion", "tiny/openai"]


def test_dd57_keeps_the_plain_gelu_of_its_openclip_flags_and_its_load_order() -> None:
    networks = load("boxed", "Loose", "tiny/openai", compat="dd57")
    openai, laion, boxed = networks.clips
    assert [openai.name, laion.name, boxed.name] == ["tiny/openai", "Loose", "boxed"]
    assert any(isinstance(m, QuickGELU) for m in openai.network.modules())
    assert not any(isinstance(m, QuickGELU) for m in laion.network.modules())
    assert any("compat dd57 keeps tiny as the original did" in text for text in networks.notices)
    assert load("tiny/laion", compat="dd57").notices == ()  # as settings name it, having said so


def test_the_originals_order_of_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("load", "required", "architectures"):
        monkeypatch.setattr(f"disco.networks.{module}.registry", registry)
    given = [
        "RN50-quickgelu/openai",
        "ViT-H-14/laion2b_s32b_b79k",
        "RN50/cc12m",
        "ViTB16",
        "RN101",
        "ViT-B/32",
    ]
    needs = in_loading_order(required(settings_of(*given, diffusion_model="pocket", compat="dd57")), "dd57")
    assert [need.name for need in needs if need.role == "clip"] == [
        "ViT-B/32",
        "ViTB16",
        "RN50-quickgelu/openai",
        "RN101",
        "RN50/cc12m",
        "ViT-H-14/laion2b_s32b_b79k",
    ]


def test_a_users_own_directory_is_a_clip(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_clip").symlink_to(folder / "boxed")
    networks = load("./my_clip")
    assert networks.clips[0].name == "./my_clip"
    assert set(networks.hashes) == {
        "tiny/tiny.pt",
        "my_clip/open_clip_config.json",
        "my_clip/open_clip_model.safetensors",
    }
    assert load("boxed", base_dirs=(folder,)).clips[0].encode_text(["a cat"]).shape == (1, 8)
    (tmp_path / "tiny-quickgelu" / "openai").mkdir(parents=True)  # an accident, not a network
    assert load("tiny-quickgelu/openai").clips[0].embed_dim == 8
    with pytest.raises(WeightsError) as error:
        load("./his_clip")
    assert str(error.value) == "his_clip/open_clip_config.json: cannot be read (No such file or directory)"
    with pytest.raises(InputError, match=r"^no such CLIP: his_clip\."):
        load("his_clip")


def test_bf16_where_asked() -> None:
    networks = load("boxed", precision="bf16", use_secondary_model=True)
    assert networks.denoiser.network.dtype == torch.bfloat16
    assert networks.clips[0].dtype == torch.bfloat16
    assert networks.secondary is not None
    assert next(networks.secondary.parameters()).dtype == torch.float32
    assert load("boxed").clips[0].dtype == torch.float32


def test_fp16_on_a_cpu_is_refused_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disco.networks.load.fetch", None)
    with pytest.raises(SettingsError, match=r"^precision: fp16 needs a CUDA GPU, this run is on cpu"):
        load(precision="fp16")


def test_checkpointing_only_where_the_gradient_passes_the_unet() -> None:
    def checkpoints(networks: Networks) -> set[bool]:
        return {m.use_checkpoint for m in networks.denoiser.network.modules() if hasattr(m, "use_checkpoint")}

    assert checkpoints(load(use_checkpoint=True)) == {True}
    assert checkpoints(load(use_checkpoint=True, use_secondary_model=True)) == {False}
    assert checkpoints(load(use_checkpoint=False)) == {False}


def test_custom_networks(folder: Path, tmp_path: Path) -> None:
    config = {"image_size": 16, "channel_mult": "1,2"}
    custom = {"diffusion_model": "custom", "custom_config": config}
    networks = load(**custom, custom_path=str(folder / "tiny.pt"))
    assert list(networks.hashes) == [(folder / "tiny.pt").as_posix()]
    assert load(**custom, custom_path="tiny.pt", base_dirs=(tmp_path, folder)).denoiser.patch == 1
    with pytest.raises(WeightsError) as error:
        load(**custom, custom_path="no/where.pt")
    assert str(error.value) == "no/where.pt: no such file"
    with pytest.raises(SettingsError) as settings_error:
        load(**custom)
    assert str(settings_error.value) == "custom_path: diffusion_model: custom needs the path of its weights"
    with pytest.raises(WeightsError) as error:
        load(**custom | {"custom_config": {"image_size": 16}}, custom_path=str(folder / "tiny.pt"))
    assert str(error.value).startswith("architecture: image_size 16 has no channel_mult of its own")
    with pytest.raises(WeightsError) as error:
        load(**custom | {"custom_config": config | {"num_channels": 33}}, custom_path=str(folder / "tiny.pt"))
    built = "image_size 16, num_channels 33, channel_mult 1,2, num_res_blocks 1"
    assert str(error.value).startswith(f"architecture: no network can be built of {built}")


def test_customs_defaults_are_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("load", "required", "architectures"):
        monkeypatch.setattr(f"disco.networks.{module}.registry", registry)
    architecture = custom_architecture({"num_channels": 64})
    assert architecture["num_channels"] == 64
    expected = {"image_size": 256, "attention_resolutions": "16", "num_heads": 1, "learn_sigma": True}
    assert expected.items() <= architecture.items()
    assert not architecture["use_scale_shift_norm"] and not architecture["resblock_updown"]


def test_the_perceptual_network_is_the_chosen_one(folder: Path) -> None:
    small = load(init_image="a.png", lpips_model="pocket")
    assert small.lpips is not None and [len(layer[0]) for layer in small.lpips.features(PICTURE)] == [4, 6]
    assert small.hashes["small/small.safetensors"] == sha256_of(folder / "small.safetensors")
    assert load(lpips_model="pocket").lpips is None, "needed only for an init picture"


def test_weights_that_do_not_fit_say_what_they_look_like(folder: Path) -> None:
    path = folder / "tiny.pt"
    with pytest.raises(WeightsError) as error:
        load_denoiser(path, {**TINY, "learn_sigma": False, "num_res_blocks": 2})
    text = str(error.value)
    assert text.startswith(f"{path}: does not fit the network: ")
    assert "The file looks like the network tiny" in text and "num_res_blocks 1, learn_sigma true" in text
    with pytest.raises(WeightsError, match=r"The file looks like a secondary network$"):
        load_denoiser(folder / "second.safetensors", TINY)
    with pytest.raises(WeightsError) as error:
        load_secondary(folder / "second.safetensors", 8)
    assert str(error.value) == (
        f"{folder / 'second.safetensors'}: does not fit the network: "
        "net.0.0.weight has shape [4, 19, 3, 3], expected [8, 19, 3, 3]; "
        "net.0.0.bias has shape [4], expected [8]; "
        "net.1.0.weight has shape [4, 4, 3, 3], expected [8, 8, 3, 3]; 44 more. "
        "The file looks like a secondary network"
    )
    with pytest.raises(WeightsError, match=r"Expected is torchvision's vgg16-397923af\.pth$"):
        load_perceptual(path, VGG)


def test_clip_weights_that_do_not_fit(folder: Path) -> None:
    from disco.networks.clip import directory_config

    config = directory_config(folder / "boxed")
    config.model_cfg["vision_cfg"]["width"] = 64
    path = folder / "laion.pt"
    with pytest.raises(WeightsError) as error:
        load_clip("wide", path, config)
    assert str(error.value).startswith(
        f"{path}: does not fit the network: visual.class_embedding has shape [32]"
    )
    assert str(error.value).endswith(". The file holds another CLIP than its name or its configuration says")
    with pytest.raises(WeightsError, match="The file looks like the network tiny"):
        load_clip("unet", folder / "tiny.pt", directory_config(folder / "boxed"))


def test_the_bundled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("load", "required", "architectures"):
        monkeypatch.setattr(f"disco.networks.{module}.registry", registry)
    chosen = {"diffusion_model": "pocket", "use_secondary_model": True, "lpips_model": "pocket"}
    networks = load("pocket-conv", "pocket-vit", init_image="a.png", **chosen)
    x_t = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        noise = networks.denoiser(x_t, 999.0)
        assert networks.secondary is not None
        guess = networks.secondary(x_t, torch.tensor([0.99])).eps
    for eps in (noise, guess):  # almost all of x_t is noise there, and both networks know it
        assert torch.cosine_similarity(eps.flatten(), x_t.flatten(), dim=0) > 0.98
    for clip in networks.clips:
        cutouts = torch.rand(2, 3, clip.image_size, clip.image_size)
        assert clip.encode_image(cutouts).shape == (2, clip.embed_dim)
        a, b = clip.encode_text(["snowy mountains", "a yellow flower"])
        assert torch.cosine_similarity(a, b, dim=0) < 0.9
    assert networks.lpips is not None
    assert networks.lpips.prepare(x_t)(-x_t).item() > networks.lpips.prepare(x_t)(0.9 * x_t).item() > 0
    assert networks.notices == () and len(networks.hashes) == 8


def test_unlisted_pairs_get_the_file_that_open_clip_names() -> None:
    def files(name: str) -> tuple[Any, ...]:
        entry, _ = registry().find_clip(name)
        assert entry.unlisted
        return with_open_clip_files(entry).files

    (file,) = files("ViT-B-16/datacomp_xl_s13b_b90k")
    assert file.hub is not None and file.hub.repo == "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K"
    assert (file.hub.filename, file.hub.also[-1]) == (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.bin",
    )
    assert file.name == "ViT-B-16-datacomp_xl_s13b_b90k.weights"
    entry, _ = registry().find_clip("ViT-B-16/no_such_weights")
    with pytest.raises(WeightsError, match=r"^ViT-B-16: open_clip has no weights 'no_such_weights'"):
        with_open_clip_files(entry)


def test_open_clip_is_left_as_it_was() -> None:
    before = open_clip.get_model_config("ViT-B-32")
    assert before is not None and not before.get("quick_gelu")


@pytest.mark.parametrize(("channels", "last"), [(64, True), (8, False)])
def test_a_wide_secondary_network_has_its_channels_last_on_a_cpu(
    tmp_path: Path, channels: int, last: bool
) -> None:
    torch.manual_seed(0)
    plain = SecondaryModel(channels).requires_grad_(False)
    torch.save(plain.state_dict(), tmp_path / "secondary.pth")
    found = load_secondary(tmp_path / "secondary.pth", channels)
    assert all(p.is_contiguous() for p in found.parameters()) is not last
    x_t, t = torch.randn(1, 3, 64, 32), torch.tensor([0.4])
    torch.testing.assert_close(found(x_t, t).pred_x0, plain(x_t, t).pred_x0, atol=1e-4, rtol=0)


ONE_FILE = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.mark.parametrize("vision", ["vit", "resnet"])
@pytest.mark.parametrize("ending", [".pt", ".safetensors", "jit"])
def test_a_clip_in_one_file_of_openais(vision: str, ending: str, tmp_path: Path) -> None:
    config = ONE_FILE
    if vision == "resnet":
        config = ONE_FILE | {
            "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None}
        }
    torch.manual_seed(1)
    network = Traceable(**config, quick_gelu=True).eval()
    path = tmp_path / ("clip.pt" if ending == "jit" else f"clip{ending}")
    if ending == "jit":
        torch.jit.save(torch.jit.trace(network, torch.zeros(1)), path)
    elif ending == ".pt":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    (clip,) = load(str(path)).clips
    side = config["vision_cfg"]["image_size"]
    pictures = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    assert clip.image_size == side
    features = network.encode_image(pictures)
    assert torch.allclose(clip.network.encode_image(pictures), features, atol=1e-5)


def test_what_is_no_clip_of_openais_says_so(folder: Path) -> None:
    with pytest.raises(WeightsError) as error:
        load(str(folder / "tiny.pt"))
    told = "no CLIP in OpenAI's format: 'ln_final.weight' is missing"
    assert str(error.value) == f"{folder / 'tiny.pt'}: {told}. For others name a folder in open_clip's format"


@pytest.mark.parametrize("name", ["pocket", "512x512_diffusion_uncond_finetune_008100", "PulpSciFiDiffusion"])
def test_published_architectures_are_recognised_by_their_tensors(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("disco.networks.load.registry", registry)
    architecture = registry().get("diffusion", name).architecture
    with torch.device("meta"):
        state = build_unet(architecture).state_dict()
    like = recognised(state)
    assert like is not None and facts_of(like.architecture) == facts_of(architecture)
    del state["out.2.weight"]
    assert recognised(state) is None


def test_a_custom_network_of_a_published_architecture_needs_no_config(folder: Path) -> None:
    networks = load(diffusion_model="custom", custom_path=str(folder / "tiny.pt"))
    assert networks.denoiser.patch == 1
    told = f"{folder / 'tiny.pt'}: has the architecture of tiny, and is used as that"
    assert told in networks.notices
