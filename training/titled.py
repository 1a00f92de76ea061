"""Pictures with words instead of labels: clip art, emoji, stamps, read from their packages."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from training.archives import Package, members

MOST_ALIKE = 12  # pictures that may share one title: openclipart alone has 1,375 stars
# Folders of whole icon themes: their file names are commands of programs, not what is seen.
COMMANDS = re.compile(r"-theme/(actions?|mimetypes|stock|apps|applications)/")
ITALIAN = re.compile("archite|rollandin", re.I)  # a diligent author whose titles are in Italian
SKIP = {"hash", "unsorted", "theme", "special", "clipart", "clip art", "sign", "stock", "icons", "various"}
# Unicode calls the outlined signs white and the filled ones black, whatever colour they are drawn in.
MISNAMED = re.compile("^(black|white) (?!.*(heart|square|circle|flag|cane|hair|cat|bird))")
LETTERS = re.compile("[a-z]{3}")
TONES = {"1f3fb": "light skin tone", "1f3ff": "dark skin tone"}  # of five, so that faces do not outnumber all


@dataclass(frozen=True)
class Drawing:
    """One picture file and its words."""

    data: bytes
    title: str
    keywords: list[str]


@dataclass(frozen=True)
class Titled:
    """A source whose pictures bear titles: the packages it needs and how to read them."""

    packages: tuple[Package, ...]
    read: Callable[[list[Path]], Iterator[Drawing]]
    side: int = 96

    def drawings(self, root: Path) -> Iterator[Drawing]:
        """Every picture with a usable title; at most `MOST_ALIKE` of the same title."""
        seen: Counter[str] = Counter()
        for drawing in self.read([package.find(root) for package in self.packages]):
            seen[drawing.title] += 1
            if LETTERS.search(drawing.title) and seen[drawing.title] <= MOST_ALIKE:
                yield drawing


def clean(words: str) -> str:
    """Lower case, entities and underscores resolved, no file suffix, no running numbers, one space."""
    text = html.unescape(html.unescape(words)).lower()
    text = re.sub(r"\.(svg|png)\b|https?:\S+", " ", text)
    text = re.sub(r"^(clipart by [^-]*|part of the)\s*-?\s*", "", text)
    text = re.sub(r"[_()\[\]|/*+\"]+", " ", text)
    text = re.sub(r"\b\d+pt\d+step\b|(?<=[a-z])[\d.]+\b|\b[#\d]+\b", " ", text)
    text = re.sub(r"\b(aiga|openclipart|rpg map elem\w*)\b", " ", text)
    return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split())).strip(" -.,;:'")


def _tagged(tag: bytes, text: bytes) -> list[str]:
    found = re.findall(rb"<" + tag + rb"[^>]*>([^<]*)</" + tag + rb">", text)
    return [words.decode("utf-8", "replace").strip() for words in found]


def svg_words(svg: bytes) -> tuple[str, list[str], list[str]]:
    """(title, keywords, words of the author's name) in the metadata of an SVG; '' and [] where none are."""
    start, stop = svg.find(b"<metadata"), svg.find(b"</metadata>")
    meta = svg[start:stop] if 0 <= start < stop else b""
    titles = _tagged(b"dc:title", meta.split(b"<dc:publisher", 1)[0])
    authors = _tagged(b"dc:title", meta.partition(b"<dc:creator")[2].partition(b"</dc:creator")[0])
    keywords = [clean(words) for words in _tagged(b"rdf:li", meta)]
    keywords = [words for words in dict.fromkeys(keywords) if 2 < len(words) < 25 and "0x" not in words]
    keywords = [words for words in keywords if words not in SKIP]
    return (titles or [""])[0], keywords, " ".join(authors).lower().split()


def plain_title(words: str, authors: list[str]) -> str:
    """'people ann smith 03c' -> 'people': without numbers, addresses, the author's name, cut off or not."""
    text = clean(re.sub(r"\S*(@|\bwww)\S*", " ", words.replace("-", " ")))
    kept = [word for word in text.split() if not re.search(r"\d", word) and word not in authors]
    while len(kept) > 1 and any(author.startswith(kept[-1]) for author in authors):
        kept.pop()
    return " ".join(word for word in kept if len(word) > 1 or word == "a")


class ClipartTitles:
    """The title of each SVG; where many share one (a theme's name), the file's own name."""

    def __init__(self, package: Path) -> None:
        self.notes = {}
        for path, svg in members(package):
            if path.endswith(".svg"):
                self.notes[path.split("/svg/", 1)[-1].removesuffix(".svg")] = svg_words(svg)
        self.shared = Counter(clean(title) for title, _, _ in self.notes.values())
        self.usual = Counter(word for _, keywords, _ in self.notes.values() for word in keywords)

    def __call__(self, name: str) -> tuple[str, list[str]]:
        """(title, keywords) of animals/birds/swan_frances_01; an empty title where nothing fits."""
        title, keywords, authors = self.notes.get(name, ("", [], []))
        keywords = [word for word in keywords if not ITALIAN.search(word)]
        words = plain_title(title, authors)
        if ITALIAN.search(" ".join([name, *authors])):
            known = [word for word in keywords if self.usual[word] >= 5]  # rare: mostly Italian as well
            return min(known, key=lambda word: self.usual[word], default=""), keywords
        general = self.shared[clean(title)] > 2 or title.lower().startswith("clipart by")
        if general or not LETTERS.search(words):
            words = plain_title(name.rsplit("/", 1)[-1], authors)
        if "/flags/" in name and "flag" not in words:
            words = f"flag of {words}"
        if "/cards/" in name and "card" in keywords:
            words = "playing card"
        return words, keywords


def _clipart(packages: list[Path]) -> Iterator[Drawing]:
    pictures, drawings = packages
    titles = ClipartTitles(drawings)
    for path, data in sorted(members(pictures)):
        name = path.split("/png/", 1)[-1].removesuffix(".png")
        if path.endswith(".png") and not COMMANDS.search(name):
            yield Drawing(data, *titles(name))


def emoji_words(table: list[dict[str, object]]) -> dict[str, tuple[str, list[str]]]:
    """Code points as in the file names, without the variation selector -> (title, keywords)."""
    words = {}
    for row in table:
        shorts = [clean(str(name).replace("-", " ")) for name in row["short_names"]]  # type: ignore[attr-defined]
        title = MISNAMED.sub("", clean(str(row["name"] or shorts[0])))
        if row["category"] == "Flags" and title.endswith(" flag"):
            title = f"flag of {title.removesuffix(' flag')}"
        places = [clean(str(row[key]).replace("-", " ")) for key in ("category", "subcategory")]
        keywords = list(dict.fromkeys(shorts + places))
        words[emoji_code(str(row["unified"]))] = title, keywords
        for tones, variation in row.get("skin_variations", {}).items():  # type: ignore[attr-defined]
            if tones.lower() in TONES:
                toned = f"{title}, {TONES[tones.lower()]}"
                words[emoji_code(variation["unified"])] = toned, keywords
    return words


def emoji_code(name: str) -> str:
    return name.lower().replace("-fe0f", "")


def _emoji(packages: list[Path]) -> Iterator[Drawing]:
    """Two designs of the same signs, both named by the table in emoji-datasource."""
    google, fluent = packages
    flat = dict(members(google))
    words = emoji_words(json.loads(flat["package/emoji.json"]))
    solid = {path: data for path, data in members(fluent) if "/assets/" in path}
    flat = {path: data for path, data in flat.items() if "/img/google/64/" in path}
    for path, data in sorted({**solid, **flat}.items()):
        code = emoji_code(Path(path).stem)
        if code in words:
            yield Drawing(data, *words[code])


def _stamps(packages: list[Path]) -> Iterator[Drawing]:
    """x.png with its English sentence in the first line of x.txt; the folders are the keywords."""
    files = dict(members(packages[0]))
    for path, data in sorted(files.items()):
        text = files.get(re.sub(r"(_mirror|_flip)?\.png$", ".txt", path)) if path.endswith(".png") else None
        if text:
            line = text.decode("utf-8", "replace").splitlines()[0].lower().replace("\u2014", ", ")
            sentence = re.split(r"[.!?](\s|$)", line.strip())[0]
            folders = path.split("/stamps/", 1)[-1].split("/")[:-1]
            yield Drawing(data, " ".join(sentence.split()), [clean(words) for words in folders])


TITLED = {
    "clipart": Titled(
        (
            Package("openclipart-png_*.deb", "apt-get download openclipart-png"),
            Package("openclipart-svg_*.deb", "apt-get download openclipart-svg"),
        ),
        _clipart,
    ),
    "emoji": Titled(
        (
            Package("emoji-datasource-google-*.tgz", "npm pack emoji-datasource-google@16.0.0"),
            Package("lobehub-fluent-emoji-3d-*.tgz", "npm pack @lobehub/fluent-emoji-3d@1.1.0"),
        ),
        _emoji,
    ),
    "stamps": Titled(
        (Package("tuxpaint-stamps-default_*.deb", "apt-get download tuxpaint-stamps-default"),), _stamps
    ),
}
