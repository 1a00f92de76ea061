"""Write the shipped files, in 16-bit floats, from the checkpoints of the runs.

python -m training.assemble --runs training/runs --out disco/pocket
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from training import diffusion, towers
from training.common import export
from training.text import PARTS


def averaged(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)["ema"]


def clip_state(tower: dict[str, Tensor], text: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names: the image tower under `visual.`, the text tower bare, the logit scale."""
    state = {name: value for name, value in tower.items() if name.startswith("visual.")}
    state |= {name: value for name, value in text.items() if name.startswith(PARTS)}
    return state | {"logit_scale": tower["scale"].clone()}


def write_clip(kind: str, runs: Path, out: Path) -> None:
    state = clip_state(averaged(runs / kind), averaged(runs / "text"))
    towers.build(kind).load_state_dict(state, strict=True)
    preprocess = {"mean": towers.MEAN, "std": towers.STD, "interpolation": "bicubic"}
    config = {
        "model_cfg": towers.model_config(kind),
        "preprocess_cfg": preprocess | {"resize_mode": "shortest"},
    }
    folder = out / f"clip_{kind}"
    export(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the shipped pocket networks.")
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--out", type=Path, default=Path("disco/pocket"))
    args = parser.parse_args()
    diffusion.export_network(averaged(args.runs / "diffusion"), args.out)
    export(averaged(args.runs / "secondary"), args.out / "pocket_secondary.safetensors")
    export(averaged(args.runs / "perceptual"), args.out / "pocket_perceptual.safetensors")
    for kind in towers.VISION:
        write_clip(kind, args.runs, args.out)
    files = sorted(args.out.rglob("*.safetensors"))
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"{file.relative_to(args.out)}: {file.stat().st_size} bytes, sha256 {digest}")
    print(f"together {sum(file.stat().st_size for file in files)} bytes")


if __name__ == "__main__":
    main()
