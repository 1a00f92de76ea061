"""disco/weights/registry.py and the facts of registry.yaml."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from disco.errors import InputError
from disco.files.places import REGISTRY
from disco.weights.registry import KINDS, Registry, _read, registry

SHA_256_UNCOND = "a37c32fffd316cd494cf3f35b339936debdc1576dad13fe57c42399a5dbc78b1"
SHA_SECONDARY = "983e3de6f95c88c81b2ca7ebb2c217933be1973b1ff058776b970f901584613a"
TRAINED = "because its weights were trained with QuickGELU"
KALIYUGA = (
    "pixelartdiffusion_expanded",
    "pixel_art_diffusion_hard_256",
    "pixel_art_diffusion_soft_256",
    "pixelartdiffusion4k",
    "watercolordiffusion_2",
    "watercolordiffusion",
    "PulpSciFiDiffusion",
)


def schedule_length(text: str) -> int:
    return sum(int(count) for count in re.findall(r"\*(\d+)", text))


def test_every_hash_has_its_form_and_every_entry_a_source() -> None:
    for entry in registry().entries():
        for file in entry.files:
            assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256), entry.name
            assert file.sha256_prefix is None or re.fullmatch(r"[0-9a-f]{8,63}", file.sha256_prefix), (
                entry.name
            )
            assert file.hub or file.mirrors or file.bundled, entry.name
            assert all(re.match(r"https://[\w.-]+/", mirror) for mirror in file.mirrors), entry.name
            assert file.bytes is None or file.bytes > 1_000_000
            assert "/" not in file.name


def test_names_aliases_and_files_are_unique() -> None:
    for kind in KINDS:
        entries = [registry().get(kind, name) for name in registry().names(kind)]
        names = [name for entry in entries for name in (entry.name, *entry.aliases)]
        assert len(names) == len(set(names))
    hashes = [file.sha256 for entry in registry().entries() for file in entry.files if file.sha256]
    assert len(hashes) == len(set(hashes))
    files = [f.name for e in registry().entries() for f in e.files if not f.bundled]
    assert len(files) == len(set(files))


def test_a_hash_in_a_file_name_agrees() -> None:
    seen = 0
    for entry in registry().entries():
        for file in entry.files:
            short = re.search(r"-([0-9a-f]{8})\.pth?$", file.name)
            if short and file.sha256:
                assert file.sha256.startswith(short.group(1)), file.name
                seen += 1
    assert seen == 13  # twelve of OpenCLIP's and the VGG


def test_the_256_network_never_has_the_secondary_networks_hash() -> None:
    assert registry().get("diffusion", "256x256_diffusion_uncond").files[0].sha256 == SHA_256_UNCOND
    assert registry().get("diffusion", "256x256_diffusion_uncond").files[0].bytes == 2_211_383_297
    owners = [e.name for e in registry().entries() for f in e.files if f.sha256 == SHA_SECONDARY]
    assert owners == ["secondary_model_imagenet_2"]


@pytest.mark.parametrize(
    "dead", ["v-diffusion.s3", "yjqvhu6l6l0r2eh", "batbot.tv", "cloudflare-ipfs", "portrait_generator_v001/"]
)
def test_dead_mirrors_are_left_out(dead: str) -> None:
    assert dead not in REGISTRY.read_text(encoding="utf-8")


def test_every_network_that_disco_offers_is_here() -> None:
    for name in (
        "512x512_diffusion_uncond_finetune_008100",
        "256x256_diffusion_uncond",
        "portrait_generator_v001",
        *KALIYUGA,
        "custom",
    ):
        assert registry().get("diffusion", name).name == name


def test_diffusion_entries_are_complete() -> None:
    keys = set(registry().get("diffusion", "pocket").architecture)
    assert {
        "family",
        "image_size",
        "prediction",
        "size_multiple",
        "secondary",
        "num_heads_upsample",
        "patch",
    } <= keys
    for name in registry().names("diffusion"):
        entry = registry().get("diffusion", name)
        assert set(entry.architecture) == keys
        registry().get("secondary", entry.architecture["secondary"])
        width, height = entry.defaults["width_height"]
        assert (
            width % entry.architecture["size_multiple"] == height % entry.architecture["size_multiple"] == 0
        )
        for key in ("cut_overview", "cut_innercut", "cut_ic_pow", "cut_icgray_p"):
            assert schedule_length(entry.defaults[key]) == 1000, (name, key)
        for clip in entry.defaults["clip_models"]:
            assert registry().find_clip(clip)[1] is None


def test_the_originals_defaults() -> None:
    entry = registry().get("diffusion", "512x512_diffusion_uncond_finetune_008100")
    assert entry.defaults["width_height"] == [1280, 768]
    assert (entry.defaults["steps"], entry.defaults["skip_steps"], entry.defaults["use_secondary_model"]) == (
        250,
        10,
        True,
    )
    assert entry.defaults["clip_models"] == [
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-quickgelu/openai",
        "RN50-quickgelu/openai",
    ]
    assert registry().get("diffusion", "256x256_diffusion_uncond").defaults["width_height"] == [512, 448]
    assert registry().get("diffusion", "portrait_generator_v001").defaults["width_height"] == [1280, 768]
    assert registry().get("diffusion", "custom").defaults["width_height"] == [1280, 768]
    assert registry().get("diffusion", "custom").files == ()


def test_architectures_follow_the_reference() -> None:
    def facts(name: str) -> tuple[object, ...]:
        a = registry().get("diffusion", name).architecture
        keys = (
            "image_size",
            "num_channels",
            "attention_resolutions",
            "num_heads",
            "num_head_channels",
            "resblock_updown",
        )
        return (*(a[key] for key in keys), a["use_scale_shift_norm"])

    assert facts("512x512_diffusion_uncond_finetune_008100") == (512, 256, "32,16,8", 1, 64, True, True)
    assert facts("256x256_diffusion_uncond") == (256, 256, "32,16,8", 1, 64, True, True)
    assert facts("portrait_generator_v001") == (512, 128, "32,16,8", 4, -1, True, True)
    for name in KALIYUGA:
        assert facts(name) == (256, 128, "16", 1, -1, False, False)
    v = registry().get("diffusion", "512x512_diffusion_uncond_openimages_epoch28_withfilter").architecture
    assert v["prediction"] == "v"


def test_the_kaliyuga_presets_are_forced_in_dd57_only_there() -> None:
    forced = [name for name in registry().names("diffusion") if registry().get("diffusion", name).forced_cuts]
    assert set(forced) == set(KALIYUGA)
    pulp = registry().get("diffusion", "PulpSciFiDiffusion").defaults
    assert pulp["cut_overview"] == "[15]*200+[12]*200+[6]*100+[4]*100+[2]*200+[0]*200"
    assert pulp["width_height"] == [512, 448]
    assert (
        registry().get("diffusion", "watercolordiffusion").defaults["cut_innercut"]
        == "[2]*200+[4]*200+[12]*600"
    )


def test_pocket() -> None:
    entry = registry().get("diffusion", "pocket")
    assert entry.defaults["width_height"] == [128, 128]
    assert entry.defaults["clip_models"] == ["pocket-conv", "pocket-vit"]
    assert entry.architecture["size_multiple"] == 32
    assert entry.architecture["secondary"] == "pocket_secondary"
    assert entry.size() == (0, True)
    assert [file.bundled for file in registry().get("clip", "pocket-vit").files] == [
        "clip_vit/open_clip_config.json",
        "clip_vit/open_clip_model.safetensors",
    ]


def test_sizes() -> None:
    assert registry().get("diffusion", "256x256_diffusion_uncond").size() == (2_211_383_297, True)
    assert registry().get("secondary", "secondary_model_imagenet_2").size() == (4 * 13_841_547, False)
    assert registry().get("lpips", "vgg").size() == (4 * 138_357_544, False)
    openimages = registry().get("diffusion", "512x512_diffusion_uncond_openimages_epoch28_withfilter")
    assert openimages.size() == (4 * 557_973_638, False)
    unlisted, _ = registry().find_clip("ViT-B-16/datacomp_xl_s13b_b90k")
    assert unlisted.size() == (None, False)
    assert registry().get("clip", "RN50x64").size() == (1_353_500_174, True)


def test_depth_networks() -> None:
    assert registry().names("depth") == ("plane", "fastdepth", "dpt_large", "dpt_hybrid")
    assert registry().get("depth", "plane").size() == (0, True)
    assert registry().get("depth", "fastdepth").size() == (5_775_869, True)
    for name, repo in (("dpt_large", "Intel/dpt-large"), ("dpt_hybrid", "Intel/dpt-hybrid-midas")):
        config, weights = registry().get("depth", repo).files
        assert registry().get("depth", repo).name == name
        assert config.hub is not None and weights.hub is not None
        assert (config.hub.repo, config.hub.filename) == (repo, "config.json")
        assert (weights.hub.filename, weights.hub.also) == ("model.safetensors", ("pytorch_model.bin",))


def test_hub_addresses() -> None:
    hub = registry().get("secondary", "secondary_model_imagenet_2").files[0].hub
    assert hub is not None
    assert (hub.repo, hub.filename, hub.repo_type) == (
        "huggi/secondary_model_imagenet_2.pth",
        "secondary_model_imagenet_2.pth",
        "space",
    )
    siglip = registry().get("clip", "ViT-B-16-SigLIP/webli").files[0].hub
    assert siglip is not None
    assert (siglip.filename, siglip.also) == ("open_clip_model.safetensors", ("open_clip_pytorch_model.bin",))


@pytest.mark.parametrize(
    ("written", "entry"),
    [
        ("ViTB32", "ViT-B-32-quickgelu/openai"),
        ("ViT-B/32", "ViT-B-32-quickgelu/openai"),
        ("ViT-B-32-quickgelu/openai", "ViT-B-32-quickgelu/openai"),
        ("ViTL14_336px", "ViT-L-14-336-quickgelu/openai"),
        ("ViT-L/14@336px", "ViT-L-14-336-quickgelu/openai"),
        ("RN50x4", "RN50x4-quickgelu/openai"),
        ("ViTB16_laion400m_e31", "ViT-B-16/laion400m_e31"),
        ("ViT-B-16::laion400m_e32", "ViT-B-16/laion400m_e32"),
        ("ViTB32quickgelu_laion400m_e32", "ViT-B-32-quickgelu/laion400m_e32"),
        ("pocket-conv", "pocket-conv"),
    ],
)
def test_clip_names_that_need_no_notice(written: str, entry: str) -> None:
    for compat in ("fixed", "dd57"):
        found, notice = registry().find_clip(written, compat)
        assert (found.name, notice) == (entry, None)
        assert not found.unlisted


@pytest.mark.parametrize("written", ["ViT-B-32::openai", "ViT-B-32/openai"])
def test_openai_weights_get_quickgelu_in_both_modes(written: str) -> None:
    for compat in ("fixed", "dd57"):
        found, notice = registry().find_clip(written, compat)
        assert found.name == "ViT-B-32-quickgelu/openai"
        assert notice == f"{written}: read as ViT-B-32-quickgelu/openai, " + TRAINED


def test_dd57_keeps_the_plain_names_of_the_openclip_flags() -> None:
    fixed, notice = registry().find_clip("ViTB32_laion400m_32")
    assert fixed.name == "ViT-B-32-quickgelu/laion400m_e32"
    assert notice == (
        "ViTB32_laion400m_32: read as ViT-B-32-quickgelu/laion400m_e32, "
        "because its weights were trained with QuickGELU"
    )
    kept, notice = registry().find_clip("ViTB32_laion400m_32", "dd57")
    assert kept.name == "ViT-B-32/laion400m_e32"
    assert kept.architecture["model"] == "ViT-B-32"
    assert kept.architecture["quick_gelu_mismatch"] is True
    assert kept.files == fixed.files
    assert notice == (
        "ViTB32_laion400m_32: compat dd57 keeps ViT-B-32 as the original did, "
        "though its weights were trained with QuickGELU"
    )
    assert (
        registry().get("clip", "ViT-B-32-quickgelu/laion400m_e32").architecture["model"]
        == "ViT-B-32-quickgelu"
    )


def test_a_needless_quickgelu_is_taken_away() -> None:
    found, notice = registry().find_clip("ViT-B-32-quickgelu/laion2b_e16")
    assert found.name == "ViT-B-32/laion2b_e16"
    assert notice == (
        "ViT-B-32-quickgelu/laion2b_e16: read as ViT-B-32/laion2b_e16, "
        "because its weights were trained without QuickGELU"
    )


def test_pairs_that_only_open_clip_knows_are_usable() -> None:
    found, notice = registry().find_clip("ViT-B-16/datacomp_xl_s13b_b90k")
    assert found.unlisted
    assert found.files == ()
    assert found.architecture == {
        "family": "open_clip",
        "model": "ViT-B-16",
        "pretrained": "datacomp_xl_s13b_b90k",
    }
    assert notice == (
        "ViT-B-16/datacomp_xl_s13b_b90k: not in Disco's list; fetched by open_clip, "
        "so its size is not known yet"
    )
    assert registry().find_clip("ViT-H-14/dfn5b")[0].name == "ViT-H-14-quickgelu/dfn5b"


def test_every_disco_flag_is_known_in_load_order() -> None:
    flags = list(registry().clip_flags)
    assert flags[:9] == [
        "ViTB32",
        "ViTB16",
        "ViTL14",
        "ViTL14_336px",
        "RN50",
        "RN50x4",
        "RN50x16",
        "RN50x64",
        "RN101",
    ]
    assert len(flags) == 22
    for flag in flags:
        assert not registry().find_clip(flag)[0].unlisted


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "diffusion",
            "512x512_difusion_uncond_finetune_008100",
            "no such diffusion network: 512x512_difusion_uncond_finetune_008100. "
            "Did you mean 512x512_diffusion_uncond_finetune_008100?",
        ),
        (
            "diffusion",
            "zzz",
            "no such diffusion network: zzz. `python run.py models list` shows those that Disco knows.",
        ),
        (
            "secondary",
            "pocket_secundary",
            "no such secondary network: pocket_secundary. Did you mean pocket_secondary?",
        ),
    ],
)
def test_unknown_names(kind: str, name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        registry().get(kind, name)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "near"), [("ViT-B/33", "ViT-B/32"), ("vitb32", "ViTB32"), ("RN50x5", "RN50x4")]
)
def test_unknown_clips(name: str, near: str) -> None:
    with pytest.raises(InputError) as caught:
        registry().find_clip(name)
    assert str(caught.value) == (
        f"no such CLIP: {name}. Did you mean {near}? "
        "Any architecture/weights of open_clip is allowed too, like ViT-B-16/datacomp_xl_s13b_b90k."
    )


def test_find_takes_any_kind() -> None:
    assert registry().find("vgg").kind == "lpips"
    assert registry().find("PADexpanded").name == "pixelartdiffusion_expanded"
    assert registry().find("ViTB32").name == "ViT-B-32-quickgelu/openai"
    with pytest.raises(InputError) as caught:
        registry().find("vggg")
    assert str(caught.value) == "no such network: vggg. Did you mean vgg?"


def test_the_clips_agree_with_open_clip() -> None:
    """Addresses, QuickGELU and image sizes against the tables of the open_clip that is installed."""
    import open_clip

    for name in registry().names("clip"):
        entry = registry().get("clip", name)
        facts = entry.architecture
        if facts["family"] != "open_clip":
            continue
        assert name == f"{facts['model']}/{facts['pretrained']}"
        known = open_clip.get_pretrained_cfg(facts["model"], facts["pretrained"])
        needs = bool(known.get("quick_gelu"))
        assert needs == facts["model"].endswith("-quickgelu") == bool(facts.get("quick_gelu")), name
        (file,) = entry.files
        if file.hub is None:
            assert file.mirrors[0] == known["url"], name
        else:
            assert f"{file.hub.repo}/" == known["hf_hub"], name
        vision = open_clip.get_model_config(facts["model"])["vision_cfg"]
        assert vision.get("image_size", 224) == facts["image_size"], name


def test_it_is_read_once_and_fast() -> None:
    assert registry() is registry()
    best = min(_timed() for _ in range(3))
    assert best < 0.5  # 0.1 s on an idle core; CI machines are not idle


def _timed() -> float:
    start = time.process_time()
    Registry(_read(REGISTRY))
    return time.process_time() - start


def test_it_brings_no_torch() -> None:
    code = "import sys, disco.weights.registry as r; r.registry(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
