"""The settings of animations, under Disco Diffusion's own names, and those of masks and of the video file."""

from __future__ import annotations

from typing import ClassVar, Literal

from disco.settings.fields import Section, setting
from disco.settings.keyframes import KeyFrames, SplineName
from disco.settings.schedules import Schedule

DEPTHS = ("plane", "fastdepth", "dpt_large", "dpt_hybrid")
MOST_FPS = {"h264": 240, "vp9": 240, "gif": 50, "webp": 240}  # a GIF counts in hundredths of a second, from 2


class AnimationSettings(Section):
    """Frames that each start from the one before."""

    title: ClassVar[str] = "Animation"
    animation_mode: Literal["None", "2D", "3D", "Video Input"] = setting(
        "None", "choice", "None for stills; 2D and 3D move the last frame, Video Input a video"
    )
    key_frames: bool = setting(
        True, "bool", "nothing", pixels=False, no_effect="key frames are always on; a single number will do"
    )
    max_frames: int = setting(
        10000,
        "int",
        "number of frames; of a video at most as many as it has",
        pixels=False,
        ge=1,
        le=1_000_000,
    )
    interp_spline: SplineName = setting("Linear", "choice", "interpolation between key frames")
    angle: KeyFrames = setting(0, "keyframes", "2D: rotation per frame", unit="degrees")
    zoom: KeyFrames = setting("0: (1), 10: (1.05)", "keyframes", "2D: zoom per frame; above 1 zooms in")
    translation_x: KeyFrames = setting(
        0,
        "keyframes",
        "shift to the right per frame, in pixels; in 3D of the camera, where 200 is half the picture's width",
    )
    translation_y: KeyFrames = setting(0, "keyframes", "shift downwards per frame, likewise")
    translation_z: KeyFrames = setting(
        10, "keyframes", "3D: camera forward per frame; 200 is half the picture's width"
    )
    rotation_3d_x: KeyFrames = setting(0, "keyframes", "3D: tilt per frame", unit="degrees")
    rotation_3d_y: KeyFrames = setting(0, "keyframes", "3D: pan per frame", unit="degrees")
    rotation_3d_z: KeyFrames = setting(0, "keyframes", "3D: roll per frame", unit="degrees")
    frames_scale: Schedule = setting(
        1500, "schedule:float", "init_scale of the frames after the first: pull to the moved last frame", ge=0
    )
    frames_skip_steps: str | int = setting(
        "60%", "steps", "skip_steps of the frames after the first: how much of the last one stays", ge=0
    )
    border_mode: Literal["auto", "wrap", "reflect", "replicate"] = setting(
        "auto", "choice", "2D: how the border is filled; auto: reflect, with compat: dd57 wrap"
    )
    prompt_crossfade: bool = setting(
        False, "bool", "between two keys of text_prompts change over gradually, not at once"
    )
    color_coherence: Literal["none", "LAB", "RGB"] = setting(
        "none",
        "choice",
        "against colour drift: match the start of each frame to the colours of an earlier one",
    )
    color_coherence_to: Literal["first", "previous"] = setting(
        "first", "choice", "the colours to match: the first frame's, or the last one's before it was moved"
    )


class Motion3dSettings(Section):
    """The camera of 3D, turbo, and two eyes."""

    title: ClassVar[str] = "3D"
    midas_depth_model: str = setting(
        "dpt_large",
        "choice",
        "the network that estimates depth; plane: a flat world, without a network",
        choices=DEPTHS,
    )
    second_depth_model: str = setting(
        "none",
        "choice",
        "a second one, mixed in by midas_weight; the original's, AdaBins, is no longer published",
        choices=("none", *DEPTHS),
    )
    midas_weight: float = setting(
        0.3, "float", "share of midas_depth_model's depth; the rest is second_depth_model's", ge=0, le=1
    )
    near_plane: float = setting(
        200,
        "float",
        "3D: nothing counts as nearer than this; 1000 is half the picture's width",
        ge=1,
        le=1_000_000,
    )
    far_plane: float = setting(
        10000, "float", "3D: nothing counts as farther than this, likewise", ge=1, le=10_000_000
    )
    fov: float = setting(40, "float", "the camera's angle of view", ge=1, le=179, unit="degrees")
    padding_mode: Literal["border", "zeros", "reflection"] = setting(
        "border", "choice", "3D: how the border is filled"
    )
    sampling_mode: Literal["bicubic", "bilinear", "nearest"] = setting(
        "bicubic", "choice", "3D: interpolation of the moved pixels"
    )
    turbo_mode: bool = setting(False, "bool", "3D: render some frames only, the others are moved and blended")
    turbo_steps: int = setting(
        3, "digits", "turbo renders one frame in this many", ge=1, le=1000, unit="frames"
    )
    turbo_preroll: int = setting(
        10, "int", "turbo renders every frame up to this one", ge=1, le=1_000_000, unit="frames"
    )
    vr_mode: bool = setting(False, "bool", "3D: also save a picture for the left and the right eye")
    vr_eye_angle: float = setting(0.5, "float", "how far each eye turns inwards", ge=0, le=45, unit="degrees")
    vr_ipd: float = setting(
        5, "float", "distance between the eyes; 200 is half the picture's width", ge=0, le=1000
    )


class VideoInitSettings(Section):
    """A video that the frames follow; in this mode these stand in for the settings of stills."""

    title: ClassVar[str] = "Video input"
    video_init_path: str | None = setting(
        None, "path", "the video: any that ffmpeg reads, or a folder of pictures in the order of their names"
    )
    extract_nth_frame: int = setting(2, "int", "use one frame of it in this many", ge=1, le=100_000)
    video_init_seed_continuity: bool = setting(False, "bool", "the same random numbers for every frame")
    video_init_flow_warp: bool = setting(
        True, "bool", "start from the last frame, moved as the video moves; false: from the video's own frame"
    )
    video_init_flow_blend: float = setting(
        0.999, "float", "share of the moved last frame in the start; the rest is the video's", ge=0, le=1
    )
    video_init_check_consistency: bool = setting(
        False, "bool", "use the video's frame where forward and backward motion disagree: something appears"
    )
    video_init_steady: float = setting(
        0.5,
        "float",
        "with the consistency check: share of the steps that leave alone what the last frame already showed; "
        "higher flickers less, 0 paints everything anew",
        ge=0,
        le=1,
    )
    flow_model: Literal["dis", "raft_small", "raft_large", "raft_things"] = setting(
        "dis",
        "choice",
        "how motion is measured: dis needs no network, RAFT is better; raft_things: the original's",
    )
    video_init_steps: int = setting(100, "int", "steps in this mode", ge=2, le=4000)
    video_init_clip_guidance_scale: Schedule = setting(
        1000, "schedule:float", "clip_guidance_scale in this mode", ge=0
    )
    video_init_tv_scale: Schedule = setting(0.1, "schedule:float", "tv_scale in this mode", ge=0)
    video_init_range_scale: Schedule = setting(150, "schedule:float", "range_scale in this mode", ge=0)
    video_init_sat_scale: Schedule = setting(300, "schedule:float", "sat_scale in this mode", ge=0)
    video_init_cutn_batches: Schedule = setting(4, "schedule:int", "cutn_batches in this mode", ge=1, le=1000)
    video_init_skip_steps: int = setting(50, "int", "skip_steps of the first frame in this mode", ge=0)
    video_init_frames_scale: Schedule = setting(
        15000, "schedule:float", "init_scale of every frame in this mode", ge=0
    )
    video_init_frames_skip_steps: str | int = setting(
        "70%", "steps", "skip_steps of the frames after the first in this mode", ge=0
    )
    video_mask_path: str | None = setting(
        None, "path", "a video or folder of masks, one per frame of the video: black stays, white is painted"
    )


class MaskSettings(Section):
    """Painting a part of a picture only."""

    title: ClassVar[str] = "Masks"
    mask_path: str | None = setting(
        None, "path", "a black and white picture: black parts of the start stay, white ones are painted"
    )
    mask_blur: float = setting(
        4, "float", "softness of the mask's edges: deviation of a Gaussian blur", ge=0, le=1000, unit="pixels"
    )
    steps_to_repaint: str | int = setting(
        0, "steps", "last steps, in which the whole picture may change, to hide the seam", ge=0
    )


class VideoOutSettings(Section):
    """The video file of the frames."""

    title: ClassVar[str] = "Video file"
    make_video: bool = setting(False, "bool", "at the end, write the frames as a video", pixels=False)
    fps: float = setting(12, "float", "frames per second of the video", pixels=False, ge=0.1, le=240)
    video_codec: Literal["h264", "vp9", "gif", "webp"] = setting(
        "h264", "choice", "format of the video", pixels=False
    )
    video_blend: Literal["none", "linear", "flow"] = setting(
        "none", "choice", "smooth the video: blend each frame with the one before", pixels=False
    )
    video_init_blend_mode: Literal["None", "linear", "optical flow"] = setting(
        "optical flow", "choice", "video_blend of Video Input, with the original's words", pixels=False
    )
    blend: float = setting(0.5, "float", "share of the previous frame in a blend", pixels=False, ge=0, le=1)
    video_loop: bool = setting(
        False,
        "bool",
        "GIF and WebP repeat forever; MP4 and WebM cannot, and play forward and backward",
        pixels=False,
    )
    init_frame: int = setting(0, "int", "first frame of the video", pixels=False, ge=0)
    last_frame: int | Literal["final_frame"] = setting(
        "final_frame", "final_int", "last frame of the video", pixels=False, ge=0
    )
