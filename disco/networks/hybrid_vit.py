"""The image tower of pocket-vit: a small ViT on MobileNetV2's first stages, under a name of its own in timm.

A hybrid as in the ViT paper (Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1): convolutions see edges
and texture at a sixteenth of the size, attention puts them together. From nothing a ViT would need far more
pictures than a CPU can show it.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from torch import nn

NAME = "vit_pocket_mobilenetv2_r16_96"
SIDE, STRIDE = 96, 16


def vit_pocket_mobilenetv2_r16_96(**options: Any) -> nn.Module:
    """[B, 3, 96, 96] -> [B, 192], the mean of 36 tokens. Of timm's options: num_classes, drop_path_rate.

    Raises ValueError if pretrained weights are asked for: there are none.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    if options.pop("pretrained", False):
        raise ValueError(f"{NAME}: there are no pretrained weights")
    kept = {key: value for key, value in options.items() if key in ("num_classes", "drop_path_rate")}
    backbone = timm.create_model("mobilenetv2_100", features_only=True, out_indices=(3,))
    backbone.blocks = backbone.blocks[:5]  # up to the stage that is read
    embed = partial(HybridEmbed, backbone=backbone, feature_size=SIDE // STRIDE, feature_ratio=STRIDE)
    network: nn.Module = VisionTransformer(
        img_size=SIDE, patch_size=1, embed_dim=192, depth=3, num_heads=6, mlp_ratio=3.0,
        class_token=False, global_pool="avg", embed_layer=embed, **kept,
    )  # fmt: skip
    network.default_cfg = {"input_size": (3, SIDE, SIDE)}  # type: ignore[assignment]
    return network


@cache
def register() -> None:
    """Make the name known to timm, once; open_clip builds its image towers through that."""
    from timm.models import register_model

    register_model(vit_pocket_mobilenetv2_r16_96)
