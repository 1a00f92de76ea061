"""disco.losses.targets: prompts and pictures -> embeddings and weights, in both modes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from disco.errors import InputError, SettingsError
from disco.losses.targets import PicturePrompt, encode_targets
from disco.sampling.randomness import FixedRandom, StreamRandom
from disco.settings.kinds import ClipChoice
from disco.settings.prompts import Prompt, text_prompt
from disco.settings.schedules import Schedule
from tests.conftest import EightNumberClip, relative
from tests.golden_nets import golden_nets

ONE = Schedule.parse(1)


class Clip(EightNumberClip):
    """Remembers what it was shown."""

    def __init__(self, name: str = "eight") -> None:
        self.name = name
        self.read: list[str] = []
        self.saw: list[Tensor] = []

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.read += texts
        return super().encode_text(list(texts))

    def encode_image(self, cutouts: Tensor) -> Tensor:
        self.saw.append(cutouts)
        return super().encode_image(cutouts)


def options(**values: Any) -> Any:
    base = {"fuzzy_prompt": False, "rand_mag": 0.05, "skip_augs": False, "clip_models": ()}
    values = base | values
    return SimpleNamespace(**values | {"skip_augs": Schedule.parse(values["skip_augs"], bool)})


def encode(
    clips: Sequence[Any], texts: list[Prompt], images: Sequence[PicturePrompt] = (), **how: Any
) -> list:
    compat = how.pop("compat", "fixed")
    random = how.pop("random", None) or FixedRandom(1, [0])
    return encode_targets(clips, texts, images, options(**how), random, compat)


def test_weights_are_divided_by_the_size_of_their_sum() -> None:
    (target,) = encode([Clip()], [text_prompt("red:2"), text_prompt("blue:-6")])
    torch.testing.assert_close(target.text_embeds, EightNumberClip().encode_text(["red", "blue"]))
    torch.testing.assert_close(target.weights(0), torch.tensor([0.5, -1.5]))
    assert target.clip_weight == ONE


def test_weights_follow_their_schedules() -> None:
    prompts = [Prompt("red", Schedule.parse("[1]*400+[3]*600")), Prompt("blue")]
    (target,) = encode([Clip()], prompts)
    assert target.weights(399).tolist() == [0.5, 0.5]
    assert target.weights(400).tolist() == [0.75, 0.25]


@pytest.mark.parametrize(("weight", "place"), [(-1, ""), ("[1]*400+[-1]*600", " at schedule index 400")])
def test_weights_that_sum_to_nothing(weight, place) -> None:
    with pytest.raises(SettingsError) as error:
        encode([Clip()], [Prompt("red"), Prompt("blue", Schedule.parse(weight))])
    assert error.value.problems == (
        f"text_prompts: the weights for eight sum to 0{place}; change one so that they do not",
    )


def test_a_prompt_may_be_for_some_networks() -> None:
    clips = [Clip("ViT-B-32-quickgelu/openai"), Clip("RN50-quickgelu/openai"), Clip("other")]
    choice = ClipChoice("RN50-quickgelu/openai", Schedule.parse(0.5))
    prompts = [Prompt("red", clip_models=("ViTB32",)), Prompt("blue", clip_models=("ViT-B/32", "RN50"))]
    targets = encode(clips, prompts, clip_models=(choice,))
    assert [target.clip.name for target in targets] == [clip.name for clip in clips[:2]]
    assert [clip.read for clip in clips] == [["red", "blue"], ["blue"], []]
    assert [target.clip_weight.at(0) for target in targets] == [1, 0.5]


def test_prompts_for_networks_that_are_not_there() -> None:
    with pytest.raises(InputError) as error:
        encode([Clip("a"), Clip("b")], [Prompt("red", clip_models=("c",))])
    assert str(error.value) == (
        "no prompt is for any of the CLIPs in use (a, b): see clip_models of the prompts"
    )


def test_no_prompts_are_no_targets() -> None:
    assert encode([Clip()], []) == []


@pytest.mark.parametrize(("compat", "read"), [("fixed", "red"), ("dd57", "red:2")])
def test_dd57_reads_the_weight_aloud(compat, read) -> None:
    clip = Clip()
    encode([clip], [text_prompt("red:2")], compat=compat)
    assert clip.read == [read]


def test_the_originals_targets(golden) -> None:
    """Of golden.json's prompts, whose ":2" and ":-1" the original gave to the tokenizer too."""
    arrays, clips = golden("d_guidance"), golden_nets().clips
    prompts = [text_prompt("a lighthouse:2"), text_prompt("yellow:-1")]
    targets = encode(clips, prompts, compat="dd57", random=StreamRandom(42))
    for k, target in enumerate(targets):
        assert relative(target.text_embeds, arrays[f"target{k}"]) < 1e-4
        weights = arrays[f"weights{k}"]
        assert relative(target.weights(0), weights / abs(weights.sum())) < 1e-6


def test_fuzzy_copies_in_dd57_are_the_streams_and_clamped() -> None:
    texts = [text_prompt("red:2"), text_prompt("blue")]
    (target,) = encode([Clip()], texts, compat="dd57", random=StreamRandom(5), fuzzy_prompt=True)
    torch.manual_seed(5)
    embed = EightNumberClip().encode_text(["red"])
    expected = torch.cat([(embed + torch.randn(1, 8) * 0.05).clamp(0, 1) for _ in range(25)])
    torch.testing.assert_close(target.text_embeds[:25], expected)
    assert target.text_embeds.shape == (50, 8)
    torch.testing.assert_close(target.weights(0), torch.tensor([2 / 75] * 25 + [1 / 75] * 25))


def test_fuzzy_copies_in_fixed_are_unclamped_of_length_1_and_repeatable() -> None:
    def once() -> Tensor:
        return encode([Clip()], [text_prompt("red")], fuzzy_prompt=True)[0].text_embeds

    embeds = once()
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(25))
    assert embeds.min() < 0 and embeds.std(0).min() > 0
    assert torch.equal(once(), embeds)


PICTURE = PicturePrompt(torch.full((1, 3, 32, 40), 1.0), Schedule.parse(3))


def test_a_picture_becomes_sixteen_cuts_that_share_its_weight() -> None:
    clip = Clip()
    (target,) = encode([clip], [text_prompt("red")], [PICTURE])
    assert target.text_embeds.shape == (17, 8)
    torch.testing.assert_close(target.weights(0), torch.tensor([0.25] + [0.75 / 16] * 16))
    assert clip.saw[0].shape == (16, 3, 16, 16)


def test_a_picture_alone_is_enough() -> None:
    (target,) = encode([Clip()], [], [PICTURE])
    assert target.text_embeds.shape == (16, 8)


def test_the_scale_of_pictures() -> None:
    """Black is 0 for CLIP; the original shows it as -1, and the border, 0, as grey."""
    black, shown = PicturePrompt(torch.full((1, 3, 32, 32), -1.0), ONE), []
    for compat, random in (("fixed", FixedRandom(1, [0])), ("dd57", StreamRandom(1))):
        clip = Clip()
        encode([clip], [], [black], compat=compat, random=random, skip_augs=True)
        shown.append((clip.saw[0].min().item(), clip.saw[0].max().item()))
    assert shown[0] == (0, 0)
    assert shown[1] == (pytest.approx(-1, abs=0.2), pytest.approx(0, abs=0.2))


def test_pictures_in_fixed_leave_the_global_stream_alone_and_repeat() -> None:
    before, first, second = torch.get_rng_state(), Clip(), Clip()
    grey = PicturePrompt(torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(1)), ONE)
    encode([first], [], [grey])
    torch.manual_seed(77)
    encode([second], [], [grey])
    assert torch.equal(first.saw[0], second.saw[0])
    torch.set_rng_state(before)


def test_pictures_in_dd57_draw_from_the_stream() -> None:
    first, second = Clip(), Clip()
    for clip in (first, second):
        encode([clip], [], [PICTURE], compat="dd57", random=StreamRandom(3))
    assert torch.equal(first.saw[0], second.saw[0])


def test_cuts_of_a_picture_are_augmented_unless_told_not_to() -> None:
    plain, changed = Clip(), Clip()
    encode([plain], [], [PICTURE], skip_augs=True)
    encode([changed], [], [PICTURE])
    assert plain.saw[0].shape == changed.saw[0].shape
    assert not torch.allclose(plain.saw[0], changed.saw[0], atol=0.05)
