"""Train the pocket secondary network: Crowson's architecture with fewer channels, v objective.

    python -m training.secondary --data DIR --out DIR [--steps N] [--round]

t is uniform in [0, 1] on the cosine schedule: alpha = cos(t pi/2), sigma = sin(t pi/2),
v = alpha eps - sigma x0.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training.common import Pictures, Run, Trainer
from training.rounding import export

CHANNELS = 12


def noised(x_0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x_t and the v that belongs to it, [B, 3, H, W] each, for t [B] in [0, 1]."""
    angle = (t * (math.pi / 2))[:, None, None, None]
    noise = torch.randn_like(x_0)
    return angle.cos() * x_0 + angle.sin() * noise, angle.cos() * noise - angle.sin() * x_0


def loss_of(network: nn.Module, x_0: Tensor) -> Tensor:
    t = torch.rand(len(x_0), device=x_0.device)
    x_t, v = noised(x_0, t)
    with torch.autocast(x_t.device.type, torch.bfloat16):
        answer = network(x_t.to(memory_format=torch.channels_last), t).v
    return (answer.float() - v).square().mean()


@torch.no_grad()
def guesses(network: nn.Module, x_0: Tensor) -> Tensor:
    """Pictures, their noised forms and the guesses at five noise levels, for the eye."""
    rows = [x_0]
    for level in (0.2, 0.4, 0.6, 0.8, 0.95):
        t = torch.full((len(x_0),), level, device=x_0.device)
        x_t, _ = noised(x_0, t)
        rows += [x_t, network(x_t, t).pred_x0]
    return torch.cat(rows)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run = Run(args.out)
    network = SecondaryModel(CHANNELS).to(args.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    trainer = Trainer(run, network, optimizer, args.ema)
    pictures = Pictures(args.data, ["scenes", "flowers"], 128, args.seed + trainer.step)
    torch.manual_seed(args.seed + trainer.step)
    if args.round:
        trainer.start_rounding()
    while trainer.step < args.steps:
        x_0 = pictures.batch(args.batch).to(args.device)
        run.log(trainer.step, trainer.update(lambda x=x_0: loss_of(network, x), args.steps))
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
            run.sheet(guesses(trainer.ema.network, pictures.batch(8).to(args.device)), "guesses.png")
    export(trainer.ema.network.state_dict(), args.out / "pocket_secondary.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the pocket secondary network.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/secondary"))
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--round", action="store_true", help="last phase: train with rounded weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
