"""The posterior of BN-VAE: its rate has a lower bound, and the fit keeps its batch statistics."""

from functools import partial

import pyro
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

from pyro_vae.datasets import digits
from pyro_vae.inference import Compile, evaluate, fit
from pyro_vae.models import VAE
from pyro_vae.networks import ConvEncoder
from pyro_vae.posteriors import BatchNormNormal
from pyro_vae.priors import StandardNormal

X = digits().train.x.round()


def posterior_of(gamma=0.6, latent_dim=3):
    posterior = BatchNormNormal(latent_dim, gamma=gamma).double()
    with torch.no_grad():
        posterior.shift.copy_(torch.linspace(-0.5, 0.4, 3).expand_as(posterior.shift))
    return posterior


def any_h(num=50, *shape, scale=1.0):
    """What an encoder might give: locations far from 0, of any scale."""
    h = torch.randn(num, 2, *(shape or (3,)), dtype=torch.float64)
    h[:, 0] = 7 + scale * h[:, 0]
    return h


@pytest.mark.parametrize("gamma", [0.3, 1.5])
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_the_locations_of_a_batch_have_the_mean_shift_and_the_deviation_gamma(gamma, scale):
    posterior = posterior_of(gamma)
    loc = posterior(any_h(scale=scale)).mean
    # the 1e-5 that torch adds to a variance takes half of 1e-5 / scale^2 off
    tolerance = {"atol": 0.0, "rtol": 1e-5 / scale**2}
    torch.testing.assert_close(loc.mean(0), posterior.shift, atol=1e-10, rtol=1e-10)
    wanted = torch.full_like(posterior.shift, gamma)
    torch.testing.assert_close(loc.std(0, correction=0), wanted, **tolerance)


def bound_of(posterior):
    return (posterior.gamma**2 + posterior.shift**2).sum().item() / 2


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
def test_the_mean_rate_of_a_batch_is_the_bound_where_the_scales_are_one(shape):
    posterior = posterior_of(latent_dim=shape)
    h = any_h(50, *shape)
    h[:, 1] = 0
    prior = StandardNormal(shape).double()()
    rate = kl_divergence(posterior(h), prior.expand((50,))).mean().item()
    assert rate == pytest.approx(bound_of(posterior), rel=1e-4)


def test_the_mean_rate_of_a_batch_is_no_lower_for_any_scales():
    posterior, prior = posterior_of(), StandardNormal(3).double()().expand((50,))
    for _ in range(200):
        h = any_h(scale=10.0)
        h[:, 1] = torch.randn(3, dtype=torch.float64) * torch.rand(()) * 2
        assert kl_divergence(posterior(h), prior).mean() >= bound_of(posterior) * (1 - 1e-6)


def test_in_evaluation_mode_a_posterior_depends_on_its_own_datum_alone():
    posterior = posterior_of()
    for _ in range(300):
        posterior(any_h())
    posterior.eval()
    h = any_h()
    q = posterior(h)
    torch.testing.assert_close(posterior(h[4]).mean, q.mean[4])
    # the moving averages are those of the data: locations around 7, by 1
    exact = 0.6 * (h[:, 0] - 7) + posterior.shift
    torch.testing.assert_close(q.mean, exact, atol=0.2, rtol=0.1)


def test_gamma_is_fixed_and_the_shift_is_learned():
    assert [name for name, _ in BatchNormNormal(4).named_parameters()] == ["shift"]


class Deaf(nn.Module):
    """A decoder that does not listen to z."""

    def forward(self, z):
        return z.new_zeros(*z.shape[:-1], 1, 8, 8)


def vae(**options):
    pyro.set_rng_seed(0)
    return VAE((1, 8, 8), 4, posterior=BatchNormNormal(4), hidden=(16,), **options)


@pytest.mark.parametrize("compile", [False, Compile(mode="captured")])
def test_a_program_that_ignores_its_latents_keeps_the_rate_of_the_bound(compile):
    """Any other posterior would go to the prior, at a rate of 0."""
    program = vae(decoder=Deaf())
    optim = pyro.optim.Adam({"lr": 2e-2})
    options = {"recompute_batch_statistics": True, "progress": False, "compile": compile}
    fit(program, X, epochs=10, optim=optim, **options)
    rate = evaluate(program, X, num_particles=20).rate.mean().item()
    floor = bound_of(program.posterior)
    assert floor == pytest.approx(4 * 0.5**2 / 2, abs=0.02)  # where the shift is 0
    assert rate == pytest.approx(floor, rel=0.1)


def test_the_last_single_datum_of_an_epoch_joins_the_batch_before_it():
    training = fit(vae(), X[:33], epochs=2, batch_size=16, progress=False)
    assert training.svi.steps == 4


def test_the_statistics_that_fit_recomputes_are_those_of_the_training_data():
    program = vae()
    batches = list(X[:64].split(32))
    fit(program, batches, epochs=2, recompute_batch_statistics=True, progress=False)
    locs = [program.encoder(batch)[:, 0] for batch in batches]
    mean = sum(loc.mean(0) for loc in locs) / 2
    torch.testing.assert_close(program.posterior.norm.running_mean, mean)


def test_it_works_behind_an_encoder_with_batch_normalization():
    encoder = partial(ConvEncoder, channels=(8,))
    program = VAE((1, 8, 8), 4, posterior=BatchNormNormal(4), encoder=encoder)
    training = fit(program, X[:200], epochs=1, progress=False)
    assert training.svi.steps == 2


def test_a_gamma_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="gamma must be positive and finite, but is 0"):
        BatchNormNormal(3, gamma=0)
