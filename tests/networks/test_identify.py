"""disco.networks.identify: what a wrong file really is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from disco.networks.denoiser import build_unet, facts_of
from disco.networks.identify import describe_state_dict, guess_unet
from disco.secondary_model import SecondaryModel
from disco.weights.registry import registry

TINY = {"image_size": 64, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2"}


def tensors(architecture: dict[str, Any]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_unet(architecture).state_dict()


@pytest.mark.parametrize("name", [n for n in registry().names("diffusion") if n != "pocket"])
def test_published_architectures_are_read_off_their_tensors(name: str) -> None:
    entry = registry().get("diffusion", name)
    state = tensors(entry.architecture)
    assert guess_unet(state) == facts_of(entry.architecture)
    assert entry.parameters in (None, sum(tensor.numel() for tensor in state.values()))


@pytest.mark.parametrize(
    ("updown", "norm", "sigma", "blocks"), list(itertools.product([0, 1], [0, 1], [0, 1], [1, 3]))
)
def test_every_part_of_an_architecture_is_seen(updown: int, norm: int, sigma: int, blocks: int) -> None:
    architecture = TINY | {
        "resblock_updown": bool(updown),
        "use_scale_shift_norm": bool(norm),
        "learn_sigma": bool(sigma),
        "num_res_blocks": blocks,
        "channel_mult": "1,2,2",
        "attention_resolutions": "32" if updown else "64,16",
        "patch": 1 + sigma,
    }
    assert guess_unet(tensors(architecture)) == facts_of(architecture)


def test_known_and_unknown_networks_are_named() -> None:
    architectures = {"one": TINY, "two": TINY | {"learn_sigma": True}, "twin": TINY | {"num_heads": 4}}
    known = [(name, facts_of(architecture)) for name, architecture in architectures.items()]
    facts = (
        "num_channels 32, channel_mult 1,2, num_res_blocks 1, learn_sigma false, resblock_updown false, "
        "use_scale_shift_norm false, class_cond false, patch 1, "
    )
    assert describe_state_dict(tensors(TINY), known) == (
        f"The file looks like the network one (and 1 more of that shape): {facts}attention in the middle"
    )
    seen = describe_state_dict(tensors(TINY | {"attention_resolutions": "64,32"}), known[1:2])
    assert seen == f"The file looks like a UNet of no known kind: {facts}attention at 1/1, 1/2 of the size"


def test_other_kinds_of_networks_are_named() -> None:
    with torch.device("meta"):
        secondary = SecondaryModel(8).state_dict()
    one = torch.zeros(1)
    assert describe_state_dict(secondary, []) == "The file looks like a secondary network"
    assert describe_state_dict({"visual.conv1.weight": one}, []) == "The file looks like a CLIP network"
    assert describe_state_dict({"features.0.weight": one}, []) == "The file looks like a VGG network"
    assert describe_state_dict({"model.diffusion_model.out.2.weight": one}, []) == (
        "The file looks like a Stable Diffusion checkpoint, which Disco cannot use"
    )
    assert describe_state_dict({"anything": one}, []) == ""
