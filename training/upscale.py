"""Tune the pocket upscaler: small pictures with the grain of the pocket networks -> clean large photographs.

    python -m training.upscale --from SOURCES --out DIR [--steps N]

It begins with the published weights (training.ncnn). Photographs are shrunk four times, then given grain: by
the pocket diffusion network, which denoises them from a low noise level in its own steps, and by noise of
several sizes. Of a grainy picture the network learns what it gave for the clean one, a quarter of the way
to the photograph: the mean of all photographs that may be meant would be soft.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from disco.files.places import POCKET
from disco.networks.architectures import read_architecture
from disco.networks.load import load_denoiser
from disco.networks.srvgg import Srvgg
from disco.weights.registry import registry
from training.common import Run, Trainer, arguments, ddim_step, export, linear_alpha_sigma
from training.ncnn import published
from training.sources import SOURCES, find_clone, git_blobs

FACTOR = 4
SIDES = {"flowers": 256, "scenes": 128}  # of the large pictures; scenes are published with 150 pixels
MOST = {"flowers": 700, "scenes": 1400}  # pictures, evenly chosen
HELD_OUT = 40  # the first ones of each source, for the eye
NOISIEST = 260  # the t from which the diffusion network denoises
ETA = 0.7
PHOTOGRAPH = 0.25  # share of it in what is to be learned, beside what the published network makes


def pack(root: Path, name: str, out: Path) -> np.ndarray:
    """[N, S, S, 3] uint8 of a source, shrunk at least a little, against the traces of JPEG; packed once."""
    target = out / f"large_{name}.npy"
    if not target.exists():
        source, side, pictures = SOURCES[name], SIDES[name], []
        blobs = list(git_blobs(find_clone(root, source.repository), source))
        for _, data in blobs[:: max(len(blobs) // MOST[name], 1)]:
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            shrunk = max(side / min(picture.size), 0.6)
            size = (round(picture.width * shrunk), round(picture.height * shrunk))
            picture = picture.resize(size, Image.Resampling.BOX)
            top, left = ((length - side) // 2 for length in (picture.height, picture.width))
            pictures.append(np.asarray(picture)[top : top + side, left : left + side])
        out.mkdir(parents=True, exist_ok=True)
        np.save(target, np.stack(pictures))
    return np.load(target, mmap_mode="r")


class Photographs:
    """Large pictures [B, 3, S, S] in [0, 1], flipped and toned at random; each batch from one source."""

    def __init__(self, root: Path, folder: Path, seed: int) -> None:
        self.sources = [pack(root, name, folder) for name in SIDES]
        self.rng = np.random.default_rng(seed)

    def batch(self, size: int) -> Tensor:
        """As many pixels as `size` pictures of the largest side have."""
        pictures = self.sources[int(self.rng.integers(len(self.sources)))]
        size *= (max(SIDES.values()) // pictures.shape[1]) ** 2
        chosen = pictures[self.rng.integers(HELD_OUT, len(pictures), size)]
        x = _unit(chosen[:, :, :: self.rng.choice([-1, 1])])
        contrast = torch.from_numpy(self.rng.uniform(0.9, 1.4, (size, 1, 1, 1))).float()
        return ((x - 0.5) * contrast + 0.5).clamp(0, 1)

    def held_out(self, each: int) -> list[Tensor]:
        return [_unit(pictures[:each]) for pictures in self.sources]


def _unit(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 255


class Grain:
    """What the pocket networks do to a picture: small, clean [B, 3, h, w] in [0, 1] -> grainy."""

    def __init__(self) -> None:
        entry = registry().get("diffusion", "pocket")
        self.denoiser = load_denoiser(POCKET / "pocket_diffusion.safetensors", read_architecture(entry))

    @torch.no_grad()
    def __call__(self, clean: Tensor) -> Tensor:
        x = self._repainted(clean * 2 - 1) / 2 + 0.5 if torch.rand(()) < 0.7 else clean
        strength = torch.rand(len(x), 1, 1, 1) ** 2 * 0.08
        where = functional.interpolate(torch.rand(len(x), 1, 4, 4), x.shape[2:], mode="bicubic").clamp(0, 1)
        noise = torch.randn_like(x)
        if torch.rand(()) < 0.4:  # blots
            noise = 2 * functional.avg_pool2d(noise, 3, 1, 1)
        return (x + strength * where * noise).clamp(0, 1)

    def _repainted(self, x_0: Tensor) -> Tensor:
        """The guess of the diffusion network after two of its own steps."""
        t = torch.full((len(x_0),), int(torch.randint(30, NOISIEST, ())))
        alpha, sigma = linear_alpha_sigma(t)
        x_t = alpha * x_0 + sigma * torch.randn_like(x_0)
        guess = self._guess(x_t, t)
        after = t // 3
        x_t = ddim_step(x_t, guess, t, after, ETA, torch.randn_like(x_0))
        return self._guess(x_t, after).clamp(-1, 1)

    def _guess(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = linear_alpha_sigma(t)
        return (x_t - sigma * self.denoiser(x_t, float(t[0]))) / alpha


def loss_of(network: nn.Module, teacher: nn.Module, grain: Grain, large: Tensor) -> Tensor:
    """teacher: the published network. No perceptual loss: that of pocket rewards rows of fine stripes."""
    clean = functional.avg_pool2d(large, FACTOR)
    with torch.no_grad():
        target = enlarged(teacher, clean).clamp(0, 1).lerp(large, PHOTOGRAPH)
    made = enlarged(network, grain(clean))
    coarse = (functional.avg_pool2d(made, FACTOR) - clean).abs().mean()
    return (made - target).abs().mean() + coarse


def enlarged(network: nn.Module, pictures: Tensor) -> Tensor:
    """The same in 16-bit floats, which are twice as fast here."""
    with torch.autocast("cpu", torch.bfloat16):
        made: Tensor = network(pictures.contiguous(memory_format=torch.channels_last))
    return made.float()


@torch.no_grad()
def show(run: Run, networks: list[nn.Module], photographs: Photographs, grain: Grain) -> None:
    """Rows of held-out pictures: grainy, by each network, the photograph."""
    torch.manual_seed(0)
    for name, large in zip(SIDES, photographs.held_out(4), strict=True):
        small = grain(functional.avg_pool2d(large, FACTOR))
        rows = [functional.interpolate(small, scale_factor=FACTOR, mode="bicubic")]
        rows += [enlarged(network, small) for network in networks]
        run.sheet(torch.cat([*rows, large]) * 2 - 1, f"{name}.png", columns=len(large))


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run = Run(args.out)
    network = Srvgg(64, 16, FACTOR)
    network.load_state_dict(published(args.root, args.out))
    network.to(memory_format=torch.channels_last)
    teacher = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0)
    trainer = Trainer(run, network, optimizer, args.ema)
    photographs, grain = Photographs(args.root, args.data, args.seed + trainer.step), Grain()
    torch.manual_seed(args.seed + trainer.step)
    while trainer.step < args.steps:
        large = photographs.batch(args.batch)
        run.log(
            trainer.step, trainer.update(lambda x=large: loss_of(network, teacher, grain, x), args.steps), 20
        )
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
            show(run, [teacher, trainer.ema.network], photographs, grain)
            torch.manual_seed(args.seed + trainer.step)
    path = args.out / "pocket_upscale.safetensors"
    export(halfway(teacher.state_dict(), trainer.ema.network.state_dict()), path)
    print(f"{path}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def halfway(published: dict[str, Tensor], tuned: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of both networks' weights: it keeps more of a picture than either, and outlines little noise.

    Source: Wortsman et al. 2022 (arXiv:2109.01903), who mix a network with what it was tuned to.
    """
    return {name: weights.lerp(tuned[name], 0.5) for name, weights in published.items()}


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="root", type=Path, required=True, help="clones, and the wheel")


if __name__ == "__main__":
    train(arguments("upscale", steps=560, batch=4, lr=1e-4, ema=0.98, seed=1, more=_more))
