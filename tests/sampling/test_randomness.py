"""Random numbers: independent of batch and global state; or one stream, saved and restored to the bit."""

import random

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from disco.sampling.diffusion import make_steps
from disco.sampling.randomness import FixedRandom, StreamRandom

STEPS = make_steps(10)
ONE = (1, 3, 4, 6)


@pytest.fixture
def own_stream():
    """Lets a test seed the global stream without leaving traces."""
    with torch.random.fork_rng():
        yield


def draws(source, step=STEPS[3], pictures=1):
    """Every kind of draw of a batch, as {name: [one tensor per picture]}."""
    shape = (pictures, 3, 4, 6)
    each = {
        "start": source.start_noise(shape),
        "step": source.step_noise(step, shape),
        "mask": source.mask_noise(step, shape),
        "crops": [torch.rand(5, generator=g) for g in source.crops(step, 1, 2)],
        "augments": [torch.rand(5, generator=g) for g in source.augments(step, 1, 2)],
        "pixels": [source.pixel_noise(step, 1, 2, (5, 3), "cpu", k) for k in range(pictures)],
        "perlin": [torch.rand(5, generator=g) for g in source.perlin()],
    }
    return {name: list(values) for name, values in each.items()}


def test_a_picture_is_the_same_alone_and_in_any_batch():
    batch = draws(FixedRandom(42, [5, 0, 7]), pictures=3)
    for position, k in enumerate([5, 0, 7]):
        for name, (alone,) in draws(FixedRandom(42, [k])).items():
            assert torch.equal(alone, batch[name][position]), name


def test_every_place_has_its_own_numbers():
    source, seen = FixedRandom(1, [0, 1]), []
    for step in STEPS[:2]:
        seen += source.step_noise(step, (2, 1, 1, 4)).flatten(1).tolist()
        seen += source.mask_noise(step, (2, 1, 1, 4)).flatten(1).tolist()
        for clip in range(2):
            for batch in range(2):
                generators = source.crops(step, clip, batch) + source.augments(step, clip, batch)
                seen += [torch.randn(4, generator=g).tolist() for g in generators]
                for picture in range(2):
                    for layer in range(3):
                        noise = source.pixel_noise(step, clip, batch, (4,), "cpu", picture, layer)
                        seen.append(noise.tolist())
    seen += source.start_noise((2, 1, 1, 4)).flatten(1).tolist()
    seen += [torch.randn(4, generator=g).tolist() for g in source.perlin()]
    for kind in (source.fuzzy, source.image_prompt):
        seen += [torch.randn(4, generator=kind(c, p)).tolist() for c in range(2) for p in range(2)]
    assert len(seen) == len({tuple(numbers) for numbers in seen}) == 100


def test_seeds_differ_and_repeat():
    first, again, other = (FixedRandom(seed, [0]).start_noise(ONE) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_numbers_of_a_seed_never_change():
    """Pictures of old seeds depend on these."""
    noise = FixedRandom(42, [0]).start_noise(ONE).flatten()[:4]
    crop = torch.rand(2, generator=FixedRandom(42, [3]).crops(STEPS[1], 0, 2)[0])
    assert torch.allclose(noise, torch.tensor([0.730303, 2.846889, -1.607514, -0.664360]), atol=1e-6)
    assert torch.allclose(crop, torch.tensor([0.563422, 0.435200]), atol=1e-6)


def test_noise_is_standard_normal():
    noise = FixedRandom(3, [0, 1]).start_noise((2, 3, 100, 100))
    assert noise.dtype == torch.float32
    assert noise.mean().abs() < 0.02 and abs(noise.std() - 1) < 0.02


def test_prompts_are_shared_by_the_pictures_of_a_batch():
    one, two = (FixedRandom(9, pictures) for pictures in ([0], [4, 5]))
    for kind in ("fuzzy", "image_prompt"):
        numbers = [torch.rand(3, generator=getattr(source, kind)(1, 2)) for source in (one, two)]
        assert torch.equal(*numbers)


def test_fixed_neither_reads_nor_changes_global_state():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = draws(FixedRandom(42, [0]))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    with torch.random.fork_rng():
        torch.manual_seed(5)
        second = draws(FixedRandom(42, [0]))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first.values(), second.values(), strict=True))


def test_fixed_has_no_state():
    source = FixedRandom(1, [0])
    source.restore(source.state())
    with pytest.raises(ValueError, match=r"^random states of another mode: cpu; compat fixed has none$"):
        source.restore({"cpu": torch.zeros(1)})


def test_stream_draws_in_the_originals_order(own_stream):
    ours = draws(StreamRandom(42))
    torch.manual_seed(42)
    for name, draw in {
        "start": lambda: torch.randn(ONE)[0],
        "step": lambda: torch.randn(ONE)[0],
        "mask": lambda: torch.randn(ONE)[0],
        "crops": lambda: torch.rand(5),
        "augments": lambda: torch.rand(5),
        "pixels": lambda: torch.randn(5, 3),
        "perlin": lambda: torch.rand(5),
    }.items():
        assert torch.equal(ours[name][0], draw()), name


def test_stream_gives_the_originals_noise(own_stream, golden):
    """noise_seed5: the start, then one draw per step."""
    stream = StreamRandom(5)
    noise = [stream.start_noise((1, 3, 8, 12))]
    noise += [stream.step_noise(step, (1, 3, 8, 12)) for step in make_steps(25)]
    assert torch.equal(torch.stack(noise), torch.from_numpy(golden("e_trajectories")["noise_seed5"]))


def test_stream_is_seeded_at_its_start_only(own_stream):
    stream = StreamRandom(1)
    first, second = stream.start_noise(ONE), stream.start_noise(ONE)
    assert not torch.equal(first, second)


def some_draws(stream):
    """As a step draws: with odd counts of normals, integers, and a torchvision transform."""
    generator = stream.crops(STEPS[0], 0, 0)[0]
    jitter = v2.ColorJitter(0.1, 0.1, 0.1, 0.1)(torch.full((1, 3, 8, 8), 0.5))
    box = torch.randint(9, (3,), generator=generator)
    return [torch.randn(3, generator=generator), jitter, box, stream.step_noise(STEPS[0], ONE)]


@pytest.mark.parametrize("through_text", [False, True])
def test_stream_goes_on_from_its_state(own_stream, through_text):
    stream = StreamRandom(7)
    some_draws(stream)
    torch.randn(1)  # leaves the second of a pair of normals cached in the generator
    state, text = stream.state(), stream.snapshot()
    expected = some_draws(stream)
    torch.manual_seed(0)
    if through_text:
        stream.restore_snapshot(text)
    else:
        stream.restore(state)
    assert all(torch.equal(a, b) for a, b in zip(some_draws(stream), expected, strict=True))


def test_a_snapshot_fits_a_text_chunk(own_stream):
    text = StreamRandom(7).snapshot()
    assert text.isascii() and text.isprintable() and len(text) < 8000


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no random state of the CPU: compat dd57 needs one to go on"),
        ("cpu=not?base64", "the random state is damaged: it is not base64"),
        ("cpu=AAAA", "the random state is damaged: 3 bytes, not 5056"),
    ],
)
def test_a_damaged_snapshot(own_stream, text, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        StreamRandom(0).restore_snapshot(text)
