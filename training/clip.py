"""Train the image sides of the two pocket CLIPs into one joint space with projected MiniLM sentences.

    python -m training.clip --data DIR --out DIR --mobilenet FILE --secondary FILE [--steps N]

The convolutional tower starts from ImageNet's MobileNetV2; the ViT starts from nothing and also learns from
the convolutional one. The projection of the sentences is fixed (training.projection), so that the text tower
(training.text) can be taught before, beside or after.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from disco.secondary_model import SecondaryModel
from training import heads, projection
from training.captions import Captions
from training.common import Ema, Run, Trainer
from training.views import Batch, Labelled, cut, view_batch

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VISION = {
    "conv": {
        "timm_model_name": "mobilenetv2_100",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 96,
    },
    "vit": {"image_size": 64, "patch_size": 8, "width": 128, "layers": 5, "head_width": 32, "mlp_ratio": 4.0},
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def model_config(kind: str) -> dict[str, object]:
    return {"embed_dim": TEXT["width"], "vision_cfg": VISION[kind], "text_cfg": TEXT}


def build(kind: str) -> open_clip.model.CLIP:
    return open_clip.model.CLIP(**model_config(kind))


def load_mobilenet(trunk: nn.Module, path: Path) -> None:
    """torchvision's MobileNetV2 weights under timm's names: the same layers in the same order."""
    theirs = [(k, v) for k, v in torch.load(path, weights_only=True).items() if "num_batches" not in k]
    mine = [k for k in trunk.state_dict() if "num_batches" not in k]
    theirs = [(k, v) for k, v in theirs if not k.startswith("classifier")]
    state = {name: value for name, (_, value) in zip(mine, theirs, strict=True)}
    missing = trunk.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all("num_batches" in k for k in missing.missing_keys)


class Towers(nn.Module):
    """Both image towers and the fixed projection of MiniLM sentences [N, 384] to the joint space [N, D]."""

    def __init__(self, mobilenet: Path, projection: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.conv, self.vit = build("conv").visual, build("vit").visual
        load_mobilenet(self.conv.trunk, mobilenet)
        self.text = nn.Linear(384, int(TEXT["width"])).requires_grad_(False)
        self.text.weight.copy_(projection[0])
        self.text.bias.copy_(projection[1])
        self.scale = nn.Parameter(torch.tensor([15.0, 15.0]).log())
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> Towers:
        """Batch norms keep ImageNet's statistics: those of noisy batches would unlearn clean pictures."""
        super().train(mode)
        for module in self.conv.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def images(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings [B, D] of views [B, 3, 96, 96] in [0, 1] by both towers."""
        views = (views - self.mean) / self.std
        small = nn.functional.interpolate(views, (64, 64), mode="bilinear", antialias=True)
        with torch.autocast(views.device.type, torch.bfloat16):
            conv = self.conv(views.to(memory_format=torch.channels_last))
            vit = self.vit(small)
        return nn.functional.normalize(conv.float(), dim=-1), nn.functional.normalize(vit.float(), dim=-1)

    def sentences(self, embeds: Tensor) -> Tensor:
        return nn.functional.normalize(self.text(embeds), dim=-1)


def ranked(logits: Tensor, fits: Tensor) -> Tensor:
    """Each fitting text against those that do not fit, averaged. fits: 1 yes, 0 no, -1 ignored; [B, N]."""
    others = logits.masked_fill(fits != 0, -torch.inf).logsumexp(1, keepdim=True)
    chosen = nn.functional.softplus(others - logits)[fits == 1]
    return chosen.mean() if chosen.numel() else logits.sum() * 0


def loss_of(towers: Towers, batch: Batch, captions: Captions) -> tuple[Tensor, dict[str, float]]:
    texts = captions.draw(batch.labels, batch.lights)
    embeds = towers.sentences(texts.embeds)
    conv, vit = towers.images(batch.views)
    distilled = (vit - conv.detach()).square().sum(1).mean()
    total, notes = 2 * distilled, {"distil": float(distilled.detach())}
    for k, (name, images) in enumerate({"conv": conv, "vit": vit}.items()):
        logits = towers.scale[k].exp().clamp(max=60) * images @ embeds.T
        for part, columns in texts.parts.items():
            loss = ranked(logits[:, columns], texts.fits[:, columns])
            total = total + loss
            notes[f"{name}_{part}"] = float(loss.detach())
    return total, notes


@torch.no_grad()
def accuracy(towers: Towers, held_out: Labelled, captions: Captions, count: int = 300) -> dict[str, float]:
    """Zero-shot top-1 among the labels of each source, through the projected sentences."""
    was_training = towers.training
    towers.eval()
    texts = towers.sentences(captions.label_means())
    answer = {}
    rng = np.random.default_rng(0)
    for name, rows in held_out.rows.items():
        chosen = np.sort(rng.choice(len(rows), min(count, len(rows)), replace=False))
        labels = torch.from_numpy(held_out.labels[name][chosen])
        whole = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(len(chosen), 2, 3)
        views = cut(held_out.pictures(name, chosen), whole, 96)
        mine = torch.tensor([k for label, k in held_out.index.items() if label.startswith(name + "/")])
        for tower, images in zip(("conv", "vit"), towers.images(views), strict=True):
            guess = mine[(images @ texts[mine].T).argmax(1)]
            answer[f"{tower}/{name}"] = round(float((guess == labels).float().mean()), 3)
    towers.train(was_training)
    return answer


def groups(towers: Towers, rate: float) -> list[dict[str, object]]:
    """The pretrained part moves slowly, lest noisy views undo what it knows; the new ViT moves fastest."""
    new = [*towers.vit.parameters(), towers.scale]
    return [
        {"params": list(towers.conv.trunk.parameters()), "lr": 0.1 * rate},
        {"params": list(towers.conv.head.parameters()), "lr": 0.12 * rate},
        {"params": new, "lr": 1.5 * rate},
    ]


def load_secondary(path: Path, channels: int) -> SecondaryModel:
    secondary = SecondaryModel(channels).eval().requires_grad_(False)
    secondary.load_state_dict(load_file(path))
    return secondary


def start_head(
    towers: Towers, source: Labelled, captions: Captions, secondary: SecondaryModel, views: int
) -> None:
    norm = (towers.mean, towers.std)
    rows = heads.view_features(towers.conv.trunk, source, secondary, views, norm)
    heads.fit_head(towers.conv.head.proj, rows, captions, towers)
    towers.train()


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    run, captions = Run(args.out), Captions(args.data)
    towers = Towers(args.mobilenet, projection.fit(captions, args.data, int(TEXT["width"]))).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.AdamW(groups(towers, args.lr), weight_decay=0.03, betas=(0.9, 0.98))
    trainer = Trainer(run, towers, optimizer, 0.998)
    secondary = load_secondary(args.secondary, args.secondary_channels)
    source = Labelled(args.data, captions.labels, "train", args.seed + trainer.step)
    held_out = Labelled(args.data, captions.labels, "test", 0)
    torch.manual_seed(args.seed + trainer.step)
    towers.train()
    if trainer.step == 0:
        start_head(towers, source, captions, secondary, args.head_views)
        trainer.ema = Ema(towers, 0.998)
    if args.round:
        trainer.start_rounding()
    notes: dict[str, float] = {}

    def loss() -> Tensor:
        total, parts = loss_of(towers, view_batch(source, args.batch, 96, secondary), captions)
        notes.update(parts)
        return total

    while trainer.step < args.steps:
        run.log(trainer.step, trainer.update(loss, args.steps), **notes)
        if trainer.step % args.save_every == 0 or trainer.step == args.steps:
            trainer.save()
            scores = accuracy(trainer.ema.network, held_out, captions)
            print(json.dumps(scores), flush=True)
            (args.out / "accuracy.json").write_text(json.dumps({"step": trainer.step, **scores}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the image towers of the pocket CLIPs.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--out", type=Path, default=Path("training/runs/clip"))
    parser.add_argument(
        "--mobilenet", type=Path, required=True, help="torchvision's mobilenet_v2-b0353104.pth"
    )
    parser.add_argument("--secondary", type=Path, required=True, help="trained by training.secondary")
    parser.add_argument("--secondary-channels", type=int, default=12)
    parser.add_argument("--head-views", type=int, default=12_000, help="views to start the head with")
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument(
        "--freeze", type=int, default=1_500, help="steps after which the text projection rests"
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--round", action="store_true", help="last phase: train with rounded weights")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
