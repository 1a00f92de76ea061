"""Retry after an out-of-memory error, each time with the next memory saving turned on."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from disco.errors import RunError
from disco.memory.grad_checkpoint import blocks_of, set_grad_checkpoint, tower_of
from disco.memory.offload import CpuOffload, modules_of, tensors_of
from disco.memory.oom import OutOfMemory, at_stage
from disco.memory.policy import MemoryPolicy, PossibleSavings, Stage, has_second_stream, next_saving
from disco.memory.stages import Placed, hook_networks

T = TypeVar("T")


def nothing() -> None:
    """Do nothing."""


class OomRetry:
    """Retries the work of one run. saving: the memory savings in use; possible: those that can be turned on.

    Before every change of `saving` it calls keep(), an argument of run(), and after it remember(saving): a
    resumed run so starts from the saved step with the savings that the stopped run had.
    """

    def __init__(
        self,
        networks: Placed,
        *,
        saving: MemoryPolicy | None = None,
        possible: PossibleSavings | None = None,
        remember: Callable[[MemoryPolicy], None] = lambda saving: None,
        would_fit: Callable[[], str] = lambda: "",
    ) -> None:
        """would_fit: called before the last error; a sentence about what would fit by the estimate, or ""."""
        self.networks, self.possible = networks, possible or possible_savings(networks)
        self.saving = MemoryPolicy()
        self._remember, self._would_fit = remember, would_fit
        self._offload: CpuOffload | None = None
        self._messages: list[str] = []
        self._hooks: list[RemovableHandle] = []
        self._apply(saving or MemoryPolicy())

    def begin(self, saving: MemoryPolicy, why: str) -> None:
        """Turn these savings on before the first step. why: said to the user."""
        if saving != self.saving:
            self._apply(saving)
            self._remember(saving)
            self._messages.append(f"{why}: {saving.words()}")

    def run(
        self,
        do: Callable[[], T],
        *,
        stage: Stage = Stage.SAMPLER,
        pictures: int = 1,
        keep: Callable[[], None] = nothing,
    ) -> T:
        """Call do() until it fits into memory, and return what it returns. It must start over at each call.

        stage: of errors that do not say their own. pictures: guided together in it. When no saving is left it
        is called once more, in case another program needed the memory for a moment. An error that may be of
        another fault is retried once.
        Raises RunError when that fails too.
        """
        before, last_time, guesses = self.saving, False, 0
        while True:
            try:
                with at_stage(stage, self._require):
                    done = do()
            except OutOfMemory as error:
                failure, text = error.failure, str(error)
                guesses += not error.is_certain
            else:
                self._tell(before)
                return done
            # Outside of the handler, so that the tensors of the failed pass are gone.
            following = next_saving(self.saving, replace(failure, pictures=pictures), self.possible)
            if guesses > 1 or (following is None and last_time):
                raise RunError(self._lost(text))
            release()
            last_time = following is None
            if following is not None:
                keep()
                self._apply(following)
                self._remember(following)

    def wrap(self, thing: T) -> T:
        """The same object, each of whose methods is retried by run(): for what prepares the next frame."""
        return _Wrapped(thing, self)  # type: ignore[return-value]

    def pop_messages(self) -> list[str]:
        """The messages for the user since the last call: the savings turned on, and why."""
        messages, self._messages = self._messages, []
        return messages

    def tell(self, text: str) -> None:
        """Add a message for the user."""
        self._messages.append(text)

    def close(self) -> None:
        """Undo all savings and remove the hooks: the networks are as they were before."""
        self._apply(MemoryPolicy())
        self._unhook()

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _require(self, *networks: object) -> None:
        """Where networks are offloaded: move these to the device and all others away."""
        if self._offload is not None:
            self._offload.require(*(module for network in networks for module in modules_of(network)))

    def _tell(self, before: MemoryPolicy) -> None:
        more = self.saving.since(before).words()
        if more:
            self._messages.append(f"out of memory: retried with {more}; the run remembers this memory saving")

    def _lost(self, text: str) -> str:
        tried = self.saving.words() or "none is possible here"
        said = [text, f"memory saving tried: {tried}", self._would_fit()]
        elsewhere = "" if self.networks.device.type == "cpu" else ", or with --device cpu"
        ending = f"finished steps are saved: --resume goes on when more memory is free{elsewhere}"
        return "\n".join(line for line in (*said, ending) if line)

    def _apply(self, saving: MemoryPolicy) -> None:
        networks, possible = self.networks, self.possible
        self._unhook()
        self._hooks = hook_networks(networks)  # anew: networks may have been added since
        for module in _seen_by(networks):
            set_grad_checkpoint(module, saving.grad_checkpoint)
        for module in _modules(networks, Stage.UNET):
            set_grad_checkpoint(module, saving.grad_checkpoint_guess and possible.through_unet)
        if saving.offload and self._offload is None:
            self._offload = CpuOffload(_all(networks), networks.device)
        elif not saving.offload and self._offload is not None:
            self._offload.close()
            self._offload = None
        self.saving = saving


class _Wrapped:
    """An object whose methods are retried by OomRetry.run."""

    def __init__(self, wrapped: object, oom_retry: OomRetry) -> None:
        self._wrapped, self._oom_retry = wrapped, oom_retry

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        return partial(self._run, attribute) if callable(attribute) else attribute

    def _run(self, method: Callable[..., T], *args: Any) -> T:
        return self._oom_retry.run(lambda: method(*args), stage=Stage.MOVING)


def possible_savings(networks: Placed) -> PossibleSavings:
    """The memory savings that these networks allow."""
    through_unet = not networks.at(Stage.SECONDARY)
    return PossibleSavings(
        second_stream=has_second_stream(networks.device.type, through_unet),
        through_unet=through_unet,
        grad_checkpoint=any(blocks_of(module) for module in _seen_by(networks)),
        offload=networks.device.type == "cuda" and any(_all(networks)),
    )


def release() -> None:
    """Collect garbage, and return cached CUDA memory to the device."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _modules(networks: Placed, *stages: Stage) -> list[nn.Module]:
    return [module for thing in networks.at(*stages) for module in modules_of(thing)]


def _seen_by(networks: Placed) -> list[nn.Module]:
    """The networks that see cutouts and pictures: image towers of the CLIPs, the network of init_scale."""
    return [tower_of(module) for module in _modules(networks, Stage.CLIP, Stage.PERCEPTUAL)]


def _all(networks: Placed) -> list[nn.Module]:
    return _modules(networks, *Stage)


def bytes_of(networks: Placed) -> int:
    """Bytes of all parameters and buffers."""
    return sum(tensor.nbytes for module in _all(networks) for tensor in tensors_of(module))
