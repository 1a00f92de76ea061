"""The contact sheet of a finished run."""

from __future__ import annotations

from pathlib import Path

from disco.images import contact_sheet, png_bytes, read_pixels
from disco.run_folder import RunFolder

MOST_ON_A_SHEET = 100


def write_sheet(folder: RunFolder) -> Path | None:
    """All pictures of the run side by side (the first hundred); None, and no file, for fewer than two.

    A sheet from before the run was extended moves to retained/. Raises RunError.
    """
    shown = sorted(folder.finished_pictures())[:MOST_ON_A_SHEET]
    if len(shown) < 2:
        return None
    return folder.save_grid(png_bytes(contact_sheet([read_pixels(folder.names.picture(k)) for k in shown])))
