"""What training.evaluate found, as Markdown: for the terminal, docs/results.md and the model cards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN = "<!-- training.evaluate: begin, written by python -m training.evaluate --write -->"
END = "<!-- training.evaluate: end -->"
GOALS = {"scenes": 0.75, "flowers": 0.40, "hue": 0.80}
KNOWS = {"scenes": 0.85, "caltech": 0.45, "cifar10": 0.65}
FID_GOALS = {"a CPU alone": 100, "a GPU": 40}
ASKED = {
    "scenes": "scene: the judge's first of {classes}",
    "flowers": "flower: among the judge's first five of 102",
    "hue": "dominant hue of the pixels",
}
SETS = {
    "scenes": "scenes", "flowers": "flowers", "caltech": "Caltech-101", "cifar10": "CIFAR-10",
    "hue": "hue of a tinted picture",
}  # fmt: skip


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column left, the others right."""
    marks = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows))


def made(part: Mapping[str, Any]) -> str:
    """One sentence: when and on what."""
    by = part["made"]
    minutes = f"{by['seconds'] / 60:.1f} minutes, load {by['load']:.1f} at the start"
    return f"{by['date']}, {by['machine']}, torch {by['torch']}: {minutes}."


def obedience(part: Mapping[str, Any]) -> str:
    rows = []
    for kind, text in ASKED.items():
        scores = part[kind]
        asked = f"{text.format(classes=6)} ({len(scores['each'])} prompts)"
        rows.append([asked, percent(scores["right"]), percent(scores["control"]), percent(GOALS[kind])])
    width, height = part["size"]
    exam = part["judge"]
    lines = [
        f"`settings/draft.yaml` ({width}x{height}), {part['pictures_each']} seeds of each prompt,"
        f" {part['seconds_a_picture']:.1f} seconds a picture. {made(part)}",
        "",
        table(["asked", "right", "unguided", "goal"], rows),
        "",
        f"The judge took no part in the guidance. Of photographs new to it, it knows the scene of"
        f" {percent(exam['scenes']['clean top-1'])} ({percent(exam['scenes']['draft top-1'])} if shrunken to"
        f" 64 pixels), and has the flower among its first five for {percent(exam['flowers']['clean top-5'])}"
        f" ({percent(exam['flowers']['draft top-5'])}).",
        "",
    ]
    for kind in ASKED:
        each = [
            f"{prompt.removeprefix('a painting of ')} {round(100 * s)}"
            for prompt, s in part[kind]["each"].items()
        ]
        lines.append(f"{kind}, right in %: {', '.join(each)}.  ")
    return "\n".join(lines)


def _score(scores: Mapping[str, float]) -> str:
    five = f", {percent(scores['top-5'])}" if scores.get("top-5") and scores["classes"] > 10 else ""
    return percent(scores["top-1"]) + five


def zero_shot(part: Mapping[str, Any], clip: str | None = None) -> str:
    """Of all CLIPs, or of one."""
    names = [clip] if clip else list(part["clips"])
    first = part["clips"][names[0]]
    rows = []
    for key, text in SETS.items():
        classes = int(first[key]["classes"])
        goal = percent(KNOWS[key]) if key in KNOWS else ""
        rows.append([f"{text} ({classes})", *(_score(part["clips"][name][key]) for name in names), goal])
    count = int(first["titles"]["titles"])
    ranks = [f"{part['clips'][name]['titles']['median rank']:.0f}" for name in names]
    rows.append([f"openclipart: median rank of the right title of {count}", *ranks, ""])
    pictures = max(int(first[key]["pictures"]) for key in SETS)
    return "\n".join([
        f"Up to {pictures} held-out pictures of a set; top-1, and top-5 among many classes. {made(part)}",
        "",
        table(["set (classes)", *names, "goal"], rows),
    ])  # fmt: skip


def fid(part: Mapping[str, Any]) -> str:
    goals = ", ".join(f"{goal} with {what}" for what, goal in FID_GOALS.items())
    return "\n".join([
        f"{part['samples']} unguided samples of 128x128 ({part['steps']} DDIM steps, eta {part['eta']})"
        f" against as many training pictures; the floor is that of as many others of these. {made(part)}",
        "",
        table(["FID", "floor", "goal"], [[f"{part['fid']:.1f}", f"{part['floor']:.1f}", goals]]),
    ])  # fmt: skip


def speed(part: Mapping[str, Any]) -> str:
    rows = [[f"`{row['command']}`", f"{row['seconds']:.1f}", f"{row['goal']}"] for row in part["commands"]]
    return "\n".join([
        f"Start and loading included. {made(part)}",
        "",
        table(["command", "seconds", "goal: under"], rows),
    ])  # fmt: skip


SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "obedience": ("Prompt obedience", obedience),
    "zero-shot": ("The pocket CLIPs on held-out pictures", zero_shot),
    "fid": ("The pocket diffusion alone", fid),
    "speed": ("Time", speed),
}


def sections(results: Mapping[str, Any], level: int = 2, only: Sequence[str] = ()) -> str:
    """Every measured part under its heading."""
    parts = [
        f"{'#' * level} {title}\n\n{render(results[name])}"
        for name, (title, render) in SECTIONS.items()
        if name in results and (not only or name in only)
    ]
    return "\n\n".join(parts)


def with_block(text: str, block: str) -> str:
    """`text` with what stands between the two marks replaced; without marks they are added at the end."""
    if (BEGIN in text) != (END in text) or text.count(BEGIN) > 1:
        raise SystemExit(f"one of the two marks is missing or there twice: {BEGIN} ... {END}")
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{rest.split(END)[1]}"


def write(results: Mapping[str, Any], root: Path) -> list[Path]:
    """Bring docs/results.md and the model cards up to date; returns the files."""
    pocket = root / "disco" / "pocket"
    blocks = {
        root / "docs" / "results.md": sections(results),
        pocket / "pocket_diffusion.md": sections(results, 3, ["obedience", "fid", "speed"]),
    }
    for name in results.get("zero-shot", {}).get("clips", {}):
        card = pocket / name.replace("pocket-", "clip_") / "README.md"
        blocks[card] = zero_shot(results["zero-shot"], name)
    for path, block in blocks.items():
        path.write_text(with_block(path.read_text(encoding="utf-8"), block), encoding="utf-8")
    return list(blocks)
