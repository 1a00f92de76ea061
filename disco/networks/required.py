"""The networks that a run needs, by its settings: the table ROLES and what is read from it.

Loading, the plan's downloads, the memory estimate, which runs share networks, offloading, gradient
checkpointing and compiling all read it. A new kind of network is one row here, its loader (load.LOADERS)
and its footprint (footprint, animation/memory). No torch: number types are text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from disco.errors import SettingsError
from disco.memory.number_types import Dtype, clip_dtype, unet_dtype
from disco.memory.policy import Stage
from disco.networks.architectures import clip_path, diffusion_architecture, user_path
from disco.settings.model import Settings, is_animation
from disco.settings.network_defaults import CUSTOM
from disco.settings.schedules import Schedule
from disco.weights.fetch import models_dir, readable_size, size_text, to_fetch
from disco.weights.registry import Entry, registry

if TYPE_CHECKING:
    from disco.settings.load import Run

# Optical flow by OpenCV, without weights.
_WITHOUT_WEIGHTS = frozenset({"dis"})
# What to write in place of a network whose Python package is missing.
_INSTEAD = {
    "midas_depth_model": "plane",
    "second_depth_model": "none",
    "upscale_model": "pocket_upscale",
}
_EXTRAS = {"spandrel": "upscale"}  # of pyproject.toml; all other packages are in "depth"
SPANDREL = "other kinds need the Python package spandrel. Run `pip install -e '.[upscale]'` in Disco's folder"


@dataclass(frozen=True)
class Need:
    """One network of a run.

    role: its row of ROLES. name: as the settings write it. entry: the registry's; None for the user's own
    files (then path says where) and for what has no files. dtype: number type of its weights. stage: of a
    step, in which it runs. sees_gradient: whether the guidance gradient passes through it.
    architecture: what it is built from, empty where only its own files say it. factor: its weight where
    networks of a role are added up. setting: the key that names it. notice: what the user should know of the
    choice.
    """

    role: str
    name: str
    entry: Entry | None
    dtype: Dtype
    stage: Stage
    sees_gradient: bool
    architecture: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    factor: float = 1.0
    setting: str = ""
    notice: str | None = None

    @property
    def package(self) -> str | None:
        """The optional Python package that reads its files."""
        return self.architecture.get("package")

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for networks that can be shared, given equal precision, device and compat."""
        built_from = repr(dict(self.architecture)) if self.entry is None else None
        return self.role, self.name, self.path, self.factor, built_from


@dataclass(frozen=True)
class Asked:
    """What a row of the table decides by.

    base_dirs: where relative paths are looked up after the current directory. device: cpu, cuda or mps.
    """

    settings: Settings
    base_dirs: tuple[Path, ...] = ()
    device: str = "cpu"


@dataclass(frozen=True)
class Role:
    """A row of the table: one kind of network.

    stage: of a step, in which it runs. needs: those of this kind that a run needs, in the settings'
    order. attribute: of load.Networks, that holds them; networks without one are kept in Networks.more.
    many: whether that is a list.
    compiled: whether it is a large enough share of a step to be worth compiling.
    """

    stage: Stage
    needs: Callable[[Asked], Iterator[Need]]
    attribute: str = ""
    many: bool = False
    compiled: bool = False


def required(settings: Settings, base_dirs: Sequence[Path] = (), *, device: str = "cpu") -> tuple[Need, ...]:
    """The networks of a run, by role, in the order of the settings. Loads nothing; looks at local files.

    device: cpu, cuda or mps; only number types depend on it. Raises InputError for an unknown name.
    """
    asked = Asked(settings, tuple(base_dirs), device)
    return tuple(need for role in ROLES.values() for need in role.needs(asked))


# ---- the rows ----


def _diffusion(asked: Asked) -> Iterator[Need]:
    settings = asked.settings
    architecture = diffusion_architecture(settings)
    half = bool(architecture.get("use_fp16", True))
    dtype = unet_dtype(settings.precision, asked.device, half=half)
    entry, name, path = None, settings.diffusion_model, None
    if name != CUSTOM:
        entry = registry().get("diffusion", name)
    elif settings.custom_path:
        name, path = settings.custom_path, user_path(settings.custom_path, asked.base_dirs)
    through_it = not settings.use_secondary_model
    yield Need("diffusion", name, entry, dtype, Stage.UNET, through_it, architecture, path)


def _secondary(asked: Asked) -> Iterator[Need]:
    """Always float32: bf16 costs 1e-2 of the gradient."""
    if asked.settings.use_secondary_model:
        name = diffusion_architecture(asked.settings)["secondary"]
        entry = registry().get("secondary", name)
        yield Need("secondary", name, entry, "fp32", Stage.SECONDARY, True, entry.architecture)


def _clips(asked: Asked) -> Iterator[Need]:
    for choice in asked.settings.clip_models:
        yield _clip(choice.name, asked)


def _clip(name: str, asked: Asked) -> Need:
    precision, compat = asked.settings.precision, asked.settings.compat
    directory = clip_path(name, asked.base_dirs)
    if directory is not None:
        dtype = clip_dtype(precision, asked.device, openai=directory.is_file(), compat=compat)
        return Need("clip", name, None, dtype, Stage.CLIP, True, path=directory)
    entry, notice = registry().find_clip(name, compat)
    openai = entry.architecture.get("pretrained") == "openai"
    dtype = clip_dtype(precision, asked.device, openai=openai, compat=compat)
    unsaid = notice if entry.name != name else None  # else the settings have said it already
    return Need("clip", name, entry, dtype, Stage.CLIP, True, entry.architecture, notice=unsaid)


def _perceptual(asked: Asked) -> Iterator[Need]:
    """Where the init loss is used: in fixed on an init_image, in dd57 on the perlin init too (quirk Q9)."""
    if _has_init_loss(asked.settings):
        name = asked.settings.lpips_model
        entry = registry().get("lpips", name)
        yield Need("perceptual", name, entry, "fp32", Stage.PERCEPTUAL, True, entry.architecture)


def _has_init_loss(settings: Settings) -> bool:
    has_init = settings.init_image is not None or (settings.compat == "dd57" and settings.perlin_init)
    if settings.animation_mode == "Video Input":
        return _acts(settings.video_init_frames_scale)
    if is_animation(settings) and settings.max_frames > 1 and _acts(settings.frames_scale):
        return True
    return has_init and _acts(settings.init_scale)


def _acts(scale: Schedule) -> bool:
    """Whether it is above 0 at any noise level of any frame."""
    versions = [scale] if scale.frames is None else [version for _, version in scale.frames.keys]
    return any(version.max() > 0 for version in versions)


def _depths(asked: Asked) -> Iterator[Need]:
    settings = asked.settings
    if settings.animation_mode != "3D":
        return
    second = None if settings.second_depth_model == "none" else settings.second_depth_model
    first = registry().get("depth", settings.midas_depth_model)
    for factor, entry in depth_factors(settings.midas_depth_model, settings.midas_weight, second):
        setting = "midas_depth_model" if entry == first else "second_depth_model"
        facts = entry.architecture
        yield Need(
            "depth", entry.name, entry, "fp32", Stage.MOVING, False, facts, factor=factor, setting=setting
        )


def depth_factors(name: str, weight: float = 1.0, second: str | None = None) -> list[tuple[float, Entry]]:
    """(factor, network) of weight * name + (1 - weight) * second, without those of factor 0.

    Without a second one the first counts fully, whatever the weight. Raises InputError for an unknown name.
    """
    first = registry().get("depth", name)
    other = None if second is None else registry().get("depth", second)
    if other is None or other == first:
        return [(1.0, first)]
    return [(factor, entry) for factor, entry in ((weight, first), (1 - weight, other)) if factor > 0]


def _flow(asked: Asked) -> Iterator[Need]:
    """For Video Input with flow warp: the previous picture is warped along the video's motion."""
    settings, name = asked.settings, asked.settings.flow_model
    is_video = settings.animation_mode == "Video Input"
    if is_video and settings.video_init_flow_warp and settings.video_init_flow_blend > 0:
        entry = None if name in _WITHOUT_WEIGHTS else registry().get("flow", name)
        facts = {} if entry is None else entry.architecture
        yield Need("flow", name, entry, "fp32", Stage.MOVING, False, facts)


def _upscaler(asked: Asked) -> Iterator[Need]:
    """Always float32, in tiles of one shape."""
    name = asked.settings.upscale_model
    if asked.settings.upscale == "none":
        return
    is_known = name in registry().names("upscale")
    entry = registry().get("upscale", name) if is_known else None
    path = None if is_known else user_path(name, asked.base_dirs)
    facts = {} if entry is None else entry.architecture
    yield Need("upscale", name, entry, "fp32", Stage.PICTURE, False, facts, path, setting="upscale_model")


ROLES: dict[str, Role] = {  # in the order of loading; an upscaler's file is the likeliest to be wrong
    "upscale": Role(Stage.PICTURE, _upscaler),
    "diffusion": Role(Stage.UNET, _diffusion, "denoiser", compiled=True),
    "secondary": Role(Stage.SECONDARY, _secondary, "secondary", compiled=True),
    "clip": Role(Stage.CLIP, _clips, "clips", many=True, compiled=True),
    "perceptual": Role(Stage.PERCEPTUAL, _perceptual, "lpips"),
    "depth": Role(Stage.MOVING, _depths, "depth"),
    "flow": Role(Stage.MOVING, _flow, "flow"),
}


# ---- what is read from the table ----


def in_loading_order(needs: Sequence[Need], compat: str) -> list[Need]:
    """Sorted by role; CLIPs in dd57 in the order of the original's check boxes (quirk Q10), then others."""
    boxes = list(registry().clip_flags.values()) if compat == "dd57" else []
    known = [registry().find_clip(box, "dd57")[0].name for box in boxes]
    roles = list(ROLES)

    def order(need: Need) -> tuple[int, int]:
        name = need.entry.name if need.role == "clip" and need.entry is not None else ""
        return roles.index(need.role), known.index(name) if name in known else len(known)

    return sorted(needs, key=order)


def networks_key(settings: Settings, base_dirs: Sequence[Path] = ()) -> tuple[object, ...]:
    """Two runs with the same key can share their loaded networks."""
    how = (settings.precision, settings.device, settings.compat, settings.use_checkpoint)
    return (*how, *(need.key for need in required(settings, base_dirs)))


def missing_packages(needs: Sequence[Need]) -> list[Need]:
    """Networks whose optional Python package is not installed."""
    return [need for need in needs if need.package is not None and find_spec(need.package) is None]


def check_packages(run: Run) -> None:
    """Raises SettingsError if a network needs a Python package that is not installed; nothing is loaded."""
    problems = []
    for need in missing_packages(required(run.settings, run.base_dirs)):
        origin = run.origins[need.setting]
        prefix = f"{origin}: " if ":" in origin or origin.startswith("--") else ""
        problems.append(
            f"{prefix}{need.setting}: {need.name} needs the Python package {need.package}, which is not "
            f"installed. Run `pip install -e '.[{_EXTRAS.get(need.package or '', 'depth')}]'` in Disco's "
            f"folder, or write {_INSTEAD[need.setting]}"
        )
    if problems:
        raise SettingsError(problems)


def needed(run: Run) -> Iterator[Entry]:
    """The registry entries that a run loads; the user's own files have none."""
    yield from (need.entry for need in required(run.settings, run.base_dirs) if need.entry is not None)


def downloads(runs: Sequence[Run]) -> Iterator[str]:
    """One line for each weights file that is not here yet, with its size, then the sum."""
    entries = {(entry.kind, entry.name): entry for run in runs for entry in needed(run)}
    missing = [entry for entry in entries.values() if entry.unlisted or to_fetch(entry)]
    if not missing:
        yield "nothing: all weights are here"
        return
    for entry in missing:
        for file in to_fetch(entry):
            yield f"{entry.name}: {file.name}, {size_text(file, entry)}"
        if entry.unlisted:
            yield f"{entry.name}: a file that open_clip chooses, size unknown"
    sizes = [entry.size()[0] for entry in missing]
    more = " and files of unknown size" if None in sizes else ""
    total = readable_size(sum(size or 0 for size in sizes))
    yield f"in all about {total}{more}, to {models_dir()}"
