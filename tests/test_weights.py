"""Sums over importance weights: exact at the edges, where weights are zero or powers are near 0."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae.inference import (
    CIWAE,
    IWAE,
    MIWAE,
    PIWAE,
    SVI,
    VIMCO,
    Compile,
    DReG,
    LeaveOneOut,
    MovingAverage,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    linear,
)
from pyro_vae.inference.terms import log_mean_exp, log_power_mean, normalized, weighted
from pyro_vae.models import VAE

NONE = -math.inf
LOG_W = torch.tensor([[0.3, NONE, NONE], [-1.2, 2.0, NONE], [0.9, 0.5, NONE], [0.1, NONE, NONE]])


def test_weights_of_zero_have_no_share_even_if_all_are_zero():
    shares = normalized(LOG_W)
    assert shares[:, 0].tolist() == LOG_W[:, 0].softmax(0).tolist()
    assert shares[:, 1].tolist() == [0.0, *LOG_W[1:3, 1].softmax(0).tolist(), 0.0]
    assert shares[:, 2].tolist() == [0.0] * 4


@pytest.mark.parametrize("weight", [0.0, torch.zeros(()), torch.zeros((), dtype=torch.float64)])
def test_a_weight_of_zero_counts_nothing_of_an_infinite_value(weight):
    value = torch.tensor([NONE, math.inf, 3.0], requires_grad=True)
    product = weighted(weight, value)
    assert product.tolist() == [0.0] * 3
    assert torch.autograd.grad(product.sum(), value)[0].tolist() == [0.0] * 3


@pytest.mark.parametrize("mean", [log_mean_exp, lambda w: log_power_mean(w, 0.5)])
def test_a_datum_without_weights_has_no_gradient_and_leaves_others_theirs(mean):
    log_w = LOG_W.clone().requires_grad_()
    value = mean(log_w)
    gradient = torch.autograd.grad(value.sum(), log_w)[0]
    assert value[2] == NONE and value[:2].isfinite().all()
    assert gradient.isfinite().all() and gradient[:, 2].eq(0).all()
    torch.testing.assert_close(gradient.sum(0), torch.tensor([1.0, 1.0, 0.0]))


SPREAD = torch.linspace(-90.0, -20.0, 64, dtype=torch.float64).square().mul(-0.02)[:, None]


@pytest.mark.parametrize("power", [1e-9, -1e-9, 1e-7, 1e-6, -1e-6, 1e-4, 0.01, 0.5, 1.0, -1.0, 3.0])
@pytest.mark.parametrize("of", [float, torch.tensor])
def test_the_power_mean_in_float32_is_that_in_float64(power, of):
    wide = SPREAD.clone().requires_grad_()
    exact = ((power * wide).logsumexp(0) - math.log(64)) / power
    if abs(power) < 1e-6:  # where the formula itself loses digits: to second order
        exact = wide.mean(0) + power / 2 * wide.var(0, correction=0)
    narrow = SPREAD.float().requires_grad_()
    found = log_power_mean(narrow, of(power))
    assert found.item() == pytest.approx(exact.item(), abs=5e-5)
    gradients = [torch.autograd.grad(v.sum(), w)[0] for v, w in ((exact, wide), (found, narrow))]
    torch.testing.assert_close(gradients[1].double(), gradients[0], rtol=2e-3, atol=2e-6)


def test_the_power_mean_at_0_is_the_mean():
    assert log_power_mean(SPREAD, torch.zeros(())).item() == pytest.approx(SPREAD.mean().item())


def test_the_power_mean_of_many_particles_keeps_its_digits_where_one_weighs_all():
    log_w = torch.full((1_000_000, 1), -200.0)
    log_w[7] = 3.0
    assert log_power_mean(log_w, 1.0).item() == pytest.approx(3 - math.log(1e6), abs=1e-5)


@pytest.mark.parametrize("alpha", [1 - 1e-7, 1 + 1e-7])
def test_renyi_next_to_1_is_the_elbo_to_second_order(alpha):
    expected = SPREAD.mean() + (1 - alpha) / 2 * SPREAD.var(correction=0)
    assert Renyi(64, alpha=alpha).bound(SPREAD.float()).item() == pytest.approx(
        expected.item(), abs=3e-5
    )


def test_the_mean_of_others_knows_of_weights_of_zero():
    baseline = LeaveOneOut()(LOG_W)
    assert baseline[:, 0].tolist() == pytest.approx([-0.2 / 3, 1.3 / 3, -0.8 / 3, 0.0], abs=1e-6)
    assert (baseline[:, 1:] == NONE).all()
    one_dead = LeaveOneOut()(torch.tensor([[1.0], [NONE], [3.0]]))
    assert one_dead.flatten().tolist() == [NONE, 2.0, NONE]


def test_the_moving_average_keeps_out_what_is_infinite():
    average = MovingAverage(0.5)
    average(torch.full((2, 2), 4.0))
    average(torch.full((2, 2), NONE))
    assert average(torch.zeros(2, 2)).item() == 2.0


# Uniform(z - 1, z + 1) at x has a density of zero for draws far from x.
WEIGHTED = [
    IWAE(5),
    MIWAE(6, groups=2),
    PIWAE(6, groups=2),
    CIWAE(5, beta=0.0),
    Renyi(5, alpha=0.5),
    DReG(5),
    VIMCO(5),
    VIMCO(2),
    ReweightedWakeSleep(5),
]
ELBOS = [
    CIWAE(5),
    ScoreFunction(3),
    ScoreFunction(2, baseline=MovingAverage()),
    Renyi(5, alpha=2.0),
]


def loss_and_gradients(estimator, x, seed):
    """For each datum a copy of the guide's parameter of its own, and one for all."""
    own, shared = (
        torch.full((len(x),), 0.3, requires_grad=True),
        torch.zeros((), requires_grad=True),
    )

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Uniform(z - 1, z + 1, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(own + shared, 1.0))

    pyro.set_rng_seed(seed)
    with pyro.validation_enabled(False):
        loss = estimator.differentiable_loss(model, guide, x)
    return loss, *torch.autograd.grad(loss, (own, shared))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("estimator", [*WEIGHTED, *ELBOS], ids=repr)
def test_a_particle_of_weight_zero_makes_no_nan(estimator, seed):
    loss, own, shared = loss_and_gradients(estimator, torch.tensor([0.2, 0.4, 1.5, -1.0]), seed)
    assert not loss.isnan() and own.isfinite().all() and shared.isfinite()


@pytest.mark.parametrize("estimator", [*WEIGHTED, *ELBOS], ids=repr)
def test_a_datum_whose_particles_all_weigh_nothing_leaves_the_others_their_gradient(estimator):
    loss, own, shared = loss_and_gradients(estimator, torch.tensor([0.2, 0.4, 90.0]), 0)
    assert loss == math.inf and own.isfinite().all() and shared.isfinite()


@pytest.mark.parametrize(
    "loss", [CIWAE(4, beta=linear(0.1, 0.9, 20)), Renyi(4, alpha=linear(0.1, 0.9, 20))]
)
def test_a_scheduled_bound_is_captured_and_is_that_of_eager_steps(loss):
    x, losses = (
        (torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float(),
        [],
    )
    for compile in (False, Compile(mode="captured")):
        pyro.set_rng_seed(0)
        program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
        svi = SVI(
            program.model, program.guide, pyro.optim.Adam({"lr": 1e-3}), loss, compile=compile
        )
        losses.append([svi.step(x).item() for _ in range(6)])
    assert svi.mode == "captured"
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
