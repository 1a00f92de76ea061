"""Train the pocket secondary network: Crowson's architecture with fewer channels, v objective.

    python -m training.secondary --data DIR --out DIR [--steps N]

t is uniform in [0, 1] on the cosine schedule: alpha = cos(t pi/2), sigma = sin(t pi/2),
v = alpha eps - sigma x0.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training import light
from training.common import Pictures, Run, Trainer, arguments, export
from training.diffusion import SOURCES, TONED

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
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    trainer = Trainer(run, network, optimizer, args.ema)
    pictures = Pictures(args.data, SOURCES, 128, args.seed + trainer.step)
    torch.manual_seed(args.seed + trainer.step)
    while trainer.step < args.steps:
        x_0 = light.toned(pictures.batch(args.batch), TONED).to(args.device)
        run.log(trainer.step, trainer.update(lambda x=x_0: loss_of(network, x), args.steps))
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
            run.sheet(guesses(trainer.ema.network, pictures.batch(8).to(args.device)), "guesses.png")
    export(trainer.ema.network.state_dict(), args.out / "pocket_secondary.safetensors")


if __name__ == "__main__":
    train(arguments("secondary", steps=6_000, batch=16, lr=1e-3, ema=0.998, seed=1))
