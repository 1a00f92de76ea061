"""Train the pocket diffusion network: guided-diffusion's UNet behind a pixel-unshuffle, predicting x0.

    python -m training.diffusion --data DIR --out DIR [--steps N]

Behind a patch a network that predicts eps would have to carry every number of the noise through few channels;
one that predicts the picture need not (arXiv:2511.13720), and what is linear of that is done for it
(networks/preconditioning). The loss is the one in v up to the clamp: (x0_hat - x0)^2 / max(sigma^2, 0.05).
With --mobilenet, best when that has come to rest, the guesses are made to look real too (training.realism).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from disco.networks.denoiser import build_unet
from training import light
from training.common import (
    Pictures,
    Run,
    Trainer,
    arguments,
    begin_with,
    ddim_step,
    export,
    linear_alpha_sigma,
)
from training.muon import Both, inner_matrices
from training.own_steps import own_step
from training.realism import Realism
from training.spectral import Preconditioned, Speckle, SpectralError, usual_sizes

SOURCES = ["scenes", "flowers", "flowers"]  # two fifths of the pictures are flowers
TONED = 0.2  # share of pictures in one colour, so that a colour scheme can win
ARCHITECTURE = {
    "image_size": 32,  # side of the token grid at the trained size: attention sits at image_size / resolution
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "2,3,3",
    "attention_resolutions": "8",
    "num_head_channels": 32,
    "use_scale_shift_norm": True,
    "resblock_updown": False,
    "learn_sigma": False,
    "noise_schedule": "linear",
    "patch": 4,
    "prediction": "x0",
}


def guess(network: nn.Module, x_t: Tensor, t: Tensor, patch: int) -> Tensor:
    """The clean guess [B, 3, H, W] for x_t at integer t [B] in 0..999."""
    answer = network(nn.functional.pixel_unshuffle(x_t, patch), t.float())
    return nn.functional.pixel_shuffle(answer, patch)


def random_times(size: int) -> Tensor:
    """Integer t [size]: one in five anywhere, the others around 400, where a picture's forms are settled.

    On the linear schedule two fifths of all t are nearly pure noise, the first tenth is nearly the picture.
    """
    middle = torch.sigmoid(torch.randn(size) - 0.5)
    return (torch.where(torch.rand(size) < 0.2, torch.rand(size), middle) * 1000).long().clamp(0, 999)


class Loss:
    """What a network has to bring down: a number for clean pictures [B, 3, H, W].

    own: share of each batch whose x_t the network itself has painted (training.own_steps).
    """

    def __init__(self, network: Preconditioned, realism: Realism | None = None, own: float = 0.0) -> None:
        self.network, self.realism, self.own = network, realism, own
        self.measure, self.speckle = SpectralError(network.sizes), Speckle(network.sizes)

    def guess(self, x_t: Tensor, t: Tensor) -> Tensor:
        return guess(self.network, x_t, t, self.measure.patch)

    def noised(self, x_0: Tensor, t: Tensor) -> Tensor:
        """x_t [B, 3, H, W]: the first ones by a step of the network, the others with speckle below noise."""
        mine = int(self.own * len(x_0))
        alpha, sigma = linear_alpha_sigma(t[mine:])
        rest = x_0[mine:]
        drawn = alpha * (rest + self.speckle(rest)) + sigma * torch.randn_like(rest)
        return torch.cat([own_step(self.guess, x_0[:mine], t[:mine]), drawn]) if mine else drawn

    def __call__(self, x_0: Tensor) -> Tensor:
        t = random_times(len(x_0)).to(x_0.device)
        alpha, sigma = linear_alpha_sigma(t)
        pred_x0 = self.guess(self.noised(x_0, t), t)
        loss = self.measure(pred_x0 - x_0) / sigma.flatten().square().clamp(min=0.05)
        if self.realism is not None:
            loss = loss + self.realism.loss(pred_x0, x_0, t, alpha)
        return loss.mean()


@torch.no_grad()
def samples(network: nn.Module, size: tuple[int, int, int], patch: int, steps: int = 50) -> Tensor:
    """Unguided DDIM samples (eta 1) [B, 3, H, W] for size = (B, H, W), always from the same noise."""
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(size[0], 3, *size[1:], generator=generator).to(device)
    pred_x0 = x_t
    times = torch.linspace(999, 0, steps).round().long().tolist()
    for i, now in enumerate(times):
        t = torch.full((size[0],), now, device=device)
        pred_x0 = guess(network, x_t, t, patch)
        if i + 1 < len(times):
            noise = torch.randn(x_t.shape, generator=generator).to(device)
            x_t = ddim_step(x_t, pred_x0, t, torch.full_like(t, times[i + 1]), 1.0, noise)
    return pred_x0


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run, patch = Run(args.out), int(str(ARCHITECTURE["patch"]))
    sizes = usual_sizes(Pictures(args.data, SOURCES, 128, 0).batch(512), patch)
    unet = build_unet(ARCHITECTURE)
    nn.init.zeros_(unet.out[2].weight)
    network = Preconditioned(unet, sizes)
    begin_with(network, args.start)
    network.to(args.device, memory_format=torch.channels_last)
    optimizer = Both(network, inner_matrices(network), args.lr, adam_lr=0.8 * args.lr)
    trainer = Trainer(run, network, optimizer, args.ema)
    realism = begin_realism(args, run)
    loss_of = Loss(network, realism, args.own)
    pictures = Pictures(args.data, SOURCES, 128, args.seed + trainer.step)
    torch.manual_seed(args.seed + trainer.step)
    while trainer.step < args.steps:
        x_0 = light.toned(pictures.batch(args.batch), TONED).to(args.device)
        loss = trainer.update(lambda x=x_0: loss_of(x), args.steps)
        run.log(trainer.step, loss, **({} if realism is None else {"critic": realism.learn()}))
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save(**({} if realism is None else {"realism": realism.state_dict()}))
            run.sheet(
                samples(trainer.ema.network, (8, 128, 128), patch, 30), f"samples_{trainer.step:06d}.png"
            )
    export_network(trainer.ema.network.state_dict(), args.out)


def begin_realism(args: argparse.Namespace, run: Run) -> Realism | None:
    """The losses of training.realism, if asked for, with the critic of this run, else of `--start`."""
    if args.mobilenet is None:
        return None
    realism = Realism(args.mobilenet, args.device, (args.perceptual, args.adversarial))
    earlier = [] if args.start is None else [torch.load(args.start, map_location="cpu", weights_only=True)]
    for saved in (run.load(), *earlier):
        if saved is not None and "realism" in saved:
            realism.load_state_dict(saved["realism"])
            break
    return realism


def realism_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mobilenet", type=Path, help="torchvision's weights: adds the losses of realism")
    parser.add_argument("--perceptual", type=float, default=0.5, help="share of the perceptual loss")
    parser.add_argument("--adversarial", type=float, default=0.2, help="share of the adversarial loss")
    parser.add_argument("--own", type=float, default=0.0, help="share of x_t that the network painted itself")


def export_network(state: dict[str, Tensor], folder: Path) -> None:
    """The UNet alone, and beside it the architecture with the usual sizes that it was trained with."""
    unet = {name.removeprefix("unet."): value for name, value in state.items() if name.startswith("unet.")}
    export(unet, folder / "pocket_diffusion.safetensors")
    sizes = [round(size, 4) for size in state["sizes"].tolist()]
    architecture = ARCHITECTURE | {"frequency_sizes": sizes}
    (folder / "pocket_diffusion.json").write_text(json.dumps(architecture, indent=2) + "\n")


if __name__ == "__main__":
    train(arguments("diffusion", steps=20_000, batch=32, lr=1e-3, ema=0.9985, seed=0, more=realism_arguments))
