"""training.ncnn, training.upscale: every byte of ncnn's file is used; half way between two networks."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from disco.networks.srvgg import Srvgg
from training.ncnn import read_srvgg
from training.upscale import halfway

PARAM = """7767517
5 5
Input input 0 1 data
Convolution c0 1 1 data a 0=4 1=3 4=1 5=1 6=108
PReLU p0 1 1 a b 0=4
Convolution c1 1 1 b c 0=12 1=3 4=1 5=1 6=432
Interp i 1 1 data d 0=1 1=2.000000e+00 2=2.000000e+00
"""


def ncnn(network: Srvgg, tag: int = 0x01306B47) -> bytes:
    """The weights of a network as ncnn writes them."""
    data = b""
    for layer in network.body:
        weights = layer.weight.detach().numpy()
        if weights.ndim == 1:
            data += weights.astype("<f4").tobytes()
        else:
            bias = layer.bias.detach().numpy()  # type: ignore[union-attr]
            data += struct.pack("<I", tag) + weights.astype("<f2").tobytes() + bias.astype("<f4").tobytes()
    return data


def test_the_weights_are_those_of_the_network() -> None:
    network = Srvgg(4, 0, 2)
    state = read_srvgg(PARAM, ncnn(network))
    assert state.keys() == network.state_dict().keys()
    for name, weights in network.state_dict().items():
        assert np.allclose(state[name], weights, atol=1e-3)


def test_bytes_left_over_and_other_numbers_are_errors() -> None:
    data = ncnn(Srvgg(4, 0, 2))
    with pytest.raises(ValueError, match=r"^4 bytes are left over$"):
        read_srvgg(PARAM, data + bytes(4))
    with pytest.raises(ValueError, match=r"buffer is smaller than requested size"):
        read_srvgg(PARAM, data[:-4])
    with pytest.raises(ValueError, match=r"^body\.0: weights are no 16-bit floats$"):
        read_srvgg(PARAM, ncnn(Srvgg(4, 0, 2), tag=0))


def test_half_way() -> None:
    mixed = halfway({"a": torch.zeros(2)}, {"a": torch.tensor([2.0, 4.0])})
    assert mixed["a"].tolist() == [1, 2]
