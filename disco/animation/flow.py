"""Optical flow between two frames, and a frame warped along it. The only user of OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from disco.animation.grid import check_sizes, padded
from disco.sampling.masks import LUMA
from disco.weights.fetch import fetch_paths
from disco.weights.registry import Entry

if TYPE_CHECKING:
    from disco.networks.depth_and_flow import Flow

Border = Literal["border", "reflection", "zeros"]
_PRESETS = {
    "dis": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "dis_fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "dis_ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
}
_DIS_LEAST = 16  # pixels a side: twice the patch that DIS compares
_DIS_SMALL = 256  # frames whose shorter side is below are enlarged for it: it looks at half the pixels


class DisFlow:
    """DIS flow (Kroeger et al. 2016, arXiv:1603.03590) by OpenCV: no weights, on the CPU, grey pictures."""

    def __init__(self, name: str = "dis") -> None:
        """name: dis, dis_fast or dis_ultrafast. Raises ValueError for another."""
        if name not in _PRESETS:
            raise ValueError(f"flow is {name!r}; allowed are {', '.join(_PRESETS)}")
        self.name = name

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        check_sizes(a, b)
        (a_padded, b_padded), crop = padded((a, b), least=_DIS_LEAST)
        larger = min(4, -(-_DIS_SMALL // min(a_padded.shape[2:])))
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # it cuts the picture into as many stripes as threads, which changes the flow
        try:
            estimator = cv2.DISOpticalFlow.create(_PRESETS[self.name])
            grey = _grey(a_padded, larger), _grey(b_padded, larger)
            motion = estimator.calc(*grey, np.empty(0, np.float32))
        finally:
            cv2.setNumThreads(threads)
        flow = torch.from_numpy(np.asarray(motion, np.float32)).permute(2, 0, 1)[None]
        flow = functional.avg_pool2d(flow, larger) / larger  # [1, 2, H, W]
        return flow[crop].contiguous().to(a.device)


def load_flow(
    name: str,
    device: torch.device | str = "cpu",
    fetched: Callable[[Entry], Sequence[Path]] = fetch_paths,
) -> Flow:
    """The estimator of that name: dis (or dis_fast, dis_ultrafast), else one of the registry's kind `flow`.

    Raises InputError for an unknown name, WeightsError as weights.fetch does.
    """
    if name in _PRESETS:
        return DisFlow(name)
    from disco.animation.flow_raft import load_raft  # torchvision takes a second to import

    return load_raft(name, device, fetched)


def warp(frame: Tensor, flow: Tensor, border: Border = "border") -> Tensor:
    """The frame looked up along the flow, bilinear: result(x) = frame(x + flow(x)).

    frame: [B, C, H, W] float; flow: [1 or B, 2, H, W] in pixels. border: what lies outside: its edge pixels
    ("border"), its mirror image ("reflection") or 0 ("zeros"). Returns the shape and type of `frame`.
    Raises ValueError if the sizes differ.
    """
    check_sizes(frame, flow)
    height, width = frame.shape[2:]
    flow = flow.float().expand(len(frame), -1, -1, -1)
    x = torch.arange(width, device=flow.device) + flow[:, 0]  # [B, H, W]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    # Without align_corners -1 and 1 are the picture's outer edges, half a pixel beyond the pixels' centres.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    warped = functional.grid_sample(
        frame.float(), grid, mode="bilinear", padding_mode=border, align_corners=False
    )
    return warped.to(frame.dtype)


def _grey(frame: Tensor, larger: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """[1, 3, H, W] in [-1, 1] -> uint8, `larger` times as high and as wide: the form that DIS takes."""
    weights = torch.tensor(LUMA)
    luma = torch.einsum("c,bchw->bhw", weights, frame.detach().float().cpu())[None]
    if larger > 1:
        luma = functional.interpolate(luma, scale_factor=larger, mode="bicubic", align_corners=False)
    return luma[0, 0].add(1).mul(127.5).round().clamp(0, 255).byte().numpy()
