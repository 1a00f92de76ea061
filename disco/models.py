"""Registry entry + file -> network on a device, each kind in one form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from disco.clip_model import (
    CONFIG_FILE,
    WEIGHTS_FILES,
    ClipConfig,
    ClipModel,
    build_clip,
    builtin_config,
    clip_source,
    directory_config,
    directory_weights,
    fit_state,
)
from disco.devices import torch_dtype
from disco.errors import SettingsError, WeightsError
from disco.lpips_model import PerceptualNet
from disco.number_types import check_precision, clip_dtype, unet_dtype
from disco.perceptual import load_perceptual
from disco.recognise import looks_like
from disco.registry import Compat, Entry, HubFile, WeightFile, registry
from disco.secondary_model import SecondaryModel
from disco.state_dicts import load_strict, read_state_dict
from disco.unet import Denoiser, build_unet, convert, facts_of
from disco.weights import fetch, locate, sha256_of

if TYPE_CHECKING:
    from disco.animation.depth import Depth
    from disco.animation.flow import Flow
    from disco.settings import ModelSettings
    from disco.weights import Progress


_WIDE = 64  # channels of a secondary network, from which on a CPU needs 1.2 times less with channels last


@dataclass
class Networks:
    """All networks of a run, on one device.

    clips: in the order of their use; match them to settings by name. hashes: "network/file" -> SHA-256 of
    every file that was read. notices: sentences for the user. depth, flow: loaded by studio.py.
    """

    denoiser: Denoiser
    secondary: SecondaryModel | None = None
    clips: list[ClipModel] = field(default_factory=list)
    lpips: PerceptualNet | None = None
    depth: Depth | None = None
    flow: Flow | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def custom_architecture(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The registry's `custom` architecture with the user's keys laid over it.

    Raises SettingsError for keys that no architecture has.
    """
    base = dict(registry().get("diffusion", "custom").architecture)
    known = base.keys() | {"channel_mult", "num_heads_upsample", "use_new_attention_order", "dropout"}
    unknown = [key for key in config or {} if key not in known]
    if unknown:
        allowed = ", ".join(sorted(known - {"family", "secondary", "dropout"}))
        raise SettingsError([f"custom_config: {key}: no such key. Allowed: {allowed}" for key in unknown])
    return {**base, **(config or {})}


def user_path(name: str, base_dirs: Sequence[Path] = ()) -> Path:
    """A user's own path: from the current directory, else from the first of `base_dirs` that has it."""
    path = Path(name).expanduser()
    candidates = (directory / path for directory in (Path(), *base_dirs))
    return next((candidate for candidate in candidates if candidate.exists()), path)


def clip_directory(name: str, base_dirs: Sequence[Path] = ()) -> Path | None:
    """The directory that a CLIP's name means: written as a path, or holding open_clip_config.json."""
    path = user_path(name, base_dirs)
    return path if name.startswith((".", "/", "~")) or (path / CONFIG_FILE).is_file() else None


def read_architecture(entry: Entry) -> dict[str, Any]:
    """The architecture of a diffusion entry. The .json that its training wrote, if on this machine, wins."""
    architecture = dict(entry.architecture)
    for file in entry.files:
        path = locate(file) if file.name.endswith(".json") else None
        if path is not None:
            architecture.update(json.loads(path.read_text(encoding="utf-8")))
    return architecture


def _known_unets() -> list[tuple[str, dict[str, Any]]]:
    names = [name for name in registry().names("diffusion") if name != "custom"]
    return [(name, facts_of(registry().get("diffusion", name).architecture)) for name in names]


def load_denoiser(
    path: Path,
    architecture: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    use_checkpoint: bool = False,
) -> Denoiser:
    """A diffusion network from a file. Raises WeightsError, saying what a misfit looks like."""
    with torch.device("meta"):  # no memory and no random start values: the file brings all of it
        network = build_unet(architecture, use_checkpoint=use_checkpoint)
    load_strict(network, read_state_dict(path), path, looks_like=lambda s: looks_like(s, _known_unets()))
    return Denoiser(convert(network, dtype).to(device), architecture)


def load_secondary(path: Path, channels: int = 64, *, device: torch.device | str = "cpu") -> SecondaryModel:
    """The secondary network, always float32: bf16 costs 1e-2 of the gradient. Raises WeightsError.

    A CLIP has no channels last: its last bits would depend on how many cutouts it sees at once.
    """
    with torch.device("meta"):
        network = SecondaryModel(channels)
    load_strict(network, read_state_dict(path), path, looks_like=lambda s: looks_like(s, _known_unets()))
    network.requires_grad_(False).eval().to(device)
    if channels >= _WIDE and torch.device(device).type == "cpu":
        network.to(memory_format=torch.channels_last)
    return network


def load_clip(
    name: str,
    path: Path,
    config: ClipConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ClipModel:
    """A CLIP from a file in OpenAI's or open_clip's format. Raises WeightsError."""
    network = build_clip(config, dtype)
    state = fit_state(network, read_state_dict(path, torchscript=True))
    load_strict(network, state, path, looks_like=_not_clip)
    return ClipModel(name, network, config, device=device, dtype=dtype)


def _not_clip(state: Mapping[str, torch.Tensor]) -> str:
    if any(key.startswith("visual.") for key in state):
        return "The file holds another CLIP than its name or its configuration says"
    return looks_like(state, _known_unets())


class _Loader:
    """One run's loading: fetches files, keeps their hashes and the notices."""

    def __init__(
        self,
        settings: ModelSettings,
        device: torch.device,
        compat: Compat,
        base_dirs: Sequence[Path],
        progress: Progress | None,
        notice: Callable[[str], None] | None,
    ) -> None:
        self.settings, self.device, self.compat = settings, device, compat
        self.base_dirs, self.progress, self.notice = base_dirs, progress, notice
        self.hashes: dict[str, str] = {}
        self.notices: list[str] = []

    def fetched(self, entry: Entry) -> list[Path]:
        paths = fetch(entry, self.progress, self.notice)
        for file in entry.files:
            self.hashes[f"{entry.name}/{file.name}"] = file.sha256 or sha256_of(paths[file.name])
        return [paths[file.name] for file in entry.files]

    def own(self, path: Path) -> Path:
        """A file of the user's, with its hash kept; reading it says if it is not there."""
        if path.is_file():
            self.hashes[path.as_posix()] = sha256_of(path)
        return path

    def diffusion(self) -> tuple[Path, dict[str, Any]]:
        settings = self.settings
        if settings.diffusion_model == "custom":
            if not settings.custom_path:
                raise SettingsError(["custom_path: diffusion_model: custom needs the path of its weights"])
            path = user_path(settings.custom_path, self.base_dirs)
            return self.own(path), custom_architecture(settings.custom_config)
        entry = registry().get("diffusion", settings.diffusion_model)
        weights = next(path for path in self.fetched(entry) if path.suffix != ".json")
        return weights, read_architecture(entry)

    def secondary(self, name: str) -> SecondaryModel:
        entry = registry().get("secondary", name)
        (path,) = self.fetched(entry)
        return load_secondary(path, int(entry.architecture["channels"]), device=self.device)

    def clip(self, name: str) -> ClipModel:
        directory = clip_directory(name, self.base_dirs)
        if directory is not None:
            self.own(directory / CONFIG_FILE)
            config, path, openai = directory_config(directory), self.own(directory_weights(directory)), False
        else:
            config, path, openai = self.published_clip(name)
        dtype = clip_dtype(self.settings.precision, self.device.type, openai=openai, compat=self.compat)
        return load_clip(name, path, config, device=self.device, dtype=torch_dtype(dtype))

    def published_clip(self, name: str) -> tuple[ClipConfig, Path, bool]:
        entry, notice = registry().find_clip(name, self.compat)
        if entry.unlisted:
            entry = with_open_clip_files(entry)
        paths, facts = self.fetched(entry), entry.architecture
        if facts["family"] == "open_clip_dir":
            return directory_config(paths[0].parent), directory_weights(paths[0].parent), False
        keep_plain = bool(facts.get("quick_gelu_mismatch"))
        config = builtin_config(facts["model"], facts["pretrained"], keep_plain=keep_plain)
        told = notice if entry.name != name else None  # else the settings have said it already
        self.notices += [text for text in (told, config.notice) if text]
        return config, paths[0], facts["pretrained"] == "openai"

    def lpips(self) -> PerceptualNet:
        entry = registry().get("lpips", self.settings.lpips_model)
        (path,) = self.fetched(entry)
        return load_perceptual(path, entry.architecture, device=self.device)


def with_open_clip_files(entry: Entry) -> Entry:
    """An unlisted pair with the file that open_clip names for it, so that it is fetched as all others are.

    Raises WeightsError if open_clip does not know the pair.
    """
    model, pretrained = entry.architecture["model"], entry.architecture["pretrained"]
    source = clip_source(model, pretrained)
    repo, _, filename = source.get("hf_hub", "").rpartition("/")
    hub = None
    if repo:
        names = (filename,) if filename else WEIGHTS_FILES
        hub = HubFile(repo=repo, filename=names[0], also=names[1:])
    mirrors = (source["url"],) if source.get("url") else ()
    if not hub and not mirrors:
        raise WeightsError(f"{entry.name}: open_clip names no file for these weights")
    file = WeightFile(name=f"{model}-{pretrained}.weights", hub=hub, mirrors=mirrors)
    return entry.model_copy(update={"files": (file,)})


def original_order(names: Sequence[str]) -> list[str]:
    """CLIPs as the original loads them (quirk Q10), by its check boxes; then others, in the given order."""
    boxes = list(registry().clip_flags.values())
    known = [registry().find_clip(box, "dd57")[0].name for box in boxes]

    def place(name: str) -> int:
        if clip_directory(name):
            return len(known)
        entry = registry().find_clip(name, "dd57")[0].name
        return known.index(entry) if entry in known else len(known)

    return sorted(names, key=place)


def load_networks(
    settings: ModelSettings,
    *,
    device: torch.device | str,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    need_lpips: bool = False,
    compat: Compat = "fixed",
    base_dirs: Sequence[Path] = (),
) -> Networks:
    """Fetch, load and freeze all that `settings` name, on `device`.

    CLIPs come in the given order; with compat dd57 in the original's order of loading, which is the order of
    its random draws. base_dirs: where relative paths are looked up after the current directory. progress and
    notice: told of downloads, as by weights.fetch.
    Raises SettingsError (precision, custom_config) before anything is fetched, InputError and WeightsError.
    """
    device = torch.device(device)
    check_precision(settings.precision, device.type)
    loader = _Loader(settings, device, compat, base_dirs, progress, notice)
    path, architecture = loader.diffusion()
    dtype = unet_dtype(settings.precision, device.type, half=bool(architecture.get("use_fp16", True)))
    denoiser = load_denoiser(
        path,
        architecture,
        device=device,
        dtype=torch_dtype(dtype),
        use_checkpoint=settings.use_checkpoint and not settings.use_secondary_model,
    )
    networks = Networks(denoiser, hashes=loader.hashes, device=device)
    if settings.use_secondary_model:
        networks.secondary = loader.secondary(architecture["secondary"])
    names = [choice.name for choice in settings.clip_models]
    networks.clips = [loader.clip(name) for name in (original_order(names) if compat == "dd57" else names)]
    if need_lpips:
        networks.lpips = loader.lpips()
    networks.notices = tuple(loader.notices)
    return networks
