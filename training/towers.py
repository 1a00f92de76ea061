"""The two pocket CLIPs as open_clip builds them, and their image towers while they learn."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from disco.networks import hybrid_vit

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
VISION = {
    "conv": {
        "timm_model_name": "mobilenetv2_100",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 96,
    },
    "vit": {
        "timm_model_name": hybrid_vit.NAME,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": hybrid_vit.SIDE,
    },
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TEACHER_SIDE, TEACHER_WIDTH, TEACHER_GRID = 96, 1280, 3


def model_config(kind: str) -> dict[str, object]:
    return {"embed_dim": TEXT["width"], "vision_cfg": VISION[kind], "text_cfg": TEXT}


def build(kind: str) -> open_clip.model.CLIP:
    hybrid_vit.register()
    return open_clip.model.CLIP(**model_config(kind))


def load_mobilenet(trunk: nn.Module, path: Path) -> None:
    """torchvision's MobileNetV2 weights under timm's names: the same layers in the same order."""
    theirs = [(k, v) for k, v in torch.load(path, weights_only=True).items() if "num_batches" not in k]
    mine = [k for k in trunk.state_dict() if "num_batches" not in k]
    theirs = [(k, v) for k, v in theirs if not k.startswith("classifier")]
    state = {name: value for name, (_, value) in zip(mine, theirs, strict=True)}
    missing = trunk.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all("num_batches" in k for k in missing.missing_keys)


class Tower(nn.Module):
    """One image tower; views [B, 3, S, S] in [0, 1] -> unit embeddings [B, D]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.side = kind, int(str(VISION[kind]["image_size"]))
        self.visual = build(kind).visual
        self.scale = nn.Parameter(torch.tensor(15.0).log())
        if kind == "vit":
            self.features = nn.Linear(self.visual.trunk.num_features, TEACHER_WIDTH)  # not shipped
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> Tower:
        """Pretrained batch norms keep ImageNet's statistics: noisy batches would unlearn clean pictures."""
        super().train(mode)
        for module in self.visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def prepared(self, views: Tensor) -> Tensor:
        views = (views - self.mean) / self.std
        if views.shape[-1] != self.side:
            views = nn.functional.interpolate(views, (self.side,) * 2, mode="bilinear", antialias=True)
        return views.contiguous(memory_format=torch.channels_last)

    def forward(self, views: Tensor) -> Tensor:
        with torch.autocast(views.device.type, torch.bfloat16):
            embeds = self.visual(self.prepared(views))
        return nn.functional.normalize(embeds.float(), dim=-1)

    def with_features(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings [B, D] and guesses at the teacher's features [B, 9, 1280]; the ViT only."""
        with torch.autocast(views.device.type, torch.bfloat16):
            own = self.visual.trunk.forward_features(self.prepared(views))  # [B, 36, C]
            embeds = self.visual.head(self.visual.trunk.forward_head(own))
            grid = own.transpose(1, 2).unflatten(2, (self.side // hybrid_vit.STRIDE,) * 2)
            places = nn.functional.adaptive_avg_pool2d(grid, TEACHER_GRID)
            features = self.features(places.flatten(2).transpose(1, 2))
        return nn.functional.normalize(embeds.float(), dim=-1), features.float()


class Teacher:
    """A frozen convolutional tower; its last feature map [B, 9, 1280], in the units of some views."""

    def __init__(self, tower: Tower, views: Tensor) -> None:
        self.tower = tower.eval().requires_grad_(False).to(views.device, memory_format=torch.channels_last)
        features = self._features(views)
        self.centre, self.spread = features.mean((0, 1)), features.std((0, 1)) + 0.05

    @torch.no_grad()
    def _features(self, views: Tensor) -> Tensor:
        with torch.autocast(views.device.type, torch.bfloat16):
            features = self.tower.visual.trunk.forward_features(self.tower.prepared(views))
        return features.float().flatten(2).transpose(1, 2)

    @torch.no_grad()
    def __call__(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and the tower's unit embeddings [B, D]."""
        features = self._features(views)
        embeds = self.tower.visual.head(features.mean(1))
        return (features - self.centre) / self.spread, nn.functional.normalize(embeds, dim=-1)


def hybrid_tower(conv: Tower) -> Tower:
    """The ViT's tower before any training: its convolutions are `conv`'s first stages, and stay so."""
    tower = Tower("vit")
    stem = tower.visual.trunk.patch_embed.backbone
    theirs = conv.visual.trunk.state_dict()
    stem.load_state_dict({name: theirs[name] for name in stem.state_dict()})
    stem.requires_grad_(False)
    return tower


def imagenet_tower(mobilenet: Path) -> Tower:
    """The convolutional tower before any training here: its features are ImageNet's, its head is random."""
    tower = Tower("conv")
    load_mobilenet(tower.visual.trunk, mobilenet)
    return tower
