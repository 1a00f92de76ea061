"""disco.networks.clip with networks of a few thousand weights, built from open_clip's own classes."""

from __future__ import annotations

import copy
import gc
import importlib.util
import json
import warnings
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from open_clip.model import CLIP
from open_clip.transformer import LayerNormFp32, QuickGELU
from safetensors.torch import save_file
from torch import Tensor, nn

from disco.errors import RunError, WeightsError
from disco.networks import hybrid_vit
from disco.networks.clip import (
    ClipConfig,
    ClipModel,
    build_clip,
    builtin_config,
    clip_source,
    directory_config,
    directory_weights,
    fit_state,
    token_report,
    tokenizer_of,
)
from disco.weights.registry import Entry, registry
from tests.places import GOLDEN

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16}
RESNET = {"layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "image_size": 32}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def load_recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_recipe", GOLDEN / "golden_recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(vision: dict[str, Any] | None = None, **extra: Any) -> ClipConfig:
    model_cfg = {"embed_dim": 8, "vision_cfg": dict(vision or VISION), "text_cfg": dict(TEXT), **extra}
    return ClipConfig(model_cfg, MEAN, STD, "tiny")


def clip_of(config: ClipConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> ClipModel:
    torch.manual_seed(seed)
    return ClipModel("tiny", build_clip(config, dtype), config, dtype=dtype)


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return clip_of(config_of())


@pytest.fixture
def cutouts() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def write_directory(path: Path, config: ClipConfig, **json_extra: Any) -> nn.Module:
    path.mkdir()
    network = build_clip(config)
    content = {"model_cfg": config.model_cfg, "preprocess_cfg": {"mean": MEAN, "std": STD}, **json_extra}
    (path / "open_clip_config.json").write_text(json.dumps(content))
    save_file(network.state_dict(), path / "open_clip_model.safetensors")
    return network


def test_names_sizes_and_constants_come_from_the_network(clip: ClipModel) -> None:
    assert (clip.name, clip.image_size, clip.embed_dim) == ("tiny", 16, 8)
    assert (clip.mean, clip.std) == (MEAN, STD)


def test_resnets_give_their_size_as_a_number() -> None:
    assert clip_of(config_of(RESNET)).image_size == 32


def test_oblong_inputs_are_refused() -> None:
    with pytest.raises(WeightsError) as error:
        clip_of(config_of(VISION | {"image_size": [16, 24]}))
    assert str(error.value) == "tiny: its input is 24x16; only square inputs are supported"


def test_pictures_are_normalised_inside(clip: ClipModel, cutouts: Tensor) -> None:
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    expected = clip.network.encode_image((cutouts - mean) / std)
    torch.testing.assert_close(clip.encode_image(cutouts), expected)


def test_embeddings_are_float32_of_any_length_with_gradient_to_the_picture(
    clip: ClipModel, cutouts: Tensor
) -> None:
    cutouts.requires_grad_()
    embeds = clip.encode_image(cutouts)
    assert embeds.shape == (3, 8) and embeds.dtype == torch.float32
    assert not torch.allclose(embeds.norm(dim=-1), torch.ones(3))
    embeds.sum().backward()
    assert cutouts.grad is not None and cutouts.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in clip.network.parameters())


def test_texts_are_embedded_one_row_each(clip: ClipModel) -> None:
    embeds = clip.encode_text(["a lighthouse", "a cat", "a lighthouse"])
    assert embeds.shape == (3, 8) and embeds.dtype == torch.float32 and not embeds.requires_grad
    torch.testing.assert_close(embeds[0], embeds[2])
    assert not torch.allclose(embeds[0], embeds[1])


@pytest.mark.parametrize("vision", [VISION, RESNET, TIMM], ids=["vit", "resnet", "timm"])
def test_half_precision_image_tower_stays_close(vision: dict[str, Any]) -> None:
    full, half = clip_of(config_of(vision)), clip_of(config_of(vision), torch.bfloat16)
    side = full.image_size
    cutouts = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    a, b = full.encode_image(cutouts), half.encode_image(cutouts)
    assert b.dtype == torch.float32
    assert torch.cosine_similarity(a, b).min() > 0.999
    # The text tower, used once, keeps its precision.
    torch.testing.assert_close(full.encode_text(["a cat"]), half.encode_text(["a cat"]))
    weights = [p for n, p in half.network.visual.named_parameters() if n.endswith("weight") and p.ndim > 1]
    assert all(weight.dtype == torch.bfloat16 for weight in weights)
    norms = [m for m in half.network.visual.modules() if isinstance(m, LayerNormFp32)]
    assert all(norm.weight.dtype == torch.float32 for norm in norms)


def test_token_report_counts_and_shows_what_is_cut(clip: ClipModel) -> None:
    short = clip.token_report("a lighthouse, by Greg Rutkowski")
    assert (short.count, short.limit, short.cut) == (7, 75, "")
    words = " ".join(f"word{i}" for i in range(60))
    long = clip.token_report(words)
    assert long.count > long.limit == 75
    assert long.cut and words.replace(" ", "").endswith(long.cut.replace(" ", ""))
    # Beyond the limit nothing has an effect; the last token that fits still has.
    kept = clip.tokenizer([words])[0]
    assert kept[-1] == clip.tokenizer.eot_token_id
    torch.testing.assert_close(clip.encode_text([words]), clip.encode_text([words + " and a cat"]))


def test_token_report_of_a_transformers_tokenizer() -> None:
    class Inner:
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            assert add_special_tokens is False
            return {"input_ids": [len(word) for word in text.split()]}

        def num_special_tokens_to_add(self) -> int:
            return 1

        def decode(self, ids: list[int]) -> str:
            return " ".join("x" * i for i in ids)

    class Wrapper:
        tokenizer, context_length = Inner(), 4

        def clean_fn(self, text: str) -> str:
            return text.strip()

    report = token_report(Wrapper(), " a bb ccc dddd ee ")
    assert (report.count, report.limit, report.cut) == (5, 3, "xxxx xx")


def test_tokenizer_takes_its_length_from_the_network() -> None:
    config = config_of()
    config.model_cfg["text_cfg"]["context_length"] = 12
    assert tokenizer_of(config)(["a cat"]).shape == (1, 12)
    assert tokenizer_of(config) is tokenizer_of(config)


def test_the_text_tower_is_really_freed() -> None:
    for extra in ({}, {"custom_text": True}):
        clip = clip_of(config_of(**extra))
        before = sum(p.numel() for p in clip.network.parameters())
        texts = [n for n, _ in clip.network.named_parameters() if "token_embedding" in n]
        remembered = weakref.ref(clip.network.get_parameter(texts[0]))
        clip.free_text_tower()
        gc.collect()
        after = {name: p.numel() for name, p in clip.network.named_parameters()}
        assert remembered() is None
        assert {name.split(".")[0] for name in after} == {"visual", "logit_scale"}
        assert sum(after.values()) < before / 10
        clip.free_text_tower()
        with pytest.raises(RunError) as error:
            clip.encode_text(["a cat"])
        assert str(error.value) == "tiny: its text tower was freed; load the network again for new prompts"
        assert clip.encode_image(torch.rand(1, 3, 16, 16)).shape == (1, 8)


def test_quick_gelu_is_really_used_and_changes_the_embeddings(cutouts: Tensor) -> None:
    plain, quick = clip_of(config_of()), clip_of(config_of(quick_gelu=True))
    assert not any(isinstance(m, QuickGELU) for m in plain.network.modules())
    towers = {n.split(".")[0] for n, m in quick.network.named_modules() if isinstance(m, QuickGELU)}
    assert towers == {"visual", "transformer"}
    quick.network.load_state_dict(plain.network.state_dict())
    for a, b in (
        (plain.encode_image(cutouts), quick.encode_image(cutouts)),
        (plain.encode_text(["a cat"]), quick.encode_text(["a cat"])),
    ):
        assert (a - b).abs().max() / a.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("model", "pretrained", "keep_plain", "quick", "told"),
    [
        ("ViT-B-32-quickgelu", "openai", False, True, False),
        ("ViT-B-32", "openai", False, True, True),
        ("RN50", "openai", True, True, True),
        ("ViT-B-32", "laion400m_e32", False, True, True),
        ("ViT-B-32", "laion400m_e32", True, False, False),
        ("RN50", "yfcc15m", True, False, False),
        ("ViT-B-32", "laion2b_e16", False, False, False),
        ("ViT-L-14", "datacomp_xl_s13b_b90k", False, False, False),
    ],
)
def test_quick_gelu_follows_the_weights(
    model: str, pretrained: str, keep_plain: bool, quick: bool, told: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = builtin_config(model, pretrained, keep_plain=keep_plain)
    assert bool(config.model_cfg.get("quick_gelu")) is quick
    expected = (
        f"{model}/{pretrained}: these weights were trained with QuickGELU; Disco builds the network so"
        if told
        else None
    )
    assert config.notice == expected


PUBLISHED = [
    entry
    for entry in registry().entries()
    if entry.kind == "clip" and entry.architecture["family"] == "open_clip"
]


@pytest.mark.parametrize("entry", PUBLISHED, ids=[entry.name for entry in PUBLISHED])
def test_the_registry_and_open_clip_agree(entry: Entry) -> None:
    facts = entry.architecture
    config = builtin_config(facts["model"], facts["pretrained"])
    assert config.notice is None
    assert bool(config.model_cfg.get("quick_gelu")) is bool(facts.get("quick_gelu"))
    assert config.model_cfg["vision_cfg"]["image_size"] == facts["image_size"]


def test_mean_and_std_come_from_the_published_pair() -> None:
    assert builtin_config("ViT-B-32-quickgelu", "openai").mean == (0.48145466, 0.4578275, 0.40821073)
    assert builtin_config("ViT-L-14", "laion2b_s32b_b82k").std == (0.5, 0.5, 0.5)
    assert builtin_config("ViT-B-16-SigLIP", "webli").mean == (0.5, 0.5, 0.5)


def test_unknown_models_and_pairs_are_refused() -> None:
    with pytest.raises(WeightsError) as error:
        builtin_config("ViT-B-33", "openai")
    assert str(error.value) == "ViT-B-33: open_clip has no such model"
    with pytest.raises(WeightsError) as error:
        clip_source("RN50x64", "laion")
    assert str(error.value) == "RN50x64: open_clip has no weights 'laion' for it; it has: openai"


def test_openai_names_load_into_either_kind(clip: ClipModel, cutouts: Tensor) -> None:
    state = clip.network.state_dict() | {
        "input_resolution": torch.tensor(16),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    for extra in ({}, {"custom_text": True}, {"nonscalar_logit_scale": True}, {"init_logit_bias": -10.0}):
        network = build_clip(config_of(**extra))
        network.load_state_dict(fit_state(network, state), strict=True)
        other = ClipModel("other", network, config_of(**extra))
        torch.testing.assert_close(other.encode_image(cutouts), clip.encode_image(cutouts))
        torch.testing.assert_close(other.encode_text(["a cat"]), clip.encode_text(["a cat"]))


@pytest.mark.parametrize(("k", "tag", "embed_dim", "side"), [(0, "clipA/", 32, 16), (1, "clipB/", 48, 24)])
def test_text_embeddings_agree_with_the_original(k: int, tag: str, embed_dim: int, side: int) -> None:
    recipe = load_recipe()
    config = ClipConfig(
        {
            "embed_dim": embed_dim,
            "quick_gelu": True,
            "vision_cfg": {"layers": 2, "width": 64, "head_width": 64, "patch_size": 8, "image_size": side},
            "text_cfg": TEXT | {"width": 64, "heads": 1, "layers": 2},
        },
        MEAN,
        STD,
        "golden",
    )
    clip = ClipModel("golden", recipe.fill(build_clip(config), tag=tag), config)
    with np.load(GOLDEN / "d_guidance.npz") as arrays:
        golden = torch.from_numpy(arrays[f"target{k}"])
    embeds = clip.encode_text(["a lighthouse:2", "yellow:-1"])
    assert (embeds - golden).abs().max() / golden.abs().max() < 1e-5


def test_a_directory_says_how_its_network_is_built(tmp_path: Path) -> None:
    written = write_directory(tmp_path / "my_clip", config_of(TIMM, custom_text=True))
    config = directory_config(tmp_path / "my_clip")
    assert (config.mean, config.std) == (MEAN, STD)
    assert config.tokenizer == f"local-dir:{tmp_path / 'my_clip'}"
    assert directory_weights(tmp_path / "my_clip").name == "open_clip_model.safetensors"
    shapes = {name: tensor.shape for name, tensor in build_clip(config).state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in written.state_dict().items()}


def test_a_directory_without_preprocess_cfg_has_clips_own_constants(tmp_path: Path) -> None:
    write_directory(tmp_path / "my_clip", config_of(), preprocess_cfg={})
    assert directory_config(tmp_path / "my_clip").std == (0.26862954, 0.26130258, 0.27577711)


def test_broken_directories_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_config.json"
    with pytest.raises(WeightsError) as error:
        directory_config(tmp_path)
    assert str(error.value) == f"{path}: cannot be read (No such file or directory)"
    path.write_text("{")
    with pytest.raises(WeightsError, match="not JSON") as error:
        directory_config(tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    path.write_text('{"embed_dim": 8}')
    with pytest.raises(WeightsError) as error:
        directory_config(tmp_path)
    assert str(error.value) == f"{path}: needs model_cfg with embed_dim, vision_cfg and text_cfg"
    with pytest.raises(WeightsError) as error:
        directory_weights(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: holds none of open_clip_model.safetensors, open_clip_pytorch_model.safetensors, "
        "open_clip_pytorch_model.bin"
    )


def test_configurations_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"^tiny: open_clip cannot build this \(.*no_such_key"):
        build_clip(config_of(no_such_key=1))
    with pytest.raises(WeightsError, match=r"^tiny: open_clip cannot build this"):
        build_clip(config_of({"timm_model_name": "no_such_model", "image_size": 32}))
    with pytest.raises(WeightsError) as error:
        build_clip(config_of(multimodal_cfg={}))
    assert str(error.value) == "tiny: CoCa networks are not supported"


def test_building_downloads_nothing_and_leaves_the_configuration_alone() -> None:
    config = config_of(TIMM | {"timm_model_pretrained": True})
    network = build_clip(config)
    assert isinstance(network, CLIP)
    assert config.model_cfg["vision_cfg"]["timm_model_pretrained"] is True


@pytest.mark.gpu
@pytest.mark.parametrize("vision", [VISION, RESNET, TIMM], ids=["vit", "resnet", "timm"])
def test_fp16_on_a_gpu_is_close(vision: dict[str, Any]) -> None:
    config = config_of(vision)
    torch.manual_seed(0)
    network = build_clip(config, torch.float16)
    full = ClipModel("full", copy.deepcopy(network), config, device="cuda")
    half = ClipModel("half", network, config, device="cuda", dtype=torch.float16)
    cutouts = torch.rand(2, 3, full.image_size, full.image_size, device="cuda")
    assert torch.cosine_similarity(full.encode_image(cutouts), half.encode_image(cutouts)).min() > 0.999
    assert half.encode_text(["a cat"]).device.type == "cuda"


def test_the_hybrid_vit_is_known_to_timm_and_has_one_token_for_sixteen_pixels():
    vision = {"timm_model_name": hybrid_vit.NAME, "timm_pool": "avg", "timm_proj": "linear", "image_size": 96}
    visual = build_clip(config_of(vision)).visual.eval()
    assert visual.trunk.forward_features(torch.zeros(2, 3, 96, 96)).shape == (2, 36, 192)
    assert visual(torch.zeros(2, 3, 96, 96)).shape == (2, 8)
    with pytest.raises(ValueError, match=r"^vit_pocket_mobilenetv2_r16_96: there are no pretrained weights$"):
        timm.create_model(hybrid_vit.NAME, pretrained=True)
