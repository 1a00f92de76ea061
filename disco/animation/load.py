"""Loads the networks between frames: depth in 3D, optical flow in Video Input."""

from __future__ import annotations

from collections.abc import Sequence

from disco.networks.depth_and_flow import Depth, Flow
from disco.networks.load import Loader, LoadRole, Networks, published
from disco.networks.required import Need, required
from disco.settings.model import Settings


def _depth(loader: Loader, needs: Sequence[Need]) -> list[Depth]:
    from disco.animation.depth import load_depth

    shares = [(need.factor, published(need)) for need in needs]
    return [load_depth(shares, loader.fetched, device=loader.device)]


def _flow(loader: Loader, needs: Sequence[Need]) -> list[Flow]:
    from disco.animation.flow import load_flow

    return [load_flow(need.name, loader.device, loader.fetched) for need in needs]


MOTION_LOADERS: dict[str, LoadRole] = {"depth": _depth, "flow": _flow}


def add_motion_networks(networks: Networks, settings: Settings) -> None:
    """Load those that `settings` need beside networks of stills. Raises InputError and WeightsError."""
    loader = Loader(settings, networks.device)
    needs = required(settings, device=networks.device.type)
    networks.add(loader.load(needs, MOTION_LOADERS), loader.hashes)
