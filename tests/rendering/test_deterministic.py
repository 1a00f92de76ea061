"""`deterministic: true`: what torch reads once in a process is set before any network computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disco.networks.load import Networks
from disco.rendering import api
from tests.fake_pool import FakePool
from tests.small_run import SMALL, small_networks

NAME = "CUBLAS_WORKSPACE_CONFIG"
TWO_RUNS = [SMALL | {"n_batches": 1}, SMALL | {"n_batches": 1, "batch_name": "exact", "deterministic": True}]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The variable's value whenever networks are loaded; first it is not set."""
    monkeypatch.setenv(NAME, "")  # so that it is put back afterwards
    monkeypatch.delenv(NAME)
    return []


def noting(seen: list[str | None]) -> Callable[..., Networks]:
    def load(run: Any, **_: Any) -> Networks:
        seen.append(os.environ.get(NAME))
        return small_networks()

    return load


def test_it_is_set_before_the_first_network_of_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[str | None]
) -> None:
    monkeypatch.setattr(api, "load_for", noting(seen))
    list(api.render(TWO_RUNS, out=tmp_path))
    assert seen and set(seen) == {":4096:8"}


def test_workers_set_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[str | None]) -> None:
    monkeypatch.setattr(api, "allow_exact", lambda runs: None)  # the driver is another process
    list(api.render(TWO_RUNS, out=tmp_path, networks=FakePool(load=noting(seen))))
    assert seen and set(seen) == {":4096:8"}


def test_it_is_left_alone_where_no_run_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[str | None]
) -> None:
    monkeypatch.setattr(api, "load_for", noting(seen))
    list(api.render(TWO_RUNS[0], out=tmp_path))
    monkeypatch.setenv(NAME, ":16:8")
    list(api.render(TWO_RUNS[1], out=tmp_path))
    assert seen == [None, ":16:8"]
