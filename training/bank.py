"""Phrases for the text towers: the dictionary, titles of drawings, and prompts as people write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.phrases import GROUPS, LIGHT, LIT, TEMPLATES
from training.titled import TITLED

COLOURS = [
    "red", "orange", "yellow", "green", "turquoise", "teal", "cyan", "blue", "navy blue", "purple",
    "violet", "pink", "magenta", "brown", "beige", "white", "black", "grey", "gold", "silver", "crimson",
    "emerald", "lavender", "rose", "olive", "scarlet", "ochre", "pastel", "monochrome", "black and white",
    "sepia",
]  # fmt: skip
PLAIN_COLOUR = [
    "{}", "a {} picture", "a {} painting", "{} color scheme", "{} colour scheme", "everything in {}",
    "all {}", "shades of {}", "{} tones", "{} light", "in {}", "mostly {}", "a field of {}",
    "{} everywhere", "a {} background", "{} and nothing else", "{} palette", "the color {}",
    "an abstract {} painting", "a {} photo", "{} mood", "{} abstract art, trending on artstation",
    "deep {}", "pale {}", "bright {}", "dark {}", "{} gradient", "tinted {}", "a picture in {}",
    "the colour {}", "a {} sky", "{} glow",
]  # fmt: skip
TIMES = [
    "at dawn", "at sunrise", "in the morning", "at noon", "in the afternoon", "at dusk", "at sunset",
    "at night", "under the stars", "under a full moon", "at golden hour", "at blue hour", "by moonlight",
]  # fmt: skip
SEASONS = [
    "in spring", "in summer", "in autumn", "in winter", "on a summer day", "on a winter morning",
    "with autumn leaves", "covered in snow", "in full bloom", "in the rainy season",
]  # fmt: skip
WEATHER = [
    "in the rain", "in a storm", "in thick fog", "in the mist", "under dark clouds", "under a blue sky",
    "in bright sunshine", "in a snowstorm", "after the rain", "under a rainbow", "in the wind",
    "on a hazy day", "on a cloudy day", "with dramatic clouds", "with lightning",
]  # fmt: skip
PLACES = [
    "seen from far away", "seen from above", "close up", "reflected in water", "in the background",
    "on an alien planet", "in a dream", "in the distance", "by a river", "by the sea", "on a hill",
    "in a valley",
]  # fmt: skip
PAINTERS = [
    "greg rutkowski", "thomas kinkade", "james gurney", "vincent van gogh", "claude monet",
    "albert bierstadt", "caspar david friedrich", "ivan aivazovsky", "hokusai", "hiroshige",
    "studio ghibli", "ivan shishkin", "john constable", "william turner", "rembrandt", "gustav klimt",
    "alphonse mucha", "beeple", "simon stalenhag", "zdzislaw beksinski", "paul cezanne", "camille pissarro",
    "edward hopper", "salvador dali", "pablo picasso", "wassily kandinsky", "georgia o'keeffe", "bob ross",
    "frederic edwin church", "thomas cole", "john singer sargent", "marc simonetti", "craig mullins",
    "moebius", "rene magritte", "paul klee", "henri rousseau", "edvard munch",
]  # fmt: skip
STYLES = [
    "a painting of {}", "an oil painting of {}", "a beautiful painting of {}", "a detailed painting of {}",
    "a watercolor of {}", "a pencil sketch of {}", "an ink drawing of {}", "a charcoal drawing of {}",
    "a pastel drawing of {}", "an etching of {}", "a woodblock print of {}", "a photograph of {}",
    "a blurry photo of {}", "a matte painting of {}", "concept art of {}", "a fantasy painting of {}",
    "an impressionist painting of {}", "a surreal painting of {}", "pixel art of {}",
    "a low poly render of {}", "a 3d render of {}", "a child's drawing of {}", "a mosaic of {}",
    "a stained glass window of {}", "a postcard of {}", "a poster of {}", "a close-up of {}",
    "an abstract painting of {}", "an illustration of {}", "a cartoon of {}", "clip art of {}",
    "an icon of {}", "a dark painting of {}", "a dreamy picture of {}", "a tapestry of {}",
    "a vintage photo of {}", "a wide view of {}", "{}", "{}, digital art", "the beauty of {}",
]  # fmt: skip
ENDINGS = [
    "", "", "", ", trending on artstation", ", artstation", ", highly detailed", ", 4k",
    ", 8k, unreal engine", ", octane render", ", cinematic lighting", ", masterpiece", ", matte painting",
    ", soft light", ", volumetric light", ", vivid colors", ", concept art", ", wallpaper",
    ", award winning",
]  # fmt: skip
SIGNED = [" by {}", " in the style of {}", ", {}", ", art by {}"]
PROMPTS = [
    "a beautiful painting of a singular {}, shining its light across a tumultuous sea of blood"
    " by greg rutkowski, Trending on artstation.",
    "a surreal landscape with {}", "{} made of {}", "{} and {}", "{} in front of {}", "{} on {}",
    "{} with {}", "a dream of {}", "an abstract {}", "an intricate {} by beeple", "{} next to {}",
    "{} in the style of {}", "many {}", "a lonely {}", "a giant {}", "the {} of {}",
]  # fmt: skip


class Writer:
    """Draws phrases of several kinds; one seeded generator, so that a bank can be made again."""

    def __init__(self, names: dict[str, list[str]], titles: list[str], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.lemmas = names["wordnet"]
        self.known = [word for key, words in names.items() if key != "wordnet" for word in words]
        paintable = [word for key, words in names.items() if key.startswith("scenes/") for word in words]
        paintable += [word for _, words in GROUPS.values() for word in words]
        flowers = [word for key, words in names.items() if key.startswith("flowers/") for word in words]
        self.subjects = (
            paintable * (len(flowers) // len(paintable) + 1) + flowers
        )  # as many scenes as flowers
        self.shades = [shade for words in LIGHT.values() for shade in words]
        self.titles = titles or self.known

    def one(self, options: list[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def scenery(self) -> str:
        """A scene or a flower, painted: subject, colour or light, circumstance, painter, each at times."""
        text = self.one(self.subjects)
        if self.rng.random() < 0.35:
            text = self.one(LIT).format(text, self.one(self.shades + COLOURS))
        for circumstances, chance in ((TIMES, 0.25), (SEASONS, 0.2), (WEATHER, 0.25), (PLACES, 0.12)):
            if self.rng.random() < chance:
                text += f"{self.one([' ', ', '])}{self.one(circumstances)}"
        text = self.one(STYLES).format(text)
        if self.rng.random() < 0.35:
            text += self.one([" by {}", " in the style of {}", ", {}", ", art by {}"]).format(
                self.one(PAINTERS)
            )
        return text + self.one(ENDINGS)

    def drawing(self) -> str:
        """A title in a template; at times with a colour."""
        text = self.one(STYLES).format(self.one(self.titles))
        if self.rng.random() < 0.3:
            text = self.one(LIT).format(text, self.one(self.shades + COLOURS))
        return text + (self.one(ENDINGS) if self.rng.random() < 0.3 else "")

    def anything(self) -> str:
        """One or two words of the labels or of the dictionary in a prompt or a caption."""
        pool = self.known if self.rng.random() < 0.6 else self.lemmas
        form = self.one(PROMPTS + TEMPLATES + STYLES)
        text = form.format(self.one(pool), self.one(self.known))  # a form of one {} ignores the second
        if self.rng.random() < 0.4:
            text = self.one(LIT).format(text, self.one(self.shades))
        return text


def colour_prompts() -> list[str]:
    """Every colour in every form, and two colours together."""
    single = [form.format(colour) for form in PLAIN_COLOUR for colour in COLOURS]
    pairs = [f"{a} and {b}" for a in COLOURS for b in COLOURS if a != b]
    shades = [shade for words in LIGHT.values() for shade in words]
    return single + pairs + shades + [f"a picture in {shade}" for shade in shades]


def titles(folder: Path) -> dict[str, list[str]]:
    """The titles of each packed source that has them, in the order of its pictures."""
    found = {}
    for name in TITLED:
        if (folder / f"{name}.json").exists():
            found[name] = json.loads((folder / f"{name}.json").read_text())["titles"]
    return found


def keywords(folder: Path) -> list[str]:
    """All keywords of the packed sources, each once, sorted."""
    lists: list[list[str]] = []
    for name in titles(folder):
        lists += json.loads((folder / f"{name}.json").read_text())["keywords"]
    return sorted({word for words in lists for word in words})


def text_bank(names: dict[str, list[str]], count: int, words: list[str], seed: int = 0) -> list[str]:
    """About `count` different phrases: WordNet's lemmas, `words` (titles, keywords), colours, and prompts."""
    writer = Writer(names, words, seed)
    bank = {*names["wordnet"], *writer.known, *words, *colour_prompts()}
    kinds: list[Callable[[], str]] = [writer.scenery] * 9 + [writer.drawing] * 3 + [writer.anything] * 8
    while len(bank) < count:
        bank.add(kinds[int(writer.rng.integers(len(kinds)))]())
    return sorted(bank)
