"""CI: the newest CHANGELOG section must be the package's version and answer the Pictures question."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import disco

SECTIONS = ("Added", "Changed", "Fixed", "Pictures")


def problems(text: str, version: str) -> list[str]:
    """What is wrong with the changelog's newest section; empty when it is in order."""
    newest = re.split(r"^## ", text, flags=re.M)[1:2]
    if not newest or newest[0].split(maxsplit=1)[0] != version:
        return [f"CHANGELOG.md: the newest section is not {version}, the version of disco/__init__.py"]
    return [
        f"CHANGELOG.md: {version} has no section {name}"
        for name in SECTIONS
        if f"### {name}\n" not in newest[0]
    ]


if __name__ == "__main__":
    found = problems(Path("CHANGELOG.md").read_text(encoding="utf-8"), disco.__version__)
    sys.exit("\n".join(found) or 0)
