"""Depth from an ONNX network that gives metres, such as FastDepth (Wofk et al. 2019, arXiv:1903.03273)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from disco.errors import WeightsError

_SHALLOWEST = 1e-3
_ERRORS_ONLY = 3  # what onnxruntime prints


class OnnxDepth:
    """frame [B, 3, H, W] in [-1, 1] -> depth [B, 1, H, W] in metres, on the CPU at the network's own size."""

    def __init__(self, session: Any, name: str, size: tuple[int, int]) -> None:
        """session: an InferenceSession; its input `name`, [1, 3, *size] in [0, 1], gives [1, 1, h, w]."""
        self.session, self.name, self.size = session, name, size

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        pixels = F.interpolate(frame, self.size, mode="bicubic", align_corners=False, antialias=True)
        pixels = ((pixels.float() + 1) / 2).clamp(0, 1).cpu()
        metres = torch.cat([self._one(picture[None]) for picture in pixels]).to(frame.device)
        depth = F.interpolate(metres, frame.shape[-2:], mode="bicubic", align_corners=False)
        return depth.clamp(min=_SHALLOWEST)

    def _one(self, pixels: Tensor) -> Tensor:
        (metres,) = self.session.run(None, {self.name: pixels.numpy()})
        return torch.from_numpy(metres).float()


def load_onnx(path: Path) -> OnnxDepth:
    """Raises WeightsError: a file that is missing, damaged, or not from one RGB picture to one map."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        first = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path}: no network that onnxruntime can read ({first})") from error
    shapes = [list(port.shape) for port in (*session.get_inputs(), *session.get_outputs())]
    if len(shapes) != 2 or not _is_map(shapes[0], 3) or not _is_map(shapes[1], 1):
        raise WeightsError(f"{path}: input and output are {shapes}, expected [1, 3, H, W] and [1, 1, h, w]")
    height, width = shapes[0][2:]
    return OnnxDepth(session, session.get_inputs()[0].name, (height, width))


def _is_map(shape: list[Any], channels: int) -> bool:
    return len(shape) == 4 and shape[:2] == [1, channels] and all(isinstance(side, int) for side in shape[2:])
