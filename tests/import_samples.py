"""The sample files of other tools in tests/importers, and a way to change one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from disco.settings.importers.builder import Imported
from disco.settings.importers.encodings import read_text
from disco.settings.importers.reading import import_settings, parse_old
from tests.places import TESTS

SAMPLES = TESTS / "importers"
DISCO = SAMPLES / "evening(3)_settings.txt"
OLD_DISCO = SAMPLES / "first_steps-0_settings.txt"
DISCOART = SAMPLES / "discoart.yml"
PROGROCK = SAMPLES / "progrock.json"
ALL = sorted(path for path in SAMPLES.iterdir() if path.is_file())


def read_old(path: Path) -> dict[str, Any]:
    """The keys and values of an old settings file."""
    return parse_old(read_text(path)[0], path)[0]


def edited(tmp_path: Path, path: Path, **changes: Any) -> Imported:
    """The sample with some keys changed; None removes a key."""
    old = {**read_old(path), **changes}
    copy = tmp_path / path.name
    copy.write_text(json.dumps({key: value for key, value in old.items() if value is not None}))
    return import_settings(copy)
