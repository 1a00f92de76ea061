"""disco.animation.flow_raft: torchvision's network, and the original's names for its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from disco.animation.flow import load_flow
from disco.animation.flow_raft import RaftFlow, build_raft, from_original, read_raft
from disco.errors import WeightsError
from disco.networks.depth_and_flow import Flow
from disco.networks.load import Loader
from disco.settings.model import Settings
from disco.weights.registry import registry

# (name, its shape) of raft-things.pth's parts; each layer's normalisation has five tensors, or none in fnet.
CHANNELS = {
    "1.0": (64, 64),
    "1.1": (64, 64),
    "2.0": (64, 96),
    "2.1": (96, 96),
    "3.0": (96, 128),
    "3.1": (128, 128),
}
UPDATE = {
    "encoder.convc1": (256, 324, 1, 1),
    "encoder.convc2": (192, 256, 3, 3),
    "encoder.convf1": (128, 2, 7, 7),
    "encoder.convf2": (64, 128, 3, 3),
    "encoder.conv": (126, 256, 3, 3),
    **{f"gru.conv{gate}1": (128, 384, 1, 5) for gate in "zrq"},
    **{f"gru.conv{gate}2": (128, 384, 5, 1) for gate in "zrq"},
    "flow_head.conv1": (256, 128, 3, 3),
    "flow_head.conv2": (2, 256, 3, 3),
    "mask.0": (256, 128, 3, 3),
    "mask.2": (576, 256, 1, 1),
}


def original_state() -> dict[str, Tensor]:
    """Random tensors under the names and in the shapes of the RAFT authors' raft-things.pth."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, *shape: int) -> None:
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"module.{name}.weight"] = torch.randn(*shape, generator=generator) / fan_in**0.5
        state[f"module.{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)

    def norm(name: str, channels: int) -> None:
        for kind in ("weight", "bias", "running_mean"):
            state[f"module.{name}.{kind}"] = torch.rand(channels, generator=generator)
        state[f"module.{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        state[f"module.{name}.num_batches_tracked"] = torch.tensor(7)

    for net in ("fnet", "cnet"):
        conv(f"{net}.conv1", 64, 3, 7, 7)
        for layer, (before, after) in CHANNELS.items():
            conv(f"{net}.layer{layer}.conv1", after, before, 3, 3)
            conv(f"{net}.layer{layer}.conv2", after, after, 3, 3)
            if before != after:
                conv(f"{net}.layer{layer}.downsample.0", after, before, 1, 1)
        conv(f"{net}.conv2", 256, 128, 1, 1)
    norm("cnet.norm1", 64)
    for layer, (before, after) in CHANNELS.items():
        norm(f"cnet.layer{layer}.norm1", after)
        norm(f"cnet.layer{layer}.norm2", after)
        if before != after:
            norm(f"cnet.layer{layer}.downsample.1", after)
            copies = [name for name in state if f"cnet.layer{layer}.downsample.1." in name]
            state |= {name.replace("downsample.1", "norm3"): state[name] for name in copies}
    for name, shape in UPDATE.items():
        conv(f"update_block.{name}", *shape)
    return state


@pytest.fixture(scope="module")
def original() -> dict[str, Tensor]:
    return original_state()


@pytest.fixture(scope="module")
def original_file(original: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raft") / "raft-things.pth"
    torch.save(original, path)
    return path


@pytest.fixture(scope="module")
def network(original_file: Path) -> nn.Module:
    return read_raft(original_file, "raft_large")


def test_the_synthetic_file_has_the_size_of_the_real_one(original: dict[str, Tensor]) -> None:
    assert len(original) == 179
    kept = {name: tensor for name, tensor in original.items() if "norm3" not in name}
    assert sum(tensor.numel() for tensor in kept.values()) == 5_260_431  # torchvision's, its buffers included


def test_every_name_of_the_original_finds_its_place(original: dict[str, Tensor]) -> None:
    state = from_original({name.removeprefix("module."): tensor for name, tensor in original.items()})
    own = build_raft("raft_large").state_dict()
    assert state.keys() == own.keys()
    assert all(state[name].shape == own[name].shape for name in own)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("fnet.conv1.weight", "feature_encoder.convnormrelu.0.weight"),
        ("cnet.norm1.running_var", "context_encoder.convnormrelu.1.running_var"),
        ("fnet.conv2.bias", "feature_encoder.conv.bias"),
        ("cnet.layer2.0.conv2.weight", "context_encoder.layer2.0.convnormrelu2.0.weight"),
        ("cnet.layer2.0.norm2.bias", "context_encoder.layer2.0.convnormrelu2.1.bias"),
        ("cnet.layer3.0.downsample.1.bias", "context_encoder.layer3.0.downsample.1.bias"),
        ("update_block.encoder.convc2.bias", "update_block.motion_encoder.convcorr2.0.bias"),
        ("update_block.encoder.convf1.bias", "update_block.motion_encoder.convflow1.0.bias"),
        ("update_block.encoder.conv.bias", "update_block.motion_encoder.conv.0.bias"),
        ("update_block.gru.convr2.weight", "update_block.recurrent_block.convgru2.convr.weight"),
        ("update_block.flow_head.conv2.bias", "update_block.flow_head.conv2.bias"),
        ("update_block.mask.0.bias", "mask_predictor.convrelu.0.bias"),
        ("update_block.mask.2.weight", "mask_predictor.conv.weight"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    tensor = torch.zeros(1)
    assert from_original({theirs: tensor, "cnet.layer2.0.norm3.bias": tensor}) == {ours: tensor}


def test_the_tensors_are_those_of_the_file(network: nn.Module, original: dict[str, Tensor]) -> None:
    state = network.state_dict()
    gate = original["module.update_block.gru.convq1.weight"]
    assert torch.equal(state["update_block.recurrent_block.convgru1.convq.weight"], gate)
    mean = original["module.cnet.layer3.0.norm3.running_mean"]
    assert torch.equal(state["context_encoder.layer3.0.downsample.1.running_mean"], mean)


def test_any_size_gives_a_flow_of_that_size(network: nn.Module) -> None:
    flow: Flow = RaftFlow("raft_large", network, updates=2)
    a, b = torch.rand(2, 1, 3, 33, 50).mul(2).sub(1)
    found = flow(a, b)
    assert found.shape == (1, 2, 33, 50)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert not found.requires_grad
    assert torch.equal(found, flow(a, b))


def test_sizes_that_suit_it_are_left_as_they_are(network: nn.Module) -> None:
    a, b = torch.rand(2, 1, 3, 128, 136).mul(2).sub(1)
    with torch.no_grad():
        expected = network(a, b, num_flow_updates=1)[-1]
    assert torch.equal(RaftFlow("raft_large", network, updates=1)(a, b), expected)


def test_files_that_do_not_fit(original_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    small = build_raft("raft_small").to_empty(device="cpu").state_dict()
    torch.save(small, path)
    with pytest.raises(WeightsError, match=r"does not fit the network.*It looks like raft_small"):
        read_raft(path, "raft_large")
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="It holds no RAFT"):
        read_raft(path, "raft_small")
    with pytest.raises(WeightsError, match="does not fit the network"):
        read_raft(original_file, "raft_small")


def test_the_registry_knows_them_by_the_hash_in_their_names() -> None:
    for name in ("raft_large", "raft_small"):
        entry = registry().get("flow", name)
        (file,) = entry.files
        assert file.sha256_prefix == Path(file.name).stem.split("-")[-1]
        count = sum(parameter.numel() for parameter in build_raft(entry.architecture["net"]).parameters())
        assert entry.parameters == count
    assert registry().get("flow", "raft_things").architecture["net"] == "raft_large"


def test_load_flow_reads_the_file_in_the_models_folder(
    original: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry().get("flow", "raft_things")
    path = tmp_path / entry.files[0].name
    torch.save(original, path)
    monkeypatch.setattr("disco.networks.load.fetch", lambda entry, *_: {path.name: path})
    loader = Loader(Settings(), torch.device("cpu"))
    flow = load_flow("raft_things", fetched=loader.fetched)
    assert flow.name == "raft_things"
    assert list(loader.hashes) == ["raft_things/raft-things.pth"]
    assert len(loader.hashes["raft_things/raft-things.pth"]) == 64
