"""One CLIP: text and pictures -> embeddings. Image size, mean, std and tokenizer come from the network.

The networks are open_clip's (Radford et al. 2021, arXiv:2103.00020; Ilharco et al. 2021). They are built here
from their configuration, without open_clip's factory: that one only warns when QuickGELU is forgotten.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from disco.errors import RunError, WeightsError
from disco.files.regular import MAX_JSON, read_regular
from disco.networks import hybrid_vit
from disco.networks.architectures import CONFIG_FILE

WEIGHTS_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")  # in OpenAI's archives
_TEXT_PARTS = (
    "text",
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "attn_mask",
)


@dataclass(frozen=True)
class TokenReport:
    """count: tokens of the text itself; limit: how many fit between the end marks; cut: the words beyond."""

    count: int
    limit: int
    cut: str


@dataclass(frozen=True)
class ClipConfig:
    """The configuration of an open_clip network. tokenizer: open_clip's model name, or local-dir:PATH."""

    model_cfg: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokenizer: str
    notice: str | None = field(default=None, compare=False)


def _preprocess(overlay: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from open_clip.transform import PreprocessCfg

    default = PreprocessCfg()
    mean, std = overlay.get("mean") or default.mean, overlay.get("std") or default.std
    return tuple(map(float, mean)), tuple(map(float, std))


def clip_source(model: str, pretrained: str) -> dict[str, Any]:
    """open_clip's entry for pretrained weights: hf_hub or url, mean, std, quick_gelu.

    Raises WeightsError for a pair that it does not know.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tag: dict[str, Any] = get_pretrained_cfg(model, pretrained)
    if not tag:
        known = ", ".join(sorted(list_pretrained_tags_by_model(model))) or "none"
        raise WeightsError(f"{model}: open_clip has no weights {pretrained!r} for it; it has: {known}")
    return tag


def builtin_config(model: str, pretrained: str, *, keep_plain: bool = False) -> ClipConfig:
    """The configuration of one of open_clip's own names, e.g. ViT-B-32-quickgelu and openai.

    Weights trained with QuickGELU get it whatever the name says, and the notice says so; with keep_plain only
    OpenAI's do, as in the original, whose LAION flags ran such weights with plain GELU.
    Raises WeightsError for a name or a pair that open_clip does not know.
    """
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise WeightsError(f"{model}: open_clip has no such model")
    tag = clip_source(model, pretrained)
    has, needs, notice = bool(config.get("quick_gelu")), bool(tag.get("quick_gelu")), None
    if has != needs and (pretrained == "openai" or not keep_plain):
        config["quick_gelu"] = needs
        notice = (
            f"{model}/{pretrained}: these weights were trained {'with' if needs else 'without'} QuickGELU; "
            f"Disco builds the network so"
        )
    mean, std = _preprocess(tag)
    return ClipConfig(config, mean, std, model, notice)


def directory_config(directory: Path) -> ClipConfig:
    """The configuration of a directory in open_clip's format (open_clip_config.json beside the weights).

    Raises WeightsError if the file is missing or is not such a configuration.
    """
    path = directory / CONFIG_FILE
    try:
        content = json.loads(read_regular(path, MAX_JSON))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WeightsError(f"{path}: not JSON ({error})") from error
    model_cfg = content.get("model_cfg") if isinstance(content, dict) else None
    if not isinstance(model_cfg, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model_cfg.keys():
        raise WeightsError(f"{path}: needs model_cfg with embed_dim, vision_cfg and text_cfg")
    mean, std = _preprocess(content.get("preprocess_cfg") or {})
    return ClipConfig(model_cfg, mean, std, f"local-dir:{directory}")


def directory_weights(directory: Path) -> Path:
    """The weights file of such a directory. Raises WeightsError if there is none."""
    for name in WEIGHTS_FILES:
        if (directory / name).is_file():
            return directory / name
    raise WeightsError(f"{directory}: holds none of {', '.join(WEIGHTS_FILES)}")


def build_clip(config: ClipConfig, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network without its weights, float32, with norms that accept `dtype`. Raises WeightsError."""
    from open_clip.model import CLIP, CustomTextCLIP

    hybrid_vit.register()
    model_cfg = copy.deepcopy(config.model_cfg)
    model_cfg["vision_cfg"]["timm_model_pretrained"] = False  # nothing is downloaded behind the registry
    model_cfg["text_cfg"]["hf_model_pretrained"] = False
    custom = model_cfg.pop("custom_text", False) or "hf_model_name" in model_cfg["text_cfg"]
    if "multimodal_cfg" in model_cfg:
        raise WeightsError(f"{config.tokenizer}: CoCa networks are not supported")
    kind = CustomTextCLIP if custom else CLIP
    half = None if dtype == torch.float32 else dtype
    try:
        network: nn.Module = kind(**model_cfg, cast_dtype=half)
    except (TypeError, RuntimeError, AssertionError) as error:
        raise WeightsError(f"{config.tokenizer}: open_clip cannot build this ({error})") from error
    return network


def fit_state(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an OpenAI or older open_clip file under the names and shapes that `network` has for them."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    fitted = {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
    fitted = convert_state_dict(network, fitted)
    if "positional_embedding" in fitted and not hasattr(network, "positional_embedding"):
        fitted = convert_to_custom_text_state_dict(fitted)
    fitted.pop("text.transformer.embeddings.position_ids", None)
    for name in ("logit_scale", "logit_bias"):  # a number in some versions, a vector of one in others
        own = getattr(network, name, None)
        if isinstance(own, Tensor) and name in fitted and fitted[name].numel() == own.numel():
            fitted[name] = fitted[name].reshape(own.shape)
    if isinstance(getattr(network, "logit_bias", None), Tensor) and "logit_bias" not in fitted:
        fitted["logit_bias"] = torch.zeros_like(fitted["logit_scale"])
    return fitted


@cache
def _simple_tokenizer(context_length: int, options: tuple[tuple[str, Any], ...]) -> Any:
    import open_clip

    return open_clip.SimpleTokenizer(context_length=context_length, **dict(options))


def tokenizer_of(config: ClipConfig) -> Any:
    """texts -> [P, context_length] token ids, as the network's configuration asks. Raises WeightsError."""
    text = config.model_cfg["text_cfg"]
    if not text.get("hf_tokenizer_name") and "siglip" not in config.tokenizer.lower():
        options = tuple(sorted((text.get("tokenizer_kwargs") or {}).items()))
        return _simple_tokenizer(int(text.get("context_length", 77)), options)
    import open_clip

    try:
        return open_clip.get_tokenizer(config.tokenizer)
    except ImportError as error:
        raise WeightsError(
            f"{config.tokenizer}: its tokenizer needs another package: pip install transformers sentencepiece"
        ) from error


def token_report(tokenizer: Any, text: str) -> TokenReport:
    """How many tokens `text` takes, how many fit, and the words that the tokenizer will cut off."""
    if hasattr(tokenizer, "encode"):
        ids, special, decode = tokenizer.encode(text), 2, tokenizer.decode
    else:  # a wrapper of a transformers tokenizer
        inner = tokenizer.tokenizer
        ids = inner(tokenizer.clean_fn(text), add_special_tokens=False)["input_ids"]
        special, decode = inner.num_special_tokens_to_add(), inner.decode
    limit = tokenizer.context_length - special
    return TokenReport(len(ids), limit, decode(ids[limit:]).strip() if len(ids) > limit else "")


class ClipModel:
    """A loaded, frozen CLIP on a device.

    name, image_size (side of its square input in pixels), mean, std (of its training pictures), embed_dim.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        config: ClipConfig,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """dtype: of the image tower; the text tower, used once, stays float32. Raises WeightsError."""
        self.name = name
        self.network: Any = network.requires_grad_(False).eval().to(device)
        self.device, self.dtype = torch.device(device), dtype
        self.mean, self.std = config.mean, config.std
        self._known: dict[str, Tensor] = {}
        self.embed_dim = int(config.model_cfg["embed_dim"])
        self.tokenizer = tokenizer_of(config)
        visual: Any = self.network.visual
        self.image_size = _square(name, visual.image_size)
        _lower_precision(visual, dtype)
        self._mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)

    def encode_image(self, cutouts: Tensor) -> Tensor:
        """cutouts: [N, 3, S, S] in [0, 1], S = image_size. Returns [N, D] float32, of any length."""
        normalised = (cutouts.float() - self._mean) / self._std
        embeds: Tensor = self.network.visual(normalised.to(self.dtype))
        return embeds.float()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Returns [P, D] float32, of any length; what is over the tokenizer's length is cut (token_report).

        Raises RunError after free_text_tower, except for texts encoded or remembered before.
        """
        self.remember(texts)
        return torch.cat([self._known[text] for text in texts])

    @torch.no_grad()
    def remember(self, texts: Iterable[str]) -> None:
        """Encode texts that are needed after free_text_tower. Raises RunError if that was called before.

        One by one: the last bits of a text must not depend on the others in its batch.
        """
        for text in texts:
            if text in self._known:
                continue
            if not any(hasattr(self.network, part) for part in _TEXT_PARTS):
                raise RunError(
                    f"{self.name}: its text tower was freed; load the network again for new prompts"
                )
            tokens = self.tokenizer([text]).to(self._mean.device)  # [1, context_length]
            self._known[text] = self.network.encode_text(tokens).float()  # [1, D]

    def token_report(self, text: str) -> TokenReport:
        """Tokens of `text`, the limit, and what is cut."""
        return token_report(self.tokenizer, text)

    def free_text_tower(self) -> None:
        """Free the text tower's memory, a third to a half of the network, once prompts are encoded."""
        for part in _TEXT_PARTS:
            if hasattr(self.network, part):
                delattr(self.network, part)


def _square(name: str, size: Any) -> int:
    """open_clip gives an int for its ResNets, (h, w) for the others."""
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise WeightsError(f"{name}: its input is {width}x{height}; only square inputs are supported")
    return int(height)


def _lower_precision(visual: nn.Module, dtype: torch.dtype) -> None:
    """Weights of the image tower in `dtype`, its LayerNorms in float32, as open_clip does it."""
    from open_clip.model import convert_weights_to_lp
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import LayerNormFp32

    if dtype == torch.float32:
        return
    if not isinstance(visual, TimmModel):
        convert_weights_to_lp(visual, dtype)
        return
    visual.to(dtype)
    for module in visual.modules():
        if isinstance(module, LayerNormFp32):
            module.float()
