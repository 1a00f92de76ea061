"""metadata: which versions a picture names, and what is said when others are here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import disco
from disco.runs.metadata import differences, picture_metadata


def carried(mode: str) -> dict[str, Any]:
    settings = {"animation_mode": mode}
    return picture_metadata(settings, seed=1, picture=0, batch=[0], machine={}, weights={}, inputs={})


def test_the_versions_of_what_shapes_its_pixels() -> None:
    still, flat, video = (carried(mode)["versions"] for mode in ("None", "2D", "Video Input"))
    assert still["disco"] == disco.__version__
    assert still["torch"] == version("torch")
    assert flat == still
    names = ("opencv-python-headless", "imageio-ffmpeg")
    assert video == still | {name: version(name) for name in names}
    more = carried("3D")["versions"].keys() - still.keys()
    assert more <= {"transformers", "onnxruntime"}, "the packages of disco[depth], where they are"


def test_other_versions_are_told() -> None:
    metadata = carried("Video Input")
    assert differences(metadata, {}) == []
    metadata["versions"] |= {"imageio-ffmpeg": "0.0.1", "python": "2.7", "gone": "1.0"}
    here = version("imageio-ffmpeg")
    assert differences(metadata, {}) == [
        f"imageio-ffmpeg was 0.0.1, now {here}",
        "gone was 1.0, now not installed",
    ]


def test_memory_savings_are_told_in_words() -> None:
    metadata = carried("None") | {"machine": {"memory": {"clip_batch": 4, "twice": True}, "threads": 2}}
    assert differences(metadata, {"threads": 2}) == [
        "memory saving was 4 cutouts seen by a CLIP at once, gradient checkpointing in the CLIPs, now none"
    ]
