"""Every setting: its name, default, range, unit and description, in the words of Disco Diffusion.

The defaults here are those of Disco Diffusion 5.7. A network's own defaults stand in its registry entry and
are laid over these by load.py; `disco.run_from_mapping` gives both. A function takes the section that it
reads, or Settings if it reads several. The scales of losses come from methods.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import create_model

from disco.settings.animation import (
    AnimationSettings,
    MaskSettings,
    Motion3dSettings,
    VideoInitSettings,
    VideoOutSettings,
)
from disco.settings.fields import Section, section_facts, setting
from disco.settings.keyframes import KeyFrames
from disco.settings.kinds import ClipChoice
from disco.settings.methods import LOSSES, SAMPLERS
from disco.settings.prompts import ImagePrompt, Prompt, dump_prompts
from disco.settings.schedules import Schedule, short

DEFAULT_PROMPTS = (
    "a lonely lighthouse in a storm, oil painting, trending on artstation",
    "yellow color scheme",
)
DEFAULT_CLIPS = ("ViT-B-32-quickgelu/openai", "ViT-B-16-quickgelu/openai", "RN50-quickgelu/openai")


def facts_of(key: str) -> dict[str, Any]:
    """What fields.setting() noted about a setting. Raises KeyError for an unknown one."""
    return section_facts(key, Settings)


class PromptSettings(Section):
    """What to paint."""

    title: ClassVar[str] = "Prompts"
    text_prompts: dict[int, tuple[Prompt, ...]] = setting(
        DEFAULT_PROMPTS,
        "prompts",
        'texts to paint; "text:2" has weight 2, negative weights push away; {0: [...], 100: [...]} by frame',
    )
    image_prompts: dict[int, tuple[ImagePrompt, ...]] = setting(
        {}, "image_prompts", "pictures to resemble: paths or addresses, with :weight as in text_prompts"
    )
    fuzzy_prompt: bool = setting(False, "bool", "add 25 noisy copies of each prompt")
    rand_mag: float = setting(0.05, "float", "size of the noise of fuzzy_prompt", ge=0, le=100)


class _ClipScale(Section):
    title: ClassVar[str] = "Guidance"
    clip_guidance_scale: Schedule = setting(5000, "schedule:float", "pull towards the prompts", ge=0)


if TYPE_CHECKING:
    _LossScales = _ClipScale
else:  # a field for each row of LOSSES
    _LossScales = create_model(
        "_LossScales",
        __base__=_ClipScale,
        **{
            key: (Schedule, setting(loss.default, "schedule:float", loss.description, ge=0))
            for key, loss in LOSSES.items()
        },
    )


class GuidanceSettings(_LossScales):
    """The pull towards the prompts and towards calm pictures."""

    init_scale: Schedule = setting(
        1000, "schedule:float", "pull towards init_image (see lpips_model); needs an init_image", ge=0
    )
    clamp_grad: bool = setting(True, "bool", "limit the guidance of each step to clamp_max")
    clamp_max: Schedule = setting(
        0.05, "schedule:float", "upper limit of the guidance of a step", ge=0, unit="RMS of the gradient"
    )
    cutn_batches: Schedule = setting(
        4, "schedule:int", "batches of cutouts per step, averaged: smoother and slower", ge=1, le=1000
    )
    clip_batch: int | Literal["auto"] = setting(
        "auto", "auto_int", "cutouts that a CLIP sees at once; fewer need less memory", pixels=False, ge=1
    )


class CutoutSettings(Section):
    """What CLIP looks at."""

    title: ClassVar[str] = "Cutouts"
    cut_overview: Schedule = setting(
        "[12]*400+[4]*600", "schedule:int", "cutouts of the whole picture per batch", ge=0, le=1000
    )
    cut_innercut: Schedule = setting(
        "[4]*400+[12]*600", "schedule:int", "cutouts of random parts per batch", ge=0, le=1000
    )
    cut_ic_pow: Schedule = setting(
        1, "schedule:float", "0: large inner cuts; the higher, the smaller they tend to be", ge=0, le=100
    )
    cut_icgray_p: Schedule = setting(
        "[0.2]*400+[0]*600", "schedule:float", "share of inner cuts in grey", ge=0, le=1
    )
    skip_augs: Schedule = setting(False, "schedule:bool", "no augmentation of the cutouts")
    hue_jitter_max: Schedule = setting(
        0.5,
        "schedule:float",
        "upper limit of the hue shifts of augmentations; unlimited they reach 0.1, in 2D and 3D 0.3",
        ge=0,
        le=0.5,
    )


class SamplingSettings(Section):
    """The way from noise to picture."""

    title: ClassVar[str] = "Sampling"
    steps: int = setting(250, "int", "denoising steps of the whole schedule", ge=2, le=4000)
    skip_steps: int = setting(
        10, "int", "first, noisiest steps left out; the more, the more of an init_image stays", ge=0
    )
    diffusion_sampling_mode: str = setting(
        "ddim", "choice", "the sampler; plms has no eta and no symmetry", choices=tuple(SAMPLERS)
    )
    eta: Schedule = setting(0.8, "schedule:float", "noise added at each ddim step", ge=0, le=1)
    clip_denoised: bool = setting(False, "bool", "clamp the network's guess to the colour range each step")
    set_seed: int | Literal["random_seed"] = setting(
        "random_seed", "seed", "the seed of all random numbers", ge=0, le=2**63 - 1
    )
    use_vertical_symmetry: bool = setting(False, "bool", "mirror the top half onto the bottom (ddim)")
    use_horizontal_symmetry: bool = setting(False, "bool", "mirror the left half onto the right (ddim)")
    transformation_percent: tuple[float, ...] = setting(
        (0.09,), "shares", "when symmetry is applied, as shares of the executed steps", ge=0, le=1
    )
    compat: Literal["fixed", "dd57"] = setting(
        "fixed", "choice", "dd57 repeats Disco Diffusion 5.7, quirks included"
    )
    noise_by: Literal["level", "step"] = setting(
        "level",
        "choice",
        "level: noise and cutouts go by the noise level, so that fewer steps paint a similar picture; "
        "step: by the step's number",
        before="step",
    )
    noise_cast: float = setting(
        1, "float", "how much of the noise's own colour cast stays; 1: all of it", ge=0, le=1, before=1
    )
    noise_size: tuple[int, int] | None = setting(
        None,
        "optional_size",
        "larger pictures take their layout from the noise of about this size; none: each size is its own",
        ge=8,
        le=16384,
        before=None,
    )
    randomize_class: bool = setting(
        True, "bool", "nothing", pixels=False, no_effect="the networks have no classes, in the original too"
    )


class InitSettings(Section):
    """What the picture starts from."""

    title: ClassVar[str] = "Init"
    init_image: str | None = setting(
        None, "path", "path or address of a picture to start from (see skip_steps, init_scale)"
    )
    perlin_init: bool = setting(False, "bool", "start from Perlin noise; wins over init_image")
    perlin_mode: Literal["mixed", "color", "gray"] = setting(
        "mixed", "choice", "the colours of the Perlin noise"
    )


class ModelSettings(Section):
    """The networks and where they run."""

    title: ClassVar[str] = "Networks"
    diffusion_model: str = setting(
        "pocket", "text", "the diffusion network: a registry name (run.py models list) or custom"
    )
    custom_path: str | None = setting(None, "path", "the weights of diffusion_model: custom")
    custom_config: dict[str, Any] | None = setting(
        None, "custom_network", "the architecture of diffusion_model: custom, as in the registry"
    )
    use_secondary_model: bool = setting(
        True, "bool", "guide through the small secondary network: much faster, a little less exact"
    )
    clip_models: tuple[ClipChoice, ...] = setting(
        DEFAULT_CLIPS,
        "clips",
        "the CLIP networks that guide: names or {name, weight}; their pulls add up",
    )
    lpips_model: Literal["vgg", "pocket"] = setting(
        "vgg", "choice", "the network that init_scale compares with: LPIPS' VGG, or a small one"
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = setting(
        "auto", "choice", "auto: fp16 on CUDA, fp32 elsewhere"
    )
    device: str = setting("auto", "device", "where to compute", pixels=False)
    compile: bool | Literal["auto"] = setting(
        "auto", "auto_bool", "torch.compile the networks; auto: in long runs on CUDA", pixels=False
    )
    gpus_per_picture: float = setting(
        1,
        "float",
        "with --ray: the share of a GPU for each worker; 0.5 puts two on each GPU",
        pixels=False,
        ge=0.01,
        le=1,
    )
    deterministic: bool = setting(
        False, "bool", "repeatable bit for bit on CUDA too, somewhat slower", pixels=False
    )
    use_checkpoint: bool = setting(
        True,
        "bool",
        "gradient checkpointing in the UNet when there is no secondary network: less memory, slower",
        pixels=False,
    )
    check_model_SHA: bool = setting(
        False, "bool", "nothing", pixels=False, no_effect="every download is always checked"
    )


class OutputSettings(Section):
    """How many pictures, how large, and what is written."""

    title: ClassVar[str] = "Output"
    batch_name: str = setting(
        "TimeToDisco", "file_name", "folder and file name of the pictures", pixels=False
    )
    n_batches: int = setting(50, "int", "number of pictures", pixels=False, ge=1, le=1_000_000)
    batch_size: int = setting(1, "int", "pictures rendered together", pixels=False, ge=1, le=10_000)
    width_height: tuple[int, int] = setting(
        (1280, 768), "size", "the picture's sides", unit="pixels", ge=16, le=16384
    )
    display_rate: int = setting(
        20, "int", "steps between two progress pictures", pixels=False, ge=1, unit="steps"
    )
    intermediate_saves: int | tuple[int, ...] = setting(
        0, "saves", "partial pictures: how many, or a list of step numbers", pixels=False, ge=0
    )
    intermediates_in_subfolder: bool = setting(True, "bool", "partial pictures go to partials/", pixels=False)
    checkpoint_every: int = setting(
        10, "int", "steps between two saved states for resuming; 0: only when stopped", pixels=False, ge=0
    )


class UpscaleSettings(Section):
    """A larger copy of each picture."""

    title: ClassVar[str] = "Upscaling"
    upscale: Literal["none", "x2", "x4"] = setting(
        "none", "choice", "save each picture larger too, as NAME_x4.png beside it", pixels=False
    )
    upscale_model: str = setting(
        "pocket_upscale",
        "text",
        "the network that enlarges: a registry name (run.py models list) or a file of weights",
        pixels=False,
    )


class ResumeSettings(Section):
    """Going on with a stopped run."""

    title: ClassVar[str] = "Resume"
    resume_run: bool = setting(False, "bool", "continue a run instead of starting one", pixels=False)
    run_to_resume: int | Literal["latest"] = setting(
        "latest", "latest_int", "the number of the run to continue", pixels=False, ge=0
    )
    resume_from_frame: int | Literal["latest"] = setting(
        "latest", "latest_int", "the picture to continue from", pixels=False, ge=0
    )
    retain_overwritten_frames: bool = setting(
        False, "bool", "nothing", pixels=False, no_effect="later pictures always move to retained/"
    )


SECTIONS: tuple[type[Section], ...] = (
    PromptSettings,
    GuidanceSettings,
    CutoutSettings,
    SamplingSettings,
    InitSettings,
    MaskSettings,
    ModelSettings,
    OutputSettings,
    UpscaleSettings,
    ResumeSettings,
    AnimationSettings,
    Motion3dSettings,
    VideoInitSettings,
    VideoOutSettings,
)


class Settings(
    PromptSettings,
    GuidanceSettings,
    CutoutSettings,
    SamplingSettings,
    InitSettings,
    MaskSettings,
    ModelSettings,
    OutputSettings,
    UpscaleSettings,
    ResumeSettings,
    AnimationSettings,
    Motion3dSettings,
    VideoInitSettings,
    VideoOutSettings,
):
    """All of them: what one run needs to know. Frozen."""

    title: ClassVar[str] = "Settings"


def is_animation(settings: Settings) -> bool:
    """Are the pictures frames that follow one another?"""
    return settings.animation_mode != "None"


def picture_count(settings: Settings) -> int:
    """How many pictures a run has: n_batches stills, or max_frames frames."""
    return settings.max_frames if is_animation(settings) else settings.n_batches


def changes_pixels(key: str) -> bool:
    """Would another value of this setting give other pixels? A resume compares these. KeyError if unknown."""
    return bool(facts_of(key)["pixels"])


KEYS: tuple[str, ...] = tuple(key for section in SECTIONS for key in section.model_fields)


def plain_values(settings: Section) -> dict[str, Any]:
    """Every setting as YAML can hold it, in the order of KEYS; reading them again gives equal settings."""
    return {key: _plain(getattr(settings, key)) for key in KEYS if key in type(settings).model_fields}


def with_earlier(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a run or a picture holds; the keys that it lacks as things were before they came."""
    earlier = {key: facts_of(key)["before"] for key in KEYS if "before" in facts_of(key)}
    return {**earlier, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, (Schedule, KeyFrames)):
        return value.to_yaml()
    if isinstance(value, float):
        return short(value)
    if isinstance(value, tuple) and value and isinstance(value[0], ClipChoice):
        one = Schedule.parse(1)
        return [
            clip.name if clip.weight == one else {"name": clip.name, "weight": clip.weight.to_yaml()}
            for clip in value
        ]
    if isinstance(value, dict) and any(isinstance(group, tuple) for group in value.values()):
        return dump_prompts(value)
    return list(value) if isinstance(value, tuple) else value
