"""memory.policy: which saving comes next, by the stage at which memory ran out."""

from __future__ import annotations

import pytest

from disco.memory.policy import ONE_STEP, Failure, MemoryPolicy, PossibleSavings, Stage, next_saving

PARK = PossibleSavings(offload=True)


def saved_by(failure: Failure, possible: PossibleSavings = PARK, limit: int = 50) -> list[MemoryPolicy]:
    """The policies when it fails there again and again."""
    found: list[MemoryPolicy] = []
    now: MemoryPolicy | None = MemoryPolicy()
    while now is not None and len(found) < limit:
        now = next_saving(now, failure, possible)
        found += [] if now is None else [now]
    return found


def test_the_second_stream_goes_first() -> None:
    """Wherever a step needs memory; any other saving does without it too."""
    possible = PossibleSavings(second_stream=True, offload=True)
    steps = [saving.plain() for saving in saved_by(Failure(Stage.CLIP, cutouts=16), possible)]
    assert steps[:2] == [{"one_stream": True}, {"one_stream": True, "clip_batch": 8}]
    for stage in ONE_STEP:
        following = next_saving(MemoryPolicy(), Failure(stage, pictures=2), possible)
        assert following == MemoryPolicy(one_stream=True)
        assert following.words() == "the diffusion network and the guidance one after the other"
    for stage in set(Stage) - ONE_STEP:
        assert next_saving(MemoryPolicy(), Failure(stage), possible) == MemoryPolicy(offload=True)
    after = next_saving(MemoryPolicy(clip_batch=8), Failure(Stage.CLIP, cutouts=8), possible)
    assert after == MemoryPolicy(clip_batch=4)


def test_a_clip_sees_fewer_then_all_else_and_one_by_one_in_the_end() -> None:
    steps = [saving.plain() for saving in saved_by(Failure(Stage.CLIP, cutouts=16, pictures=2))]
    assert steps[:2] == [{"clip_batch": 8}, {"clip_batch": 4}]
    assert steps[2] == {"clip_batch": 4, "together": 1}
    assert list(steps[3]) == ["clip_batch", "together", "guess_twice"]
    assert list(steps[4]) == ["clip_batch", "together", "twice", "guess_twice"]
    assert [step["clip_batch"] for step in steps[5:]] == [2, 1, 1]
    assert ["park" in step for step in steps[5:]] == [False, False, True]


def test_through_the_unet_the_clips_are_checkpointed_before_it_is() -> None:
    steps = saved_by(Failure(Stage.CLIP, cutouts=4), PossibleSavings(through_unet=True))
    assert [list(step.plain()) for step in steps[:2]] == [["twice"], ["twice", "guess_twice"]]


@pytest.mark.parametrize(
    "stage, through_unet, expected",
    [
        (Stage.UNET, False, ["together", "park"]),
        (Stage.UNET, True, ["together", "guess_twice", "park"]),
        (Stage.SECONDARY, False, ["together", "park"]),
        (Stage.BACK, False, ["together", "park"]),
        (Stage.BACK, True, ["together", "guess_twice", "park"]),
        (Stage.CUTOUTS, False, ["together", "guess_twice", "park"]),
        (Stage.LOSSES, False, ["together", "guess_twice", "park"]),
        (Stage.PERCEPTUAL, False, ["together", "guess_twice", "twice", "park"]),
        (Stage.SAMPLER, False, ["park"]),
        (Stage.PICTURE, False, ["park"]),
        (Stage.MOVING, False, ["park"]),
        (Stage.PROMPTS, False, ["park"]),
    ],
)
def test_only_what_helps_there_is_given_up(stage: Stage, through_unet: bool, expected: list[str]) -> None:
    steps = saved_by(Failure(stage, pictures=2), PossibleSavings(through_unet=through_unet, offload=True))
    new = [set(b.plain()) - set(a.plain()) for a, b in zip([MemoryPolicy(), *steps], steps, strict=False)]
    assert [next(name for name in expected if name in names) for names in new] == expected


def test_what_a_run_cannot_give_up_is_not_named() -> None:
    steps = saved_by(Failure(Stage.CLIP, cutouts=1), PossibleSavings(grad_checkpoint=False))
    assert [list(step.plain()) for step in steps] == [["guess_twice"]]


def test_it_goes_through_json_and_says_what_is_new() -> None:
    saving = MemoryPolicy(clip_batch=4, together=1, grad_checkpoint=True)
    assert MemoryPolicy.of({**saving.plain(), "of a later version": 3}) == saving
    assert saving.since(MemoryPolicy(clip_batch=8, together=1)) == MemoryPolicy(
        clip_batch=4, grad_checkpoint=True
    )
    assert saving.since(saving).words() == ""
    first, second, third = saving.words().split(", ", 2)
    assert (first, second) == ("1 picture guided at once", "4 cutouts seen by a CLIP at once")
    assert third == "gradient checkpointing in the CLIPs"
    assert MemoryPolicy(grad_checkpoint_guess=True, offload=True).words() == (
        "gradient checkpointing in the network that predicts the clean picture, "
        "idle networks offloaded to CPU RAM"
    )
