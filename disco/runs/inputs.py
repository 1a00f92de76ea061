"""The input pictures and videos of a run, loaded and checked before any network is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from disco.files.http import fetch_picture
from disco.files.paths import find
from disco.losses.targets import PicturePrompt
from disco.media.images import LoadedPicture, load_mask, load_picture
from disco.sampling.masks import grey, soften
from disco.settings.model import Settings, is_animation
from disco.settings.prompts import prompts_at

if TYPE_CHECKING:
    from disco.animation.video import VideoFrames
    from disco.settings.load import Run


@dataclass(frozen=True)
class Pictures:
    """The input pictures of a run, on the CPU.

    init: [1, 3, H, W] or None; prompts: the pictures of image_prompts by their source; mask: of init,
    softened, [1, 1, H, W]; video, video_mask: of Video Input. inputs: path or address as written -> SHA-256.
    """

    init: Tensor | None
    prompts: Mapping[str, Tensor]
    inputs: Mapping[str, str]
    mask: Tensor | None = None
    mask_blur: float = 0.0
    video: VideoFrames | None = None
    video_mask: VideoFrames | None = None

    def prompts_of(self, settings: Settings) -> tuple[PicturePrompt, ...]:
        """The image prompts of a still, or of a frame's settings."""
        return tuple(
            PicturePrompt(self.prompts[prompt.source], prompt.weight, prompt.clip_models)
            for prompt in prompts_at(settings.image_prompts, 0)
        )

    def mask_of(self, frame: int) -> Tensor | None:
        """The mask of a picture: of a mask video each frame's own, the last one held."""
        if self.video_mask is None:
            return self.mask
        return soften(grey(self.video_mask[min(frame, len(self.video_mask) - 1)]), self.mask_blur)


def load_pictures(settings: Settings, base_dirs: Sequence[Path], cache: Path) -> Pictures:
    """cache: where the frames of videos are kept, by their content.

    Raises InputError for a picture or video that is missing, damaged or none, before all networks."""
    inputs: dict[str, str] = {}
    folders = (Path(), *base_dirs)

    def load(source: str, **how: Any) -> Tensor:
        as_stored = settings.compat == "dd57"
        loaded: LoadedPicture = load_picture(
            source, base_dirs=folders, as_stored=as_stored, download=fetch_picture, **how
        )
        inputs[source] = loaded.sha256
        return loaded.tensor

    is_video, size = settings.animation_mode == "Video Input", settings.width_height
    init = load(settings.init_image, size=size) if settings.init_image and not is_video else None
    prompts = {source: load(source, max_short_side=min(size)) for source in _prompt_sources(settings)}
    mask = None
    if settings.mask_path:
        loaded = load_mask(settings.mask_path, size=size, base_dirs=folders, download=fetch_picture)
        inputs[settings.mask_path] = loaded.sha256
        mask = soften(loaded.tensor, settings.mask_blur)
    video = video_mask = None
    if is_video:
        video = _video(settings.video_init_path, settings, folders, cache)
        video_mask = _video(settings.video_mask_path, settings, folders, cache, paper="black")
        videos = zip((settings.video_init_path, settings.video_mask_path), (video, video_mask), strict=True)
        inputs |= {path: frames.digest for path, frames in videos if path is not None and frames is not None}
    return Pictures(init, prompts, inputs, mask, settings.mask_blur, video, video_mask)


def with_frames(run: Run, pictures: Pictures) -> Run:
    """The run with as many frames as its video has, if it is of one and max_frames asks for more."""
    if pictures.video is None or run.settings.max_frames <= len(pictures.video):
        return run
    return run.with_values({"max_frames": len(pictures.video)}, "the video")


def _prompt_sources(settings: Settings) -> list[str]:
    """Those that are needed: all of an animation's, a still's own."""
    groups = settings.image_prompts
    used = groups.values() if is_animation(settings) else [prompts_at(groups, 0)]
    return list(dict.fromkeys(prompt.source for group in used for prompt in group))


def _video(
    path: str | None, settings: Settings, folders: Sequence[Path], cache: Path, paper: str = "white"
) -> VideoFrames | None:
    if path is None:
        return None
    from disco.animation.video import open_video  # its ffmpeg is looked for only when a video is to be read

    local = str(find(path, folders) or path)
    nth, size = settings.extract_nth_frame, settings.width_height
    return open_video(local, nth=nth, size=size, cache_dir=cache, most=settings.max_frames, paper=paper)
