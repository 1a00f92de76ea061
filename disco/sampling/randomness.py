"""Random numbers, in the two ways a run can have them.

FixedRandom: picture k of seed s is the same alone, in a batch, after any resume: each generator is made new
from a hash of (seed, k, purpose, indices), so nothing has to be remembered and nothing global is touched.
StreamRandom (compat dd57, quirk Q10): the original's one stream, torch's global generator, in its order.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from disco.sampling.brownian import BrownianMotion, rounded_level
from disco.sampling.noise import UNCHANGED, NoiseOptions, refine, refinement, scale_cast


class StepIndex(Protocol):
    """What of a Step matters here: its number, its noise levels, and its place among others of its level."""

    @property
    def i(self) -> int: ...
    @property
    def log_snr(self) -> float: ...
    @property
    def log_snr_next(self) -> float: ...
    @property
    def bucket(self) -> int: ...
    @property
    def number_in_bucket(self) -> int: ...


class Randomness(Protocol):
    """What the run asks for random numbers. Lists hold one generator per picture of the batch."""

    def start_noise(self, shape: Sequence[int]) -> Tensor:
        """[B, 3, H, W], standard normal, float32 on the CPU."""
        ...

    def step_noise(self, step: StepIndex, shape: Sequence[int]) -> Tensor:
        """[B, 3, H, W], standard normal, float32 on the CPU: the sampler's noise of this step."""
        ...

    def mask_noise(self, step: StepIndex, shape: Sequence[int]) -> Tensor:
        """[B, 3, H, W], standard normal, float32 on the CPU: the noise on what a mask keeps."""
        ...

    def crops(self, step: StepIndex, clip_index: int, batch_index: int) -> list[torch.Generator]:
        """CPU generators for the sizes and offsets of the inner cuts."""
        ...

    def augments(self, step: StepIndex, clip_index: int, batch_index: int) -> list[torch.Generator]:
        """CPU generators for the parameters of the augmentations."""
        ...

    def pixel_noise(
        self,
        step: StepIndex,
        clip_index: int,
        batch_index: int,
        shape: Sequence[int],
        device: torch.device | str,
        picture: int,
        layer: int = 0,
    ) -> Tensor:
        """`shape`, standard normal, float32, on `device`: noise that the augmentations add to cutouts.

        picture: its position in the batch. layer: which of the noises of this one batch of cutouts.
        """
        ...

    def perlin(self) -> list[torch.Generator]:
        """CPU generators for the perlin init."""
        ...

    def fuzzy(self, clip_index: int, prompt_index: int) -> torch.Generator:
        """A CPU generator for the noise on a prompt; prompts are shared by the pictures of a batch."""
        ...

    def image_prompt(self, clip_index: int, prompt_index: int) -> torch.Generator:
        """A CPU generator for the cutouts of an image prompt; shared likewise."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from a state()."""
        ...


class FixedRandom:
    """Every generator from (seed, picture, purpose, indices). Pixel noise apart, devices agree.

    Nothing that was drawn before changes what is drawn next; what it keeps only saves time.
    The place of a step is its number, or with options.by "level" its noise level (see brownian.py).
    """

    def __init__(self, seed: int, pictures: Sequence[int], options: NoiseOptions = UNCHANGED) -> None:
        """pictures: the run's number of each picture of the batch, in its order. options: of start, step and
        mask noise; `by` also decides about the places of cutouts.
        """
        self.seed = seed
        self.pictures = tuple(pictures)
        self.options = options
        self._motions: dict[tuple[str, tuple[int, ...]], BrownianMotion] = {}

    def start_noise(self, shape: Sequence[int]) -> Tensor:
        return self._shaped(shape, lambda kind, size: self._normal(f"start{kind}", size))

    def step_noise(self, step: StepIndex, shape: Sequence[int]) -> Tensor:
        if self.options.by == "step":
            return self._shaped(shape, lambda kind, size: self._normal(f"step{kind}", size, step.i))
        if math.isinf(step.log_snr_next):  # the last step adds none
            return torch.zeros(tuple(shape))
        return self._shaped(
            shape, lambda kind, size: self._motion(kind, size).noise(step.log_snr, step.log_snr_next)
        )

    def mask_noise(self, step: StepIndex, shape: Sequence[int]) -> Tensor:
        index = step.i if self.options.by == "step" else rounded_level(step.log_snr)
        return self._shaped(shape, lambda kind, size: self._normal(f"mask{kind}", size, index))

    def crops(self, step: StepIndex, clip_index: int, batch_index: int) -> list[torch.Generator]:
        return self._each("crops", *self._indices(step), clip_index, batch_index)

    def augments(self, step: StepIndex, clip_index: int, batch_index: int) -> list[torch.Generator]:
        return self._each("augments", *self._indices(step), clip_index, batch_index)

    def pixel_noise(
        self,
        step: StepIndex,
        clip_index: int,
        batch_index: int,
        shape: Sequence[int],
        device: torch.device | str,
        picture: int,
        layer: int = 0,
    ) -> Tensor:
        indices = (*self._indices(step), clip_index, batch_index, layer)
        generator = self._generator(self.pictures[picture], "pixels", *indices, device=device)
        return torch.randn(tuple(shape), generator=generator, device=device)

    def perlin(self) -> list[torch.Generator]:
        return self._each("perlin")

    def fuzzy(self, clip_index: int, prompt_index: int) -> torch.Generator:
        return self._generator("all", "fuzzy", clip_index, prompt_index)

    def image_prompt(self, clip_index: int, prompt_index: int) -> torch.Generator:
        return self._generator("all", "image_prompt", clip_index, prompt_index)

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        if state:
            raise ValueError(f"random states of another mode: {', '.join(state)}; compat fixed has none")

    def _indices(self, step: StepIndex) -> tuple[int, ...]:
        """Which cutouts of a picture these are: their random numbers go by it."""
        return (step.i,) if self.options.by == "step" else (step.bucket, step.number_in_bucket)

    def _shaped(self, shape: Sequence[int], draw: Callable[[str, Sequence[int]], Tensor]) -> Tensor:
        """Noise of a shape as the options have it. draw(kind, shape): one of its independent fields."""
        k = refinement(shape, self.options.size)
        if k == 1:
            return scale_cast(draw("", shape), self.options.cast)
        coarse = draw("", (*shape[:-2], shape[-2] // k, shape[-1] // k))
        return scale_cast(refine(draw(f"/fine{k}", shape), coarse), self.options.cast)

    def _motion(self, kind: str, shape: Sequence[int]) -> BrownianMotion:
        key = (kind, tuple(shape))
        if key not in self._motions:
            self._motions[key] = BrownianMotion(
                lambda node, number: self._normal(f"{node}{kind}", shape, number)
            )
        return self._motions[key]

    def _generator(
        self, picture: int | str, purpose: str, *indices: int, device: torch.device | str = "cpu"
    ) -> torch.Generator:
        key = "/".join(map(str, (self.seed, picture, purpose, *indices)))
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        # manual_seed takes 64 bits, read as signed on some devices: 63 are safe everywhere.
        return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)

    def _each(self, purpose: str, *indices: int) -> list[torch.Generator]:
        return [self._generator(k, purpose, *indices) for k in self.pictures]

    def _normal(self, purpose: str, shape: Sequence[int], *indices: int) -> Tensor:
        assert shape[0] == len(self.pictures), (tuple(shape), self.pictures)
        one = tuple(shape[1:])
        return torch.stack([torch.randn(one, generator=g) for g in self._each(purpose, *indices)])


class StreamRandom:
    """One stream for everything: torch's global generators, seeded here, at once. For one picture at a time.

    The places asked for do not matter, only the order of the draws. On CUDA the pixel noise comes from that
    device's own global stream, as in the original.
    """

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)

    def start_noise(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape))

    def step_noise(self, step: StepIndex, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape))

    def mask_noise(self, step: StepIndex, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape))

    def crops(self, step: StepIndex, clip_index: int, batch_index: int) -> list[torch.Generator]:
        return [torch.default_generator]

    def augments(self, step: StepIndex, clip_index: int, batch_index: int) -> list[torch.Generator]:
        return [torch.default_generator]

    def pixel_noise(
        self,
        step: StepIndex,
        clip_index: int,
        batch_index: int,
        shape: Sequence[int],
        device: torch.device | str,
        picture: int,
        layer: int = 0,
    ) -> Tensor:
        if torch.device(device).type == "cuda":
            return torch.randn(tuple(shape), device=device)
        return torch.randn(tuple(shape)).to(device)

    def perlin(self) -> list[torch.Generator]:
        return [torch.default_generator]

    def fuzzy(self, clip_index: int, prompt_index: int) -> torch.Generator:
        return torch.default_generator

    def image_prompt(self, clip_index: int, prompt_index: int) -> torch.Generator:
        return torch.default_generator

    def state(self) -> dict[str, Tensor]:
        """uint8 tensors: `cpu`, and `cuda:N` for each CUDA device in use."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            states |= {f"cuda:{n}": s for n, s in enumerate(torch.cuda.get_rng_state_all())}
        return states

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Raises ValueError without a whole `cpu` state. CUDA devices that are not here are passed over."""
        if "cpu" not in state:
            raise ValueError("no random state of the CPU: compat dd57 needs one to go on")
        size, expected = state["cpu"].numel(), torch.get_rng_state().numel()
        if size != expected:
            raise ValueError(f"the random state is damaged: {size} bytes, not {expected}")
        torch.set_rng_state(state["cpu"].cpu())
        for name, value in state.items():
            if name.startswith("cuda:") and int(name[5:]) < torch.cuda.device_count():
                torch.cuda.set_rng_state(value.cpu(), name)

    def snapshot(self) -> str:
        """state() as one line of ASCII (7 kB), for the text chunk of a PNG."""
        return " ".join(
            f"{name}={base64.b64encode(value.numpy().tobytes()).decode()}"
            for name, value in self.state().items()
        )

    def restore_snapshot(self, text: str) -> None:
        """Goes on from a snapshot(). Raises ValueError for a text that is none."""
        parts = (part.partition("=") for part in text.split())
        self.restore({name: _tensor(data) for name, _, data in parts})


def _tensor(data: str) -> Tensor:
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError("the random state is damaged: it is not base64") from error
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)
