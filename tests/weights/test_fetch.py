"""disco/weights*.py against a web server on the loopback. Nothing here leaves this machine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco.errors import WeightsError
from disco.files import http
from disco.weights import download, fetch, hub, local
from disco.weights.registry import Entry, HubFile, WeightFile, registry
from tests.http_server import Page, Server, serve
from tests.places import ROOT

DATA = bytes(range(256)) * 4000  # 1,024,000 bytes
SHA = hashlib.sha256(DATA).hexdigest()
WRONG = b"x" * len(DATA)
WRONG_SHA = hashlib.sha256(WRONG).hexdigest()


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty home, an empty current directory, no proxy, no waiting between attempts."""
    for name in ("DISCO_MODELS", "HF_HUB_OFFLINE", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(http, "PAUSES", (0.0,))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    yield


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models folder"
    folder.mkdir()
    monkeypatch.setenv("DISCO_MODELS", str(folder))
    return folder


def entry(*mirrors: str, sha256: str | None = SHA, size: int | None = None, **facts: Any) -> Entry:
    file = WeightFile(name="net.pth", bytes=size, sha256=sha256, mirrors=mirrors, **facts)
    return Entry(name="net", kind="secondary", title="A network", files=(file,), architecture={})


def fetched(one: Entry) -> bytes:
    return fetch.fetch(one)["net.pth"].read_bytes()


def refusal(one: Entry) -> str:
    with pytest.raises(WeightsError) as caught:
        fetch.fetch(one)
    return str(caught.value)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def failed(models: Path, server: Server, reason: str, size: str = "size unknown") -> str:
    return (
        f"net.pth: no source could deliver it ({size}):\n  {server.url}/a: {reason}\n"
        f"Put it at {models / 'net.pth'} by hand, or set DISCO_MODELS to the folder that holds it."
    )


def test_a_plain_download(models: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    said: list[str] = []
    with serve(a=Page(DATA)) as server:
        one = entry(f"{server.url}/a", size=len(DATA))
        paths = fetch.fetch(one, lambda *news: seen.append(news), said.append)
        assert fetch.fetch(one) == paths
        assert len(server.requests) == 1
    assert paths == {"net.pth": models / "net.pth"}
    assert paths["net.pth"].read_bytes() == DATA
    assert seen[0] == ("net.pth", 0, len(DATA))
    assert seen[-1] == ("net.pth", len(DATA), len(DATA))
    assert said == ["net.pth: fetching 1.0 MB from 127.0.0.1"]
    assert leftovers(models) == {"net.pth"}


def test_a_cut_connection_is_resumed(models: Path) -> None:
    with serve(a=Page(DATA, cuts=[300_000, 5])) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert server.requests == [("/a", None), ("/a", "bytes=300000-"), ("/a", "bytes=300005-")]
    assert leftovers(models) == {"net.pth"}


def test_the_part_of_an_earlier_run_is_continued(models: Path) -> None:
    (models / "net.pth.part").write_bytes(DATA[:123])
    with serve(a=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert server.requests == [("/a", "bytes=123-")]


def test_a_part_that_is_already_whole(models: Path) -> None:
    (models / "net.pth.part").write_bytes(DATA)
    with serve(a=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert server.requests == [("/a", f"bytes={len(DATA)}-")]


def test_a_part_longer_than_the_file_is_thrown_away(models: Path) -> None:
    (models / "net.pth.part").write_bytes(DATA + b"more")
    with serve(a=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert [header for _, header in server.requests] == [f"bytes={len(DATA) + 4}-", None]


def test_a_server_without_range_starts_again(models: Path) -> None:
    with serve(a=Page(DATA, has_range=False, cuts=[1000])) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert server.requests == [("/a", None), ("/a", "bytes=1000-")]


def test_a_server_that_answers_with_another_part(models: Path) -> None:
    with serve(a=Page(DATA, wrong_start=True, cuts=[1000])) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert [header for _, header in server.requests] == [None, "bytes=1000-", None]


def test_a_file_that_changed_in_between_starts_again(models: Path) -> None:
    """Without a hash only If-Range tells: the old part must not be glued to the new file."""
    new = bytes(reversed(DATA))
    with serve(a=Page(DATA, cuts=[1000] * 9, statuses=[200])) as server:
        page = server.pages["/a"]
        page.cuts = [1000, *[0] * 9]
        assert "connection cut after 1000 of 1024000 bytes" in refusal(entry(f"{server.url}/a", sha256=None))
        page.cuts, page.data, page.etag = [], new, '"two"'
        assert fetched(entry(f"{server.url}/a", sha256=None)) == new


def test_a_wrong_part_does_not_spoil_a_good_mirror(models: Path) -> None:
    (models / "net.pth.part").write_bytes(b"nonsense")
    with serve(a=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert [header for _, header in server.requests] == ["bytes=8-", None]


def test_wrong_bytes_are_refused_and_the_next_mirror_is_asked(models: Path) -> None:
    with serve(a=Page(WRONG), b=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a", f"{server.url}/b")) == DATA
        assert [path for path, _ in server.requests] == ["/a", "/b"]


def test_wrong_bytes_everywhere(models: Path) -> None:
    with serve(a=Page(WRONG)) as server:
        reason = f"SHA-256 is {WRONG_SHA[:12]}..., expected {SHA[:12]}...: refused and removed"
        assert refusal(entry(f"{server.url}/a")) == failed(models, server, reason)
    assert leftovers(models) == set()


def test_a_hash_of_which_only_the_first_digits_are_known(models: Path) -> None:
    with serve(a=Page(WRONG), b=Page(DATA)) as server:
        mirrors = (f"{server.url}/a", f"{server.url}/b")
        assert fetched(entry(*mirrors, sha256=None, sha256_prefix=SHA[:8])) == DATA


def test_a_size_other_than_published_is_refused_unread(models: Path) -> None:
    with serve(a=Page(DATA)) as server:
        reason = "the server says 1024000 bytes, expected 1024001"
        assert refusal(entry(f"{server.url}/a", size=1_024_001)) == failed(models, server, reason, "1.0 MB")


def test_a_server_that_promises_more_than_it_has(models: Path) -> None:
    with serve(a=Page(DATA, claimed=len(DATA) + 10), b=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA  # the hash says that all is there
        (models / "net.pth").unlink()
        server.pages["/a"].has_range = False
        assert fetched(entry(f"{server.url}/a", f"{server.url}/b")) == DATA


def test_a_server_that_promises_less_than_it_has(models: Path) -> None:
    with serve(a=Page(DATA, claimed=1000)) as server:
        short = hashlib.sha256(DATA[:1000]).hexdigest()
        reason = f"SHA-256 is {short[:12]}..., expected {SHA[:12]}...: refused and removed"
        assert refusal(entry(f"{server.url}/a")) == failed(models, server, reason)


def test_a_server_that_sends_more_than_the_published_size(models: Path) -> None:
    with serve(a=Page(DATA + b"tail", has_length=False)) as server:
        reason = "the server sends more than 1024000 bytes"
        assert refusal(entry(f"{server.url}/a", size=len(DATA))) == failed(models, server, reason, "1.0 MB")


def test_a_server_that_does_not_say_the_size(models: Path) -> None:
    with serve(a=Page(DATA, has_length=False)) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA


def test_a_connection_that_never_brings_anything(models: Path) -> None:
    with serve(a=Page(DATA, cuts=[0] * 20)) as server:
        reason = "connection cut after 0 of 1024000 bytes"
        assert refusal(entry(f"{server.url}/a")) == failed(models, server, reason)
        assert len(server.requests) == http.PATIENCE


def test_missing_then_the_next_mirror(models: Path) -> None:
    with serve(b=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a", f"{server.url}/b")) == DATA
        assert [path for path, _ in server.requests] == ["/a", "/b"]


def test_every_mirror_is_listed_with_its_reason(models: Path) -> None:
    with serve(b=Page(status=503), c=Page(b"<html>", content_type="text/html; charset=utf-8")) as server:
        mirrors = [f"{server.url}/{name}" for name in "abc"] + ["ftp://127.0.0.1/d"]
        assert refusal(entry(*mirrors)) == (
            "net.pth: no source could deliver it (size unknown):\n"
            f"  {server.url}/a: the server answers 404 Not Found\n"
            f"  {server.url}/b: the server answers 503 Service Unavailable\n"
            f"  {server.url}/c: the server answers with a web page instead of the file\n"
            "  ftp://127.0.0.1/d: only http and https addresses can be fetched\n"
            f"Put it at {models / 'net.pth'} by hand, or set DISCO_MODELS to the folder that holds it."
        )
        assert [path for path, _ in server.requests] == ["/a", *["/b"] * 4, "/c"]


def test_a_busy_server_is_asked_again(models: Path) -> None:
    with serve(a=Page(DATA, statuses=[503, 429])) as server:
        assert fetched(entry(f"{server.url}/a")) == DATA


def test_no_server_at_all(models: Path) -> None:
    with serve() as server:
        pass
    reason = os.strerror(errno.ECONNREFUSED)
    assert refusal(entry(f"{server.url}/a")) == failed(models, server, reason)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_followed_and_keep_the_range(models: Path, status: int) -> None:
    (models / "net.pth.part").write_bytes(DATA[:10])
    with serve(a=Page(status=status), b=Page(DATA)) as server:
        server.pages["/a"].location = f"{server.url}/b"
        assert fetched(entry(f"{server.url}/a")) == DATA
        assert server.requests == [("/a", "bytes=10-"), ("/b", "bytes=10-")]


def test_no_redirect_from_https_to_http() -> None:
    with pytest.raises(http.FetchError) as caught:
        http._redirected("https://127.0.0.1/a", "http://127.0.0.1/b")
    assert str(caught.value) == "it redirects to an unprotected address, http://127.0.0.1/b"


def test_a_file_without_a_published_hash_is_taken_and_said(models: Path) -> None:
    said: list[str] = []
    with serve(a=Page(DATA)) as server:
        fetch.fetch(entry(f"{server.url}/a", sha256=None), None, said.append)
    assert said == [
        "net.pth: fetching size unknown from 127.0.0.1",
        f"net.pth: no hash is published to compare with; SHA-256 computed: {SHA}",
    ]


def test_too_little_room(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(models)._replace(free=10_000_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    with serve(a=Page(DATA), b=Page(DATA)) as server:
        assert refusal(entry(f"{server.url}/a", f"{server.url}/b", size=len(DATA))) == (
            f"{models}: 1.0 MB are needed and 10 MB are free. "
            "Free some space, or set DISCO_MODELS to a folder on another disk, and run again."
        )
        assert [path for path, _ in server.requests] == ["/a"]


def test_a_size_that_only_the_server_says_and_that_cannot_fit(models: Path) -> None:
    with serve(a=Page(DATA, claimed=10**17), b=Page(DATA, claimed=10**20), c=Page(DATA)) as server:
        mirrors = [f"{server.url}/{name}" for name in "abc"]
        assert fetched(entry(*mirrors)) == DATA
        assert [path for path, _ in server.requests] == ["/a", "/b", "/c"]
        (models / "net.pth").unlink()
        text = refusal(entry(*mirrors[:2]))
    free = r"[\d.]+ [GM]B are free on the disk"
    assert re.search(rf"/a: the server sends 100000000 GB, and {free}\n", text)
    assert "/b: the server says that it has 100000000000000000000 bytes\n" in text


def test_an_answer_without_length_leaves_room_on_the_disk(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LOOK", 100_000)
    frees = [10**9, 10**9, 50_000_000]
    usage = shutil.disk_usage(models)
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda folder: usage._replace(free=frees.pop(0) if frees else 10**9)
    )
    with serve(a=Page(DATA, has_length=False), b=Page(DATA)) as server:
        assert fetched(entry(f"{server.url}/a", f"{server.url}/b")) == DATA
        assert server.requests == [("/a", None), ("/b", None)]


def test_the_sentence_about_an_answer_without_length(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LOOK", 2 * len(DATA))
    usage = shutil.disk_usage(models)._replace(free=50_000_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    with serve(a=Page(DATA, has_length=False)) as server:
        reason = "the server sends more than 0 bytes, and 50 MB are free on the disk"
        assert refusal(entry(f"{server.url}/a")) == failed(models, server, reason)
    assert (models / "net.pth.part").stat().st_size == 0


def test_the_disk_fills_up_and_nothing_is_lost(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = download._Part.append

    def full(part: Any, chunk: bytes) -> None:
        append(part, chunk[:5000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with serve(a=Page(DATA), b=Page(DATA)) as server:
        one = entry(f"{server.url}/a", f"{server.url}/b")
        with monkeypatch.context() as patch:
            patch.setattr(download._Part, "append", full)
            assert refusal(one) == (
                f"{models / 'net.pth'}: cannot be written: the disk is full. "
                "What has arrived is kept: free some space and run again to go on."
            )
        assert fetched(one) == DATA
        assert server.requests == [("/a", None), ("/a", "bytes=5000-")]


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EACCES, "no permission to write there. Set DISCO_MODELS to a folder that can be written."),
        (errno.EROFS, "the disk is read-only. Set DISCO_MODELS to a folder that can be written."),
        (
            errno.EDQUOT,
            "your disk quota is used up. What has arrived is kept: free some space and run again to go on.",
        ),
        (errno.EIO, "the disk reports an error. Set DISCO_MODELS to a folder that can be written."),
    ],
)
def test_a_folder_that_cannot_be_written(
    models: Path, monkeypatch: pytest.MonkeyPatch, number: int, cause: str
) -> None:
    def touch(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", touch)
    assert refusal(entry("http://127.0.0.1:1/a")) == f"{models / 'net.pth'}: cannot be written: {cause}"


def test_a_file_in_the_way_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DISCO_MODELS", str(tmp_path / "file"))
    assert refusal(entry("http://127.0.0.1:1/a")) == (
        f"{tmp_path / 'file' / 'net.pth'}: cannot be written: a file stands where a folder is needed. "
        "Set DISCO_MODELS to a folder that can be written."
    )


def test_two_processes_fetch_once(models: Path) -> None:
    gate = threading.Event()
    code = (
        "import sys; from disco.weights import fetch; from disco.weights.registry import Entry, WeightFile\n"
        "file = WeightFile(name='net.pth', sha256=sys.argv[1], mirrors=(sys.argv[2],))\n"
        "one = Entry(name='net', kind='secondary', title='', files=(file,), architecture={})\n"
        "print(fetch.fetch(one, None, lambda text: print(text, flush=True))['net.pth'])\n"
    )
    with serve(a=Page(DATA, gate=gate)) as server:
        command = [sys.executable, "-c", code, SHA, f"{server.url}/a"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert first.stdout is not None
        assert first.stdout.readline() == "net.pth: fetching size unknown from 127.0.0.1\n"
        while not server.requests:
            threading.Event().wait(0.01)
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert second.stdout is not None
        assert second.stdout.readline() == "net.pth: fetching size unknown from 127.0.0.1\n"
        assert second.stdout.readline() == "net.pth: another process is fetching it; waiting for that\n"
        gate.set()
        outputs = [process.communicate(timeout=30)[0].strip() for process in (first, second)]
        assert outputs == [str(models / "net.pth")] * 2
        assert server.requests == [("/a", None)]


# Where files are found


def test_the_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    assert fetch.models_dir() == home / ".cache" / "disco" / "models"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.models_dir() == tmp_path / "xdg" / "disco" / "models"
    (tmp_path / "work" / "models").mkdir()
    assert fetch.models_dir() == tmp_path / "work" / "models"
    monkeypatch.setenv("DISCO_MODELS", "~/weights")
    assert fetch.models_dir() == home / "weights"


@pytest.mark.skipif(os.name == "nt", reason="Windows has a home folder without HOME")
def test_a_user_without_a_home_folder_has_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as a number without a name."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert fetch.models_dir() == tmp_path / "work" / ".cache" / "disco" / "models"
    assert fetch.locate(entry("http://127.0.0.1:1/net.pt").files[0]) is None


def test_all_places_are_looked_through_in_order(tmp_path: Path, models: Path) -> None:
    file = entry("http://127.0.0.1:1/published_name.pt").files[0]
    home = tmp_path / "home"
    places = [
        home / ".cache/torch/hub/checkpoints/net.pth",
        home / ".cache/clip/net.pth",
        home / ".cache/disco/models/net.pth",
        tmp_path / "work/models/net.pth",
        models / "published_name.pt",
        models / "net.pth",
    ]
    assert fetch.locate(file) is None
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(DATA)
        assert fetch.locate(file) == place
        assert fetch.fetch(entry("http://127.0.0.1:1/published_name.pt")) == {"net.pth": place}


def test_other_tools_caches_need_a_hash_and_the_right_size(tmp_path: Path) -> None:
    place = tmp_path / "home/.cache/clip/net.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA)
    assert fetch.locate(entry("http://127.0.0.1:1/a", sha256=None).files[0]) is None
    assert fetch.locate(entry("http://127.0.0.1:1/a", size=5).files[0]) is None
    assert fetch.locate(entry("http://127.0.0.1:1/a", size=len(DATA)).files[0]) == place


def test_a_broken_file_of_another_tool_is_passed_over(tmp_path: Path, models: Path) -> None:
    place = tmp_path / "home/.cache/clip/net.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(WRONG)
    with serve(a=Page(DATA)) as server:
        assert fetch.fetch(entry(f"{server.url}/a")) == {"net.pth": models / "net.pth"}
    assert place.read_bytes() == WRONG


def test_a_broken_file_of_the_users_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "work/models").mkdir()
    place = tmp_path / "work/models/net.pth"
    place.write_bytes(WRONG)
    assert refusal(entry("http://127.0.0.1:1/a")) == (
        f"{Path('models/net.pth')}: SHA-256 is {WRONG_SHA[:12]}..., expected {SHA[:12]}...: "
        "a damaged download. Delete the file and run again."
    )
    assert place.read_bytes() == WRONG
    place.write_bytes(DATA[:7])
    assert refusal(entry("http://127.0.0.1:1/a", size=len(DATA))) == (
        f"{Path('models/net.pth')}: it has 7 bytes, expected 1024000: a damaged download. "
        "Delete the file and run again."
    )


def test_offline_with_and_without_the_file(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    one = entry("http://127.0.0.1:1/a", size=len(DATA))
    assert refusal(one) == (
        "net.pth: not on this machine, and HF_HUB_OFFLINE forbids downloads (1.0 MB). "
        f"Put it at {models / 'net.pth'} by hand, or set DISCO_MODELS to the folder that holds it."
    )
    (models / "net.pth").write_bytes(DATA)
    assert fetched(one) == DATA


def test_bundled_files_are_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "POCKET", tmp_path / "pocket")
    monkeypatch.setattr(fetch, "POCKET", tmp_path / "pocket")
    one = entry(bundled="net.pth", sha256=None)
    assert refusal(one) == (
        f"{tmp_path / 'pocket' / 'net.pth'}: comes with Disco and is missing. Install Disco again."
    )
    (tmp_path / "pocket").mkdir()
    (tmp_path / "pocket" / "net.pth").write_bytes(DATA)
    assert fetched(one) == DATA
    assert not (tmp_path / "home" / ".cache").exists()


def test_what_is_to_be_fetched(models: Path) -> None:
    one = entry("http://127.0.0.1:1/a")
    assert fetch.to_fetch(one) == one.files
    (models / "net.pth").write_bytes(b"")
    assert fetch.to_fetch(one) == ()


# The hub


def in_cache(root: Path, data: bytes, blob: str, filename: str = "w/net.pth") -> Path:
    repo = root / "models--someone--net"
    snapshot = repo / "snapshots" / "c0ffee" / filename
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text("c0ffee")
    (repo / "blobs").mkdir(exist_ok=True)
    (repo / "blobs" / blob).write_bytes(data)
    snapshot.unlink(missing_ok=True)
    snapshot.symlink_to(repo / "blobs" / blob)
    return snapshot


HUB = HubFile(repo="someone/net", filename="w/net.pth", also=("net.bin",))


def test_addresses_on_the_hub_go_through_its_library() -> None:
    url = "https://huggingface.co/someone/net/resolve/main/w/net.pth"
    assert hub.hub_file_of(url) == HubFile(repo="someone/net", filename="w/net.pth")
    space = hub.hub_file_of("https://huggingface.co/spaces/a/b/resolve/main/c.pth")
    assert space == HubFile(repo="a/b", filename="c.pth", repo_type="space")
    assert hub.hub_file_of("https://example.org/a/b/resolve/main/c.pth") is None


def test_the_hubs_cache_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = in_cache(tmp_path / "home" / "hub", DATA, SHA)
    assert fetch.fetch(entry(hub=HUB)) == {"net.pth": place}
    place.unlink()
    other = in_cache(tmp_path / "home" / "hub", DATA, SHA, "net.bin")
    assert fetch.fetch(entry(hub=HUB)) == {"net.pth": other}


def hub_library(monkeypatch: pytest.MonkeyPatch, root: Path, *answers: Any) -> list[tuple[str, str]]:
    """Stands for huggingface_hub: each call takes the next answer, bytes or an error to raise."""
    asked = []
    queue = list(answers)

    def hf_hub_download(repo: str, filename: str, *, repo_type: str, tqdm_class: Any) -> str:
        asked.append((repo, filename))
        answer = queue.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        with tqdm_class(total=len(answer), initial=0, unit="B", desc=filename) as bar:
            bar.update(len(answer))
            bar.set_postfix_str("fast")
        return str(in_cache(root, answer, hashlib.sha256(DATA).hexdigest(), filename))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    monkeypatch.setattr(hub, "_reach", lambda endpoint: None)
    return asked


def missing() -> Exception:
    from huggingface_hub.errors import EntryNotFoundError

    return EntryNotFoundError("no such file")


def test_a_download_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub_library(monkeypatch, tmp_path / "hub", missing(), DATA)
    seen: list[tuple[str, int, int | None]] = []
    paths = fetch.fetch(entry(hub=HUB), lambda *news: seen.append(news))
    assert paths["net.pth"].name == "net.bin"
    assert asked == [("someone/net", "w/net.pth"), ("someone/net", "net.bin")]
    assert seen == [("net.pth", 0, len(DATA)), ("net.pth", len(DATA), len(DATA))]


def test_a_wrong_file_from_the_hub_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_library(monkeypatch, tmp_path / "hub", WRONG, WRONG)
    assert refusal(entry(hub=HUB)) == (
        "net.pth: no source could deliver it (size unknown):\n"
        f"  huggingface.co/someone/net: SHA-256 is {WRONG_SHA[:12]}..., expected {SHA[:12]}...: "
        "refused and removed\n"
        f"Put it at {tmp_path / 'home/.cache/disco/models/net.pth'} by hand, "
        "or set DISCO_MODELS to the folder that holds it."
    )
    assert not list((tmp_path / "hub").rglob("*.pth"))
    assert not list((tmp_path / "hub" / "models--someone--net" / "blobs").iterdir())


def test_the_hubs_own_hash_serves_where_none_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_library(monkeypatch, tmp_path / "hub", WRONG, DATA)
    assert fetched(entry(hub=HUB, sha256=None)) == DATA


def test_the_hub_fails_and_a_mirror_helps(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_library(
        monkeypatch, tmp_path / "hub", missing(), missing(), RuntimeError("xet is upset\nsecond line")
    )
    with serve(b=Page(DATA)) as server:
        one = entry("https://huggingface.co/who/else/resolve/main/net.pth", f"{server.url}/b", hub=HUB)
        assert fetch.fetch(one) == {"net.pth": models / "net.pth"}
    hub_library(
        monkeypatch, tmp_path / "hub", missing(), missing(), RuntimeError("xet is upset\nsecond line")
    )
    (models / "net.pth").unlink()
    assert refusal(entry(*one.files[0].mirrors[:1], hub=HUB)) == (
        "net.pth: no source could deliver it (size unknown):\n"
        "  huggingface.co/someone/net: someone/net holds no w/net.pth\n"
        "  huggingface.co/who/else: xet is upset\n"
        f"Put it at {models / 'net.pth'} by hand, or set DISCO_MODELS to the folder that holds it."
    )


def test_the_hubs_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_library(monkeypatch, tmp_path / "hub", OSError(errno.ENOSPC, "No space left on device"))
    assert refusal(entry(hub=HUB)) == (
        "w/net.pth: the disk of the Hugging Face cache is full. Free some space, or set HF_HOME to a "
        "folder on another disk, and run again."
    )


def at_this_hub(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_the_hubs_library_without_a_connection(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        at_this_hub(monkeypatch, server)
    text = failed(models, server, os.strerror(errno.ECONNREFUSED))
    assert refusal(entry(hub=HUB)) == text.replace(f"{server.url}/a", "huggingface.co/someone/net")


def test_a_repository_that_is_gone(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Page(status=401, headers={"X-Error-Code": "RepoNotFound"})
    with serve({"someone/net/resolve/main/w/net.pth": gone}) as server:
        at_this_hub(monkeypatch, server)
        text = failed(
            models, server, "the server answers 401: no such repository, or one that needs `hf auth login`"
        )
        assert refusal(entry(hub=HUB)) == text.replace(f"{server.url}/a", "huggingface.co/someone/net")


@pytest.mark.parametrize("data", [DATA, WRONG])
def test_the_hubs_own_library(models: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """The real library against a server that answers as the hub does; WRONG lies about its hash."""
    page = Page(data, etag=f'"{SHA}"', headers={"X-Repo-Commit": "c" * 40})
    seen: list[tuple[str, int, int | None]] = []
    none = Page(status=404, headers={"X-Error-Code": "EntryNotFound"})
    folder = "someone/net/resolve/main"
    with serve({f"{folder}/w/net.pth": none, f"{folder}/net.bin": page}) as server:
        at_this_hub(monkeypatch, server)
        if data is WRONG:
            reason = f"SHA-256 is {WRONG_SHA[:12]}..., expected {SHA[:12]}...: refused and removed"
            text = failed(models, server, reason)
            assert refusal(entry(hub=HUB)) == text.replace(f"{server.url}/a", "huggingface.co/someone/net")
            return
        paths = fetch.fetch(entry(hub=HUB, sha256=None), lambda *news: seen.append(news))
    assert paths["net.pth"].read_bytes() == DATA
    assert paths["net.pth"].name == "net.bin"
    assert seen[-1] == ("net.pth", len(DATA), len(DATA))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch.fetch(entry(hub=HUB)) == paths


# Hashes that are remembered


def test_large_files_are_hashed_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WORTH_REMEMBERING", 1000)
    path = models / "net.pth"
    path.write_bytes(DATA)
    hashed = []
    real = local.hash_file
    monkeypatch.setattr(local, "hash_file", lambda path: hashed.append(path) or real(path))
    for _ in range(3):
        assert fetched(entry("http://127.0.0.1:1/a")) == DATA
        assert fetch.sha256_of(path) == SHA
    assert len(hashed) == 1
    path.write_bytes(WRONG)
    os.utime(path, ns=(1, 1))
    assert fetch.sha256_of(path) == WRONG_SHA
    assert json.loads((models / ".verified.json").read_text()) == {str(path): [len(WRONG), 1, WRONG_SHA]}


@pytest.mark.parametrize("text", ["", "[1]", '{"x": 3}', "\x00"])
def test_a_damaged_record_only_costs_time(models: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(local, "WORTH_REMEMBERING", 1000)
    (models / "net.pth").write_bytes(DATA)
    (models / ".verified.json").write_text(text)
    assert fetch.sha256_of(models / "net.pth") == SHA
    assert fetch.sha256_of(models / "net.pth") == SHA


def test_a_record_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "WORTH_REMEMBERING", 1000)
    (tmp_path / "file").write_bytes(DATA)
    monkeypatch.setenv("DISCO_MODELS", str(tmp_path / "file"))
    assert fetch.sha256_of(tmp_path / "file") == SHA


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch.sha256_of(tmp_path / "none.pth")
    assert str(caught.value) == (f"{tmp_path / 'none.pth'}: cannot be read: {os.strerror(errno.ENOENT)}.")


# For the command line


def test_verify(models: Path) -> None:
    one = entry("http://127.0.0.1:1/a")
    assert [check.text for check in fetch.verify(one)] == ["net.pth: not on this machine"]
    (models / "net.pth").write_bytes(DATA)
    (check,) = fetch.verify(one)
    assert (check.ok, check.sha256, check.path) == (True, SHA, models / "net.pth")
    assert check.text == f"{models / 'net.pth'}: SHA-256 is {SHA}, as published"
    (check,) = fetch.verify(entry("http://127.0.0.1:1/a", sha256=None))
    assert check.ok is None
    assert check.text == (
        f"{models / 'net.pth'}: no hash is published to compare with; SHA-256 computed: {SHA}"
    )
    (models / "net.pth").write_bytes(WRONG)
    (check,) = fetch.verify(one)
    assert check.ok is False
    assert check.text == (
        f"{models / 'net.pth'}: SHA-256 is {WRONG_SHA[:12]}..., expected {SHA[:12]}...: a damaged download. "
        "Delete the file and run again."
    )


def test_all_wrong_files_at_once_before_anything_is_loaded(models: Path) -> None:
    names = ("a.pth", "b.pth", "c.pth")
    files = [WeightFile(name=name, sha256=SHA, mirrors=("http://127.0.0.1:1/x",)) for name in names]
    entries = [Entry(name=file.name, kind="clip", title="", files=(file,), architecture={}) for file in files]
    fetch.check_local(entries)
    (models / "a.pth").write_bytes(WRONG)
    (models / "b.pth").write_bytes(DATA)
    (models / "c.pth").write_bytes(b"")
    with pytest.raises(WeightsError) as caught:
        fetch.check_local([*entries, *entries])
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        f"{models / 'a.pth'}: SHA-256 is {WRONG_SHA[:12]}..., expected {SHA[:12]}...: a damaged"
    )
    assert second.startswith(f"{models / 'c.pth'}: ") and "custom" not in first + second


def test_a_fine_tune_under_a_published_name_is_pointed_to_custom(models: Path) -> None:
    one = entry("http://127.0.0.1:1/a").model_copy(update={"kind": "diffusion"})
    (models / "net.pth").write_bytes(WRONG)
    with pytest.raises(WeightsError) as caught:
        fetch.check_local([one])
    own = "Is it a network of your own? Rename it, and use diffusion_model: custom with custom_path."
    assert str(caught.value).endswith(f": a damaged download. Delete the file and run again. {own}")


def test_bundled_files_have_their_hashes() -> None:
    for one in registry().entries():
        for check in fetch.verify(one) if any(file.bundled for file in one.files) else ():
            assert check.ok is True, check.text


def test_the_list_of_models(models: Path) -> None:
    rows = {(row.kind, row.name): row for row in fetch.describe_models()}
    assert len(rows) == len(registry().entries())
    big = rows["diffusion", "256x256_diffusion_uncond"]
    assert (big.bytes, big.is_exact, big.state, big.is_common) == (2_211_383_297, True, "", False)
    assert big.licence == "MIT (OpenAI guided-diffusion)"
    (models / "256x256_diffusion_uncond.pt").write_bytes(b"")
    rows = {(row.kind, row.name): row for row in fetch.describe_models()}
    assert rows["diffusion", "256x256_diffusion_uncond"].state == "wrong"
    common = [name for (_, name), row in rows.items() if row.is_common]
    assert rows["diffusion", "pocket"].state == "here" and common == [
        "pocket",
        "512x512_diffusion_uncond_finetune_008100",
        "pocket_secondary",
        "secondary_model_imagenet_2",
        "pocket-conv",
        "pocket-vit",
        "ViT-B-32-quickgelu/openai",
        "ViT-B-16-quickgelu/openai",
        "RN50-quickgelu/openai",
        "pocket_perceptual",
        "pocket_upscale",
    ]


def test_sizes_as_people_read_them() -> None:
    assert [fetch.readable_size(size) for size in (7, 2500, 353_976_522, 2_211_383_297)] == [
        "7 bytes",
        "2.5 kB",
        "354 MB",
        "2.2 GB",
    ]


def test_sizes_of_files() -> None:
    big = registry().get("diffusion", "512x512_diffusion_uncond_finetune_008100")
    assert fetch.size_text(big.files[0], big) == "about 2.2 GB"
    exact = registry().get("clip", "ViT-B/32")
    assert fetch.size_text(exact.files[0], exact) == "354 MB"
    dpt = registry().get("depth", "dpt_large")
    assert [fetch.size_text(file, dpt) for file in dpt.files] == ["a few kB", "about 1.4 GB"]
    unknown = entry("http://127.0.0.1:1/a")
    assert fetch.size_text(unknown.files[0], unknown) == "size unknown"


def test_it_brings_neither_torch_nor_the_hub() -> None:
    code = "import sys, disco.weights.fetch; sys.exit(bool({'torch', 'huggingface_hub'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
