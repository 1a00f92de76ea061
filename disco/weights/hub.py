"""Files on the Hugging Face hub: looked up in its cache, downloaded by its own library, checked by us."""

from __future__ import annotations

import contextlib
import errno
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from disco.errors import WeightsError
from disco.files.http import TIMEOUT, Cut, FetchError, TimeLimit, Unreachable, request
from disco.weights.download import Expected, Report, check_free
from disco.weights.registry import HubFile

Digest = Callable[[Path], str]
_TYPES = {"spaces": "space", "datasets": "dataset"}


def hub_file_of(url: str) -> HubFile | None:
    """https://huggingface.co/OWNER/NAME/resolve/main/PATH -> HubFile; None for any other address."""
    address = urlsplit(url)
    match = re.fullmatch(r"/(?:(spaces|datasets)/)?([^/]+/[^/]+)/resolve/main/(.+)", unquote(address.path))
    if address.hostname != "huggingface.co" or match is None:
        return None
    return HubFile.model_validate(
        {"repo": match[2], "filename": match[3], "repo_type": _TYPES.get(match[1] or "", "model")}
    )


def cached(hub: HubFile) -> Path | None:
    """The file in the hub's cache, by any of its names. No network."""
    from huggingface_hub import try_to_load_from_cache

    for filename in (hub.filename, *hub.also):
        cached_path = try_to_load_from_cache(hub.repo, filename, repo_type=hub.repo_type)
        if isinstance(cached_path, str):
            return Path(cached_path)
    return None


def hub_download(hub: HubFile, expected: Expected, report: Report, digest_of: Digest) -> tuple[Path, str]:
    """Download into the hub's cache and check; returns the path and its SHA-256.

    A file that is wrong, be it an old one in the cache, is removed and fetched once more.
    Raises FetchError with the reason, WeightsError when the disk is full.
    """
    fault: str | None = None
    for _ in range(2):
        path = _download_any(hub, expected, report)
        digest = digest_of(path)
        fault = _with_hubs_own(expected, path).fault(path.stat().st_size, digest)
        if fault is None:
            return path, digest
        _remove(path)
    raise FetchError(f"{fault}: refused and removed")


def _download_any(hub: HubFile, expected: Expected, report: Report) -> Path:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for filename in (hub.filename, *hub.also):
        try:
            return _download(hub, filename, expected, report)
        except LocalEntryNotFoundError as error:  # its word for: no connection
            raise FetchError(_reason(error.__cause__ or error)) from error
        except EntryNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise WeightsError(
                    f"{filename}: the disk of the Hugging Face cache is full. Free some space, or set "
                    "HF_HOME to a folder on another disk, and run again."
                ) from error
            raise FetchError(_reason(error)) from error
        except FetchError:
            raise
        except Exception as error:  # its libraries' errors have no common class; the reason is shown
            raise FetchError(_reason(error)) from error
    raise FetchError(f"{hub.repo} holds no {hub.filename}")


def _download(hub: HubFile, filename: str, expected: Expected, report: Report) -> Path:
    from huggingface_hub import constants, hf_hub_download

    _reach(constants.ENDPOINT)
    if expected.size is not None:
        check_free(_existing(Path(constants.HF_HUB_CACHE)), expected.size)
    options: dict[str, Any] = {"repo_type": hub.repo_type}
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # not in the older releases
        options["tqdm_class"] = type("Bar", (_Bar,), {"report": staticmethod(report)})
    return Path(hf_hub_download(hub.repo, filename, **options))


def _reach(endpoint: str) -> None:
    """Raise FetchError at once if there is no way to the hub; its library would try for half a minute."""
    try:
        with request(endpoint, {}, TimeLimit(TIMEOUT)):
            pass
    except Unreachable as error:
        raise FetchError(str(error)) from error
    except (FetchError, Cut):
        pass  # an answer of any kind will do


class _Bar:
    """What the hub's library takes for a tqdm bar: passes the bytes on to `report`."""

    report: Report

    def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
        self.total, self.n = total, initial
        self.format_dict: dict[str, Any] = {}
        self.report(self.n, self.total)

    def update(self, n: float | None = 1) -> None:
        self.n += int(n or 0)
        self.report(self.n, self.total)

    def update_transfer(self, _: float) -> None:
        """Bytes on the wire; the bytes of the file count here."""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _nothing(self, *_: Any, **__: Any) -> None:
        pass

    close = refresh = reset = clear = _nothing
    set_description = set_description_str = set_postfix = set_postfix_str = set_transfer_postfix_str = (
        _nothing
    )


def _with_hubs_own(expected: Expected, path: Path) -> Expected:
    """Where nobody published a hash, the hub's own: its cache names each large file by its SHA-256."""
    own = path.resolve().name
    if expected.sha256 is None and re.fullmatch(r"[0-9a-f]{64}", own):
        return Expected(expected.size, own)
    return expected


def _remove(path: Path) -> None:
    blob = path.resolve()
    for wrong in (path, blob):
        with contextlib.suppress(OSError):
            wrong.unlink()


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _reason(error: BaseException) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the server answers {status}: no such repository, or one that needs `hf auth login`"
    if status:
        return f"the server answers {status}"
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
