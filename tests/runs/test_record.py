"""The chunk of a picture, damaged in every way: one sentence before anything is loaded, never a traceback."""

from __future__ import annotations

import base64
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disco.cli.verbs import show
from disco.errors import DiscoError, InputError
from disco.media.images import png_bytes
from disco.memory.policy import MemoryPolicy
from disco.runs.metadata import differences, other_weights
from disco.runs.new_run import read_again
from disco.runs.record import MAX_BATCH, MAX_DEPTH, check_metadata
from disco.settings.model import KEYS

STILL = {"text_prompts": ["a lake"], "width_height": [64, 64], "n_batches": 3, "batch_size": 3, "set_seed": 3}
STREAM = "cpu=" + base64.b64encode(bytes(5056)).decode()
CURE = "It was changed after Disco wrote it: use the file that the run wrote."


def whole(**settings: Any) -> dict[str, Any]:
    """What a PNG of ours carries."""
    return {
        "format": 1,
        "settings": {**STILL, **settings},
        "seed": 3,
        "picture": 1,
        "batch": [0, 1, 2],
        "machine": {"device": "cpu", "threads": 2, "memory": {"clip_batch": 4, "twice": True}},
        "versions": {"disco": "0.1.0"},
        "weights": {"a": "b"},
        "inputs": {},
    }


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


VALUES = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**70, 1.0, 0.5, math.nan, math.inf),
    *("", "1", "text", "\x1b[2J", "\ud800", [], [0], [1], [[1]], [1, 1], [None], {}, {"a": 1}, {"a": None}),
    *({"device": 5}, {"memory": 5}, {"memory": {"clip_batch": "4"}}, {"memory": {"twice": 3}}),
    *({"memory": {"clip_batch": 0}}, {"threads": []}, {"compiled": 1}, {"new": {"a": 1}}, deep(3), deep(300)),
)
FIELDS = [*whole(), "stream", "partial", "later"]


def written(path: Path, metadata: dict[str, Any]) -> Path:
    path.write_bytes(png_bytes(np.zeros((8, 8, 3), dtype=np.uint8), metadata))
    return path


def used(path: Path) -> None:
    """All that rendering again does with the chunk before it loads a network."""
    again = read_again(path)
    assert again.picture in again.batch
    differences(again.metadata, {"device": "cpu"})
    other_weights(again.metadata, {})
    machine = again.metadata.get("machine", {})
    MemoryPolicy.of(machine.get("memory", {})).joined(MemoryPolicy(clip_batch=2)).words()
    assert isinstance(machine.get("device"), (str, type(None)))


@pytest.mark.parametrize("field", FIELDS)
def test_no_damage_of_a_field_is_a_traceback(field: str, tmp_path: Path) -> None:
    refused = 0
    for n, value in enumerate(VALUES):
        path = written(tmp_path / f"{n}.png", {**whole(), field: value})
        for use in (used, lambda path: show([str(path)])):
            try:
                use(path)
            except DiscoError as error:
                refused += 1
                assert str(path) in str(error)
                assert field == "settings" or "\n" not in str(error)
    assert refused >= len(VALUES) or field in ("stream", "partial", "later", "machine", "versions")
    assert refused >= 2, "only what is nested too deeply"


@pytest.mark.parametrize("field", [field for field in whole() if field not in ("machine", "versions")])
def test_what_is_missing_is_named(field: str, tmp_path: Path) -> None:
    metadata = whole()
    del metadata[field]
    path = written(tmp_path / "a.png", metadata)
    if field in ("weights", "inputs"):
        return used(path)
    text = f"{path}: the settings in this picture lack '{field}'. {CURE}"
    if field == "format":
        text = f"{path}: settings of format nothing, known here is 1. Use the version of Disco that wrote it."
    with pytest.raises(InputError) as error:
        read_again(path)
    assert str(error.value) == text


def test_no_damage_of_a_setting_is_a_traceback(tmp_path: Path) -> None:
    values = itertools.cycle(([[]], {"a": [1]}, 10**400, "\x00", -1))
    for key in KEYS:
        try:
            used(written(tmp_path / "a.png", whole(**{key: next(values)})))
        except DiscoError as error:
            assert "a.png" in str(error)


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"batch": []}, f"batch is [], not a list of 1 to {MAX_BATCH} different numbers of pictures, each a "
         "whole number from 0 to 9999999"),
        ({"batch": [1, 1]}, f"batch is [1, 1], not a list of 1 to {MAX_BATCH} different numbers of pictures, "
         "each a whole number from 0 to 9999999"),
        ({"picture": 7}, "picture 7 is none of its batch, [0, 1, 2]"),
        ({"batch": [0, 1, 9]}, "its batch has picture 9, but n_batches is 3: they count from 0"),
        ({"seed": -1}, "seed is -1, not a whole number from 0 to 9223372036854775807"),
        ({"machine": {"threads": 0}}, 'machine is {\'threads\': 0}, not a map of device, threads, memory and '
         "compiled to what they were"),
        ({"weights": None}, "weights is nothing, not a map of names to texts"),
        ({"stream": "cpu=AAAA"}, 'stream is "cpu=AAAA", not a text of random states'),
        ({"later": deep(50)}, f"lists and maps inside each other more than {MAX_DEPTH} deep"),
    ],
)  # fmt: skip
def test_the_sentences(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", whole() | changes)
    with pytest.raises(InputError) as error:
        read_again(path)
    assert str(error.value) == f"{path}: damaged settings in this picture: {text}. {CURE}"


@pytest.mark.parametrize(
    "settings, text",
    [
        (
            {"animation_mode": "2D", "max_frames": 9},
            "its batch has 3 pictures, but frames of an animation are rendered one by one",
        ),
        (
            {"animation_mode": "2D", "max_frames": 2},
            "its batch has picture 2, but max_frames is 2: they count from 0",
        ),
        (
            {"compat": "dd57", "batch_size": 1},
            "it lacks 'stream', which a later picture of compat: dd57 begins with",
        ),
    ],
)
def test_a_batch_that_its_settings_do_not_have(settings: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.png", whole(**settings))
    with pytest.raises(InputError) as error:
        read_again(path)
    assert str(error.value) == f"{path}: damaged settings in this picture: {text}. {CURE}"


def test_what_is_whole_is_read_and_what_is_newer_is_let_through(tmp_path: Path) -> None:
    metadata = {**whole(), "later": [1, "a"], "partial": 4}
    metadata["machine"]["later"] = "fact"
    again = read_again(written(tmp_path / "a.png", metadata))
    assert (again.picture, again.batch, again.run.settings.n_batches) == (1, (0, 1, 2), 3)
    stream = {**whole(compat="dd57", batch_size=1), "batch": [1], "stream": STREAM}
    assert read_again(written(tmp_path / "a.png", stream)).starts == {"1": STREAM}
    check_metadata(json.loads(json.dumps(metadata)), "a.png")
