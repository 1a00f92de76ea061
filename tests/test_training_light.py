"""training.light: which hues a picture is said to have, and which it is given."""

from __future__ import annotations

import torch

from training import light


def painted(**shares: float) -> torch.Tensor:
    """One picture [1, 3, 20, 20] whose columns have the middles of these hues; the rest is grey."""
    picture = torch.full((1, 3, 20, 20), 0.5)
    column = 0
    for word, share in shares.items():
        width = round(share * 20)
        hue = torch.tensor([float(light.HUES[word][0])])
        picture[..., column : column + width] = light.tinted(
            picture[..., column : column + width], hue, torch.ones(1)
        )
        column += width
    return picture


def labels(picture: torch.Tensor) -> dict[str, int]:
    found = light.measure(picture, torch.tensor([-1]))[0]
    return {word: int(found[light.WORDS.index(word)]) for word in light.HUES}


def test_a_ruling_hue_is_the_pictures_and_a_fifth_beside_it_is_not():
    assert labels(painted(yellow=0.6, green=0.2)) == dict.fromkeys(light.HUES, 0) | {"yellow": 1}


def test_a_fifth_by_itself_is_doubtful():
    assert labels(painted(yellow=0.2))["yellow"] == -1
    assert labels(painted(yellow=0.1))["yellow"] == 0


def test_two_hues_of_equal_size_are_both_there():
    found = labels(painted(blue=0.45, pink=0.45))
    assert (found["blue"], found["pink"], found["green"]) == (1, 1, 0)


def test_random_hues_favour_narrow_words():
    torch.manual_seed(0)
    hues = light.random_hues(20_000)
    assert 0 <= hues.min() and hues.max() < 360
    shares = {
        word: float((((hues - middle + 180) % 360 - 180).abs() <= half).float().mean())
        for word, (middle, half) in light.HUES.items()
    }
    # Half of all anywhere, half within 0.7 of one of eight equally likely words.
    for word, (_, half) in light.HUES.items():
        assert abs(shares[word] - (0.5 * 2 * half / 360 + 0.5 / 8)) < 0.015
