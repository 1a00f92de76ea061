"""What a finished run gets besides its pictures: the contact sheet, and the video of an animation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from disco.errors import InputError
from disco.events import Notice, VideoProgress
from disco.media.images import contact_sheet, png_bytes, read_pixels
from disco.run_folder import RunFolder
from disco.settings.model import Settings, is_animation

MOST_ON_A_SHEET = 100


def write_sheet(folder: RunFolder) -> Path | None:
    """All pictures of the run side by side, a hundred at most, the first ones of stills and evenly chosen
    frames of an animation; None, and no file, for fewer than two.


    A sheet from before the run was extended moves to retained/. Raises RunError.
    """
    shown = sorted(folder.finished_pictures())
    if folder.info.get("settings", {}).get("animation_mode", "None") != "None":
        n = min(MOST_ON_A_SHEET, len(shown))
        shown = [shown[k * len(shown) // n] for k in range(n)]
    shown = shown[:MOST_ON_A_SHEET]
    if len(shown) < 2:
        return None
    return folder.save_grid(png_bytes(contact_sheet([read_pixels(folder.names.picture(k)) for k in shown])))


def film(folder: RunFolder, settings: Settings) -> Iterator[VideoProgress | Notice]:
    """make_video: its progress, and a sentence for each video, or why there is none. Raises RunError."""
    if not settings.make_video or not is_animation(settings) or folder.info.get("again"):
        return
    from disco.video_out import write_run_videos  # OpenCV is loaded only when a video is wanted

    try:
        yield from write_run_videos(folder.names, settings)
    except InputError as error:  # the frames are there all the same: some of a range, say
        yield Notice(f"no video: {error}")


def write_videos(folder: RunFolder, settings: Settings) -> list[str]:
    """The same at once; the sentences."""
    return [event.text for event in film(folder, settings) if isinstance(event, Notice)]
