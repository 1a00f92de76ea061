"""Train the image tower of a pocket CLIP into the joint space of projected MiniLM sentences.

    python -m training.clip --tower conv --data DIR --out DIR --mobilenet FILE --secondary FILE
    python -m training.clip --tower vit  --data DIR --out DIR --conv CHECKPOINT --secondary FILE

The convolutional tower starts from ImageNet's MobileNetV2. The ViT (hybrid_vit) starts from the first
stages of that tower, which stay as they are, and learns from the captions, from the other tower's embeddings
and from its last feature map (Hinton et al. 2015, arXiv:1503.02531). The projection of the sentences is fixed
(training.projection): the text tower (training.text) needs neither.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training import heads, projection
from training.captions import Captions
from training.common import Ema, Run, Trainer
from training.towers import TEACHER_SIDE, TEXT, Teacher, Tower, hybrid_tower, imagenet_tower
from training.views import SHARES, Batch, Labelled, cut, view_batch

WEIGHTS = {"light": 2.0, "both": 2.0}  # of the kinds of captions; colours are what users ask for most


def ranked(logits: Tensor, fits: Tensor) -> Tensor:
    """Each fitting text against those that do not fit, averaged. fits: 1 yes, 0 no, -1 ignored; [B, N]."""
    others = logits.masked_fill(fits != 0, -torch.inf).logsumexp(1, keepdim=True)
    chosen = nn.functional.softplus(others - logits)[fits == 1]
    return chosen.mean() if chosen.numel() else logits.sum() * 0


class Space:
    """The joint space: captions of a batch as unit vectors [N, D], by a fixed projection of MiniLM's."""

    def __init__(self, captions: Captions, folder: Path) -> None:
        self.captions = captions
        kept = folder / "space.npz"  # all towers of one set must speak the same space
        if not kept.exists():
            weight, bias = projection.fit(captions, folder, int(str(TEXT["width"])))
            np.savez(kept, weight=weight.numpy(), bias=bias.numpy())
        space = np.load(kept)
        self.weight, self.bias = torch.from_numpy(space["weight"]), torch.from_numpy(space["bias"])

    def sentences(self, embeds: Tensor) -> Tensor:
        return nn.functional.normalize(embeds @ self.weight.T + self.bias, dim=-1)

    def loss(self, images: Tensor, batch: Batch, scale: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The sum over the kinds of captions: labels, groups, light, composed ones, titles."""
        texts = self.captions.draw(batch.labels, batch.lights, batch.titles)
        logits = scale.exp().clamp(max=60) * images @ self.sentences(texts.embeds).to(images.device).T
        total, notes, fits = images.sum() * 0, {}, texts.fits.to(images.device)
        for part, columns in texts.parts.items():
            loss = ranked(logits[:, columns], fits[:, columns])
            total = total + WEIGHTS.get(part, 1.0) * loss
            notes[part] = round(float(loss.detach()), 4)
        return total, notes


class VitLoss:
    """The captions, and what the other tower sees in the same view before it was spoiled."""

    def __init__(self, teacher: Teacher, space: Space) -> None:
        self.teacher, self.space = teacher, space

    def __call__(self, tower: Tower, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        images, features = tower.with_features(batch.views)
        wanted, other = self.teacher(batch.clean)
        distilled = (features - wanted).square().mean() + (features - wanted).mean(1).square().mean() * 3
        alike = (images - other).square().sum(1).mean()
        captions, parts = self.space.loss(images, batch, tower.scale)
        notes = {"features": distilled, "alike": alike}
        return captions + 4 * alike + distilled, parts | {
            name: round(float(value.detach()), 4) for name, value in notes.items()
        }


@torch.no_grad()
def accuracy(tower: Tower, held_out: Labelled, space: Space, count: int = 400) -> dict[str, float]:
    """Zero-shot top-1 among the labels of each source, through the projected sentences."""
    tower.eval()
    texts = space.sentences(space.captions.label_means())
    device = tower.scale.device
    answer, rng = {}, np.random.default_rng(0)
    for name in ("scenes", "flowers", "caltech", "cifar10", "tiny"):
        chosen = np.sort(rng.choice(len(held_out.rows[name]), count, replace=False))
        labels = torch.from_numpy(held_out.labels[name][chosen])
        whole = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(count, 2, 3)
        views = cut(held_out.pictures(name, chosen), whole, TEACHER_SIDE)
        mine = torch.tensor([k for label, k in held_out.index.items() if label.startswith(name + "/")])
        guess = mine[(tower(views.to(device)).cpu() @ texts[mine].T).argmax(1)]
        answer[name] = round(float((guess == labels).float().mean()), 3)
    return answer


def groups(tower: Tower, rate: float) -> list[dict[str, object]]:
    """The pretrained part moves slowly, lest noisy views undo what it knows; a new ViT moves fast."""
    if tower.kind == "vit":
        return [{"params": [weight for weight in tower.parameters() if weight.requires_grad], "lr": rate}]
    return [
        {"params": list(tower.visual.trunk.parameters()), "lr": 0.1 * rate},
        {"params": [*tower.visual.head.parameters(), tower.scale], "lr": 0.12 * rate},
    ]


def load_secondary(path: Path, channels: int) -> SecondaryModel:
    secondary = SecondaryModel(channels).eval().requires_grad_(False)
    secondary.load_state_dict(load_file(path))
    return secondary.to(memory_format=torch.channels_last)


def load_tower(kind: str, checkpoint: Path) -> Tower:
    tower = Tower(kind)
    tower.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"])
    return tower.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run, captions = Run(args.out), Captions(args.data)
    space = Space(captions, args.data)
    if args.tower == "conv":
        tower = imagenet_tower(args.mobilenet)
    else:
        other = load_tower("conv", args.conv).to(args.device)
        tower = hybrid_tower(other)
    tower.to(args.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(groups(tower, args.lr), weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    trainer = Trainer(run, tower, optimizer, 0.998)
    secondary = load_secondary(args.secondary, args.secondary_channels)
    source = Labelled(args.data, captions.labels, "train", args.seed, SHARES[args.tower])
    held_out = Labelled(args.data, captions.labels, "test", 0)
    if args.tower == "conv":
        if trainer.step == 0:
            rows = heads.view_features(tower, source, secondary, args.head_views)
            heads.fit_head(tower.visual.head.proj, rows, space)
            trainer.ema = Ema(tower, 0.998)
        loss_of = lambda net, batch: space.loss(net(batch.views), batch, net.scale)  # noqa: E731
    else:
        teacher = Teacher(other, view_batch(source, 256, TEACHER_SIDE, None).clean.to(args.device))
        loss_of = VitLoss(teacher, space)
    source.rng = np.random.default_rng(args.seed + trainer.step)
    torch.manual_seed(args.seed + trainer.step)
    notes: dict[str, float] = {}

    def loss() -> Tensor:
        batch = view_batch(source, args.batch, TEACHER_SIDE, secondary, args.half_denoised)
        batch = batch.seen_on(args.device)
        total, parts = loss_of(tower, batch)
        notes.update(parts)
        return total

    tower.train()
    while trainer.step < args.steps:
        run.log(trainer.step, trainer.update(loss, args.steps), **notes)
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
            scores = accuracy(trainer.ema.network, held_out, space)
            print(json.dumps({"step": trainer.step, **scores}), flush=True)
            (args.out / "accuracy.json").write_text(json.dumps({"step": trainer.step, **scores}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the image tower of a pocket CLIP.")
    parser.add_argument("--tower", choices=("conv", "vit"), required=True)
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mobilenet", type=Path, help="torchvision's weights: conv starts there")
    parser.add_argument("--secondary", type=Path, required=True, help="trained by training.secondary")
    parser.add_argument("--secondary-channels", type=int, default=12)
    parser.add_argument("--conv", type=Path, help="checkpoint of that tower: vit starts there")
    parser.add_argument("--head-views", type=int, default=16_000, help="views to start conv's head with")
    parser.add_argument("--half-denoised", type=float, default=0.2, help="share of the views, at most 0.2")
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=int, default=250)
    args = parser.parse_args()
    start = "mobilenet" if args.tower == "conv" else "conv"
    if getattr(args, start) is None:
        parser.error(f"--tower {args.tower} needs --{start} FILE")
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
