"""Inputs for every verb of the command line, by a seed: about a third are valid and say what they mean."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from disco.files.yaml_io import flow_yaml
from disco.media.images import png_bytes
from disco.settings.model import KEYS

STRANGE = (
    *("", " ", "\t", "\n", "\x00", "\x1b[31m", "\ud83d", "\u202e", "é", "猫", "🐈", "−", "：", "%", "@", "`"),
    *("{", "}", "[", "]", ":", "- ", "? ", "&a ", "*a", "!!python/object:os.system", "---", "...", "|", ">"),
    *(
        "1e999",
        ".nan",
        "9" * 400,
        "0x10",
        "1_000",
        "null",
        "~",
        "yes",
        "'",
        '"',
        "\\",
        "#",
        "$HOME",
        "../..",
        "/",
    ),
)
WORDS = ("a lake", "a red rose", "the sea: at night", "fog", "猫", "a lighthouse, by the sea", "it's")
SCALES = ("clip_guidance_scale", "tv_scale", "range_scale", "sat_scale", "init_scale")
COUNTS = {
    "steps": (20, 300),
    "skip_steps": (0, 9),
    "n_batches": (1, 99),
    "batch_size": (1, 8),
    "display_rate": (1, 50),
}
SHARES = ("eta", "cut_icgray_p", "rand_mag", "hue_jitter_max")
# Dropped from a file of Disco: compat dd57 has them not, or nothing else in the file asks for them.
IDLE = ("hue_jitter_max", "batch_size", "rand_mag", "init_scale", "range_scale")
SWITCHES = ("fuzzy_prompt", "clip_denoised", "skip_augs", "clamp_grad", "deterministic")
SCHEDULES = {"cut_overview": (1, 20), "cut_innercut": (1, 20), "cutn_batches": (1, 8)}


@dataclass(frozen=True)
class Input:
    """words: of the command line. files: to be written first, by name. made: the file that it writes.

    expected: some of the settings that it means, of a valid input; None where it may be wrong.
    """

    words: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    expected: Mapping[str, Any] | None = None
    made: str | None = None


def values(rng: random.Random) -> dict[str, Any]:
    """Settings that go together, as plain values."""
    made: dict[str, Any] = {"text_prompts": {0: [rng.choice(WORDS) for _ in range(rng.randint(1, 3))]}}
    for key in rng.sample(SCALES, 2):
        made[key] = rng.choice((0, 1, 5000, 0.5, 1234.5))
    for key, (low, high) in rng.sample(sorted(COUNTS.items()), 3):
        made[key] = rng.randint(low, high)
    for key in rng.sample(SHARES, 2):
        made[key] = rng.choice((0.1, 0.25, 0.5))
    for key in rng.sample(SWITCHES, 2):
        made[key] = rng.random() < 0.5
    for key, (low, high) in rng.sample(sorted(SCHEDULES.items()), 2):
        made[key] = rng.choice((rng.randint(low, high), f"[{low}]*400+[{high}]*600"))
    made["set_seed"] = rng.randrange(2**32)
    made["width_height"] = [64 * rng.randint(1, 20), 64 * rng.randint(1, 20)]
    return made


def dressed(value: Any, rng: random.Random) -> str:
    """The value as YAML, in one of the ways that people write it."""
    if isinstance(value, bool):
        return rng.choice(
            ("true", "True", '"true"', "1", "yes") if value else ("false", "False", '"False"', "0")
        )
    if isinstance(value, (int, float)):
        return rng.choice((f"{value}", f'"{value}"', f"'{value}'", f"{float(value)}"))
    if isinstance(value, list) and all(isinstance(side, int) for side in value):
        width, height = value
        return rng.choice((f"[{width}, {height}]", f"{width}x{height}", f'["{width}", {height}]'))
    if isinstance(value, str):
        return f'"{value}"'
    return flow_yaml(value)


def as_yaml(made: Mapping[str, Any], rng: random.Random) -> str:
    lines = [f"{key}: {dressed(value, rng)}" for key, value in made.items()]
    rng.shuffle(lines)
    for n in range(len(lines)):
        if rng.random() < 0.2:
            lines[n] += "  # a comment: with a colon"
    return (
        rng.choice(("", "---\n", "\ufeff", "# first\n\n")) + "\n".join(lines) + rng.choice(("", "\n", "\n\n"))
    )


def native(rng: random.Random) -> Input:
    """A settings file, perhaps on top of another one and under --set."""
    made, files, words = values(rng), {}, []
    written = dict(made)
    if rng.random() < 0.3:
        base = {key: written.pop(key) for key in rng.sample(sorted(set(written) - {"text_prompts"}), 3)}
        files["base.yaml"] = as_yaml(base, rng).encode()
        written["extends"] = "base.yaml"
    for key in rng.sample(sorted(set(written) - {"text_prompts", "extends"}), 2):
        words += ["--set", f"{key}={written.pop(key)}"]
    encoding = rng.choice(("utf-8", "utf-8", "utf-16"))
    text = as_yaml(written, rng)
    files["a.yaml"] = (text.lstrip("\ufeff") if encoding == "utf-16" else text).encode(encoding)
    return Input(("a.yaml", "--plan", *words), files, made)


def disco_file(rng: random.Random) -> Input:
    """Disco Diffusion's own settings.txt, without what only we have."""
    made = {key: value for key, value in values(rng).items() if key not in IDLE}
    old: dict[str, Any] = {
        **made,
        "text_prompts": {"0": made["text_prompts"][0]},
        "seed": made["set_seed"],
        "width": made["width_height"][0],
        "height": made["width_height"][1],
        "diffusion_model": "512x512_diffusion_uncond_finetune_008100",
        "use_secondary_model": True,
        "cut_ic_pow": 1,
        "clamp_max": 0.05,
        "ViTB32": True,
        "RN50": rng.random() < 0.5,
    }
    for key in ("set_seed", "width_height"):
        del old[key]
    files = {
        "old.txt": json.dumps(old, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 4))).encode()
    }
    return Input(("import", "old.txt", "-o", "new.yaml"), files, made, made="new.yaml")


def picture(rng: random.Random, **changes: Any) -> bytes:
    made = {**values(rng), "n_batches": 5}
    carried = {"format": 1, "settings": made, "seed": made["set_seed"], "picture": 2, "batch": [2], **changes}
    return png_bytes(np.zeros((8, 8, 3), dtype=np.uint8), carried)


def shown(rng: random.Random) -> Input:
    return Input(("show", "a.png"), {"a.png": picture(rng)}, {})


def again(rng: random.Random) -> Input:
    return Input(("a.png", "--plan"), {"a.png": picture(rng)}, {})


def damaged(rng: random.Random) -> Input:
    """A valid input with bytes changed in one of its files."""
    whole = rng.choice((native, native, disco_file, shown, again))(rng)
    name = rng.choice(sorted(whole.files))
    data = bytearray(whole.files[name])
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(4)
        if how == 0:
            data[at:] = b""
        elif how == 1:
            data[at : at + rng.randint(1, 20)] = b""
        elif how == 2:
            data[at:at] = rng.choice(STRANGE).encode(errors="surrogatepass")
        else:
            data[at : at + 1] = bytes([rng.randrange(256)])
    return Input(whole.words, {**whole.files, name: bytes(data)}, made=whole.made)


def wrong_values(rng: random.Random) -> Input:
    """Settings of any key with values that they may not have."""
    parts = [
        rng.choice(STRANGE),
        "-5",
        "[1, [2]]",
        "{a: {b: 1}}",
        "0.5",
        "true",
        "some text",
        "1e9",
        "[]",
        "{}",
    ]
    keys = rng.sample(KEYS, rng.randint(1, 4))
    text = "".join(f"{key}: {rng.choice(parts)}\n" for key in keys)
    if rng.random() < 0.3:
        metadata = {
            rng.choice(("settings", "batch", "picture", "seed", "machine")): rng.choice(
                (None, [], {}, "x", -1)
            )
        }
        return Input(
            (*rng.choice((("show", "a.png"), ("a.png", "--plan"))),), {"a.png": picture(rng, **metadata)}
        )
    return Input(("a.yaml", "--plan"), {"a.yaml": text.encode(errors="surrogatepass")})


OPTIONS = (
    *(
        "--plan",
        "--set",
        "--out",
        "--images",
        "--resume",
        "--resume=3",
        "--quiet",
        "--prompt",
        "--device",
        "-o",
    ),
    *(
        "--ray=",
        "--codec",
        "--fps",
        "--run",
        "--vr",
        "--scale",
        "--model",
        "--",
        "-h",
        "--help",
        "--nonsense",
    ),
)
VERBS = ("show", "import", "video", "timelapse", "models", "models list", "models verify", "upscale")


def arguments(rng: random.Random) -> Input:
    """Any words. None of them renders: --plan is always among those without a verb."""
    words = [
        rng.choice((*STRANGE, *WORDS, *OPTIONS, "a.yaml", "a.png", "steps=3", "0,2-4", "x=", "none.yaml"))
        for _ in range(rng.randint(0, 5))
    ]
    verb = rng.choice(VERBS).split() if rng.random() < 0.6 else []
    words = [word.replace("\x00", "0") for word in words]
    if not verb:
        words = ["--plan", *words]
    elif verb[0] == "models" and len(verb) == 1:
        words = ["verify", *words]
    files = {"a.yaml": as_yaml(values(rng), rng).encode(), "a.png": picture(rng)}
    return Input((*verb, *words), files)


MAKERS: tuple[tuple[Callable[[random.Random], Input], int], ...] = (
    (native, 25), (disco_file, 8), (shown, 4), (again, 4), (damaged, 25), (wrong_values, 17), (arguments, 17),
)  # fmt: skip


def inputs(count: int, seed: int) -> Iterator[Input]:
    """So many inputs, each from a generator of its own: one can be made again alone."""
    makers, weights = zip(*MAKERS, strict=True)
    for n in range(count):
        rng = random.Random(f"{seed}/{n}")
        yield rng.choices(makers, weights)[0](rng)
