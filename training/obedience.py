"""Prompt obedience: is in the picture what the prompt says? Drafts by the ordinary code.

Scenes and flowers are judged by training/judge.py, which takes no part in the guidance; colours by their
pixels. The control are pictures of the same seeds that no CLIP guides, asked the same questions.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from disco.events import PictureFinished
from disco.media.images import contact_sheet, from_uint8, read_pixels
from disco.rendering.api import render
from disco.settings.load import load_runs
from training import light
from training.judge import Judge

SEED = 1
SCENES = {
    "mountain": "a painting of a mountain", "glacier": "a painting of a glacier",
    "sea": "a painting of the sea", "forest": "a painting of a forest",
    "street": "a painting of a street", "buildings": "a painting of buildings",
}  # fmt: skip
# The twenty of the 102 kinds whose names most people know, by their number in the Oxford set.
FLOWERS = {
    "74": "rose", "54": "sunflower", "42": "daffodil", "73": "water lily", "83": "hibiscus", "87": "magnolia",
    "50": "dandelion", "6": "tiger lily", "44": "poinsettia", "94": "foxglove", "58": "geranium",
    "51": "petunia", "48": "buttercup", "31": "carnation", "47": "marigold", "96": "camellia", "72": "azalea",
    "77": "passion flower", "49": "oxeye daisy", "8": "bird of paradise",
}  # fmt: skip
# The word in the prompt -> the hues of light.HUES that count as right.
COLOURS = {
    "red": ("red",), "orange": ("orange",), "golden": ("orange", "yellow"), "yellow": ("yellow",),
    "green": ("green",), "turquoise": ("turquoise",), "blue": ("blue",), "violet": ("purple",),
    "purple": ("purple",), "pink": ("pink",),
}  # fmt: skip
COLOURED = 0.1  # share of coloured pixels under which a picture has no dominant hue
TOP_FLOWERS = 5


@dataclass(frozen=True)
class Question:
    """One prompt, its kind (scenes, flowers, hue) and what is asked of its pictures."""

    kind: str
    name: str
    prompt: str

    def right(self, pictures: Tensor, judge: Judge) -> list[bool]:
        """For each of [B, 3, H, W] in [0, 1]: is it what the prompt says?"""
        if self.kind == "hue":
            return [word in COLOURS[self.name] for word in dominant_hues(pictures)]
        logits = judge.logits(pictures, self.kind)
        places = (logits > logits[:, [judge.labels[self.kind].index(self.name)]]).sum(1)
        return (places < (1 if self.kind == "scenes" else TOP_FLOWERS)).tolist()


def questions(few: int | None = None) -> list[Question]:
    """All prompts, or the first `few` of each kind.

    Flowers are asked for as in CLIP's paper (Radford et al. 2021, section 3.1.4), which names the kind of
    thing: without it a camellia turns into a camel, and a buttercup into a cup.
    """
    flower = {
        name: f"a painting of {'an' if word[0] in 'aeiou' else 'a'} {word}, a type of flower"
        for name, word in FLOWERS.items()
    }
    colour = {word: f"a painting of a landscape, {word} color scheme" for word in COLOURS}
    kinds = {"scenes": SCENES, "flowers": flower, "hue": colour}
    return [Question(kind, *pair) for kind, prompts in kinds.items() for pair in list(prompts.items())[:few]]


def hue_borders() -> tuple[list[str], Tensor]:
    """The hue words in the order of the circle and where each begins, in degrees after the first begins.

    Two neighbours meet halfway between their spans in light.HUES, so that every hue has a word.
    """
    words = sorted(light.HUES, key=lambda word: light.HUES[word][0])
    begins = []
    for before, word in zip([words[-1], *words[:-1]], words, strict=True):
        end = light.HUES[before][0] + light.HUES[before][1]
        start = light.HUES[word][0] - light.HUES[word][1]
        begins.append(end + ((start - end + 180) % 360 - 180) / 2)
    first = begins[0]
    return words, torch.tensor([first % 360, *((begin - first) % 360 for begin in begins[1:])])


def dominant_hues(pictures: Tensor) -> list[str | None]:
    """The word for the hue of most colour, each pixel weighted by its chroma; None for a grey picture."""
    words, borders = hue_borders()
    hue, saturation, value = light.hue_saturation_value(pictures)
    place = torch.bucketize((hue - borders[0]) % 360, borders[1:], right=True)
    chroma = saturation * value
    shares = torch.stack([(chroma * (place == k)).sum((1, 2)) for k in range(len(words))], dim=1)
    coloured = ((saturation > 0.22) & (value > 0.18)).float().mean((1, 2))
    best = shares.argmax(1).tolist()
    return [words[k] if enough else None for k, enough in zip(best, coloured >= COLOURED, strict=True)]


def drafts(draft: Path, prompts: Sequence[str | None], count: int) -> list[Tensor]:
    """`count` pictures [count, 3, H, W] in [0, 1] of each prompt, of the same seeds; None is unguided."""
    common = ["batch_name=obedience", f"n_batches={count}", "batch_size=8", f"set_seed={SEED}"]
    runs = []
    for prompt in prompts:
        unguided = ["clip_guidance_scale=0"] if prompt is None else []
        runs += load_runs([draft], overrides=[*common, *unguided], prompt=prompt or "unguided")
    with tempfile.TemporaryDirectory() as out:
        events = render(runs, out=out)
        paths = [event.path for event in events if isinstance(event, PictureFinished)]
        pictures = torch.cat([(from_uint8(read_pixels(path)) + 1) / 2 for path in paths])
    return list(pictures.split(count))


def share(answers: Sequence[Sequence[bool]]) -> float:
    """Share of all answers that are yes."""
    flat = [answer for row in answers for answer in row]
    return round(sum(flat) / len(flat), 4)


def sheet(
    asked: Sequence[Question], rows: Sequence[Tensor], right: Sequence[Sequence[bool]], path: Path
) -> None:
    """All pictures of one kind, small ones enlarged, the prompts at the left; a green frame: right."""
    factor = max(1, 128 // rows[0].shape[-1])
    cells = []
    for pictures, answers in zip(rows, right, strict=True):
        large = nn.functional.interpolate(pictures, scale_factor=factor, mode="bicubic").clamp(0, 1)
        for picture, answer in zip(large, answers, strict=True):
            colour = torch.tensor([0.1, 0.7, 0.2] if answer else [1.0, 1.0, 1.0])[:, None, None]
            framed = colour.expand(3, picture.shape[1] + 8, picture.shape[2] + 8).clone()
            framed[:, 4:-4, 4:-4] = picture
            cells.append((framed.permute(1, 2, 0) * 255).round().byte().numpy())
    names = [question.prompt for question in asked]
    Image.fromarray(contact_sheet(cells, columns=len(rows[0]), row_labels=names)).save(path)


def measure(
    judge: Judge, draft: Path, out: Path, count: int = 4, few: int | None = None
) -> dict[str, object]:
    """Render and judge all questions; the contact sheets go to `out`. Returns shares from 0 to 1."""
    asked = questions(few)
    began = time.monotonic()
    rows = drafts(draft, [question.prompt for question in asked], count)
    seconds = time.monotonic() - began
    (control,) = drafts(draft, [None], 6 * count)  # the first `count` are of the same seeds
    answer: dict[str, object] = {
        "pictures_each": count,
        "seconds_a_picture": round(seconds / (count * len(asked)), 2),
        "size": list(rows[0].shape[:1:-1]),
    }
    out.mkdir(parents=True, exist_ok=True)
    for kind in ("scenes", "flowers", "hue"):
        mine = [k for k, question in enumerate(asked) if question.kind == kind]
        right = [asked[k].right(rows[k], judge) for k in mine]
        answer[kind] = {
            "right": share(right),
            "control": share([asked[k].right(control, judge) for k in mine]),
            "each": {asked[k].prompt: share([row]) for k, row in zip(mine, right, strict=True)},
        }
        sheet([asked[k] for k in mine], [rows[k] for k in mine], right, out / f"{kind}.png")
    blank = [False] * len(control)
    sheet([Question("control", "", "unguided")], [control], [blank], out / "unguided.png")
    return answer
