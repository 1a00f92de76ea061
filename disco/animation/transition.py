"""From the last frame to the next one's start, as the settings say: 2D, 3D or along a video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from disco.animation.camera3d import DD57_BRIGHTNESS, Lens, warp3d
from disco.animation.coherence import match_colours
from disco.animation.motion2d import warp2d
from disco.animation.vr import eyes
from disco.media.images import from_uint8, to_uint8
from disco.settings.frame import border, motion
from disco.settings.model import Settings

if TYPE_CHECKING:
    from disco.animation.video import VideoFrames
    from disco.networks.depth_and_flow import Depth, Flow


_ABOVE = 1e-5  # a PNG's values are cut off: levels must not fall below themselves


@dataclass(frozen=True)
class FrameTransition:
    """The maps of one animation. Pictures are [1, 3, H, W] in [-1, 1].

    In dd57 every picture passes through 8 bits, as in the original, which went through files (quirk Q15).
    """

    settings: Settings
    device: torch.device
    depth: Depth | None = None
    flow: Flow | None = None
    video: VideoFrames | None = None

    def moved(self, frame: int, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """A picture as it is at the frame before, moved on to `frame`; and what of it to repaint but lightly.

        The latter is [1, 1, H, W] in [0, 1], 1 for lightly (video_init_steady); None for nothing.
        """
        picture = picture.to(self.device)
        if self.settings.animation_mode == "Video Input":
            return self._along_video(frame, picture)
        return (self._in_2d if self.settings.animation_mode == "2D" else self._in_3d)(frame, picture), None

    def start(
        self, frame: int, moved: Tensor | None, before: Tensor | None, first: Tensor | None
    ) -> Tensor | None:
        """What a frame starts from, None for noise.

        moved: the last picture, moved; before: as it was; first: frame 0's. Without them it is a first frame,
        or one of a video whose frames do not follow one another.
        """
        if moved is None:
            return self._raw(frame)
        mode = self.settings.color_coherence
        reference = first if self.settings.color_coherence_to == "first" else before
        if mode == "none" or reference is None:
            return moved
        return match_colours(moved, reference.to(moved), mode)

    def eyes(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """What the left and the right eye see of a picture."""
        assert self.depth is not None
        picture = picture.to(self.device)
        angle, ipd = self.settings.vr_eye_angle, self.settings.vr_ipd
        return eyes(picture, self.depth(picture), self._lens(), eye_angle=angle, ipd=ipd)

    def kept(self, picture: Tensor) -> Tensor:
        """A rendered picture as the next frames take it."""
        picture = picture.clamp(-1, 1)
        return eight_bits(picture, cut=True) if self._dd57 else picture

    def shown(self, picture: Tensor) -> Tensor:
        """A blend as its PNG shall have it."""
        return eight_bits(picture) + _ABOVE if self._dd57 else picture

    @property
    def _dd57(self) -> bool:
        return self.settings.compat == "dd57"

    def _in_2d(self, frame: int, picture: Tensor) -> Tensor:
        values = {key: self._at(key, frame) for key in ("angle", "zoom", "translation_x", "translation_y")}
        moved = warp2d(picture, **values, border=border(self.settings))  # type: ignore[arg-type]
        return eight_bits(moved) if self._dd57 else moved

    def _in_3d(self, frame: int, picture: Tensor) -> Tensor:
        assert self.depth is not None
        way = [self._at(f"translation_{axis}", frame) for axis in "xyz"]
        turn = [self._at(f"rotation_3d_{axis}", frame) for axis in "xyz"]
        moved = warp3d(picture, self.depth(picture), self._lens(), translation=way, rotation=turn)
        return eight_bits(moved, cut=True) if self._dd57 else moved

    def _lens(self) -> Lens:
        settings, dd57 = self.settings, self._dd57
        return Lens(
            fov=settings.fov,
            near=None if dd57 else settings.near_plane,
            far=None if dd57 else settings.far_plane,
            padding=settings.padding_mode,
            sampling=settings.sampling_mode,
            brightness_offset=DD57_BRIGHTNESS if dd57 else 0.0,
        )

    def _along_video(self, frame: int, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last picture, carried along the video's motion and blended with the video's own frame."""
        from disco.animation.consistency import blend, shared
        from disco.animation.flow import warp

        raw, last = self._raw(frame), self._raw(frame - 1)
        assert self.flow is not None and raw is not None and last is not None
        flow = self.flow(raw, last)
        seen = None
        if self.settings.video_init_check_consistency:
            seen = shared(raw, last, flow, self.flow(last, raw))
        start = blend(raw, warp(picture, flow), seen, self.settings.video_init_flow_blend)
        return (eight_bits(start), None) if self._dd57 else (start, seen)

    def _raw(self, frame: int) -> Tensor | None:
        return None if self.video is None else self.video[frame].to(self.device)

    def _at(self, key: str, frame: int) -> float:
        return motion(self.settings, key, frame)


def eight_bits(picture: Tensor, cut: bool = False) -> Tensor:
    """[1, 3, H, W] with the values that 256 levels have; rounded, or cut off as a PNG's are."""
    if cut:
        return from_uint8(to_uint8(picture[0])).to(picture)
    return ((picture.clamp(-1, 1) + 1) / 2 * 255).round() / 255 * 2 - 1
