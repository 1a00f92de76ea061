"""Loads the networks of a run: registry entry -> fetched file -> network on a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from disco.errors import SettingsError, WeightsError
from disco.memory.devices import torch_dtype
from disco.memory.number_types import check_precision
from disco.memory.policy import Stage
from disco.networks.architectures import CONFIG_FILE, read_architecture
from disco.networks.clip import (
    WEIGHTS_FILES,
    ClipConfig,
    ClipModel,
    build_clip,
    clip_source,
    directory_config,
    directory_weights,
    fit_state,
)
from disco.networks.clip_configs import published_config
from disco.networks.clip_files import file_config
from disco.networks.denoiser import Denoiser, build_unet, convert, facts_of
from disco.networks.identify import describe_state_dict, guess_unet
from disco.networks.perceptual import PerceptualNet, load_perceptual
from disco.networks.required import ROLES, Need, in_loading_order, required
from disco.networks.state_dicts import load_strict, read_state_dict
from disco.networks.upscaler import Upscaler, load_upscaler
from disco.sampling.space import PictureSpace, PixelSpace
from disco.secondary_model import SecondaryModel
from disco.settings.network_defaults import CUSTOM
from disco.weights.fetch import check_local, fetch, fetch_paths, hashes_of, sha256_of
from disco.weights.registry import Entry, HubFile, WeightFile, registry

if TYPE_CHECKING:
    from disco.networks.depth_and_flow import Depth, Flow
    from disco.settings.model import ModelSettings, Settings
    from disco.weights.fetch import Progress


_WIDE = 64  # channels of a secondary network, from which on a CPU needs 1.2 times less with channels last


@dataclass
class Networks:
    """All networks of a run, on one device.

    clips: in the order of their use; match them to settings by name. hashes: "network/file" -> SHA-256 of
    every file that was read. notices: sentences for the user. more: role -> networks of the roles that have
    no attribute here. space: what the denoiser works on.
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
    more: dict[str, list[object]] = field(default_factory=dict)
    space: PictureSpace = field(default_factory=PixelSpace)

    def add(self, loaded: Mapping[str, list[Any]], hashes: Mapping[str, str]) -> None:
        """Add loaded networks. loaded: role -> its networks; hashes: of their files."""
        for role, networks in loaded.items():
            row = ROLES[role]
            if row.attribute:
                setattr(self, row.attribute, networks if row.many else networks[0])
            else:
                self.more[role] = networks
        self.hashes = self.hashes | dict(hashes)

    def of(self, role: str) -> list[Any]:
        """The networks of a role."""
        attribute = ROLES[role].attribute
        loaded = getattr(self, attribute) if attribute else self.more.get(role)
        return [] if loaded is None else loaded if isinstance(loaded, list) else [loaded]

    def at(self, *stages: Stage) -> list[Any]:
        """The networks that run in these stages of a step."""
        return [network for role, row in ROLES.items() if row.stage in stages for network in self.of(role)]


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
    state: Mapping[str, torch.Tensor] | None = None,
) -> Denoiser:
    """A diffusion network from a file. Raises WeightsError; for another kind of file it says which.

    state: what is in the file, if it was read already.
    """
    state = read_state_dict(path) if state is None else state
    with torch.device("meta"):  # no memory and no random start values: the file brings all of it
        network = build_unet(architecture, use_checkpoint=use_checkpoint)
    load_strict(network, state, path, describe=lambda s: describe_state_dict(s, _known_unets()))
    return Denoiser(convert(network, dtype).to(device), architecture)


def load_secondary(path: Path, channels: int = 64, *, device: torch.device | str = "cpu") -> SecondaryModel:
    """The secondary network, always float32: bf16 costs 1e-2 of the gradient. Raises WeightsError.

    A CLIP has no channels last: its last bits would depend on how many cutouts it sees at once.
    """
    with torch.device("meta"):
        network = SecondaryModel(channels)
    load_strict(
        network,
        read_state_dict(path),
        path,
        describe=lambda s: describe_state_dict(s, _known_unets()),
    )
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
    state = read_state_dict(path, torchscript=True)
    return _clip_of(name, (state, path), config, device, dtype)


def load_clip_file(
    name: str, path: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> ClipModel:
    """A CLIP from one file in OpenAI's format, which says itself what it is. Raises WeightsError."""
    state = read_state_dict(path, torchscript=True)
    return _clip_of(name, (state, path), file_config(state, path), device, dtype)


def _clip_of(
    name: str,
    source: tuple[Mapping[str, torch.Tensor], Path],
    config: ClipConfig,
    device: torch.device | str,
    dtype: torch.dtype,
) -> ClipModel:
    state, path = source
    network = build_clip(config, dtype)
    load_strict(network, fit_state(network, state), path, describe=_not_clip)
    return ClipModel(name, network, config, device=device, dtype=dtype)


def _not_clip(state: Mapping[str, torch.Tensor]) -> str:
    if any(key.startswith("visual.") for key in state):
        return "The file holds another CLIP than its name or its configuration says"
    return describe_state_dict(state, _known_unets())


def recognised(state: Mapping[str, torch.Tensor]) -> Entry | None:
    """The first published diffusion network of the architecture that these tensors have."""
    facts = guess_unet(state)
    known = [registry().get("diffusion", name) for name in registry().names("diffusion") if name != CUSTOM]
    return next((entry for entry in known if facts_of(entry.architecture) == facts), None)


class Loader:
    """Loads networks of one run: fetches files, keeps their hashes and the notices for the user."""

    def __init__(
        self,
        settings: ModelSettings,
        device: torch.device,
        progress: Progress | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.settings, self.device = settings, device
        self.progress, self.notice = progress, notice
        self.hashes: dict[str, str] = {}
        self.notices: list[str] = []

    def load(self, needs: Sequence[Need], loaders: Mapping[str, LoadRole]) -> dict[str, list[Any]]:
        """Role -> its networks, in the order of `needs`; roles without a loader are left out."""
        by_role: dict[str, list[Need]] = {}
        for need in needs:
            if need.role in loaders:
                by_role.setdefault(need.role, []).append(need)
        return {role: loaders[role](self, those) for role, those in by_role.items()}

    def fetched(self, entry: Entry) -> list[Path]:
        """Its files, in the registry's order; fetched where they are not here."""
        paths = fetch(entry, self.progress, self.notice)
        self.hashes |= hashes_of(entry, paths)
        return [paths[file.name] for file in entry.files]

    def own(self, path: Path) -> Path:
        """Record the hash of a user's file. A missing one is reported by whoever reads it."""
        if path.is_file():
            self.hashes[path.as_posix()] = sha256_of(path)
        return path

    def diffusion(self, need: Need) -> Denoiser:
        path, architecture = self.diffusion_file(need)
        state = None
        if need.entry is None and not self.settings.custom_config:
            state = read_state_dict(path)
            like = recognised(state)
            if like is not None and like.architecture != architecture:
                architecture = like.architecture
                self.notices.append(f"{path}: has the architecture of {like.name}, and is used as that")
        return load_denoiser(
            path,
            architecture,
            state=state,
            device=self.device,
            dtype=torch_dtype(need.dtype),
            use_checkpoint=self.settings.use_checkpoint and need.sees_gradient,
        )

    def diffusion_file(self, need: Need) -> tuple[Path, Mapping[str, Any]]:
        """Its weights and its architecture."""
        if need.entry is not None:
            weights = next(path for path in self.fetched(need.entry) if path.suffix != ".json")
            return weights, read_architecture(need.entry)
        if need.path is None:
            raise SettingsError(["custom_path: diffusion_model: custom needs the path of its weights"])
        return self.own(need.path), need.architecture

    def secondary(self, need: Need) -> SecondaryModel:
        (path,) = self.fetched(published(need))
        return load_secondary(path, int(need.architecture["channels"]), device=self.device)

    def clip(self, need: Need) -> ClipModel:
        if need.path is not None and need.path.is_file():
            return load_clip_file(
                need.name, self.own(need.path), device=self.device, dtype=torch_dtype(need.dtype)
            )
        if need.path is not None:
            self.own(need.path / CONFIG_FILE)
            config, path = directory_config(need.path), self.own(directory_weights(need.path))
        else:
            config, path = self.published_clip(need)
        return load_clip(need.name, path, config, device=self.device, dtype=torch_dtype(need.dtype))

    def published_clip(self, need: Need) -> tuple[ClipConfig, Path]:
        entry = published(need)
        paths = self.fetched(with_open_clip_files(entry) if entry.unlisted else entry)
        if entry.architecture["family"] == "open_clip_dir":
            return directory_config(paths[0].parent), directory_weights(paths[0].parent)
        config = published_config(entry)
        self.notices += [text for text in (need.notice, config.notice) if text]
        return config, paths[0]

    def perceptual(self, need: Need) -> PerceptualNet:
        (path,) = self.fetched(published(need))
        return load_perceptual(path, need.architecture, device=self.device)

    def upscaler(self, need: Need) -> Upscaler:
        """Its hash stands in the enlarged pictures alone: the others are the same without it."""
        if need.path is not None:
            return load_upscaler(need.name, need.path, need.architecture, device=self.device)
        (path,) = fetch_paths(published(need), self.progress, self.notice)
        return load_upscaler(need.name, path, need.architecture, device=self.device)


LoadRole = Callable[[Loader, Sequence[Need]], list[Any]]  # all needs of a role -> its networks


def _each(load: Callable[[Loader, Need], object]) -> LoadRole:
    return lambda loader, needs: [load(loader, need) for need in needs]


# Role -> how its networks are loaded; those between frames are in animation/load.py.
LOADERS: dict[str, LoadRole] = {
    "diffusion": _each(Loader.diffusion),
    "secondary": _each(Loader.secondary),
    "clip": _each(Loader.clip),
    "perceptual": _each(Loader.perceptual),
    "upscale": _each(Loader.upscaler),
}


def published(need: Need) -> Entry:
    """The registry entry of a role that has only published networks."""
    assert need.entry is not None
    return need.entry


def with_open_clip_files(entry: Entry) -> Entry:
    """An unlisted CLIP with the file that open_clip names for it, so that it is fetched like all others.

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


def load_networks(
    settings: Settings,
    *,
    device: torch.device | str,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
    base_dirs: Sequence[Path] = (),
    loaders: Mapping[str, LoadRole] = LOADERS,
) -> Networks:
    """Fetch, load and freeze what `settings` need, on `device`: by default all that stills need.

    CLIPs come in the given order; with compat dd57 in the original's order of loading, which is the order of
    its random draws. base_dirs: where relative paths are looked up after the current directory. progress and
    notice: called during downloads, as by weights.fetch. loaders: of the roles that are loaded.
    Raises SettingsError (precision) before anything is fetched, InputError and WeightsError.
    """
    device = torch.device(device)
    check_precision(settings.precision, device.type)
    needs = in_loading_order(required(settings, base_dirs, device=device.type), settings.compat)
    check_local(need.entry for need in needs if need.entry is not None and need.role in loaders)
    loader = Loader(settings, device, progress, notice)
    loaded = loader.load(needs, loaders)
    (denoiser,) = loaded["diffusion"]
    networks = Networks(denoiser, notices=tuple(loader.notices), device=device)
    networks.add(loaded, loader.hashes)
    return networks
