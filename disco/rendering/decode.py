"""Pictures of a step, from what the network denoises: decoded, and under a mask the init picture itself."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from disco.memory.policy import Stage
from disco.rendering.prepare import RunContext
from disco.sampling.masks import keep_original
from disco.sampling.samplers import Sample
from disco.settings.frame import step_count


class StepPictures:
    """The pictures of a sample, [B, 3, H, W] about -1 to 1, decoded once, when they are first asked for."""

    def __init__(self, context: RunContext, sample: Sample) -> None:
        self.context, self.sample = context, sample

    @cached_property
    def pixels(self) -> Tensor:
        """Raises OutOfMemory where no memory saving helps."""
        run = self.context.oom_retry.run
        return run(lambda: decoded(self.context, self.sample.pred_x0), stage=Stage.PICTURE)


@torch.no_grad()
def decoded(context: RunContext, pred_x0: Tensor) -> Tensor:
    """pred_x0 [B, C, h, w] -> what is shown of it, [B, 3, H, W].

    With a mask it is the init picture itself where nothing is painted; where the last steps repaint
    everything, the guesses stay as they are: no seam comes back.
    """
    settings, pictures = context.settings, context.networks.space.decode(pred_x0)
    if context.mask is None or context.init is None or step_count(settings.steps_to_repaint, settings.steps):
        return pictures
    return keep_original(pictures, context.init, context.mask)
