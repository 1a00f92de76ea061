"""progrockdiffusion's prompts: by picture of the batch, by step, with random words and reckoned weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disco.settings.importers.builder import ImportBuilder
from disco.settings.importers.old_values import put_image_prompts
from disco.settings.schedules import LENGTH

_CHOICE = re.compile(r"<([^<>]*)>")
_WORD = re.compile(r"\b_[a-z]+_\b")
_FORMULA = re.compile(r":(?=[^:]*\bs\b)[-+*/().\d\s*s]+$")  # a weight that follows the step number s


def first_choice(text: str) -> str:
    """ "a <red|blue> hat" -> "a red hat"; "<^^2|a|b|c>" -> "a b"."""

    def chosen(match: re.Match[str]) -> str:
        options = match[1].split("|")
        count = 1
        if options[0].startswith("^^"):
            count = int(options.pop(0)[2:] or 1)
        return " ".join(options[:count])

    return _CHOICE.sub(chosen, text)


def put_prompts(builder: ImportBuilder, steps: int, folder: Path) -> None:
    """text_prompts and image_prompts of the first picture. {0: {0: [...], 26: [...]}} changes at a step."""
    for key in ("text_prompts", "image_prompts"):
        series = builder.take(key)
        if not series:
            continue
        if not isinstance(series, Mapping):
            series = {"0": series}
        first, *others = sorted(series, key=int)
        group = series[first]
        if isinstance(group, Mapping):
            group = _by_step(builder, key, group, steps)
        else:
            group = [
                _settled(builder, str(prompt)) for prompt in ([group] if isinstance(group, str) else group)
            ]
        if key == "image_prompts":
            put_image_prompts(builder, group, folder)
        elif group:
            builder.keep(key, group)
        if others:
            builder.dropped.append(
                f"{key} of the pictures from {', '.join(others)} on: all pictures of a run share their "
                "prompts here; put each series into a document of its own"
            )


def _by_step(builder: ImportBuilder, key: str, groups: Mapping[str, Any], steps: int) -> list[Any]:
    """Prompts of steps become prompts whose weights are schedules over the noise levels."""
    starts = sorted(groups, key=int)
    word = "text" if key == "text_prompts" else "image"
    entries: list[Any] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        first = min(LENGTH - 1, round(int(start) * LENGTH / steps))
        last = None if end is None else min(LENGTH - 1, round(int(end) * LENGTH / steps))
        for prompt in groups[start]:
            text, weight = _weighed(_settled(builder, str(prompt)))
            schedule = {0: 0.0, first: weight} if first else {0: weight}
            if last is not None:
                schedule[last] = 0.0
            entries.append(
                {word: text, "weight": {k: int(v) if v == int(v) else v for k, v in schedule.items()}}
            )
    builder.notes[key] = f"they change at steps {', '.join(starts[1:])} of {steps}; here by the noise, 0..999"
    return entries


def _weighed(prompt: str) -> tuple[str, float]:
    head, colon, tail = prompt.rpartition(":")
    try:
        return (head, float(tail)) if colon else (prompt, 1.0)
    except ValueError:
        return prompt, 1.0


def _settled(builder: ImportBuilder, prompt: str) -> str:
    """A prompt without chance: the first of each choice, without _words_ from its word lists."""
    settled = first_choice(prompt)
    if settled != prompt:
        builder.changed.append(f'a prompt with choices: the first of each is taken: "{settled}"')
    words = _WORD.findall(settled)
    if words:
        settled = " ".join(_WORD.sub("", settled).split())
        builder.changed.append(f"{', '.join(words)} in a prompt: random words from its lists, left out")
    formula = _FORMULA.search(settled)
    if formula:
        settled = settled[: formula.start()]
        builder.changed.append(
            f"the weight {formula.group()[1:].strip()} of a prompt, computed from the step: set to 1"
        )
    return settled
