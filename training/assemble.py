"""Write the shipped files from the checkpoints of the runs.

python -m training.assemble --runs training/runs --out disco/pocket
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from training import clip, diffusion
from training.rounding import export
from training.spectral import folded
from training.text import PARTS


def averaged(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)["ema"]


def clip_state(kind: str, towers: dict[str, Tensor], text: dict[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's names: the image tower under `visual.`, the text tower bare, one logit scale."""
    state = {f"visual.{name[5:]}" if kind == "conv" else f"visual.{name[4:]}": value
             for name, value in towers.items() if name.startswith(f"{kind}.")}  # fmt: skip
    state |= {name: value for name, value in text.items() if name.startswith(PARTS)}
    state["logit_scale"] = towers["scale"][0 if kind == "conv" else 1].clone()
    return state


def write_clip(kind: str, runs: Path, out: Path) -> None:
    state = clip_state(kind, averaged(runs / "clip"), averaged(runs / "text"))
    clip.build(kind).load_state_dict(state, strict=True)
    preprocess = {"mean": clip.MEAN, "std": clip.STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": clip.model_config(kind), "preprocess_cfg": preprocess}
    folder = out / f"clip_{kind}"
    export(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the shipped pocket networks.")
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    parser.add_argument("--out", type=Path, default=Path("disco/pocket"))
    args = parser.parse_args()
    export(folded(averaged(args.runs / "diffusion")), args.out / "pocket_diffusion.safetensors")
    (args.out / "pocket_diffusion.json").write_text(json.dumps(diffusion.ARCHITECTURE, indent=2) + "\n")
    export(averaged(args.runs / "secondary"), args.out / "pocket_secondary.safetensors")
    for kind in clip.VISION:
        write_clip(kind, args.runs, args.out)
    files = sorted(args.out.rglob("*.safetensors"))
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"{file.relative_to(args.out)}: {file.stat().st_size} bytes, sha256 {digest}")
    print(f"together {sum(file.stat().st_size for file in files)} bytes")


if __name__ == "__main__":
    main()
