"""The words that the pocket CLIPs learn: names of the labels, colours and light, captions around them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from training.sources import SOURCES, find_clone

SCENES = {
    "mountain": [
        "mountain",
        "mountains",
        "a mountain landscape",
        "a mountain peak",
        "rocky summits",
        "the alps",
    ],
    "glacier": ["glacier", "glaciers", "ice and snow", "an icy landscape", "a frozen landscape", "icebergs"],
    "sea": [
        "sea",
        "the sea",
        "ocean",
        "waves of the ocean",
        "a seascape",
        "the coast",
        "a stormy sea",
        "a beach",
    ],
    "forest": ["forest", "woods", "trees", "a path in the woods", "woodland", "a dense forest"],
    "street": ["street", "a city street", "a road through a town", "an alley", "an avenue with cars"],
    "buildings": [
        "buildings",
        "a building",
        "architecture",
        "a tall building",
        "skyscrapers",
        "houses",
        "a city",
    ],
}
CALTECH = {
    "Faces": "face", "Faces_easy": "portrait of a person", "Leopards": "leopard", "Motorbikes": "motorbike",
    "airplanes": "airplane", "bass": "bass fish", "car_side": "car", "cougar_body": "cougar",
    "cougar_face": "face of a cougar", "crocodile_head": "head of a crocodile",
    "flamingo_head": "head of a flamingo", "garfield": "cartoon cat garfield", "hawksbill": "sea turtle",
    "ketch": "sailing boat", "nautilus": "nautilus shell", "schooner": "sailing ship",
    "snoopy": "cartoon dog snoopy", "water_lilly": "water lily", "watch": "wrist watch",
    "yin_yang": "yin yang symbol",
}  # fmt: skip
CIFAR10 = {
    "airplane": ["airplane", "plane"], "automobile": ["automobile", "car"], "ship": ["ship", "boat"],
    "deer": ["deer", "stag"], "truck": ["truck", "lorry"], "frog": ["frog", "toad"],
}  # fmt: skip
# The first name must not mean a colour, a light or another thing: "orange", "ray", "can", "plain".
CIFAR100 = {
    "aquarium_fish": ["aquarium fish", "goldfish"], "can": ["tin can", "can"], "cattle": ["cattle", "cow"],
    "cloud": ["cloud", "clouds in the sky", "sky"], "couch": ["couch", "sofa"], "forest": ["forest", "woods"],
    "house": ["house", "a country house"], "keyboard": ["computer keyboard", "keyboard"],
    "lawn_mower": ["lawn mower"], "mouse": ["mouse", "rodent"], "orange": ["orange fruit", "oranges"],
    "pickup_truck": ["pickup truck"], "plain": ["grassy plain", "meadow", "field"],
    "poppy": ["poppy", "poppy flower"], "ray": ["stingray", "ray fish"], "road": ["road", "highway"],
    "rose": ["rose", "rose flower"], "sea": ["sea", "ocean"], "seal": ["seal animal", "seal"],
    "skyscraper": ["skyscraper", "tower"], "streetcar": ["streetcar", "tram"],
    "tank": ["military tank", "tank"], "sweet_pepper": ["sweet pepper", "bell pepper"],
    "orchid": ["orchid", "orchid flower"],
    "telephone": ["telephone", "phone"], "television": ["television", "tv"],
    "tulip": ["tulip", "tulip flower"], "sunflower": ["sunflower", "sunflower blossom"],
    "bus": ["bus", "coach"], "motorcycle": ["motorcycle", "motorbike"],
}  # fmt: skip
GROUPS = {
    "flower": ("flowers", ["flower", "a flower", "flowers", "a blossom", "a blooming plant", "petals"]),
    "landscape": (
        "nature",
        ["landscape", "a landscape", "nature", "a natural scenery", "the outdoors", "wilderness"],
    ),
    "town": ("town", ["a town", "the city", "an urban scene", "downtown", "a village"]),
}
LIGHT = {
    "red": ["red", "red color scheme", "everything in red", "crimson tones", "blood red"],
    "orange": ["orange", "orange color scheme", "orange tones", "amber colors"],
    "yellow": ["yellow", "yellow color scheme", "everything in yellow", "golden tones", "gold"],
    "green": ["green", "green color scheme", "everything in green", "emerald tones"],
    "turquoise": ["turquoise", "cyan", "teal color scheme", "turquoise tones"],
    "blue": ["blue", "blue color scheme", "everything in blue", "azure tones"],
    "purple": ["purple", "purple color scheme", "violet", "violet tones"],
    "pink": ["pink", "pink color scheme", "magenta", "pink tones"],
    "brown": ["brown", "brown color scheme", "sepia", "earth tones"],
    "white": ["white", "white color scheme", "everything in white", "very bright and white"],
    "black": ["black", "black color scheme", "very dark", "darkness"],
    "grey": ["grey", "gray color scheme", "grey tones", "dull and grey"],
    "monochrome": [
        "black and white",
        "in black and white",
        "black and white photograph",
        "monochrome",
        "grayscale",
    ],
    "colourful": ["colorful", "vivid colors", "vibrant saturated colors", "a rainbow of colors"],
    "pastel": ["pastel colors", "soft pale colors", "pastel"],
    "night": ["at night", "night", "in the dark of night", "midnight", "moonlight"],
    "misty": ["misty", "foggy", "in the mist", "fog", "haze"],
    "sunset": ["sunset", "at sunset", "sunrise", "golden hour", "dusk", "evening glow"],
    "bright": ["bright", "bright sunlight", "sunny", "in daylight"],
}
TEMPLATES = [
    "{}", "a {}", "a photo of {}", "a picture of {}", "a painting of {}", "a beautiful painting of {}",
    "{}, trending on artstation", "a beautiful painting of {} by greg rutkowski, Trending on artstation.",
    "an oil painting of {}", "{} by thomas kinkade", "{}, digital art", "a watercolor of {}",
    "matte painting of {}",
]  # fmt: skip
LIT = [
    "{1} {0}",
    "{0} {1}",
    "{0}, {1}",
    "a painting of {0}, {1}",
    "{1}, {0}, trending on artstation",
    "a {1} {0}",
]


def label_names(root: Path) -> dict[str, list[str]]:
    """Every label of the labelled sources as `source/label` -> its names, the first one the usual one."""

    def show(source: str, path: str) -> str:
        git_dir = find_clone(root, SOURCES[source].repository)
        command = ["git", "-C", str(git_dir), "show", f"{SOURCES[source].commit}:{path}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    names = {f"scenes/{label}": words for label, words in SCENES.items()}
    for label, name in json.loads(show("flowers", "cat_to_name.json")).items():
        names[f"flowers/{label}"] = [name, name + " flower" if "flower" not in name else name]
    git_dir, folder = find_clone(root, SOURCES["caltech"].repository), SOURCES["caltech"].folder
    listing = ["git", "-C", str(git_dir), "ls-tree", "--name-only", "HEAD", folder]
    for path in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines():
        label = path.removeprefix(folder)
        if label != "BACKGROUND_Google":
            names[f"caltech/{label}"] = [caltech_name(label)]
    words = dict(line.split("\t") for line in show("tiny", "tiny-imagenet-200/words.txt").splitlines())
    for wnid in show("tiny", "tiny-imagenet-200/wnids.txt").split():
        names[f"tiny/{wnid}"] = [lemma.strip() for lemma in words[wnid].split(",")][:3]
    for source, special in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        for label in cifar_labels(root, source):
            names[f"{source}/{label}"] = special.get(label, [label.replace("_", " ")])
    names["wordnet"] = sorted({lemma.strip() for line in words.values() for lemma in line.split(",")})
    return names


def cifar_labels(root: Path, source: str) -> list[str]:
    """The folders of train/ in the repository's tree, in alphabetical order."""
    git_dir = find_clone(root, SOURCES[source].repository)
    listing = ["git", "-C", str(git_dir), "ls-tree", "--name-only", SOURCES[source].commit, "train/"]
    lines = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.removeprefix("train/") for line in lines]


def caltech_name(label: str) -> str:
    return CALTECH.get(label, label.replace("_", " "))


def image_captions(names: dict[str, list[str]], seed: int = 0) -> list[dict[str, str | None]]:
    """Captions of labels, of light, and of both together: rows of {"text", "label", "light"}."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, str | None]] = []

    def add(text: str, label: str | None, light: str | None) -> None:
        rows.append({"text": text, "label": label, "light": light})

    groups = {f"group/{key}": words for key, (_, words) in GROUPS.items()}
    labels = {key: value for key, value in names.items() if key != "wordnet"} | groups
    for label, words in labels.items():
        rich = label.startswith(("scenes/", "group/"))
        for word in words:
            add(word, label, None)
            for k in rng.choice(len(TEMPLATES), 8 if rich else 3, replace=False):
                add(TEMPLATES[k].format(word), label, None)
    for light, words in LIGHT.items():
        for word in words:
            add(word, None, light)
            add(f"a picture in {word}", None, light)
    for label, words in labels.items():
        rich = label.startswith(("scenes/", "group/", "flowers/"))
        for light, shades in LIGHT.items():
            for _ in range(4 if label.startswith(("scenes/", "group/")) else 1 if rich else 0):
                word, shade, form = rng.choice(words), rng.choice(shades[:2]), rng.choice(LIT)
                add(str(form).format(word, shade), label, light)
    return rows
