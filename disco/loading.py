"""The networks of a run, loaded while their downloads are watched."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence

from disco.events import Download, Event, NetworksLoaded, Notice
from disco.memory.oom import at_stage
from disco.memory.policy import Stage
from disco.networks.load import Networks
from disco.networks.required import networks_key
from disco.settings.load import Run
from disco.studio import share_texts

Load = Callable[..., Networks]  # as studio.load_for


def loading(run: Run, runs: Sequence[Run], load: Load) -> Generator[Event, None, Networks]:
    """Load what a run names, and encode the prompts of all these runs that use the same networks.

    Raises WeightsError, SettingsError, OutOfMemory.
    """
    networks = yield from _loaded(run, load)
    key = networks_key(run.settings, run.base_dirs)
    with at_stage(Stage.LOADING):
        same = [other for other in runs if networks_key(other.settings, other.base_dirs) == key]
        share_texts(networks, same)
    yield from (Notice(text) for text in networks.notices)
    return networks


def _loaded(run: Run, load: Load) -> Generator[Event, None, Networks]:
    """In a thread, so that downloads can be watched (and interrupted) while they run."""
    began = time.monotonic()
    news: queue.SimpleQueue[Download | Notice] = queue.SimpleQueue()
    result: list[Networks | BaseException] = []

    def work() -> None:
        try:
            result.append(
                load(
                    run,
                    progress=lambda name, done, total: news.put(Download(name, done, total)),
                    notice=lambda text: news.put(Notice(text)),
                )
            )
        except BaseException as error:  # handed to the caller's thread, where it is raised
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        while not news.empty():
            yield news.get()
    loaded = result[0]
    if isinstance(loaded, BaseException):
        with at_stage(Stage.LOADING):
            raise loaded
    yield NetworksLoaded(tuple(sorted(loaded.hashes)), time.monotonic() - began)
    return loaded
