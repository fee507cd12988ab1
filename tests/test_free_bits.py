"""Free bits and capacity: floors under the KL of a batch, of whole sites and of single numbers."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from torch.distributions import kl_divergence

from pyro_vae.inference import STL, SVI, Compile, Trace_ELBO, TraceMeanField_ELBO, linear
from pyro_vae.models import VAE

X = torch.tensor([0.3, -1.2, 1.1, 0.4, -0.7], dtype=torch.float64)
LOG_PX = -0.5 * math.log(2 * math.pi)  # of each datum below: observed at its mean


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


class Vector:
    """q(z | x) = N(loc x, scale) of three numbers, as one event, in an inner plate, or masked."""

    def __init__(self, *, inner=False, mask=True):
        self.loc = double(1.5, 0.1, 0.6).requires_grad_()
        self.scale = double(0.5, 1.1, 0.9).requires_grad_()
        self.inner, self.mask = inner, mask

    def q(self, x):
        return dist.Normal(self.loc * x.unsqueeze(-1), self.scale)

    def kl(self, x):
        return kl_divergence(self.q(x), dist.Normal(double(0.0), double(1.0)))  # (N, 3)

    def model(self, x):
        with poutine.mask(mask=self.mask), self.plate(len(x)):
            self.sample("z", dist.Normal(torch.zeros(len(x), 3).double(), 1.0))
            zeros = torch.zeros((len(x), 1) if self.inner else (len(x),), dtype=torch.float64)
            pyro.sample("x", dist.Normal(zeros, 1.0), obs=zeros)

    def guide(self, x):
        with poutine.mask(mask=self.mask), self.plate(len(x)):
            self.sample("z", self.q(x))

    def plate(self, size):
        return pyro.plate("data", size, dim=-2 if self.inner else -1)

    def sample(self, name, fn):
        if not self.inner:
            return pyro.sample(name, fn.to_event(1))
        with pyro.plate("numbers", 3, dim=-1):
            return pyro.sample(name, fn)


def loss_and_gradients(estimator, program):
    parameters = [program.loc, program.scale]
    loss = estimator.differentiable_loss(program.model, program.guide, X)
    return loss.item(), *torch.autograd.grad(loss, parameters, allow_unused=True)


def expected(program, rate):
    loss = len(X) * (rate - LOG_PX)
    return loss.item(), *torch.autograd.grad(loss, [program.loc, program.scale])


@pytest.mark.parametrize("inner", [False, True])
def test_each_number_has_a_floor_under_its_kl_averaged_over_the_batch(inner):
    program = Vector(inner=inner)
    kl = program.kl(X).mean(0)
    assert kl[0] > 0.5 > kl[1] and (program.kl(X)[:, 0] < 0.5).any()  # of single data it is below
    found = loss_and_gradients(TraceMeanField_ELBO(free_bits_per_dimension=0.5), program)
    right = expected(program, kl.clamp(min=0.5).sum())
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)
    assert found[1][1] == 0 and found[2][1] == 0


def test_the_floor_of_a_site_is_of_all_its_numbers_together():
    program = Vector()
    assert program.kl(X).mean(0).sum() > 0.5
    for bits in (0.5, 50.0):
        kl = program.kl(X).mean(0).sum()
        found = loss_and_gradients(TraceMeanField_ELBO(free_bits=bits), program)
        right = expected(program, kl.clamp(min=bits))
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)


def test_drawn_kls_have_the_same_floors_in_the_mean():
    program, draws = Vector(), 20_000
    estimator = Trace_ELBO(draws, vectorize_particles=True, free_bits_per_dimension=0.5)
    pyro.set_rng_seed(0)
    found = loss_and_gradients(estimator, program)
    right = expected(program, program.kl(X).mean(0).clamp(min=0.5).sum())
    # A draw's log q - log p and its gradient deviate by less than 3; 5 data, 4 errors.
    torch.testing.assert_close(found, right, rtol=0, atol=4 * 3 * 5 / math.sqrt(draws))


@pytest.mark.parametrize("mask", [double(1, 0, 1, 1, 0).bool(), False])
@pytest.mark.parametrize("weight", ["free_bits", "free_bits_per_dimension", "capacity"])
def test_masked_data_neither_pay_a_floor_nor_enter_its_average(weight, mask):
    program = Vector(mask=mask)
    kept = X[torch.as_tensor(mask).expand(len(X))]
    rate = torch.zeros(()).double()
    if len(kept):
        kl = program.kl(kept).mean(0)
        rate = {
            "free_bits": kl.sum().clamp(min=9.0),
            "free_bits_per_dimension": kl.clamp(min=9.0).sum(),
            "capacity": (kl.sum() - 9.0).abs(),
        }[weight]
    loss = TraceMeanField_ELBO(**{weight: 9.0}).loss(program.model, program.guide, X)
    assert loss == pytest.approx((len(kept) * (rate - LOG_PX)).item())


def test_numbers_masked_by_themselves_pay_no_floor():
    class Masked(Vector):
        def sample(self, name, fn):
            return pyro.sample(name, fn.mask(torch.tensor([True, True, False])).to_event(1))

    program = Masked()
    found = loss_and_gradients(TraceMeanField_ELBO(free_bits_per_dimension=0.5), program)
    right = expected(program, program.kl(X).mean(0)[:2].clamp(min=0.5).sum())
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)


def test_subsampling_and_particles_leave_the_floors_as_they_are():
    class Subsampled(Vector):
        def plate(self, size):
            return pyro.plate("data", 2 * size, subsample=torch.arange(size))

    estimator = TraceMeanField_ELBO(3, vectorize_particles=True, free_bits_per_dimension=0.5)
    program = Subsampled()
    right = expected(program, program.kl(X).mean(0).clamp(min=0.5).sum())
    found = loss_and_gradients(estimator, program)
    torch.testing.assert_close(found, tuple(2 * v for v in right), rtol=1e-9, atol=1e-12)


def test_ten_numbers_of_one_site_feel_a_floor_of_their_own_and_none_of_the_sites():
    """What docs/command-line.md says of its example."""
    pyro.set_rng_seed(0)
    vae = VAE((1, 8, 8), latent_dim=10)
    with torch.no_grad():  # a site of some nats, of which half the numbers carry little
        last = [p for p in vae.encoder.parameters() if p.shape[0] == 20]
        last[-1].copy_(torch.tensor([1.5] * 5 + [0.0] * 15))
    x = torch.zeros(6, 1, 8, 8)
    losses = []
    for options in ({}, {"free_bits": 0.5}, {"free_bits_per_dimension": 0.5}):
        pyro.set_rng_seed(0)
        losses.append(TraceMeanField_ELBO(**options).loss(vae.model, vae.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[2] - losses[0] > 6 * 5 * 0.3


@pytest.mark.parametrize("weight", ["free_bits", "free_bits_per_dimension", "capacity"])
def test_a_floor_may_be_a_schedule_in_a_graph(weight):
    x, losses = torch.zeros(6, 1, 8, 8), []
    for compile in (False, Compile(mode="captured")):
        pyro.set_rng_seed(0)
        vae = VAE((1, 8, 8), latent_dim=4, hidden=(8,))
        loss = TraceMeanField_ELBO(**{weight: linear(0.3, 0.0, steps=5)})
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), loss, compile=compile)
        losses.append([svi.step(x).item() for _ in range(8)])
    assert svi.mode == "captured"
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_numbers_that_depend_on_each_other_are_refused():
    def program(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))

    with pytest.raises(ValueError, match="those of 'z' depend on each other in .* use free_bits"):
        TraceMeanField_ELBO(free_bits_per_dimension=0.1).loss(program, program, X)


def test_two_floors_are_refused():
    with pytest.raises(ValueError, match="give one of them"):
        Trace_ELBO(free_bits=0.1, free_bits_per_dimension=0.1)


def test_sticking_the_landing_has_the_same_floors_and_no_noise_at_the_prior():
    program = Vector()
    with torch.no_grad():
        program.loc[1], program.scale[1] = 0.0, 1.0
    estimator = STL(20_000, vectorize_particles=True, free_bits_per_dimension=0.001)
    pyro.set_rng_seed(0)
    found = loss_and_gradients(estimator, program)
    right = expected(program, program.kl(X).mean(0).clamp(min=0.001).sum())
    torch.testing.assert_close(found, right, rtol=0, atol=4 * 3 * 5 / math.sqrt(20_000))
    few = loss_and_gradients(
        STL(2, vectorize_particles=True, free_bits_per_dimension=1e-9), program
    )
    assert abs(few[1][1]) < 1e-12 and abs(few[2][1]) < 1e-12


def test_the_auxiliary_site_of_an_autoguide_is_named_as_such():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    loss = TraceMeanField_ELBO(free_bits_per_dimension=0.1)
    with pytest.raises(ValueError, match="'z_unconstrained' is an auxiliary site"):
        loss.loss(model, AutoNormal(model), torch.zeros(4))
