"""disco.memory.stages: networks say their stage when they are called."""

from __future__ import annotations

from typing import Any

import torch

from disco.memory.policy import Stage
from disco.memory.retry import OomRetry
from disco.memory.stages import listening, note
from disco.networks.compile import prepare
from disco.networks.perceptual import PerceptualNet, build_lpips
from tests.memory.test_retry_networks import real_networks


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def __call__(self, stage: Stage, *networks: object, cutouts: int = 1) -> None:
        self.notes.append((stage, *networks, cutouts))


def test_every_network_notes_its_stage_until_the_run_is_closed() -> None:
    networks, heard = real_networks(), Heard()
    (clip,), secondary, denoiser = networks.clips, networks.secondary, networks.denoiser
    side = clip.image_size

    def all_of_them() -> list[tuple[Any, ...]]:
        heard.notes.clear()
        with listening(heard), torch.no_grad():
            denoiser(torch.zeros(1, 3, 32, 32), 5)
            secondary(torch.zeros(2, 3, 32, 32), torch.zeros(2))  # type: ignore[misc]
            clip.encode_image(torch.zeros(7, 3, side, side))
        return heard.notes

    oom_retry = OomRetry(networks)
    expected = [
        (Stage.UNET, denoiser.network, 1),
        (Stage.SECONDARY, secondary, 1),
        (Stage.CLIP, clip.network, 7),
    ]
    assert all_of_them() == expected
    prepare(networks, True, lambda text: None, "eager")
    assert set(all_of_them()) == set(expected)  # compared with the plain networks first
    assert all_of_them() == expected
    prepare(networks, False, lambda text: None)
    oom_retry.close()
    assert all_of_them() == []


def test_a_network_that_is_called_by_its_parts() -> None:
    networks, heard = real_networks(), Heard()
    networks.lpips = PerceptualNet(build_lpips().to_empty(device="cpu"))
    oom_retry = OomRetry(networks)
    with listening(heard):
        networks.clips[0].remember(["a lake"])
        texts = len(heard.notes)
        networks.lpips.prepare(torch.zeros(1, 3, 32, 32))
    oom_retry.close()
    assert texts > 0 and {noted[:2] for noted in heard.notes[:texts]} == {
        (Stage.CLIP, networks.clips[0].network)
    }
    assert {noted[:2] for noted in heard.notes[texts:]} == {(Stage.PERCEPTUAL, networks.lpips.network)}


def test_the_innermost_listener_hears() -> None:
    outer, inner = Heard(), Heard()
    with listening(outer):
        with listening(inner):
            note(Stage.BACK)
        note(Stage.LOSSES, "a network", cutouts=3)
    note(Stage.UNET)
    assert inner.notes == [(Stage.BACK, 1)] and outer.notes == [(Stage.LOSSES, "a network", 3)]
