"""Recognise a state dict: read a UNet's architecture off its tensors and compare it with known ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

Facts = dict[str, Any]
_KINDS = (  # first words of a tensor's name -> what has such
    ("model.diffusion_model.", "a Stable Diffusion checkpoint, which Disco cannot use"),
    ("visual.", "a CLIP network"),
    ("timestep_embed.", "a secondary network"),
    ("features.", "a VGG network"),
    ("heads.", "a perceptual network of Disco's own kind"),
)


def guess_unet(state: Mapping[str, Tensor]) -> Facts | None:
    """The facts that denoiser.facts_of gives, read off a UNet's tensors; None if it is no such UNet."""
    try:
        return _guess(state)
    except (KeyError, ZeroDivisionError, IndexError):
        return None


def _guess(state: Mapping[str, Tensor]) -> Facts:
    blocks = 1 + max((int(n.split(".")[1]) for n in state if n.startswith("output_blocks.")), default=-1)
    # What follows the ResBlock and perhaps the attention of a level's last output block doubles the grid.
    upper = [i for i in range(blocks) for j in (1, 2) if f"output_blocks.{i}.{j}.conv.weight" in state]
    updown = [
        i for i in range(blocks) for j in (1, 2) if f"output_blocks.{i}.{j}.in_layers.0.weight" in state
    ]
    levels = 1 + len(upper or updown)
    per_level = blocks // levels
    channels = state["time_embed.0.weight"].shape[1]
    firsts = [1 + level * per_level for level in range(levels)]
    widths = [state[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0] for i in firsts]
    picture = state["input_blocks.0.0.weight"].shape[1]
    return {
        "num_channels": channels,
        "channel_mult": tuple(width / channels for width in widths),
        "num_res_blocks": per_level - 1,
        "attention at": tuple(
            2**level for level, i in enumerate(firsts) if f"input_blocks.{i}.1.qkv.weight" in state
        ),
        "learn_sigma": state["out.2.weight"].shape[0] == 2 * picture,
        "resblock_updown": bool(updown),
        "use_scale_shift_norm": state["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0],
        "class_cond": "label_emb.weight" in state,
        "patch": round((picture / 3) ** 0.5),
    }


def _spelled(facts: Facts) -> str:
    multiples = ",".join(f"{multiple:g}" for multiple in facts["channel_mult"])
    words = [f"{key} {str(value).lower()}" for key, value in facts.items() if not isinstance(value, tuple)]
    words.insert(1, f"channel_mult {multiples}")
    sizes = ", ".join(f"1/{reduction}" for reduction in facts["attention at"])
    return ", ".join(words) + (
        f", attention at {sizes} of the size" if sizes else ", attention in the middle"
    )


def describe_state_dict(state: Mapping[str, Tensor], known: Iterable[tuple[str, Facts]]) -> str:
    """One sentence about what `state` holds. known: names and facts of diffusion networks."""
    facts = guess_unet(state)
    if facts is None:
        for start, kind in _KINDS:
            if any(name.startswith(start) for name in state):
                return f"The file looks like {kind}"
        return ""
    names = [name for name, theirs in known if theirs == facts]
    if not names:
        return f"The file looks like a UNet of no known kind: {_spelled(facts)}"
    others = f" (and {len(names) - 1} more of that shape)" if len(names) > 1 else ""
    return f"The file looks like the network {names[0]}{others}: {_spelled(facts)}"
