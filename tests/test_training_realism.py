"""The losses that make guesses look real, and x_t as the network's own steps leave it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from disco.sampling.diffusion import ddim_step as sampler_step
from disco.sampling.diffusion import make_steps, predict_eps
from training import diffusion
from training.common import ddim_step, linear_alpha_sigma
from training.own_steps import own_step
from training.realism import FINE, LAYERS, Critic, Features, Realism, fine_first, perceptual


@pytest.fixture(scope="module")
def features() -> Features:
    torch.manual_seed(0)
    return Features(None)


def realism() -> Realism:
    torch.manual_seed(0)
    return Realism(None, "cpu", (0.5, 0.2))


def pictures(seed: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_fine_first_changes_no_pixel_and_holds_back_the_coarse_gradient() -> None:
    x = pictures(0).requires_grad_()
    same = fine_first(x)
    assert torch.allclose(same, x)
    (flat,) = torch.autograd.grad(same.mean(), x, retain_graph=True)
    assert torch.allclose(flat * flat.numel(), torch.full_like(flat, 0.4), atol=0.02)
    (checks,) = torch.autograd.grad((same * checkers()).sum(), x)
    assert torch.allclose(checks, checkers().expand_as(x), atol=0.01)  # fine: the whole gradient


def checkers() -> Tensor:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    return ((x + y) % 2).float() * 2 - 1


def test_fine_first_without_a_coarse_share_holds_it_back_altogether() -> None:
    x = torch.zeros(1, 3, 4 * FINE, 4 * FINE, requires_grad=True)
    (gradient,) = torch.autograd.grad(fine_first(x, FINE, 0.0).sum(), x)
    assert gradient.abs().max() < 1e-6


def test_features_have_length_one_at_strides_two_to_sixteen(features: Features) -> None:
    found = features(pictures(0))
    assert [tuple(f.shape) for f in found] == [
        (2, channels, 32 // 2**k, 32 // 2**k) for k, channels in enumerate(LAYERS.values())
    ]
    lengths = [part.square().sum(1).sqrt() for part in found]
    assert max(length.max() for length in lengths) < 1.001
    assert (
        lengths[0].median() > 0.9
    )  # deeper ones, of random weights, are so small that the guard against 0 shows
    assert not any(weight.requires_grad for weight in features.parameters())


def test_the_perceptual_loss_is_nothing_for_equal_pictures_and_grows_with_the_error(
    features: Features,
) -> None:
    x, noise = pictures(0), pictures(1)
    near, far = features(x + 0.1 * noise), features(x + 0.5 * noise)
    assert perceptual(features(x), features(x)).abs().max() == 0
    assert (0 < perceptual(near, features(x))).all()
    assert (perceptual(near, features(x)) < perceptual(far, features(x))).all()


def test_the_perceptual_loss_by_hand() -> None:
    mine, theirs = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    mine[0, 0], theirs[0, 0, 0, 0], theirs[0, 1, 0, 1] = (
        1,
        1,
        1,
    )  # equal at one place, at right angles at the other
    assert perceptual([mine, mine], [theirs, theirs]).tolist() == [2.0]  # (0 + 2) / 2 at each of two depths


def test_the_critic_learns_to_tell_flat_pictures_from_noisy_ones() -> None:
    judge = realism()
    t, alpha = torch.tensor([100, 500]), torch.ones(2, 1, 1, 1)
    losses = []
    for k in range(40):
        judge.loss(torch.zeros(2, 3, 64, 64), pictures(k), t, alpha)
        losses.append(judge.learn())
    assert losses[0] == pytest.approx(2, abs=0.4)  # it knows nothing
    assert losses[-1] < 0.5


def test_the_network_is_drawn_towards_what_the_critic_takes_for_real() -> None:
    judge = realism()
    t, alpha = torch.tensor([100, 500]), torch.ones(2, 1, 1, 1)
    for k in range(60):
        judge.loss(torch.zeros(2, 3, 64, 64), pictures(k), t, alpha)
        judge.learn()
    judge.shares = (0.0, 1.0)
    flat = judge.loss(torch.zeros(2, 3, 64, 64), pictures(0), t, alpha)
    noisy = judge.loss(pictures(99), pictures(0), t, alpha)
    assert (noisy < flat).all()


def test_a_loss_of_realism_reaches_the_guess_and_not_the_critic() -> None:
    judge = realism()
    judge.learned = 1000
    guess = pictures(1).requires_grad_()
    judge.loss(guess, pictures(0), torch.tensor([100, 500]), torch.ones(2, 1, 1, 1)).sum().backward()
    assert guess.grad is not None and guess.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in judge.critic.parameters())
    assert all(weight.requires_grad for weight in judge.critic.parameters())


def test_realism_counts_in_proportion_to_alpha() -> None:
    judge = realism()
    x, y, t = pictures(0), pictures(1), torch.tensor([100, 100])
    whole = judge.loss(x, y, t, torch.ones(2, 1, 1, 1))
    half = judge.loss(x, y, t, torch.full((2, 1, 1, 1), 0.5))
    assert torch.allclose(half, whole / 2)


def test_the_critic_has_no_say_before_it_has_learned() -> None:
    judge, t = realism(), torch.tensor([100, 500])
    x, y = pictures(0), pictures(1)
    first = judge.loss(x, y, t, torch.ones(2, 1, 1, 1))
    alone = 0.5 * perceptual(judge.features(x), judge.features(y))
    assert torch.allclose(first, alone, atol=1e-4)


def test_learning_before_a_loss_is_an_error() -> None:
    with pytest.raises(AssertionError, match="nothing was seen yet: call loss first"):
        realism().learn()


def test_a_critic_goes_on_where_it_stopped() -> None:
    one, two = realism(), realism()
    t, alpha = torch.tensor([100, 500]), torch.ones(2, 1, 1, 1)
    for k in range(3):
        one.loss(pictures(k), pictures(k + 9), t, alpha)
        one.learn()
    two.load_state_dict(one.state_dict())
    again = [judge.loss(pictures(5), pictures(6), t, alpha).tolist() for judge in (one, two)]
    assert again[0] == again[1]
    assert one.learn() == two.learn()


def test_the_critic_knows_the_noise_level() -> None:
    torch.manual_seed(0)
    critic, found = Critic(), Features(None)(pictures(0))
    early, late = critic(found, torch.tensor([900, 900])), critic(found, torch.tensor([10, 10]))
    assert [answer.shape[0] for answer in early] == [2] * len(LAYERS)
    assert not torch.allclose(early[0], late[0])


def test_an_own_step_of_a_perfect_network_is_the_picture_under_noise_of_that_level() -> None:
    torch.manual_seed(0)
    x_0, t = pictures(0, 64), torch.full((64,), 300)
    x_t = own_step(lambda x, t: x_0, x_0, t)
    alpha, sigma = linear_alpha_sigma(t)
    noise = (x_t - alpha * x_0) / sigma
    assert abs(float(noise.mean())) < 0.01
    assert float(noise.std()) == pytest.approx(1, abs=0.01)


def test_a_step_of_training_is_that_of_the_sampler() -> None:
    now, then = make_steps(10)[3:5]
    x_t, pred_x0, noise = (
        torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(k)) for k in range(3)
    )
    t, t_next = (torch.full((2,), round(step.t)) for step in (now, then))
    theirs = sampler_step(pred_x0, predict_eps(x_t, pred_x0, now), now, 0.8, noise)
    torch.testing.assert_close(ddim_step(x_t, pred_x0, t, t_next, 0.8, noise), theirs, rtol=1e-4, atol=1e-4)


def test_an_own_step_carries_what_the_network_paints() -> None:
    torch.manual_seed(0)
    x_0, t = torch.zeros(64, 3, 32, 32), torch.full((64,), 200)
    x_t = own_step(lambda x, t: x_0 + 0.5, x_0, t)
    alpha, _ = linear_alpha_sigma(t)
    assert 0 < float(x_t.mean()) < 0.5 * float(alpha[0])  # its error is in x_t, and in eps against it


def test_an_own_step_starts_at_a_noisier_level_and_never_past_the_last() -> None:
    asked: list[Tensor] = []

    def guess(x_t: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return torch.zeros_like(x_t)

    t = torch.arange(0, 1000, 37)
    assert torch.isfinite(own_step(guess, torch.zeros(len(t), 3, 8, 8), t)).all()
    assert ((asked[0] - t >= 20) & (asked[0] - t < 120) | (asked[0] == 999)).all()


def test_a_share_of_each_batch_is_painted_by_the_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    network = diffusion.Preconditioned(torch.nn.Identity(), torch.full((48,), 0.5))
    monkeypatch.setattr(diffusion, "own_step", lambda guess, x_0, t: torch.full_like(x_0, math.pi))
    x_0, t = pictures(0, 4), torch.full((4,), 300)
    half, none = (diffusion.Loss(network, own=own).noised(x_0, t) for own in (0.5, 0.0))
    assert [float(x.std()) < 1e-5 for x in half] == [True, True, False, False]
    assert not any(float(x.std()) < 1e-5 for x in none)
    assert half.shape == none.shape == x_0.shape


def test_the_whole_loss_adds_realism(monkeypatch: pytest.MonkeyPatch) -> None:
    network = diffusion.Preconditioned(torch.nn.Conv2d(48, 48, 1), torch.full((48,), 0.5))
    monkeypatch.setattr(network.unet, "forward", lambda x, t: functional.conv2d(x, network.unet.weight))
    x_0 = pictures(0)
    torch.manual_seed(3)
    plain = diffusion.Loss(network)(x_0)
    torch.manual_seed(3)
    more = diffusion.Loss(network, realism())(x_0)
    assert more > plain
