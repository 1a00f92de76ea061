"""Colour and light of pictures: making them (augmentation) and measuring them (labels from pixels).

All pictures here are [B, 3, H, W] in [0, 1]. A label is 1 (yes), 0 (no) or -1 (doubtful: not trained on).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from disco.sampling.masks import LUMA
from training.phrases import LIGHT

WORDS = list(LIGHT)
# Centre and half width of each hue word, in degrees.
HUES = {
    "red": (0, 14), "orange": (28, 13), "yellow": (54, 13), "green": (110, 42), "turquoise": (176, 16),
    "blue": (220, 27), "purple": (275, 22), "pink": (325, 26),
}  # fmt: skip
MADE = ("night", "misty", "sunset")  # known because they were made; measured only to find doubtful cases


def luminance(x: Tensor) -> Tensor:
    """[B, 1, H, W]"""
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def hue_saturation_value(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in degrees, saturation and value, each [B, H, W]."""
    value, low = x.max(1).values, x.min(1).values
    chroma = (value - low).clamp(min=1e-6)
    r, g, b = x.unbind(1)
    hue = torch.where(value == r, (g - b) / chroma % 6, (b - r) / chroma + 2)
    hue = torch.where((value == b) & (value != r), (r - g) / chroma + 4, hue)
    return hue * 60 % 360, chroma / value.clamp(min=1e-3), value


def graded(share: Tensor, no: float | Tensor, yes: float) -> Tensor:
    """1 above `yes`, 0 below `no`, -1 between."""
    return torch.where(share >= yes, 1, torch.where(share <= no, 0, -1))


def hue_labels(hue: Tensor, coloured: Tensor) -> dict[str, Tensor]:
    """Word -> labels [B]. A hue must rule the picture: beside a ruling one, a fifth of it is none."""
    near = [((hue - centre + 180) % 360 - 180).abs() <= half for centre, half in HUES.values()]
    shares = torch.stack([(here & coloured).float().mean((1, 2)) for here in near])  # [words, B]
    ruled = shares.max(0).values >= 0.5
    return dict(zip(HUES, graded(shares, torch.where(ruled, 0.2, 0.1), 0.45), strict=True))


def measure(x: Tensor, made: Tensor) -> Tensor:
    """Labels [B, len(WORDS)]. made: [B] index into MADE, or -1."""
    hue, saturation, value = hue_saturation_value(x)
    grey = luminance(x)[:, 0]
    mean, spread, vivid = grey.mean((1, 2)), grey.std((1, 2)), saturation.mean((1, 2))
    coloured = (saturation > 0.22) & (value > 0.18)
    answer = hue_labels(hue, coloured)
    dull_orange = ((hue - 28).abs() <= 18) & coloured & (value < 0.62) & (saturation < 0.85)
    answer["brown"] = graded(dull_orange.float().mean((1, 2)), 0.10, 0.35)
    pale = saturation < 0.16
    answer["white"] = graded((pale & (value > 0.8)).float().mean((1, 2)), 0.12, 0.4)
    answer["black"] = graded((value < 0.16).float().mean((1, 2)), 0.15, 0.5)
    answer["grey"] = graded((pale & (value > 0.25) & (value < 0.75)).float().mean((1, 2)), 0.15, 0.5)
    answer["monochrome"] = graded(-vivid, -0.12, -0.04)
    answer["colourful"] = graded(vivid, 0.35, 0.55)
    answer["pastel"] = torch.minimum(
        graded(value.mean((1, 2)), 0.65, 0.78), graded(-(vivid - 0.25).abs(), -0.2, -0.1)
    )
    answer["bright"] = graded(mean, 0.45, 0.62)
    warm = ((hue < 50) & (saturation > 0.3)).float().mean((1, 2))
    doubtful = {
        "night": mean < 0.22,
        "misty": (spread < 0.14) & (vivid < 0.3) & (mean > 0.4),
        "sunset": warm > 0.35,
    }
    for k, word in enumerate(MADE):
        answer[word] = torch.where(made == k, 1, torch.where(doubtful[word], -1, 0))
    return torch.stack([answer[word] for word in WORDS], dim=1)


def tinted(x: Tensor, hue: Tensor, strength: Tensor) -> Tensor:
    """Towards one hue, the luminance kept. hue in degrees [B], strength [B] in [0, 1]."""
    phase = hue[:, None] / 60 + x.new_tensor([0.0, 4.0, 2.0])
    colour = ((phase % 6 - 3).abs() - 1).clamp(0, 1)[:, :, None, None]  # [B, 3, 1, 1]
    grey = luminance(x)
    toned = torch.where(grey < 0.5, 2 * grey * colour, colour + (2 * grey - 1) * (1 - colour))
    return torch.lerp(x, toned, strength[:, None, None, None])


def toned(x: Tensor, share: float) -> Tensor:
    """`share` of pictures in [-1, 1] in one hue each, as a colour scheme asks for: photographs have few."""
    chosen = torch.rand(len(x)) < share
    count = int(chosen.sum())
    x = x.clone()
    x[chosen] = tinted((x[chosen] + 1) / 2, torch.rand(count) * 360, 0.4 + 0.6 * torch.rand(count)) * 2 - 1
    return x


def random_hues(count: int) -> Tensor:
    """Degrees [count]: half anywhere, half near the middle of a word (green is wide, yellow narrow)."""
    middles = torch.tensor([spans[0] for spans in HUES.values()], dtype=torch.float)
    halves = torch.tensor([spans[1] for spans in HUES.values()], dtype=torch.float)
    word = torch.randint(len(middles), (count,))
    near = middles[word] + halves[word] * (1.4 * torch.rand(count) - 0.7)
    return torch.where(torch.rand(count) < 0.5, torch.rand(count) * 360, near) % 360


def relit(x: Tensor) -> tuple[Tensor, Tensor]:
    """Random colour and light for each picture, and which of MADE it was given (or -1)."""
    size = len(x)
    kind, amount = torch.rand(size), torch.rand(size)
    made = torch.full((size,), -1)
    contrast = (0.6 + 0.8 * torch.rand(size))[:, None, None, None]
    gain = (0.75 + 0.5 * torch.rand(size))[:, None, None, None]
    x = ((x - 0.5) * contrast + 0.5) * gain
    grey = kind < 0.07
    x[grey] = luminance(x[grey]).expand(-1, 3, -1, -1)
    tint = (kind >= 0.07) & (kind < 0.34)
    x[tint] = tinted(x[tint].clamp(0, 1), random_hues(int(tint.sum())), 0.4 + 0.6 * amount[tint])
    night = (kind >= 0.34) & (kind < 0.42)
    blue = torch.lerp(x.new_tensor([1.0, 1.0, 1.0]), x.new_tensor([0.35, 0.55, 1.0]), torch.rand(()))
    x[night] = x[night] * (0.12 + 0.25 * amount[night])[:, None, None, None] * blue[:, None, None]
    mist = (kind >= 0.42) & (kind < 0.50)
    veil = 0.7 + 0.25 * torch.rand(())
    x[mist] = torch.lerp(luminance(x[mist]).expand(-1, 3, -1, -1) * 0.5 + x[mist] * 0.5, veil,
                         (0.45 + 0.35 * amount[mist])[:, None, None, None])  # fmt: skip
    dusk = (kind >= 0.50) & (kind < 0.57)
    top, bottom = x.new_tensor([1.1, 0.5, 0.5]), x.new_tensor([1.2, 0.75, 0.3])
    ramp = torch.linspace(0, 1, x.shape[2])[:, None, None]
    glow = torch.lerp(top, bottom, ramp).permute(2, 0, 1)  # [3, H, 1]
    x[dusk] = luminance(x[dusk]) * 0.6 * glow + x[dusk] * 0.4 * glow
    for k, chosen in enumerate((night, mist, dusk)):
        made[chosen] = k
    return x.clamp(0, 1), made


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels."""
    radius = max(1, round(2 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).to(x).expand(3, 1, -1)
    padded = nn.functional.pad(x, (radius,) * 4, mode="replicate")
    rows = nn.functional.conv2d(padded, taps[:, :, None], groups=3)
    return nn.functional.conv2d(rows, taps[:, :, :, None], groups=3)
