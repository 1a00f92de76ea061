"""Train the pocket diffusion network: guided-diffusion's UNet behind a pixel-unshuffle, predicting x0.

    python -m training.diffusion --data DIR --out DIR [--steps N]

Behind a large patch a network that predicts eps would have to carry every number of the noise through fewer
channels; one that predicts the picture need not (arXiv:2511.13720). The loss is the one in v up to the clamp:
(x0_hat - x0)^2 / max(sigma^2, 0.2).
"""

from __future__ import annotations

import argparse
import json

import torch
from guided_diffusion.unet import UNetModel
from torch import Tensor, nn

from training.common import Pictures, Run, Trainer, arguments, export, linear_alpha_sigma
from training.spectral import Speckle, Spectral, SpectralError, folded, usual_sizes

ARCHITECTURE = {
    "image_size": 16,  # side of the token grid at the trained size: attention sits at image_size / resolution
    "num_channels": 96,
    "num_res_blocks": 1,
    "channel_mult": "1,1",
    "attention_resolutions": "8",
    "num_head_channels": 32,
    "use_scale_shift_norm": True,
    "resblock_updown": False,
    "learn_sigma": False,
    "noise_schedule": "linear",
    "patch": 8,
    "prediction": "x0",
}


def build(architecture: dict[str, object]) -> UNetModel:
    """The UNet of an architecture dict, as guided_diffusion.script_util.create_model reads it."""
    channels = 3 * int(str(architecture["patch"])) ** 2
    side = int(str(architecture["image_size"]))
    return UNetModel(
        image_size=side,
        in_channels=channels,
        model_channels=architecture["num_channels"],
        out_channels=channels,
        num_res_blocks=architecture["num_res_blocks"],
        attention_resolutions=[side // int(r) for r in str(architecture["attention_resolutions"]).split(",")],
        channel_mult=[int(m) for m in str(architecture["channel_mult"]).split(",")],
        num_head_channels=architecture["num_head_channels"],
        use_scale_shift_norm=architecture["use_scale_shift_norm"],
        resblock_updown=architecture["resblock_updown"],
    )


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


def loss_of(network: nn.Module, x_0: Tensor, measure: SpectralError, speckle: Speckle) -> Tensor:
    t = random_times(len(x_0)).to(x_0.device)
    alpha, sigma = linear_alpha_sigma(t)
    x_t = alpha * (x_0 + speckle(x_0)) + sigma * torch.randn_like(x_0)
    error = measure(guess(network, x_t, t, measure.patch) - x_0)
    return (error / sigma.flatten().square().clamp(min=0.2)).mean()


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
        alpha, sigma = linear_alpha_sigma(t)
        pred_x0 = guess(network, x_t, t, patch)
        eps = (x_t - alpha * pred_x0) / sigma
        if i + 1 < len(times):
            alpha_next, sigma_next = linear_alpha_sigma(torch.full_like(t, times[i + 1]))
            fresh = sigma_next / sigma * (1 - (alpha / alpha_next).square()).sqrt()
            noise = torch.randn(x_t.shape, generator=generator).to(device)
            kept = (sigma_next.square() - fresh.square()).clamp(min=0).sqrt()
            x_t = alpha_next * pred_x0 + kept * eps + fresh * noise
    return pred_x0


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run, patch = Run(args.out), int(str(ARCHITECTURE["patch"]))
    sizes = usual_sizes(Pictures(args.data, ["scenes", "flowers"], 128, 0).batch(512), patch)
    network = Spectral(build(ARCHITECTURE), sizes).to(args.device, memory_format=torch.channels_last)
    measure, speckle = SpectralError(sizes.to(args.device)), Speckle(sizes.to(args.device))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    trainer = Trainer(run, network, optimizer, args.ema)
    pictures = Pictures(args.data, ["scenes", "flowers"], 128, args.seed + trainer.step)
    torch.manual_seed(args.seed + trainer.step)
    while trainer.step < args.steps:
        x_0 = pictures.batch(args.batch).to(args.device)
        run.log(trainer.step, trainer.update(lambda x=x_0: loss_of(network, x, measure, speckle), args.steps))
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
            run.sheet(
                samples(trainer.ema.network, (8, 128, 128), patch, 30), f"samples_{trainer.step:06d}.png"
            )
    (args.out / "pocket_diffusion.json").write_text(json.dumps(ARCHITECTURE, indent=2) + "\n")
    export(folded(trainer.ema.network.state_dict()), args.out / "pocket_diffusion.safetensors")


if __name__ == "__main__":
    train(arguments("diffusion", steps=20_000, batch=32, lr=8e-4, ema=0.9985, seed=0))
