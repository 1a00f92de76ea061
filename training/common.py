"""What every training command shares: packed pictures as batches, learning rate, EMA, checkpoints, logs."""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from disco.sampling.diffusion import alphas_bar
from training import data
from training.muon import Both


class Pictures:
    """Random crops of packed sources, flipped at random, as [B, 3, S, S] in [-1, 1]."""

    def __init__(self, folder: Path, names: list[str], side: int, seed: int) -> None:
        self.arrays = [data.load(folder, name)[0] for name in names]
        self.starts = np.cumsum([0] + [len(array) for array in self.arrays])
        self.side = side
        self.rng = np.random.default_rng(seed)

    def _one(self, index: int) -> np.ndarray:
        source = int(np.searchsorted(self.starts, index, side="right")) - 1
        picture = self.arrays[source][index - self.starts[source]]
        top, left = self.rng.integers(0, picture.shape[0] - self.side + 1, 2)
        crop = picture[top : top + self.side, left : left + self.side]
        return crop[:, ::-1] if self.rng.random() < 0.5 else crop

    def batch(self, size: int) -> Tensor:
        chosen = self.rng.integers(0, self.starts[-1], size)
        stacked = np.stack([self._one(int(index)) for index in chosen])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def learning_rate(step: int, steps: int, base: float, warmup: int = 200, cooldown: float = 0.3) -> float:
    """Linear warm-up, constant, then a linear way down over the last `cooldown` share of all steps."""
    left = max(steps - step, 0) / max(steps * cooldown, 1)
    return base * min(1.0, (step + 1) / warmup, left)


class Ema:
    """A copy of the network whose weights are the moving average; `decay` counts from the first steps on."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        mine, theirs = list(self.network.parameters()), list(network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for buffer, new in zip(self.network.buffers(), network.buffers(), strict=True):
            buffer.copy_(new)


def export(state: dict[str, Tensor], path: Path) -> int:
    """Write `state` as fp16 safetensors through a temporary name; returns the bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".safetensors.part")
    save_file({name: stored(tensor) for name, tensor in state.items()}, partial)
    partial.chmod(0o644)
    partial.rename(path)
    return path.stat().st_size


def stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor


class Run:
    """One training run's folder: checkpoint, log of losses, sample sheets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.started = time.time()
        self.losses: list[float] = []

    def load(self) -> dict[str, Any] | None:
        path = self.folder / "checkpoint.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def save(self, **parts: Any) -> None:
        partial = self.folder / "checkpoint.part"
        torch.save(parts, partial)
        partial.rename(self.folder / "checkpoint.pt")

    def log(self, step: int, loss: float, every: int = 50, **more: float) -> None:
        self.losses.append(loss)
        if step % every:
            return
        seconds = time.time() - self.started
        row = {
            "step": step,
            "loss": sum(self.losses) / len(self.losses),
            "seconds": round(seconds, 1),
            **more,
        }
        self.losses.clear()
        with (self.folder / "loss.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)

    def sheet(self, pictures: Tensor, name: str, columns: int = 8) -> None:
        """A contact sheet of [B, 3, H, W] in [-1, 1]."""
        rows = [torch.cat(list(row), dim=2) for row in pictures.clamp(-1, 1).split(columns)]
        rows = [nn.functional.pad(row, (0, rows[0].shape[2] - row.shape[2])) for row in rows]
        sheet = ((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        Image.fromarray(sheet.cpu().numpy()).save(self.folder / name)


def begin_with(network: nn.Module, checkpoint: Path | None) -> None:
    """Give the network the averaged weights of another run, if one is named."""
    if checkpoint is not None:
        network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["ema"])


class Trainer:
    """A network on its way: its average, its optimiser, the checkpoint they come from and go to."""

    def __init__(
        self, run: Run, network: nn.Module, optimizer: torch.optim.Optimizer | Both, decay: float
    ) -> None:
        self.run, self.network, self.optimizer = run, network, optimizer
        self.ema = Ema(network, decay)
        self.rates = [(group["lr"], group.get("weight_decay", 0.0)) for group in optimizer.param_groups]
        self.step = 0
        if (saved := run.load()) is not None:
            network.load_state_dict(saved["network"])
            self.ema.network.load_state_dict(saved["ema"])
            optimizer.load_state_dict(saved["optimizer"])
            self.step = saved["step"]

    def update(self, loss_of: Callable[[], Tensor], steps: int) -> float:
        """One step of the optimiser; the learning rate is that of this step among `steps`."""
        for group, (rate, decay) in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"], group["weight_decay"] = learning_rate(self.step, steps, rate), decay
        loss = loss_of()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.ema.update(self.network, self.step)
        self.step += 1
        return float(loss.detach())

    def save(self, **more: Any) -> None:
        parts = {"network": self.network.state_dict(), "ema": self.ema.network.state_dict()}
        self.run.save(**parts, optimizer=self.optimizer.state_dict(), step=self.step, **more)


def linear_alpha_sigma(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma [B, 1, 1, 1] of integer t in 0..999 on the linear schedule of Ho et al. 2020."""
    chosen = torch.from_numpy(alphas_bar(1000)).to(torch.float32).to(t.device)[t.long()][:, None, None, None]
    return chosen.sqrt(), (1 - chosen).sqrt()


def ddim_step(x_t: Tensor, pred_x0: Tensor, t: Tensor, t_next: Tensor, eta: float, noise: Tensor) -> Tensor:
    """x_t [B, 3, H, W] at integer t_next <= t, both [B] in 0..999, of any level in each row.

    As disco.sampling.diffusion.ddim_step, which takes one level for all.
    """
    (alpha, sigma), (alpha_next, sigma_next) = linear_alpha_sigma(t), linear_alpha_sigma(t_next)
    eps = (x_t - alpha * pred_x0) / sigma
    fresh = eta * sigma_next / sigma * (1 - (alpha / alpha_next).square()).clamp(min=0).sqrt()
    kept = (sigma_next.square() - fresh.square()).clamp(min=0).sqrt()
    return alpha_next * pred_x0 + kept * eps + fresh * noise


def arguments(
    what: str,
    *,
    steps: int,
    batch: int,
    lr: float,
    ema: float,
    seed: int,
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> argparse.Namespace:
    """The command line of one network's training, with its defaults; sets the number of threads.

    more: adds what only this network's training has.
    """
    parser = argparse.ArgumentParser(description=f"Train the pocket {what} network.")
    parser.add_argument("--data", type=Path, default=Path("training/runs/data"))
    parser.add_argument("--out", type=Path, default=Path("training/runs") / what)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--ema", type=float, default=ema)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--start", type=Path, help="checkpoint of another run whose average to begin with")
    more(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options
