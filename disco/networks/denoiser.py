"""The diffusion UNets: built from an architecture, called as `denoiser(x_t, t) -> eps`.

The network is guided-diffusion's UNetModel (Dhariwal and Nichol 2021, arXiv:2105.05233). Only the objects
built here are changed (attention, the embedding of timesteps); the package stays as it is for whoever else
uses it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from disco.errors import WeightsError, one_line
from disco.memory.devices import move
from disco.networks.preconditioning import Frequencies
from disco.sampling.diffusion import linear_betas

# Channel multiples of the published networks by the side they were trained at.
CHANNEL_MULT: dict[int, tuple[float, ...]] = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}
_SIZES = ("image_size", "num_channels", "channel_mult", "num_res_blocks", "num_heads", "num_head_channels")
PREDICTIONS = ("eps", "x0", "v")


def numbers(value: Any) -> tuple[float, ...]:
    """`"32, 16, 8"`, `[32, 16, 8]`, 32 or None -> a tuple of numbers."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = value.split(",")
    return tuple(float(part) for part in value) if isinstance(value, (list, tuple)) else (float(value),)


def channel_mult(architecture: Mapping[str, Any]) -> tuple[float, ...]:
    """The channel multiple of each level, finest first; given, or following from image_size.

    Raises WeightsError for a size without a known rule.
    """
    mult = numbers(architecture.get("channel_mult"))
    if mult:
        return mult
    size = int(architecture["image_size"])
    if size not in CHANNEL_MULT:
        raise WeightsError(
            f"architecture: image_size {size} has no channel_mult of its own "
            f"(only {', '.join(map(str, CHANNEL_MULT))} have): give channel_mult"
        )
    return CHANNEL_MULT[size]


def _check(architecture: Mapping[str, Any]) -> None:
    if architecture.get("class_cond"):
        raise WeightsError("architecture: class_cond true: class-conditional networks are not supported")
    schedule = architecture.get("noise_schedule", "linear")
    if schedule != "linear":
        raise WeightsError(f"architecture: noise_schedule is {schedule!r}; only 'linear' is supported")
    prediction = architecture.get("prediction", "eps")
    if prediction not in PREDICTIONS:
        raise WeightsError(f"architecture: prediction is {prediction!r}; allowed: {', '.join(PREDICTIONS)}")
    sizes, wanted = architecture.get("frequency_sizes"), 3 * int(architecture.get("patch", 1)) ** 2
    if sizes is not None and (prediction != "x0" or len(sizes) != wanted):
        raise WeightsError(
            f"architecture: frequency_sizes needs prediction x0 and 3 * patch^2 = {wanted} numbers; "
            f"here are {prediction} and {len(sizes)}"
        )


_frequencies: dict[tuple[int, torch.device], Tensor] = {}


def timestep_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """[B] -> [B, dim]: cosines, then sines, of 1 to 1/10000 radians a timestep (Vaswani et al. 2017).

    The package's own bits; but it copies the frequencies to the device at each call, and waits for that.
    """
    half, key = dim // 2, (dim, timesteps.device)
    if key not in _frequencies:
        steps = torch.arange(half, dtype=torch.float32, device="cpu")
        _frequencies[key] = torch.exp(-math.log(10_000) * steps / half).to(timesteps.device)
    angles = timesteps[:, None].float() * _frequencies[key]
    return functional.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, dim % 2))


@cache
def _unet_class() -> Any:
    """UNetModel with the timestep_embedding above; the package's own class stays as it is."""
    with warnings.catch_warnings():  # the package still spells torch.amp the old way
        warnings.simplefilter("ignore", FutureWarning)
        from guided_diffusion.unet import UNetModel
    forward = UNetModel.forward
    names = {**forward.__globals__, "timestep_embedding": timestep_embedding}
    ours = FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)
    return type("UNetModel", (UNetModel,), {"forward": ours})


def _built(architecture: Mapping[str, Any], **parts: Any) -> nn.Module:
    """UNetModel of these parts. Raises WeightsError for numbers that do not fit together."""
    try:
        network: nn.Module = _unet_class()(**parts)
    except (AssertionError, ArithmeticError, IndexError, TypeError, ValueError, RuntimeError) as error:
        shown = ", ".join(f"{key} {architecture[key]}" for key in _SIZES if key in architecture)
        why = one_line(str(error)) or type(error).__name__
        raise WeightsError(f"architecture: no network can be built of {shown}: {why}") from error
    return network


def build_unet(architecture: Mapping[str, Any], *, use_checkpoint: bool = False) -> nn.Module:
    """UNetModel of an architecture (the vocabulary of registry.yaml), float32, on torch's default device.

    image_size: side of the grid the UNet itself works on (after the pixel-unshuffle by `patch`), from which
    attention_resolutions count: attention sits where the grid is reduced image_size / resolution times.
    Raises WeightsError for what the package or Disco cannot do.
    """
    _check(architecture)
    channels = 3 * int(architecture.get("patch", 1)) ** 2
    side = int(architecture["image_size"])
    resolutions = numbers(architecture.get("attention_resolutions", "16"))
    network = _built(
        architecture,
        image_size=side,
        in_channels=channels,
        model_channels=int(architecture["num_channels"]),
        out_channels=channels * (2 if architecture.get("learn_sigma") else 1),
        num_res_blocks=int(architecture["num_res_blocks"]),
        attention_resolutions=tuple(side // int(resolution) for resolution in resolutions),
        channel_mult=channel_mult(architecture),
        use_checkpoint=use_checkpoint,
        num_heads=int(architecture.get("num_heads", 1)),
        num_head_channels=int(architecture.get("num_head_channels", -1)),
        num_heads_upsample=int(architecture.get("num_heads_upsample", -1)),
        use_scale_shift_norm=bool(architecture.get("use_scale_shift_norm", False)),
        resblock_updown=bool(architecture.get("resblock_updown", False)),
        use_new_attention_order=bool(architecture.get("use_new_attention_order", False)),
    )
    swap_attention(network)
    return network


def facts_of(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an architecture that can be read off its tensors (not heads, not the image size)."""
    side = int(architecture["image_size"])
    multiples = channel_mult(architecture)
    resolutions = numbers(architecture.get("attention_resolutions", "16"))
    reductions = {side // int(resolution) for resolution in resolutions}
    return {
        "num_channels": int(architecture["num_channels"]),
        "channel_mult": multiples,
        "num_res_blocks": int(architecture["num_res_blocks"]),
        "attention at": tuple(2**i for i in range(len(multiples)) if 2**i in reductions),
        "learn_sigma": bool(architecture.get("learn_sigma", False)),
        "resblock_updown": bool(architecture.get("resblock_updown", False)),
        "use_scale_shift_norm": bool(architecture.get("use_scale_shift_norm", False)),
        "class_cond": bool(architecture.get("class_cond", False)),
        "patch": int(architecture.get("patch", 1)),
    }


class SdpaAttention(nn.Module):
    """softmax(q k / sqrt(C)) v by torch's fused kernel. qkv: [N, 3*heads*C, T] -> [N, heads*C, T].

    heads_first: a head's q, k, v lie together (the order of all published networks); else q of all heads
    come first.
    """

    def __init__(self, n_heads: int, heads_first: bool) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.heads_first = heads_first

    def forward(self, qkv: Tensor) -> Tensor:
        batch, width, length = qkv.shape
        head = width // (3 * self.n_heads)
        if self.heads_first:
            parts = qkv.reshape(batch, self.n_heads, 3, head, length).unbind(2)
        else:
            parts = qkv.reshape(batch, 3, self.n_heads, head, length).unbind(1)
        q, k, v = (part.transpose(-1, -2).contiguous() for part in parts)  # [N, heads, T, C]
        out = functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(-1, -2).reshape(batch, -1, length)


def swap_attention(network: nn.Module) -> int:
    """Replace the attention products inside this one network; returns how many."""
    swapped = 0
    for module in network.modules():
        attention: Any = getattr(module, "attention", None)
        kind = type(attention).__name__
        if kind in ("QKVAttention", "QKVAttentionLegacy"):
            module.attention = SdpaAttention(attention.n_heads, heads_first=kind == "QKVAttentionLegacy")
            swapped += 1
    return swapped


@cache
def log_alpha_bar() -> Tensor:
    """log(alpha^2) of the linear schedule's timesteps, [1000], float64."""
    return torch.log1p(-torch.from_numpy(linear_betas())).cumsum(0)


def alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar), sqrt(1 - alpha_bar) at t (0..999, may be fractional), float32 on t's device.

    log alpha_bar is interpolated between the 1000 timesteps. When the number of steps divides 1000 these are
    exactly the sampler's numbers; else its schedule has N = (1000 // steps) * steps timesteps and a predicted
    x0 is off by a factor that is largest at the noisiest step: 0.5 % for 300 steps, at worst 5 % for 501.
    t outside 0..999 counts as the nearest end, so that sigma is never below 0.01.
    """
    table = log_alpha_bar()
    timestep = t.detach().to("cpu", torch.float64).clamp(0, 999)
    low = timestep.floor().long()
    high = (low + 1).clamp(max=999)
    log_bar = torch.lerp(table[low], table[high], timestep - low)
    alpha, sigma = (log_bar / 2).exp(), (-torch.expm1(log_bar)).sqrt()
    return alpha.to(t.device, torch.float32), sigma.to(t.device, torch.float32)


def _on(device: torch.device, values: Tensor) -> Tensor:
    """Values on a device, [] as [1]. A number of the CPU is filled in there: a copy would wait."""
    if values.device.type == "cpu" and values.numel() == 1:
        return torch.full((1,), values.item(), dtype=values.dtype, device=device)
    return move(values, device)


class Denoiser:
    """A diffusion network as `denoiser(x_t, t) -> eps`.

    x_t: [B, 3, H, W], [-1, 1] scale. t: a number or [B], 0..1000 scale. Returns eps, [B, 3, H, W] float32:
    variance channels are dropped, a prediction of x0 or v is converted with the linear schedule's alpha and
    sigma. With frequency_sizes the network works on a patch's frequencies (preconditioning). Gradients flow
    to x_t; the weights are frozen.
    """

    def __init__(self, network: nn.Module, architecture: Mapping[str, Any]) -> None:
        _check(architecture)
        self.network = network.requires_grad_(False).eval()
        self.patch = int(architecture.get("patch", 1))
        self.prediction: str = architecture.get("prediction", "eps")
        sizes = architecture.get("frequency_sizes")
        self.frequencies = None if sizes is None else Frequencies(torch.tensor(sizes))
        depth = 2 ** (len(channel_mult(architecture)) - 1)
        self.size_multiple = int(architecture.get("size_multiple", depth * self.patch))

    def __call__(self, x_t: Tensor, t: float | Tensor) -> Tensor:
        t = torch.as_tensor(t, dtype=torch.float32)
        times = _on(x_t.device, t).expand(x_t.shape[0])
        alpha, sigma = (_on(x_t.device, value).view(-1, 1, 1, 1) for value in alpha_sigma(t))
        tokens = functional.pixel_unshuffle(x_t, self.patch) if self.patch > 1 else x_t
        if self.frequencies is None:
            answer = self.network(tokens, times)[:, : tokens.shape[1]].float()  # [B, 3 * patch^2, h, w]
        else:
            x_in, linear = self.frequencies.split(tokens, alpha, sigma)
            answer = self.frequencies.join(linear, self.network(x_in, times).float(), alpha, sigma)
        if self.patch > 1:
            answer = functional.pixel_shuffle(answer, self.patch)  # [B, 3, H, W]
        if self.prediction == "eps":
            return answer
        if self.prediction == "x0":
            return (x_t - alpha * answer) / sigma
        return alpha * answer + sigma * x_t


def convert(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The UNet's torso (its convolutions) in `dtype`; embedding, norms and the last layer stay float32."""
    if dtype == torch.float32:
        return network
    for part in (network.input_blocks, network.middle_block, network.output_blocks):
        assert isinstance(part, nn.Module)
        for module in part.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                module.to(dtype)
    setattr(network, "dtype", dtype)  # noqa: B010  what UNetModel.forward casts its input to
    return network
