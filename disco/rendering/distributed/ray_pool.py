"""Workers in a Ray cluster: on the GPUs, or where there are none the CPUs, of this machine or of many."""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from math import floor
from typing import Any

import torch

from disco.errors import InputError
from disco.rendering.distributed.messages import MemoryPlan, Message, WorkerLost, WorkItem
from disco.rendering.distributed.worker import Worker
from disco.rendering.prepare import Load, load_for
from disco.settings.load import Run

CAPACITY_EVERY = 5.0  # seconds; machines may come and go
STORE = 2**29  # bytes of a cluster that is started here: states and pictures pass through it
MOST_QUEUED = 64  # messages that wait for the driver before a worker waits for it too


@contextmanager
def connect(address: str, needs: MemoryPlan) -> Iterator[RayPool]:
    """A pool in the cluster at an address as ray.init takes it; "": the one that runs on this machine or
    that RAY_ADDRESS names, or else a new one here, for as long as the block runs; "local": a new one.

    A new one listens on 127.0.0.1 only and has no dashboard; another is joined as it is.
    Raises InputError: no package ray, no cluster there, no machine in it that could work.
    """
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _join(ray, address)
    try:
        pool = RayPool(ray, needs)
        if pool.capacity() < 1:
            raise InputError(f"--ray: no machine in the cluster has what a worker needs: {pool.kind}")
        yield pool
        pool.close()
    finally:
        if started:
            ray.shutdown()


def look(address: str, needs: MemoryPlan) -> tuple[int, str]:
    """How many workers there would be, and of what kind; starts no cluster. Raises as connect does."""
    ray = _ray()
    was_there = ray.is_initialized()
    if address != "local" and not was_there:
        try:
            _join(ray, address or "auto")
        except InputError:
            if address:
                raise
    try:
        capacity = _capacity(_nodes(ray) if ray.is_initialized() else [_this_machine()], needs)
        return capacity.workers, capacity.kind
    finally:
        if not was_there:
            ray.shutdown()


def _ray() -> Any:
    if importlib.util.find_spec("ray") is None:
        raise InputError("--ray needs the package ray: pip install 'disco[ray]' (or: pip install ray)")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; read when ray is imported
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def _join(ray: Any, address: str) -> None:
    """With our own handling of signals afterwards: ray takes SIGTERM for itself."""
    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)} if here else {}
    try:
        _knock(address)
        if address in ("", "local"):
            _start_or_join(ray, address)
        else:
            _join_at(ray, address)
    except (AttributeError, ConnectionError, ValueError, RuntimeError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--ray={address}: no Ray cluster that this process can use ({first}). `ray start --head` starts "
            "one, --ray alone one for the length of this run"
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_QUIET = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}


def _knock(address: str) -> None:
    """Raises OSError where no server listens; Ray itself would only say so after minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d+)", address)
    if match:
        socket.create_connection((match[1], int(match[2])), timeout=10).close()


def _join_at(ray: Any, address: str) -> None:
    """Only for "auto" itself, not for what it leads to, does Ray look for the token of the cluster."""
    with _loopback_only(ray) if _is_on_loopback_only(ray, _resolved(ray, address)) else nullcontext():
        ray.init(address=address, **_QUIET)


def _resolved(ray: Any, address: str) -> str:
    """The address that "auto" leads to. Raises ConnectionError where there is no cluster."""
    is_auto, services = address == "auto", ray._private.services
    return services.get_ray_address_from_environment(address, None) if is_auto else address


def _is_on_loopback_only(ray: Any, address: str) -> bool:
    """As one that another run started: then nobody listens at this machine's address in the network."""
    host, _, port = address.rpartition(":")
    return host in _LOOPBACK and not _listens(f"{ray.util.get_node_ip_address()}:{port}")


def _listens(address: str) -> bool:
    with suppress(OSError):
        _knock(address)
        return True
    return False


def _start_or_join(ray: Any, address: str) -> None:
    if address == "":
        try:
            _join_at(ray, "auto")
            return
        except ConnectionError:
            if os.environ.get("RAY_ADDRESS"):
                raise
    with _loopback_only(ray):
        ray.init(address="local", include_dashboard=False, object_store_memory=STORE, **_QUIET)
    if any(node["NodeManagerAddress"] not in _LOOPBACK for node in ray.nodes()):
        ray.shutdown()
        raise RuntimeError(f"Ray {ray.__version__} would start one that listens to the network: update ray")


_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@contextmanager
def _loopback_only(ray: Any) -> Iterator[None]:
    """Within, the servers of a new cluster listen on 127.0.0.1 only, Ray's own default on macOS and Windows.

    The variable is for the processes that Ray starts; this one has read it already.
    """
    name, constants = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", ray._private.ray_constants
    variable, constant = os.environ.get(name), constants.ENABLE_RAY_CLUSTER
    os.environ[name], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = constant
        del os.environ[name]
        os.environ.update({} if variable is None else {name: variable})


# ---- the capacity of a cluster ----


@dataclass(frozen=True)
class Capacity:
    """How many workers, with how many CPUs and what share of a GPU each; most: on one machine or GPU."""

    workers: int
    cpus: int
    gpus: float
    most: int

    @property
    def kind(self) -> str:
        if self.gpus:
            return f"each with {self.gpus:g} GPU"
        return f"each with {self.cpus} CPU thread{'s' if self.cpus > 1 else ''}"


def _capacity(nodes: Sequence[Mapping[str, float]], needs: MemoryPlan) -> Capacity:
    """GPUs if there are any. A worker on CPUs has as many threads as this process would compute with, since
    the last bits of a picture depend on it; fewer where no machine has as many."""
    if not needs.cpu_only and any(node.get("GPU", 0) for node in nodes):
        on_one = floor(1 / needs.gpus + 1e-9)
        return Capacity(sum(int(node.get("GPU", 0)) for node in nodes) * on_one, 0, needs.gpus, on_one)
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    threads = max(1, min(torch.get_num_threads(), max(cpus, default=1)))
    return Capacity(sum(n // threads for n in cpus), threads, 0.0, max(cpus, default=1) // threads)


def _nodes(ray: Any) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _this_machine() -> dict[str, float]:
    return {"GPU": torch.cuda.device_count(), "CPU": os.cpu_count() or 1}


# ---- the pool ----


class RayPool:
    """See messages.WorkerPool. Each worker is an actor; a request for its messages is always pending."""

    def __init__(self, ray: Any, needs: MemoryPlan) -> None:
        self.ray, self.needs = ray, needs
        self.most: int | None = None  # workers, where there shall be no more
        self.actors: dict[int, Any] = {}
        self.asked: dict[Any, int] = {}  # request -> worker
        self._runs: tuple[Sequence[Run], Any] | None = None
        self._hired = 0
        self._capacity, self._capacity_at = Capacity(0, 1, 0.0, 1), float("-inf")

    @property
    def kind(self) -> str:
        return self._capacity.kind

    def capacity(self) -> int:
        if time.monotonic() - self._capacity_at > CAPACITY_EVERY:
            now, was = _capacity(_nodes(self.ray), self.needs), self._capacity
            if was.gpus and not now.gpus:  # lost machines: no reason to go on with pictures of CPUs
                now = replace(was, workers=0)
            self._capacity, self._capacity_at = now, time.monotonic()
        return self._capacity.workers if self.most is None else min(self._capacity.workers, self.most)

    def hire(self, runs: Sequence[Run], of: int) -> int:
        if self._runs is None or self._runs[0] is not runs:
            self._runs = (runs, self.ray.put(list(runs)))
        worker, capacity = self._hired, self._capacity
        self._hired += 1
        actor = self.ray.remote(
            num_cpus=capacity.cpus,
            num_gpus=capacity.gpus,
            max_concurrency=4,
            max_restarts=0,
            max_task_retries=0,
        )(Actor)
        threads = capacity.cpus or torch.get_num_threads()
        sharing = max(1, min(of, capacity.most))
        self.actors[worker] = actor.remote(self._runs[1], threads, sharing, on_gpu=capacity.gpus > 0)
        self._ask(worker)
        return worker

    def give(self, worker: int, item: WorkItem) -> None:
        self.actors[worker].give.remote(item)

    def stop(self, worker: int) -> None:
        self.actors[worker].stop.remote()

    def dismiss(self, worker: int) -> None:
        actor = self.actors.pop(worker, None)
        self.asked = {request: whose for request, whose in self.asked.items() if whose != worker}
        if actor is not None:
            self.ray.kill(actor)

    def pop_messages(self, seconds: float) -> list[tuple[int, Message]]:
        if not self.asked:
            time.sleep(seconds)
            return []
        ready, _ = self.ray.wait(list(self.asked), timeout=seconds)
        if ready:
            ready, _ = self.ray.wait(list(self.asked), num_returns=len(self.asked), timeout=0)
        messages: list[tuple[int, Message]] = []
        for request in ready:
            worker = self.asked.pop(request)
            try:
                received = self.ray.get(request)
            except self.ray.exceptions.RayError as error:
                self.dismiss(worker)
                received = [WorkerLost(_why(error))]
            else:
                self._ask(worker)
            messages += [(worker, message) for message in received]
        return messages

    def close(self) -> None:
        for worker in list(self.actors):
            self.dismiss(worker)

    def _ask(self, worker: int) -> None:
        self.asked[self.actors[worker].pop_messages.remote()] = worker


def _why(error: Exception) -> str:
    """The cause that Ray gives, without its many lines about how to look for more."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    last = lines[-1] if lines and "Error" in lines[-1] else ""
    return ": ".join(dict.fromkeys([type(error).__name__, *lines[:1], *([last] if last else [])]))


class Actor:
    """In the cluster: a worker that renders in a thread of its own, while its messages can be read."""

    def __init__(
        self,
        runs: Sequence[Run],
        threads: int,
        sharing: int = 1,
        on_gpu: bool = True,
        load: Load = load_for,
    ) -> None:
        if not on_gpu:  # Ray need not hide GPUs that were not asked for
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.items: queue.Queue[WorkItem] = queue.Queue()
        self.queued: queue.Queue[Message] = queue.Queue(MOST_QUEUED)
        self.stopping = threading.Event()
        torch.set_num_threads(threads)
        worker = Worker(runs, load, sharing)
        threading.Thread(target=self._go, args=(worker, threads), daemon=True).start()

    def give(self, item: WorkItem) -> None:
        self.items.put(item)

    def stop(self) -> None:
        self.stopping.set()

    def pop_messages(self, seconds: float = 2.0) -> list[Message]:
        """All messages; waits for the first one."""
        try:
            messages = [self.queued.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self.queued.empty():
            messages.append(self.queued.get())
        return messages

    def _go(self, worker: Worker, threads: int) -> None:
        torch.set_num_threads(threads)  # of this thread
        self.queued.put(worker.ready())
        while True:
            for message in worker.work(self.items.get(), self.stopping.is_set):
                self.queued.put(message)
