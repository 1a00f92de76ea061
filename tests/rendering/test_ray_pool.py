"""The room of Ray without Ray: what a cluster has room for, what is said when there is none, the actor."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from disco.__main__ import main
from disco.errors import InputError
from disco.rendering.distributed import ray_pool
from disco.rendering.distributed.messages import Done, MemoryPlan, Ready, WorkerLost, WorkItem, WriteMessage
from disco.rendering.distributed.ray_pool import Actor, Capacity, RayPool, connect
from disco.runs.inputs import load_pictures
from disco.runs.names import RunNames
from disco.settings.load import run_from_mapping
from tests.fake_pool import FakePool
from tests.small_run import SMALL, small_networks

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@pytest.mark.parametrize(
    "nodes, needs, capacity",
    [
        ([{"GPU": 8, "CPU": 4}, {"GPU": 1, "CPU": 64}, {"CPU": 64}], MemoryPlan(), Capacity(9, 0, 1.0, 1)),
        ([{"GPU": 2, "CPU": 4}], MemoryPlan(0.5), Capacity(4, 0, 0.5, 2)),
        ([{"GPU": 2, "CPU": 4}], MemoryPlan(0.3), Capacity(6, 0, 0.3, 3)),
        ([{"GPU": 1}], MemoryPlan(0.1), Capacity(10, 0, 0.1, 10)),
        ([{"GPU": 2, "CPU": 8}], MemoryPlan(cpu_only=True), Capacity(4, 2, 0.0, 4)),
        ([{"CPU": 5}, {"CPU": 2}, {"CPU": 1}], MemoryPlan(), Capacity(3, 2, 0.0, 2)),
        ([{"CPU": 1}, {"CPU": 1}], MemoryPlan(), Capacity(2, 1, 0.0, 1)),  # no machine has two threads
        ([], MemoryPlan(), Capacity(0, 1, 0.0, 1)),
    ],
)
def test_the_capacity_of_a_cluster(
    nodes: list[Mapping[str, float]], needs: MemoryPlan, capacity: Capacity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on CPUs has as many threads as this process, here two."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert ray_pool._capacity(nodes, needs) == capacity


def test_the_kind_of_worker_in_words() -> None:
    assert Capacity(4, 0, 0.5, 2).kind == "each with 0.5 GPU"
    assert [Capacity(1, n, 0.0, 1).kind for n in (1, 2)] == [
        "each with 1 CPU thread",
        "each with 2 CPU threads",
    ]


@pytest.mark.parametrize("more", [["--plan"], []])
def test_without_the_package(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "ray" else found(name, *more)
    )
    assert main(["settings/draft.yaml", "--ray", "--out", str(tmp_path / "out"), *more]) == 2
    assert capsys.readouterr().err == (
        "--ray needs the package ray: pip install 'disco[ray]' (or: pip install ray)\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--plan"], []])
def test_dd57_is_refused(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["settings/draft.yaml", "--ray=10.0.0.1:6379", "--out", str(tmp_path / "o")]
    words += ["--set", "compat=dd57", "--set", "batch_size=1"]
    assert main([*words, *more]) == 2
    assert "compat: dd57 draws the random numbers of all pictures from one stream" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def look(address: str, needs: MemoryPlan) -> tuple[int, str]:
        asked.append((address, needs))
        return 2, "each with 1 GPU"

    monkeypatch.setattr(ray_pool, "look", look)
    words = ["settings/draft.yaml", "--set", "n_batches=5", "--set", "batch_size=2", "--plan", "--ray"]
    assert main(words) == 0
    ending = capsys.readouterr().out.partition("\nray")[2]
    assert [line.strip() for line in ending.splitlines()] == [
        "5 pictures in 3 batches",
        "2 workers of 2 possible, each with 1 GPU",
        "at most 2 batches one after another on each",
    ]
    assert asked == [("", MemoryPlan())]


def test_the_command_renders_on_a_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, asked = FakePool(), []

    @contextmanager
    def connected(address: str, needs: MemoryPlan) -> Iterator[FakePool]:
        asked.append((address, needs))
        yield pool
        asked.append("closed")

    monkeypatch.setattr(ray_pool, "connect", connected)
    recipe = tmp_path / "small.yaml"
    recipe.write_text(json.dumps(dict(SMALL)), encoding="utf-8")
    words = [str(recipe), "--ray=there", "--out", str(tmp_path), "--quiet", "--set", "gpus_per_picture=0.5"]
    assert main(words) == 0
    assert asked == [("there", MemoryPlan(0.5)), "closed"] and {worker for worker, _ in pool.orders} == {0, 1}
    paths = [tmp_path / "small" / f"small(0)_000{k}.png" for k in range(3)]
    assert sorted(capsys.readouterr().out.split()) == [*map(str, paths)]


class _Dead(Exception):
    cause = (
        "The actor died because of an error raised in its creation task, ray::Actor\n  File a\nOSError: full"
    )


class _FakeRay:
    """So much of Ray as a pool asks for; the actors are those of the test."""

    exceptions = SimpleNamespace(RayError=_Dead)
    __version__ = "2.9.0"

    def __init__(self) -> None:
        self.killed: list[Any] = []
        self.options: dict[str, Any] = {}
        self.answers: dict[Any, Any] = {}
        self.inits: list[dict[str, Any]] = []
        self.nodes_here: list[dict[str, Any]] = [
            {"Alive": True, "Resources": {"CPU": 2.0}, "NodeManagerAddress": "127.0.0.1"},
            {"Alive": False, "Resources": {"GPU": 8}, "NodeManagerAddress": "127.0.0.1"},
        ]
        self.constants = SimpleNamespace(ENABLE_RAY_CLUSTER=True)
        services = SimpleNamespace(get_ray_address_from_environment=self._address)
        self._private = SimpleNamespace(ray_constants=self.constants, services=services)
        self.util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.2")
        self.there = ""
        self.listens_to: list[tuple[bool, str | None]] = []  # at each init: the constant, the variable
        self.is_up = False

    def _address(self, address: str, folder: None) -> str:
        assert address == "auto"
        if not self.there:
            raise ConnectionError("nobody\nthere")
        return self.there

    def nodes(self) -> list[dict[str, Any]]:
        return self.nodes_here

    def is_initialized(self) -> bool:
        return self.is_up

    def init(self, **how: Any) -> None:
        self.inits.append(how)
        self.listens_to.append((self.constants.ENABLE_RAY_CLUSTER, os.environ.get(LOOPBACK)))
        self.is_up = True

    def shutdown(self) -> None:
        self.is_up = False

    def put(self, thing: Any) -> Any:
        return thing

    def remote(self, **options: Any) -> Any:
        self.options = options

        def made(cls: type) -> Any:
            handle = SimpleNamespace(pop_messages=SimpleNamespace(remote=object))
            return SimpleNamespace(remote=lambda *args, **more: handle)

        return made

    def wait(
        self, requests: list[Any], num_returns: int = 1, timeout: float = 0
    ) -> tuple[list[Any], list[Any]]:
        return [request for request in requests if request in self.answers], []

    def get(self, request: Any) -> Any:
        answer = self.answers.pop(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


def test_news_of_living_and_dead_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    fake = _FakeRay()
    pool = RayPool(fake, MemoryPlan())
    assert pool.capacity() == 2 and pool.kind == "each with 1 CPU thread"
    first, second = pool.hire([], 2), pool.hire([], 2)
    assert (fake.options["num_cpus"], fake.options["num_gpus"], fake.options["max_restarts"]) == (1, 0.0, 0)
    requests = {worker: request for request, worker in pool.asked.items()}
    fake.answers = {requests[first]: [Ready("here", {})], requests[second]: _Dead()}
    said, lost = sorted(pool.pop_messages(0), key=lambda pair: pair[0])
    assert said == (first, Ready("here", {}))
    assert lost[0] == second and isinstance(lost[1], WorkerLost)
    assert lost[1].why == (
        "_Dead: The actor died because of an error raised in its creation task, ray::Actor: OSError: full"
    )
    assert list(pool.asked.values()) == [first] and requests[first] not in pool.asked  # asked anew
    pool.most = 1
    assert pool.capacity() == 1
    pool.close()
    assert len(fake.killed) == 2 and not pool.asked and pool.pop_messages(0) == []


def test_a_run_on_gpus_waits_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "CAPACITY_EVERY", -1.0)
    fake = _FakeRay()
    head, other = {"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": True, "Resources": {"GPU": 2.0}}
    pool = RayPool(fake, MemoryPlan(0.5))
    for there, room in (([head, other], 4), ([head], 0), ([head, other, other], 8)):
        fake.nodes_here = there
        assert pool.capacity() == room and pool.kind == "each with 0.5 GPU"


def test_a_cluster_is_looked_for_and_else_started(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _FakeRay()
    monkeypatch.setattr(ray_pool, "_ray", lambda: fake)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connect("", MemoryPlan()) as pool:
        assert pool.capacity() == 2 and fake.is_up
    assert [how["address"] for how in fake.inits] == ["local"] and not fake.is_up
    with (
        pytest.raises(InputError, match=r"--ray=auto: no Ray cluster that this process can use \(nobody\)"),
        connect("auto", MemoryPlan()),
    ):
        pass
    assert ray_pool.look("", MemoryPlan())[0] >= 1 and len(fake.inits) == 1  # a plan starts none
    fake.nodes_here = []
    with (
        pytest.raises(InputError, match="no machine in the cluster has what a worker needs"),
        connect("local", MemoryPlan()),
    ):
        pass
    assert not fake.is_up


@pytest.mark.parametrize("before", [None, "1"])
@pytest.mark.parametrize("address", ["", "local"])
def test_a_started_cluster_is_of_this_machine_alone(
    address: str, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = _FakeRay()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(LOOPBACK, raising=False)
    if before is not None:
        monkeypatch.setenv(LOOPBACK, before)
    ray_pool._join(fake, address)
    assert fake.listens_to == [(False, "0")]
    assert fake.inits[-1]["include_dashboard"] is False
    assert fake.constants.ENABLE_RAY_CLUSTER and os.environ.get(LOOPBACK) == before


@pytest.mark.parametrize("address", ["", "auto", "127.0.0.1:{port}"])
@pytest.mark.parametrize("listens, joined", [("127.0.0.1", (False, "0")), ("0.0.0.0", (True, None))])
def test_a_cluster_is_joined_as_it_is(
    address: str, listens: str, joined: tuple[bool, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another run started, on loopback alone, and one that the network can reach."""
    fake = _FakeRay()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(LOOPBACK, raising=False)
    with socket.create_server((listens, 0)) as server:
        port = server.getsockname()[1]
        is_explicit = "port" in address
        fake.there = f"127.0.0.1:{port}"
        ray_pool._join(fake, address.format(port=port))
    expected = fake.there if is_explicit else "auto"  # for which Ray has a token
    assert [how["address"] for how in fake.inits] == [expected] and fake.listens_to == [joined]


def test_a_release_that_listens_to_the_network_all_the_same() -> None:
    fake = _FakeRay()
    fake.nodes_here[0]["NodeManagerAddress"] = "10.0.0.7"
    with pytest.raises(
        InputError, match=r"\(Ray 2.9.0 would start one that listens to the network: update ray\)"
    ):
        ray_pool._join(fake, "local")
    assert not fake.is_up


def test_nobody_listens_there() -> None:
    """It is told at once; names that are no host and port are left to Ray."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://localhost:{port}"):
            with pytest.raises(InputError, match="no Ray cluster that this process can use"):
                ray_pool._join(_FakeRay(), address)
        free.listen()
        fake = _FakeRay()
        for address in (f"127.0.0.1:{port}", "local"):
            ray_pool._join(fake, address)
        assert [how["address"] for how in fake.inits] == [f"127.0.0.1:{port}", "local"]


def test_the_actor_renders_while_it_is_asked(tmp_path: Path) -> None:
    run = run_from_mapping({**SMALL, "n_batches": 1})
    threads = torch.get_num_threads()
    actor = Actor([run], threads, load=lambda run, **_: small_networks())
    given = load_pictures(run.settings, (), tmp_path)
    actor.give(WorkItem(RunNames(tmp_path, "small", 0), run, 5, (0,), frozenset({0}), given))
    said: list[Any] = []
    end = time.monotonic() + 60
    while not (said and isinstance(said[-1], Done)):
        assert time.monotonic() < end
        said += actor.pop_messages(0.2)
    assert isinstance(said[0], Ready) and not said[-1].stopped
    assert [m.args[0] for m in said if isinstance(m, WriteMessage) and m.method == "save_picture"] == [0]
    assert not list(tmp_path.iterdir()), "a worker writes nothing"
    assert actor.pop_messages(0) == []
