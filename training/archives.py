"""Packages as `apt-get download` and `npm pack` leave them, read as they lie: nothing is installed."""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AR_MAGIC = b"!<arch>\n"


@dataclass(frozen=True)
class Package:
    """The file name of a package as its registry's command leaves it, and that command."""

    pattern: str
    command: str

    def find(self, root: Path) -> Path:
        """The newest of this package under `root`; SystemExit where there is none."""
        found = sorted(root.glob(self.pattern))
        if not found:
            raise SystemExit(
                f"{root}: no {self.pattern}. Run there: {self.command}, or let --download fetch it."
            )
        return found[-1]


def _ar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of each member of an ar archive, which is what a .deb is."""
    with path.open("rb") as file:
        if file.read(8) != AR_MAGIC:
            raise SystemExit(f"{path}: not a Debian package: no ar archive. Delete it and download it again.")
        while len(head := file.read(60)) == 60:
            size, offset = int(head[48:58]), file.tell()
            yield head[:16].decode().rstrip(" /"), offset, size
            file.seek(offset + size + size % 2)


def _deb_tar(path: Path) -> tarfile.TarFile:
    """The files of a .deb, by dpkg-deb where that is installed; else by Python, which knows xz and gzip."""
    if shutil.which("dpkg-deb"):
        command = ["dpkg-deb", "--fsys-tarfile", str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            why = done.stderr.decode().strip()
            raise SystemExit(f"{path}: dpkg-deb cannot read it: {why}. Delete it and download it again.")
        return tarfile.open(fileobj=io.BytesIO(done.stdout))
    for name, offset, size in _ar_members(path):
        if name.startswith("data.tar"):
            with path.open("rb") as file:
                file.seek(offset)
                return _open_tar(path, file.read(size), name)
    raise SystemExit(f"{path}: no data.tar in it, so not a Debian package. Delete it and download it again.")


def _open_tar(path: Path, data: bytes, name: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=io.BytesIO(data))
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        cure = "Delete it and download it again."
        if name.endswith(".zst"):
            cure = "Install dpkg-deb (package dpkg), which reads zstd."
        raise SystemExit(f"{path}: {name} cannot be read. {cure}") from None


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every plain file of a .deb or .tgz as (path without ./, bytes), in the archive's order."""
    if path.suffix == ".deb":
        archive = _deb_tar(path)
    else:
        archive = _open_tar(path, path.read_bytes(), path.name)
    with archive:
        for entry in archive:
            if entry.isfile():
                file = archive.extractfile(entry)
                assert file is not None
                yield entry.name.removeprefix("./"), file.read()
